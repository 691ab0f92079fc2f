//! Legacy identifiers, which are kept beside the keys and not in any document.

use super::super::legacy::LegacyMatch;
use super::super::rules::{Obstacle, Ownership, RequestStatus, Standing};
use super::{RequestRow, request_status};
use crate::db::{DbError, Tx};
use crate::ids::{TenantId, UserId};
use crate::params;

/// A legacy identifier that somebody asks to be known by.
#[derive(Debug, Clone)]
pub(in crate::devices) struct NewLegacyId {
    pub(in crate::devices) hash: [u8; 32],
    pub(in crate::devices) id_hash: [u8; 32],
    pub(in crate::devices) user: UserId,
    pub(in crate::devices) platform: String,
    pub(in crate::devices) model: Option<String>,
    pub(in crate::devices) now_ms: i64,
}

/// Lets the request wait, unless it waits or was approved already, in place of the user's older ones.
pub(in crate::devices) fn ask_with_legacy_id(tx: &Tx<'_>, tenant: &TenantId, new: &NewLegacyId) -> Result<(), DbError> {
    let user = new.user.to_string();
    let (purpose, note) = match legacy_match(tx, tenant, new.user, &new.id_hash)? {
        LegacyMatch::Unbound | LegacyMatch::Matches => ("bind", None),
        LegacyMatch::Differs => ("reset", None),
        LegacyMatch::OfAnother => ("bind", Some(Obstacle::BoundElsewhere.code())),
    };
    tx.send(
        "INSERT INTO device_requests
             (tenant_id, request_hash, kind, user_id, purpose, platform, model, legacy_id_hash, status, note,
              created_at)
         VALUES (?1, ?2, 'legacy', ?3, ?4, ?5, ?6, ?7, 'pending', ?8, ?9)
         ON CONFLICT (tenant_id, request_hash) DO UPDATE
         SET status = 'pending', purpose = excluded.purpose, note = excluded.note, platform = excluded.platform,
             model = excluded.model, created_at = excluded.created_at, decided_at = NULL, decided_by = NULL,
             reason = NULL
         WHERE device_requests.status IN ('denied', 'superseded')",
        params![
            tenant.as_str(),
            &new.hash,
            &user,
            purpose,
            &new.platform,
            new.model.as_ref(),
            &new.id_hash,
            note,
            new.now_ms
        ],
    )?;
    tx.send(
        "UPDATE device_requests
         SET status = 'superseded', decided_at = ?4
         WHERE tenant_id = ?1 AND user_id = ?2 AND kind = 'legacy' AND status = 'pending' AND request_hash <> ?3",
        params![tenant.as_str(), &user, &new.hash, new.now_ms],
    )
}

/// What approving a legacy identifier depends on.
pub(in crate::devices) fn legacy_standing(
    tx: &Tx<'_>,
    tenant: &TenantId,
    row: &RequestRow,
) -> Result<Option<Standing>, DbError> {
    tx.query_one(
        "SELECT r.status,
                (SELECT COUNT(*)
                 FROM device_requests other
                 WHERE other.tenant_id = ?1 AND other.kind = 'legacy' AND other.legacy_id_hash = r.legacy_id_hash
                   AND other.status = 'approved' AND other.user_id <> r.user_id)
         FROM device_requests r
         WHERE r.tenant_id = ?1 AND r.request_hash = ?2 AND r.kind = 'legacy'",
        params![tenant.as_str(), &row.hash],
        |found| {
            let (status, elsewhere) = (request_status(&found.get::<String>(0)?)?, found.get::<u64>(1)?);
            let ownership = match (status, elsewhere) {
                (RequestStatus::Approved, _) => Ownership::Same { bound: true },
                (_, 0) => Ownership::Nobody,
                _ => Ownership::Another,
            };
            Ok(Standing { role: row.role, others_bound: row.others_bound, ownership, request: Some(status) })
        },
    )
}

/// The user's approved legacy identifiers give way to `hash`.
pub(in crate::devices) fn supersede_legacy_ids(
    tx: &Tx<'_>,
    tenant: &TenantId,
    user: UserId,
    hash: &[u8; 32],
    now_ms: i64,
) -> Result<(), DbError> {
    tx.send(
        "UPDATE device_requests
         SET status = 'superseded', decided_at = ?4
         WHERE tenant_id = ?1 AND user_id = ?2 AND kind = 'legacy' AND status = 'approved' AND request_hash <> ?3",
        params![tenant.as_str(), &user.to_string(), hash, now_ms],
    )
}

/// How a legacy identifier stands to what was approved.
pub(in crate::devices) fn legacy_match(
    tx: &Tx<'_>,
    tenant: &TenantId,
    user: UserId,
    id_hash: &[u8; 32],
) -> Result<LegacyMatch, DbError> {
    let counted = tx.query_one(
        "SELECT COALESCE(CAST(SUM(CASE WHEN user_id = ?2 AND legacy_id_hash = ?3 THEN 1 ELSE 0 END) AS BIGINT), 0),
                COALESCE(CAST(SUM(CASE WHEN user_id <> ?2 THEN 1 ELSE 0 END) AS BIGINT), 0),
                COALESCE(CAST(SUM(CASE WHEN user_id = ?2 THEN 1 ELSE 0 END) AS BIGINT), 0)
         FROM device_requests
         WHERE tenant_id = ?1 AND kind = 'legacy' AND status = 'approved' AND (user_id = ?2 OR legacy_id_hash = ?3)",
        params![tenant.as_str(), &user.to_string(), id_hash],
        |row| Ok((row.get::<i64>(0)?, row.get::<i64>(1)?, row.get::<i64>(2)?)),
    )?;
    Ok(match counted.unwrap_or_default() {
        (1.., _, _) => LegacyMatch::Matches,
        (_, 1.., _) => LegacyMatch::OfAnother,
        (_, _, 1..) => LegacyMatch::Differs,
        _ => LegacyMatch::Unbound,
    })
}
