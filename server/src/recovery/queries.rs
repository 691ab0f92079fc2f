//! All SQL of the operator's checks.

use muster_sync_core::DeviceKey;

use crate::db::{DbError, FromCell, Row, Tx};
use crate::ids::TenantId;
use crate::params;

/// A row of the log with its document and the change before it in its writer's chain, as the database holds them. Bytes
/// may have any length here: a row that somebody edited must be named, not fail to be read.
pub(super) struct LogRow {
    pub(super) document: Vec<u8>,
    pub(super) writer: Vec<u8>,
    pub(super) seq: i64,
    pub(super) max_op: i64,
    pub(super) hash: Vec<u8>,
    pub(super) change: Vec<u8>,
    pub(super) signature: Vec<u8>,
    pub(super) received_at_ms: i64,
    pub(super) chain: Option<Vec<u8>>,
    pub(super) name: Option<NameRow>,
    pub(super) previous: Option<PreviousRow>,
}

/// The row of `documents`.
pub(super) struct NameRow {
    pub(super) tenant: String,
    pub(super) kind: i64,
    pub(super) key1: String,
    pub(super) key2: String,
}

/// The change before it in its writer's chain.
pub(super) struct PreviousRow {
    pub(super) log_index: i64,
    pub(super) hash: Vec<u8>,
    pub(super) max_op: i64,
}

/// A row, or why its columns cannot be read.
pub(super) type Read = (i64, Result<LogRow, String>);

fn log_row(row: &Row<'_>) -> Result<LogRow, DbError> {
    let name = match optional::<String>(row, 10)? {
        Some(tenant) => Some(NameRow { tenant, kind: row.get(11)?, key1: row.get(12)?, key2: row.get(13)? }),
        None => None,
    };
    let previous = match optional::<i64>(row, 14)? {
        Some(log_index) => Some(PreviousRow { log_index, hash: row.get(15)?, max_op: row.get(16)? }),
        None => None,
    };
    Ok(LogRow {
        document: row.get(1)?,
        writer: row.get(2)?,
        seq: row.get(3)?,
        max_op: row.get(4)?,
        hash: row.get(5)?,
        change: row.get(6)?,
        signature: row.get(7)?,
        received_at_ms: row.get(8)?,
        chain: row.get(9)?,
        name,
        previous,
    })
}

fn optional<T: FromCell>(row: &Row<'_>, index: usize) -> Result<Option<T>, DbError> {
    row.get(index)
}

/// The rows of a tenant's log from `first` to `last`, both included.
pub(super) fn rows(tx: &Tx<'_>, tenant: &TenantId, first: i64, last: i64) -> Result<Vec<Read>, DbError> {
    tx.query(
        "SELECT l.log_index, l.document_id, l.writer, l.seq, l.max_op, l.hash, l.change, l.signature, l.received_at,
             l.chain, d.tenant_id, d.kind, d.key1, d.key2, p.log_index, p.hash, p.max_op
         FROM change_log l
         LEFT JOIN documents d ON d.document_id = l.document_id
         LEFT JOIN change_log p ON p.document_id = l.document_id AND p.writer = l.writer AND p.seq = l.seq - 1
         WHERE l.tenant_id = ?1 AND l.log_index BETWEEN ?2 AND ?3
         ORDER BY l.log_index",
        params![tenant.as_str(), first, last],
        |row| Ok((row.get(0)?, log_row(row).map_err(|error| error.to_string()))),
    )
}

/// What a tenant's rows span.
pub(super) struct Span {
    pub(super) tenant: String,
    pub(super) first: i64,
    pub(super) last: i64,
}

/// The least and the greatest index of every tenant that has rows.
pub(super) fn spans(tx: &Tx<'_>) -> Result<Vec<Span>, DbError> {
    tx.query(
        "SELECT tenant_id, min(log_index), max(log_index)
         FROM change_log
         GROUP BY tenant_id
         ORDER BY tenant_id",
        params![],
        |row| Ok(Span { tenant: row.get(0)?, first: row.get(1)?, last: row.get(2)? }),
    )
}

/// A change of a device-binding document.
pub(super) struct BindingRow {
    pub(super) document: [u8; 16],
    pub(super) user: String,
    pub(super) change: Vec<u8>,
}

/// The first change after `after` of every device-binding document, and the rest of these documents.
pub(super) fn bindings(
    tx: &Tx<'_>,
    tenant: &TenantId,
    after: &[u8; 16],
    documents_max: i64,
) -> Result<Vec<BindingRow>, DbError> {
    tx.query(
        "SELECT d.document_id, d.key1, l.change
         FROM (SELECT document_id, key1
               FROM documents
               WHERE tenant_id = ?1 AND kind = 3 AND document_id > ?2
               ORDER BY document_id
               LIMIT ?3) d
         JOIN change_log l ON l.document_id = d.document_id
         ORDER BY d.document_id",
        params![tenant.as_str(), after, documents_max],
        |row| Ok(BindingRow { document: row.get(0)?, user: row.get(1)?, change: row.get(2)? }),
    )
}

/// The hash chain's value at a row.
pub(super) fn chain_at(tx: &Tx<'_>, tenant: &TenantId, log_index: i64) -> Result<Option<Vec<u8>>, DbError> {
    let found = tx.query_one(
        "SELECT chain
         FROM change_log
         WHERE tenant_id = ?1 AND log_index = ?2",
        params![tenant.as_str(), log_index],
        |row| row.get::<Option<Vec<u8>>>(0),
    )?;
    Ok(found.flatten())
}

/// The users to whom a key was bound, by what the log says.
pub(super) type Owners = std::collections::HashMap<DeviceKey, Vec<String>>;
