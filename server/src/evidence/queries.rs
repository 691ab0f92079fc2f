//! All SQL of evidence.

use muster_sync_core::{DocumentId, evidence::ImageRef};

use crate::db::{DbError, Tx};
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

pub(super) fn insert_wrapped_key(
    tx: &Tx<'_>,
    tenant: &TenantId,
    subject: &str,
    wrapped: &[u8],
    now_ms: i64,
) -> Result<(), DbError> {
    tx.send(
        "INSERT INTO subject_keys (tenant_id, subject_id, wrapped, created_at)
         VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (tenant_id, subject_id) DO NOTHING",
        params![tenant.as_str(), subject, wrapped, now_ms],
    )
}

/// Keeps a sealed manifest under its commitment; a second copy changes nothing.
///
/// # Errors
/// When the database fails.
pub fn put_manifest(
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

/// Notes that a manifest names an image, so that its subject may upload it. An image that came before stays stored.
///
/// # Errors
/// When the database fails.
pub fn expect_image(
    tx: &Tx<'_>,
    tenant: &TenantId,
    subject: &str,
    document: Option<DocumentId>,
    image: &ImageRef,
    now_ms: i64,
) -> Result<(), DbError> {
    let document = document.as_ref().map(|id| &id.0[..]);
    tx.send(
        "INSERT INTO images (tenant_id, subject_id, sha256, document_id, purpose, size_bytes, expected_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (tenant_id, subject_id, sha256) DO NOTHING",
        params![
            tenant.as_str(),
            subject,
            &image.sha256,
            document,
            image.purpose.as_str(),
            image.size_bytes as i64,
            now_ms
        ],
    )
}

/// An image that is expected or stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRow {
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
    /// What it is for: `selfie`, `presence` or `reference`.
    pub purpose: String,
    /// Size of the file in bytes.
    pub size_bytes: i64,
    /// The attendance document that it belongs to.
    pub document: Option<[u8; 16]>,
    /// When it was stored, Unix milliseconds; `None` while it is missing.
    pub stored_at_ms: Option<i64>,
}

/// The subject's image of that hash, if a manifest names it.
///
/// # Errors
/// When the database fails.
pub fn image(tx: &Tx<'_>, tenant: &TenantId, subject: &str, sha256: &[u8; 32]) -> Result<Option<ImageRow>, DbError> {
    tx.query_one(
        "SELECT sha256, purpose, size_bytes, document_id, stored_at
         FROM images
         WHERE tenant_id = ?1 AND subject_id = ?2 AND sha256 = ?3",
        params![tenant.as_str(), subject, sha256],
        |row| {
            Ok(ImageRow {
                sha256: row.get(0)?,
                purpose: row.get(1)?,
                size_bytes: row.get(2)?,
                document: row.get(3)?,
                stored_at_ms: row.get(4)?,
            })
        },
    )
}

/// Every image of a subject that belongs to a document.
///
/// # Errors
/// When the database fails.
pub fn images_of(
    tx: &Tx<'_>,
    tenant: &TenantId,
    subject: &str,
    document: DocumentId,
) -> Result<Vec<ImageRow>, DbError> {
    tx.query(
        "SELECT sha256, purpose, size_bytes, document_id, stored_at
         FROM images
         WHERE tenant_id = ?1 AND subject_id = ?2 AND document_id = ?3
         ORDER BY purpose, sha256
         LIMIT 100",
        params![tenant.as_str(), subject, &document.0],
        |row| {
            Ok(ImageRow {
                sha256: row.get(0)?,
                purpose: row.get(1)?,
                size_bytes: row.get(2)?,
                document: row.get(3)?,
                stored_at_ms: row.get(4)?,
            })
        },
    )
}

pub(super) fn mark_stored(
    tx: &Tx<'_>,
    tenant: &TenantId,
    subject: &str,
    sha256: &[u8; 32],
    now_ms: i64,
) -> Result<(), DbError> {
    tx.send(
        "UPDATE images
         SET stored_at = ?4
         WHERE tenant_id = ?1 AND subject_id = ?2 AND sha256 = ?3 AND stored_at IS NULL",
        params![tenant.as_str(), subject, sha256, now_ms],
    )
}

/// The images that a document waits for.
///
/// # Errors
/// When the database fails.
pub fn missing_images(tx: &Tx<'_>, document: DocumentId) -> Result<Vec<[u8; 32]>, DbError> {
    tx.query(
        "SELECT sha256
         FROM images
         WHERE document_id = ?1 AND stored_at IS NULL
         LIMIT 100",
        params![&document.0],
        |row| row.get(0),
    )
}

/// Whether every image that a document names has arrived.
///
/// # Errors
/// When the database fails.
pub fn is_complete(tx: &Tx<'_>, document: DocumentId) -> Result<bool, DbError> {
    Ok(missing_images(tx, document)?.is_empty())
}

/// The images that the server still wants from a person, at most `limit`.
///
/// # Errors
/// When the database fails.
pub fn wanted_by(tx: &Tx<'_>, tenant: &TenantId, subject: &str, limit: usize) -> Result<Vec<[u8; 32]>, DbError> {
    tx.query(
        "SELECT sha256
         FROM images
         WHERE tenant_id = ?1 AND subject_id = ?2 AND stored_at IS NULL
         LIMIT ?3",
        params![tenant.as_str(), subject, limit as i64],
        |row| row.get(0),
    )
}

pub(super) fn delete_reference(
    tx: &Tx<'_>,
    tenant: &TenantId,
    subject: &str,
    sha256: &[u8; 32],
) -> Result<(), DbError> {
    tx.send(
        "DELETE FROM images
         WHERE tenant_id = ?1 AND subject_id = ?2 AND sha256 = ?3 AND document_id IS NULL",
        params![tenant.as_str(), subject, sha256],
    )
}
