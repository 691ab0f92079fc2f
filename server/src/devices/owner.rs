//! What other slices ask about a key: whose it is, since when, and with which code key.

use muster_sync_core::{
    DeviceKey, DocumentName,
    change::Valid,
    document::{Entry, Role},
    time::session_code::CodeKey,
};
use zeroize::Zeroizing;

use super::{queries, rules};
use crate::app::App;
use crate::blobs::crypt::Purpose;
use crate::budgets;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult};
use crate::evidence;
use crate::forks::{self, Rival};
use crate::ids::{TenantId, UserId};
use crate::jobs;

/// Whether what a key signs may enter the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceStatus {
    /// It may.
    Bound,
    /// It waits for a person: the key was revoked, or its owner disabled.
    Revoked,
}

/// The user to whom a key belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Who.
    pub user: UserId,
    /// As what.
    pub role: Role,
    /// Whether it may still write.
    pub status: DeviceStatus,
}

/// The owner of a key; `None` if nobody has bound it. One indexed query: every pushed change asks.
///
/// # Errors
/// When the database fails.
pub fn owner_of(tx: &Tx<'_>, tenant: &TenantId, key: &DeviceKey) -> Result<Option<Owner>, DbError> {
    queries::owner_of(tx, tenant, key)
}

/// What the `device_binding` check of a verdict looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BindingFacts {
    /// The owner.
    pub user: UserId,
    /// When the server took the binding, Unix milliseconds. A capture may be older: it waited in quarantine.
    pub bound_at_ms: i64,
    /// When the binding ended, if it did.
    pub revoked_at_ms: Option<i64>,
    /// Whether the phone said that its key is in the platform's keystore.
    pub hardware: bool,
    /// When two changes with one place in a chain were first seen of it.
    pub forked_at_ms: Option<i64>,
}

/// The binding of a key; `None` if it was never bound.
///
/// # Errors
/// When the database fails.
pub fn binding_at(tx: &Tx<'_>, tenant: &TenantId, key: &DeviceKey) -> Result<Option<BindingFacts>, DbError> {
    queries::binding(tx, tenant, key)
}

/// Whether a user may add one more request for a device today.
///
/// # Errors
/// When the database fails.
pub fn has_room_for_request(tx: &Tx<'_>, tenant: &TenantId, user: UserId, now_ms: i64) -> Result<bool, DbError> {
    let (of_a_day, at_all) = queries::count_requests(tx, tenant, user, now_ms - budgets::DAY_MS)?;
    Ok(rules::may_ask_again(of_a_day, at_all))
}

/// Keeps a change whose place in its writer's chain another one has, flags the key as copied, and has its records judged
/// again when that is news.
///
/// # Errors
/// When the database fails.
pub fn flag_fork(tx: &Tx<'_>, tenant: &TenantId, rival: &Rival<'_>, now_ms: i64) -> Result<(), DbError> {
    forks::keep(tx, tenant, rival, now_ms)?;
    let key = &rival.valid.writer;
    if queries::flag_fork(tx, tenant, key, now_ms)? {
        jobs::enqueue(tx, tenant, super::FORK_JOB, &key.0, now_ms)?;
    }
    Ok(())
}

/// Since when a key is revoked whose owner's account is active. `None` for any other key: what one of a disabled account
/// signed waits for a person, whatever is known about its time.
///
/// # Errors
/// When the database fails.
pub fn revoked_at(tx: &Tx<'_>, tenant: &TenantId, key: &DeviceKey) -> Result<Option<i64>, DbError> {
    queries::revoked_at(tx, tenant, key)
}

/// The code key of a bound, or once bound, device: from it derive the codes of the sessions that it planned.
///
/// # Errors
/// When the database fails, or the sealed key does not open.
pub async fn code_key(app: &App, tenant: &TenantId, key: &DeviceKey) -> AppResult<Option<CodeKey>> {
    let (asked, asked_key) = (tenant.clone(), *key);
    let sealed = app.db.read(move |tx: &Tx<'_>| queries::sealed_code_key(tx, &asked, &asked_key)).await;
    let Some((user, sealed)) = sealed.map_err(|error: DbError| AppError::from(error))? else { return Ok(None) };
    let (subject, name) = (user.to_string(), key.to_string());
    let plain = evidence::open(app, tenant, &subject, Purpose::CodeKey, &name, &sealed).await?;
    let plain = Zeroizing::new(plain);
    let bytes = plain.as_slice().try_into().map_err(|_| AppError::internal("a code key has another length"))?;
    Ok(Some(CodeKey(bytes)))
}

/// Seals the code key that came beside a request, for [`super::project()`]. `None` if the change is no request, or if
/// the request does not commit to this very key: then there is nothing to keep, and the projection notes it.
///
/// # Errors
/// When the owner's key cannot be read or stored.
pub async fn seal_code_key(
    app: &App,
    tenant: &TenantId,
    name: &DocumentName,
    valid: &Valid,
    code_key: &CodeKey,
) -> AppResult<Option<Vec<u8>>> {
    let (DocumentName::DeviceBinding { user }, Entry::Requests(request)) = (name, &valid.entry) else {
        return Ok(None);
    };
    if request.code_key_hash != Some(code_key.commitment()) {
        return Ok(None);
    }
    let key = request.key.to_string();
    evidence::seal(app, tenant, user, Purpose::CodeKey, &key, &code_key.0).await.map(Some)
}
