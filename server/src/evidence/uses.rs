//! What images are used for, and what happens when a use begins or ends. An image is all of its uses at once: evidence of
//! several records, the reference photo of a face, what a waiting change names. It goes with the last of them.

use muster_sync_core::{ChangeHash, DocumentId, evidence::ImageRef};

use super::limits::{RECORDS_PER_IMAGE_MAX, SENDING_MS};
use super::{SealedManifest, erase, queries};
use crate::db::{DbError, Tx};
use crate::ids::TenantId;
use crate::limits;

/// One use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// The manifest of a record's submission names it.
    Evidence(DocumentId),
    /// The manifest of a change in quarantine names it, and its own student sent that.
    Waiting(ChangeHash),
    /// The same, over the budget of what waits: it is not taken before the change is admitted.
    Later(ChangeHash),
    /// It came with a request that is not answered yet.
    Sending([u8; 32]),
    /// It is the reference photo of a face.
    Reference,
}

impl Use {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Evidence(_) => "evidence",
            Self::Waiting(_) => "waiting",
            Self::Later(_) => "later",
            Self::Sending(_) => "sending",
            Self::Reference => "reference",
        }
    }

    pub(super) fn by<'a>(&'a self, sha256: &'a [u8; 32]) -> &'a [u8] {
        match self {
            Self::Evidence(document) => &document.0,
            Self::Waiting(change) | Self::Later(change) => &change.0,
            Self::Sending(request) => request,
            Self::Reference => sha256,
        }
    }
}

/// Begins a use: the image is expected from now on, unless it is there.
///
/// # Errors
/// When the database fails.
pub fn begin(
    tx: &Tx<'_>,
    tenant: &TenantId,
    subject: &str,
    image: &ImageRef,
    used: Use,
    now_ms: i64,
) -> Result<(), DbError> {
    let named = (&image.sha256, image.size_bytes as i64);
    if !matches!(used, Use::Later(_)) {
        queries::expect(tx, tenant, subject, named, now_ms)?;
    }
    queries::insert_use(tx, tenant, subject, named, used, now_ms)
}

/// Ends a use. An image that has no other one is forgotten, and its bytes are erased after the commit.
///
/// # Errors
/// When the database fails.
pub fn end(
    tx: &Tx<'_>,
    tenant: &TenantId,
    subject: &str,
    sha256: &[u8; 32],
    used: Use,
    now_ms: i64,
) -> Result<(), DbError> {
    queries::delete_use(tx, tenant, subject, sha256, used)?;
    forget_unused(tx, tenant, subject, sha256, now_ms)
}

/// Makes what a submission saw the evidence of its record, in the transaction that admits it.
///
/// # Errors
/// When the database fails.
pub fn keep(
    tx: &Tx<'_>,
    tenant: &TenantId,
    subject: &str,
    document: DocumentId,
    manifest: &SealedManifest,
    now_ms: i64,
) -> Result<(), DbError> {
    queries::put_manifest(tx, tenant, subject, &manifest.commitment, &manifest.sealed, now_ms)?;
    manifest.images.iter().try_for_each(|image| begin(tx, tenant, subject, image, Use::Evidence(document), now_ms))
}

/// Expects the images of a change in quarantine that its own student sent. What is over the budget of what waits is
/// expected when the change is admitted.
///
/// # Errors
/// When the database fails.
pub fn expect_for_waiting(
    tx: &Tx<'_>,
    tenant: &TenantId,
    subject: &str,
    change: ChangeHash,
    images: &[ImageRef],
    now_ms: i64,
) -> Result<(), DbError> {
    if images.is_empty() {
        return Ok(());
    }
    let waiting = Use::Waiting(change);
    let (mut count, mut size_bytes) = queries::passing(tx, tenant, subject, waiting.kind())?;
    for image in images {
        count += 1;
        size_bytes = size_bytes.saturating_add(image.size_bytes as i64);
        let fits = count <= limits::IMAGES_WAITING.rows && size_bytes <= limits::IMAGES_WAITING.bytes;
        let used = if fits { waiting } else { Use::Later(change) };
        begin(tx, tenant, subject, image, used, now_ms)?;
    }
    Ok(())
}

/// A change waits no longer: what only it named goes.
///
/// # Errors
/// When the database fails.
pub fn end_waiting(tx: &Tx<'_>, tenant: &TenantId, change: ChangeHash, now_ms: i64) -> Result<(), DbError> {
    for (subject, sha256) in queries::delete_uses_of_waiting(tx, tenant, &change.0)? {
        forget_unused(tx, tenant, &subject, &sha256, now_ms)?;
    }
    Ok(())
}

/// What requests that were never answered left behind, long ago.
pub(super) fn sweep(tx: &Tx<'_>, tenant: &TenantId, subject: &str, now_ms: i64) -> Result<(), DbError> {
    let kind = Use::Sending([0; 32]).kind();
    for sha256 in queries::delete_uses_before(tx, tenant, subject, kind, now_ms - SENDING_MS)? {
        forget_unused(tx, tenant, subject, &sha256, now_ms)?;
    }
    Ok(())
}

/// Every manifest of a person was read: what was noted before images had uses is known exactly now.
///
/// # Errors
/// When the database fails.
pub fn forget_unread(tx: &Tx<'_>, tenant: &TenantId, subject: &str, now_ms: i64) -> Result<(), DbError> {
    for sha256 in queries::delete_uses_before(tx, tenant, subject, "unread", i64::MAX)? {
        forget_unused(tx, tenant, subject, &sha256, now_ms)?;
    }
    Ok(())
}

/// The records that an image is evidence of.
///
/// # Errors
/// When the database fails.
pub fn records_naming(
    tx: &Tx<'_>,
    tenant: &TenantId,
    subject: &str,
    sha256: &[u8; 32],
) -> Result<Vec<DocumentId>, DbError> {
    queries::records_naming(tx, tenant, subject, sha256, RECORDS_PER_IMAGE_MAX)
}

fn forget_unused(tx: &Tx<'_>, tenant: &TenantId, subject: &str, sha256: &[u8; 32], now_ms: i64) -> Result<(), DbError> {
    if queries::delete_unused(tx, tenant, subject, sha256)? {
        erase::ask(tx, tenant, subject, sha256, now_ms)?;
    }
    Ok(())
}
