//! SQL of appeals.

use muster_sync_core::{ChangeHash, DocumentId};

use crate::db::{DbError, Tx};
use crate::log::Appended;
use crate::params;

pub(in crate::attendance) fn insert_appeal(
    tx: &Tx<'_>,
    appended: &Appended,
    of: &ChangeHash,
    reason: &str,
) -> Result<(), DbError> {
    tx.send(
        "INSERT INTO appeals (document_id, log_index, hash, of_hash, reason, received_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![&appended.document().0, appended.log_index, &appended.hash().0, &of.0, reason, appended.received_at_ms],
    )
}

pub(in crate::attendance) fn appeal_count(tx: &Tx<'_>, id: DocumentId) -> Result<u64, DbError> {
    tx.count(
        "SELECT COUNT(*)
         FROM appeals
         WHERE document_id = ?1",
        params![&id.0],
    )
}

/// The log index of the newest appeal.
pub(in crate::attendance) fn newest_appeal(tx: &Tx<'_>, id: DocumentId) -> Result<Option<i64>, DbError> {
    let newest = tx.query_one(
        "SELECT MAX(log_index)
         FROM appeals
         WHERE document_id = ?1",
        params![&id.0],
        |row| row.get::<Option<i64>>(0),
    )?;
    Ok(newest.flatten())
}

/// What the appeals after a place in the log are about.
pub(in crate::attendance) fn appealed_after(
    tx: &Tx<'_>,
    id: DocumentId,
    log_index: i64,
) -> Result<Vec<ChangeHash>, DbError> {
    tx.query(
        "SELECT of_hash
         FROM appeals
         WHERE document_id = ?1 AND log_index > ?2
         ORDER BY log_index",
        params![&id.0, log_index],
        |row| Ok(ChangeHash(row.get(0)?)),
    )
}
