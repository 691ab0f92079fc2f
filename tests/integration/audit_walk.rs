//! Every route that writes leaves one audit row: a story per route, and no route without its story.

use std::collections::BTreeSet;
use std::io::Cursor;

use muster_server::audit::AuditRow;
use muster_tests::models::{ANNA_IN_SAMPLE_1, models_dir, sample_part};
use muster_tests::{Client, Reply, TestServer};
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use super::audit;
use super::world::{PREFIX, World, parameters, routes};

/// Writes whose evidence is the change log: what a device signed is there with its signature, its time and its place.
/// The bytes of an image are what a signed manifest names by their hash.
const SIGNED: &[(&str, &str)] = &[("POST", "/sync"), ("PUT", "/blobs/{sha256}")];

/// Stories that other files tell: signing in and what belongs to it.
const TOLD_ELSEWHERE: &[(&str, &str)] =
    &[("POST", "/auth/login"), ("POST", "/auth/register"), ("POST", "/auth/signup"), ("POST", "/auth/change-password")];

/// Looks at what is not one's own.
const LOOKS: &[&str] = &[
    "/lecturers/attendance/{id}",
    "/lecturers/attendance/{id}/images/{sha256}",
    "/lecturers/sessions/{id}/export",
    "/admin/quarantine/{hash}",
    "/admin/forks/{hash}",
    "/admin/audit",
    "/admin/audit/export",
];

/// Tells stories and counts what they leave.
struct Teller<'a> {
    world: &'a World,
    told: BTreeSet<(String, String)>,
}

impl Teller<'_> {
    async fn rows(&self) -> Vec<AuditRow> {
        audit::rows(self.world.server()).await
    }

    /// A JSON request to the path with everything that is there; `action` is the one row that it leaves.
    async fn tells(&mut self, who: &Client, route: &str, body: Value, action: &str) -> Value {
        let (method, template) = route.split_once(' ').unwrap();
        let mut path = format!("{PREFIX}{template}");
        for parameter in parameters(template) {
            let (real, _) = self.world.values(template, parameter).expect("a value for the parameter");
            path = path.replace(&format!("{{{parameter}}}"), &real);
        }
        let mut request = who.request(method.parse().unwrap(), &path);
        if !body.is_null() {
            request = request.json(&body);
        }
        self.leaves(who, (method, template), request, action).await
    }

    async fn leaves(
        &mut self,
        who: &Client,
        (method, template): (&str, &str),
        request: reqwest::RequestBuilder,
        action: &str,
    ) -> Value {
        let before = self.rows().await.len();
        let reply = Reply::of(request).await;
        let text = String::from_utf8_lossy(&reply.bytes).into_owned();
        assert!(reply.status.is_success(), "{method} {template}: {} {text}", reply.status);
        let rows = self.rows().await;
        let new: Vec<_> = rows[before..].iter().map(|row| row.action.as_str()).collect();
        assert_eq!(new, [action], "{method} {template}");
        let row = &rows[before];
        assert_eq!(row.actor_id, who.user_id(), "{method} {template}");
        assert_eq!(reply.headers["x-request-id"], row.request_id.as_str(), "{method} {template}");
        self.told.insert((method.to_owned(), template.to_owned()));
        serde_json::from_slice(&reply.bytes).unwrap_or(Value::Null)
    }
}

fn anna() -> Vec<u8> {
    let mut bytes = Vec::new();
    sample_part(1, ANNA_IN_SAMPLE_1).write_to(&mut Cursor::new(&mut bytes), image::ImageFormat::Jpeg).unwrap();
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_write_and_every_look_at_somebody_elses_evidence_leaves_exactly_one_row() {
    let models = tokio::task::spawn_blocking(models_dir).await.unwrap();
    let world = World::on(TestServer::builder().option("--models-dir", models.to_str().unwrap())).await;
    let mut teller = Teller { world: &world, told: BTreeSet::new() };
    looks(&mut teller).await;
    courses_and_sessions(&mut teller).await;
    records(&mut teller).await;
    devices(&mut teller).await;
    quarantine(&mut teller).await;
    faces(&mut teller).await;

    let elsewhere = SIGNED.iter().chain(TOLD_ELSEWHERE);
    let known: BTreeSet<_> = elsewhere.map(|(method, path)| ((*method).to_owned(), (*path).to_owned())).collect();
    for route in routes(world.server()).await.iter().filter(|route| route.is_write()) {
        let key = (route.method.clone(), route.template().to_owned());
        let is_known = known.contains(&key) || teller.told.contains(&key) || route.path.starts_with("/admin/users");
        assert!(is_known, "{} {} writes, and no story here says which audit row it leaves", route.method, route.path);
    }
    for look in LOOKS {
        assert!(teller.told.contains(&("GET".to_owned(), (*look).to_owned())), "{look}");
    }
    assert_eq!(audit::check(world.server()).await, Ok(teller.rows().await.len() as i64));
}

async fn looks(teller: &mut Teller<'_>) {
    let (lecturer, admin) = (teller.world.lecture.lecturer.clone(), teller.world.admin.clone());
    teller.tells(&lecturer, "GET /lecturers/attendance/{id}", Value::Null, "evidence.view").await;
    teller.tells(&lecturer, "GET /lecturers/attendance/{id}/images/{sha256}", Value::Null, "image.view").await;
    teller.tells(&lecturer, "GET /lecturers/sessions/{id}/export", Value::Null, "attendance.export").await;
    teller.tells(&admin, "GET /admin/quarantine/{hash}", Value::Null, "quarantine.view").await;
    teller.tells(&admin, "GET /admin/forks/{hash}", Value::Null, "fork.view").await;
    teller.tells(&admin, "GET /admin/audit", Value::Null, "audit.search").await;
    teller.tells(&admin, "GET /admin/audit/export", Value::Null, "audit.export").await;
}

async fn courses_and_sessions(teller: &mut Teller<'_>) {
    let world = teller.world;
    let (lecturer, admin) = (world.lecture.lecturer.clone(), world.admin.clone());
    teller.tells(&admin, "POST /courses", json!({"code": "CS102", "title": "More"}), "course.create").await;
    let teacher = json!({"user_ids": [world.other_lecturer.user_id()]});
    teller.tells(&lecturer, "POST /courses/{id}/lecturers", teacher, "course.teach").await;
    teller.tells(&lecturer, "DELETE /courses/{id}/students/{user_id}", Value::Null, "course.unenrol").await;
    let student = json!({"user_ids": [world.student.client.user_id()]});
    teller.tells(&lecturer, "POST /courses/{id}/students", student, "course.enrol").await;
    teller.tells(&lecturer, "POST /lecturers/sessions/{id}/regenerate", Value::Null, "class_session.regenerate").await;
    teller.tells(&lecturer, "POST /lecturers/sessions/{id}/close", Value::Null, "class_session.close").await;
    let session = json!({"course_id": world.lecture.course, "duration_minutes": 10});
    let planned = teller.tells(&lecturer, "POST /lecturers/sessions", session, "class_session.create").await;
    let path = format!("{PREFIX}/lecturers/sessions/{}/expire", planned["locator"].as_str().unwrap());
    let expire = lecturer.request(reqwest::Method::POST, &path);
    teller.leaves(&lecturer, ("POST", "/lecturers/sessions/{id}/expire"), expire, "class_session.expire").await;
    let off = json!({"face_matching": true});
    teller.tells(&admin, "PUT /admin/settings", off, "settings.change").await;
}

async fn records(teller: &mut Teller<'_>) {
    let (lecturer, admin) = (teller.world.lecture.lecturer.clone(), teller.world.admin.clone());
    teller.tells(&lecturer, "POST /lecturers/attendance/{id}/confirm", Value::Null, "attendance.decide").await;
    let status = json!({"status": "excused"});
    teller.tells(&admin, "POST /admin/attendance/{id}/set-status", status, "attendance.decide").await;
    let student = teller.world.other_student.client.clone();
    let form = Form::new().text("session_code", format!("{}-123456", teller.world.lecture.locator()));
    let submit = student.request(reqwest::Method::POST, &format!("{PREFIX}/students/attendance")).multipart(form);
    teller.leaves(&student, ("POST", "/students/attendance"), submit, "attendance.submit").await;
}

async fn devices(teller: &mut Teller<'_>) {
    let world = teller.world;
    let admin = world.admin.clone();
    teller.tells(&admin, "POST /admin/devices/{key}/revoke", json!({"reason": "lost"}), "device.revoke").await;
    let student = world.server().client("student").await;
    let first = json!({"imei": "356938035643809"});
    let asked = teller.tells(&student, "POST /students/device/bind", first, "device.ask").await;
    let hash = |asked: &Value| asked["request"]["id"].as_str().expect("the request's id").to_owned();
    approve(&admin, &hash(&asked)).await;
    let second = json!({"imei": "490154203237518"});
    student.post(&format!("{PREFIX}/students/device/bind"), &second).await.expect(202);
    let reset = json!({"user_id": student.user_id()});
    teller.tells(&admin, "POST /admin/approve-imei-reset", reset, "device.reset").await;
    let other = world.server().client("student").await;
    let asked = other.post(&format!("{PREFIX}/students/device/bind"), &second).await.expect(202);
    let deny = admin.request(reqwest::Method::POST, &format!("{PREFIX}/admin/device-requests/{}/deny", hash(&asked)));
    let deny = deny.json(&json!({"reason": "stolen"}));
    teller.leaves(&admin, ("POST", "/admin/device-requests/{hash}/deny"), deny, "device.deny").await;
}

async fn approve(admin: &Client, hash: &str) {
    admin.post(&format!("{PREFIX}/admin/device-requests/{hash}/approve"), &json!({})).await.expect(200);
}

async fn quarantine(teller: &mut Teller<'_>) {
    let admin = teller.world.admin.clone();
    let (released, discarded) = ("quarantine.release", "quarantine.discard");
    teller.tells(&admin, "POST /admin/quarantine/{hash}/release", json!({}), released).await;
    let many = json!({"waits_for": "device_unbound"});
    teller.tells(&admin, "POST /admin/quarantine/release", many, released).await;
    let why = json!({"reason": "test"});
    teller.tells(&admin, "POST /admin/quarantine/{hash}/discard", why, discarded).await;
    let mut phone = muster_tests::phone::Phone::new(teller.world.server().client("student").await, 7);
    let capture = phone.submission(teller.world.lecture.locator(), "123456", teller.world.server().clock_ms());
    phone.push(&[capture]).await;
    let many = json!({"waits_for": "device_unbound", "reason": "test"});
    teller.tells(&admin, "POST /admin/quarantine/discard", many, discarded).await;
    teller.tells(&admin, "POST /admin/device-requests/{hash}/approve", json!({}), "device.approve").await;
}

async fn faces(teller: &mut Teller<'_>) {
    let (student, admin) = (teller.world.student.client.clone(), teller.world.admin.clone());
    let part = Part::bytes(tokio::task::spawn_blocking(anna).await.unwrap()).file_name("me.jpg");
    let form = Form::new().part("image", part.mime_str("image/jpeg").unwrap());
    let enrol = student.request(reqwest::Method::POST, &format!("{PREFIX}/students/enroll-face")).multipart(form);
    teller.leaves(&student, ("POST", "/students/enroll-face"), enrol, "face.enrol").await;
    teller.tells(&student, "DELETE /students/face", Value::Null, "face.withdraw").await;
    teller.tells(&admin, "POST /admin/face-reenrolments/{user_id}/approve", Value::Null, "face.approve").await;
}
