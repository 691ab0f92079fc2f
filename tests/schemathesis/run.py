#!/usr/bin/env python3
"""Runs schemathesis against the real program: `tests/schemathesis/run.py PATH_OF_MUSTER`.

It starts `muster serve` on a free port with a fresh folder, creates an admin by the command line, signs in, and lets
schemathesis try every operation of /openapi.json twice: as nobody, and as that admin. Seeds and times are fixed by the
arguments below. The exit status is 0 only if no check failed, the server lives, and the sign-in still holds at the end.
"""

import json
import os
import pathlib
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
MODELS = HERE.parent.parent / "target" / "muster-models"
SEED = 20261121
# Seconds that fuzzing may take, per pass; the other phases are bounded by the number of operations.
SECONDS_MAX = int(os.environ.get("SCHEMATHESIS_SECONDS", "110"))
EMAIL = "admin@schemathesis.example"
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
]
# The stream of events never ends. An admin who signs out proves nothing any more: that is for the pass as nobody.
ENDLESS = "/sync/live$"
ENDS_THE_SIGN_IN = "/auth/logout"
ROOMY_LIMITS = [
    "--rl-login-ip-limit",
    "--rl-login-email-limit",
    "--rl-signup-ip-limit",
    "--rl-reset-ip-limit",
    "--rl-anonymous-ip-limit",
    "--rl-user-limit",
    "--login-fail-ip-threshold",
]
# Lines that are shown of a pass that failed.
LINES_MAX = 400


def schemathesis() -> pathlib.Path:
    """The pinned program, in an environment of its own."""
    venv = pathlib.Path(os.environ.get("SCHEMATHESIS_VENV", HERE.parent.parent / "target" / "schemathesis"))
    program = venv / "bin" / "schemathesis"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        install = [str(venv / "bin" / "pip"), "install", "--quiet", "-r", str(HERE / "requirements.txt")]
        subprocess.run(install, check=True)
    return program


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(url: str, token: str | None = None, body: dict | None = None) -> dict:
    request = urllib.request.Request(url, data=json.dumps(body).encode() if body else None)
    request.add_header("Content-Type", "application/json")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=60) as response:
        return json.load(response)


def wait_until_it_answers(base: str, server: subprocess.Popen) -> None:
    for _ in range(600):
        if server.poll() is not None:
            sys.exit(f"the server ended with {server.returncode}")
        try:
            ask(f"{base}/health")
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    sys.exit("the server does not answer")


def run(program: pathlib.Path, base: str, name: str, token: str | None, folder: pathlib.Path) -> tuple[int, str]:
    command = [str(program), "run", f"{base}/openapi.json", "--checks", ",".join(CHECKS), "--seed", str(SEED)]
    command += ["--phases", "examples,coverage,fuzzing", "--max-time", str(SECONDS_MAX), "--workers", "1"]
    command += ["--request-timeout", "20", "--continue-on-failure", "--no-color"]
    command += ["--report", "junit", "--report-dir", str(folder / name), "--warnings", "off"]
    command += ["--exclude-path-regex", f"{ENDLESS}|{ENDS_THE_SIGN_IN}" if token else ENDLESS]
    if token:
        command += ["--header", f"Authorization: Bearer {token}"]
    environment = {**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "SCHEMATHESIS_HOOKS": "hooks"}
    # Its cache belongs into the temporary folder, and nothing of a run beside the hooks.
    environment |= {"PYTHONPATH": str(HERE), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=folder)
    return done.returncode, done.stdout


def main() -> int:
    muster = pathlib.Path(sys.argv[1]).resolve()
    program, password = schemathesis(), secrets.token_urlsafe(18)
    failed = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        data = ["--data-dir", str(folder / "data")]
        create = [str(muster), "admin", "create", *data, "--email", EMAIL, "--role", "admin", "--password-stdin"]
        subprocess.run(create, input=f"{password}\n", text=True, check=True, stdout=subprocess.DEVNULL)
        base = f"http://127.0.0.1:{free_port()}"
        log = (folder / "server.log").open("w")
        serve = [str(muster), "serve", *data, "--port", base.rsplit(":", 1)[1]]
        # All of it comes from one address and one person, and 429 is the answer to nothing here.
        serve += [part for name in ROOMY_LIMITS for part in (name, "1000000")]
        # With the face models that the tests have fetched, so that no answer is an honest 503.
        serve += ["--models-dir", str(MODELS)] if MODELS.exists() else []
        server = subprocess.Popen(serve, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_until_it_answers(base, server)
            token = ask(f"{base}/api/v1/auth/login", body={"email": EMAIL, "password": password})["access_token"]
            paths = ask(f"{base}/openapi.json")["paths"]
            operations = sum(method in ("get", "put", "post", "patch", "delete") for path in paths.values() for method in path)
            print(f"{operations} operations, seed {SEED}, at most {SECONDS_MAX} s of fuzzing per pass", flush=True)
            for name, used in [("anonymous", None), ("admin", token)]:
                begun = time.monotonic()
                status, output = run(program, base, name, used, folder)
                print(f"== as {name}: status {status} after {time.monotonic() - begun:.0f} s", flush=True)
                summary = output[output.rfind("= SUMMARY =") :]
                print("\n".join(output.splitlines()[:LINES_MAX]) if status else "", summary, sep="\n", flush=True)
                if status != 0:
                    failed.append(name)
            try:
                ask(f"{base}/api/v1/auth/me", token)
            except urllib.error.HTTPError as error:
                failed.append(f"the admin's sign-in ended on the way: {error}")
            if server.poll() is not None:
                failed.append(f"the server ended with {server.returncode}")
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=60)
            log.close()
        errors = [line for line in (folder / "server.log").read_text().splitlines() if "ERROR" in line or "panicked" in line]
        print(f"{len(errors)} lines of the server's log are errors")
        print("\n".join(errors[:20]))
    print("FAILED: " + ", ".join(failed) if failed else "schemathesis found nothing")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
