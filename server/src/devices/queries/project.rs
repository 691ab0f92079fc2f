//! What the ingest transaction asks and changes.

use muster_sync_core::{
    DeviceKey,
    document::{Request, RequestPurpose},
};

use super::super::owner::{BindingFacts, DeviceStatus, Owner};
use super::super::rules::{Ownership, RequestStatus, Standing};
use super::{request_status, role};
use crate::db::{DbError, Tx};
use crate::ids::{TenantId, UserId};
use crate::params;

pub(in crate::devices) fn owner_of(tx: &Tx<'_>, tenant: &TenantId, key: &DeviceKey) -> Result<Option<Owner>, DbError> {
    tx.query_one(
        "SELECT d.user_id, u.role, CASE WHEN d.status = 'bound' AND u.status = 'active' THEN 1 ELSE 0 END
         FROM devices d
         JOIN users u ON u.id = d.user_id
         WHERE d.tenant_id = ?1 AND d.device_key = ?2",
        params![tenant.as_str(), &key.0],
        |row| {
            let active: bool = row.get(2)?;
            let status = if active { DeviceStatus::Bound } else { DeviceStatus::Revoked };
            Ok(Owner { user: row.get(0)?, role: role(&row.get::<String>(1)?)?, status })
        },
    )
}

pub(in crate::devices) fn binding(
    tx: &Tx<'_>,
    tenant: &TenantId,
    key: &DeviceKey,
) -> Result<Option<BindingFacts>, DbError> {
    tx.query_one(
        "SELECT user_id, bound_at, revoked_at, CASE level WHEN 'hardware' THEN 1 ELSE 0 END, forked_at
         FROM devices
         WHERE tenant_id = ?1 AND device_key = ?2",
        params![tenant.as_str(), &key.0],
        |row| {
            Ok(BindingFacts {
                user: row.get(0)?,
                bound_at_ms: row.get(1)?,
                revoked_at_ms: row.get(2)?,
                hardware: row.get(3)?,
                forked_at_ms: row.get(4)?,
            })
        },
    )
}

/// How many requests of a user there are: since a time, and at all.
pub(in crate::devices) fn count_requests(
    tx: &Tx<'_>,
    tenant: &TenantId,
    user: UserId,
    since_ms: i64,
) -> Result<(i64, i64), DbError> {
    let found = tx.query_one(
        "SELECT CAST(COALESCE(sum(CASE WHEN created_at > ?3 THEN 1 ELSE 0 END), 0) AS BIGINT), count(*)
         FROM device_requests
         WHERE tenant_id = ?1 AND user_id = ?2",
        params![tenant.as_str(), &user.to_string(), since_ms],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    Ok(found.unwrap_or((0, 0)))
}

/// The owner of a key and the sealed code key.
pub(in crate::devices) fn sealed_code_key(
    tx: &Tx<'_>,
    tenant: &TenantId,
    key: &DeviceKey,
) -> Result<Option<(UserId, Vec<u8>)>, DbError> {
    tx.query_one(
        "SELECT user_id, sealed_code_key
         FROM devices
         WHERE tenant_id = ?1 AND device_key = ?2 AND sealed_code_key IS NOT NULL",
        params![tenant.as_str(), &key.0],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

/// Flags a key; `true` if it was bound once and was not flagged yet.
pub(in crate::devices) fn flag_fork(
    tx: &Tx<'_>,
    tenant: &TenantId,
    key: &DeviceKey,
    now_ms: i64,
) -> Result<bool, DbError> {
    let flagged = tx.execute(
        "UPDATE devices
         SET forked_at = ?3
         WHERE tenant_id = ?1 AND device_key = ?2 AND forked_at IS NULL",
        params![tenant.as_str(), &key.0, now_ms],
    )?;
    tx.send(
        "UPDATE device_requests
         SET forked_at = ?3
         WHERE tenant_id = ?1 AND device_key = ?2 AND forked_at IS NULL",
        params![tenant.as_str(), &key.0, now_ms],
    )?;
    Ok(flagged > 0)
}

pub(in crate::devices) fn revoked_at(tx: &Tx<'_>, tenant: &TenantId, key: &DeviceKey) -> Result<Option<i64>, DbError> {
    let found = tx.query_one(
        "SELECT d.revoked_at
         FROM devices d
         JOIN users u ON u.id = d.user_id
         WHERE d.tenant_id = ?1 AND d.device_key = ?2 AND d.status = 'revoked' AND u.status = 'active'",
        params![tenant.as_str(), &key.0],
        |row| row.get::<Option<i64>>(0),
    )?;
    Ok(found.flatten())
}

/// What binding `key` to `user` depends on; `None` if the tenant has no such user.
pub(in crate::devices) fn standing(
    tx: &Tx<'_>,
    tenant: &TenantId,
    user: &str,
    key: &DeviceKey,
    request: Option<&[u8; 32]>,
) -> Result<Option<Standing>, DbError> {
    tx.query_one(
        "SELECT u.role, own.user_id, own.status,
                (SELECT COUNT(*)
                 FROM devices other
                 WHERE other.tenant_id = ?1 AND other.user_id = ?2 AND other.status = 'bound'
                   AND other.device_key <> ?3),
                (SELECT asked.status
                 FROM device_requests asked
                 WHERE asked.tenant_id = ?1 AND asked.request_hash = ?4 AND asked.user_id = ?2)
         FROM users u
         LEFT JOIN devices own ON own.tenant_id = ?1 AND own.device_key = ?3
         WHERE u.tenant_id = ?1 AND u.id = ?2",
        params![tenant.as_str(), user, &key.0, request],
        |row| {
            let ownership = match row.get::<Option<String>>(1)? {
                None => Ownership::Nobody,
                Some(owner) if owner == user => Ownership::Same { bound: row.get::<String>(2)? == "bound" },
                Some(_) => Ownership::Another,
            };
            let request = row.get::<Option<String>>(4)?;
            Ok(Standing {
                role: role(&row.get::<String>(0)?)?,
                others_bound: row.get(3)?,
                ownership,
                request: request.as_deref().map(request_status).transpose()?,
            })
        },
    )
}

/// What [`insert_request`] stores.
pub(in crate::devices) struct NewRequest<'a> {
    pub(in crate::devices) hash: &'a [u8; 32],
    pub(in crate::devices) user: &'a str,
    pub(in crate::devices) request: &'a Request,
    pub(in crate::devices) purpose: RequestPurpose,
    pub(in crate::devices) sealed_code_key: Option<&'a [u8]>,
    pub(in crate::devices) status: RequestStatus,
    pub(in crate::devices) note: Option<&'a str>,
    pub(in crate::devices) now_ms: i64,
}

pub(in crate::devices) fn insert_request(tx: &Tx<'_>, tenant: &TenantId, new: &NewRequest<'_>) -> Result<(), DbError> {
    let decided_at_ms = (new.status != RequestStatus::Pending).then_some(new.now_ms);
    tx.send(
        "INSERT INTO device_requests
             (tenant_id, request_hash, kind, user_id, device_key, purpose, level, platform, model, legacy_id_hash,
              sealed_code_key, status, note, created_at, decided_at)
         VALUES (?1, ?2, 'key', ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
         ON CONFLICT (tenant_id, request_hash) DO NOTHING",
        params![
            tenant.as_str(),
            new.hash,
            new.user,
            &new.request.key.0,
            new.purpose.as_str(),
            new.request.level.as_str(),
            new.request.platform.as_str(),
            new.request.model.as_ref().map(|model| model.as_str()),
            new.request.legacy_id_hash.as_ref(),
            new.sealed_code_key,
            new.status.as_str(),
            new.note,
            new.now_ms,
            decided_at_ms
        ],
    )
}

/// Supersedes what waits of a user besides the newest `keep` requests, and every older request of the same key.
pub(in crate::devices) fn supersede_older(
    tx: &Tx<'_>,
    tenant: &TenantId,
    newest: &NewRequest<'_>,
    keep: u64,
) -> Result<(), DbError> {
    tx.send(
        "UPDATE device_requests
         SET status = 'superseded', decided_at = ?5
         WHERE tenant_id = ?1 AND user_id = ?2 AND kind = 'key' AND status = 'pending' AND request_hash <> ?3
           AND (device_key = ?4
                OR request_hash NOT IN (
                    SELECT kept.request_hash
                    FROM device_requests kept
                    WHERE kept.tenant_id = ?1 AND kept.user_id = ?2 AND kept.kind = 'key' AND kept.status = 'pending'
                      AND kept.request_hash <> ?3
                    ORDER BY kept.created_at DESC, kept.request_hash
                    LIMIT ?6))",
        params![
            tenant.as_str(),
            newest.user,
            newest.hash,
            &newest.request.key.0,
            newest.now_ms,
            keep.saturating_sub(1) as i64
        ],
    )
}

/// Gives a device that was bound before its request came what the request says about it.
pub(in crate::devices) fn complete_device(tx: &Tx<'_>, tenant: &TenantId, new: &NewRequest<'_>) -> Result<(), DbError> {
    tx.send(
        "UPDATE devices
         SET level = ?4, platform = ?5, model = ?6, legacy_id_hash = ?7,
             sealed_code_key = COALESCE(sealed_code_key, ?8)
         WHERE tenant_id = ?1 AND device_key = ?2 AND user_id = ?3",
        params![
            tenant.as_str(),
            &new.request.key.0,
            new.user,
            new.request.level.as_str(),
            new.request.platform.as_str(),
            new.request.model.as_ref().map(|model| model.as_str()),
            new.request.legacy_id_hash.as_ref(),
            new.sealed_code_key
        ],
    )
}

/// A key that a decision binds.
pub(in crate::devices) struct NewBinding<'a> {
    pub(in crate::devices) key: &'a DeviceKey,
    pub(in crate::devices) user: &'a str,
    pub(in crate::devices) by: &'a str,
    pub(in crate::devices) now_ms: i64,
}

/// Binds a key with what its newest request says about it; a key that is bound stays as it is.
pub(in crate::devices) fn bind(tx: &Tx<'_>, tenant: &TenantId, new: &NewBinding<'_>) -> Result<(), DbError> {
    tx.send(
        "INSERT INTO devices
             (tenant_id, device_key, user_id, status, level, platform, model, legacy_id_hash, sealed_code_key,
              bound_at, bound_by, forked_at)
         SELECT ?1, ?2, ?3, 'bound', COALESCE(asked.level, 'software'), COALESCE(asked.platform, 'unknown'),
                asked.model, asked.legacy_id_hash, asked.sealed_code_key, CAST(?4 AS BIGINT), ?5, asked.forked_at
         FROM (SELECT 1 AS one) row
         LEFT JOIN (SELECT 1 AS one, level, platform, model, legacy_id_hash, sealed_code_key, forked_at
                    FROM device_requests
                    WHERE tenant_id = ?1 AND device_key = ?2 AND user_id = ?3
                    ORDER BY created_at DESC, request_hash
                    LIMIT 1) asked ON asked.one = row.one
         WHERE TRUE
         ON CONFLICT (tenant_id, device_key) DO UPDATE
         SET status = 'bound', bound_at = excluded.bound_at, bound_by = excluded.bound_by,
             level = excluded.level, platform = excluded.platform, model = excluded.model,
             legacy_id_hash = excluded.legacy_id_hash,
             sealed_code_key = COALESCE(excluded.sealed_code_key, devices.sealed_code_key),
             revoked_at = NULL, revoked_by = NULL, revoke_reason = NULL
         WHERE devices.status = 'revoked' AND devices.user_id = excluded.user_id",
        params![tenant.as_str(), &new.key.0, new.user, new.now_ms, new.by],
    )
}

/// A decision on requests.
pub(in crate::devices) struct Decided<'a> {
    pub(in crate::devices) status: RequestStatus,
    pub(in crate::devices) by: &'a str,
    pub(in crate::devices) reason: Option<&'a str>,
    pub(in crate::devices) now_ms: i64,
}

/// Decides every request of a key that waits.
pub(in crate::devices) fn decide_by_key(
    tx: &Tx<'_>,
    tenant: &TenantId,
    user: &str,
    key: &DeviceKey,
    decided: &Decided<'_>,
) -> Result<(), DbError> {
    tx.send(
        "UPDATE device_requests
         SET status = ?4, decided_at = ?5, decided_by = ?6, reason = ?7, note = NULL
         WHERE tenant_id = ?1 AND user_id = ?2 AND device_key = ?3 AND status = 'pending'",
        params![tenant.as_str(), user, &key.0, decided.status.as_str(), decided.now_ms, decided.by, decided.reason],
    )
}

/// Decides one request, if it waits.
pub(in crate::devices) fn decide_by_hash(
    tx: &Tx<'_>,
    tenant: &TenantId,
    user: &str,
    hash: &[u8; 32],
    decided: &Decided<'_>,
) -> Result<(), DbError> {
    tx.send(
        "UPDATE device_requests
         SET status = ?4, decided_at = ?5, decided_by = ?6, reason = ?7
         WHERE tenant_id = ?1 AND user_id = ?2 AND request_hash = ?3 AND status = 'pending'",
        params![tenant.as_str(), user, hash, decided.status.as_str(), decided.now_ms, decided.by, decided.reason],
    )
}

/// Notes on the requests of a key why a decision had no effect.
pub(in crate::devices) fn note(
    tx: &Tx<'_>,
    tenant: &TenantId,
    user: &str,
    key: &DeviceKey,
    note: &'static str,
) -> Result<(), DbError> {
    tx.send(
        "UPDATE device_requests
         SET note = ?4
         WHERE tenant_id = ?1 AND user_id = ?2 AND device_key = ?3",
        params![tenant.as_str(), user, &key.0, note],
    )
}

/// The key that a request asks for.
pub(in crate::devices) fn key_of_request(
    tx: &Tx<'_>,
    tenant: &TenantId,
    user: &str,
    hash: &[u8; 32],
) -> Result<Option<DeviceKey>, DbError> {
    tx.query_one(
        "SELECT device_key
         FROM device_requests
         WHERE tenant_id = ?1 AND user_id = ?2 AND request_hash = ?3 AND kind = 'key'",
        params![tenant.as_str(), user, hash],
        |row| Ok(DeviceKey(row.get(0)?)),
    )
}

/// Who ends bindings, and why.
pub(in crate::devices) struct Revoked<'a> {
    pub(in crate::devices) by: &'a str,
    pub(in crate::devices) reason: Option<&'a str>,
    pub(in crate::devices) now_ms: i64,
}

/// Whether it was bound.
pub(in crate::devices) fn revoke(
    tx: &Tx<'_>,
    tenant: &TenantId,
    user: &str,
    key: &DeviceKey,
    revoked: &Revoked<'_>,
) -> Result<bool, DbError> {
    let ended = tx.execute(
        "UPDATE devices
         SET status = 'revoked', revoked_at = ?4, revoked_by = ?5, revoke_reason = ?6
         WHERE tenant_id = ?1 AND user_id = ?2 AND device_key = ?3 AND status = 'bound'",
        params![tenant.as_str(), user, &key.0, revoked.now_ms, revoked.by, revoked.reason],
    )?;
    Ok(ended > 0)
}

/// Ends every binding of a user but that of `key`.
pub(in crate::devices) fn revoke_others(
    tx: &Tx<'_>,
    tenant: &TenantId,
    user: &str,
    key: &DeviceKey,
    revoked: &Revoked<'_>,
) -> Result<(), DbError> {
    tx.send(
        "UPDATE devices
         SET status = 'revoked', revoked_at = ?4, revoked_by = ?5, revoke_reason = ?6
         WHERE tenant_id = ?1 AND user_id = ?2 AND device_key <> ?3 AND status = 'bound'",
        params![tenant.as_str(), user, &key.0, revoked.now_ms, revoked.by, revoked.reason],
    )
}
