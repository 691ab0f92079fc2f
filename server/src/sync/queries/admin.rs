//! What people who look after quarantine ask.

use muster_sync_core::{ChangeHash, DeviceKey, DocumentId};

use super::{Waiting, waiting};
use crate::db::{DbError, Row, Tx};
use crate::ids::TenantId;
use crate::params;

/// A change of the quarantine, whatever became of it.
pub(in crate::sync) struct KeptRow {
    pub(in crate::sync) waiting: Waiting,
    pub(in crate::sync) document: DocumentId,
    pub(in crate::sync) writer: DeviceKey,
    pub(in crate::sync) seq: u64,
    pub(in crate::sync) reason: String,
    pub(in crate::sync) state: String,
    pub(in crate::sync) received_at_ms: i64,
    pub(in crate::sync) settled_at_ms: Option<i64>,
    pub(in crate::sync) settled_by: Option<String>,
    pub(in crate::sync) settle_reason: Option<String>,
}

/// The columns that [`kept`] reads.
macro_rules! select_kept {
    ($rest:literal) => {
        concat!(
            "SELECT kind, key1, key2, change, signature, code_key, hash, sender_id, document_id, writer, seq, reason,
                 state, received_at, settled_at, settled_by, settle_reason
             FROM quarantine ",
            $rest
        )
    };
}

fn kept(row: &Row<'_>) -> Result<KeptRow, DbError> {
    Ok(KeptRow {
        waiting: waiting(row)?,
        document: DocumentId(row.get(8)?),
        writer: DeviceKey(row.get(9)?),
        seq: row.get::<i64>(10)? as u64,
        reason: row.get(11)?,
        state: row.get(12)?,
        received_at_ms: row.get(13)?,
        settled_at_ms: row.get(14)?,
        settled_by: row.get(15)?,
        settle_reason: row.get(16)?,
    })
}

/// One change.
pub(in crate::sync) fn one(tx: &Tx<'_>, tenant: &TenantId, hash: ChangeHash) -> Result<Option<KeptRow>, DbError> {
    tx.query_one(select_kept!("WHERE tenant_id = ?1 AND hash = ?2"), params![tenant.as_str(), &hash.0], kept)
}

/// Which changes; an empty text, or no key, stands for all.
#[derive(Debug, Clone, Default)]
pub(in crate::sync) struct Filter {
    pub(in crate::sync) state: String,
    pub(in crate::sync) reason: String,
    pub(in crate::sync) writer: Option<DeviceKey>,
    /// Who sent it, or whose document it belongs to.
    pub(in crate::sync) user: String,
}

/// Changes of the quarantine, newest first, before a place in that order.
pub(in crate::sync) fn list(
    tx: &Tx<'_>,
    tenant: &TenantId,
    filter: &Filter,
    before: (i64, ChangeHash),
    limit: u32,
) -> Result<Vec<KeptRow>, DbError> {
    let writer: &[u8] = filter.writer.as_ref().map_or(&[], |key| &key.0);
    tx.query(
        select_kept!(
            "WHERE tenant_id = ?1 AND state = ?2 AND (?3 = '' OR reason = ?3) AND (?4 = 0 OR writer = ?5)
                 AND (?6 = '' OR sender_id = ?6 OR key1 = ?6 OR key2 = ?6)
                 AND (received_at < ?7 OR (received_at = ?7 AND hash < ?8))
             ORDER BY received_at DESC, hash DESC
             LIMIT ?9"
        ),
        params![
            tenant.as_str(),
            &filter.state,
            &filter.reason,
            filter.writer.is_some(),
            writer,
            &filter.user,
            before.0,
            &before.1.0,
            limit
        ],
        kept,
    )
}

/// What waits, in the order of the chains: what may be released together.
pub(in crate::sync) fn chosen(
    tx: &Tx<'_>,
    tenant: &TenantId,
    filter: &Filter,
    limit: u32,
) -> Result<Vec<KeptRow>, DbError> {
    let writer: &[u8] = filter.writer.as_ref().map_or(&[], |key| &key.0);
    tx.query(
        select_kept!(
            "WHERE tenant_id = ?1 AND state = 'waiting' AND (?2 = '' OR reason = ?2) AND (?3 = 0 OR writer = ?4)
                 AND (?5 = '' OR sender_id = ?5 OR key1 = ?5 OR key2 = ?5)
             ORDER BY document_id, writer, seq, hash
             LIMIT ?6"
        ),
        params![tenant.as_str(), &filter.reason, filter.writer.is_some(), writer, &filter.user, limit],
        kept,
    )
}

/// How many changes of a device wait, by reason.
pub(in crate::sync) fn waiting_by_reason(
    tx: &Tx<'_>,
    tenant: &TenantId,
    writer: &DeviceKey,
) -> Result<Vec<(String, i64)>, DbError> {
    tx.query(
        "SELECT reason, count(*)
         FROM quarantine
         WHERE tenant_id = ?1 AND writer = ?2 AND state = 'waiting'
         GROUP BY reason
         ORDER BY reason
         LIMIT 64",
        params![tenant.as_str(), &writer.0],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

/// Notes which person had a change released, and has its device ask again.
pub(in crate::sync) fn name_releaser(
    tx: &Tx<'_>,
    tenant: &TenantId,
    hash: ChangeHash,
    by: &str,
    reason: Option<&str>,
    now_ms: i64,
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE quarantine
         SET settled_by = ?3, settle_reason = ?4, tell_since = ?5
         WHERE tenant_id = ?1 AND hash = ?2 AND state = 'released'",
        params![tenant.as_str(), &hash.0, by, reason, now_ms],
    )?;
    Ok(())
}

/// Changes of a device of which it should ask again what became of them; only for whom they concern.
pub(in crate::sync) fn untold(
    tx: &Tx<'_>,
    tenant: &TenantId,
    writer: &DeviceKey,
    user: &str,
    limit: usize,
) -> Result<Vec<ChangeHash>, DbError> {
    tx.query(
        "SELECT hash
         FROM quarantine
         WHERE writer = ?2 AND tell_since IS NOT NULL AND tenant_id = ?1
             AND (sender_id = ?3 OR key1 = ?3 OR key2 = ?3)
         ORDER BY hash
         LIMIT ?4",
        params![tenant.as_str(), &writer.0, user, limit as i64],
        |row| Ok(ChangeHash(row.get(0)?)),
    )
}

/// Notes that a device asks again about a change.
pub(in crate::sync) fn told(tx: &Tx<'_>, tenant: &TenantId, hash: ChangeHash) -> Result<(), DbError> {
    tx.execute(
        "UPDATE quarantine
         SET tell_since = NULL
         WHERE tenant_id = ?1 AND hash = ?2",
        params![tenant.as_str(), &hash.0],
    )?;
    Ok(())
}
