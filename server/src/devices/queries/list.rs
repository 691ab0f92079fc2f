//! What people list.

use muster_sync_core::{DeviceKey, document::Role};

use super::super::rules::RequestStatus;
use super::{request_status, role};
use crate::auth::ShownUser;
use crate::db::{DbError, Row, Tx};
use crate::ids::{TenantId, UserId};
use crate::params;

/// The person of a row, whose columns stand from the first one on.
fn owner(row: &Row<'_>, id: UserId, first: usize) -> Result<ShownUser, DbError> {
    Ok(ShownUser {
        id,
        email: row.get(first)?,
        email_confirmed_at_ms: row.get(first + 1)?,
        email_confirmed_by: row.get(first + 2)?,
        display_name: row.get(first + 3)?,
        external_id: row.get(first + 4)?,
    })
}

/// A request with what an admin needs to decide it.
#[derive(Debug, Clone)]
pub(in crate::devices) struct RequestRow {
    pub(in crate::devices) hash: [u8; 32],
    /// Missing for a legacy identifier.
    pub(in crate::devices) key: Option<DeviceKey>,
    pub(in crate::devices) owner: ShownUser,
    pub(in crate::devices) role: Role,
    /// Whether it was a reset when it came.
    pub(in crate::devices) asks_reset: bool,
    pub(in crate::devices) level: Option<String>,
    pub(in crate::devices) platform: String,
    pub(in crate::devices) model: Option<String>,
    pub(in crate::devices) status: RequestStatus,
    pub(in crate::devices) note: Option<String>,
    pub(in crate::devices) created_at_ms: i64,
    pub(in crate::devices) decided_at_ms: Option<i64>,
    pub(in crate::devices) decided_by: Option<String>,
    pub(in crate::devices) reason: Option<String>,
    pub(in crate::devices) forked_at_ms: Option<i64>,
    /// The user's other bound keys; for a legacy identifier, the user's other approved ones.
    pub(in crate::devices) others_bound: u64,
    /// The user's devices that are no longer bound.
    pub(in crate::devices) earlier_devices: u64,
}

macro_rules! select_requests {
    ($rest:literal) => {
        concat!(
            "SELECT r.request_hash, r.device_key, r.user_id, u.role,
                    r.purpose, r.level, r.platform, r.model, r.status, r.note, r.created_at, r.decided_at,
                    r.decided_by, r.reason, r.forked_at,
                    CASE r.kind
                    WHEN 'key' THEN
                        (SELECT COUNT(*)
                         FROM devices d
                         WHERE d.tenant_id = r.tenant_id AND d.user_id = r.user_id AND d.status = 'bound'
                           AND d.device_key <> r.device_key)
                    ELSE
                        (SELECT COUNT(*)
                         FROM device_requests l
                         WHERE l.tenant_id = r.tenant_id AND l.user_id = r.user_id AND l.kind = 'legacy'
                           AND l.status = 'approved' AND l.request_hash <> r.request_hash)
                    END,
                    (SELECT COUNT(*)
                     FROM devices d
                     WHERE d.tenant_id = r.tenant_id AND d.user_id = r.user_id AND d.status = 'revoked'),
                    u.email, u.email_confirmed_at, u.email_confirmed_by, u.display_name, u.external_id
             FROM device_requests r
             JOIN users u ON u.id = r.user_id AND u.tenant_id = r.tenant_id ",
            $rest
        )
    };
}

fn request_row(row: &Row<'_>) -> Result<RequestRow, DbError> {
    Ok(RequestRow {
        hash: row.get(0)?,
        key: row.get::<Option<[u8; 32]>>(1)?.map(DeviceKey),
        role: role(&row.get::<String>(3)?)?,
        asks_reset: row.get::<String>(4)? == "reset",
        level: row.get(5)?,
        platform: row.get(6)?,
        model: row.get(7)?,
        status: request_status(&row.get::<String>(8)?)?,
        note: row.get(9)?,
        created_at_ms: row.get(10)?,
        decided_at_ms: row.get(11)?,
        decided_by: row.get(12)?,
        reason: row.get(13)?,
        forked_at_ms: row.get(14)?,
        others_bound: row.get(15)?,
        earlier_devices: row.get(16)?,
        owner: owner(row, row.get(2)?, 17)?,
    })
}

pub(in crate::devices) fn request(
    tx: &Tx<'_>,
    tenant: &TenantId,
    hash: &[u8; 32],
) -> Result<Option<RequestRow>, DbError> {
    let sql = select_requests!("WHERE r.tenant_id = ?1 AND r.request_hash = ?2");
    tx.query_one(sql, params![tenant.as_str(), hash], request_row)
}

/// Requests of one status, oldest first, after the one that `after` names.
pub(in crate::devices) fn requests(
    tx: &Tx<'_>,
    tenant: &TenantId,
    status: RequestStatus,
    after: Option<(i64, [u8; 32])>,
    limit: u32,
) -> Result<Vec<RequestRow>, DbError> {
    let sql = select_requests!(
        "WHERE r.tenant_id = ?1 AND r.status = ?2
           AND (r.created_at > ?3 OR (r.created_at = ?3 AND r.request_hash > ?4))
         ORDER BY r.created_at, r.request_hash
         LIMIT ?5"
    );
    let (created_at_ms, hash) = after.unwrap_or((i64::MIN, [0; 32]));
    tx.query(sql, params![tenant.as_str(), status.as_str(), created_at_ms, &hash, limit], request_row)
}

/// A user's newest requests; only those that wait, if asked for.
pub(in crate::devices) fn requests_of(
    tx: &Tx<'_>,
    tenant: &TenantId,
    user: UserId,
    status: Option<RequestStatus>,
    limit: u32,
) -> Result<Vec<RequestRow>, DbError> {
    let sql = select_requests!(
        "WHERE r.tenant_id = ?1 AND r.user_id = ?2 AND (?3 = '' OR r.status = ?3)
         ORDER BY r.created_at DESC, r.request_hash
         LIMIT ?4"
    );
    let status = status.map_or("", RequestStatus::as_str);
    tx.query(sql, params![tenant.as_str(), &user.to_string(), status, limit], request_row)
}

/// A device that is, or was, bound.
#[derive(Debug, Clone)]
pub(in crate::devices) struct DeviceRow {
    pub(in crate::devices) key: DeviceKey,
    pub(in crate::devices) owner: ShownUser,
    pub(in crate::devices) bound: bool,
    pub(in crate::devices) level: String,
    pub(in crate::devices) platform: String,
    pub(in crate::devices) model: Option<String>,
    pub(in crate::devices) has_code_key: bool,
    pub(in crate::devices) bound_at_ms: i64,
    pub(in crate::devices) bound_by: String,
    pub(in crate::devices) revoked_at_ms: Option<i64>,
    pub(in crate::devices) revoked_by: Option<String>,
    pub(in crate::devices) revoke_reason: Option<String>,
    pub(in crate::devices) forked_at_ms: Option<i64>,
}

macro_rules! select_devices {
    ($rest:literal) => {
        concat!(
            "SELECT d.device_key, d.user_id, d.status, d.level, d.platform, d.model,
                    CASE WHEN d.sealed_code_key IS NULL THEN 0 ELSE 1 END, d.bound_at, d.bound_by, d.revoked_at,
                    d.revoked_by, d.revoke_reason, d.forked_at,
                    u.email, u.email_confirmed_at, u.email_confirmed_by, u.display_name, u.external_id
             FROM devices d
             JOIN users u ON u.id = d.user_id AND u.tenant_id = d.tenant_id ",
            $rest
        )
    };
}

fn device_row(row: &Row<'_>) -> Result<DeviceRow, DbError> {
    Ok(DeviceRow {
        key: DeviceKey(row.get(0)?),
        bound: row.get::<String>(2)? == "bound",
        level: row.get(3)?,
        platform: row.get(4)?,
        model: row.get(5)?,
        has_code_key: row.get(6)?,
        bound_at_ms: row.get(7)?,
        bound_by: row.get(8)?,
        revoked_at_ms: row.get(9)?,
        revoked_by: row.get(10)?,
        revoke_reason: row.get(11)?,
        forked_at_ms: row.get(12)?,
        owner: owner(row, row.get(1)?, 13)?,
    })
}

pub(in crate::devices) fn device(
    tx: &Tx<'_>,
    tenant: &TenantId,
    key: &DeviceKey,
) -> Result<Option<DeviceRow>, DbError> {
    let sql = select_devices!("WHERE d.tenant_id = ?1 AND d.device_key = ?2");
    tx.query_one(sql, params![tenant.as_str(), &key.0], device_row)
}

/// Devices in the order of their keys, of one user or of all.
pub(in crate::devices) fn devices(
    tx: &Tx<'_>,
    tenant: &TenantId,
    user: Option<UserId>,
    after: DeviceKey,
    limit: u32,
) -> Result<Vec<DeviceRow>, DbError> {
    let sql = select_devices!(
        "WHERE d.tenant_id = ?1 AND (?2 = '' OR d.user_id = ?2) AND d.device_key > ?3
         ORDER BY d.device_key
         LIMIT ?4"
    );
    let user = user.map(|user| user.to_string()).unwrap_or_default();
    tx.query(sql, params![tenant.as_str(), &user, &after.0, limit], device_row)
}

/// A user's devices, newest binding first.
pub(in crate::devices) fn devices_of(
    tx: &Tx<'_>,
    tenant: &TenantId,
    user: UserId,
    limit: u32,
) -> Result<Vec<DeviceRow>, DbError> {
    let sql = select_devices!(
        "WHERE d.tenant_id = ?1 AND d.user_id = ?2
         ORDER BY d.status, d.bound_at DESC, d.device_key
         LIMIT ?3"
    );
    tx.query(sql, params![tenant.as_str(), &user.to_string(), limit], device_row)
}
