//! Ending sessions: one, those on phones, or all of a user.

use super::begin::actor;
use super::queries::{self, Ended, SessionRow};
use super::{ClientClass, EndReason};
use crate::app::App;
use crate::audit::{self, Action, Event};
use crate::auth::state::AuthState;
use crate::auth::users::{self, User};
use crate::auth::{limits, queries as user_queries};
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult};
use crate::http::RequestId;
use crate::ids::{AuthSessionId, TenantId, UserId};
use crate::mail::{self, Notice};
use crate::telemetry::SecurityEvent;

/// Ends every session of a user, and with them every refresh token. The user's epoch must go up in the same transaction:
/// that ends the access tokens, and sessions that this does not know of.
pub(crate) fn end_all(tx: &Tx<'_>, tenant: &TenantId, user: UserId, now_ms: i64) -> Result<(), DbError> {
    let ended = Ended { reason: EndReason::Account, now_ms };
    queries::end_of_user(tx, tenant, user, None, &ended)
}

/// [`end_all`] by the owner, or because the password is another one: whoever has one of the phones must not come back by its
/// key alone. A key signs somebody in again once it is shown with a sign-in that began in another way.
pub(in crate::auth) fn end_all_and_devices(
    tx: &Tx<'_>,
    tenant: &TenantId,
    user: UserId,
    now_ms: i64,
) -> Result<(), DbError> {
    end_all(tx, tenant, user, now_ms)?;
    queries::sign_out_devices(tx, tenant, user, now_ms)
}

/// Whether the key of a bound device may sign its owner in: it was not signed out with the account, or it comes with a
/// `session` of the owner that began in another way than by such a key, and may from now on.
///
/// # Errors
/// When the database fails.
pub(crate) fn device_may_sign_in(
    tx: &Tx<'_>,
    user: &User,
    device_key: &[u8; 32],
    session: Option<AuthSessionId>,
) -> Result<bool, DbError> {
    if !device_is_signed_out(tx, &user.tenant, device_key)? {
        return Ok(true);
    }
    let proven = session.map_or(Ok(false), |session| queries::began_by_person(tx, user, session))?;
    if proven {
        queries::sign_device_in(tx, &user.tenant, device_key)?;
    }
    Ok(proven)
}

/// Whether the key of a device was signed out with the account of its owner.
///
/// # Errors
/// When the database fails.
pub(crate) fn device_is_signed_out(tx: &Tx<'_>, tenant: &TenantId, device_key: &[u8; 32]) -> Result<bool, DbError> {
    queries::is_signed_out(tx, tenant, device_key)
}

/// Ends the user's sessions on phones: the phone is not theirs any more.
pub(crate) fn end_on_phones(tx: &Tx<'_>, tenant: &TenantId, user: UserId, now_ms: i64) -> Result<(), DbError> {
    let ended = Ended { reason: EndReason::Device, now_ms };
    queries::end_of_user(tx, tenant, user, Some(ClientClass::Phone), &ended)?;
    if queries::revoked_of_user(tx, user)? > i64::from(limits::REVOKED_SESSIONS_MAX) {
        user_queries::raise_epoch(tx, tenant, user, now_ms)?;
    }
    Ok(())
}

/// Whether a session was signed out, with its access tokens. One that a newer sign-in took the place of was not, and
/// one that nobody stored ends with the epoch of its user.
///
/// # Errors
/// When the database fails.
pub(crate) fn is_revoked(tx: &Tx<'_>, session: AuthSessionId) -> Result<bool, DbError> {
    Ok(queries::find(tx, session)?.is_some_and(|row| row.revoked))
}

/// Ends one session, and its access tokens on this server at once; false when that had happened already.
pub(super) async fn end_session(
    app: &App,
    row: &SessionRow,
    reason: EndReason,
    request: &RequestId,
) -> AppResult<bool> {
    let (session, request_id, now_ms) = (row.id, request.as_str().to_owned(), app.now_ms());
    let ended = app.db.write(move |tx: &Tx<'_>| {
        let row = queries::find(tx, session)?;
        let Some(row) = row.filter(|row| !row.revoked) else { return Ok(None) };
        queries::end(tx, session, &Ended { reason, now_ms })?;
        if queries::revoked_of_user(tx, row.user)? > i64::from(limits::REVOKED_SESSIONS_MAX) {
            user_queries::raise_epoch(tx, &row.tenant, row.user, now_ms)?;
        }
        note(tx, &row, reason, &request_id, now_ms)?;
        user_queries::principal(tx, row.user)
    });
    let principal = ended.await.map_err(|error: DbError| AppError::from(error))?;
    let was_active = principal.is_some();
    if let Some(principal) = principal {
        AuthState::of(app)?.remember(row.user, principal);
        if reason != EndReason::Reuse {
            app.security_event(SecurityEvent::SignedOut, request.as_str(), Some(&row.user.to_string()));
        }
    }
    Ok(was_active)
}

fn note(tx: &Tx<'_>, row: &SessionRow, reason: EndReason, request_id: &str, now_ms: i64) -> Result<(), DbError> {
    let Some(user) = users::find(tx, &row.tenant, row.user)? else { return Ok(()) };
    let action = if reason == EndReason::Reuse { Action::TokenReuse } else { Action::SignOut };
    if reason == EndReason::Reuse {
        mail::notify(tx, &row.tenant, &user.email, Notice::TokenReused, now_ms)?;
    }
    let (id, why) = (row.id.to_string(), Some(reason.as_str()));
    let event = Event { action, kind: "auth_session", id: &id, reason: why, result: "ended" };
    audit::record(tx, &actor(&user, request_id), &event, now_ms)
}

/// Has this server look again at what it knows of a user, after a commit that ended sessions.
///
/// # Errors
/// When the database fails.
pub(crate) async fn look_again(app: &App, user: UserId) -> AppResult<()> {
    let found = app.db.read(move |tx: &Tx<'_>| user_queries::principal(tx, user)).await;
    if let Some(principal) = found.map_err(|error: DbError| AppError::from(error))? {
        AuthState::of(app)?.remember(user, principal);
    }
    Ok(())
}
