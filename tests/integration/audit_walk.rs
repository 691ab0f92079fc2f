//! Every route that writes leaves one audit row: a story per route, and no route without its story.

use std::collections::BTreeSet;
use std::io::Cursor;

use data_encoding::BASE64;
use muster_server::audit::AuditRow;
use muster_sync_core::DeviceKey;
use muster_sync_core::sync::auth::{CHALLENGE_PATH, answer_challenge};
use muster_tests::models::{ANNA_IN_SAMPLE_1, models_dir, sample_part};
use muster_tests::{Client, PASSWORD, Reply, TestServer};
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use super::audit;
use super::world::{PREFIX, World, parameters, routes};

/// Writes whose evidence is the change log: what a device signed is there with its signature, its time and its place.
/// The bytes of an image are what a signed manifest names by their hash.
const SIGNED: &[(&str, &str)] = &[("POST", "/sync"), ("PUT", "/blobs/{sha256}")];

/// What is posted and changes nothing: the server remembers no challenge before it is answered.
const CHANGES_NOTHING: &[(&str, &str)] = &[("POST", "/auth/device/challenge")];

/// Stories that are told where their mail, their codes or their providers are: in which file, and which action it looks for.
const TOLD_ELSEWHERE: &[(&str, &str, &str, &str)] = &[
    ("POST", "/auth/mfa/enroll", "mfa.rs", "mfa.enroll"),
    ("POST", "/auth/mfa/enrol", "mfa.rs", "mfa.enroll"),
    ("POST", "/auth/mfa/confirm", "mfa.rs", "mfa.confirm"),
    ("POST", "/auth/mfa/complete", "mfa.rs", "mfa.complete"),
    ("POST", "/auth/mfa/disable", "mfa.rs", "mfa.disable"),
    ("POST", "/auth/mfa/backup-codes/regenerate", "mfa.rs", "mfa.backup_regenerate"),
    ("POST", "/auth/mfa/required/enroll", "mfa.rs", "mfa.enroll"),
    ("POST", "/auth/mfa/required/confirm", "mfa.rs", "mfa.confirm"),
    ("POST", "/admin/users/{id}/reset-mfa", "mfa.rs", "mfa.reset"),
    ("POST", "/auth/password-reset/request", "password_reset.rs", "password.reset_request"),
    ("POST", "/auth/password-reset/confirm", "password_reset.rs", "password.reset"),
    ("POST", "/auth/confirm-email", "password_reset.rs", "email.confirm"),
    ("POST", "/admin/sessions/{id}/settle", "contest.rs", "class_session.settle"),
    ("POST", "/auth/oauth/exchange", "oidc_accounts.rs", "oauth.sign_in"),
    ("POST", "/auth/oauth/link", "oidc_accounts.rs", "oauth.link"),
    ("POST", "/auth/oauth/{provider}/link", "oidc_accounts.rs", "oauth.link"),
    ("DELETE", "/auth/oauth/{provider}/link", "oidc_accounts.rs", "oauth.unlink"),
    ("POST", "/admin/users/{id}/unlock", "unlock.rs", "auth.sign_in_unlock"),
];

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
        audit::all_rows(self.world.server()).await
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

    /// The same for a request of any kind. What an action brings with it is named after it, with a space between.
    async fn leaves(
        &mut self,
        who: &Client,
        (method, template): (&str, &str),
        request: reqwest::RequestBuilder,
        action: &str,
    ) -> Value {
        let actions: Vec<_> = action.split(' ').collect();
        let before = self.rows().await.len();
        let reply = Reply::of(request).await;
        let text = String::from_utf8_lossy(&reply.bytes).into_owned();
        assert!(reply.status.is_success(), "{method} {template}: {} {text}", reply.status);
        let rows = self.rows().await;
        let new: Vec<_> = rows[before..].iter().map(|row| row.action.as_str()).collect();
        assert_eq!(new, actions, "{method} {template}");
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
    accounts(&mut teller).await;
    signing_in(&mut teller).await;

    for route in routes(world.server()).await.iter().filter(|route| route.is_write()) {
        let key = (route.method.as_str(), route.template());
        let told = teller.told.contains(&(route.method.clone(), route.template().to_owned()));
        let elsewhere = TOLD_ELSEWHERE.iter().find(|(method, path, ..)| (*method, *path) == key);
        if let Some((.., file, action)) = elsewhere {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("integration").join(file);
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.contains(&format!("\"{action}\"")), "{file} does not look for {action}");
        }
        let is_known = told || elsewhere.is_some() || SIGNED.contains(&key) || CHANGES_NOTHING.contains(&key);
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
    teller.tells(&lecturer, "PATCH /courses/{id}", json!({"title": "Another"}), "course.update").await;
    teller.tells(&admin, "DELETE /courses/{id}/lecturers/{user_id}", Value::Null, "course.unteach").await;
    let back = json!({"user_ids": [lecturer.user_id()]});
    let path = format!("{PREFIX}/courses/{}/lecturers", world.lecture.course);
    admin.post(&path, &back).await.expect(200);
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
    let mut lost = muster_tests::phone::Phone::new(world.server().client("student").await, 70);
    lost.bind(world.server()).await;
    let path = format!("{PREFIX}/students/device/{}/end", lost.public_key());
    let end = lost.client.request(reqwest::Method::POST, &path).json(&json!({"password": PASSWORD}));
    teller.leaves(&lost.client, ("POST", "/students/device/{key}/end"), end, "device.end").await;
    let student = world.server().client("student").await;
    let first = json!({"imei": "356938035643809"});
    let asked = teller.tells(&student, "POST /students/device/bind", first, "device.ask").await;
    let hash = |asked: &Value| asked["request"]["hash"].as_str().expect("the request's id").to_owned();
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

async fn accounts(teller: &mut Teller<'_>) {
    let world = teller.world;
    let admin = world.admin.clone();
    let user = json!({"email": "new@uni.example", "display_name": "New", "role": "staff"});
    teller.tells(&admin, "POST /admin/users", user, "user.create").await;
    let role = json!({"role": "reviewer"});
    teller.tells(&admin, "PATCH /admin/users/{id}", role, "user.role").await;
    let student = json!({"email": "s@uni.example", "display_name": "Student"});
    teller.tells(&world.staff, "POST /students", student, "user.create").await;
    let section = json!({"section": "A2"});
    teller.tells(&world.staff, "PATCH /students/{id}", section, "user.update").await;
    let roster = "email,name,role,course\nr@uni.example,Roster,student,CS101\n";
    let import = admin.request(reqwest::Method::POST, &format!("{PREFIX}/admin/roster/import?format=csv"));
    let import = import.header("content-type", "text/csv").body(roster);
    teller.leaves(&admin, ("POST", "/admin/roster/import"), import, "roster.import").await;
}

async fn signing_in(teller: &mut Teller<'_>) {
    let server = teller.world.server();
    let email = "ada@uni.example";
    let ada = server.anonymous().as_user(&server.create_user(email, "student").await);
    let login = json!({ "email": email, "password": PASSWORD });
    let tokens = teller.tells(&ada, "POST /auth/login", login.clone(), "auth.sign_in").await;
    let refresh = json!({ "refresh_token": tokens["refresh_token"] });
    let tokens = teller.tells(&ada, "POST /auth/refresh", refresh, "auth.refresh").await;
    let signed_in = |tokens: &Value| {
        let client = server.with_token(tokens["access_token"].as_str().unwrap());
        client.as_user(ada.user_id())
    };
    let here = signed_in(&tokens);
    let name = json!({"display_name": "Ada Lovelace"});
    teller.tells(&here, "PUT /auth/profile", name, "auth.profile_update").await;
    teller.tells(&here, "POST /auth/confirm-email/request", Value::Null, "email.confirm_request").await;
    let change = json!({"current_password": PASSWORD, "new_password": "another horse battery"});
    let changed = "auth.password_change auth.sign_in";
    let tokens = teller.tells(&here, "POST /auth/change-password", change, changed).await;
    let here = signed_in(&tokens);
    teller.tells(&here, "POST /auth/logout-all", Value::Null, "auth.sign_out_everywhere").await;
    let login = json!({ "email": email, "password": "another horse battery" });
    let tokens = ada.post(&format!("{PREFIX}/auth/login"), &login).await.expect(200);
    teller.tells(&signed_in(&tokens), "POST /auth/logout", Value::Null, "auth.sign_out").await;
    for (path, email) in [("/auth/register", "eve@uni.example"), ("/auth/signup", "eva@uni.example")] {
        let body = json!({"email": email, "password": "quite a long password", "name": "Eve"});
        let sign_up = server.anonymous().request(reqwest::Method::POST, &format!("/v1{path}")).json(&body);
        let nobody = server.anonymous().as_user("anonymous");
        teller.leaves(&nobody, ("POST", path), sign_up, "auth.sign_up").await;
    }
    let phone = &teller.world.student;
    let asked = json!({"device_key": phone.public_key().to_string()});
    let challenge = server.anonymous().post(CHALLENGE_PATH, &asked).await.expect(200);
    let key = DeviceKey::from_hex(challenge["server_key"].as_str().unwrap()).unwrap();
    let bytes = BASE64.decode(challenge["challenge"].as_str().unwrap().as_bytes()).unwrap();
    let signature = BASE64.encode(&answer_challenge(&phone.key, &key, &bytes).unwrap());
    let answer = json!({
        "device_key": phone.public_key().to_string(), "challenge": challenge["challenge"], "signature": signature
    });
    teller.tells(&phone.client, "POST /auth/device/token", answer, "auth.sign_in").await;
}
