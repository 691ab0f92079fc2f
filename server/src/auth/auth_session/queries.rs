//! All SQL about `auth_sessions`.

use super::{ClientClass, EndReason};
use crate::auth::limits;
use crate::auth::sign_in::Method;
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

/// Ends and revokes one session, also one that ended for a newer one.
pub(super) fn end(tx: &Tx<'_>, session: AuthSessionId, ended: &Ended) -> Result<(), DbError> {
    tx.send(
        "UPDATE auth_sessions
         SET ended_at = COALESCE(ended_at, ?2), end_reason = CASE WHEN ended_at IS NULL THEN ?3 ELSE end_reason END,
             revoked_at = COALESCE(revoked_at, ?2)
         WHERE id = ?1",
        params![&session.to_string(), ended.now_ms, ended.reason.as_str()],
    )
}

/// Ends and revokes the sessions of a user, of one class or of all.
pub(super) fn end_of_user(
    tx: &Tx<'_>,
    tenant: &TenantId,
    user: UserId,
    class: Option<ClientClass>,
    ended: &Ended,
) -> Result<(), DbError> {
    // One that ended for a newer one may have access tokens as well, unless its last one was issued long ago.
    tx.send(
        "UPDATE auth_sessions
         SET ended_at = COALESCE(ended_at, ?4), end_reason = CASE WHEN ended_at IS NULL THEN ?5 ELSE end_reason END,
             revoked_at = ?4
         WHERE tenant_id = ?1 AND user_id = ?2 AND (?3 = '' OR class = ?3) AND revoked_at IS NULL
           AND (ended_at IS NULL OR access_at > ?6)",
        params![
            tenant.as_str(),
            &user.to_string(),
            class.map_or("", ClientClass::as_str),
            ended.now_ms,
            ended.reason.as_str(),
            ended.now_ms - limits::ACCESS_TOKEN_MS_MAX
        ],
    )
}

/// How many revoked sessions of a user a token of today's epoch may belong to.
pub(super) fn revoked_of_user(tx: &Tx<'_>, user: UserId) -> Result<i64, DbError> {
    tx.count(
        "SELECT COUNT(*)
         FROM auth_sessions s
         JOIN users u ON u.id = s.user_id
         WHERE s.user_id = ?1 AND s.epoch = u.epoch AND s.revoked_at IS NOT NULL",
        params![&user.to_string()],
    )
}

/// A session as it is stored.
pub(super) struct SessionRow {
    pub(super) id: AuthSessionId,
    pub(super) tenant: TenantId,
    pub(super) user: UserId,
    pub(super) epoch: i64,
    pub(super) token_hash: [u8; 32],
    pub(super) generation: u32,
    pub(super) expires_at_ms: i64,
    pub(super) parent_expires_at_ms: Option<i64>,
    pub(super) ended: bool,
    pub(super) revoked: bool,
}

pub(super) fn find(tx: &Tx<'_>, id: AuthSessionId) -> Result<Option<SessionRow>, DbError> {
    tx.query_one(
        "SELECT tenant_id, user_id, epoch, token_hash, generation, expires_at, parent_expires_at, ended_at, revoked_at
         FROM auth_sessions
         WHERE id = ?1",
        params![&id.to_string()],
        |row| {
            Ok(SessionRow {
                id,
                tenant: row.get(0)?,
                user: row.get(1)?,
                epoch: row.get(2)?,
                token_hash: row.get(3)?,
                generation: row.get(4)?,
                expires_at_ms: row.get(5)?,
                parent_expires_at_ms: row.get(6)?,
                ended: row.get::<Option<i64>>(7)?.is_some(),
                revoked: row.get::<Option<i64>>(8)?.is_some(),
            })
        },
    )
}

/// What [`rotate`] stores.
pub(super) struct Rotation<'a> {
    pub(super) child: &'a [u8; 32],
    pub(super) expires_at_ms: i64,
    pub(super) now_ms: i64,
}

/// Puts the successor in the place of the newest token.
pub(super) fn rotate(tx: &Tx<'_>, id: AuthSessionId, rotation: &Rotation<'_>) -> Result<(), DbError> {
    tx.send(
        "UPDATE auth_sessions
         SET token_hash = ?2, generation = generation + 1, parent_expires_at = expires_at, expires_at = ?3, access_at = ?4
         WHERE id = ?1",
        params![&id.to_string(), rotation.child, rotation.expires_at_ms, rotation.now_ms],
    )
}

/// Notes that one more access token of a session was issued.
pub(super) fn note_access(tx: &Tx<'_>, id: AuthSessionId, now_ms: i64) -> Result<(), DbError> {
    tx.send(
        "UPDATE auth_sessions
         SET access_at = ?2
         WHERE id = ?1",
        params![&id.to_string(), now_ms],
    )
}

/// Has every bound device of a user sign nobody in any more.
pub(super) fn sign_out_devices(tx: &Tx<'_>, tenant: &TenantId, user: UserId, now_ms: i64) -> Result<(), DbError> {
    tx.send(
        "INSERT INTO signed_out_devices (tenant_id, device_key, user_id, since)
         SELECT tenant_id, device_key, user_id, CAST(?3 AS BIGINT)
         FROM devices
         WHERE tenant_id = ?1 AND user_id = ?2 AND status = 'bound'
         ON CONFLICT (tenant_id, device_key) DO NOTHING",
        params![tenant.as_str(), &user.to_string(), now_ms],
    )
}

pub(super) fn is_signed_out(tx: &Tx<'_>, tenant: &TenantId, device_key: &[u8; 32]) -> Result<bool, DbError> {
    let found = tx.query_one(
        "SELECT 1
         FROM signed_out_devices
         WHERE tenant_id = ?1 AND device_key = ?2",
        params![tenant.as_str(), device_key],
        |row| row.get::<i64>(0),
    )?;
    Ok(found.is_some())
}

pub(super) fn sign_device_in(tx: &Tx<'_>, tenant: &TenantId, device_key: &[u8; 32]) -> Result<(), DbError> {
    tx.send(
        "DELETE FROM signed_out_devices
         WHERE tenant_id = ?1 AND device_key = ?2",
        params![tenant.as_str(), device_key],
    )
}

/// Whether a session that was not revoked began otherwise than by the key of a device.
pub(super) fn began_by_person(tx: &Tx<'_>, user: &User, session: AuthSessionId) -> Result<bool, DbError> {
    let found = tx.query_one(
        "SELECT 1
         FROM auth_sessions
         WHERE id = ?1 AND tenant_id = ?2 AND user_id = ?3 AND epoch = ?4 AND revoked_at IS NULL AND method <> ?5",
        params![&session.to_string(), user.tenant.as_str(), &user.id.to_string(), user.epoch, Method::Device.as_str()],
        |row| row.get::<i64>(0),
    )?;
    Ok(found.is_some())
}
