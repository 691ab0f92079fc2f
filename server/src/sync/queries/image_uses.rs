//! What a database from before images had uses is read for, once.

use muster_sync_core::{ChangeHash, change::SignedChange};

use super::encode_images;
use crate::db::{DbError, Tx};
use crate::evidence::SealedManifest;
use crate::ids::TenantId;
use crate::params;

/// A submission and the manifest that it commits to.
pub(in crate::sync) struct OldManifest {
    pub(in crate::sync) document: [u8; 16],
    pub(in crate::sync) log_index: i64,
    pub(in crate::sync) commitment: [u8; 32],
    pub(in crate::sync) sealed: Vec<u8>,
}

/// The submissions of a person whose manifests are there, after a place in their order.
pub(in crate::sync) fn old_manifests(
    tx: &Tx<'_>,
    tenant: &TenantId,
    student: &str,
    (document, log_index): ([u8; 16], i64),
    limit: i64,
) -> Result<Vec<OldManifest>, DbError> {
    tx.query(
        "SELECT s.document_id, s.log_index, s.commitment, m.sealed
         FROM records r
         JOIN submissions s ON s.document_id = r.document_id
         JOIN manifests m ON m.tenant_id = r.tenant_id AND m.subject_id = r.student_id AND m.commitment = s.commitment
         WHERE r.tenant_id = ?1 AND r.student_id = ?2
             AND (s.document_id > ?3 OR (s.document_id = ?3 AND s.log_index > ?4))
         ORDER BY s.document_id, s.log_index
         LIMIT ?5",
        params![tenant.as_str(), student, &document, log_index, limit],
        |row| {
            Ok(OldManifest {
                document: row.get(0)?,
                log_index: row.get(1)?,
                commitment: row.get(2)?,
                sealed: row.get(3)?,
            })
        },
    )
}

/// A change that waited when the manifests of such changes were kept as evidence.
pub(in crate::sync) struct OldWaiting {
    pub(in crate::sync) hash: ChangeHash,
    pub(in crate::sync) kind: u8,
    pub(in crate::sync) key1: String,
    pub(in crate::sync) key2: String,
    pub(in crate::sync) signed: SignedChange,
    pub(in crate::sync) sender_id: String,
}

/// The waiting changes of a person's attendance without a manifest beside them, after a hash.
pub(in crate::sync) fn old_waiting(
    tx: &Tx<'_>,
    tenant: &TenantId,
    student: &str,
    after: ChangeHash,
    limit: i64,
) -> Result<Vec<OldWaiting>, DbError> {
    tx.query(
        "SELECT hash, kind, key1, key2, change, signature, sender_id
         FROM quarantine
         WHERE tenant_id = ?1 AND kind = 2 AND key2 = ?2 AND hash > ?3 AND state = 'waiting' AND manifest IS NULL
         ORDER BY hash
         LIMIT ?4",
        params![tenant.as_str(), student, &after.0, limit],
        |row| {
            Ok(OldWaiting {
                hash: ChangeHash(row.get(0)?),
                kind: row.get::<i64>(1)? as u8,
                key1: row.get(2)?,
                key2: row.get(3)?,
                signed: SignedChange { bytes: row.get(4)?, signature: row.get(5)? },
                sender_id: row.get(6)?,
            })
        },
    )
}

pub(in crate::sync) fn old_sealed(
    tx: &Tx<'_>,
    tenant: &TenantId,
    student: &str,
    commitment: &[u8; 32],
) -> Result<Option<Vec<u8>>, DbError> {
    tx.query_one(
        "SELECT sealed
         FROM manifests
         WHERE tenant_id = ?1 AND subject_id = ?2 AND commitment = ?3",
        params![tenant.as_str(), student, commitment],
        |row| row.get(0),
    )
}

/// Puts a manifest beside the waiting change that it belongs to; false if that does not wait any more.
pub(in crate::sync) fn put_beside(
    tx: &Tx<'_>,
    tenant: &TenantId,
    hash: ChangeHash,
    seen: &SealedManifest,
) -> Result<bool, DbError> {
    let put = tx.execute(
        "UPDATE quarantine
         SET manifest = ?3, images = ?4
         WHERE tenant_id = ?1 AND hash = ?2 AND state = 'waiting' AND manifest IS NULL",
        params![tenant.as_str(), &hash.0, &seen.sealed, &encode_images(&seen.images)],
    )?;
    Ok(put == 1)
}

/// Removes a manifest from the evidence of a person of whom no submission commits to it.
pub(in crate::sync) fn delete_unadmitted(
    tx: &Tx<'_>,
    tenant: &TenantId,
    student: &str,
    commitment: &[u8; 32],
) -> Result<(), DbError> {
    tx.send(
        "DELETE FROM manifests
         WHERE tenant_id = ?1 AND subject_id = ?2 AND commitment = ?3 AND NOT EXISTS (
             SELECT 1
             FROM records r
             JOIN submissions s ON s.document_id = r.document_id
             WHERE r.tenant_id = ?1 AND r.student_id = ?2 AND s.commitment = ?3)",
        params![tenant.as_str(), student, commitment],
    )
}
