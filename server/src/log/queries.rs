//! All SQL of the change log.

use muster_sync_core::{ChangeHash, DeviceKey, DocumentId, DocumentName, document::ChainTip};

use super::chain::{self, Link};
use crate::db::{DbError, Row, Tx};
use crate::ids::TenantId;
use crate::params;

/// A change as the log holds it.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its place in the log.
    pub log_index: i64,
    /// Its document.
    pub document: DocumentId,
    /// The document's kind and natural key, as on the wire.
    pub kind: u8,
    /// First part of the natural key.
    pub key1: String,
    /// Second part of the natural key.
    pub key2: String,
    /// Its identity.
    pub hash: ChangeHash,
    /// The chunk.
    pub change: Vec<u8>,
    /// The writer's signature.
    pub signature: [u8; 64],
    /// When the server had it, Unix milliseconds.
    pub received_at_ms: i64,
}

fn stored(row: &Row<'_>) -> Result<Stored, DbError> {
    Ok(Stored {
        log_index: row.get(0)?,
        document: DocumentId(row.get(1)?),
        kind: row.get::<i64>(2)? as u8,
        key1: row.get(3)?,
        key2: row.get(4)?,
        hash: ChangeHash(row.get(5)?),
        change: row.get(6)?,
        signature: row.get(7)?,
        received_at_ms: row.get(8)?,
    })
}

/// The columns that [`stored`] reads.
macro_rules! select_stored {
    ($rest:literal) => {
        concat!(
            "SELECT l.log_index, l.document_id, d.kind, d.key1, d.key2, l.hash, l.change, l.signature, l.received_at
             FROM change_log l
             JOIN documents d ON d.document_id = l.document_id ",
            $rest
        )
    };
}

/// A log index, a hash and a time: what a receipt needs.
pub(super) struct Place {
    pub(super) log_index: i64,
    pub(super) hash: ChangeHash,
    pub(super) received_at_ms: i64,
}

/// The change at one place of a chain.
///
/// # Errors
/// When the database fails.
pub fn find(
    tx: &Tx<'_>,
    document: DocumentId,
    writer: &DeviceKey,
    seq: u64,
) -> Result<Option<(i64, ChangeHash, i64)>, DbError> {
    let place = tx.query_one(
        "SELECT log_index, hash, received_at
         FROM change_log
         WHERE document_id = ?1 AND writer = ?2 AND seq = ?3",
        params![&document.0, &writer.0, seq as i64],
        |row| Ok(Place { log_index: row.get(0)?, hash: ChangeHash(row.get(1)?), received_at_ms: row.get(2)? }),
    )?;
    Ok(place.map(|place| (place.log_index, place.hash, place.received_at_ms)))
}

/// The newest change of a writer in a document.
///
/// # Errors
/// When the database fails.
pub fn tip(tx: &Tx<'_>, document: DocumentId, writer: &DeviceKey) -> Result<Option<ChainTip>, DbError> {
    tx.query_one(
        "SELECT seq, hash, max_op
         FROM change_log
         WHERE document_id = ?1 AND writer = ?2
         ORDER BY seq DESC
         LIMIT 1",
        params![&document.0, &writer.0],
        |row| {
            let (seq, max_op): (i64, i64) = (row.get(0)?, row.get(2)?);
            Ok(ChainTip { seq: seq as u64, hash: ChangeHash(row.get(1)?), max_op: max_op as u64 })
        },
    )
}

/// One change by its log index.
///
/// # Errors
/// When the database fails.
pub fn read(tx: &Tx<'_>, tenant: &TenantId, log_index: i64) -> Result<Option<Stored>, DbError> {
    tx.query_one(
        select_stored!("WHERE l.tenant_id = ?1 AND l.log_index = ?2"),
        params![tenant.as_str(), log_index],
        stored,
    )
}

/// Every change of a document, in the order of the log.
///
/// # Errors
/// When the database fails.
pub fn entries_of(tx: &Tx<'_>, document: DocumentId) -> Result<Vec<Stored>, DbError> {
    tx.query(select_stored!("WHERE l.document_id = ?1 ORDER BY l.log_index"), params![&document.0], stored)
}

/// The next entries of a channel: (number, log index).
///
/// # Errors
/// When the database fails.
pub fn page_of(tx: &Tx<'_>, channel_key: i64, after: i64, limit: usize) -> Result<Vec<(i64, i64)>, DbError> {
    tx.query(
        "SELECT number, log_index
         FROM channel_entries
         WHERE channel_key = ?1 AND number > ?2
         ORDER BY number
         LIMIT ?3",
        params![channel_key, after, limit as i64],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

/// Places that were taken for a change.
pub(super) struct Taken {
    pub(super) log_index: i64,
    /// The first of the channel numbers.
    pub(super) first_number: i64,
    /// The hash chain's value at the row before.
    pub(super) before: [u8; 32],
}

/// Takes the next log index and `numbers` channel numbers. The very first change begins the first generation.
pub(super) fn take_index(tx: &Tx<'_>, tenant: &TenantId, numbers: i64, generation: i64) -> Result<Taken, DbError> {
    let taken = tx.query_one(
        "INSERT INTO log_heads (tenant_id, last_index, last_number, generation)
         VALUES (?1, 1, ?2, ?3)
         ON CONFLICT (tenant_id) DO UPDATE
         SET last_index = log_heads.last_index + 1, last_number = log_heads.last_number + ?2
         RETURNING last_index, last_number,
             (SELECT l.chain FROM change_log l WHERE l.tenant_id = ?1 AND l.log_index = log_heads.last_index - 1)",
        params![tenant.as_str(), numbers, generation],
        |row| Ok((row.get::<i64>(0)?, row.get::<i64>(1)?, row.get::<Option<[u8; 32]>>(2)?)),
    )?;
    let (log_index, last_number, before) = taken.ok_or_else(|| head_lost(tenant))?;
    let before = match before {
        Some(before) => before,
        None if log_index == 1 => chain::first(tenant),
        None => return Err(DbError::Other(format!("row {} of {tenant}'s log has no chain value", log_index - 1))),
    };
    Ok(Taken { log_index, first_number: last_number - numbers + 1, before })
}

/// Takes `numbers` channel numbers and returns the first.
pub(super) fn take_numbers(tx: &Tx<'_>, tenant: &TenantId, numbers: i64) -> Result<i64, DbError> {
    let taken = tx.query_one(
        "UPDATE log_heads
         SET last_number = last_number + ?2
         WHERE tenant_id = ?1
         RETURNING last_number",
        params![tenant.as_str(), numbers],
        |row| row.get::<i64>(0),
    )?;
    Ok(taken.ok_or_else(|| head_lost(tenant))? - numbers + 1)
}

fn head_lost(tenant: &TenantId) -> DbError {
    DbError::Other(format!("the head of {tenant}'s log could not be moved"))
}

pub(super) fn insert_document(
    tx: &Tx<'_>,
    tenant: &TenantId,
    document: DocumentId,
    name: &DocumentName,
) -> Result<(), DbError> {
    let [key1, key2] = name.key();
    tx.send(
        "INSERT INTO documents (document_id, tenant_id, kind, key1, key2)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (document_id) DO NOTHING",
        params![&document.0, tenant.as_str(), name.kind(), key1, key2],
    )
}

/// What [`insert_change`] stores.
pub(super) struct NewChange<'a> {
    pub(super) log_index: i64,
    pub(super) document: DocumentId,
    pub(super) writer: &'a DeviceKey,
    pub(super) tip: ChainTip,
    pub(super) change: &'a [u8],
    pub(super) signature: &'a [u8; 64],
    pub(super) received_at_ms: i64,
}

impl NewChange<'_> {
    fn link(&self) -> Link<'_> {
        Link {
            log_index: self.log_index,
            document: &self.document.0,
            writer: &self.writer.0,
            seq: self.tip.seq as i64,
            max_op: self.tip.max_op as i64,
            hash: &self.tip.hash.0,
            signature: self.signature,
            received_at_ms: self.received_at_ms,
        }
    }
}

/// Stores a row; `before` is the hash chain's value at the row before it.
pub(super) fn insert_change(
    tx: &Tx<'_>,
    tenant: &TenantId,
    new: &NewChange<'_>,
    before: &[u8; 32],
) -> Result<(), DbError> {
    let chain = chain::next(before, &new.link());
    tx.send(
        "INSERT INTO change_log
             (tenant_id, log_index, document_id, writer, seq, max_op, hash, change, signature, received_at, chain)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        params![
            tenant.as_str(),
            new.log_index,
            &new.document.0,
            &new.writer.0,
            new.tip.seq as i64,
            new.tip.max_op as i64,
            &new.tip.hash.0,
            new.change,
            new.signature,
            new.received_at_ms,
            &chain
        ],
    )
}

pub(super) fn insert_channel_entry(tx: &Tx<'_>, key: i64, number: i64, log_index: i64) -> Result<(), DbError> {
    tx.send(
        "INSERT INTO channel_entries (channel_key, number, log_index)
         VALUES (?1, ?2, ?3)",
        params![key, number, log_index],
    )
}

/// What a channel holds of the log from `first` on: its number there, and its place in the log.
pub(super) fn channel_entries_from(tx: &Tx<'_>, key: i64, first: i64) -> Result<Vec<(i64, i64)>, DbError> {
    tx.query(
        "SELECT number, log_index
         FROM channel_entries
         WHERE channel_key = ?1 AND log_index >= ?2
         ORDER BY number",
        params![key, first],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

pub(super) fn delete_channel_entry(tx: &Tx<'_>, key: i64, number: i64) -> Result<(), DbError> {
    tx.send(
        "DELETE FROM channel_entries
         WHERE channel_key = ?1 AND number = ?2",
        params![key, number],
    )
}

/// Lets the numbers of a tenant's channels go on after `last_number`, if they are not there yet.
pub(super) fn raise_numbers(tx: &Tx<'_>, tenant: &TenantId, last_number: i64) -> Result<(), DbError> {
    tx.send(
        "UPDATE log_heads
         SET last_number = ?2
         WHERE tenant_id = ?1 AND last_number < ?2",
        params![tenant.as_str(), last_number],
    )
}
