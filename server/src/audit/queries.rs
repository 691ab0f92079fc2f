//! All SQL of the audit log.

use super::chain::FIRST;
use crate::db::{DbError, Row, Tx};
use crate::ids::TenantId;
use crate::params;

/// A row of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// Its number in the tenant, from 1 and without gaps.
    pub number: i64,
    /// When, Unix milliseconds.
    pub at_ms: i64,
    /// Who.
    pub actor_id: String,
    /// As what.
    pub actor_role: String,
    /// What was done.
    pub action: String,
    /// To what kind of thing.
    pub object_kind: String,
    /// To which one.
    pub object_id: String,
    /// Why, as a code.
    pub reason: Option<String>,
    /// In which request.
    pub request_id: String,
    /// With which result.
    pub result: String,
    /// SHA-256 over the row before and this one.
    pub hash: [u8; 32],
}

/// Takes the next number; gives it with the hash of the row before.
pub(super) fn take_number(tx: &Tx<'_>, tenant: &TenantId) -> Result<(i64, [u8; 32]), DbError> {
    let taken = tx.query_one(
        "INSERT INTO audit_heads (tenant_id, last_number, last_hash)
         VALUES (?1, 1, ?2)
         ON CONFLICT (tenant_id) DO UPDATE
         SET last_number = audit_heads.last_number + 1
         RETURNING last_number, last_hash",
        params![tenant.as_str(), &FIRST],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    taken.ok_or_else(|| DbError::Other("the head of the audit log could not be moved".to_owned()))
}

pub(super) fn insert(tx: &Tx<'_>, tenant: &TenantId, row: &AuditRow, hash: &[u8; 32]) -> Result<(), DbError> {
    tx.send(
        "INSERT INTO audit_log
             (tenant_id, number, at, actor_id, actor_role, action, object_kind, object_id, reason, request_id, result,
              hash)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        params![
            tenant.as_str(),
            row.number,
            row.at_ms,
            &row.actor_id,
            &row.actor_role,
            &row.action,
            &row.object_kind,
            &row.object_id,
            row.reason.as_deref(),
            &row.request_id,
            &row.result,
            hash
        ],
    )
}

pub(super) fn set_head(tx: &Tx<'_>, tenant: &TenantId, hash: &[u8; 32]) -> Result<(), DbError> {
    tx.send(
        "UPDATE audit_heads
         SET last_hash = ?2
         WHERE tenant_id = ?1",
        params![tenant.as_str(), hash],
    )
}

pub(super) fn head(tx: &Tx<'_>, tenant: &TenantId) -> Result<Option<(i64, [u8; 32])>, DbError> {
    tx.query_one(
        "SELECT last_number, last_hash
         FROM audit_heads
         WHERE tenant_id = ?1",
        params![tenant.as_str()],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

/// The head of every tenant that has rows: its newest number and hash.
pub(super) fn heads(tx: &Tx<'_>) -> Result<Vec<(TenantId, i64, [u8; 32])>, DbError> {
    tx.query(
        "SELECT tenant_id, last_number, last_hash
         FROM audit_heads
         ORDER BY tenant_id",
        &[],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )
}

/// When the row behind so many rows was written, and the newest one, Unix milliseconds.
pub(super) fn times_after(tx: &Tx<'_>, tenant: &TenantId, rows: i64) -> Result<(Option<i64>, Option<i64>), DbError> {
    let at = |sql: &str, number: i64| tx.query_one(sql, params![tenant.as_str(), number], |row| row.get::<i64>(0));
    let first = "SELECT CAST(at AS BIGINT)
         FROM audit_log
         WHERE tenant_id = ?1 AND number > ?2
         ORDER BY number
         LIMIT 1";
    let newest = "SELECT CAST(at AS BIGINT)
         FROM audit_log
         WHERE tenant_id = ?1 AND number > ?2
         ORDER BY number DESC
         LIMIT 1";
    Ok((at(first, rows)?, at(newest, rows)?))
}

/// Every tenant that has rows or a head.
pub(super) fn tenants(tx: &Tx<'_>) -> Result<Vec<TenantId>, DbError> {
    tx.query(
        "SELECT tenant_id FROM audit_heads
         UNION
         SELECT DISTINCT tenant_id FROM audit_log
         ORDER BY tenant_id",
        &[],
        |row| row.get(0),
    )
}

/// The hash of the row with a number.
pub(super) fn hash_at(tx: &Tx<'_>, tenant: &TenantId, number: i64) -> Result<Option<[u8; 32]>, DbError> {
    tx.query_one(
        "SELECT hash
         FROM audit_log
         WHERE tenant_id = ?1 AND number = ?2",
        params![tenant.as_str(), number],
        |row| row.get(0),
    )
}

/// Rows of a tenant after a number, in their order.
///
/// # Errors
/// When the database fails.
pub fn rows(tx: &Tx<'_>, tenant: &TenantId, after: i64, limit: u32) -> Result<Vec<AuditRow>, DbError> {
    tx.query(SELECT_ROWS, params![tenant.as_str(), after, limit], row)
}

const SELECT_ROWS: &str = "SELECT number, at, actor_id, actor_role, action, object_kind, object_id, reason, request_id,
        result, hash
    FROM audit_log
    WHERE tenant_id = ?1 AND number > ?2
    ORDER BY number
    LIMIT ?3";

/// A row as far as it can be read: one that somebody edited must be named, not fail to be read.
pub(super) struct StoredRow {
    pub(super) number: i64,
    pub(super) hash: Option<[u8; 32]>,
    pub(super) row: Option<AuditRow>,
}

/// The same rows as [`rows`], whatever stands in them.
pub(super) fn stored_rows(tx: &Tx<'_>, tenant: &TenantId, after: i64, limit: u32) -> Result<Vec<StoredRow>, DbError> {
    tx.query(SELECT_ROWS, params![tenant.as_str(), after, limit], |found| {
        Ok(StoredRow { number: found.get(0)?, hash: found.get(10).ok(), row: row(found).ok() })
    })
}

/// Reads number, at, actor_id, actor_role, action, object_kind, object_id, reason, request_id, result, hash.
///
/// # Errors
/// When a column holds something else.
pub fn row(row: &Row<'_>) -> Result<AuditRow, DbError> {
    Ok(AuditRow {
        number: row.get(0)?,
        at_ms: row.get(1)?,
        actor_id: row.get(2)?,
        actor_role: row.get(3)?,
        action: row.get(4)?,
        object_kind: row.get(5)?,
        object_id: row.get(6)?,
        reason: row.get(7)?,
        request_id: row.get(8)?,
        result: row.get(9)?,
        hash: row.get(10)?,
    })
}
