#!/usr/bin/env python3
"""Two phones in a basement: the lecturer's one carries what the student's one signed, with no network between them.

Three steps, so that a test can start and stop the server in between:

    basement.py prepare ...   both sign in and ask for their phones to be approved
    basement.py meet ...      no server answers: a session is opened, captured, and the record handed over
    basement.py deliver ...   the lecturer's phone finds a network, and brings the receipt back

Only the standard library is used; the passwords of both accounts come through MUSTER_PASSWORD.
"""

import argparse
import json
import os
import sys
import time
import urllib.request

from offline_lecture import (
    SYNC_DEADLINE_S, TIMEOUT_S, load_seed, opener, phone_clock, png, refuse_if_reachable, urllib_transport,
)

HOUR_MS = 3_600_000


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["prepare", "meet", "deliver"])
    parser.add_argument("--binding", required=True, help="folder with muster_mobile.py and the library")
    parser.add_argument("--store", required=True, help="folder for both phones")
    parser.add_argument("--server", required=True, help="base URL, such as http://127.0.0.1:8000")
    parser.add_argument("--lecturer", required=True, help="the lecturer's account")
    parser.add_argument("--student", required=True, help="the student's account")
    parser.add_argument("--course", required=True, help="the course's id")
    options = parser.parse_args()
    options.server = options.server.rstrip("/")
    sys.path.insert(0, options.binding)
    import muster_mobile as muster

    lecturer = Phone(muster, options, "lecturer", options.lecturer)
    student = Phone(muster, options, "student", options.student)
    {"prepare": prepare, "meet": meet, "deliver": deliver}[options.command](muster, options, lecturer, student)


def prepare(muster, options, lecturer, student):
    for phone, opens_sessions in ((lecturer, True), (student, False)):
        phone.client.sign_in(phone.token())
        phone.client.request_binding(muster.BindingRequest(
            platform="python", model=None, hardware_key=False, replaces_device=False, opens_sessions=opens_sessions))
        phone.sync()
    print("both phones asked")


def meet(muster, options, lecturer, student):
    refuse_if_reachable(options.server)
    now_ms = int(time.time() * 1000)
    locator = lecturer.client.open_class_session(muster.LecturePlan(
        course=options.course, opens_at_ms=now_ms - 60_000, closes_at_ms=now_ms + HOUR_MS, late_after_ms=None,
        rotating=True, step_s=15, geofence=None))
    shown = lecturer.client.session_code(locator)
    student.client.capture(muster.CaptureRequest(
        code=shown.qr,
        position=muster.GeoPosition(latitude=52.52, longitude=13.405, accuracy_m=8, mocked=False),
        images=[muster.Image(purpose=muster.ImageUse.SELFIE, bytes=png(1))],
        device=muster.DeviceInfo(platform="python", model="a program", app_version="1"),
    ))
    with open(os.path.join(options.store, "locator"), "w", encoding="ascii") as file:
        file.write(locator)

    giver = student.client.hand_over()
    carrier = lecturer.client.carry_for([locator])
    offer = giver.read_offer(carrier.offer(giver.hello()))
    check(offer.fingerprint == lecturer.client.relay_fingerprint(), "the fingerprints differ")
    check(offer.sessions[0].trust == muster.RelayTrust.UNPROVEN, "nobody can prove a session that was opened here")
    check(giver.next_page() is None, "something was handed over before the person agreed")
    giver.agree(locator)
    # The first page gets lost on the air, which costs nothing.
    check(giver.next_page() is not None, "there is nothing to hand over")
    carried, _ = hand_over(giver, carrier)
    check(carried == 1 and lecturer.client.carried().queued == 1, "the record is not carried")
    record = student.client.records()[0]
    check(record.state == "handed_over" and record.receipt_index is None, f"the record is {record.state}")
    print(f"handed over one record of {locator} to {offer.fingerprint}: {record.reason_in_words}")
    for wrong in (b"", b"noise", os.urandom(200)):
        try:
            carrier.collect(wrong)
        except muster.ApiError.InvalidInput:
            continue
        sys.exit("a page of noise was taken")


def deliver(muster, options, lecturer, student):
    with open(os.path.join(options.store, "locator"), encoding="ascii") as file:
        locator = file.read()
    check(lecturer.sync().carried == 1, "the carried record was not pushed")
    giver = student.client.hand_over()
    carrier = lecturer.client.carry_for([locator])
    offer = giver.read_offer(carrier.offer(giver.hello()))
    check(offer.sessions[0].trust == muster.RelayTrust.PROVEN, "now the server's receipt for the plan proves it")
    _, receipts = hand_over(giver, carrier)
    record = student.client.records()[0]
    check(receipts == 1 and record.state == "received", f"the record is {record.state}")
    sums = student.sync()
    check(sums.accepted == 0, "it was pushed again")
    record = student.client.records()[0]
    check(record.images_waiting == 0, "the picture is still on the phone")
    print(f"receipt #{record.receipt_index} came back through the relay")


def hand_over(giver, carrier):
    carried = receipts = 0
    while (page := giver.next_page()) is not None:
        answer = giver.read_answer(carrier.collect(page).reply)
        check(answer.declined == 0, "the relay declined a record")
        carried, receipts = answer.carried, receipts + answer.receipts
    return carried, receipts


def check(holds, otherwise):
    if not holds:
        sys.exit(otherwise)


class Phone:
    def __init__(self, muster, options, name, email):
        self.muster, self.options, self.email = muster, options, email
        folder = os.path.join(options.store, name)
        os.makedirs(folder, exist_ok=True)
        signer = muster.SoftwareSigner.from_seed(load_seed(muster, folder))
        transport = urllib_transport(muster, options.server)
        self.client = muster.MusterClient.open(os.path.join(folder, "muster.db"), signer, transport, phone_clock(muster))

    def token(self):
        body = json.dumps({"email": self.email, "password": os.environ["MUSTER_PASSWORD"]}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.options.server + "/api/v1/auth/login", body, headers, method="POST")
        with opener().open(request, timeout=TIMEOUT_S) as response:
            return json.load(response)["access_token"]

    def sync(self):
        self.client.set_token(self.token())
        states = self.muster.SyncState
        deadline = time.monotonic() + SYNC_DEADLINE_S
        sums = argparse.Namespace(accepted=0, carried=0)
        while time.monotonic() < deadline:
            step = self.client.sync_step()
            check(step.problem is None, step.problem)
            sums.accepted += step.accepted
            sums.carried += step.carried
            if step.state == states.IDLE:
                return sums
            check(step.state != states.NEEDS_LOGIN, "the server does not take the token")
            if step.state == states.WAIT:
                time.sleep(step.wait_ms / 1000)
        sys.exit("sync did not come to rest")


if __name__ == "__main__":
    main()
