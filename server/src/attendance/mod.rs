//! Attendance: records of who was there, what the machine and people say of them, and the endpoints for all three.
//!
//! A record is one signed document per student and class session. Rows here are projections of it; its state comes from
//! `sync_core::decision`. Checks and verdicts are computed in `checks` and `judge`.

mod project;
mod queries;
mod rows;

use muster_sync_core::DocumentId;

use crate::db::{DbError, Tx};

pub use project::{JUDGE_JOB, project, session_appeared};
pub use rows::{DecisionRow, RecordRow, SubmissionRow, VerdictRow, flags_of};

/// The row of a record.
///
/// # Errors
/// When the database fails.
pub fn record_for(tx: &Tx<'_>, document: DocumentId) -> Result<Option<RecordRow>, DbError> {
    queries::record_of(tx, document)
}

/// The submissions of a record in the order of the log.
///
/// # Errors
/// When the database fails.
pub fn submissions_of(tx: &Tx<'_>, document: DocumentId) -> Result<Vec<SubmissionRow>, DbError> {
    queries::submissions(tx, document)
}

/// The verdicts of a record in the order of the log.
///
/// # Errors
/// When the database fails.
pub fn verdicts_of(tx: &Tx<'_>, document: DocumentId) -> Result<Vec<VerdictRow>, DbError> {
    queries::verdicts(tx, document)
}

/// Notes whether an image that the record names has not arrived; false if that was known.
///
/// # Errors
/// When the database fails.
pub fn set_awaiting_media(tx: &Tx<'_>, document: DocumentId, awaiting: bool, now_ms: i64) -> Result<bool, DbError> {
    queries::set_awaiting_media(tx, document, awaiting, now_ms)
}
