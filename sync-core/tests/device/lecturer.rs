//! A lecturer's phone opens a class session, shows its code and decides, with no network.

use crate::{
    peer::{Peer, TENANT},
    phone::Phone,
};
use muster_sync_core::{
    DocumentName,
    decision::RecordState,
    document::*,
    store::*,
    sync::message::Request,
    time::session_code::{CodeClaim, CodeKey, SessionSecret},
};

const NOON_MS: i64 = 1_763_640_000_000;

fn plan(code_mode: CodeMode) -> PlanInput {
    PlanInput {
        course: Label::new("course-1").unwrap(),
        opens_at_ms: NOON_MS,
        closes_at_ms: NOON_MS + 5_400_000,
        late_after_ms: None,
        code_mode,
        step_s: 15,
        geofence: Some((407_128_000, -740_060_000, 80)),
    }
}

fn bind(phone: &mut Phone) {
    let facts = BindingFacts {
        platform: Code::new("ios").unwrap(),
        model: Label::new("Phone 9"),
        level: KeyLevel::Hardware,
        legacy_id_hash: None,
    };
    let code_key = CodeKey([5; 32]);
    phone.store.bind_request(&phone.key, &facts, RequestPurpose::Bind, Some(&code_key), NOON_MS).unwrap();
}

#[test]
fn a_session_opened_offline_shows_codes_that_the_server_can_check() {
    let mut peer = Peer::new();
    let mut phone = Phone::with_key(&peer, 3, "lecturer-1");
    bind(&mut phone);
    let locator = phone.store.open_class_session(&phone.key, &plan(CodeMode::Rotating), [7, 7, 7, 7], NOON_MS).unwrap();
    let shown = phone.store.session_code(locator, NOON_MS + 60_000).unwrap();
    let claim = CodeClaim::parse(&shown.qr).unwrap();
    assert_eq!((claim.locator, claim.step, claim.code.as_str()), (locator, Some(shown.step), shown.code.as_str()));
    assert!((NOON_MS + 60_000..NOON_MS + 75_000).contains(&shown.valid_until_ms.unwrap()));

    let bytes = phone.next_exchange();
    let request = Request::decode(&bytes).unwrap();
    let key = CodeKey(request.pushes[0].code_key.unwrap());
    let document = DocumentName::ClassSession { locator }.id(TENANT);
    let secret = SessionSecret::derive(&key, document, CodeMode::Rotating, 15, 0);
    assert_eq!(secret.code(shown.step), shown.code);
    let answer = peer.exchange(&bytes);
    assert_eq!(phone.answered(200, None, answer).accepted, 2);
}

#[test]
fn regenerating_makes_another_code_at_once() {
    let peer = Peer::new();
    let mut phone = Phone::with_key(&peer, 3, "lecturer-1");
    bind(&mut phone);
    let locator = phone.store.open_class_session(&phone.key, &plan(CodeMode::Static), [1; 4], NOON_MS).unwrap();
    let before = phone.store.session_code(locator, NOON_MS + 1).unwrap();
    phone.store.change_class_session(&phone.key, locator, PlanAction::Regenerate, NOON_MS + 2).unwrap();
    let after = phone.store.session_code(locator, NOON_MS + 2).unwrap();
    assert_ne!(before.code, after.code);
    assert_eq!(phone.store.session_code(locator, NOON_MS + 1).unwrap(), before);
    let again = phone.store.open_class_session(&phone.key, &plan(CodeMode::Static), [1; 4], NOON_MS).unwrap();
    assert_ne!(again, locator, "a locator that is taken is not taken again");
    let unknown = crate::phone::locator(9);
    assert_eq!(phone.store.session_code(unknown, NOON_MS), Err(StoreError::SessionUnknown(unknown)));
}

#[test]
fn a_decision_counts_once_the_server_has_it() {
    let mut peer = Peer::new();
    let mut student = Phone::new(&peer);
    let id = student.capture(1);
    student.sync(&mut peer);
    let mut lecturer = Phone::with_key(&peer, 3, "lecturer-1");
    lecturer.sync(&mut peer);
    let locator = crate::phone::locator(1);
    let decision = DecisionInput {
        locator,
        student: "student-1".into(),
        action: DecisionAction::Confirm,
        reason: None,
        role: Role::Lecturer,
        of: None,
        note_hash: None,
    };
    lecturer.store.decide(&lecturer.key, &decision, NOON_MS).unwrap();
    let seen = lecturer.store.class_records(locator).unwrap();
    assert_eq!((seen.len(), seen[0].state, seen[0].decisions_waiting), (1, RecordState::Received, 1));
    lecturer.sync(&mut peer);
    let seen = lecturer.store.class_records(locator).unwrap();
    assert_eq!((seen[0].state, seen[0].decisions_waiting), (RecordState::Confirmed, 0));
    student.sync(&mut peer);
    assert_eq!(student.status(id), RecordStatus::Decided);

    let nobody = DecisionInput { student: "student-9".into(), ..decision.clone() };
    let error = lecturer.store.decide(&lecturer.key, &nobody, NOON_MS).unwrap_err();
    assert!(matches!(error, StoreError::RecordUnknown { .. }));
    let groundless = DecisionInput { action: DecisionAction::Reject, ..decision };
    assert!(matches!(lecturer.store.decide(&lecturer.key, &groundless, NOON_MS), Err(StoreError::Input(_))));
}
