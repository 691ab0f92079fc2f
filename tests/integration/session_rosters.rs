//! A session has the roster of its own time, and names its students as the university does.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_tests::lecture::{Lecture, flags};
use muster_tests::{Client, TestServer};
use serde_json::{Value, json};

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

fn students(lecture: &Lecture) -> String {
    format!("/api/v1/courses/{}/students", lecture.course)
}

async fn enrol(lecture: &Lecture, id: &str) {
    lecture.lecturer.post(&students(lecture), &json!({"user_ids": [id]})).await.expect(200);
}

async fn leave(lecture: &Lecture, id: &str) {
    lecture.lecturer.delete(&format!("{}/{id}", students(lecture))).await.expect(204);
}

/// A further session of the course, two hours from now.
async fn session(lecture: &Lecture) -> String {
    let body = json!({"course_id": lecture.course, "duration_minutes": 120});
    let planned = lecture.lecturer.post("/api/v1/lecturers/sessions", &body).await.expect(201);
    planned["locator"].as_str().unwrap().to_owned()
}

/// The rows of a CSV by the names of their columns.
fn table(bytes: &[u8]) -> Vec<BTreeMap<String, String>> {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let mut lines = text.split("\r\n").filter(|line| !line.is_empty());
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    let row =
        |line: &str| header.iter().zip(line.split(',')).map(|(name, cell)| ((*name).into(), cell.into())).collect();
    lines.map(row).collect()
}

async fn export(client: &Client, locator: &str) -> Vec<BTreeMap<String, String>> {
    table(&client.get(&format!("/api/v1/lecturers/sessions/{locator}/export")).await.bytes)
}

/// Who is in the roster of a session, and in which state: the list, its counts and the export say the same.
async fn roster(lecture: &Lecture, locator: &str) -> BTreeMap<String, String> {
    let path = format!("/api/v1/lecturers/sessions/{locator}/attendance");
    let listed = lecture.lecturer.get(&path).await.expect(200);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let items = listed["items"].as_array().unwrap();
    let rows: BTreeMap<_, _> = items.iter().map(|row| (text(&row["user_id"]), text(&row["state"]))).collect();
    let counted: u64 = listed["counts"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(counted, rows.len() as u64);
    let exported = export(&lecture.lecturer, locator).await;
    let exported: BTreeMap<_, _> = exported.iter().map(|row| (row["user_id"].clone(), row["state"].clone())).collect();
    assert_eq!(exported, rows);
    rows
}

#[tokio::test]
async fn who_was_not_enrolled_at_the_time_of_a_session_is_not_absent_from_it() {
    let mut lecture = Lecture::begin().await;
    let [stays, leaves, joins, returns] =
        ["stays", "leaves", "joins", "returns"].map(|name| format!("{name}@x.example"));
    let mut ids = BTreeMap::new();
    for email in [&stays, &leaves, &joins, &returns] {
        ids.insert(email.clone(), lecture.server.create_user(email, "student").await);
    }
    for email in [&stays, &leaves, &returns] {
        enrol(&lecture, &ids[email]).await;
    }
    let first = lecture.locator().to_string();
    // A mistake that is mended while the session lasts leaves no trace.
    enrol(&lecture, &ids[&joins]).await;
    assert_eq!(roster(&lecture, &first).await.len(), 4);
    leave(&lecture, &ids[&joins]).await;
    assert_eq!(roster(&lecture, &first).await.len(), 3);

    lecture.later(WEEK).await;
    leave(&lecture, &ids[&leaves]).await;
    leave(&lecture, &ids[&returns]).await;
    enrol(&lecture, &ids[&joins]).await;
    let second = session(&lecture).await;
    lecture.later(WEEK).await;
    enrol(&lecture, &ids[&returns]).await;
    let third = session(&lecture).await;
    lecture.later(WEEK).await;

    let absent = |emails: &[&String]| -> BTreeMap<String, String> {
        emails.iter().map(|email| (ids[*email].clone(), "absent".to_owned())).collect()
    };
    assert_eq!(roster(&lecture, &first).await, absent(&[&stays, &leaves, &returns]));
    assert_eq!(roster(&lecture, &second).await, absent(&[&stays, &joins]));
    assert_eq!(roster(&lecture, &third).await, absent(&[&stays, &joins, &returns]));
    // Today's course is what it is today.
    let listed = lecture.lecturer.get(&students(&lecture)).await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_late_record_is_judged_by_the_enrolments_of_its_session_s_time() {
    let mut lecture = Lecture::begin().await;
    let (mut was_there, mut came_later) = (lecture.student(1).await, lecture.stranger(2).await);
    let manifest = lecture.manifest(None);
    let code = lecture.claim().await.code;
    let wall_ms = manifest.clocks.wall_ms;
    let items = [&mut was_there, &mut came_later]
        .map(|phone| phone.submission_with(lecture.locator(), &code, wall_ms, &manifest));
    lecture.later(WEEK).await;
    leave(&lecture, was_there.client.user_id()).await;
    enrol(&lecture, came_later.client.user_id()).await;
    for (phone, item, enrolled) in [(&mut was_there, 0, true), (&mut came_later, 1, false)] {
        phone.client = lecture.again(&phone.client).await;
        let id = lecture.send(phone, items[item].clone()).await;
        let flags = flags(&lecture.verdict(&id, 1).await);
        assert_eq!(!flags.contains(&"enrolment:not_enrolled".to_owned()), enrolled, "{flags:?}");
    }
    let rows = roster(&lecture, lecture.locator().as_str()).await;
    assert_eq!(rows.len(), 2, "a record is in the roster whoever sent it: {rows:?}");
}

#[tokio::test]
async fn a_session_keeps_the_code_that_its_course_had_then() {
    let mut lecture = Lecture::begin().await;
    lecture.student(1).await;
    let first = lecture.locator().to_string();
    lecture.later(WEEK).await;
    let path = format!("/api/v1/courses/{}", lecture.course);
    for code in ["CS101-OLD", "CS201"] {
        lecture.lecturer.patch(&path, &json!({"code": code})).await.expect(200);
    }
    let second = session(&lecture).await;
    assert_eq!(export(&lecture.lecturer, &first).await[0]["course"], "CS101");
    let now = &export(&lecture.lecturer, &second).await[0];
    assert_eq!((now["course"].as_str(), &now["course_id"]), ("CS201", &lecture.course));
}

#[tokio::test]
async fn a_student_is_named_as_the_university_does_in_every_list_and_file() {
    let server = TestServer::start().await;
    let (admin, lecturer) = (server.client("admin").await, server.client("lecturer").await);
    let student = json!({"email": "ada@x.example", "name": "Ada", "student_id": "000123", "section": "B2"});
    let student = admin.post("/api/v1/students", &student).await.expect(201);
    let id = student["id"].as_str().unwrap();
    let course = lecturer.post("/api/v1/courses", &json!({"code": "CS101", "title": "A"})).await.expect(201);
    let course = course["id"].as_str().unwrap();
    let people = json!({"user_ids": [id]});
    lecturer.post(&format!("/api/v1/courses/{course}/students"), &people).await.expect(200);
    let body = json!({"course_id": course});
    let session = lecturer.post("/api/v1/lecturers/sessions", &body).await.expect(201);
    let locator = session["locator"].as_str().unwrap();
    let row = &export(&lecturer, locator).await[0];
    assert_eq!((row["student_id"].as_str(), row["section"].as_str(), row["user_id"].as_str()), ("000123", "B2", id));
    let listed = lecturer.get(&format!("/api/v1/lecturers/sessions/{locator}/attendance")).await.expect(200);
    let item = &listed["items"][0];
    assert_eq!((&item["student_id"], &item["section"], &item["user_id"]), (&json!("000123"), &json!("B2"), &json!(id)));
    let enrolled = lecturer.get(&format!("/api/v1/courses/{course}/students")).await.expect(200);
    assert_eq!(
        (&enrolled["items"][0]["external_id"], &enrolled["items"][0]["section"]),
        (&json!("000123"), &json!("B2"))
    );
}

/// Every text in an answer that begins like a time.
fn times(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) if text.len() > 18 && text.as_bytes()[10] == b'T' && text.as_bytes()[4] == b'-' => {
            found.push(text.clone());
        }
        Value::Array(items) => items.iter().for_each(|item| times(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| times(field, found)),
        _ => {}
    }
}

/// `2025-11-20T12:00:00.000Z`.
fn is_one_form(time: &str) -> bool {
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    shape == "9999-99-99T99:99:99.999Z"
}

#[tokio::test]
async fn every_time_has_one_form() {
    let mut lecture = Lecture::begin().await;
    let mut phone = lecture.student(1).await;
    lecture.server.clock().advance(Duration::from_millis(120));
    let id = lecture.capture(&mut phone, &lecture.manifest(None)).await;
    lecture.verdict(&id, 1).await;
    lecture.later(Duration::from_millis(7)).await;
    let admin = lecture.server.client("admin").await;
    let locator = lecture.locator();
    let mut found = Vec::new();
    for path in [
        "/admin/users".to_owned(),
        "/admin/devices".to_owned(),
        "/admin/audit".to_owned(),
        "/courses".to_owned(),
        "/auth/me".to_owned(),
        "/auth/verify".to_owned(),
        format!("/lecturers/sessions/{locator}"),
        format!("/lecturers/sessions/{locator}/attendance"),
        format!("/lecturers/attendance/{id}"),
        format!("/courses/{}/students", lecture.course),
    ] {
        let before = found.len();
        times(&admin.get(&format!("/api/v1{path}")).await.json(), &mut found);
        assert!(found.len() > before, "{path} tells a time");
    }
    for path in [format!("/lecturers/sessions/{locator}/export"), "/admin/audit/export".to_owned()] {
        let text = String::from_utf8(admin.get(&format!("/api/v1{path}")).await.bytes).unwrap();
        let cells = text.split([',', '\r', '\n']).map(|cell| Value::from(cell.to_owned()));
        let before = found.len();
        cells.for_each(|cell| times(&cell, &mut found));
        assert!(found.len() > before, "{path} tells a time");
    }
    let odd: Vec<_> = found.iter().filter(|time| !is_one_form(time)).collect();
    assert!(odd.is_empty(), "{odd:?}");
}

#[tokio::test]
async fn no_answer_tells_a_time_as_a_number_but_what_is_signed_so() {
    let server = TestServer::start().await;
    let description = server.anonymous().get("/openapi.json").await.expect(200);
    let mut numbers = Vec::new();
    for (schema, body) in description["components"]["schemas"].as_object().unwrap() {
        for (field, kind) in body["properties"].as_object().into_iter().flatten() {
            let is_number = kind["type"] == "integer"
                || kind["type"].as_array().is_some_and(|types| types.contains(&json!("integer")));
            if is_number && (field.ends_with("_at") || field.ends_with("_at_ms") || field.ends_with("time_ms")) {
                numbers.push(format!("{schema}.{field}"));
            }
        }
    }
    // A receipt's signature is over this very number.
    let signed = ["BindReceipt.received_at_ms", "FateReceipt.received_at_ms", "SubmissionReceipt.received_at_ms"];
    assert_eq!(numbers, signed);
}
