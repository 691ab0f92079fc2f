//! Who planned a session owns it: a second plan by somebody else gives nobody who teaches anything, until an admin decides.

use muster_sync_core::document::{
    Code, CodeMode, Decision, DecisionAction, Entry, Label, Plan, PlanAction, PlanChange,
};
use muster_sync_core::limits::SESSION_ENTRIES_PER_PERSON_MAX;
use muster_sync_core::store::SessionStanding;
use muster_sync_core::sync::message::FateKind;
use muster_sync_core::{ChangeHash, DocumentName, Locator};
use muster_tests::lecture::{HALL, Lecture, NOON_MS, check};
use muster_tests::phone::{Item, Phone, TENANT};
use muster_tests::pocket::Pocket;
use muster_tests::{Client, Data, TestServer};
use serde_json::{Value, json};
use std::collections::HashMap;

use super::admin::muster;

const SESSIONS: &str = "/api/v1/lecturers/sessions";

/// Somebody who teaches a course and plans with a phone.
struct Planner {
    phone: Phone,
    course: String,
}

impl Planner {
    async fn new(lecture: &Lecture, client: Client, course: &str, seed: u8) -> Self {
        let mut phone = Phone::new(client, seed);
        phone.bind(&lecture.server).await;
        Self { phone, course: course.to_owned() }
    }

    async fn of_another_course(lecture: &Lecture, seed: u8) -> Self {
        let client = lecture.server.client("lecturer").await;
        let body = json!({"code": format!("X{seed}"), "title": "Another course"});
        let course = client.post("/api/v1/courses", &body).await.expect(201)["id"].as_str().unwrap().to_owned();
        Self::new(lecture, client, &course, seed).await
    }

    fn write(&mut self, name: DocumentName, entry: impl Into<Entry>) -> Item {
        Item { signed: self.phone.write(&name, &entry.into()), name, manifest: None }
    }

    fn plan(&mut self, locator: Locator) -> (Item, String) {
        let plan = Plan {
            course: Label::new(&self.course).unwrap(),
            opens_at_ms: NOON_MS,
            closes_at_ms: NOON_MS + 3_600_000,
            late_after_ms: None,
            code_mode: CodeMode::Rotating,
            step_s: 15,
            latitude_e7: None,
            longitude_e7: None,
            radius_m: None,
            by: None,
        };
        let name = DocumentName::ClassSession { locator };
        let item = self.write(name.clone(), plan);
        (item, self.phone.tips[&name.id(TENANT)].hash.to_string())
    }

    async fn accepted(&self, item: Item) {
        let fates = self.phone.push(&[item]).await;
        assert_eq!(fates[0].kind, FateKind::Accepted, "{fates:?}");
    }

    /// Whether a fresh phone of this person gets the record.
    async fn pulls(&self, record: &str) -> bool {
        let page = self.phone.pull(&HashMap::new()).await;
        page.changes.iter().any(|(name, ..)| name.id(TENANT).to_string() == record)
    }

    async fn status(&self, path: &str) -> u16 {
        self.phone.client.get(path).await.status.as_u16()
    }
}

async fn take_over(planner_first: bool) {
    let lecture = Lecture::begin().await;
    let admin = lecture.server.client("admin").await;
    let mut planner = Planner::new(&lecture, lecture.lecturer.clone(), &lecture.course, 71).await;
    let mut rival = Planner::of_another_course(&lecture, 72).await;
    let mut student = lecture.student(73).await;
    let locator = Locator::from_random([3, 1, 4, 1]);
    let capture = student.submission(locator, "123456", NOON_MS);
    let id = lecture.send(&student, capture).await;
    let ((own, own_id), (other, _)) = (planner.plan(locator), rival.plan(locator));
    let close = PlanChange::new(PlanAction::Close, NOON_MS + 1, 0, None);
    let close = rival.write(DocumentName::ClassSession { locator }, close);
    if planner_first {
        planner.accepted(own).await;
        rival.accepted(other).await;
    } else {
        rival.accepted(other).await;
        // While nobody else claims the session, it is theirs, and what they do to it is taken.
        rival.accepted(close).await;
        planner.accepted(own).await;
    }

    let (record, roster) = (format!("/api/v1/lecturers/attendance/{id}"), format!("{SESSIONS}/{locator}/attendance"));
    for person in [&planner, &rival] {
        assert_eq!(person.status(&record).await, 404);
        for rest in ["attendance", "flagged", "export"] {
            let reply = person.phone.client.get(&format!("{SESSIONS}/{locator}/{rest}")).await;
            reply.expect_error(409, "SESSION_CONTESTED");
        }
        assert!(!person.pulls(&id).await, "nobody who teaches gets the record by sync");
        let client = &person.phone.client;
        let shown = client.get(&format!("{SESSIONS}/{locator}")).await.expect(200);
        assert_eq!((&shown["contested"], &shown["course_id"]), (&json!(true), &json!(person.course)));
        assert_eq!(shown["plans"].as_array().unwrap().len(), 2, "both see both");
        let listed = client.get(SESSIONS).await.expect(200);
        assert!(listed["items"].as_array().unwrap().iter().any(|one| one["locator"] == locator.as_str()), "{listed:#}");
        client.post(&format!("{SESSIONS}/{locator}/close"), &json!({})).await.expect_error(409, "SESSION_CONTESTED");
    }
    lecture.server.client("lecturer").await.get(&format!("{SESSIONS}/{locator}")).await.expect_error(404, "NOT_FOUND");
    let named = admin.get("/api/v1/admin/audit?action=class_session.contest").await.expect(200);
    let second = if planner_first { &rival } else { &planner };
    assert_eq!(named["items"][0]["actor_id"], second.phone.client.user_id(), "{named:#}");

    // A decision of a lecturer waits until somebody has settled whose session it is.
    let decision = Decision {
        of: ChangeHash([1; 32]),
        after: Vec::new(),
        action: DecisionAction::Confirm,
        reason: Code::new("seen"),
        rank: 2,
        by: Label::new(planner.phone.client.user_id()).unwrap(),
        note_hash: None,
    };
    let decision = planner.write(student.attendance(locator), decision);
    let fates = planner.phone.push(std::slice::from_ref(&decision)).await;
    assert_eq!((fates[0].kind, fates[0].reason.as_deref()), (FateKind::Quarantined, Some("session_contested")));

    settle(&admin, locator, &own_id, &planner).await;
    assert_eq!((planner.status(&record).await, planner.status(&roster).await), (200, 200));
    assert_eq!((rival.status(&record).await, rival.status(&roster).await), (404, 404));
    assert!(planner.pulls(&id).await && !rival.pulls(&id).await);
    let detail = planner.phone.client.get(&record).await.expect(200);
    assert_eq!(detail["record"]["state"], "confirmed", "what waited was judged again");
    let shown = planner.phone.client.get(&format!("{SESSIONS}/{locator}")).await.expect(200);
    assert_eq!((&shown["contested"], &shown["status"]), (&json!(false), &json!("open")), "the rival closed nothing");

    let data = lecture.server.stop().await;
    let rebuilt = muster(&data, &["rebuild"], "");
    assert!(rebuilt.status.success(), "the log says the same: {rebuilt:?}");
}

/// An admin settles the session; nobody else can, and nothing but one of its plans can stand.
async fn settle(admin: &Client, locator: Locator, plan: &str, planner: &Planner) {
    let path = format!("/api/v1/admin/sessions/{locator}/settle");
    let body = json!({"plan": plan, "reason": "planner_known"});
    planner.phone.client.post(&path, &body).await.expect_error(403, "FORBIDDEN");
    for wrong in [json!({"plan": "0".repeat(64), "reason": "x"}), json!({"plan": plan, "reason": "free text"})] {
        admin.post(&path, &wrong).await.expect_error(422, "VALIDATION_ERROR");
    }
    let settled = admin.post(&path, &body).await.expect(200);
    assert_eq!(settled["course_id"], Value::from(planner.course.as_str()));
    let named = admin.get(&format!("/api/v1/admin/audit?action={}", "class_session.settle")).await.expect(200);
    assert_eq!(named["items"][0]["reason"], "planner_known");
}

#[tokio::test]
async fn a_session_that_a_stranger_planned_first_is_its_planners_again() {
    take_over(false).await;
}

#[tokio::test]
async fn a_session_that_a_stranger_planned_later_is_its_planners_again() {
    take_over(true).await;
}

#[tokio::test]
async fn the_planners_phone_hears_of_the_contest_and_a_waiting_one_of_the_settlement() {
    let lecture = Lecture::begin().await;
    let admin = lecture.server.client("admin").await;
    let mut pocket = Pocket::new(&lecture.server, "lecturer", 76).await;
    let path = format!("/api/v1/courses/{}/lecturers", lecture.course);
    lecture.lecturer.post(&path, &json!({"user_ids": [pocket.user]})).await.expect(200);
    pocket.bind(&lecture.server, &admin).await;
    let locator = pocket.open_session(&lecture.course, &HALL, NOON_MS);
    pocket.sync(&lecture.server).await;
    let mut student = lecture.student(77).await;
    let capture = student.submission(locator, "123456", NOON_MS);
    lecture.send(&student, capture).await;
    let standing = |pocket: &Pocket| pocket.store.session_standing(locator).unwrap();
    assert_eq!(standing(&pocket), SessionStanding::Own);

    let mut rival = Planner::of_another_course(&lecture, 78).await;
    let (other, other_id) = rival.plan(locator);
    rival.accepted(other).await;
    pocket.sync(&lecture.server).await;
    assert_eq!(standing(&pocket), SessionStanding::Contested);
    let page = rival.phone.pull(&HashMap::new()).await;
    assert_eq!(page.changes.iter().filter(|(name, ..)| name.key()[0] == locator.as_str()).count(), 2, "both plans");
    let code = pocket.store.session_code(locator, NOON_MS);
    assert!(code.is_ok(), "students still have to see a code");

    let client = lecture.server.sign_in(&pocket.email).await;
    let mut stream = client.request(reqwest::Method::GET, "/api/v1/sync/live").send().await.unwrap();
    let ready = stream.chunk().await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&ready).contains("event: ready"));
    let plans = admin.get(&format!("{SESSIONS}/{locator}")).await.expect(200)["plans"].clone();
    let own = plans.as_array().unwrap().iter().find(|plan| plan["id"] != other_id.as_str()).unwrap()["id"].clone();
    let settle = format!("/api/v1/admin/sessions/{locator}/settle");
    admin.post(&settle, &json!({"plan": own, "reason": "planner_known"})).await.expect(200);
    let staff = format!("data: course:{}:staff", lecture.course);
    let mut told = String::new();
    while !told.contains(&staff) {
        told.push_str(&String::from_utf8_lossy(&stream.chunk().await.unwrap().expect("the stream stays open")));
    }
    pocket.sync(&lecture.server).await;
    assert_eq!(standing(&pocket), SessionStanding::Own);
    assert_eq!(pocket.store.class_records(locator).unwrap().len(), 1);
    admin.post(&settle, &json!({"plan": other_id, "reason": "mistaken"})).await.expect(200);
    pocket.sync(&lecture.server).await;
    assert_eq!(standing(&pocket), SessionStanding::OfAnother);
}

#[tokio::test]
async fn a_new_phone_of_the_planner_contests_nothing() {
    let lecture = Lecture::begin().await;
    let mut old = Planner::new(&lecture, lecture.lecturer.clone(), &lecture.course, 81).await;
    let mut new = Planner::new(&lecture, lecture.lecturer.clone(), &lecture.course, 82).await;
    let locator = Locator::from_random([3, 1, 4, 2]);
    let (first, second) = (old.plan(locator).0, new.plan(locator).0);
    old.accepted(first).await;
    new.accepted(second).await;
    let shown = lecture.lecturer.get(&format!("{SESSIONS}/{locator}")).await.expect(200);
    assert_eq!((&shown["contested"], &shown["rival_plans"]), (&json!(false), &json!(0)));
    assert_eq!(old.status(&format!("{SESSIONS}/{locator}/attendance")).await, 200);
}

#[tokio::test]
async fn after_another_word_of_an_admin_records_are_judged_by_that_plans_code() {
    let lecture = Lecture::begin().await;
    let admin = lecture.server.client("admin").await;
    let colleague = lecture.server.client("lecturer").await;
    let path = format!("/api/v1/courses/{}/lecturers", lecture.course);
    lecture.lecturer.post(&path, &json!({"user_ids": [colleague.user_id()]})).await.expect(200);
    // This phone never shared its code key, so its plan's code cannot be checked.
    let mut rival = Planner::new(&lecture, colleague, &lecture.course, 74).await;
    let mut student = lecture.student(75).await;
    let id = lecture.capture(&mut student, &lecture.manifest(None)).await;
    assert_eq!(check(&lecture.verdict(&id, 1).await, "code")["outcome"], "pass");

    let (plan, rivals) = rival.plan(lecture.locator());
    rival.accepted(plan).await;
    let path = format!("{SESSIONS}/{}", lecture.locator());
    let shown = lecture.lecturer.get(&path).await.expect(200);
    let plans = shown["plans"].as_array().unwrap();
    let own = plans.iter().find(|plan| plan["planner"] == lecture.lecturer.user_id()).unwrap();
    let settle = format!("/api/v1/admin/sessions/{}/settle", lecture.locator());
    // The course is the same each time; whose code counts is not.
    for (plan, outcome, n_verdicts) in [(json!(rivals), "unavailable", 2), (own["id"].clone(), "pass", 3)] {
        admin.post(&settle, &json!({"plan": plan, "reason": "asked_both"})).await.expect(200);
        let verdict = lecture.verdict(&id, n_verdicts).await;
        assert_eq!(check(&verdict, "code")["outcome"], outcome, "{verdict:#}");
    }
}

#[tokio::test]
async fn one_person_changes_a_session_only_so_often_and_somebody_else_still_can() {
    let lecture = Lecture::begin().await;
    let mut planner = Planner::new(&lecture, lecture.lecturer.clone(), &lecture.course, 91).await;
    let locator = Locator::from_random([3, 1, 4, 3]);
    let plan = planner.plan(locator).0;
    planner.accepted(plan).await;
    let room = SESSION_ENTRIES_PER_PERSON_MAX - 1;
    let changes: Vec<Item> = (1..=room + 1)
        .map(|epoch| {
            let change = PlanChange::new(PlanAction::Regenerate, NOON_MS + epoch as i64, epoch, None);
            planner.write(DocumentName::ClassSession { locator }, change)
        })
        .collect();
    let mut fates = planner.phone.push(&changes[..50]).await;
    fates.extend(planner.phone.push(&changes[50..]).await);
    let (last, taken) = fates.split_last().unwrap();
    assert!(taken.iter().all(|fate| fate.kind == FateKind::Accepted), "{taken:?}");
    assert_eq!((last.kind, last.reason.as_deref()), (FateKind::Refused, Some("too_many_plan_changes")));
    let path = format!("{SESSIONS}/{locator}/regenerate");
    let client = &planner.phone.client;
    client.post(&path, &json!({})).await.expect_error(409, "TOO_MANY_PLAN_CHANGES");
    lecture.server.client("admin").await.post(&path, &json!({})).await.expect(200);
}

/// Two lecturers of different courses planned the same session; gives the locator and the first planner's plan.
async fn contest(lecture: &Lecture) -> (Locator, String, Planner) {
    let mut planner = Planner::new(lecture, lecture.lecturer.clone(), &lecture.course, 61).await;
    let mut rival = Planner::of_another_course(lecture, 62).await;
    let locator = Locator::from_random([3, 1, 4, 4]);
    let ((own, own_id), (other, _)) = (planner.plan(locator), rival.plan(locator));
    planner.accepted(own).await;
    rival.accepted(other).await;
    (locator, own_id, planner)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_lists_what_is_contested_and_settles_it_while_the_server_is_stopped() {
    let lecture = Lecture::begin().await;
    let (locator, own_id, planner) = contest(&lecture).await;
    let email = "root@x.example";
    lecture.server.create_user(email, "admin").await;
    let list = muster(lecture.server.data(), &["sessions", "contested", "--json"], "");
    let listed: Value = serde_json::from_slice(&list.stdout).unwrap();
    assert_eq!((&listed[0]["locator"], listed.as_array().unwrap().len()), (&json!(locator.as_str()), 1));
    assert!(listed[0]["plans"].as_array().unwrap().iter().any(|plan| plan["id"] == own_id.as_str()), "{listed:#}");
    let words = ["sessions", "settle", locator.as_str(), "--plan", &own_id, "--reason", "planner_known"];
    let settle = |data: &Data, admin: &str| muster(data, &[&words[..], &["--admin", admin]].concat(), "");
    if lecture.server.data().is_sqlite() {
        let refused = settle(lecture.server.data(), email);
        assert_eq!(refused.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("another server"), "{refused:?}");
    }

    let course = planner.course.clone();
    let data = lecture.server.stop().await;
    let nobody = settle(&data, "somebody@x.example");
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("no active admin"), "{nobody:?}");
    let settled = settle(&data, email);
    assert!(settled.status.success(), "{settled:?}");
    assert!(String::from_utf8_lossy(&settled.stdout).contains(&course), "{settled:?}");
    let server = TestServer::builder().data(data).manual_clock(NOON_MS).start().await;
    let admin = server.client("admin").await;
    let shown = admin.get(&format!("{SESSIONS}/{locator}")).await.expect(200);
    assert_eq!((&shown["contested"], &shown["course_id"]), (&json!(false), &json!(course)));
    let named = admin.get("/api/v1/admin/audit?action=class_session.settle").await.expect(200);
    assert_eq!(
        (&named["items"][0]["actor_id"], &named["items"][0]["reason"]),
        (&json!("cli"), &json!("planner_known"))
    );
}

#[tokio::test]
async fn until_the_planner_has_synced_a_strangers_plan_shows_nothing_of_what_others_students_saw() {
    let lecture = Lecture::begin().await;
    let mut rival = Planner::of_another_course(&lecture, 63).await;
    let locator = Locator::from_random([3, 1, 4, 5]);
    let plan = rival.plan(locator).0;
    rival.accepted(plan).await;
    let (mut other, mut own) = (lecture.student(64).await, lecture.student(65).await);
    let path = format!("/api/v1/courses/{}/students", rival.course);
    rival.phone.client.post(&path, &json!({"user_ids": [own.client.user_id()]})).await.expect(200);
    let reviewer = lecture.server.client("reviewer").await;
    for (phone, is_withheld) in [(&mut other, true), (&mut own, false)] {
        let capture = phone.submission_with(locator, "123456", NOON_MS, &lecture.manifest(None));
        let id = lecture.send(phone, capture).await;
        let record = format!("/api/v1/lecturers/attendance/{id}");
        let shown = rival.phone.client.get(&record).await.expect(200)["submissions"][0].clone();
        assert_eq!((&shown["evidence_withheld"], shown["evidence"].is_null()), (&json!(is_withheld), is_withheld));
        let shown = reviewer.get(&record).await.expect(200)["submissions"][0].clone();
        assert_eq!((&shown["evidence_withheld"], shown["evidence"].is_null()), (&json!(false), false));
    }
}
