//! A record as the API shows it in lists.

use serde::Serialize;
use utoipa::ToSchema;

use super::rows::{RecordRow, flags_of};
use super::words;
use crate::auth::Voucher;
use crate::clock::iso_utc;

/// A record of attendance.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct RecordView {
    /// The id of its document, in hexadecimal; missing while there is no record.
    pub(super) id: Option<String>,
    /// The locator of its class session.
    pub(super) session: String,
    /// The course, once the session's plan is known.
    pub(super) course_id: Option<String>,
    /// The student's account.
    pub(super) user_id: String,
    /// The student's id in the university's registry, as imports and `POST /students` take it under this name.
    pub(super) student_id: Option<String>,
    /// The group in which the student is taught.
    pub(super) section: Option<String>,
    /// The student's name.
    pub(super) name: Option<String>,
    /// The student's e-mail address.
    pub(super) email: Option<String>,
    /// Since when it is known that the address is theirs; without it anybody may have typed it, and the name, too.
    pub(super) email_confirmed_at: Option<String>,
    /// On whose word.
    pub(super) email_confirmed_by: Option<Voucher>,
    /// `received`, `accepted`, `flagged`, `confirmed`, `late`, `excused`, `rejected`, `escalated`, `disputed`; and
    /// without a record `expected` while the session lasts, then `absent`.
    pub(super) state: String,
    /// Whether an image that it names has not arrived.
    pub(super) awaiting_media: bool,
    /// Risk by the machine's verdict, 0 to 100.
    pub(super) risk: Option<i64>,
    /// What the machine flagged.
    pub(super) flags: Vec<FlagView>,
    /// Submissions in it.
    pub(super) submissions: i64,
    /// Whether an appeal waits for a decision.
    pub(super) appeal_open: bool,
    /// When it was captured, by the device's clock.
    pub(super) captured_at: Option<String>,
    /// When the server had it.
    pub(super) received_at: Option<String>,
    /// Whose decision makes the state.
    pub(super) decided_by: Option<String>,
    /// When.
    pub(super) decided_at: Option<String>,
    /// What was decided.
    pub(super) decision: Option<String>,
    /// Why.
    pub(super) decision_reason: Option<String>,
    /// When something last happened to it.
    pub(super) updated_at: Option<String>,
}

/// A check that flagged.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct FlagView {
    /// Which.
    pub(super) check: String,
    /// Why, as a code.
    pub(super) reason: String,
    /// Why, in words.
    pub(super) words: String,
}

/// A student, as far as lists show one.
#[derive(Debug, Clone, Default)]
pub(super) struct Person {
    /// As others see it.
    pub(super) name: Option<String>,
    /// The address.
    pub(super) email: Option<String>,
    /// Since when somebody stands for it.
    pub(super) email_confirmed_at_ms: Option<i64>,
    /// Who.
    pub(super) email_confirmed_by: Option<Voucher>,
    /// The id in the registry's own system.
    pub(super) external_id: Option<String>,
    /// The group.
    pub(super) section: Option<String>,
}

/// The state of a record of which nothing is known; only a document that was opened by an appeal has none.
const NO_STATE: &str = "received";

impl RecordView {
    pub(super) fn new(row: &RecordRow, person: &Person) -> Self {
        Self {
            id: Some(row.document.to_string()),
            session: row.locator.to_string(),
            course_id: row.course.clone(),
            user_id: row.student.clone(),
            student_id: person.external_id.clone(),
            section: person.section.clone(),
            name: person.name.clone(),
            email: person.email.clone(),
            email_confirmed_at: person.email_confirmed_at_ms.map(iso_utc),
            email_confirmed_by: person.email_confirmed_by,
            state: row.state.clone().unwrap_or_else(|| NO_STATE.to_owned()),
            awaiting_media: row.awaiting_media,
            risk: row.risk,
            flags: flags(&row.flags),
            submissions: row.submission_count,
            appeal_open: row.appeal_open,
            captured_at: row.captured_at_ms.map(iso_utc),
            received_at: row.received_at_ms.map(iso_utc),
            decided_by: row.decided_by.clone(),
            decided_at: row.decided_at_ms.map(iso_utc),
            decision: row.decision.clone(),
            decision_reason: row.decision_reason.clone(),
            updated_at: Some(iso_utc(row.updated_at_ms)),
        }
    }

    /// Somebody who is enrolled and of whom there is no record.
    pub(super) fn without_record(session: &str, course: &str, student: &str, person: &Person, state: &str) -> Self {
        Self {
            id: None,
            session: session.to_owned(),
            course_id: Some(course.to_owned()),
            user_id: student.to_owned(),
            student_id: person.external_id.clone(),
            section: person.section.clone(),
            name: person.name.clone(),
            email: person.email.clone(),
            email_confirmed_at: person.email_confirmed_at_ms.map(iso_utc),
            email_confirmed_by: person.email_confirmed_by,
            state: state.to_owned(),
            awaiting_media: false,
            risk: None,
            flags: Vec::new(),
            submissions: 0,
            appeal_open: false,
            captured_at: None,
            received_at: None,
            decided_by: None,
            decided_at: None,
            decision: None,
            decision_reason: None,
            updated_at: None,
        }
    }

    /// Whether a person has to look.
    pub(super) fn needs_review(&self) -> bool {
        self.appeal_open || matches!(self.state.as_str(), "flagged" | "disputed" | "escalated")
    }

    /// Whether a check or a reason of this name is among the flags.
    pub(super) fn has_flag(&self, flag: &str) -> bool {
        self.flags.iter().any(|own| own.check == flag || own.reason == flag)
    }
}

pub(super) fn flags(stored: &str) -> Vec<FlagView> {
    let view = |(check, reason): (&str, &str)| FlagView {
        check: check.to_owned(),
        reason: reason.to_owned(),
        words: words::reason(check, reason),
    };
    flags_of(stored).map(view).collect()
}
