//! Erasing the bytes of images that nothing uses: asked for in the transaction that ended the last use, done after it.
//!
//! While an erasure is under way the same image is not taken: nothing that came later may go with what was there before.

use super::vault;
use crate::app::App;
use crate::blobs::BlobKey;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult};
use crate::ids::TenantId;
use crate::jobs::{self, Job};

/// The job that erases an image; its subject is the image's hash and the id of the person whose it was.
pub const ERASE_JOB: &str = "erase-image";

pub(super) fn ask(
    tx: &Tx<'_>,
    tenant: &TenantId,
    subject: &str,
    sha256: &[u8; 32],
    now_ms: i64,
) -> Result<(), DbError> {
    jobs::enqueue(tx, tenant, ERASE_JOB, &name(subject, sha256), now_ms)
}

/// Whether an older copy of the image is still to be erased.
pub(super) fn is_asked(tx: &Tx<'_>, tenant: &TenantId, subject: &str, sha256: &[u8; 32]) -> Result<bool, DbError> {
    jobs::is_asked(tx, tenant, ERASE_JOB, &name(subject, sha256))
}

fn name(subject: &str, sha256: &[u8; 32]) -> Vec<u8> {
    [&sha256[..], subject.as_bytes()].concat()
}

/// The handler of [`ERASE_JOB`].
pub async fn erase_batch(app: App, jobs: Vec<Job>) -> Vec<Result<(), String>> {
    let mut erased = Vec::with_capacity(jobs.len());
    for job in jobs {
        erased.push(erase(&app, &job).await.map_err(|error| error.to_string()));
    }
    erased
}

async fn erase(app: &App, job: &Job) -> AppResult<()> {
    let parts = job.subject.split_first_chunk::<32>();
    let named = parts.and_then(|(sha256, subject)| Some((sha256, std::str::from_utf8(subject).ok()?)));
    let (sha256, subject) = named.ok_or_else(|| AppError::internal("the job names no image"))?;
    let key = BlobKey::new(job.tenant.as_str(), subject, *sha256).map_err(AppError::internal)?;
    vault(app)?.store.delete(&key).await.map_err(super::images::blob_error)
}
