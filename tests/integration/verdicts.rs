//! Verdicts, from a capture on a phone to what a lecturer sees: each way to cheat, and what a second look changes.

use std::time::Duration;

use muster_server::attendance;
use muster_server::db::{DbError, Tx};
use muster_server::ids::TenantId;
use muster_server::jobs;
use muster_sync_core::document::{CodeMode, Label, Plan};
use muster_sync_core::time::AnchorReading;
use muster_sync_core::{DocumentName, Locator};
use muster_tests::lecture::{HALL, Lecture, NOON_MS, check, flags};
use muster_tests::phone::{Phone, manifest};
use muster_tests::{Reply, TestServer};
use reqwest::Method;
use reqwest::multipart::Form;
use serde_json::{Value, json};

const MINUTE_MS: i64 = 60_000;

/// Pushes what a phone captured with the code of the moment, and gives the verdict.
async fn judged(lecture: &Lecture, phone: &mut Phone) -> Value {
    let id = lecture.capture(phone, &lecture.manifest(None)).await;
    lecture.verdict(&id, 1).await
}

/// Lets the judge look again at a record, and waits until it has.
async fn judge_again(lecture: &Lecture, id: &str) {
    let (app, tenant) = (lecture.server.app(), TenantId::default_tenant());
    let document = muster_sync_core::DocumentId::from_hex(id).unwrap();
    let written: Result<(), DbError> =
        app.db.write(move |tx: &Tx<'_>| jobs::enqueue(tx, &tenant, attendance::JUDGE_JOB, &document.0, 0)).await;
    written.unwrap();
    app.wake_jobs();
    for _ in 0..6_000 {
        let counts: Result<_, DbError> = app.db.read(|tx: &Tx<'_>| jobs::counts(tx, attendance::JUDGE_JOB)).await;
        if counts.unwrap().pending == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the judge never came to an end");
}

#[tokio::test]
async fn an_honest_capture_is_accepted_and_a_second_look_adds_nothing() {
    let lecture = Lecture::begin().await;
    let mut phone = lecture.student(1).await;
    let id = lecture.capture(&mut phone, &lecture.manifest(None)).await;
    let verdict = lecture.verdict(&id, 1).await;
    assert_eq!(flags(&verdict), [""; 0]);
    assert_eq!((&verdict["outcome"], &verdict["risk"]), (&json!("accepted"), &json!(0)));
    assert_eq!(verdict["policy"], "2026-11");
    assert_eq!(verdict["checks"].as_array().unwrap().len(), 11);
    assert_eq!(check(&verdict, "selfie_match")["reason"], "faces_off");
    let record = lecture.record(&id).await;
    assert_eq!((&record["record"]["state"], &record["record"]["awaiting_media"]), (&json!("accepted"), &json!(false)));
    judge_again(&lecture, &id).await;
    lecture.verdict(&id, 1).await;
}

#[tokio::test]
async fn each_way_to_cheat_is_flagged_by_its_own_reason() {
    let mut lecture = Lecture::begin().await;
    let old = lecture.claim().await;
    lecture.later(Duration::from_secs(20 * 60)).await;
    let now_ms = lecture.server.clock_ms();
    let fresh = lecture.claim().await;
    let cases: [(&str, &str, i64, Option<i64>, bool); 5] = [
        ("code:code_wrong", "000000", now_ms, Some(0), false),
        ("code:code_stale", &old.code, now_ms, Some(0), false),
        // 0.01 degrees of latitude are 1.1 km.
        ("geofence:outside_geofence", &fresh.code, now_ms, Some(100_000), false),
        ("geofence:position_missing", &fresh.code, now_ms, None, false),
        ("mock_location:mock_location", &fresh.code, now_ms, Some(0), true),
    ];
    for (index, (expected, code, captured_at_ms, north_e7, mocked)) in cases.into_iter().enumerate() {
        let mut phone = lecture.student(index as u8 + 1).await;
        let mut seen = lecture.manifest(None);
        seen.position = north_e7.map(|north_e7| {
            let mut position = HALL;
            (position.latitude_e7, position.mocked) = (HALL.latitude_e7 + north_e7, mocked);
            position
        });
        let item = phone.submission_with(lecture.locator(), code, captured_at_ms, &seen);
        let id = lecture.send(&phone, item).await;
        let verdict = lecture.verdict(&id, 1).await;
        assert_eq!(flags(&verdict), [expected]);
        assert_eq!(lecture.record(&id).await["record"]["state"], "flagged");
    }
}

#[tokio::test]
async fn a_clock_that_was_turned_back_is_seen_by_the_servers_anchor() {
    let lecture = Lecture::begin().await;
    let (mut honest, mut cheat) = (lecture.student(1).await, lecture.student(2).await);
    let mut expected = Vec::new();
    for (phone, turned_back_ms) in [(&mut honest, 0), (&mut cheat, 60 * MINUTE_MS)] {
        let anchor = phone.pull(&Default::default()).await.anchor.unwrap();
        let mut seen = lecture.manifest(None);
        seen.clocks.anchor = Some(AnchorReading { anchor, monotonic_ms: 1_000, boot_id: seen.clocks.boot_id });
        seen.clocks.wall_ms -= turned_back_ms;
        let id = lecture.capture(phone, &seen).await;
        expected.push(flags(&lecture.verdict(&id, 1).await));
    }
    assert_eq!(expected, [vec![], vec!["clock:clock_skew".to_owned()]]);
}

#[tokio::test]
async fn an_anchor_that_was_made_for_another_phone_says_nothing() {
    let lecture = Lecture::begin().await;
    let (mut phone, other) = (lecture.student(1).await, lecture.student(2).await);
    let anchor = other.pull(&Default::default()).await.anchor.unwrap();
    let mut seen = lecture.manifest(None);
    seen.clocks.anchor = Some(AnchorReading { anchor, monotonic_ms: 1_000, boot_id: seen.clocks.boot_id });
    let id = lecture.capture(&mut phone, &seen).await;
    let verdict = lecture.verdict(&id, 1).await;
    let clock = check(&verdict, "clock");
    assert_eq!((&clock["outcome"], &clock["reason"]), (&json!("pass"), &json!("anchor_ignored")));
}

#[tokio::test]
async fn a_student_of_another_course_and_a_second_submission_are_for_a_person() {
    let lecture = Lecture::begin().await;
    let mut stranger = lecture.stranger(1).await;
    assert_eq!(flags(&judged(&lecture, &mut stranger).await), ["enrolment:not_enrolled"]);
    let mut student = lecture.student(2).await;
    let id = lecture.capture(&mut student, &lecture.manifest(None)).await;
    assert_eq!(flags(&lecture.verdict(&id, 1).await), [""; 0]);
    lecture.capture(&mut student, &lecture.manifest(None)).await;
    assert_eq!(flags(&lecture.verdict(&id, 2).await), ["duplicate:duplicate"]);
    assert_eq!(lecture.record(&id).await["record"]["state"], "accepted", "the first one stands on its own");
}

#[tokio::test]
async fn a_student_who_copies_the_manifest_of_another_one_takes_nothing_from_either() {
    let lecture = Lecture::begin().await;
    let seen = lecture.manifest(None);
    for seed in [1, 2] {
        let mut phone = lecture.student(seed).await;
        let id = lecture.capture(&mut phone, &seen).await;
        assert_eq!(lecture.verdict(&id, 1).await["outcome"], "accepted");
    }
}

#[tokio::test]
async fn a_capture_after_the_session_was_closed_is_after_its_window() {
    let lecture = Lecture::begin().await;
    let (mut before, mut after) = (lecture.student(1).await, lecture.student(2).await);
    let code = lecture.claim().await.code;
    let close = format!("/api/v1/lecturers/sessions/{}/close", lecture.locator());
    lecture.lecturer.post(&close, &json!({})).await.expect(200);
    lecture.server.clock().advance(Duration::from_secs(6 * 60));
    for (phone, captured_at_ms, expected) in [
        (&mut before, NOON_MS, vec![]),
        (&mut after, lecture.server.clock_ms(), vec!["code:code_stale", "window:after_window"]),
    ] {
        let mut seen = lecture.manifest(None);
        seen.clocks.wall_ms = captured_at_ms;
        let item = phone.submission_with(lecture.locator(), &code, captured_at_ms, &seen);
        let id = lecture.send(phone, item).await;
        assert_eq!(flags(&lecture.verdict(&id, 1).await), expected);
    }
}

#[tokio::test]
async fn a_record_waits_for_the_plan_of_its_session() {
    let server = TestServer::builder().manual_clock(NOON_MS).start().await;
    let mut lecturer = Phone::new(server.client("lecturer").await, 7);
    lecturer.bind(&server).await;
    let body = json!({"code": "CS101", "title": "A course"});
    let course = lecturer.client.post("/api/v1/courses", &body).await.expect(201)["id"].as_str().unwrap().to_owned();
    let mut student = Phone::new(server.client("student").await, 1);
    student.bind(&server).await;
    let people = json!({"user_ids": [student.client.user_id()]});
    lecturer.client.post(&format!("/api/v1/courses/{course}/students"), &people).await.expect(200);

    let locator = Locator::parse("K7M2QX").unwrap();
    let item = student.submission_with(locator, "123456", NOON_MS, &manifest(NOON_MS));
    assert!(student.push(std::slice::from_ref(&item)).await[0].receipt.is_some());
    let mine = student.client.get("/api/v1/attendance").await.expect(200);
    assert_eq!(mine["items"][0]["standing"], "received");

    let plan = Plan {
        course: Label::new(&course).unwrap(),
        opens_at_ms: NOON_MS - MINUTE_MS,
        closes_at_ms: NOON_MS + MINUTE_MS,
        late_after_ms: None,
        code_mode: CodeMode::Rotating,
        step_s: 15,
        latitude_e7: None,
        longitude_e7: None,
        radius_m: None,
        by: None,
    };
    let name = DocumentName::ClassSession { locator };
    let planned = muster_tests::phone::Item { signed: lecturer.write(&name, &plan.into()), name, manifest: None };
    assert!(lecturer.push(&[planned]).await[0].receipt.is_some());
    let lecture = Lecture { server, lecturer: lecturer.client.clone(), course, session: json!({}) };
    let id = item.name.id(muster_tests::phone::TENANT).to_string();
    // The lecturer's phone was bound without sharing the key of its codes.
    assert_eq!(flags(&lecture.verdict(&id, 1).await), ["code:code_key_missing"]);
}

#[tokio::test]
async fn an_online_client_is_flagged_until_its_identifier_is_approved() {
    let lecture = Lecture::begin().await;
    let phone = lecture.student(1).await;
    let code = lecture.claim().await;
    let fields = [
        ("session_code", format!("{}-{}", lecture.locator(), code.code)),
        ("imei", "356938035643809".to_owned()),
        ("latitude", "52.52".to_owned()),
        ("longitude", "13.405".to_owned()),
        ("accuracy", "8".to_owned()),
    ];
    let form = fields.into_iter().fold(Form::new(), |form, (name, value)| form.text(name, value));
    let request = phone.client.request(Method::POST, "/api/v1/students/attendance").multipart(form);
    let id = Reply::of(request).await.expect(201)["id"].as_str().unwrap().to_owned();
    assert_eq!(flags(&lecture.verdict(&id, 1).await), ["device_binding:device_not_bound"]);
}

#[tokio::test]
async fn the_student_pulls_the_verdict_over_sync() {
    let lecture = Lecture::begin().await;
    let mut phone = lecture.student(1).await;
    let id = lecture.capture(&mut phone, &lecture.manifest(None)).await;
    lecture.verdict(&id, 1).await;
    let name = phone.attendance(lecture.locator());
    let pulled = phone.pull(&Default::default()).await;
    assert_eq!(pulled.changes.iter().filter(|(of, ..)| *of == name).count(), 2, "the submission and its verdict");
}
