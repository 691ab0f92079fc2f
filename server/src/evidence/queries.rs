//! All SQL of evidence.

use muster_sync_core::DocumentId;

use super::rewrap::WrappedKey;
use super::uses::Use;
use crate::db::{DbError, Row, Tx};
use crate::ids::TenantId;
use crate::params;

pub(super) fn wrapped_key(tx: &Tx<'_>, tenant: &TenantId, subject: &str) -> Result<Option<Vec<u8>>, DbError> {
    tx.query_one(
        "SELECT wrapped
         FROM subject_keys
         WHERE tenant_id = ?1 AND subject_id = ?2",
        params![tenant.as_str(), subject],
        |row| row.get(0),
    )
}

/// Keeps a person's key, unless another server rotated the master key meanwhile: what is wrapped under the one before
/// would be looked at by nobody any more.
pub(super) fn insert_wrapped_key(
    tx: &Tx<'_>,
    (tenant, subject): (&TenantId, &str),
    wrapped: &[u8],
    master_id: &str,
    now_ms: i64,
) -> Result<(), DbError> {
    tx.send(
        "INSERT INTO subject_keys (tenant_id, subject_id, wrapped, created_at)
         SELECT ?1, ?2, ?3, CAST(?4 AS BIGINT)
         WHERE NOT EXISTS (SELECT 1 FROM key_marks WHERE name IN ('master', 'master.next') AND key_id <> ?5)
         ON CONFLICT (tenant_id, subject_id) DO NOTHING",
        params![tenant.as_str(), subject, wrapped, now_ms, master_id],
    )
}

/// The next people's keys, by tenant and person.
pub(super) fn wrapped_after(
    tx: &Tx<'_>,
    (tenant, subject): (&str, &str),
    count: i64,
) -> Result<Vec<WrappedKey>, DbError> {
    tx.query(
        "SELECT tenant_id, subject_id, wrapped
         FROM subject_keys
         WHERE (tenant_id, subject_id) > (?1, ?2)
         ORDER BY tenant_id, subject_id
         LIMIT ?3",
        params![tenant, subject, count],
        |row| Ok(WrappedKey { tenant: row.get(0)?, subject: row.get(1)?, wrapped: row.get(2)? }),
    )
}

/// Stores the same key wrapped anew, unless the row is another one by now.
pub(super) fn rewrap(tx: &Tx<'_>, row: &WrappedKey, wrapped: &[u8]) -> Result<(), DbError> {
    tx.send(
        "UPDATE subject_keys
         SET wrapped = ?4
         WHERE tenant_id = ?1 AND subject_id = ?2 AND wrapped = ?3",
        params![&row.tenant, &row.subject, &row.wrapped, wrapped],
    )
}

/// Keeps a sealed manifest under its commitment; a second copy changes nothing.
pub(super) fn put_manifest(
    tx: &Tx<'_>,
    tenant: &TenantId,
    subject: &str,
    commitment: &[u8; 32],
    sealed: &[u8],
    now_ms: i64,
) -> Result<(), DbError> {
    tx.send(
        "INSERT INTO manifests (tenant_id, subject_id, commitment, sealed, received_at)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (tenant_id, subject_id, commitment) DO NOTHING",
        params![tenant.as_str(), subject, commitment, sealed, now_ms],
    )
}

pub(super) fn sealed_manifest(
    tx: &Tx<'_>,
    tenant: &TenantId,
    subject: &str,
    commitment: &[u8; 32],
) -> Result<Option<Vec<u8>>, DbError> {
    tx.query_one(
        "SELECT sealed
         FROM manifests
         WHERE tenant_id = ?1 AND subject_id = ?2 AND commitment = ?3",
        params![tenant.as_str(), subject, commitment],
        |row| row.get(0),
    )
}

/// Notes that an image of this size is expected. One that came before stays stored; of two sizes the larger one counts,
/// because only one of them can be that of the file.
pub(super) fn expect(
    tx: &Tx<'_>,
    tenant: &TenantId,
    subject: &str,
    (sha256, size_bytes): (&[u8; 32], i64),
    now_ms: i64,
) -> Result<(), DbError> {
    tx.send(
        "INSERT INTO images (tenant_id, subject_id, sha256, size_bytes, expected_at)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (tenant_id, subject_id, sha256) DO UPDATE
         SET size_bytes = excluded.size_bytes
         WHERE images.size_bytes < excluded.size_bytes",
        params![tenant.as_str(), subject, sha256, size_bytes, now_ms],
    )
}

pub(super) fn insert_use(
    tx: &Tx<'_>,
    tenant: &TenantId,
    subject: &str,
    (sha256, size_bytes): (&[u8; 32], i64),
    used: Use,
    now_ms: i64,
) -> Result<(), DbError> {
    tx.send(
        "INSERT INTO image_uses (tenant_id, subject_id, sha256, used_as, used_by, size_bytes, noted_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (tenant_id, subject_id, sha256, used_as, used_by) DO NOTHING",
        params![tenant.as_str(), subject, sha256, used.kind(), used.by(sha256), size_bytes, now_ms],
    )
}

pub(super) fn delete_use(
    tx: &Tx<'_>,
    tenant: &TenantId,
    subject: &str,
    sha256: &[u8; 32],
    used: Use,
) -> Result<(), DbError> {
    tx.send(
        "DELETE FROM image_uses
         WHERE tenant_id = ?1 AND subject_id = ?2 AND sha256 = ?3 AND used_as = ?4 AND used_by = ?5",
        params![tenant.as_str(), subject, sha256, used.kind(), used.by(sha256)],
    )
}

/// Ends what a change that waited used; gives whose images these were.
pub(super) fn delete_uses_of_waiting(
    tx: &Tx<'_>,
    tenant: &TenantId,
    change: &[u8; 32],
) -> Result<Vec<(String, [u8; 32])>, DbError> {
    tx.query(
        "DELETE FROM image_uses
         WHERE used_by = ?2 AND used_as IN ('waiting', 'later') AND tenant_id = ?1
         RETURNING subject_id, sha256",
        params![tenant.as_str(), change],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

/// Ends every passing use of a kind that is older than `before_ms`.
pub(super) fn delete_uses_before(
    tx: &Tx<'_>,
    tenant: &TenantId,
    subject: &str,
    kind: &str,
    before_ms: i64,
) -> Result<Vec<[u8; 32]>, DbError> {
    tx.query(
        "DELETE FROM image_uses
         WHERE tenant_id = ?1 AND subject_id = ?2 AND used_as = ?3 AND noted_at < ?4
         RETURNING sha256",
        params![tenant.as_str(), subject, kind, before_ms],
        |row| row.get(0),
    )
}

/// Forgets an image that nothing uses; false if something does, or if it is not there.
pub(super) fn delete_unused(tx: &Tx<'_>, tenant: &TenantId, subject: &str, sha256: &[u8; 32]) -> Result<bool, DbError> {
    let deleted = tx.execute(
        "DELETE FROM images
         WHERE tenant_id = ?1 AND subject_id = ?2 AND sha256 = ?3 AND NOT EXISTS (
             SELECT 1
             FROM image_uses u
             WHERE u.tenant_id = ?1 AND u.subject_id = ?2 AND u.sha256 = ?3)",
        params![tenant.as_str(), subject, sha256],
    )?;
    Ok(deleted == 1)
}

/// How many images of a person have a passing use of a kind, and their bytes.
pub(super) fn passing(tx: &Tx<'_>, tenant: &TenantId, subject: &str, kind: &str) -> Result<(i64, i64), DbError> {
    let found = tx.query_one(
        "SELECT count(*), CAST(COALESCE(sum(size_bytes), 0) AS BIGINT)
         FROM image_uses
         WHERE tenant_id = ?1 AND subject_id = ?2 AND used_as = ?3",
        params![tenant.as_str(), subject, kind],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    Ok(found.unwrap_or((0, 0)))
}

/// Whether something uses an image in this way.
pub(super) fn is_used_as(
    tx: &Tx<'_>,
    tenant: &TenantId,
    subject: &str,
    sha256: &[u8; 32],
    kind: &str,
) -> Result<bool, DbError> {
    let found = tx.query_one(
        "SELECT 1
         FROM image_uses
         WHERE tenant_id = ?1 AND subject_id = ?2 AND sha256 = ?3 AND used_as = ?4
         LIMIT 1",
        params![tenant.as_str(), subject, sha256, kind],
        |row| row.get::<i64>(0),
    )?;
    Ok(found.is_some())
}

/// The records whose manifests name an image. What was noted before this was a table of its own counts too.
pub(super) fn records_naming(
    tx: &Tx<'_>,
    tenant: &TenantId,
    subject: &str,
    sha256: &[u8; 32],
    limit: i64,
) -> Result<Vec<DocumentId>, DbError> {
    let used_by = tx.query(
        "SELECT DISTINCT used_by
         FROM image_uses
         WHERE tenant_id = ?1 AND subject_id = ?2 AND sha256 = ?3 AND used_as IN ('evidence', 'unread')
         LIMIT ?4",
        params![tenant.as_str(), subject, sha256, limit],
        |row| row.get::<Vec<u8>>(0),
    )?;
    Ok(used_by.into_iter().filter_map(|bytes| bytes.try_into().ok().map(DocumentId)).collect())
}

/// An image that is expected or stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRow {
    /// Size of the file in bytes, as its manifest says.
    pub size_bytes: i64,
    /// When it was stored, Unix milliseconds; `None` while it is missing.
    pub stored_at_ms: Option<i64>,
}

fn image_row(row: &Row<'_>) -> Result<ImageRow, DbError> {
    Ok(ImageRow { size_bytes: row.get(0)?, stored_at_ms: row.get(1)? })
}

/// The subject's image of that hash, if something uses it.
///
/// # Errors
/// When the database fails.
pub fn image(tx: &Tx<'_>, tenant: &TenantId, subject: &str, sha256: &[u8; 32]) -> Result<Option<ImageRow>, DbError> {
    tx.query_one(
        "SELECT size_bytes, stored_at
         FROM images
         WHERE tenant_id = ?1 AND subject_id = ?2 AND sha256 = ?3",
        params![tenant.as_str(), subject, sha256],
        image_row,
    )
}

/// Notes that an image has arrived; false if it had, or if nothing wants it.
pub(super) fn mark_stored(
    tx: &Tx<'_>,
    tenant: &TenantId,
    subject: &str,
    sha256: &[u8; 32],
    now_ms: i64,
) -> Result<bool, DbError> {
    let marked = tx.execute(
        "UPDATE images
         SET stored_at = ?4
         WHERE tenant_id = ?1 AND subject_id = ?2 AND sha256 = ?3 AND stored_at IS NULL",
        params![tenant.as_str(), subject, sha256, now_ms],
    )?;
    Ok(marked == 1)
}

/// Notes that a stored image is not there any more, so that its phone is asked for it.
pub(super) fn mark_missing(tx: &Tx<'_>, tenant: &TenantId, subject: &str, sha256: &[u8; 32]) -> Result<(), DbError> {
    tx.send(
        "UPDATE images
         SET stored_at = NULL
         WHERE tenant_id = ?1 AND subject_id = ?2 AND sha256 = ?3",
        params![tenant.as_str(), subject, sha256],
    )
}

/// The images that the server still wants from a person, at most `limit`, from a place in their circle on: whoever asks
/// from ever other places is told of all of them.
///
/// # Errors
/// When the database fails.
pub fn wanted_from(
    tx: &Tx<'_>,
    tenant: &TenantId,
    subject: &str,
    start: &[u8; 32],
    limit: usize,
) -> Result<Vec<[u8; 32]>, DbError> {
    tx.query(
        "SELECT sha256
         FROM images
         WHERE tenant_id = ?1 AND subject_id = ?2 AND stored_at IS NULL
         ORDER BY CASE WHEN sha256 < ?3 THEN 1 ELSE 0 END, sha256
         LIMIT ?4",
        params![tenant.as_str(), subject, start, limit as i64],
        |row| row.get(0),
    )
}

/// The images that the server still wants from a person, in the order of their hashes, after one of them.
///
/// # Errors
/// When the database fails.
pub fn wanted_after(
    tx: &Tx<'_>,
    tenant: &TenantId,
    subject: &str,
    after: Option<&[u8; 32]>,
    limit: usize,
) -> Result<Vec<[u8; 32]>, DbError> {
    let first = after.is_none();
    tx.query(
        "SELECT sha256
         FROM images
         WHERE tenant_id = ?1 AND subject_id = ?2 AND stored_at IS NULL AND (?3 = 1 OR sha256 > ?4)
         ORDER BY sha256
         LIMIT ?5",
        params![tenant.as_str(), subject, first, after.unwrap_or(&[0; 32]), limit as i64],
        |row| row.get(0),
    )
}
