//! Seeded keys, entries and chains.

use muster_sync_core::{
    ChangeHash, DeviceKey, DocumentName, Locator,
    change::{Author, SignedChange},
    document::*,
    signing::{SigningKey, SoftwareKey},
};

pub const TENANT: &str = "default";

pub fn key(seed: u8) -> SoftwareKey {
    SoftwareKey::from_seed(&[seed; 32].into())
}

pub fn locator() -> Locator {
    Locator::parse("K7M2QX").unwrap()
}

pub fn attendance() -> DocumentName {
    DocumentName::Attendance { locator: locator(), student: "student-1".into() }
}

pub fn class_session() -> DocumentName {
    DocumentName::ClassSession { locator: locator() }
}

pub fn binding() -> DocumentName {
    DocumentName::DeviceBinding { user: "student-1".into() }
}

pub fn label(text: &str) -> Label {
    Label::new(text).unwrap()
}

pub fn code(text: &str) -> Code {
    Code::new(text).unwrap()
}

pub fn hash(seed: u8) -> ChangeHash {
    ChangeHash([seed; 32])
}

pub fn submission() -> Submission {
    Submission {
        captured_at_ms: 1_763_640_000_000,
        code: Some(code("123456")),
        step: Some(117_576_000),
        commitment: [9; 32],
        schema: 1,
        source: Source::Phone,
        by: None,
    }
}

pub fn decision(action: DecisionAction, rank: u64, by: &str, after: &[ChangeHash]) -> Decision {
    Decision {
        of: hash(1),
        after: join_hashes(after),
        action,
        reason: Some(code("seen_in_class")),
        rank,
        by: label(by),
        note_hash: None,
    }
}

pub fn verdict(of: ChangeHash, outcome: Outcome) -> Verdict {
    Verdict { of, outcome, risk: 10, checks: vec![0x80], policy: code("2026-11"), model: None }
}

/// One entry for every container, with the document that it belongs to.
pub fn one_of_each() -> Vec<(DocumentName, Entry)> {
    let device = key(1).public_key();
    let plan = Plan {
        course: label("course-1"),
        opens_at_ms: 1_763_640_000_000,
        closes_at_ms: 1_763_645_400_000,
        late_after_ms: Some(1_763_640_900_000),
        code_mode: CodeMode::Rotating,
        step_s: 15,
        latitude_e7: Some(407_128_000),
        longitude_e7: Some(-740_060_000),
        radius_m: Some(80),
        by: None,
    };
    let plan_change = PlanChange::new(PlanAction::Close, 1_763_645_000_000, 1, None);
    let appeal = Appeal { of: hash(3), reason: code("was_there"), note_hash: Some([4; 32]), by: None };
    let mark = Mark {
        status: MarkStatus::Present,
        reason: code("phone_broken"),
        rank: 2,
        by: label("lecturer-1"),
        after: Vec::new(),
    };
    let request = Request {
        key: device,
        purpose: RequestPurpose::Bind,
        platform: code("android"),
        model: Some(label("Pixel 11")),
        level: KeyLevel::Hardware,
        legacy_id_hash: None,
        code_key_hash: Some([5; 32]),
    };
    vec![
        (class_session(), plan.into()),
        (class_session(), plan_change.into()),
        (attendance(), submission().into()),
        (attendance(), appeal.into()),
        (attendance(), verdict(hash(1), Outcome::Flagged).into()),
        (attendance(), decision(DecisionAction::Confirm, 2, "lecturer-1", &[hash(7)]).into()),
        (attendance(), mark.into()),
        (binding(), request.into()),
        (binding(), device_binding(device).into()),
        (binding(), Reset { of: hash(2), action: ResetAction::Approve, reason: None, by: label("admin-1") }.into()),
    ]
}

pub fn device_binding(key: DeviceKey) -> Binding {
    Binding { key, action: BindingAction::Bind, of: Some(hash(2)), reason: None, by: label("admin-1") }
}

/// Writes `entries` one after the other into one chain.
pub fn chain(key: &SoftwareKey, name: &DocumentName, entries: &[Entry]) -> Vec<SignedChange> {
    let mut tip = None;
    let mut changes = Vec::new();
    for entry in entries {
        let author = Author { key, tenant: TENANT, name, tip, time_s: 1_763_640_000 };
        let (change, next) = author.append(entry).unwrap();
        tip = Some(next);
        changes.push(change);
    }
    changes
}
