//! Attendance through HTTP: online submissions, rosters, evidence, decisions and exports.

use std::io::Cursor;
use std::time::Duration;

use image::{ImageFormat, RgbImage};
use muster_server::db::{DbError, Tx};
use muster_server::error::AppError;
use muster_server::ids::TenantId;
use muster_server::{attendance, class_sessions, jobs, log};
use muster_sync_core::document::{Appeal, Code, CodeMode, Entry, Label, Outcome, Plan, Verdict};
use muster_sync_core::evidence::{Check, CheckOutcome, Checks};
use muster_sync_core::time::Receipt;
use muster_sync_core::{ChangeHash, DeviceKey, DocumentId, DocumentName, Locator};
use muster_tests::{Client, Reply, TestServer};
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

const NOON_MS: i64 = 1_763_640_000_000;
const SUBMIT: &str = "/api/v1/students/attendance";
const SESSIONS: &str = "/api/v1/lecturers/sessions";
const RECORDS: &str = "/api/v1/lecturers/attendance";

/// A course with a lecturer, a student and an open session.
struct Lecture {
    server: TestServer,
    lecturer: Client,
    student: Client,
    course: String,
    session: Value,
}

impl Lecture {
    async fn begin() -> Self {
        let server = TestServer::builder().manual_clock(NOON_MS).start().await;
        let (lecturer, student) = (server.client("lecturer").await, server.client("student").await);
        let body = json!({"code": "CS101", "title": "A course"});
        let course = lecturer.post("/api/v1/courses", &body).await.expect(201)["id"].as_str().unwrap().to_owned();
        let body = json!({"course_id": course, "duration_minutes": 10, "title": "Week 3"});
        let session = lecturer.post(SESSIONS, &body).await.expect(201);
        let lecture = Self { server, lecturer, student, course, session };
        lecture.enrol(&lecture.student).await;
        lecture
    }

    async fn enrol(&self, student: &Client) {
        let path = format!("/api/v1/courses/{}/students", self.course);
        self.lecturer.post(&path, &json!({"user_ids": [student.user_id()]})).await.expect(200);
    }

    fn code(&self) -> String {
        self.session["session_code"].as_str().unwrap().to_owned()
    }

    fn path(&self, rest: &str) -> String {
        format!("{SESSIONS}/{}{rest}", self.session["locator"].as_str().unwrap())
    }

    /// A record of `student` that only this test's verdicts judge.
    async fn record(&self, student: &Client) -> String {
        let submitted = submit(student, form(&self.code())).await.expect(201);
        let id = submitted["id"].as_str().unwrap().to_owned();
        unjudged(&self.server, &id).await;
        id
    }

    /// A record of the student that the machine flagged.
    async fn flagged(&self) -> String {
        let id = self.record(&self.student).await;
        judge(&self.server, &id, Outcome::Flagged).await;
        id
    }

    async fn state(&self, id: &str) -> Value {
        self.lecturer.get(&format!("{RECORDS}/{id}")).await.expect(200)["record"]["state"].clone()
    }
}

fn form(code: &str) -> Form {
    let fields = [("session_code", code), ("imei", "356938035643809"), ("latitude", "40.7128")];
    let fields = fields.into_iter().chain([("longitude", "-74.0060"), ("accuracy", "12.5"), ("mocked", "false")]);
    fields.fold(Form::new(), |form, (name, value)| form.text(name, value.to_owned()))
}

fn picture(shade: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let image = RgbImage::from_pixel(64, 48, image::Rgb([shade, 90, 60]));
    image.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png).unwrap();
    bytes
}

fn file(bytes: Vec<u8>) -> Part {
    Part::bytes(bytes).file_name("picture").mime_str("image/png").unwrap()
}

async fn submit(student: &Client, form: Form) -> Reply {
    Reply::of(student.request(Method::POST, SUBMIT).multipart(form)).await
}

async fn decide(reviewer: &Client, id: &str, body: Value) -> Reply {
    reviewer.post(&format!("{RECORDS}/{id}/confirm"), &body).await
}

fn document(id: &str) -> DocumentId {
    DocumentId::from_hex(id).unwrap()
}

/// Withdraws the judge's work, or waits until it is done: from here on the record changes only by this test.
async fn unjudged(server: &TestServer, id: &str) {
    let (app, document, tenant) = (server.app().clone(), document(id), TenantId::default_tenant());
    for _ in 0..6_000 {
        let tenant = tenant.clone();
        let pending: Result<bool, DbError> = app
            .db
            .write(move |tx: &Tx<'_>| {
                jobs::cancel(tx, &tenant, attendance::JUDGE_JOB, &document.0)?;
                let left = jobs::counts(tx, attendance::JUDGE_JOB)?;
                Ok(left.pending > 0)
            })
            .await;
        if !pending.unwrap() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the judge does not come to rest");
}

/// Writes a verdict as the judge does.
async fn judge(server: &TestServer, id: &str, outcome: Outcome) {
    let (app, id, tenant) = (server.app(), document(id), TenantId::default_tenant());
    let read: Result<_, DbError> = app
        .db
        .read(move |tx: &Tx<'_>| Ok((attendance::record_for(tx, id)?, attendance::submissions_of(tx, id)?)))
        .await;
    let (record, submissions) = read.unwrap();
    let record = record.unwrap();
    let check = |name: &str, outcome, score: Option<f64>, reason: Option<&str>| Check {
        name: name.to_owned(),
        outcome,
        score,
        threshold: score.map(|_| 80.0),
        reason: reason.map(str::to_owned),
    };
    let geofence = match outcome {
        Outcome::Flagged => check("geofence", CheckOutcome::Flag, Some(412.0), Some("outside_fence")),
        Outcome::Accepted => check("geofence", CheckOutcome::Pass, Some(12.0), None),
    };
    let checks = Checks(vec![
        check("code", CheckOutcome::Pass, None, None),
        geofence,
        check(attendance::NOT_BEFORE, CheckOutcome::Skipped, Some(NOON_MS as f64), None),
        check(attendance::NOT_AFTER, CheckOutcome::Skipped, Some((NOON_MS + 90_000) as f64), None),
    ]);
    let verdict = Verdict {
        of: submissions.last().unwrap().hash,
        outcome,
        risk: 40,
        checks: checks.to_bytes(),
        policy: Code::new("test-1").unwrap(),
        model: None,
    };
    let name = DocumentName::Attendance { locator: record.locator, student: record.student.clone() };
    let channels = log::channels_of(&name, record.course.as_deref());
    let course = record.course;
    log::append_as_server(app, &tenant, vec![(name, channels, verdict.into())], move |tx, appended| {
        appended.iter().try_for_each(|entry| attendance::project(tx, entry, course.as_deref())).map_err(AppError::from)
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_student_submits_online_and_everybody_sees_what_is_theirs() {
    let lecture = Lecture::begin().await;
    let absent = lecture.server.client("student").await;
    lecture.enrol(&absent).await;
    let form = form(&lecture.code()).part("selfie", file(picture(1))).part("presence_image", file(picture(2)));
    let submitted = submit(&lecture.student, form).await.expect(201);
    assert_eq!((&submitted["state"], &submitted["session_known"]), (&json!("received"), &json!(true)));
    assert_eq!(submitted["received_at"], "2025-11-20T12:00:00.000Z");
    let receipt = &submitted["receipt"];
    let hex = |value: &Value| data_encoding::HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap();
    let signed = Receipt {
        log_index: receipt["log_index"].as_u64().unwrap(),
        received_at_ms: receipt["received_at_ms"].as_i64().unwrap(),
        signature: hex(&receipt["signature"]).try_into().unwrap(),
    };
    let server_key = DeviceKey::from_hex(receipt["server_key"].as_str().unwrap()).unwrap();
    let id = submitted["id"].as_str().unwrap();
    let submission = ChangeHash::from_hex(submitted["submission_id"].as_str().unwrap()).unwrap();
    assert_eq!(signed.verify(&server_key, document(id), submission), Ok(()));
    unjudged(&lecture.server, id).await;
    judge(&lecture.server, id, Outcome::Accepted).await;

    let mine = lecture.student.get("/api/v1/attendance").await.expect(200);
    assert_eq!(mine["items"][0]["id"], id);
    assert_eq!(
        (&mine["items"][0]["standing"], &mine["items"][0]["session_title"]),
        (&json!("accepted"), &json!("Week 3"))
    );
    assert_eq!(
        mine["items"][0]["checks"][0],
        json!({
            "name": "code", "outcome": "pass", "words": "the session code: in order",
        })
    );
    assert_eq!(absent.get("/api/v1/attendance").await.expect(200)["items"], json!([]));

    let roster = lecture.lecturer.get(&lecture.path("/attendance")).await.expect(200);
    assert_eq!(roster["counts"], json!({"accepted": 1, "expected": 1}));
    lecture.lecturer.post(&lecture.path("/close"), &json!({})).await.expect(200);
    let roster = lecture.lecturer.get(&lecture.path("/attendance")).await.expect(200);
    assert_eq!(roster["counts"], json!({"accepted": 1, "absent": 1}));
    let missing = lecture.lecturer.get(&lecture.path("/attendance?state=absent")).await.expect(200);
    assert_eq!(missing["items"].as_array().unwrap().len(), 1);
    assert_eq!(missing["items"][0]["user_id"], absent.user_id());
    let first = lecture.lecturer.get(&lecture.path("/attendance?limit=1")).await.expect(200);
    let next = format!("/attendance?limit=1&after={}", first["next"].as_str().unwrap());
    let second = lecture.lecturer.get(&lecture.path(&next)).await.expect(200);
    assert_ne!(first["items"][0]["user_id"], second["items"][0]["user_id"]);
    assert!(second.get("next").is_none());
}

#[tokio::test]
async fn the_same_submission_sent_twice_is_one() {
    let lecture = Lecture::begin().await;
    let with_picture = || form(&lecture.code()).part("selfie", file(picture(7)));
    let first = submit(&lecture.student, with_picture()).await.expect(201);
    unjudged(&lecture.server, first["id"].as_str().unwrap()).await;
    lecture.server.clock().set(NOON_MS + 5_000);
    let again = submit(&lecture.student, with_picture()).await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
    let again = again.expect(201);
    for key in ["id", "submission_id", "receipt", "received_at"] {
        assert_eq!(again[key], first[key], "{key}");
    }
    // Another picture is another submission of the same record.
    let other = submit(&lecture.student, form(&lecture.code())).await.expect(201);
    assert_eq!(other["id"], first["id"]);
    assert_ne!(other["submission_id"], first["submission_id"]);
    let record = lecture.lecturer.get(&format!("{RECORDS}/{}", first["id"].as_str().unwrap())).await.expect(200);
    assert_eq!(record["submissions"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn the_same_submission_sent_at_once_is_one() {
    let lecture = Lecture::begin().await;
    let send = || submit(&lecture.student, form(&lecture.code()));
    let (a, b, c) = tokio::join!(send(), send(), send());
    let ids: Vec<_> = [a, b, c].map(|reply| reply.expect(201)["submission_id"].clone()).into();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[tokio::test]
async fn an_idempotency_key_names_one_form() {
    let lecture = Lecture::begin().await;
    let send = |form: Form, key: &str| {
        let request = lecture.student.request(Method::POST, SUBMIT).header("Idempotency-Key", key).multipart(form);
        Reply::of(request)
    };
    let first = send(form(&lecture.code()), "k1").await.expect(201);
    let again = send(form(&lecture.code()), "k1").await.expect(201);
    assert_eq!(again["submission_id"], first["submission_id"]);
    let changed = form(&lecture.code()).text("captured_at", "2025-11-20T11:59:00Z");
    send(changed, "k1").await.expect_error(409, "IDEMPOTENCY_KEY_REUSED");
    send(form(&lecture.code()), &"k".repeat(129)).await.expect_error(422, "VALIDATION_ERROR");
}

#[tokio::test]
async fn a_form_that_is_wrong_is_refused_with_the_field() {
    let lecture = Lecture::begin().await;
    let code = lecture.code();
    let only = |fields: &[(&'static str, &str)]| {
        fields.iter().fold(Form::new(), |form, (name, value)| form.text(*name, (*value).to_owned()))
    };
    for (fields, field) in [
        (vec![("imei", "356938035643809")], "session_code"),
        (vec![("session_code", "ABC")], "session_code"),
        (vec![("session_code", "K7M2QX-12345X")], "session_code"),
        (vec![("session_code", &*code), ("latitude", "91"), ("longitude", "0")], "latitude"),
        (vec![("session_code", &*code), ("latitude", "0"), ("longitude", "-181")], "longitude"),
        (vec![("session_code", &*code), ("latitude", "1"), ("longitude", "0"), ("mocked", "perhaps")], "mocked"),
        (vec![("session_code", &*code), ("captured_at", "noon")], "captured_at"),
    ] {
        let error = submit(&lecture.student, only(&fields)).await.expect_error(422, "VALIDATION_ERROR");
        assert_eq!(error["details"]["field"], field, "{fields:?}");
    }
    let long = "x".repeat(257);
    submit(&lecture.student, only(&[("session_code", &long)])).await.expect_error(422, "VALIDATION_ERROR");
    let text = form(&code).part("selfie", file(b"no picture at all".to_vec()));
    submit(&lecture.student, text).await.expect_error(415, "UNSUPPORTED_MEDIA_TYPE");
    let mut cut = picture(3);
    cut.truncate(cut.len() / 2);
    submit(&lecture.student, form(&code).part("selfie", file(cut))).await.expect_error(422, "IMAGE_INVALID");
    let mut large = picture(3);
    large.resize(5 * 1024 * 1024 + 1, 0);
    submit(&lecture.student, form(&code).part("selfie", file(large))).await.expect_error(413, "PAYLOAD_TOO_LARGE");
    let huge = form(&code).part("selfie", file(vec![0; 11 * 1024 * 1024]));
    submit(&lecture.student, huge).await.expect_error(413, "PAYLOAD_TOO_LARGE");
    let not_a_form = lecture.student.post(SUBMIT, &json!({"session_code": code})).await;
    assert_eq!(not_a_form.status.as_u16(), 400);
    // None of that left a record, and a right form still makes one.
    assert_eq!(lecture.student.get("/api/v1/attendance").await.expect(200)["items"], json!([]));
    submit(&lecture.student, only(&[("session_code", &code), ("colour", "red")])).await.expect(201);
}

#[tokio::test]
async fn only_students_and_admins_submit() {
    let lecture = Lecture::begin().await;
    submit(&lecture.server.anonymous(), form(&lecture.code())).await.expect_error(401, "UNAUTHORIZED");
    for role in ["guest", "lecturer", "reviewer", "staff"] {
        let client = lecture.server.client(role).await;
        submit(&client, form(&lecture.code())).await.expect_error(403, "FORBIDDEN");
    }
}

#[tokio::test]
async fn a_submission_waits_for_a_plan_that_comes_later() {
    let lecture = Lecture::begin().await;
    let locator = Locator::parse("ZZZZZZ").unwrap();
    let submitted = submit(&lecture.student, form("ZZZZZZ-123456")).await.expect(201);
    assert_eq!((&submitted["state"], &submitted["session_known"]), (&json!("received"), &json!(false)));
    let path = format!("{RECORDS}/{}", submitted["id"].as_str().unwrap());
    unjudged(&lecture.server, submitted["id"].as_str().unwrap()).await;
    lecture.lecturer.get(&path).await.expect_error(404, "NOT_FOUND");
    let plan = Plan {
        course: Label::new(&lecture.course).unwrap(),
        opens_at_ms: NOON_MS,
        closes_at_ms: NOON_MS + 60_000,
        late_after_ms: None,
        code_mode: CodeMode::Rotating,
        step_s: 15,
        latitude_e7: None,
        longitude_e7: None,
        radius_m: None,
        by: Label::new(lecture.lecturer.user_id()),
    };
    let name = DocumentName::ClassSession { locator };
    let tenant = TenantId::default_tenant();
    log::append_as_server(
        lecture.server.app(),
        &tenant,
        vec![(name, vec![], Entry::Plan(plan))],
        move |tx, appended| {
            appended.iter().try_for_each(|entry| class_sessions::project(tx, entry).map(drop))?;
            attendance::follow_session(tx, &TenantId::default_tenant(), &locator, NOON_MS).map(drop)?;
            Ok(())
        },
    )
    .await
    .unwrap();
    let record = lecture.lecturer.get(&path).await.expect(200);
    assert_eq!(record["record"]["course_id"], lecture.course);
    let document = document(submitted["id"].as_str().unwrap());
    let waiting: Result<_, DbError> =
        lecture.server.app().db.read(|tx: &Tx<'_>| jobs::counts(tx, attendance::JUDGE_JOB)).await;
    let judged: Result<_, DbError> =
        lecture.server.app().db.read(move |tx: &Tx<'_>| attendance::verdicts_of(tx, document)).await;
    assert!(waiting.unwrap().pending == 1 || !judged.unwrap().is_empty(), "the record is judged now");
}

#[tokio::test]
async fn a_student_cannot_pile_up_records_of_sessions_that_nobody_knows() {
    let lecture = Lecture::begin().await;
    for number in 0..20 {
        submit(&lecture.student, form(&format!("ZZZZ{number:02}-123456"))).await.expect(201);
    }
    submit(&lecture.student, form("ZZZZ20-123456")).await.expect_error(409, "SESSION_UNKNOWN");
    submit(&lecture.student, form(&lecture.code())).await.expect(201);
}

#[tokio::test]
async fn a_reviewer_sees_the_evidence_and_nobody_else_does() {
    let lecture = Lecture::begin().await;
    let form = form(&lecture.code()).part("selfie", file(picture(9)));
    let id = submit(&lecture.student, form).await.expect(201)["id"].as_str().unwrap().to_owned();
    unjudged(&lecture.server, &id).await;
    judge(&lecture.server, &id, Outcome::Flagged).await;
    let path = format!("{RECORDS}/{id}");
    let detail = lecture.lecturer.get(&path).await.expect(200);
    let submission = &detail["submissions"][0];
    assert_eq!(submission["source"], "gateway");
    assert_eq!(
        submission["evidence"]["position"],
        json!({
            "latitude": 40.7128, "longitude": -74.006, "accuracy_m": 13, "mocked": false,
        })
    );
    let verdict = detail["verdicts"].as_array().unwrap().last().unwrap();
    assert_eq!(
        verdict["checks"][1],
        json!({
            "name": "geofence", "outcome": "flag", "score": 412.0, "threshold": 80.0, "reason": "outside_fence",
            "words": "where the capture was made: a person has to look (outside fence)",
        })
    );
    assert_eq!(verdict["not_after"], "2025-11-20T12:01:30.000Z");
    assert!(verdict["checks"].as_array().unwrap().iter().all(|check| check["name"] != "not_before"));
    let image = &submission["evidence"]["images"][0];
    assert_eq!((&image["purpose"], &image["media_type"]), (&json!("selfie"), &json!("image/png")));
    let image_path = format!("{path}/images/{}", image["id"].as_str().unwrap());
    let shown = lecture.lecturer.get(&image_path).await;
    assert_eq!((shown.status.as_u16(), &shown.headers["content-type"]), (200, &"image/png".parse().unwrap()));
    assert_eq!(image::load_from_memory(&shown.bytes).unwrap().to_rgb8().dimensions(), (64, 48));
    lecture.server.client("reviewer").await.get(&image_path).await.headers["content-security-policy"].to_str().unwrap();

    let other = lecture.server.client("lecturer").await;
    for path in [&path, &image_path] {
        other.get(path).await.expect_error(404, "NOT_FOUND");
        lecture.student.get(path).await.expect_error(403, "FORBIDDEN");
        lecture.server.client("staff").await.get(path).await.expect_error(403, "FORBIDDEN");
        lecture.server.anonymous().get(path).await.expect_error(401, "UNAUTHORIZED");
    }
    lecture.lecturer.get(&format!("{path}/images/{}", "0".repeat(64))).await.expect_error(404, "NOT_FOUND");
    lecture.lecturer.get(&format!("{path}/images/..%2Fx")).await.expect_error(404, "NOT_FOUND");
    lecture.lecturer.get(&format!("{RECORDS}/{}", "0".repeat(32))).await.expect_error(404, "NOT_FOUND");
    lecture.lecturer.get(&format!("{RECORDS}/x")).await.expect_error(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_picture_of_another_record_is_not_shown() {
    let lecture = Lecture::begin().await;
    let (stranger, admin) = (lecture.server.client("lecturer").await, lecture.server.client("admin").await);
    let body = json!({"code": "CS102", "title": "Another course"});
    let other = stranger.post("/api/v1/courses", &body).await.expect(201)["id"].clone();
    let session = stranger.post(SESSIONS, &json!({"course_id": other})).await.expect(201);
    let selfie = form(session["session_code"].as_str().unwrap()).part("selfie", file(picture(9)));
    let theirs = submit(&lecture.student, selfie).await.expect(201)["id"].as_str().unwrap().to_owned();
    unjudged(&lecture.server, &theirs).await;
    let mine = lecture.record(&lecture.student).await;
    let detail = admin.get(&format!("{RECORDS}/{theirs}")).await.expect(200);
    let image = detail["submissions"][0]["evidence"]["images"][0]["id"].as_str().unwrap().to_owned();
    admin.get(&format!("{RECORDS}/{mine}/images/{image}")).await.expect_error(404, "NOT_FOUND");
    lecture.lecturer.get(&format!("{RECORDS}/{mine}/images/{image}")).await.expect_error(404, "NOT_FOUND");
    assert_eq!(admin.get(&format!("{RECORDS}/{theirs}/images/{image}")).await.status.as_u16(), 200);
}

#[tokio::test]
async fn a_lecturer_decides_and_takes_it_back() {
    let lecture = Lecture::begin().await;
    let id = lecture.flagged().await;
    assert_eq!(lecture.state(&id).await, "flagged");
    let mine = lecture.student.get("/api/v1/attendance").await.expect(200);
    assert_eq!(mine["items"][0]["standing"], "in review");
    // The system that this endpoint comes from sends no body at all.
    let bare = lecture.lecturer.request(Method::POST, &format!("{RECORDS}/{id}/confirm"));
    let confirmed = Reply::of(bare).await.expect(200);
    assert_eq!(
        (&confirmed["state"], &confirmed["decided_by"]),
        (&json!("confirmed"), &json!(lecture.lecturer.user_id()))
    );
    let undone = decide(&lecture.lecturer, &id, json!({"action": "undo"})).await.expect(200);
    assert_eq!((&undone["state"], &undone["decided_by"]), (&json!("flagged"), &Value::Null));
    decide(&lecture.lecturer, &id, json!({"action": "undo"})).await.expect_error(409, "NOTHING_TO_UNDO");
    for (action, state) in
        [("late", "late"), ("excuse", "excused"), ("escalate", "escalated"), ("confirm", "confirmed")]
    {
        let decided = decide(&lecture.lecturer, &id, json!({"action": action, "reason": "seen_in_hall"})).await;
        assert_eq!(decided.expect(200)["state"], state);
    }
    let error = decide(&lecture.lecturer, &id, json!({"action": "reject"})).await.expect_error(422, "VALIDATION_ERROR");
    assert_eq!(error["details"]["field"], "reason");
    let reject = json!({"action": "reject", "reason": "other_person", "note": "The picture shows somebody else."});
    let rejected = decide(&lecture.lecturer, &id, reject).await.expect(200);
    assert_eq!((&rejected["state"], &rejected["decision_reason"]), (&json!("rejected"), &json!("other_person")));
    let detail = lecture.lecturer.get(&format!("{RECORDS}/{id}")).await.expect(200);
    let newest = detail["decisions"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(newest["note"], "The picture shows somebody else.");
    assert_eq!(detail["heads"], json!([newest["id"]]));
    let mine = lecture.student.get("/api/v1/attendance").await.expect(200);
    assert_eq!(mine["items"][0]["standing"], "decided");
    assert!(!mine.to_string().contains("somebody else"), "a note is for those who review");
}

#[tokio::test]
async fn the_higher_rank_has_the_last_word() {
    let lecture = Lecture::begin().await;
    let id = lecture.flagged().await;
    let admin = lecture.server.client("admin").await;
    decide(&lecture.lecturer, &id, json!({})).await.expect(200);
    let path = format!("/api/v1/admin/attendance/{id}/set-status");
    admin.post(&path, &json!({"status": "rejected"})).await.expect_error(422, "VALIDATION_ERROR");
    admin.post(&path, &json!({"status": "lost"})).await.expect_error(422, "VALIDATION_ERROR");
    for status in ["late", "excused", "confirmed", "rejected"] {
        let set = admin.post(&path, &json!({"status": status, "reason": "hearing"})).await.expect(200);
        assert_eq!((&set["state"], &set["decided_by"]), (&json!(status), &json!(admin.user_id())));
    }
    decide(&lecture.lecturer, &id, json!({})).await.expect_error(409, "DECIDED_BY_HIGHER_RANK");
    assert_eq!(lecture.state(&id).await, "rejected");
    for role in ["student", "lecturer", "reviewer", "staff"] {
        let client = lecture.server.client(role).await;
        client.post(&path, &json!({"status": "late"})).await.expect_error(403, "FORBIDDEN");
    }
    let nothing = format!("/api/v1/admin/attendance/{}/set-status", "0".repeat(32));
    admin.post(&nothing, &json!({"status": "late"})).await.expect_error(404, "NOT_FOUND");
}

#[tokio::test]
async fn decisions_that_had_not_seen_each_other_are_disputed_until_somebody_has() {
    let lecture = Lecture::begin().await;
    let (id, reviewer) = (lecture.flagged().await, lecture.server.client("reviewer").await);
    decide(&lecture.lecturer, &id, json!({"seen": []})).await.expect(200);
    let reject = json!({"action": "reject", "reason": "other_person", "seen": []});
    assert_eq!(decide(&reviewer, &id, reject).await.expect(200)["state"], "disputed");
    let listed = lecture.lecturer.get(&lecture.path("/flagged")).await.expect(200);
    assert_eq!(listed["items"][0]["state"], "disputed");
    let heads = lecture.lecturer.get(&format!("{RECORDS}/{id}")).await.expect(200)["heads"].clone();
    assert_eq!(heads.as_array().unwrap().len(), 2);
    let settled = decide(&reviewer, &id, json!({"action": "late", "seen": heads})).await.expect(200);
    assert_eq!(settled["state"], "late");
    let unknown = json!({"seen": ["0".repeat(64)]});
    decide(&reviewer, &id, unknown).await.expect_error(422, "VALIDATION_ERROR");
    decide(&reviewer, &id, json!({"seen": ["x"]})).await.expect_error(422, "VALIDATION_ERROR");
    decide(&reviewer, &id, json!({"colour": "red"})).await.expect_error(422, "VALIDATION_ERROR");
}

#[tokio::test]
async fn only_people_of_the_course_and_reviewers_decide_and_nobody_about_themselves() {
    let lecture = Lecture::begin().await;
    let id = lecture.flagged().await;
    lecture
        .server
        .client("lecturer")
        .await
        .post(&format!("{RECORDS}/{id}/confirm"), &json!({}))
        .await
        .expect_error(404, "NOT_FOUND");
    for client in [lecture.student.clone(), lecture.server.client("staff").await] {
        decide(&client, &id, json!({})).await.expect_error(403, "FORBIDDEN");
    }
    decide(&lecture.server.anonymous(), &id, json!({})).await.expect_error(401, "UNAUTHORIZED");
    decide(&lecture.server.client("reviewer").await, &id, json!({})).await.expect(200);
    let admin = lecture.server.client("admin").await;
    let own = lecture.record(&admin).await;
    decide(&admin, &own, json!({})).await.expect_error(403, "OWN_RECORD");
    let path = format!("/api/v1/admin/attendance/{own}/set-status");
    admin.post(&path, &json!({"status": "confirmed"})).await.expect_error(403, "OWN_RECORD");
    decide(&lecture.lecturer, &own, json!({})).await.expect(200);
    let long = json!({"note": "x".repeat(2_001)});
    decide(&lecture.lecturer, &own, long).await.expect_error(422, "VALIDATION_ERROR");
    decide(&lecture.lecturer, &own, json!({"reason": "free text"})).await.expect_error(422, "VALIDATION_ERROR");
}

#[tokio::test]
async fn what_waits_for_a_person_is_listed() {
    let lecture = Lecture::begin().await;
    let id = lecture.flagged().await;
    let other = lecture.server.client("student").await;
    let fine = lecture.record(&other).await;
    judge(&lecture.server, &fine, Outcome::Accepted).await;
    let own = lecture.lecturer.get(&lecture.path("/flagged")).await.expect(200);
    assert_eq!(own["items"].as_array().unwrap().len(), 1);
    assert_eq!(
        own["items"][0]["flags"][0],
        json!({
            "check": "geofence", "reason": "outside_fence", "words": "where the capture was made (outside fence)",
        })
    );
    for client in [lecture.server.client("admin").await, lecture.server.client("reviewer").await] {
        let all = client.get("/api/v1/admin/flagged").await.expect(200);
        assert_eq!((all["items"].as_array().unwrap().len(), &all["items"][0]["id"]), (1, &json!(id)));
        assert_eq!(all["counts"], json!({"flagged": 1}));
        for (filter, found) in [
            ("flag=geofence", 1),
            ("flag=outside_fence", 1),
            ("flag=fence", 0),
            ("flag=%25", 0),
            ("state=disputed", 0),
            (&*format!("course_id={}", lecture.course), 1),
        ] {
            let listed = client.get(&format!("/api/v1/admin/flagged?{filter}")).await.expect(200);
            assert_eq!(listed["items"].as_array().unwrap().len(), found, "{filter}");
        }
    }
    for client in [lecture.lecturer.clone(), lecture.student.clone(), lecture.server.client("staff").await] {
        client.get("/api/v1/admin/flagged").await.expect_error(403, "FORBIDDEN");
    }
    let stranger = lecture.server.client("lecturer").await;
    for rest in ["/attendance", "/flagged", "/export"] {
        stranger.get(&lecture.path(rest)).await.expect_error(404, "NOT_FOUND");
        lecture.student.get(&lecture.path(rest)).await.expect_error(403, "FORBIDDEN");
        assert_eq!(lecture.server.client("staff").await.get(&lecture.path(rest)).await.status.as_u16(), 200);
    }
    decide(&lecture.lecturer, &id, json!({})).await.expect(200);
    assert_eq!(lecture.lecturer.get(&lecture.path("/flagged")).await.expect(200)["items"], json!([]));
}

#[tokio::test]
async fn the_export_is_csv_that_no_spreadsheet_runs() {
    let lecture = Lecture::begin().await;
    let id = lecture.flagged().await;
    decide(&lecture.lecturer, &id, json!({"action": "late", "reason": "bus"})).await.expect(200);
    let account = json!({"email": "evil@x.example", "password": "correct horse 9", "full_name": "=1+1, \"x\""});
    let evil = lecture.server.anonymous().post("/api/v1/auth/register", &account).await.expect(201);
    let people = json!({"user_ids": [evil["id"]]});
    lecture.lecturer.post(&format!("/api/v1/courses/{}/students", lecture.course), &people).await.expect(200);
    let reply = lecture.lecturer.get(&lecture.path("/export")).await;
    assert_eq!(reply.status.as_u16(), 200);
    assert!(reply.headers["content-type"].to_str().unwrap().starts_with("text/csv"));
    let locator = lecture.session["locator"].as_str().unwrap();
    assert_eq!(reply.headers["content-disposition"], format!("attachment; filename=\"attendance-{locator}.csv\""));
    let text = String::from_utf8(reply.bytes).unwrap();
    let lines: Vec<_> = text.split("\r\n").collect();
    assert_eq!((lines.len(), lines[3]), (4, ""), "a header, two rows and the last line's end: {text}");
    assert!(
        lines[0].starts_with("name,email,student_id,course,session,opens_at,state,flags,captured_at_device,received")
    );
    assert!(lines[1].starts_with("\"'=1+1, \"\"x\"\"\",evil@x.example,"), "{}", lines[1]);
    assert!(lines[1].contains(",CS101,") && lines[1].contains(",expected,"), "{}", lines[1]);
    let times = "2025-11-20T12:00:00.000Z,2025-11-20T12:00:00.000Z,2025-11-20T12:00:00.000Z,2025-11-20T12:01:30.000Z";
    assert!(lines[2].contains(&format!(",late,geofence:outside_fence,{times},40,")), "{}", lines[2]);
    assert!(lines[2].ends_with(&format!(",late,bus,{id}")), "{}", lines[2]);
    let late = lecture.lecturer.get(&lecture.path("/export?state=late&bom=true")).await.bytes;
    assert!(late.starts_with(&[0xEF, 0xBB, 0xBF]));
    assert_eq!(String::from_utf8(late).unwrap().lines().count(), 2);
    lecture.server.client("reviewer").await.get(&lecture.path("/export")).await.expect_error(403, "FORBIDDEN");
    lecture
        .server
        .client("admin")
        .await
        .get(&lecture.path("/export?colour=red"))
        .await
        .expect_error(422, "VALIDATION_ERROR");
}

#[tokio::test]
async fn somebody_else_decides_an_appeal() {
    let lecture = Lecture::begin().await;
    let id = lecture.flagged().await;
    let reject = json!({"action": "reject", "reason": "other_person"});
    decide(&lecture.lecturer, &id, reject).await.expect(200);
    let mine = lecture.student.get("/api/v1/attendance").await.expect(200);
    let of = ChangeHash::from_hex(mine["items"][0]["decisions"][0]["id"].as_str().unwrap()).unwrap();
    let student = lecture.student.user_id().to_owned();
    let appeal = Appeal { of, reason: Code::new("it_was_me").unwrap(), note_hash: None, by: Label::new(&student) };
    let locator = Locator::parse(lecture.session["locator"].as_str().unwrap()).unwrap();
    let name = DocumentName::Attendance { locator, student };
    let entries = vec![(name, vec![], Entry::Appeals(appeal))];
    log::append_as_server(lecture.server.app(), &TenantId::default_tenant(), entries, |tx, appended| {
        appended.iter().try_for_each(|entry| attendance::project(tx, entry, None)).map_err(AppError::from)
    })
    .await
    .unwrap();
    let mine = lecture.student.get("/api/v1/attendance").await.expect(200);
    assert_eq!((&mine["items"][0]["standing"], &mine["items"][0]["state"]), (&json!("appealed"), &json!("rejected")));
    let waiting = lecture.lecturer.get(&lecture.path("/flagged")).await.expect(200);
    assert_eq!(waiting["items"][0]["appeal_open"], true);
    decide(&lecture.lecturer, &id, json!({})).await.expect_error(403, "APPEAL_NEEDS_ANOTHER");
    let reviewer = lecture.server.client("reviewer").await;
    assert_eq!(decide(&reviewer, &id, json!({})).await.expect(200)["state"], "confirmed");
    let detail = lecture.lecturer.get(&format!("{RECORDS}/{id}")).await.expect(200);
    assert_eq!(
        (&detail["record"]["appeal_open"], &detail["appeals"][0]["reason"]),
        (&json!(false), &json!("it_was_me"))
    );
    // An undo can be taken back too: it is a decision like any other.
    let undone = decide(&reviewer, &id, json!({"action": "undo"})).await.expect(200);
    assert_eq!(undone["state"], "rejected");
    let detail = lecture.lecturer.get(&format!("{RECORDS}/{id}")).await.expect(200);
    let undo = detail["decisions"].as_array().unwrap().last().unwrap()["id"].clone();
    let redone = decide(&reviewer, &id, json!({"action": "undo", "of": undo})).await.expect(200);
    assert_eq!(redone["state"], "confirmed");
}
