//! Entries of an `attendance` document: the whole life of one record.

use super::field::{Code, Label, ensure, entry, text_enum};
use crate::{ChangeHash, Refusal, limits};

text_enum! {
    /// Who wrote a submission.
    Source {
        /// The student's own phone.
        Phone = "phone",
        /// The server, for a client that was online and has no device key.
        Gateway = "gateway",
    }
}

text_enum! {
    /// What a verdict says. Nothing is ever rejected by a machine.
    Outcome {
        /// Every check passed.
        Accepted = "accepted",
        /// At least one check flagged: a person decides.
        Flagged = "flagged",
    }
}

text_enum! {
    /// What a person decides about a record.
    DecisionAction {
        /// Present.
        Confirm = "confirm",
        /// Present, but late.
        Late = "late",
        /// Absent with good reason.
        Excuse = "excuse",
        /// Not accepted as present; needs a reason.
        Reject = "reject",
        /// Passed on to somebody of higher rank.
        Escalate = "escalate",
        /// Takes back the decision that `of` names.
        Undo = "undo",
    }
}

text_enum! {
    /// What a person marks by hand, without a submission.
    MarkStatus {
        /// Present.
        Present = "present",
        /// Present, but late.
        Late = "late",
        /// Absent.
        Absent = "absent",
        /// Absent with good reason.
        Excused = "excused",
    }
}

entry! {
    /// A student's claim to have been there. Everything personal is in the evidence manifest, which it commits to.
    Submission {
        /// The phone's wall clock at capture, Unix milliseconds.
        captured_at_ms: i64,
        /// The session code that was scanned or typed.
        code: Option<Code>,
        /// The code's step as scanned, or as the phone estimates it.
        step: Option<u64>,
        /// Salted SHA-256 of the evidence manifest; see [`crate::evidence`].
        commitment: [u8; 32],
        /// Version of this schema, 1.
        schema: u64,
        /// Who wrote it.
        source: Source,
        /// The student, when the server wrote it.
        by: Option<Label>,
    }
}

entry! {
    /// A student's objection to what was decided.
    Appeal {
        /// The decision or verdict.
        of: ChangeHash,
        /// Why.
        reason: Code,
        /// Salted SHA-256 of a note that is kept outside the document.
        note_hash: Option<[u8; 32]>,
        /// The student, when the server wrote it.
        by: Option<Label>,
    }
}

entry! {
    /// The machine's verdict on one submission.
    Verdict {
        /// The submission.
        of: ChangeHash,
        /// What it says.
        outcome: Outcome,
        /// Risk, 0 to 100.
        risk: u64,
        /// The checks, as CBOR; see [`crate::evidence::Checks`].
        checks: Vec<u8>,
        /// Version of the policy.
        policy: Code,
        /// Version of the face pipeline, if one was used.
        model: Option<Code>,
    }
}

entry! {
    /// A person's decision about a record.
    Decision {
        /// What it judges: a submission, a verdict or, for `undo`, a decision.
        of: ChangeHash,
        /// The newest decisions that the writer had seen: 32 bytes each, at most 16.
        after: Vec<u8>,
        /// What was decided.
        action: DecisionAction,
        /// Why; required for `reject`.
        reason: Option<Code>,
        /// The writer's rank: the level of the role.
        rank: u64,
        /// The person.
        by: Label,
        /// Salted SHA-256 of a note that is kept outside the document.
        note_hash: Option<[u8; 32]>,
    }
}

entry! {
    /// A mark by hand.
    Mark {
        /// What.
        status: MarkStatus,
        /// Why.
        reason: Code,
        /// The writer's rank: the level of the role.
        rank: u64,
        /// The person.
        by: Label,
        /// The newest decisions and marks that the writer had seen: 32 bytes each, at most 16.
        after: Vec<u8>,
    }
}

impl Submission {
    pub(super) fn check(&self) -> Result<(), Refusal> {
        ensure(self.captured_at_ms >= 0, "captured_at_ms", "is before 1970")?;
        ensure(self.schema >= 1, "schema", "is not a version")?;
        ensure((self.source == Source::Gateway) == self.by.is_some(), "by", "stands exactly when the source is gateway")
    }
}

impl Appeal {
    pub(super) fn check(&self) -> Result<(), Refusal> {
        Ok(())
    }
}

impl Verdict {
    pub(super) fn check(&self) -> Result<(), Refusal> {
        ensure(self.risk <= 100, "risk", "is over 100")
    }
}

impl Decision {
    pub(super) fn check(&self) -> Result<(), Refusal> {
        check_after(&self.after)?;
        ensure(self.rank <= 3, "rank", "is over 3")?;
        let reasoned = self.action != DecisionAction::Reject || self.reason.is_some();
        ensure(reasoned, "reason", "is missing: a rejection names its reason")
    }

    /// The decisions that the writer had seen.
    pub fn after(&self) -> impl Iterator<Item = ChangeHash> + '_ {
        hashes(&self.after)
    }
}

impl Mark {
    pub(super) fn check(&self) -> Result<(), Refusal> {
        check_after(&self.after)?;
        ensure(self.rank <= 3, "rank", "is over 3")
    }

    /// The decisions and marks that the writer had seen.
    pub fn after(&self) -> impl Iterator<Item = ChangeHash> + '_ {
        hashes(&self.after)
    }
}

/// Joins hashes into the form that `after` has.
#[must_use]
pub fn join_hashes<'a>(hashes: impl IntoIterator<Item = &'a ChangeHash>) -> Vec<u8> {
    hashes.into_iter().flat_map(|hash| hash.0).collect()
}

pub(super) fn hashes(joined: &[u8]) -> impl Iterator<Item = ChangeHash> + '_ {
    joined.chunks_exact(32).filter_map(ChangeHash::from_slice)
}

pub(super) fn check_after(after: &[u8]) -> Result<(), Refusal> {
    let whole = after.len().is_multiple_of(32) && after.len() <= 32 * limits::DECISION_AFTER_MAX;
    ensure(whole, "after", "is not at most 16 hashes of 32 bytes")
}
