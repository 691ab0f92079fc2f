"""What the binding must hold whatever the app's own code does: its failures come back as values, never as a crash.

    MUSTER_BINDING=out python3 -m unittest discover -s mobile-ffi/python
"""

import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.environ["MUSTER_BINDING"])
import muster_mobile as muster  # noqa: E402

NOON_MS = 1_763_640_000_000


class FixedClock(muster.Clock):
    def __init__(self):
        self.now_ms = NOON_MS

    def wall_ms(self):
        return self.now_ms

    def monotonic_ms(self):
        return 1_000

    def boot_id(self):
        return bytes(16)


class BrokenTransport(muster.HttpTransport):
    def __init__(self, error):
        self.error = error

    def send(self, request):
        raise self.error


class BrokenSigner(muster.Signer):
    """Names its key, and then throws what nobody declared."""

    def __init__(self, inner):
        self.inner = inner

    def public_key(self):
        return self.inner.public_key()

    def sign(self, message):
        raise ValueError("locked")


def capture_request(code="K7M2QX-123456", images=()):
    device = muster.DeviceInfo(platform="python", model="", app_version="1")
    return muster.CaptureRequest(code=code, position=None, images=list(images), device=device)


class BindingTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.signer = muster.SoftwareSigner.from_seed(bytes([7] * 32))
        self.clock = FixedClock()

    def client(self, signer=None, transport=None, account=True):
        transport = transport or BrokenTransport(muster.CallbackError.Failed("no route"))
        path = os.path.join(self.folder.name, "muster.db")
        client = muster.MusterClient.open(path, signer or self.signer, transport, self.clock)
        if account:
            server_key = muster.SoftwareSigner.from_seed(bytes([9] * 32)).public_key()
            client.set_account("default", "student-1", server_key)
        return client

    def test_a_capture_survives_the_program(self):
        self.client().capture(capture_request())
        records = self.client(account=False).records()
        self.assertEqual([(record.state, record.locator) for record in records], [("on_this_phone", "K7M2QX")])
        self.assertIn("Only this phone has it", records[0].reason_in_words)

    def test_wrong_input_is_an_error_that_says_what(self):
        client = self.client()
        text = muster.Image(purpose=muster.ImageUse.SELFIE, bytes=b"plain text")
        for request in [capture_request(code="nonsense"), capture_request(images=[text])]:
            with self.assertRaises(muster.ApiError.InvalidInput):
                client.capture(request)
        with self.assertRaises(muster.ApiError.InvalidInput):
            muster.SoftwareSigner.from_seed(b"short")
        self.assertEqual(client.records(), [])

    def test_without_an_account_the_app_shows_the_sign_in(self):
        client = self.client(account=False)
        self.assertIsNone(client.account())
        with self.assertRaises(muster.ApiError.SignInNeeded):
            client.capture(capture_request())
        with self.assertRaises(muster.ApiError.NoNetwork):
            client.sign_in("token")

    def test_a_keystore_that_throws_leaves_nothing_behind(self):
        client = self.client(signer=BrokenSigner(self.signer))
        with self.assertRaises(muster.ApiError.KeyUnavailable):
            client.capture(capture_request())
        self.assertEqual(client.pending().changes, 0)

    def test_a_transport_that_throws_anything_is_a_lost_connection(self):
        for error in [muster.CallbackError.Failed("no route"), ValueError("a defect of the app")]:
            client = self.client(transport=BrokenTransport(error))
            client.set_token("token")
            step = client.sync_step()
            self.assertEqual(step.state, muster.SyncState.PROGRESS)
            self.assertIn("no answer", step.problem)
            self.assertIn(client.sync_step().state, [muster.SyncState.WAIT, muster.SyncState.PROGRESS])

    def test_an_expired_token_asks_for_the_sign_in_and_keeps_the_records(self):
        class Expired(muster.HttpTransport):
            def send(self, request):
                return muster.HttpResponse(status=401, headers=[], body=b"")

        client = self.client(transport=Expired())
        client.capture(capture_request())
        client.set_token("token")
        client.sync_step()
        self.assertEqual(client.sync_step().state, muster.SyncState.NEEDS_LOGIN)
        self.assertEqual(client.pending().changes, 1)

    def test_a_lecturer_opens_a_session_and_a_student_scans_it_with_no_network(self):
        client = self.client()
        client.request_binding(muster.BindingRequest(
            platform="python", model=None, hardware_key=False, replaces_device=False, opens_sessions=True))
        locator = client.open_class_session(muster.LecturePlan(
            course="course-1", opens_at_ms=NOON_MS, closes_at_ms=NOON_MS + 3_600_000, late_after_ms=None,
            rotating=True, step_s=15, geofence=None))
        shown = client.session_code(locator)
        self.assertTrue(shown.qr.startswith(f"MUSTER:1:{locator}:"))
        self.assertGreater(shown.valid_until_ms, NOON_MS)
        self.clock.now_ms += 15_000
        self.assertNotEqual(client.session_code(locator).code, shown.code)
        client.capture(capture_request(code=shown.qr))
        self.assertEqual(client.records()[0].locator, locator)
        with self.assertRaises(muster.ApiError.NotOnThisPhone):
            client.session_code("000000")


if __name__ == "__main__":
    unittest.main()
