//! Images that wait for their upload.

use super::{CaptureImage, DeviceStore, StoreError, anchor, capture::image_type, error::damaged};
use crate::evidence::ImageType;
use rusqlite::{OptionalExtension, Transaction, params};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// An image whose turn it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WaitingBlob {
    pub(crate) sha256: [u8; 32],
    pub(crate) image_type: ImageType,
    pub(crate) bytes: Vec<u8>,
}

pub(super) fn insert(tx: &Transaction<'_>, outbox_id: i64, image: &CaptureImage) -> Result<(), StoreError> {
    let sha256: [u8; 32] = Sha256::digest(&image.bytes).into();
    // The same file twice is stored once; a new record that names an uploaded one offers it again.
    let sql = "INSERT INTO blobs (sha256, image_type, size_bytes, state) VALUES (?1, ?2, ?3, 'waiting')
        ON CONFLICT (sha256) DO UPDATE SET state = 'waiting', reason = NULL";
    let image_type = if image_type(&image.bytes) == Some(ImageType::Png) { "png" } else { "jpeg" };
    tx.execute(sql, params![sha256, image_type, image.bytes.len()])?;
    let sql = "INSERT INTO blob_bytes (sha256, bytes) VALUES (?1, ?2) ON CONFLICT (sha256) DO NOTHING";
    tx.execute(sql, params![sha256, image.bytes])?;
    let sql = "INSERT INTO record_images (outbox_id, sha256, purpose) VALUES (?1, ?2, ?3)
        ON CONFLICT (outbox_id, sha256) DO NOTHING";
    tx.execute(sql, params![outbox_id, sha256, image.purpose.as_str()])?;
    Ok(())
}

/// Notes which images the server asked for, also those that it did not expect before, or had and lost.
pub(super) fn want(tx: &Transaction<'_>, sha256: &[u8; 32]) -> Result<(), StoreError> {
    let sql = "UPDATE blobs SET wanted = 1, state = 'waiting', reason = NULL
        WHERE sha256 = ?1 AND (state = 'waiting' OR state = 'failed' AND reason = 'image_not_expected'
            OR state = 'uploaded' AND EXISTS (SELECT 1 FROM blob_bytes b WHERE b.sha256 = ?1))";
    let mut statement = tx.prepare_cached(sql)?;
    statement.execute([sha256])?;
    Ok(())
}

impl DeviceStore {
    /// The next image to upload: its record is with the server, and `skip` does not name it. Wanted ones first.
    pub(crate) fn next_blob(&self, skip: &BTreeSet<[u8; 32]>) -> Result<Option<WaitingBlob>, StoreError> {
        let sql = "SELECT b.sha256, b.image_type FROM blobs b
            WHERE b.state = 'waiting' AND EXISTS (
                SELECT 1 FROM record_images i JOIN outbox o ON o.id = i.outbox_id
                WHERE i.sha256 = b.sha256 AND o.state IN ('accepted', 'quarantined'))
            ORDER BY b.wanted DESC, b.rowid
            LIMIT ?1";
        let mut statement = self.db.prepare_cached(sql)?;
        let mut rows = statement.query([skip.len() + 1])?;
        while let Some(row) = rows.next()? {
            let sha256: [u8; 32] = row.get(0)?;
            if skip.contains(&sha256) {
                continue;
            }
            let image_type = if row.get_ref(1)?.as_str() == Ok("png") { ImageType::Png } else { ImageType::Jpeg };
            let bytes = self.blob_bytes(&sha256)?.ok_or(damaged("an image that waits has no bytes"))?;
            return Ok(Some(WaitingBlob { sha256, image_type, bytes }));
        }
        Ok(None)
    }

    fn blob_bytes(&self, sha256: &[u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        let mut statement = self.db.prepare_cached("SELECT bytes FROM blob_bytes WHERE sha256 = ?1")?;
        Ok(statement.query_row([sha256], |row| row.get(0)).optional()?)
    }

    /// The server has the image. Its bytes stay for a while, in case that the server loses it.
    pub(crate) fn blob_uploaded(&mut self, sha256: &[u8; 32]) -> Result<(), StoreError> {
        self.write(|tx| {
            let uploaded_at_ms = anchor(tx)?.map(|reading| reading.anchor.time_ms);
            let sql = "UPDATE blobs SET state = 'uploaded', wanted = 0, reason = NULL, uploaded_at_ms = ?2
                WHERE sha256 = ?1";
            tx.execute(sql, params![sha256, uploaded_at_ms.unwrap_or(0)])?;
            Ok(())
        })
    }

    /// Lets go of images that the server has, to make room; `true` if there were any.
    pub(crate) fn let_go_of_images(&mut self) -> Result<bool, StoreError> {
        self.write(|tx| {
            let sql = "DELETE FROM blob_bytes
                WHERE sha256 IN (SELECT sha256 FROM blobs WHERE state = 'uploaded')";
            Ok(tx.execute(sql, [])? > 0)
        })
    }

    /// The server will never take the image; the record shows why, and the bytes stay.
    pub(crate) fn blob_failed(&mut self, sha256: &[u8; 32], reason: &str) -> Result<(), StoreError> {
        self.write(|tx| {
            let sql = "UPDATE blobs SET state = 'failed', wanted = 0, reason = ?2 WHERE sha256 = ?1";
            tx.execute(sql, params![sha256, reason])?;
            Ok(())
        })
    }
}
