//! Evidence: what captures saw, kept sealed under one key per person, outside the documents that commit to it.
//!
//! Manifests are rows, images are blobs; both open only for their subject. Who may look is for the slices to decide.

mod images;
mod queries;
mod subject_keys;

use std::sync::Arc;
use std::time::Duration;

use muster_sync_core::evidence::{Manifest, commitment};

use crate::app::App;
use crate::blobs::{BlobStore, crypt::MasterKey, crypt::Purpose};
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult};
use crate::ids::TenantId;

pub use images::{StoredImage, decode_image, erase_reference, load_image, media_type, receive_image, store_image};
pub use queries::{ImageRow, expect_image, image, images_of, is_complete, missing_images, put_manifest, wanted_by};
pub use subject_keys::subject_key;

/// What this module keeps in memory: the blob store, the master key, and recently used subject keys.
pub struct Vault {
    store: Arc<dyn BlobStore>,
    master: MasterKey,
    keys: moka::sync::Cache<(TenantId, String), Arc<crate::blobs::crypt::SubjectKey>>,
    decoding: tokio::sync::Semaphore,
}

/// Subject keys kept open in memory.
const SUBJECT_KEYS_CACHED_MAX: u64 = 20_000;
/// Images decoded at once; each may take 128 MiB.
const IMAGES_DECODED_AT_ONCE_MAX: usize = 4;

impl Vault {
    /// A vault over a store and a master key that keeps opened keys so long.
    pub fn new(store: Arc<dyn BlobStore>, master: MasterKey, keys_kept_for: Duration) -> Self {
        let builder = moka::sync::Cache::builder();
        let keys = builder.max_capacity(SUBJECT_KEYS_CACHED_MAX).time_to_live(keys_kept_for).build();
        Self { store, master, keys, decoding: tokio::sync::Semaphore::new(IMAGES_DECODED_AT_ONCE_MAX) }
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

/// Seals a manifest's bytes; the row is for [`put_manifest`].
///
/// # Errors
/// As [`seal`].
pub async fn seal_manifest(app: &App, tenant: &TenantId, subject: &str, manifest: &[u8]) -> AppResult<Vec<u8>> {
    let name = data_encoding::HEXLOWER.encode(&commitment(manifest));
    seal(app, tenant, subject, Purpose::Manifest, &name, manifest).await
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
    let name = data_encoding::HEXLOWER.encode(&commitment);
    let bytes = open(app, tenant, subject, Purpose::Manifest, &name, &sealed).await?;
    Manifest::from_bytes(&bytes).map(Some).map_err(AppError::internal)
}

/// Seals and stores a manifest that the server itself wrote; returns its commitment.
///
/// # Errors
/// When it cannot be stored.
pub async fn store_manifest(app: &App, tenant: &TenantId, subject: &str, manifest: &Manifest) -> AppResult<[u8; 32]> {
    let bytes = manifest.to_bytes();
    let sealed = seal_manifest(app, tenant, subject, &bytes).await?;
    let commitment = commitment(&bytes);
    let (tenant, subject, now_ms) = (tenant.clone(), subject.to_owned(), app.now_ms());
    app.db
        .write(move |tx: &Tx<'_>| queries::put_manifest(tx, &tenant, &subject, &commitment, &sealed, now_ms))
        .await
        .map_err(|error: DbError| AppError::from(error))?;
    Ok(commitment)
}
