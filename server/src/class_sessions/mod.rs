//! Class sessions: their plans and changes as rows, the code of the moment, and the endpoints of those who teach.
//!
//! A session is planned by a signed document, written by a lecturer's phone or by the server for a lecturer. This module
//! does not know who attended; `attendance` does.

mod project;
mod queries;
mod session;

use muster_sync_core::{DocumentId, Locator};

use crate::db::{DbError, Tx};
use crate::ids::TenantId;

pub use project::project;
pub use session::{ClassSession, Ended, Epoch, Geofence, SessionStatus};

/// The session with a locator, with everything that checks need.
///
/// # Errors
/// When the database fails.
pub fn find(tx: &Tx<'_>, tenant: &TenantId, locator: &Locator) -> Result<Option<ClassSession>, DbError> {
    with_epochs(tx, queries::by_locator(tx, tenant, locator)?)
}

/// The session with a document id.
///
/// # Errors
/// When the database fails.
pub fn find_document(tx: &Tx<'_>, tenant: &TenantId, id: DocumentId) -> Result<Option<ClassSession>, DbError> {
    with_epochs(tx, queries::by_document(tx, tenant, id)?)
}

/// The course of a session, once its plan has arrived.
///
/// # Errors
/// When the database fails.
pub fn course_of(tx: &Tx<'_>, tenant: &TenantId, locator: &Locator) -> Result<Option<String>, DbError> {
    queries::course(tx, tenant, locator)
}

fn with_epochs(tx: &Tx<'_>, found: Option<ClassSession>) -> Result<Option<ClassSession>, DbError> {
    let Some(mut session) = found else { return Ok(None) };
    if session.epoch > 0 {
        session.epochs = queries::epochs(tx, session.document)?;
    }
    Ok(Some(session))
}
