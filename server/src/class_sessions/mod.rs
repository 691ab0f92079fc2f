//! Class sessions: their plans and changes as rows, the code of the moment, and the endpoints of those who teach.
//!
//! A session is planned by a signed document, written by a lecturer's phone or by the server for a lecturer. This module
//! does not know who attended; `attendance` does.

mod access;
mod change;
mod create;
mod limits;
mod list;
mod project;
mod queries;
mod secret;
mod session;
mod view;

use std::collections::{BTreeMap, BTreeSet};

use muster_sync_core::{
    ChangeHash, DocumentId, DocumentName, Locator,
    document::{Entry, PlanAction},
    limits::SESSION_ENTRIES_PER_PERSON_MAX,
    plan::{Claim, Settlement},
};
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::auth::CurrentUser;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult};
use crate::ids::TenantId;
use crate::log::{self, Channel};

pub use access::{find_named, teaches};
pub use project::{out_of_turn, project};
pub use queries::PlanRow;
pub use secret::secrets_of;
pub use session::{ClassSession, Ended, Epoch, Geofence, SessionStatus};

/// `/lecturers/sessions...`
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list::list, create::create))
        .routes(routes!(list::show))
        .routes(routes!(change::close))
        .routes(routes!(change::expire))
        .routes(routes!(change::regenerate))
}

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

/// Every plan of a session, by its change.
///
/// # Errors
/// When the database fails.
pub fn claims(tx: &Tx<'_>, document: DocumentId) -> Result<BTreeMap<ChangeHash, Claim>, DbError> {
    let claim = |row: queries::PlanRow| (row.hash, Claim { planner: row.planner, course: row.course });
    Ok(queries::plans(tx, document)?.into_iter().map(claim).collect())
}

/// What admins said of whose plan stands.
///
/// # Errors
/// When the database fails.
pub fn settlements(tx: &Tx<'_>, document: DocumentId) -> Result<BTreeMap<ChangeHash, Settlement>, DbError> {
    queries::settlements(tx, document)
}

/// A session that several people planned, and everything that they planned for it.
pub struct Contested {
    /// Its locator.
    pub locator: Locator,
    /// By the order of arrival.
    pub plans: Vec<PlanRow>,
}

/// Sessions that wait for an admin's word, by locator; the first `limit` ones after `after`.
///
/// # Errors
/// When the database fails.
pub fn contested(tx: &Tx<'_>, tenant: &TenantId, after: &str, limit: u32) -> Result<Vec<Contested>, DbError> {
    let found = queries::contested(tx, tenant, after, limit)?;
    let with_plans = |(document, locator)| Ok(Contested { locator, plans: queries::plans(tx, document)? });
    found.into_iter().map(with_plans).collect()
}

/// Whether several people planned a session and no admin has settled whose plan stands.
///
/// # Errors
/// When the database fails.
pub fn is_contested(tx: &Tx<'_>, tenant: &TenantId, locator: &Locator) -> Result<bool, DbError> {
    queries::is_contested(tx, tenant, locator)
}

/// The course of a session, once its plan has arrived and while nobody contests it.
///
/// # Errors
/// When the database fails.
pub fn course_of(tx: &Tx<'_>, tenant: &TenantId, locator: &Locator) -> Result<Option<String>, DbError> {
    queries::course(tx, tenant, locator)
}

/// An error unless a session still belongs to the course that was read before this transaction, and by which the channels
/// of what is being written were chosen. A contest takes a session away from every course, at any moment.
///
/// # Errors
/// When it belongs to another course now, or to none, or the database fails.
pub fn check_course(tx: &Tx<'_>, tenant: &TenantId, locator: &Locator, course: Option<&str>) -> AppResult<()> {
    if course_of(tx, tenant, locator)?.as_deref() == course {
        return Ok(());
    }
    let sentence = "whose class session this is changed meanwhile; look at it again";
    Err(AppError::conflict("SESSION_CHANGED", sentence))
}

/// The channels of an entry that belongs to `course`. A plan also goes to those who teach the other courses for which
/// the session was planned, so that their phones know of the contest, and an admin's word whose plan stands to all of
/// these courses.
///
/// # Errors
/// When the database fails.
pub fn channels(
    tx: &Tx<'_>,
    tenant: &TenantId,
    name: &DocumentName,
    entry: &Entry,
    course: Option<&str>,
) -> Result<Vec<Channel>, DbError> {
    let planned = || {
        let courses = claims(tx, name.id(tenant.as_str()))?.into_values().map(|claim| claim.course);
        Ok::<_, DbError>(courses.collect::<BTreeSet<_>>())
    };
    match entry {
        Entry::PlanChanges(change) if change.action == PlanAction::Settle => {
            Ok(planned()?.iter().flat_map(|course| log::channels_of(name, Some(course))).collect())
        }
        Entry::Plan(_) => {
            let others = planned()?.into_iter().filter(|other| Some(other.as_str()) != course);
            Ok(log::channels_of(name, course).into_iter().chain(others.map(Channel::CourseStaff)).collect())
        }
        _ => Ok(log::channels_of(name, course)),
    }
}

/// What one person has written into a session's document: plans, changes and settlements.
///
/// # Errors
/// When the database fails.
pub fn entries_by(tx: &Tx<'_>, document: DocumentId, person: &str) -> Result<u64, DbError> {
    queries::entries_by(tx, document, person)
}

/// An error if `user` has no room for `n_entries` more in a session's document.
///
/// # Errors
/// When nothing is left of the share, or the database fails.
pub fn check_share(tx: &Tx<'_>, document: DocumentId, user: &CurrentUser, n_entries: u64) -> AppResult<()> {
    if entries_by(tx, document, &user.id.to_string())? + n_entries <= SESSION_ENTRIES_PER_PERSON_MAX {
        return Ok(());
    }
    let sentence = "you changed this class session as often as one person may; somebody else still can";
    let details = json!({ "limit": SESSION_ENTRIES_PER_PERSON_MAX });
    Err(AppError::conflict("TOO_MANY_PLAN_CHANGES", sentence).with_details(details))
}

/// A contested session as the user planned it; `None` for whoever did not.
///
/// # Errors
/// When the database fails.
pub fn own_plan(tx: &Tx<'_>, user: &CurrentUser, document: DocumentId) -> Result<Option<ClassSession>, DbError> {
    with_epochs(tx, queries::own_plan(tx, document, &user.id.to_string())?)
}

fn with_epochs(tx: &Tx<'_>, found: Option<ClassSession>) -> Result<Option<ClassSession>, DbError> {
    let Some(mut session) = found else { return Ok(None) };
    if session.epoch > 0 {
        session.epochs = session::that_hold(queries::epochs(tx, session.document)?);
    }
    session.other_keys = queries::other_keys(tx, session.document)?;
    Ok(Some(session))
}
