//! Evidence: what captures saw, kept sealed under one key per person, outside the documents that commit to it.
//!
//! Manifests are rows, images are blobs; both open only for their subject. Who may look is for the slices to decide.

mod erase;
mod images;
mod limits;
mod queries;
mod rewrap;
mod subject_keys;
mod uses;

use std::sync::Arc;
use std::time::Duration;

use muster_sync_core::evidence::{ImageRef, Manifest, commitment};

use crate::app::App;
use crate::blobs::{BlobStore, crypt::MasterKey, crypt::Purpose};
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult};
use crate::ids::TenantId;
use crate::limits::budgets;
use crate::shares::Lines;

pub use erase::{ERASE_JOB, erase_batch};
pub use images::{
    Sending, StoredImage, decode_image, expected_image, hash_mismatch, load_image, media_type, receive_image,
    store_image,
};
pub use limits::ERASE_BATCH_MAX;
pub use queries::{ImageRow, image, wanted_after, wanted_from};
pub use rewrap::WrappedKey;
pub use subject_keys::subject_key;
pub use uses::{Use, begin, end, end_waiting, expect_for_waiting, forget_unread, keep, records_naming};

/// What this module keeps in memory: the blob store, the master key, and recently used subject keys.
pub struct Vault {
    store: Arc<dyn BlobStore>,
    master: MasterKey,
    keys: moka::sync::Cache<(TenantId, String), Arc<crate::blobs::crypt::SubjectKey>>,
    decoding: Lines<(TenantId, String)>,
}

/// What a submission saw, as it is kept: the manifest sealed for its student, and the images that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedManifest {
    /// What the submission commits to.
    pub commitment: [u8; 32],
    /// The manifest, sealed.
    pub sealed: Vec<u8>,
    /// The images.
    pub images: Vec<ImageRef>,
}

impl Vault {
    /// A vault over a store and a master key that keeps opened keys so long.
    pub fn new(store: Arc<dyn BlobStore>, master: MasterKey, keys_kept_for: Duration) -> Self {
        let builder = moka::sync::Cache::builder();
        let keys = builder.max_capacity(limits::SUBJECT_KEYS_CACHED_MAX).time_to_live(keys_kept_for).build();
        let decoding = Lines::new(budgets::PICTURES_DECODED.count(), budgets::PICTURES_DECODED_PER_PERSON.count());
        Self { store, master, keys, decoding }
    }

    /// People's keys that are kept in memory now.
    pub fn cached(&self) -> u64 {
        self.keys.run_pending_tasks();
        self.keys.entry_count()
    }

    /// The blob store, for health checks.
    pub fn store(&self) -> &dyn BlobStore {
        &*self.store
    }
}

fn vault(app: &App) -> AppResult<&Vault> {
    app.slice::<Vault>().ok_or_else(|| AppError::internal("the server has no vault"))
}

/// Seals bytes about a person under that person's key.
///
/// # Errors
/// When the key cannot be read or stored.
pub async fn seal(
    app: &App,
    tenant: &TenantId,
    subject: &str,
    purpose: Purpose,
    name: &str,
    plain: &[u8],
) -> AppResult<Vec<u8>> {
    let key = subject_key(app, tenant, subject).await?;
    let context = crate::blobs::crypt::Context { purpose, tenant: tenant.as_str(), subject, name };
    Ok(key.seal(&context, plain, &|bytes| app.entropy.fill(bytes)))
}

/// Opens what [`seal`] made.
///
/// # Errors
/// 500 if it does not open: the row was moved or changed, or the key was erased and made anew.
pub async fn open(
    app: &App,
    tenant: &TenantId,
    subject: &str,
    purpose: Purpose,
    name: &str,
    sealed: &[u8],
) -> AppResult<Vec<u8>> {
    let key = subject_key(app, tenant, subject).await?;
    let context = crate::blobs::crypt::Context { purpose, tenant: tenant.as_str(), subject, name };
    key.open(&context, sealed).map_err(AppError::internal)
}

/// Seals a manifest that was read from `bytes`, for [`keep`] or for the quarantine.
///
/// # Errors
/// As [`seal`].
pub async fn seal_manifest(
    app: &App,
    tenant: &TenantId,
    subject: &str,
    bytes: &[u8],
    images: Vec<ImageRef>,
) -> AppResult<SealedManifest> {
    let commitment = commitment(bytes);
    let sealed = seal(app, tenant, subject, Purpose::Manifest, &manifest_name(&commitment), bytes).await?;
    Ok(SealedManifest { commitment, sealed, images })
}

fn manifest_name(commitment: &[u8; 32]) -> String {
    data_encoding::HEXLOWER.encode(commitment)
}

/// The manifest behind a commitment, or `None` if there is none or it was erased.
///
/// # Errors
/// As [`open`].
pub async fn manifest(
    app: &App,
    tenant: &TenantId,
    subject: &str,
    commitment: [u8; 32],
) -> AppResult<Option<Manifest>> {
    let (asked, of) = (tenant.clone(), subject.to_owned());
    let sealed = app.db.read(move |tx: &Tx<'_>| queries::sealed_manifest(tx, &asked, &of, &commitment)).await;
    let Some(sealed) = sealed.map_err(|error: DbError| AppError::from(error))? else { return Ok(None) };
    open_manifest(app, tenant, subject, commitment, &sealed).await.map(Some)
}

/// Opens a sealed manifest, wherever it was kept.
///
/// # Errors
/// As [`open`].
pub async fn open_manifest(
    app: &App,
    tenant: &TenantId,
    subject: &str,
    commitment: [u8; 32],
    sealed: &[u8],
) -> AppResult<Manifest> {
    let bytes = open(app, tenant, subject, Purpose::Manifest, &manifest_name(&commitment), sealed).await?;
    Manifest::from_bytes(&bytes).map_err(AppError::internal)
}
