//! Which sessions a person may see and steer. What one may not see does not exist.

use muster_sync_core::{DocumentId, Locator};

use super::session::ClassSession;
use crate::app::App;
use crate::auth::{CurrentUser, Role};
use crate::courses;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult};

/// Whether the user teaches the course with this id.
///
/// # Errors
/// When the database fails.
pub fn teaches(tx: &Tx<'_>, user: &CurrentUser, course: &str) -> Result<bool, DbError> {
    let Ok(course) = course.parse() else { return Ok(false) };
    courses::teaches(tx, &user.tenant, course, user.id)
}

/// The session that `id` names, by its locator or by its document's id in hexadecimal.
///
/// # Errors
/// When the database fails.
pub fn find_named(tx: &Tx<'_>, user: &CurrentUser, id: &str) -> Result<Option<ClassSession>, DbError> {
    if let Some(document) = DocumentId::from_hex(id) {
        return super::find_document(tx, &user.tenant, document);
    }
    match Locator::parse(id) {
        Some(locator) => super::find(tx, &user.tenant, &locator),
        None => Ok(None),
    }
}

/// The session, for somebody who teaches its course or is an admin.
pub(super) async fn steerable(app: &App, user: &CurrentUser, id: String) -> AppResult<ClassSession> {
    let user = user.clone();
    let read = app.db.read(move |tx| {
        let Some(session) = find_named(tx, &user, &id)? else { return Ok(None) };
        if session.contested && user.role != Role::Admin {
            return super::own_plan(tx, &user, session.document);
        }
        let may = user.role == Role::Admin || teaches(tx, &user, &session.course)?;
        Ok(may.then_some(session))
    });
    let found = read.await.map_err(|error: DbError| AppError::from(error))?;
    found.ok_or_else(|| AppError::not_found("the class session"))
}
