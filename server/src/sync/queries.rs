//! All SQL of sync that is not the change log's.

use muster_sync_core::{
    ChangeHash, DeviceKey, Locator,
    change::{SignedChange, Valid},
    limits,
};
use sha2::{Digest, Sha256};

use super::ingest::Sender;
use super::prepare::Checked;
use crate::db::{DbError, Row, Tx};
use crate::ids::TenantId;
use crate::params;

/// Refused changes of one sender of which a copy is kept.
const REFUSALS_PER_SENDER_MAX: i64 = 1_000;

pub(super) fn has_manifest(
    tx: &Tx<'_>,
    tenant: &TenantId,
    student: &str,
    commitment: &[u8; 32],
) -> Result<bool, DbError> {
    let found = tx.query_one(
        "SELECT 1
         FROM manifests
         WHERE tenant_id = ?1 AND subject_id = ?2 AND commitment = ?3",
        params![tenant.as_str(), student, commitment],
        |row| row.get::<i64>(0),
    )?;
    Ok(found.is_some())
}

pub(super) fn keep_refusal(
    tx: &Tx<'_>,
    sender: &Sender,
    bytes: &[u8],
    reason: &str,
    detail: &str,
    now_ms: i64,
) -> Result<(), DbError> {
    let sha256: [u8; 32] = Sha256::digest(bytes).into();
    let kept = &bytes[..bytes.len().min(limits::CHANGE_SIZE_BYTES_MAX)];
    let sender_id = sender.user.to_string();
    tx.send(
        "INSERT INTO refusals
             (tenant_id, sender_id, bytes_sha256, reason, detail, change, times, first_at, last_at)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, 1, ?7, ?7
         WHERE (SELECT count(*) FROM refusals WHERE tenant_id = ?1 AND sender_id = ?2) < ?8
         ON CONFLICT (tenant_id, sender_id, bytes_sha256) DO UPDATE
         SET reason = excluded.reason, detail = excluded.detail, times = refusals.times + 1, last_at = excluded.last_at",
        params![
            sender.tenant.as_str(),
            &sender_id,
            &sha256,
            reason,
            detail,
            kept,
            now_ms,
            REFUSALS_PER_SENDER_MAX
        ],
    )
}

pub(super) fn is_discarded(tx: &Tx<'_>, tenant: &TenantId, hash: ChangeHash) -> Result<bool, DbError> {
    let found = tx.query_one(
        "SELECT 1
         FROM quarantine
         WHERE tenant_id = ?1 AND hash = ?2 AND state = 'discarded'",
        params![tenant.as_str(), &hash.0],
        |row| row.get::<i64>(0),
    )?;
    Ok(found.is_some())
}

pub(super) fn waiting_count(tx: &Tx<'_>, writer: &DeviceKey) -> Result<i64, DbError> {
    count(tx, "SELECT count(*) FROM quarantine WHERE writer = ?1 AND state = 'waiting'", writer)
}

pub(super) fn unbound_count(tx: &Tx<'_>, writer: &DeviceKey) -> Result<i64, DbError> {
    let sql = "SELECT count(*) FROM quarantine WHERE writer = ?1 AND state = 'waiting' AND reason = 'device_unbound'";
    count(tx, sql, writer)
}

fn count(tx: &Tx<'_>, sql: &str, writer: &DeviceKey) -> Result<i64, DbError> {
    Ok(tx.query_one(sql, params![&writer.0], |row| row.get(0))?.unwrap_or(0))
}

pub(super) fn keep_waiting(
    tx: &Tx<'_>,
    sender: &Sender,
    change: &Checked,
    signed: &SignedChange,
    reason: &str,
    now_ms: i64,
) -> Result<(), DbError> {
    let [key1, key2] = change.name.key();
    let valid = &change.valid;
    let sender_id = sender.user.to_string();
    tx.send(
        "INSERT INTO quarantine
             (tenant_id, hash, document_id, kind, key1, key2, writer, seq, change, signature, code_key, sender_id,
              reason, state, received_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, 'waiting', ?14)
         ON CONFLICT (tenant_id, hash) DO UPDATE
         SET reason = excluded.reason",
        params![
            sender.tenant.as_str(),
            &valid.hash.0,
            &valid.document.0,
            change.name.kind(),
            key1,
            key2,
            &valid.writer.0,
            valid.seq as i64,
            &signed.bytes,
            &signed.signature,
            change.code_key.as_deref(),
            &sender_id,
            reason,
            now_ms
        ],
    )
}

/// A change that waits, whole.
pub(super) struct Waiting {
    pub(super) kind: u8,
    pub(super) key1: String,
    pub(super) key2: String,
    pub(super) signed: SignedChange,
    pub(super) code_key: Option<Vec<u8>>,
    pub(super) hash: ChangeHash,
}

fn waiting(row: &Row<'_>) -> Result<Waiting, DbError> {
    Ok(Waiting {
        kind: row.get::<i64>(0)? as u8,
        key1: row.get(1)?,
        key2: row.get(2)?,
        signed: SignedChange { bytes: row.get(3)?, signature: row.get(4)? },
        code_key: row.get(5)?,
        hash: ChangeHash(row.get(6)?),
    })
}

/// The waiting copy of a change that was just accepted, and what waits for it in the same chain.
pub(super) fn waiting_after(tx: &Tx<'_>, accepted: &Valid) -> Result<Vec<Waiting>, DbError> {
    let seq = accepted.seq as i64;
    tx.query(
        "SELECT kind, key1, key2, change, signature, code_key, hash
         FROM quarantine
         WHERE document_id = ?1 AND writer = ?2 AND seq IN (?3, ?4) AND state = 'waiting'
             AND (hash = ?5 OR reason = 'chain_gap')
         ORDER BY seq
         LIMIT 8",
        params![&accepted.document.0, &accepted.writer.0, seq, seq + 1, &accepted.hash.0],
        waiting,
    )
}

pub(super) fn waiting_session(
    tx: &Tx<'_>,
    tenant: &TenantId,
    locator: &Locator,
    limit: usize,
) -> Result<Vec<Waiting>, DbError> {
    tx.query(
        "SELECT kind, key1, key2, change, signature, code_key, hash
         FROM quarantine
         WHERE tenant_id = ?1 AND key1 = ?2 AND reason = 'session_unknown' AND state = 'waiting'
         ORDER BY document_id, seq
         LIMIT ?3",
        params![tenant.as_str(), locator.as_str(), limit as i64],
        waiting,
    )
}

pub(super) fn waiting_device(tx: &Tx<'_>, writer: &DeviceKey, limit: usize) -> Result<Vec<Waiting>, DbError> {
    tx.query(
        "SELECT kind, key1, key2, change, signature, code_key, hash
         FROM quarantine
         WHERE writer = ?1 AND state = 'waiting' AND reason = 'device_unbound'
         ORDER BY document_id, seq
         LIMIT ?2",
        params![&writer.0, limit as i64],
        waiting,
    )
}

pub(super) fn settle(
    tx: &Tx<'_>,
    tenant: &TenantId,
    hash: ChangeHash,
    state: &str,
    now_ms: i64,
) -> Result<(), DbError> {
    tx.send(
        "UPDATE quarantine
         SET state = ?3, settled_at = ?4
         WHERE tenant_id = ?1 AND hash = ?2 AND state = 'waiting'",
        params![tenant.as_str(), &hash.0, state, now_ms],
    )
}

/// A change that waits, as an admin sees it.
pub(super) struct WaitingRow {
    pub(super) hash: [u8; 32],
    pub(super) kind: u8,
    pub(super) key1: String,
    pub(super) key2: String,
    pub(super) writer: [u8; 32],
    pub(super) reason: String,
    pub(super) sender_id: String,
    pub(super) received_at_ms: i64,
}

pub(super) fn list_waiting(tx: &Tx<'_>, tenant: &TenantId, limit: i64) -> Result<Vec<WaitingRow>, DbError> {
    tx.query(
        "SELECT hash, kind, key1, key2, writer, reason, sender_id, received_at
         FROM quarantine
         WHERE tenant_id = ?1 AND state = 'waiting'
         ORDER BY received_at DESC
         LIMIT ?2",
        params![tenant.as_str(), limit],
        |row| {
            Ok(WaitingRow {
                hash: row.get(0)?,
                kind: row.get::<i64>(1)? as u8,
                key1: row.get(2)?,
                key2: row.get(3)?,
                writer: row.get(4)?,
                reason: row.get(5)?,
                sender_id: row.get(6)?,
                received_at_ms: row.get(7)?,
            })
        },
    )
}

/// A change that was refused, as an admin sees it.
pub(super) struct RefusedRow {
    pub(super) bytes_sha256: [u8; 32],
    pub(super) size_bytes: i64,
    pub(super) reason: String,
    pub(super) detail: String,
    pub(super) sender_id: String,
    pub(super) times: i64,
    pub(super) last_at_ms: i64,
}

pub(super) fn list_refused(tx: &Tx<'_>, tenant: &TenantId, limit: i64) -> Result<Vec<RefusedRow>, DbError> {
    tx.query(
        "SELECT bytes_sha256, length(change), reason, detail, sender_id, times, last_at
         FROM refusals
         WHERE tenant_id = ?1
         ORDER BY last_at DESC
         LIMIT ?2",
        params![tenant.as_str(), limit],
        |row| {
            Ok(RefusedRow {
                bytes_sha256: row.get(0)?,
                size_bytes: row.get(1)?,
                reason: row.get(2)?,
                detail: row.get(3)?,
                sender_id: row.get(4)?,
                times: row.get(5)?,
                last_at_ms: row.get(6)?,
            })
        },
    )
}
