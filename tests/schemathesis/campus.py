"""What stands in the database before schemathesis asks: without it, most operations only ever answer 404."""

import json
import urllib.error
import urllib.request
import uuid

API = "/api/v1"
PASSWORD = "correct horse battery 7"


class Client:
    """Talks to one server as one person."""

    def __init__(self, base: str, token: str | None = None):
        self.base, self.token = base, token
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(self, method: str, path: str, body: dict | None = None, form: dict | None = None) -> dict:
        data, kind = (json.dumps(body).encode(), "application/json") if body is not None else (None, None)
        if form is not None:
            data, kind = multipart(form)
        request = urllib.request.Request(self.base + path, data=data, method=method)
        if kind:
            request.add_header("Content-Type", kind)
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with self.opener.open(request, timeout=20) as response:
                return json.loads(response.read() or b"null")
        except urllib.error.HTTPError as error:
            error.msg = f"{method} {path}: {error.msg} {error.read().decode()}"
            raise

    def get(self, path: str) -> dict:
        return self.ask("GET", API + path)

    def post(self, path: str, body: dict | None = None, form: dict | None = None) -> dict:
        return self.ask("POST", API + path, body, form)

    def sign_in(self, email: str, password: str) -> "Client":
        tokens = self.post("/auth/login", {"email": email, "password": password})
        return Client(self.base, tokens["access_token"])


def multipart(fields: dict) -> tuple[bytes, str]:
    border = uuid.uuid4().hex
    head = f"--{border}\r\nContent-Disposition: form-data; name="
    parts = [f'{head}"{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()]
    return "".join([*parts, f"--{border}--\r\n"]).encode(), f"multipart/form-data; boundary={border}"


def account(admin: Client, name: str, role: str) -> tuple[str, Client]:
    email = f"{name}@schemathesis.example"
    new = {"email": email, "display_name": name.title(), "role": role, "password": PASSWORD}
    user_id = admin.post("/admin/users", new)["id"]
    return user_id, admin.sign_in(email, PASSWORD)


def build(admin: Client) -> tuple[dict, Client]:
    """Builds it by the public door. Which identifiers stand in which paths, and a student who is none of them."""
    lecturer_id, lecturer = account(admin, "lecturer", "lecturer")
    students = [account(admin, f"student{number}", "student") for number in range(4)]
    course = admin.post("/courses", {"code": "SE-101", "title": "Evidence"})["id"]
    admin.post(f"/courses/{course}/lecturers", {"user_ids": [lecturer_id]})
    admin.post(f"/courses/{course}/students", {"user_ids": [user_id for user_id, _ in students]})

    def session(title: str, **more) -> dict:
        new = {"course_id": course, "title": title, "duration_minutes": 120, **more}
        return lecturer.post("/lecturers/sessions", new)

    circle = {"latitude": 48.2, "longitude": 16.37, "radius_m": 80}
    here = session("Here", geofence=circle, late_after_minutes=15)
    ended = [session("Closed"), session("Expired", code_mode="static")]
    lecturer.post(f"/lecturers/sessions/{ended[0]['id']}/close")
    lecturer.post(f"/lecturers/sessions/{ended[1]['id']}/expire")
    again = session("Again")
    lecturer.post(f"/lecturers/sessions/{again['id']}/regenerate")

    records, requests = [], []
    for number, (_, student) in enumerate(students):
        if number < 3:
            bound = student.post("/students/device/bind", {"imei": f"35693803564380{number}", "platform": "android"})
            requests.append(bound["request"]["hash"])
        form = {"session_code": here["session_code"], "latitude": 48.2, "longitude": 16.37 + number, "accuracy": 9}
        records.append(student.post("/students/attendance", form=form)["id"])
    admin.post(f"/admin/device-requests/{requests[0]}/approve", {"reason": "known"})
    # One of them was decided; the others wait.
    admin.post(f"/lecturers/attendance/{records[0]}/confirm", {"action": "confirm"})
    sessions = [view["id"] for view in [here, again, *ended]]
    (_, asking), others = students[-1], [user_id for user_id, _ in students[:-1]]
    return known(course, lecturer_id, others, sessions, records, requests), asking


def known(course: str, lecturer: str, students: list, sessions: list, records: list, requests: list) -> dict:
    ids = lambda values, name="id": [{name: value} for value in values]
    paths = {f"/courses/{{id}}{rest}": ids([course]) for rest in ["", "/lecturers", "/students"]}
    paths["/courses/{id}/students/{user_id}"] = [{"id": course, "user_id": user_id} for user_id in students]
    for rest in ["", "/attendance", "/flagged", "/export", "/close", "/expire", "/regenerate"]:
        paths[f"/lecturers/sessions/{{id}}{rest}"] = ids(sessions)
    record = "/lecturers/attendance/{id}"
    for path in [record, f"{record}/confirm", "/admin/attendance/{id}/set-status"]:
        paths[path] = ids(records)
    for path in ["/students/{id}", "/admin/users/{id}", "/admin/users/{id}/reset-mfa"]:
        paths[path] = ids(students if path.startswith("/students") else [*students, lecturer])
    for path in ["/admin/device-requests/{hash}/approve", "/admin/device-requests/{hash}/deny"]:
        paths[path] = ids(requests, "hash")
    return {API + path: rows for path, rows in paths.items()}
