//! One fold for phones and server: floods hide nothing, the evidence names who decided, and everybody reads the same.

use std::collections::{BTreeMap, HashMap};

use muster_server::auth;
use muster_server::db::DbError;
use muster_server::ids::TenantId;
use muster_sync_core::change::decode;
use muster_sync_core::decision::{Fold, Judgement, Record, Step, fold};
use muster_sync_core::document::{
    Code, Container, Decision, DecisionAction, Entry, Label, Mark, MarkStatus, Role, join_hashes,
};
use muster_sync_core::limits::{
    DECISION_AFTER_MAX, DECISIONS_PER_PERSON_MAX, PUSHES_PER_REQUEST_MAX, SUBMISSIONS_PER_RECORD_MAX,
};
use muster_sync_core::sync::message::{Fate, FateKind};
use muster_sync_core::{ChangeHash, DocumentName};
use muster_tests::handset::Handset;
use muster_tests::lecture::{Lecture, flags};
use muster_tests::phone::{Item, Phone, TENANT, manifest};
use muster_tests::{Client, Reply};
use reqwest::Method;
use reqwest::multipart::Form;
use serde_json::{Value, json};

/// A person who decides by a phone.
pub(crate) struct Judge {
    pub(crate) phone: Phone,
    role: Role,
}

impl Judge {
    pub(crate) async fn new(lecture: &Lecture, client: Client, role: Role, seed: u8) -> Self {
        let mut phone = Phone::new(client, seed);
        phone.bind(&lecture.server).await;
        Self { phone, role }
    }

    pub(crate) fn by(&self) -> Label {
        Label::new(self.phone.client.user_id()).unwrap()
    }

    pub(crate) fn decision(&self, action: DecisionAction, of: ChangeHash, after: &[ChangeHash]) -> Decision {
        let reason = Code::new("by_phone");
        let (by, rank) = (self.by(), self.role.level());
        Decision { of, after: join_hashes(after), action, reason, rank, by, note_hash: None }
    }

    pub(crate) fn item(&mut self, name: &DocumentName, entry: impl Into<Entry>) -> (Item, ChangeHash) {
        let signed = self.phone.write(name, &entry.into());
        (Item { name: name.clone(), signed, manifest: None }, self.phone.tips[&name.id(TENANT)].hash)
    }
}

/// Pushes in as many requests as it takes.
async fn push_all(sender: &Phone, items: &[Item]) -> Vec<Fate> {
    let mut fates = Vec::with_capacity(items.len());
    for items in items.chunks(PUSHES_PER_REQUEST_MAX) {
        fates.extend(sender.push(items).await);
    }
    fates
}

fn accepted(fates: &[Fate]) -> usize {
    fates.iter().filter(|fate| fate.kind == FateKind::Accepted).count()
}

#[track_caller]
fn assert_refused(fates: &[Fate], code: &str) {
    for fate in fates {
        assert_eq!((fate.kind, fate.reason.as_deref()), (FateKind::Refused, Some(code)), "{fate:?}");
    }
}

async fn decide(client: &Client, id: &str, body: Value) -> Reply {
    client.post(&format!("/api/v1/lecturers/attendance/{id}/confirm"), &body).await
}

async fn export(lecture: &Lecture) -> String {
    let path = format!("/api/v1/lecturers/sessions/{}/export", lecture.locator());
    String::from_utf8(lecture.lecturer.get(&path).await.bytes).unwrap()
}

#[tokio::test]
async fn a_student_who_floods_a_record_cannot_freeze_its_verdict() {
    let lecture = Lecture::begin().await;
    let mut phone = lecture.student(11).await;
    let id = lecture.capture(&mut phone, &lecture.manifest(None)).await;
    lecture.until(&id, |record| record["record"]["state"] == "accepted").await;
    let tips = phone.tips.clone();
    let code = lecture.claim().await.code;
    let mut flood = Vec::new();
    for _ in 0..1_010 {
        flood.push(phone.submission(lecture.locator(), &code, lecture.server.clock_ms()));
    }
    let fates = push_all(&phone, &flood).await;
    let room = SUBMISSIONS_PER_RECORD_MAX as usize - 1;
    assert_eq!(accepted(&fates[..room]), room);
    assert_refused(&fates[room..], "too_many_submissions");
    // The form is the same door.
    let form =
        Form::new().text("session_code", format!("{}-{code}", lecture.locator())).text("imei", "356938035643809");
    let form = Reply::of(phone.client.request(Method::POST, "/api/v1/students/attendance").multipart(form)).await;
    let error = form.expect_error(409, "TOO_MANY_SUBMISSIONS");
    assert_eq!(error["details"]["limit"], SUBMISSIONS_PER_RECORD_MAX);

    phone.tips = tips;
    let fork = phone.submission_with(lecture.locator(), "000000", lecture.server.clock_ms(), &manifest(1));
    let fates = phone.push(&[fork]).await;
    assert_eq!(fates[0].reason.as_deref(), Some("chain_fork"));
    let record = lecture.until(&id, |record| record["record"]["state"] == "flagged").await;
    assert_eq!(record["submissions"].as_array().unwrap().len(), SUBMISSIONS_PER_RECORD_MAX as usize);
    for submission in record["submissions"].as_array().unwrap() {
        let of = |verdict: &&Value| verdict["of"] == submission["id"];
        let newest = record["verdicts"].as_array().unwrap().iter().rfind(of).unwrap();
        assert!(flags(newest).contains(&"chain_fork:device_forked".to_owned()), "{newest:#}");
    }
}

#[tokio::test]
async fn a_fork_is_seen_in_every_record_of_the_key_however_many_submissions_came_since() {
    let lecture = Lecture::begin().await;
    let mut phone = lecture.student(12).await;
    let first = lecture.capture(&mut phone, &lecture.manifest(None)).await;
    lecture.until(&first, |record| record["record"]["state"] == "accepted").await;
    // More newer submissions than any look backwards took: 12 records with 50 each.
    let mut newer = Vec::new();
    for number in 0..12 {
        let locator = muster_sync_core::Locator::from_random([9, number, 0, 0]);
        for _ in 0..SUBMISSIONS_PER_RECORD_MAX {
            newer.push(phone.submission(locator, "123456", lecture.server.clock_ms()));
        }
    }
    let fates = push_all(&phone, &newer).await;
    assert_eq!(accepted(&fates), newer.len());
    let other = phone.attendance(muster_sync_core::Locator::from_random([9, 0, 0, 0]));
    phone.tips.remove(&other.id(TENANT));
    let DocumentName::Attendance { locator, .. } = other else { unreachable!() };
    let fork = phone.submission_with(locator, "000000", lecture.server.clock_ms(), &manifest(1));
    assert_eq!(phone.push(&[fork]).await[0].reason.as_deref(), Some("chain_fork"));
    lecture.until(&first, |record| record["record"]["state"] == "flagged").await;
}

#[tokio::test]
async fn a_lecturer_who_floods_a_record_cannot_make_it_undecidable() {
    let lecture = Lecture::begin().await;
    let mut student = lecture.student(21).await;
    let id = lecture.capture(&mut student, &lecture.manifest(None)).await;
    let name = student.attendance(lecture.locator());
    let mut lecturer = Judge::new(&lecture, lecture.lecturer.clone(), Role::Lecturer, 22).await;
    let mut flood = Vec::new();
    for _ in 0..1_000 {
        let confirm = lecturer.decision(DecisionAction::Confirm, ChangeHash([1; 32]), &[]);
        flood.push(lecturer.item(&name, confirm).0);
    }
    let fates = push_all(&lecturer.phone, &flood).await;
    let room = DECISIONS_PER_PERSON_MAX as usize;
    assert_eq!(accepted(&fates[..room]), room);
    assert_refused(&fates[room..], "too_many_decisions");
    let error = decide(&lecture.lecturer, &id, json!({})).await.expect_error(409, "TOO_MANY_DECISIONS");
    assert_eq!(error["details"]["limit"], DECISIONS_PER_PERSON_MAX);
    // Nobody else has lost anything: of the same rank, and above.
    let reviewer = lecture.server.client("reviewer").await;
    assert_eq!(decide(&reviewer, &id, json!({"action": "late"})).await.expect(200)["state"], "late");
    let admin = lecture.server.client("admin").await;
    let path = format!("/api/v1/admin/attendance/{id}/set-status");
    let set = admin.post(&path, &json!({"status": "rejected", "reason": "other_person"})).await.expect(200);
    assert_eq!((&set["state"], &set["decided_by"]), (&json!("rejected"), &json!(admin.user_id())));
    let detail = lecture.record(&id).await;
    assert_eq!(detail["decisions"].as_array().unwrap().len(), room + 2);
    assert_eq!(detail["decisions"][room + 1]["by"], admin.user_id());
    assert_eq!(detail["heads"], json!([detail["decisions"][room + 1]["id"]]));
    let csv = export(&lecture).await;
    assert!(csv.contains(&format!("{},", admin.user_id())) && csv.contains("other_person"), "{csv}");
}

/// What it costs is measured by `load decisions`.
#[tokio::test]
async fn seven_hundred_decisions_in_seven_requests_all_count_and_one_more_settles_them() {
    let lecture = Lecture::begin().await;
    let mut student = lecture.student(41).await;
    let id = lecture.capture(&mut student, &lecture.manifest(None)).await;
    let name = student.attendance(lecture.locator());
    let path = format!("/api/v1/courses/{}/lecturers", lecture.course);
    let room = DECISIONS_PER_PERSON_MAX as usize;
    for seed in 42..49 {
        let client = lecture.server.client("lecturer").await;
        lecture.lecturer.post(&path, &json!({"user_ids": [client.user_id()]})).await.expect(200);
        let mut judge = Judge::new(&lecture, client, Role::Lecturer, seed).await;
        let action = if seed % 2 == 0 { DecisionAction::Confirm } else { DecisionAction::Reject };
        let written = (0..room).map(|_| {
            let decision = judge.decision(action, ChangeHash([1; 32]), &[]);
            judge.item(&name, decision).0
        });
        let written: Vec<Item> = written.collect();
        assert_eq!(accepted(&push_all(&judge.phone, &written).await), room);
    }
    let record = lecture.record(&id).await;
    assert_eq!(record["record"]["state"], "disputed");
    assert_eq!(record["decisions"].as_array().unwrap().len(), 7 * room);
    assert_eq!(decide(&lecture.lecturer, &id, json!({"action": "late"})).await.expect(200)["state"], "late");
}

#[tokio::test]
async fn the_evidence_names_the_lecturer_whose_decision_stands_and_not_the_admin_who_took_hers_back() {
    let lecture = Lecture::begin().await;
    let mut student = lecture.student(31).await;
    let id = lecture.capture(&mut student, &lecture.manifest(None)).await;
    let admin = lecture.server.client("admin").await;
    decide(&admin, &id, json!({"reason": "seen_by_admin"})).await.expect(200);
    let undone = decide(&admin, &id, json!({"action": "undo", "reason": "mistake"})).await.expect(200);
    assert_eq!((&undone["decided_by"], &undone["decision_reason"]), (&Value::Null, &Value::Null));
    let decided = decide(&lecture.lecturer, &id, json!({"reason": "sat_in_front"})).await.expect(200);
    let (by, why) = (json!(lecture.lecturer.user_id()), json!("sat_in_front"));
    assert_eq!((&decided["state"], &decided["decided_by"]), (&json!("confirmed"), &by));
    assert_eq!((&decided["decision_reason"], &lecture.record(&id).await["record"]["decided_by"]), (&why, &by));
    let csv = export(&lecture).await;
    assert!(csv.contains(lecture.lecturer.user_id()) && csv.contains("confirm,sat_in_front"), "{csv}");
    assert!(!csv.contains(admin.user_id()) && !csv.contains("seen_by_admin"), "{csv}");
}

#[tokio::test]
async fn while_two_contradict_each_other_the_evidence_names_neither() {
    let lecture = Lecture::begin().await;
    let mut student = lecture.student(32).await;
    let id = lecture.capture(&mut student, &lecture.manifest(None)).await;
    decide(&lecture.lecturer, &id, json!({"seen": []})).await.expect(200);
    let reviewer = lecture.server.client("reviewer").await;
    let reject = json!({"action": "reject", "reason": "other_person", "seen": []});
    let disputed = decide(&reviewer, &id, reject).await.expect(200);
    assert_eq!((&disputed["state"], &disputed["decided_by"]), (&json!("disputed"), &Value::Null));
}

#[tokio::test]
async fn whoever_has_seen_everything_settles_more_heads_than_one_entry_can_name() {
    let lecture = Lecture::begin().await;
    let mut student = lecture.student(41).await;
    let id = lecture.capture(&mut student, &lecture.manifest(None)).await;
    let n_people = 2 * DECISION_AFTER_MAX + 3;
    for number in 0..n_people {
        let reviewer = lecture.server.client("reviewer").await;
        let action = if number % 2 == 0 { "confirm" } else { "reject" };
        decide(&reviewer, &id, json!({"action": action, "reason": "alone", "seen": []})).await.expect(200);
    }
    let detail = lecture.record(&id).await;
    assert_eq!(detail["record"]["state"], "disputed");
    assert_eq!(detail["heads"].as_array().unwrap().len(), n_people);
    let note = "Settled in the office.";
    let settled = decide(&lecture.lecturer, &id, json!({"action": "late", "note": note})).await.expect(200);
    assert_eq!((&settled["state"], &settled["decided_by"]), (&json!("late"), &json!(lecture.lecturer.user_id())));
    let detail = lecture.record(&id).await;
    let decisions = detail["decisions"].as_array().unwrap();
    assert_eq!((decisions.len(), &decisions.last().unwrap()["note"]), (n_people + 3, &json!(note)));
    assert_eq!(detail["heads"], json!([decisions.last().unwrap()["id"]]));
    // Who names what they saw, names as much as there is.
    let seen: Vec<_> = decisions.iter().map(|decision| decision["id"].clone()).collect();
    let reviewer = lecture.server.client("reviewer").await;
    assert_eq!(decide(&reviewer, &id, json!({"seen": seen})).await.expect(200)["state"], "confirmed");
}

/// Chance with a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }
}

/// A step of somebody about a record, after some of what exists.
fn any_step(judge: &Judge, known: &[ChangeHash], dice: &mut Dice) -> Entry {
    let mut pick = |most: usize| -> Vec<ChangeHash> {
        let n = if known.is_empty() { 0 } else { dice.roll(most + 1) };
        (0..n).map(|_| known[dice.roll(known.len())]).collect()
    };
    let (after, of) = (pick(4), pick(1).pop());
    use DecisionAction::*;
    let action = [Confirm, Late, Excuse, Reject, Escalate, Undo, Undo, Undo][dice.roll(8)];
    if dice.roll(6) == 0 {
        let status = [MarkStatus::Present, MarkStatus::Absent][dice.roll(2)];
        let (reason, by) = (Code::new("by_hand").unwrap(), judge.by());
        return Mark { status, reason, rank: judge.role.level(), by, after: join_hashes(&after) }.into();
    }
    judge.decision(action, of.unwrap_or(ChangeHash([1; 32])), &after).into()
}

/// Who said something, and for which reason.
type People = HashMap<ChangeHash, (String, String)>;

/// The documents as a phone pulled them, folded as a phone does.
fn folded(changes: &[(DocumentName, Vec<u8>, u64)]) -> BTreeMap<String, (Fold, People)> {
    let mut records: BTreeMap<String, (Record, People)> = BTreeMap::new();
    for (name, bytes, _) in changes {
        let DocumentName::Attendance { .. } = name else { continue };
        let (hash, body) = decode(bytes).unwrap();
        let (record, people) = records.entry(name.id(TENANT).to_string()).or_default();
        let container = Container::at(name.kind(), body.container_op).unwrap();
        match Entry::read(container, &body.fields).unwrap() {
            Entry::Submissions(_) => _ = record.submissions.insert(hash),
            Entry::Verdicts(verdict) => record.verdicts.push(Judgement::new(hash, body.seq, &verdict)),
            Entry::Decisions(decision) => {
                let reason = decision.reason.as_ref().map(|reason| reason.as_str().to_owned()).unwrap_or_default();
                people.insert(hash, (decision.by.as_str().to_owned(), reason));
                record.steps.insert(hash, Step::decision(body.writer, body.seq, &decision));
            }
            Entry::Marks(mark) => {
                people.insert(hash, (mark.by.as_str().to_owned(), mark.reason.as_str().to_owned()));
                record.steps.insert(hash, Step::mark(body.writer, body.seq, &mark));
            }
            _ => {}
        }
    }
    records.into_iter().map(|(id, (record, people))| (id, (fold(&record), people))).collect()
}

#[tokio::test]
async fn phone_and_server_say_the_same_of_any_history() {
    let lecture = Lecture::begin().await;
    let server = &lecture.server;
    let mut judges = vec![Judge::new(&lecture, lecture.lecturer.clone(), Role::Lecturer, 51).await];
    for (seed, role, name) in
        [(52, Role::Reviewer, "reviewer"), (53, Role::Reviewer, "reviewer"), (54, Role::Admin, "admin")]
    {
        judges.push(Judge::new(&lecture, server.client(name).await, role, seed).await);
    }
    // Few steps and many, and one history past what one person may write.
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let lengths = [1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 40, 60, 600];
    let (mut items, mut ids) = (Vec::new(), Vec::new());
    for (seed, length) in (60..).zip(lengths) {
        let mut student = lecture.student(seed).await;
        ids.push(lecture.capture(&mut student, &lecture.manifest(None)).await);
        let (name, mut known) = (student.attendance(lecture.locator()), Vec::new());
        for number in 0..length {
            // At the end one person goes on alone.
            let judge = if number > 400 { 0 } else { dice.roll(judges.len()) };
            let entry = any_step(&judges[judge], &known, &mut dice);
            let (item, hash) = judges[judge].item(&name, entry);
            items.push(item);
            known.push(hash);
        }
    }
    let fates = push_all(&judges[0].phone, &items).await;
    let refused: Vec<_> = fates.into_iter().filter(|fate| fate.kind != FateKind::Accepted).collect();
    assert!(!refused.is_empty(), "a history went past the bound");
    assert_refused(&refused, "too_many_decisions");
    for id in &ids {
        lecture.until(id, |record| !record["verdicts"].as_array().unwrap().is_empty()).await;
    }

    let (mut changes, mut cursors) = (Vec::new(), HashMap::new());
    loop {
        let page = judges[0].phone.pull(&cursors).await;
        changes.extend(page.changes);
        cursors.extend(page.cursors);
        if !page.more {
            break;
        }
    }
    let folds = folded(&changes);
    let (user, tenant) = (lecture.lecturer.user_id().parse().unwrap(), TenantId::default_tenant());
    let found: Result<_, DbError> = server.app().db.read(move |tx| auth::find(tx, &tenant, user)).await;
    let mut handset = Handset::new(server, &found.unwrap().unwrap().email, 59).await;
    handset.sync().await;
    let shown = handset.store.class_records(lecture.locator()).unwrap();
    let mut states = BTreeMap::new();
    for id in &ids {
        let detail = lecture.record(id).await;
        let (record, (fold, people)) = (&detail["record"], &folds[id]);
        let state = fold.state.unwrap().as_str();
        let (by, why) = fold.deciding.map(|step| people[&step].clone()).unzip();
        assert_eq!((&record["state"], &record["decided_by"]), (&json!(state), &json!(by)), "{record:#}");
        assert_eq!(record["decision_reason"], json!(why), "{record:#}");
        let heads: Vec<_> = fold.heads.iter().map(ToString::to_string).collect();
        assert_eq!(detail["heads"], json!(heads));
        let on_phone = shown.iter().find(|view| record["user_id"] == view.student.as_str()).unwrap();
        assert_eq!(on_phone.state.as_str(), state);
        *states.entry(state).or_insert(0) += 1;
    }
    assert!(states.len() > 3, "the histories tell too little: {states:?}");
}
