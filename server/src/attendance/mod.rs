//! Attendance: records of who was there, what the machine and people say of them, and the endpoints for all three.
//!
//! A record is one signed document per student and class session. Rows here are projections of it; its state comes from
//! `sync_core::decision`. Checks and verdicts are computed in `checks` and `judge`.

mod access;
mod admin;
mod appeals;
pub mod checks;
mod decide;
mod decision_entry;
mod detail;
mod evidence_view;
mod export;
mod fold;
mod form;
mod judge;
mod limits;
mod list;
mod listing;
mod mine;
mod project;
mod queries;
mod roster;
mod rows;
mod share;
mod submit;
mod verdict_checks;
mod views;
mod words;

use axum::extract::DefaultBodyLimit;
use muster_sync_core::{DeviceKey, DocumentId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::db::{DbError, Tx};
use crate::evidence;
use crate::ids::TenantId;
use crate::jobs;

pub use appeals::OpenAppeals;
pub use fold::Unfolded;
pub use judge::{JUDGE_BATCH_MAX, device_forked, judge_batch, reference_changed};
pub use project::{JUDGE_JOB, NOT_AFTER, NOT_BEFORE, follow_session, project};
pub use rows::{DecisionRow, RecordRow, SubmissionBy, SubmissionRow, VerdictRow, flags_of};
pub use share::Share;

/// `/students/attendance`, `/attendance`, and what those who teach and review see of it.
pub fn routes() -> OpenApiRouter<App> {
    let forms =
        OpenApiRouter::new().routes(routes!(submit::submit)).layer(DefaultBodyLimit::max(limits::FORM_BYTES_MAX));
    let decisions =
        OpenApiRouter::new().routes(routes!(decide::decide)).layer(DefaultBodyLimit::max(limits::DECISION_BYTES_MAX));
    OpenApiRouter::new()
        .routes(routes!(mine::list))
        .routes(routes!(list::of_session))
        .routes(routes!(list::flagged_of_session))
        .routes(routes!(export::export))
        .routes(routes!(detail::show))
        .routes(routes!(evidence_view::image))
        .routes(routes!(admin::flagged))
        .routes(routes!(admin::set_status))
        .merge(forms)
        .merge(decisions)
}

/// The row of a record.
///
/// # Errors
/// When the database fails.
pub fn record_for(tx: &Tx<'_>, document: DocumentId) -> Result<Option<RecordRow>, DbError> {
    queries::record_for(tx, document)
}

/// The submissions of a record in the order of the log.
///
/// # Errors
/// When the database fails.
pub fn submissions_of(tx: &Tx<'_>, document: DocumentId) -> Result<Vec<SubmissionRow>, DbError> {
    queries::submissions(tx, document)
}

/// The submissions of a student that one key signed, newest arrival first: (record, submission).
///
/// # Errors
/// When the database fails.
pub fn submissions_by(
    tx: &Tx<'_>,
    tenant: &TenantId,
    student: &str,
    writer: &DeviceKey,
    limit: u32,
) -> Result<Vec<SubmissionBy>, DbError> {
    queries::submissions_by(tx, tenant, student, writer, limit)
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

/// An image of a student arrived: every record whose manifest names it is judged again.
///
/// # Errors
/// When the database fails.
pub fn image_arrived(
    tx: &Tx<'_>,
    tenant: &TenantId,
    student: &str,
    sha256: &[u8; 32],
    now_ms: i64,
) -> Result<(), DbError> {
    for document in evidence::records_naming(tx, tenant, student, sha256)? {
        jobs::enqueue(tx, tenant, JUDGE_JOB, &document.0, now_ms)?;
    }
    Ok(())
}
