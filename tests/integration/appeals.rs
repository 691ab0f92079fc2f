//! An appeal is answered by somebody else than whoever it is about, and by nobody whose word does not count.

use muster_sync_core::document::{Appeal, Code, DecisionAction, Label, Role};
use muster_sync_core::sync::message::FateKind;
use muster_sync_core::{ChangeHash, DocumentName};
use muster_tests::Client;
use muster_tests::lecture::Lecture;
use muster_tests::phone::{Item, Phone};
use serde_json::{Value, json};

use crate::fold::Judge;

/// A record with a student's phone that can appeal.
struct Case {
    lecture: Lecture,
    student: Phone,
    name: DocumentName,
    id: String,
}

impl Case {
    async fn begin() -> Self {
        let lecture = Lecture::begin().await;
        let mut student = lecture.student(21).await;
        let id = lecture.capture(&mut student, &lecture.manifest(None)).await;
        lecture.until(&id, |record| record["record"]["state"] == "accepted").await;
        let name = student.attendance(lecture.locator());
        Self { lecture, student, name, id }
    }

    async fn lecturer(&self, client: Client, seed: u8) -> Judge {
        Judge::new(&self.lecture, client, Role::Lecturer, seed).await
    }

    async fn colleague(&self, seed: u8) -> Judge {
        let client = self.lecture.server.client("lecturer").await;
        let path = format!("/api/v1/courses/{}/lecturers", self.lecture.course);
        self.lecture.lecturer.post(&path, &json!({"user_ids": [client.user_id()]})).await.expect(200);
        self.lecturer(client, seed).await
    }

    async fn record(&self) -> Value {
        self.lecture.record(&self.id).await
    }

    /// What the judge's phone writes; gives its id, and why the server did not take it.
    async fn decide(&self, judge: &mut Judge, action: DecisionAction) -> (ChangeHash, Option<String>) {
        let of = ChangeHash::from_hex(self.record().await["submissions"][0]["id"].as_str().unwrap()).unwrap();
        let heads = self.record().await["heads"].clone();
        let seen: Vec<_> = heads.as_array().unwrap().iter().map(|hash| hash.as_str().unwrap().to_owned()).collect();
        let seen: Vec<_> = seen.iter().filter_map(|hash| ChangeHash::from_hex(hash)).collect();
        let tips = judge.phone.tips.clone();
        let decision = judge.decision(action, of, &seen);
        let (item, hash) = judge.item(&self.name, decision);
        let fates = judge.phone.push(&[item]).await;
        if fates[0].kind != FateKind::Accepted {
            judge.phone.tips = tips;
        }
        (hash, fates[0].reason.clone())
    }

    /// The student appeals against a decision.
    async fn appeal(&mut self, of: ChangeHash) {
        let by = Label::new(self.student.client.user_id());
        let appeal = Appeal { of, reason: Code::new("was_there").unwrap(), note_hash: None, by };
        let signed = self.student.write(&self.name, &appeal.into());
        let fates = self.student.push(&[Item { name: self.name.clone(), signed, manifest: None }]).await;
        assert_eq!(fates[0].kind, FateKind::Accepted, "{fates:?}");
        assert_eq!(self.record().await["record"]["appeal_open"], true);
    }
}

#[tokio::test]
async fn a_lecturer_does_not_answer_an_appeal_against_her_own_decision_by_phone_either() {
    let mut case = Case::begin().await;
    let mut lecturer = case.lecturer(case.lecture.lecturer.clone(), 22).await;
    let mut colleague = case.colleague(23).await;
    let (rejected, reason) = case.decide(&mut lecturer, DecisionAction::Reject).await;
    assert_eq!(reason, None);
    case.appeal(rejected).await;

    for action in [DecisionAction::Confirm, DecisionAction::Reject] {
        let (_, reason) = case.decide(&mut lecturer, action).await;
        assert_eq!(reason.as_deref(), Some("appeal_needs_another"));
    }
    let path = format!("/api/v1/lecturers/attendance/{}/confirm", case.id);
    let client = case.lecture.lecturer.clone();
    client.post(&path, &json!({})).await.expect_error(403, "APPEAL_NEEDS_ANOTHER");
    let record = case.record().await;
    assert_eq!((&record["record"]["state"], &record["record"]["appeal_open"]), (&json!("rejected"), &json!(true)));

    assert_eq!(case.decide(&mut colleague, DecisionAction::Confirm).await.1, None);
    let record = case.record().await;
    assert_eq!((&record["record"]["state"], &record["record"]["appeal_open"]), (&json!("confirmed"), &json!(false)));
    // It is answered, so she may speak again; and so does the form.
    assert_eq!(case.decide(&mut lecturer, DecisionAction::Late).await.1, None);
    client.post(&path, &json!({})).await.expect(200);
}

#[tokio::test]
async fn whoever_is_appealed_against_does_not_answer_after_somebody_else_said_the_same() {
    let mut case = Case::begin().await;
    let mut lecturer = case.lecturer(case.lecture.lecturer.clone(), 24).await;
    let mut colleague = case.colleague(25).await;
    let (rejected, _) = case.decide(&mut lecturer, DecisionAction::Reject).await;
    assert_eq!(case.decide(&mut colleague, DecisionAction::Reject).await.1, None);
    case.appeal(rejected).await;
    for judge in [&mut lecturer, &mut colleague] {
        assert_eq!(case.decide(judge, DecisionAction::Confirm).await.1.as_deref(), Some("appeal_needs_another"));
    }
    let reviewer = case.lecture.server.client("reviewer").await;
    reviewer.post(&format!("/api/v1/lecturers/attendance/{}/confirm", case.id), &json!({})).await.expect(200);
    assert_eq!(case.record().await["record"]["appeal_open"], false);
}

#[tokio::test]
async fn a_word_that_does_not_count_answers_no_appeal() {
    let mut case = Case::begin().await;
    let mut lecturer = case.lecturer(case.lecture.lecturer.clone(), 26).await;
    let path = format!("/api/v1/lecturers/attendance/{}/confirm", case.id);
    let body = json!({"action": "reject", "reason": "other_person"});
    case.lecture.server.client("admin").await.post(&path, &body).await.expect(200);
    let decisions = case.record().await["decisions"].clone();
    case.appeal(ChangeHash::from_hex(decisions[0]["id"].as_str().unwrap()).unwrap()).await;
    assert_eq!(case.decide(&mut lecturer, DecisionAction::Confirm).await.1, None, "kept, as everything authentic");
    let record = case.record().await;
    assert_eq!((&record["record"]["state"], &record["record"]["appeal_open"]), (&json!("rejected"), &json!(true)));
    case.lecture.server.client("admin").await.post(&path, &json!({})).await.expect(200);
    let record = case.record().await;
    assert_eq!((&record["record"]["state"], &record["record"]["appeal_open"]), (&json!("confirmed"), &json!(false)));
}
