//! Which records a person may see and decide. What one may not see does not exist.

use muster_sync_core::DocumentId;

use super::queries;
use super::rows::RecordRow;
use crate::app::App;
use crate::auth::{CurrentUser, Role};
use crate::class_sessions::{self, ClassSession};
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult};

/// What somebody wants with records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// To see states: also the office may.
    Read,
    /// To see the evidence and to decide: those who teach the course, reviewers and admins.
    Review,
}

/// Whether the user may, for records of this course. A record whose plan is missing belongs to no lecturer yet.
pub(super) fn may(tx: &Tx<'_>, user: &CurrentUser, course: Option<&str>, want: Want) -> Result<bool, DbError> {
    match (user.role, course) {
        (Role::Admin | Role::Reviewer, _) => Ok(true),
        (Role::Staff, _) => Ok(want == Want::Read),
        (Role::Lecturer, Some(course)) => class_sessions::teaches(tx, user, course),
        _ => Ok(false),
    }
}

/// The record with a document id in hexadecimal, for somebody who may review it.
pub(super) fn reviewable(tx: &Tx<'_>, user: &CurrentUser, id: &str) -> AppResult<RecordRow> {
    let missing = || AppError::not_found("the attendance record");
    let document = DocumentId::from_hex(id).ok_or_else(missing)?;
    let record = queries::record_of(tx, &user.tenant, document)?.ok_or_else(missing)?;
    if may(tx, user, record.course.as_deref(), Want::Review)? { Ok(record) } else { Err(missing()) }
}

/// The session that `id` names, for somebody who may read its attendance.
pub(super) fn session(tx: &Tx<'_>, user: &CurrentUser, id: &str) -> AppResult<ClassSession> {
    let missing = || AppError::not_found("the class session");
    let session = class_sessions::find_named(tx, user, id)?.ok_or_else(missing)?;
    if session.contested
        && user.role == Role::Lecturer
        && class_sessions::own_plan(tx, user, session.document)?.is_some()
    {
        let sentence = "somebody else planned this session too; its records wait until an admin settles whose it is";
        return Err(AppError::conflict("SESSION_CONTESTED", sentence));
    }
    if may(tx, user, Some(&session.course), Want::Read)? { Ok(session) } else { Err(missing()) }
}

/// As [`reviewable`], in a read of its own.
pub(super) async fn read_reviewable(app: &App, user: &CurrentUser, id: String) -> AppResult<RecordRow> {
    let user = user.clone();
    app.db.read(move |tx| reviewable(tx, &user, &id)).await
}
