//! All SQL of forks.

use muster_sync_core::{ChangeHash, DeviceKey, DocumentId, change::SignedChange};

use super::Rival;
use crate::db::{DbError, Row, Tx};
use crate::ids::TenantId;
use crate::params;

/// A rival as it was kept.
#[derive(Debug, Clone)]
pub struct RivalRow {
    /// Its identity.
    pub hash: ChangeHash,
    /// Its document.
    pub document: DocumentId,
    /// The document's kind and natural key, as on the wire.
    pub kind: u8,
    /// First part of the natural key.
    pub key1: String,
    /// Second part of the natural key.
    pub key2: String,
    /// The key that signed both.
    pub writer: DeviceKey,
    /// The place that both claim.
    pub seq: u64,
    /// The change and its signature.
    pub signed: SignedChange,
    /// Who sent it.
    pub sender_id: String,
    /// When the server first had it, Unix milliseconds.
    pub received_at_ms: i64,
}

fn rival(row: &Row<'_>) -> Result<RivalRow, DbError> {
    Ok(RivalRow {
        hash: ChangeHash(row.get(0)?),
        document: DocumentId(row.get(1)?),
        kind: row.get::<i64>(2)? as u8,
        key1: row.get(3)?,
        key2: row.get(4)?,
        writer: DeviceKey(row.get(5)?),
        seq: row.get::<i64>(6)? as u64,
        signed: SignedChange { bytes: row.get(7)?, signature: row.get(8)? },
        sender_id: row.get(9)?,
        received_at_ms: row.get(10)?,
    })
}

/// The columns that [`rival`] reads.
macro_rules! select_rivals {
    ($rest:literal) => {
        concat!(
            "SELECT hash, document_id, kind, key1, key2, writer, seq, change, signature, sender_id, received_at
             FROM rivals ",
            $rest
        )
    };
}

pub(super) fn insert(
    tx: &Tx<'_>,
    tenant: &TenantId,
    rival: &Rival<'_>,
    now_ms: i64,
    per_writer_max: i64,
) -> Result<(), DbError> {
    let [key1, key2] = rival.name.key();
    let (valid, sender_id) = (rival.valid, rival.sender.to_string());
    tx.execute(
        "INSERT INTO rivals
             (tenant_id, hash, document_id, kind, key1, key2, writer, seq, change, signature, sender_id, received_at)
         SELECT ?1, ?2, ?3, CAST(?4 AS BIGINT), ?5, ?6, ?7, CAST(?8 AS BIGINT), ?9, ?10, ?11, CAST(?12 AS BIGINT)
         WHERE (SELECT count(*) FROM rivals WHERE tenant_id = ?1 AND writer = ?7) < ?13
         ON CONFLICT (tenant_id, hash) DO NOTHING",
        params![
            tenant.as_str(),
            &valid.hash.0,
            &valid.document.0,
            rival.name.kind(),
            key1,
            key2,
            &valid.writer.0,
            valid.seq as i64,
            &rival.signed.bytes,
            &rival.signed.signature,
            &sender_id,
            now_ms,
            per_writer_max
        ],
    )?;
    Ok(())
}

/// One rival.
///
/// # Errors
/// When the database fails.
pub fn find(tx: &Tx<'_>, tenant: &TenantId, hash: ChangeHash) -> Result<Option<RivalRow>, DbError> {
    tx.query_one(select_rivals!("WHERE tenant_id = ?1 AND hash = ?2"), params![tenant.as_str(), &hash.0], rival)
}

/// Whether a change is kept as a rival: what follows it belongs to the same branch.
///
/// # Errors
/// When the database fails.
pub fn is_rival(tx: &Tx<'_>, tenant: &TenantId, hash: ChangeHash) -> Result<bool, DbError> {
    let found = tx.query_one(
        "SELECT 1
         FROM rivals
         WHERE tenant_id = ?1 AND hash = ?2",
        params![tenant.as_str(), &hash.0],
        |row| row.get::<i64>(0),
    )?;
    Ok(found.is_some())
}

/// Rivals, newest first, of one writer or of all, before a place in that order.
///
/// # Errors
/// When the database fails.
pub fn list(
    tx: &Tx<'_>,
    tenant: &TenantId,
    writer: Option<&DeviceKey>,
    before: (i64, ChangeHash),
    limit: u32,
) -> Result<Vec<RivalRow>, DbError> {
    let (before_ms, before_hash) = before;
    match writer {
        Some(writer) => tx.query(
            select_rivals!(
                "WHERE tenant_id = ?1 AND writer = ?2 AND (received_at < ?3 OR (received_at = ?3 AND hash < ?4))
                 ORDER BY received_at DESC, hash DESC
                 LIMIT ?5"
            ),
            params![tenant.as_str(), &writer.0, before_ms, &before_hash.0, limit],
            rival,
        ),
        None => tx.query(
            select_rivals!(
                "WHERE tenant_id = ?1 AND (received_at < ?2 OR (received_at = ?2 AND hash < ?3))
                 ORDER BY received_at DESC, hash DESC
                 LIMIT ?4"
            ),
            params![tenant.as_str(), before_ms, &before_hash.0, limit],
            rival,
        ),
    }
}
