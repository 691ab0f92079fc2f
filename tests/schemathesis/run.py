#!/usr/bin/env python3
"""Runs schemathesis against the real program: `tests/schemathesis/run.py PATH_OF_MUSTER`.

It starts `muster serve` on a free port with a fresh folder, holds /openapi.json against the standard (`validate.py`),
creates an admin by the command line and a small campus by the public door, and lets schemathesis try every operation of
/openapi.json: as nobody, as that admin, as a student. The exit status is 0 only if no check failed, the server lives, and
the admin's sign-in still holds at the end.

Seed and number of examples are fixed, and no time ends a pass, so that a faster machine sees the same requests as a
slower one. SCHEMATHESIS_DEEP=1 tries many more with a seed of the day, which it prints.
SCHEMATHESIS_SEED and SCHEMATHESIS_EXAMPLES set either by hand.
"""

import json
import os
import pathlib
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error

from campus import Client, build

HERE = pathlib.Path(__file__).resolve().parent
MODELS = HERE.parent.parent / "target" / "muster-models"
DEEP = os.environ.get("SCHEMATHESIS_DEEP", "") not in ("", "0")
SEED = int(os.environ.get("SCHEMATHESIS_SEED", secrets.randbelow(10**9) if DEEP else 20261121))
# Made-up requests per operation and pass; those of the other phases follow from the description.
EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", 300 if DEEP else 20))
# No pass should ever come near this. One that does is stopped, and the gate says so and fails.
PASS_SECONDS_MAX = 3600 if DEEP else 600
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
# What students may ask for; the rest of their answers is 403, as the pass as nobody has it with 401.
OF_STUDENTS = "/(students|attendance|auth|blobs|sync|server|courses)"
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
    """The pinned programs, in an environment of their own; it is brought up to date when the pins are."""
    venv = pathlib.Path(os.environ.get("SCHEMATHESIS_VENV", HERE.parent.parent / "target" / "schemathesis"))
    program, installed = venv / "bin" / "schemathesis", venv / "requirements.txt"
    wanted = (HERE / "requirements.txt").read_text()
    if not installed.exists() or installed.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        install = [str(venv / "bin" / "pip"), "install", "--quiet", "-r", str(HERE / "requirements.txt")]
        subprocess.run(install, check=True)
        installed.write_text(wanted)
    return program


def is_valid(program: pathlib.Path, base: str, folder: pathlib.Path) -> bool:
    """Whether a validator that knows nothing of us takes the description as it is served."""
    description = folder / "openapi.json"
    description.write_text(json.dumps(Client(base).ask("GET", "/openapi.json")))
    validate = [str(program.parent / "python"), str(HERE / "validate.py"), str(description)]
    return subprocess.run(validate, check=False).returncode == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_it_answers(base: str, server: subprocess.Popen) -> None:
    for _ in range(600):
        if server.poll() is not None:
            sys.exit(f"the server ended with {server.returncode}")
        try:
            Client(base).ask("GET", "/health")
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    sys.exit("the server does not answer")


def run(
    program: pathlib.Path, base: str, name: str, token: str | None, folder: pathlib.Path, known: dict
) -> tuple[int, str]:
    command = [str(program), "run", f"{base}/openapi.json", "--checks", ",".join(CHECKS), "--seed", str(SEED)]
    command += ["--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES), "--workers", "1"]
    command += ["--request-timeout", "20", "--continue-on-failure", "--no-color", "--generation-database", "none"]
    # A busy machine is no reason to stop early.
    command += ["--suppress-health-check", "all", "--warnings", "off"]
    command += ["--report", "junit", "--report-dir", str(folder / name)]
    command += ["--exclude-path-regex", f"{ENDLESS}|{ENDS_THE_SIGN_IN}" if token else ENDLESS]
    command += ["--include-path-regex", OF_STUDENTS] if name == "student" else []
    if token:
        command += ["--header", f"Authorization: Bearer {token}"]
    environment = {**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "SCHEMATHESIS_HOOKS": "hooks"}
    # Its cache belongs into the temporary folder, and nothing of a run beside the hooks.
    environment |= {"PYTHONPATH": str(HERE), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}
    environment["MUSTER_KNOWN"] = json.dumps(known)
    # Into a file: a pipe that is full would hold up a program that is to be stopped.
    output = folder / f"{name}.txt"
    with output.open("w") as out:
        begun = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment, cwd=folder)
        try:
            status = begun.wait(timeout=PASS_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            begun.send_signal(signal.SIGINT)
            status = begun.wait(timeout=60)
            print(f"== as {name}: CUT SHORT after {PASS_SECONDS_MAX} s, not everything was tried", flush=True)
    return status, output.read_text()


def start(muster: pathlib.Path, folder: pathlib.Path, base: str, log) -> subprocess.Popen:
    serve = [str(muster), "serve", "--data-dir", str(folder / "data"), "--port", base.rsplit(":", 1)[1]]
    # All of it comes from one address and few people, and 429 is the answer to nothing here.
    serve += [part for name in ROOMY_LIMITS for part in (name, "1000000")]
    # With the face models that the tests have fetched, so that no answer is an honest 503.
    serve += ["--models-dir", str(MODELS)] if MODELS.exists() else []
    server = subprocess.Popen(serve, stdout=log, stderr=subprocess.STDOUT)
    wait_until_it_answers(base, server)
    return server


def passes(program: pathlib.Path, base: str, password: str, folder: pathlib.Path) -> list[str]:
    """The names of the passes that failed."""
    admin = Client(base).sign_in(EMAIL, password)
    known, student = build(admin)
    paths = admin.ask("GET", "/openapi.json")["paths"]
    operations = sum(method in ("get", "put", "post", "patch", "delete") for path in paths.values() for method in path)
    rows = f"{len(known)} paths with known rows"
    print(f"{operations} operations, seed {SEED}, {EXAMPLES} examples each, {rows}", flush=True)
    failed = [] if is_valid(program, base, folder) else ["the description is not valid"]
    for name, token in [("anonymous", None), ("student", student.token), ("admin", admin.token)]:
        begun = time.monotonic()
        status, output = run(program, base, name, token, folder, known)
        print(f"== as {name}: status {status} after {time.monotonic() - begun:.0f} s", flush=True)
        summary = output[output.rfind("= SUMMARY =") :]
        print("\n".join(output.splitlines()[:LINES_MAX]) if status else "", summary, sep="\n", flush=True)
        failed += [name] if status else []
    try:
        admin.get("/auth/me")
    except urllib.error.HTTPError as error:
        failed.append(f"the admin's sign-in ended on the way: {error}")
    return failed


def answered(log: str) -> str:
    """How many operations did what they are for: a fuzzer that meets only refusals has seen little."""
    lines = re.findall(r"\b(GET|POST|PUT|PATCH|DELETE) (/\S*) - (\d)\d\d", log)
    done = {(method, path) for method, path, status in lines if status in "23"}
    return f"{len(done)} operations succeeded at least once"


def main() -> int:
    muster = pathlib.Path(sys.argv[1]).resolve()
    program, password = schemathesis(), secrets.token_urlsafe(18)
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        create = [str(muster), "admin", "create", "--data-dir", str(folder / "data"), "--email", EMAIL]
        create += ["--role", "admin", "--password-stdin"]
        subprocess.run(create, input=f"{password}\n", text=True, check=True, stdout=subprocess.DEVNULL)
        base = f"http://127.0.0.1:{free_port()}"
        with (folder / "server.log").open("w") as log:
            server = start(muster, folder, base, log)
            try:
                failed = passes(program, base, password, folder)
                if server.poll() is not None:
                    failed.append(f"the server ended with {server.returncode}")
            finally:
                server.send_signal(signal.SIGTERM)
                server.wait(timeout=60)
        said = (folder / "server.log").read_text()
        print(answered(said))
        errors = [line for line in said.splitlines() if "ERROR" in line or "panicked" in line]
        print(f"{len(errors)} lines of the server's log are errors")
        print("\n".join(errors[:20]))
    print("FAILED: " + ", ".join(failed) if failed else "schemathesis found nothing")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
