//! All SQL about `auth_sessions` and `token_counts`.

use super::{ClientClass, EndReason};
use crate::auth::limits;
use crate::auth::users::User;
use crate::db::{DbError, Tx};
use crate::ids::{AuthSessionId, TenantId, UserId};
use crate::params;

/// What [`insert`] stores.
pub(super) struct NewSession<'a> {
    pub(super) id: AuthSessionId,
    pub(super) class: ClientClass,
    pub(super) method: &'a str,
    pub(super) token_hash: &'a [u8; 32],
    pub(super) expires_at_ms: i64,
    pub(super) now_ms: i64,
}

/// Why and when a session ends.
pub(super) struct Ended {
    pub(super) reason: EndReason,
    pub(super) now_ms: i64,
}

pub(super) fn insert(tx: &Tx<'_>, user: &User, new: &NewSession<'_>) -> Result<(), DbError> {
    tx.send(
        "INSERT INTO auth_sessions
             (id, tenant_id, user_id, class, method, epoch, token_hash, generation, expires_at, created_at, access_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8, ?9, ?9)",
        params![
            &new.id.to_string(),
            user.tenant.as_str(),
            &user.id.to_string(),
            new.class.as_str(),
            new.method,
            user.epoch,
            new.token_hash,
            new.expires_at_ms,
            new.now_ms
        ],
    )
}

/// Ends the session that a user has with a class of client, lets its access tokens run out, and forgets those that ended
/// long ago.
pub(super) fn supersede(
    tx: &Tx<'_>,
    tenant: &TenantId,
    user: UserId,
    class: ClientClass,
    now_ms: i64,
) -> Result<(), DbError> {
    let user = user.to_string();
    tx.send(
        "DELETE FROM auth_sessions
         WHERE tenant_id = ?1 AND user_id = ?2 AND ended_at < ?3",
        params![tenant.as_str(), &user, now_ms - limits::ENDED_SESSIONS_KEPT_MS],
    )?;
    tx.send(
        "UPDATE auth_sessions
         SET ended_at = ?4, end_reason = ?5
         WHERE tenant_id = ?1 AND user_id = ?2 AND class = ?3 AND ended_at IS NULL",
        params![tenant.as_str(), &user, class.as_str(), now_ms, EndReason::Superseded.as_str()],
    )
}

/// Ends and revokes one session, also one that ended for a newer one; false when there is none.
pub(super) fn end(tx: &Tx<'_>, tenant: &TenantId, session: AuthSessionId, ended: &Ended) -> Result<bool, DbError> {
    let changed = tx.execute(
        "UPDATE auth_sessions
         SET ended_at = COALESCE(ended_at, ?3), end_reason = CASE WHEN ended_at IS NULL THEN ?4 ELSE end_reason END,
             revoked_at = COALESCE(revoked_at, ?3)
         WHERE tenant_id = ?1 AND id = ?2",
        params![tenant.as_str(), &session.to_string(), ended.now_ms, ended.reason.as_str()],
    )?;
    Ok(changed == 1)
}

/// Ends and revokes the sessions of a user, of one class or of all.
pub(super) fn end_of_user(
    tx: &Tx<'_>,
    tenant: &TenantId,
    user: UserId,
    class: Option<ClientClass>,
    ended: &Ended,
) -> Result<(), DbError> {
    // Those that ended for a newer one may have access tokens as well.
    tx.send(
        "UPDATE auth_sessions
         SET ended_at = COALESCE(ended_at, ?4), end_reason = CASE WHEN ended_at IS NULL THEN ?5 ELSE end_reason END,
             revoked_at = ?4
         WHERE tenant_id = ?1 AND user_id = ?2 AND (?3 = '' OR class = ?3) AND revoked_at IS NULL",
        params![
            tenant.as_str(),
            &user.to_string(),
            class.map_or("", ClientClass::as_str),
            ended.now_ms,
            ended.reason.as_str()
        ],
    )
}
