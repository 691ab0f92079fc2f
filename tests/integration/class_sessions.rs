//! Class sessions through HTTP: planning, the code of the moment, ending, and who may do all that.

use std::time::Duration;

use muster_server::class_sessions;
use muster_server::db::{DbError, Tx};
use muster_server::ids::TenantId;
use muster_server::log;
use muster_sync_core::document::{CodeMode, Entry, Label, Plan};
use muster_sync_core::time::session_code::CodeClaim;
use muster_sync_core::{DocumentName, Locator, change};
use muster_tests::lecture::{Lecture, check};
use muster_tests::phone::{Phone, TENANT};
use muster_tests::{Client, TestServer};
use serde_json::{Value, json};

const NOON_MS: i64 = 1_763_640_000_000;
const SESSIONS: &str = "/api/v1/lecturers/sessions";

async fn course(client: &Client, code: &str) -> String {
    let body = json!({"code": code, "title": "A course"});
    let created = client.post("/api/v1/courses", &body).await.expect(201);
    created["id"].as_str().unwrap().to_owned()
}

async fn open(client: &Client, course: &str) -> Value {
    let body = json!({"course_id": course, "duration_minutes": 10});
    client.post(SESSIONS, &body).await.expect(201)
}

fn path(session: &Value, rest: &str) -> String {
    format!("{SESSIONS}/{}{rest}", session["locator"].as_str().unwrap())
}

#[tokio::test]
async fn a_lecturer_opens_a_session_and_shows_its_code() {
    let server = TestServer::builder().manual_clock(NOON_MS).start().await;
    let lecturer = server.client("lecturer").await;
    let course = course(&lecturer, "CS101").await;
    let body = json!({
        "course_id": course, "title": "Week 3", "opens_at": "2025-11-20T13:00:00+01:00", "duration_minutes": 45,
        "late_after_minutes": 10, "geofence": {"latitude": 40.7128, "longitude": -74.006, "radius_m": 80},
    });
    let reply = lecturer.post(SESSIONS, &body).await;
    let location = reply.headers["location"].to_str().unwrap().to_owned();
    let session = reply.expect(201);
    assert_eq!(session["title"], "Week 3");
    assert_eq!(session["status"], "open");
    assert_eq!(session["opens_at"], "2025-11-20T12:00:00.000Z");
    assert_eq!(session["closes_at"], "2025-11-20T12:45:00.000Z");
    assert_eq!(session["late_after"], "2025-11-20T12:10:00.000Z");
    assert_eq!(session["geofence"], json!({"latitude": 40.7128, "longitude": -74.006, "radius_m": 80}));
    assert_eq!((&session["code_mode"], &session["step_seconds"]), (&json!("rotating"), &json!(15)));
    assert_eq!(session["code_valid_until"], "2025-11-20T12:00:15.000Z");
    let typed = CodeClaim::parse(session["session_code"].as_str().unwrap()).unwrap();
    let scanned = CodeClaim::parse(session["qr_payload"].as_str().unwrap()).unwrap();
    assert_eq!((typed.locator, &typed.code), (scanned.locator, &scanned.code));
    assert_eq!(scanned.step, Some(NOON_MS as u64 / 15_000));
    let shown = lecturer.get(&location).await.expect(200);
    assert_eq!(shown, session);
    let by_document = lecturer.get(&format!("{SESSIONS}/{}", session["id"].as_str().unwrap())).await.expect(200);
    assert_eq!(by_document, session);
}

#[tokio::test]
async fn the_code_rotates_and_a_static_one_does_not() {
    let server = TestServer::builder().manual_clock(NOON_MS).start().await;
    let lecturer = server.client("lecturer").await;
    let course = course(&lecturer, "CS101").await;
    let rotating = open(&lecturer, &course).await;
    let body = json!({"course_id": course, "code_mode": "static", "duration_minutes": 60});
    let fixed = lecturer.post(SESSIONS, &body).await.expect(201);
    assert_eq!(fixed["code_valid_until"], fixed["closes_at"]);
    server.clock().set(NOON_MS + 15_000);
    let code = |session: Value| session["session_code"].clone();
    assert_ne!(code(lecturer.get(&path(&rotating, "")).await.expect(200)), rotating["session_code"]);
    assert_eq!(code(lecturer.get(&path(&fixed, "")).await.expect(200)), fixed["session_code"]);
    let renewed = lecturer.post(&path(&fixed, "/regenerate"), &json!({})).await.expect(200);
    assert_eq!((&renewed["epoch"], &renewed["status"]), (&json!(1), &json!("open")));
    assert_ne!(renewed["session_code"], fixed["session_code"]);
}

#[tokio::test]
async fn a_session_ends_once() {
    let server = TestServer::builder().manual_clock(NOON_MS).start().await;
    let lecturer = server.client("lecturer").await;
    let course = course(&lecturer, "CS101").await;
    let (closed, expired, left) =
        (open(&lecturer, &course).await, open(&lecturer, &course).await, open(&lecturer, &course).await);
    server.clock().set(NOON_MS + 60_000);
    let reply = lecturer.post(&path(&closed, "/close"), &json!({})).await.expect(200);
    assert_eq!((&reply["status"], &reply["ends_at"]), (&json!("closed"), &json!("2025-11-20T12:01:00.000Z")));
    assert!(reply.get("session_code").is_none(), "an ended session shows no code: {reply}");
    server.clock().set(NOON_MS + 90_000);
    let again = lecturer.post(&path(&closed, "/close"), &json!({})).await.expect(200);
    assert_eq!(again["ends_at"], "2025-11-20T12:01:00.000Z");
    lecturer.post(&path(&closed, "/expire"), &json!({})).await.expect_error(409, "SESSION_ENDED");
    lecturer.post(&path(&closed, "/regenerate"), &json!({})).await.expect_error(409, "SESSION_ENDED");
    let reply = lecturer.post(&path(&expired, "/expire"), &json!({})).await.expect(200);
    assert_eq!(reply["status"], "expired");
    lecturer.post(&path(&expired, "/close"), &json!({})).await.expect_error(409, "SESSION_ENDED");
    let count = |listed: Value| listed["counts"].clone();
    let listed = lecturer.get(SESSIONS).await.expect(200);
    assert_eq!(count(listed), json!({"planned": 0, "open": 1, "closed": 1, "expired": 1}));
    server.clock().set(NOON_MS + 600_000);
    assert_eq!(lecturer.get(&path(&left, "")).await.expect(200)["status"], "expired");
    let listed = lecturer.get(&format!("{SESSIONS}?status=expired")).await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn the_list_has_pages_and_only_ones_own_courses() {
    let server = TestServer::builder().manual_clock(NOON_MS).start().await;
    let (lecturer, other, admin) =
        (server.client("lecturer").await, server.client("lecturer").await, server.client("admin").await);
    let (mine, theirs) = (course(&lecturer, "CS101").await, course(&other, "CS102").await);
    for hour in 0..3 {
        let opens_at = format!("2025-11-2{hour}T08:00:00Z");
        let body = json!({"course_id": mine, "opens_at": opens_at, "duration_minutes": 60});
        lecturer.post(SESSIONS, &body).await.expect(201);
    }
    open(&other, &theirs).await;
    let first = lecturer.get(&format!("{SESSIONS}?limit=2")).await.expect(200);
    let opens = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().unwrap().iter();
        items.map(|item| item["opens_at"].as_str().unwrap()[8..10].to_owned()).collect()
    };
    assert_eq!(opens(&first), ["22", "21"]);
    let second = format!("{SESSIONS}?limit=2&after={}", first["next"].as_str().unwrap());
    let second = lecturer.get(&second).await.expect(200);
    assert_eq!((opens(&second), second.get("next")), (vec!["20".to_owned()], None));
    let all = admin.get(SESSIONS).await.expect(200);
    assert_eq!(all["items"].as_array().unwrap().len(), 4);
    let one = admin.get(&format!("{SESSIONS}?course_id={theirs}")).await.expect(200);
    assert_eq!(one["items"].as_array().unwrap().len(), 1);
    let none = lecturer.get(&format!("{SESSIONS}?course_id={theirs}")).await.expect(200);
    assert_eq!(none["items"], json!([]));
    lecturer.get(&format!("{SESSIONS}?after=x")).await.expect_error(422, "VALIDATION_ERROR");
    lecturer.get(&format!("{SESSIONS}?status=lost")).await.expect_error(422, "VALIDATION_ERROR");
}

#[tokio::test]
async fn only_those_who_teach_the_course_and_admins_steer_a_session() {
    let server = TestServer::start().await;
    let (lecturer, other) = (server.client("lecturer").await, server.client("lecturer").await);
    let course = course(&lecturer, "CS101").await;
    let session = open(&lecturer, &course).await;
    let body = json!({"course_id": course});
    server.anonymous().post(SESSIONS, &body).await.expect_error(401, "UNAUTHORIZED");
    for role in ["student", "reviewer", "staff"] {
        let client = server.client(role).await;
        client.post(SESSIONS, &body).await.expect_error(403, "FORBIDDEN");
        client.get(SESSIONS).await.expect_error(403, "FORBIDDEN");
        client.get(&path(&session, "")).await.expect_error(403, "FORBIDDEN");
        for action in ["/close", "/expire", "/regenerate"] {
            client.post(&path(&session, action), &json!({})).await.expect_error(403, "FORBIDDEN");
        }
    }
    other.post(SESSIONS, &body).await.expect_error(404, "NOT_FOUND");
    other.get(&path(&session, "")).await.expect_error(404, "NOT_FOUND");
    for action in ["/close", "/expire", "/regenerate"] {
        other.post(&path(&session, action), &json!({})).await.expect_error(404, "NOT_FOUND");
    }
    lecturer.get(&format!("{SESSIONS}/ZZZZZZ")).await.expect_error(404, "NOT_FOUND");
    let admin = server.client("admin").await;
    admin.post(SESSIONS, &body).await.expect(201);
    admin.post(&path(&session, "/close"), &json!({})).await.expect(200);
}

#[tokio::test]
async fn a_plan_that_no_phone_would_take_is_refused() {
    let server = TestServer::start().await;
    let lecturer = server.client("lecturer").await;
    let course = course(&lecturer, "CS101").await;
    let fence = |latitude: f64, radius_m: i64| json!({"latitude": latitude, "longitude": 0.0, "radius_m": radius_m});
    for (wrong, field) in [
        (json!({"opens_at": "yesterday"}), "opens_at"),
        (json!({"opens_at": "2026-01-01T10:00:00Z", "closes_at": "2026-01-01T10:00:00Z"}), "closes_at"),
        (json!({"duration_minutes": 1441}), "closes_at"),
        (json!({"duration_minutes": 0}), "closes_at"),
        (json!({"duration_minutes": 5, "closes_at": "2026-01-01T10:00:00Z"}), "duration_minutes"),
        (json!({"late_after_minutes": 600}), "late_after_minutes"),
        (json!({"step_seconds": 4}), "step_seconds"),
        (json!({"geofence": fence(91.0, 50)}), "geofence.latitude"),
        (json!({"geofence": fence(1.0, 0)}), "geofence.radius_m"),
        (json!({"title": "x".repeat(201)}), "title"),
    ] {
        let mut body = wrong.clone();
        body["course_id"] = json!(course);
        let error = lecturer.post(SESSIONS, &body).await.expect_error(422, "VALIDATION_ERROR");
        assert_eq!(error["details"]["field"], field, "{wrong}: {error}");
    }
    let unknown = json!({"course_id": course, "colour": "red"});
    lecturer.post(SESSIONS, &unknown).await.expect_error(422, "VALIDATION_ERROR");
    let nowhere = json!({"course_id": "0190e1f4-0000-7000-8000-000000000000"});
    lecturer.post(SESSIONS, &nowhere).await.expect_error(404, "NOT_FOUND");
}

/// Lets a phone's plan into the log, as admission does once it has judged who may write it.
async fn plan(server: &TestServer, phone: &mut Phone, locator: Locator, course: &str, opens_at_ms: i64) {
    let entry = Entry::Plan(Plan {
        course: Label::new(course).unwrap(),
        opens_at_ms,
        closes_at_ms: opens_at_ms + 600_000,
        late_after_ms: None,
        code_mode: CodeMode::Rotating,
        step_s: 15,
        latitude_e7: None,
        longitude_e7: None,
        radius_m: None,
        by: None,
    });
    let name = DocumentName::ClassSession { locator };
    let signed = phone.write(&name, &entry);
    let valid = change::validate(TENANT, &name, &signed.bytes, &signed.signature).unwrap();
    let written: Result<(), DbError> = server
        .app()
        .db
        .write(move |tx: &Tx<'_>| {
            let appended = log::append(tx, &TenantId::default_tenant(), &name, &valid, &signed, NOON_MS, &[])?;
            class_sessions::project(tx, &appended).map(drop)
        })
        .await;
    written.unwrap();
}

#[tokio::test]
async fn an_early_capture_is_right_however_often_the_code_was_renewed_since() {
    let lecture = Lecture::begin().await;
    let mut student = lecture.student(31).await;
    let (locator, now_ms) = (lecture.locator(), lecture.server.clock_ms());
    let (code, seen) = (lecture.claim().await.code, lecture.manifest(None));
    let early = student.submission_with(locator, &code, now_ms, &seen);
    let path = format!("{SESSIONS}/{locator}/regenerate");
    for _ in 0..12 {
        lecture.server.clock().advance(Duration::from_secs(15));
        lecture.lecturer.post(&path, &json!({})).await.expect(200);
    }
    // Typed, so it names no step: it is looked for in each epoch, while that held.
    let id = lecture.send(&student, early).await;
    assert_eq!(check(&lecture.verdict(&id, 1).await, "code")["outcome"], "pass");
    // The code of the first epoch, shown to somebody else after all of that.
    lecture.server.clock().advance(Duration::from_secs(600));
    let mut other = lecture.student(32).await;
    let manifest = lecture.manifest(None);
    let late = other.submission_with(locator, &code, lecture.server.clock_ms(), &manifest);
    let id = lecture.send(&other, late).await;
    assert_eq!(check(&lecture.verdict(&id, 1).await, "code")["outcome"], "flag");
}

#[tokio::test]
async fn a_second_plan_contests_the_session_and_whoever_planned_it_sees_both() {
    let server = TestServer::builder().manual_clock(NOON_MS).start().await;
    let lecturer = server.client("lecturer").await;
    let (mine, other) = (course(&lecturer, "CS101").await, course(&lecturer, "CS102").await);
    let (mut first, mut rival) = (Phone::new(lecturer.clone(), 1), Phone::new(lecturer.clone(), 2));
    let locator = Locator::parse("K7M2QX").unwrap();
    plan(&server, &mut first, locator, &mine, NOON_MS).await;
    let shown = lecturer.get(&format!("{SESSIONS}/k7m2qx")).await.expect(200);
    assert_eq!((&shown["course_id"], &shown["contested"]), (&json!(mine), &json!(false)));
    assert_eq!((&shown["opens_at"], &shown["planned_for"]), (&json!("2025-11-20T12:00:00.000Z"), &Value::Null));
    // This phone never shared its code key, so the server cannot show its code; it can still end the session.
    assert!(shown.get("session_code").is_none());
    let closed = lecturer.post(&format!("{SESSIONS}/K7M2QX/close"), &json!({})).await.expect(200);
    assert_eq!(closed["status"], "closed");
    plan(&server, &mut rival, locator, &other, NOON_MS + 60_000).await;
    plan(&server, &mut first, locator, &other, NOON_MS + 60_000).await;
    let shown = server.client("admin").await.get(&format!("{SESSIONS}/k7m2qx")).await.expect(200);
    assert_eq!((&shown["course_id"], &shown["contested"]), (&Value::Null, &json!(true)));
    assert_eq!(shown["plans"].as_array().unwrap().len(), 3);
}
