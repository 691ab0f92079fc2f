"""Captures attendance with no server running, then syncs it to a real one, through the generated Python binding.

Three commands, so that whoever runs it can start, stop and administer the server in between:

    prepare   signs in once with the server running: the phone learns its user and pins the server's key
    capture   checks that nothing listens at the server's address, asks to be bound and captures 50 presences
    sync      signs in again and syncs until nothing is left to do; prints every record with its fate

`capture` and `sync` end with status 1 unless every record is in the expected state. Needs the standard library only,
and the folder with the generated binding and the built library (`--binding`). The README says how to make it.
"""

import argparse
import http.client
import json
import os
import struct
import sys
import time
import urllib.error
import urllib.request
import uuid
import zlib

TIMEOUT_S = 30
SYNC_DEADLINE_S = 120
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def main():
    options = read_options()
    sys.path.insert(0, options.binding)
    import muster_mobile as muster

    phone = Phone(muster, options)
    return {"prepare": phone.prepare, "capture": phone.capture, "sync": phone.sync}[options.command]()


def read_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["prepare", "capture", "sync"])
    parser.add_argument("--binding", required=True, help="folder with muster_mobile.py and the library")
    parser.add_argument("--store", required=True, help="folder for the phone's store and key")
    parser.add_argument("--server", required=True, help="base URL, such as http://127.0.0.1:8000")
    parser.add_argument("--email", help="account, for prepare and sync; a bound phone syncs without")
    parser.add_argument("--count", type=int, default=50, help="how many captures")
    parser.add_argument("--images", type=int, default=1, choices=[0, 1], help="pictures per capture")
    parser.add_argument("--expect", default="received,accepted,in_review", help="states that are right after sync")
    parser.add_argument("--expect-reason", help="reason code that every record must have after sync")
    # The password comes through the environment, because everybody on a machine can read its command lines.
    options = parser.parse_args()
    options.password = os.environ.get("MUSTER_PASSWORD", "")
    options.server = options.server.rstrip("/")
    return options


class Phone:
    def __init__(self, muster, options):
        self.muster, self.options = muster, options
        os.makedirs(options.store, exist_ok=True)
        signer = muster.SoftwareSigner.from_seed(load_seed(muster, options.store))
        path = os.path.join(options.store, "muster.db")
        transport = urllib_transport(muster, options.server)
        self.client = muster.MusterClient.open(path, signer, transport, phone_clock(muster))

    def prepare(self):
        account = self.client.sign_in(self.token())
        print(f"signed in as {account.user} of tenant {account.tenant}; this device is {self.client.device_key()}")
        return 0

    def capture(self):
        refuse_if_reachable(self.options.server)
        for index in range(self.options.count):
            self.client.capture(self.capture_request(index))
        request = self.muster.BindingRequest(
            platform="python", model="a program", hardware_key=False, replaces_device=False, opens_sessions=False
        )
        self.client.request_binding(request)
        # A sync without a server fails, and loses nothing.
        self.client.set_token("no server can look at this token")
        step = self.client.sync_step()
        print(f"sync without a server: {step.problem}")
        if step.problem is None:
            print("a sync step worked although nothing listens", file=sys.stderr)
            return 1
        return self.report(["on_this_phone", "sent"], None)

    def sync(self):
        if self.options.email:
            self.client.set_token(self.token())
        deadline = time.monotonic() + SYNC_DEADLINE_S
        states = self.muster.SyncState
        while time.monotonic() < deadline:
            step = self.client.sync_step()
            if step.problem:
                print(f"problem: {step.problem}")
            if step.state == states.IDLE:
                return self.report(self.options.expect.split(","), self.options.expect_reason)
            if step.state == states.NEEDS_LOGIN and not self.sign_in_with_device():
                return 1
            if step.state == states.WAIT:
                time.sleep(min(step.wait_ms / 1000, max(0.0, deadline - time.monotonic())))
        print(f"sync did not come to rest in {SYNC_DEADLINE_S} s", file=sys.stderr)
        self.report([], None)
        return 1

    def sign_in_with_device(self):
        """A phone that is bound needs no person to sign in again."""
        try:
            seconds = self.client.sign_in_with_device()
        except self.muster.ApiError.SignInNeeded as error:
            print(f"somebody has to sign in: {error}", file=sys.stderr)
            return False
        print(f"signed in by the device's key, for {seconds} s")
        return True

    def report(self, expected, expected_reason):
        records = self.client.records()
        wrong = 0
        for record in records:
            with_server = record.state in ("received", "accepted", "in_review", "decided")
            right = record.state in expected and with_server == (record.receipt_index is not None)
            if expected_reason is not None:
                right = right and record.reason == expected_reason
            wrong += not right
            receipt = "-" if record.receipt_index is None else f"#{record.receipt_index}"
            mark = "" if right else "   <- not as expected"
            print(f"{record.id:>3} {record.locator} {record.state:<14} receipt {receipt:<6} {record.reason or ''}{mark}")
        pending = self.client.pending()
        print(f"{len(records)} records, {wrong} not as expected; pending: {pending.changes} changes, "
              f"{pending.quarantined} in quarantine, {pending.refused} refused, {pending.images} images")
        complete = len(records) == self.options.count and (expected_reason or not pending.images or "sent" in expected)
        return 0 if wrong == 0 and complete else 1

    def capture_request(self, index):
        muster = self.muster
        locator = "".join(ALPHABET[(index >> shift) & 31] for shift in (25, 20, 15, 10, 5, 0))
        return muster.CaptureRequest(
            code=f"{locator}-{index:06d}",
            position=muster.GeoPosition(latitude=40.7128, longitude=-74.006, accuracy_m=12, mocked=False),
            images=[muster.Image(purpose=muster.ImageUse.SELFIE, bytes=png(index))] * self.options.images,
            device=muster.DeviceInfo(platform="python", model="a program", app_version="1"),
        )

    def token(self):
        body = json.dumps({"email": self.options.email, "password": self.options.password}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.options.server + "/api/v1/auth/login", body, headers, method="POST")
        with opener().open(request, timeout=TIMEOUT_S) as response:
            return json.load(response)["access_token"]


def load_seed(muster, folder):
    path = os.path.join(folder, "device.seed")
    if not os.path.exists(path):
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(muster.new_seed())
    with open(path, "rb") as file:
        return file.read()


def opener():
    # Neither a proxy of the environment nor a redirect may see the token.
    class NoRedirect(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_):
            return None

    return urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirect)


def urllib_transport(muster, base_url):
    class Transport(muster.HttpTransport):
        def send(self, request):
            headers = {header.name: header.value for header in request.headers}
            body = request.body if request.method != "GET" else None
            outgoing = urllib.request.Request(base_url + request.path, body, headers, method=request.method)
            try:
                with opener().open(outgoing, timeout=TIMEOUT_S) as response:
                    return answer(response.status, response.headers, response.read())
            except urllib.error.HTTPError as error:
                return answer(error.code, error.headers, error.read())
            except (OSError, http.client.HTTPException) as error:
                raise muster.CallbackError.Failed(str(error)) from error

    def answer(status, headers, body):
        fields = [muster.HttpHeader(name=name, value=value) for name, value in headers.items()]
        return muster.HttpResponse(status=status, headers=fields, body=body)

    return Transport()


def phone_clock(muster):
    class PhoneClock(muster.Clock):
        def wall_ms(self):
            return int(time.time() * 1000)

        def monotonic_ms(self):
            # Counts sleep, where the system offers that.
            clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
            return int(time.clock_gettime(clock) * 1000)

        def boot_id(self):
            try:
                with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
                    return uuid.UUID(file.read().strip()).bytes
            except OSError:
                # Without a boot id no two readings may seem to be of one boot.
                return uuid.uuid4().bytes

    return PhoneClock()


def refuse_if_reachable(base_url):
    try:
        opener().open(base_url + "/health", timeout=TIMEOUT_S).close()
    except (OSError, http.client.HTTPException):
        return
    sys.exit(f"{base_url} answers: this is to run with no server")


def png(index):
    """A real picture of 64 x 64 pixels in one colour, different for each index."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" + bytes([index * 5 % 256, 255 - index, 90]) * 64
    header = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)
    pixels = zlib.compress(row * 64)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


if __name__ == "__main__":
    sys.exit(main())
