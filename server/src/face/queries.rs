//! All SQL of faces.

use muster_sync_core::ChangeHash;

use super::reference::ReferenceRow;
use super::verify::{Attempt, Selfie};
use crate::db::{DbError, Tx};
use crate::ids::{TenantId, UserId};
use crate::params;

pub(super) fn reference(tx: &Tx<'_>, tenant: &TenantId, user: &str) -> Result<Option<ReferenceRow>, DbError> {
    tx.query_one(
        "SELECT reference_id, image_sha256, model, sealed_template, enrolled_at, more_images
         FROM face_references
         WHERE tenant_id = ?1 AND user_id = ?2",
        params![tenant.as_str(), user],
        |row| {
            let (first, more): ([u8; 32], Option<Vec<u8>>) = (row.get(1)?, row.get(5)?);
            let (more, _) = more.as_deref().unwrap_or_default().as_chunks();
            Ok(ReferenceRow {
                id: row.get(0)?,
                images: std::iter::once(first).chain(more.iter().copied()).collect(),
                model: row.get(2)?,
                sealed_template: row.get(3)?,
                enrolled_at_ms: row.get(4)?,
            })
        },
    )
}

pub(super) fn put_reference(tx: &Tx<'_>, tenant: &TenantId, user: &str, row: &ReferenceRow) -> Result<(), DbError> {
    let (first, more) =
        row.images.split_first().ok_or_else(|| DbError::Other("a reference without a photo".to_owned()))?;
    tx.send(
        "INSERT INTO face_references
             (tenant_id, user_id, reference_id, image_sha256, model, sealed_template, enrolled_at, more_images)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (tenant_id, user_id) DO UPDATE
         SET reference_id = excluded.reference_id, image_sha256 = excluded.image_sha256, model = excluded.model,
             sealed_template = excluded.sealed_template, enrolled_at = excluded.enrolled_at,
             more_images = excluded.more_images",
        params![
            tenant.as_str(),
            user,
            row.id.as_str(),
            first,
            row.model.as_str(),
            &row.sealed_template,
            row.enrolled_at_ms,
            &more.concat()
        ],
    )
}

/// The template of newer models for a reference, unless the reference changed meanwhile.
pub(super) fn renew(
    tx: &Tx<'_>,
    tenant: &TenantId,
    user: &str,
    (id, model, sealed): (&str, &str, &[u8]),
) -> Result<(), DbError> {
    tx.send(
        "UPDATE face_references
         SET model = ?4, sealed_template = ?5
         WHERE tenant_id = ?1 AND user_id = ?2 AND reference_id = ?3",
        params![tenant.as_str(), user, id, model, sealed],
    )
}

pub(super) fn delete_reference(tx: &Tx<'_>, tenant: &TenantId, user: &str) -> Result<(), DbError> {
    tx.send(
        "DELETE FROM face_references
         WHERE tenant_id = ?1 AND user_id = ?2",
        params![tenant.as_str(), user],
    )
}

/// How a person stands who wants another face than before.
pub(super) fn reenrolment(tx: &Tx<'_>, tenant: &TenantId, user: &str) -> Result<Option<String>, DbError> {
    tx.query_one(
        "SELECT status
         FROM face_reenrolments
         WHERE tenant_id = ?1 AND user_id = ?2",
        params![tenant.as_str(), user],
        |row| row.get(0),
    )
}

/// Since when somebody waits for an approval, if they do.
pub(super) fn asked_at(tx: &Tx<'_>, tenant: &TenantId, user: &str) -> Result<Option<i64>, DbError> {
    tx.query_one(
        "SELECT changed_at
         FROM face_reenrolments
         WHERE tenant_id = ?1 AND user_id = ?2 AND status = 'pending'",
        params![tenant.as_str(), user],
        |row| row.get(0),
    )
}

pub(super) fn set_reenrolment(
    tx: &Tx<'_>,
    tenant: &TenantId,
    user: &str,
    (status, decided_by): (&str, Option<&str>),
    now_ms: i64,
) -> Result<(), DbError> {
    tx.send(
        "INSERT INTO face_reenrolments (tenant_id, user_id, status, changed_at, decided_by)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (tenant_id, user_id) DO UPDATE
         SET status = excluded.status, changed_at = excluded.changed_at, decided_by = excluded.decided_by",
        params![tenant.as_str(), user, status, now_ms, decided_by],
    )
}

pub(super) fn clear_reenrolment(tx: &Tx<'_>, tenant: &TenantId, user: &str) -> Result<(), DbError> {
    tx.send(
        "DELETE FROM face_reenrolments
         WHERE tenant_id = ?1 AND user_id = ?2",
        params![tenant.as_str(), user],
    )
}

/// Who waits for an approval, by id.
pub(super) fn pending_reenrolments(
    tx: &Tx<'_>,
    tenant: &TenantId,
    after: Option<UserId>,
    limit: u32,
) -> Result<Vec<(UserId, i64)>, DbError> {
    let after = after.map_or(String::new(), |user| user.to_string());
    tx.query(
        "SELECT user_id, changed_at
         FROM face_reenrolments
         WHERE tenant_id = ?1 AND status = 'pending' AND user_id > ?2
         ORDER BY user_id
         LIMIT ?3",
        params![tenant.as_str(), &after, limit],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

pub(super) fn attempt(
    tx: &Tx<'_>,
    tenant: &TenantId,
    submission: ChangeHash,
    (reference_id, model): (&str, &str),
) -> Result<Option<Attempt>, DbError> {
    tx.query_one(
        "SELECT reference_id, model, outcome, faces, usable_faces, distance_e6, threshold_e6
         FROM face_verifications
         WHERE tenant_id = ?1 AND submission_hash = ?2 AND reference_id = ?3 AND model = ?4",
        params![tenant.as_str(), &submission.0, reference_id, model],
        |row| {
            let faces: (Option<u32>, Option<u32>) = (row.get(3)?, row.get(4)?);
            let measured: (Option<i64>, Option<i64>) = (row.get(5)?, row.get(6)?);
            Ok(Attempt {
                reference_id: row.get(0)?,
                model: row.get(1)?,
                outcome: row.get(2)?,
                faces: faces.0.zip(faces.1),
                measured_e6: measured.0.zip(measured.1),
            })
        },
    )
}

/// Keeps an attempt; a later one of the same submission, reference and models takes its place.
pub(super) fn log_attempt(
    tx: &Tx<'_>,
    tenant: &TenantId,
    selfie: &Selfie,
    attempt: &Attempt,
    now_ms: i64,
) -> Result<(), DbError> {
    tx.send(
        "INSERT INTO face_verifications
             (tenant_id, submission_hash, reference_id, model, user_id, document_id, outcome, faces, usable_faces,
              distance_e6, threshold_e6, attempted_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
         ON CONFLICT (tenant_id, submission_hash, reference_id, model) DO UPDATE
         SET outcome = excluded.outcome, faces = excluded.faces, usable_faces = excluded.usable_faces,
             distance_e6 = excluded.distance_e6, threshold_e6 = excluded.threshold_e6,
             attempted_at = excluded.attempted_at",
        params![
            tenant.as_str(),
            &selfie.submission.0,
            attempt.reference_id.as_str(),
            attempt.model.as_str(),
            selfie.student.as_str(),
            &selfie.document.0,
            attempt.outcome.as_str(),
            attempt.faces.map(|(all, _)| all),
            attempt.faces.map(|(_, usable)| usable),
            attempt.measured_e6.map(|(distance, _)| distance),
            attempt.measured_e6.map(|(_, threshold)| threshold),
            now_ms
        ],
    )
}
