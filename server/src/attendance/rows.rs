//! Rows of attendance as they are read: one type per table.

use muster_sync_core::{
    ChangeHash, DeviceKey, DocumentId, Locator,
    document::{Outcome, Source},
};

/// One attendance document.
#[derive(Debug, Clone)]
pub struct RecordRow {
    /// The document.
    pub document: DocumentId,
    /// The class session.
    pub locator: Locator,
    /// The student.
    pub student: String,
    /// The course, once the session's plan has arrived.
    pub course: Option<String>,
    /// Its state, by `sync_core::decision`.
    pub state: Option<String>,
    /// Whether an image that it names has not arrived.
    pub awaiting_media: bool,
    /// Risk of the verdict that counts, 0 to 100.
    pub risk: Option<i64>,
    /// What that verdict flagged, see [`flags_of`].
    pub flags: String,
    /// Submissions in it.
    pub submission_count: i64,
    /// Whether an appeal waits for a decision.
    pub appeal_open: bool,
    /// When the first submission says it was captured, by the device's clock.
    pub captured_at_ms: Option<i64>,
    /// When the server had the first submission.
    pub received_at_ms: Option<i64>,
    /// Whose decision makes the state.
    pub decided_by: Option<String>,
    /// When the server had that decision.
    pub decided_at_ms: Option<i64>,
    /// What it says.
    pub decision: Option<String>,
    /// Why.
    pub decision_reason: Option<String>,
    /// When something last happened to it.
    pub updated_at_ms: i64,
}

/// A submission as a look at one key finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubmissionBy {
    /// The record.
    pub document: DocumentId,
    /// What it commits to.
    pub commitment: [u8; 32],
    /// When the server had it.
    pub received_at_ms: i64,
}

/// One submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubmissionRow {
    /// Its place in the log.
    pub log_index: i64,
    /// Its identity.
    pub hash: ChangeHash,
    /// The key that signed it: the phone's, or the server's for an online client.
    pub writer: DeviceKey,
    /// Who wrote it.
    pub source: Source,
    /// The device's wall clock at capture.
    pub captured_at_ms: i64,
    /// The code that was scanned or typed.
    pub code: Option<String>,
    /// The code's step as the device had it.
    pub step: Option<u64>,
    /// The commitment to the evidence manifest.
    pub commitment: [u8; 32],
    /// When the server had it.
    pub received_at_ms: i64,
}

/// One verdict; its checks stand in the log.
#[derive(Debug, Clone)]
pub struct VerdictRow {
    /// Its place in the log.
    pub log_index: i64,
    /// Its identity.
    pub hash: ChangeHash,
    /// Its place in the server's chain.
    pub seq: u64,
    /// The submission that it judges.
    pub of: ChangeHash,
    /// What it says.
    pub outcome: Outcome,
    /// Risk, 0 to 100.
    pub risk: i64,
    /// What it flagged, see [`flags_of`].
    pub flags: String,
    /// Version of the policy.
    pub policy: String,
    /// Version of the face pipeline.
    pub model: Option<String>,
    /// Start of the interval in which the capture happened, if the verdict names it.
    pub not_before_ms: Option<i64>,
    /// Its end.
    pub not_after_ms: Option<i64>,
    /// When the server wrote it.
    pub received_at_ms: i64,
}

/// One decision, or one mark by hand (which judges nothing: `of` is missing).
#[derive(Debug, Clone)]
pub struct DecisionRow {
    /// Its place in the log.
    pub log_index: i64,
    /// Its identity.
    pub hash: ChangeHash,
    /// The key that signed it.
    pub writer: DeviceKey,
    /// What it judges.
    pub of: Option<ChangeHash>,
    /// The decisions that its writer had seen.
    pub after: Vec<u8>,
    /// The action, or the status of a mark.
    pub says: String,
    /// Why.
    pub reason: Option<String>,
    /// The writer's rank.
    pub rank: i64,
    /// The person.
    pub by: String,
    /// When the server had it.
    pub received_at_ms: i64,
}

/// One appeal.
#[derive(Debug, Clone)]
pub(super) struct AppealRow {
    /// Its identity.
    pub(super) hash: ChangeHash,
    /// The decision or verdict that it objects to.
    pub(super) of: ChangeHash,
    /// Why.
    pub(super) reason: String,
    /// When the server had it.
    pub(super) received_at_ms: i64,
}

/// A note beside an entry.
#[derive(Debug, Clone)]
pub(super) struct NoteRow {
    /// Keeps the hash in the document from being guessed.
    pub(super) salt: [u8; 32],
    /// What was written.
    pub(super) text: String,
}

/// The flags of a record or verdict: pairs of check and reason.
pub fn flags_of(stored: &str) -> impl Iterator<Item = (&str, &str)> {
    stored.split(',').filter_map(|flag| flag.split_once(':'))
}
