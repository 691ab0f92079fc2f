//! Reads the manifests of a person once more, after the migration that gave images their uses: which records name an image
//! stands in sealed manifests alone, and what came with a waiting change waits beside it from then on.

use muster_sync_core::{ChangeHash, DocumentId, evidence::Manifest};

use super::entry_view;
use super::queries::{self, OldManifest, OldWaiting};
use crate::app::App;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult};
use crate::evidence::{self, SealedManifest, Use};
use crate::ids::TenantId;
use crate::jobs::Job;

/// The job; its subject is the person's id. The migration asks for it.
pub const IMAGE_USES_JOB: &str = "image-uses";

/// Rows that are read at once.
const READ_AT_ONCE: i64 = 200;

/// The handler of [`IMAGE_USES_JOB`]. Until it has succeeded, nothing of the person is erased.
pub async fn read_image_uses(app: App, jobs: Vec<Job>) -> Vec<Result<(), String>> {
    let mut read = Vec::with_capacity(jobs.len());
    for job in jobs {
        read.push(match std::str::from_utf8(&job.subject) {
            Ok(subject) => read_one(&app, &job.tenant, subject).await.map_err(|error| error.to_string()),
            Err(_) => Err("the subject is no person's id".to_owned()),
        });
    }
    read
}

async fn read_one(app: &App, tenant: &TenantId, subject: &str) -> AppResult<()> {
    read_records(app, tenant, subject).await?;
    read_waiting(app, tenant, subject).await?;
    let (tenant, subject, now_ms) = (tenant.clone(), subject.to_owned(), app.now_ms());
    let written = app.db.write(move |tx: &Tx<'_>| evidence::forget_unread(tx, &tenant, &subject, now_ms)).await;
    written.map_err(|error: DbError| AppError::from(error))?;
    app.wake_jobs();
    Ok(())
}

/// What the records of a person name is their evidence.
async fn read_records(app: &App, tenant: &TenantId, subject: &str) -> AppResult<()> {
    let mut after = ([0; 16], 0);
    loop {
        let (of, whose) = (tenant.clone(), subject.to_owned());
        let read = app.db.read(move |tx: &Tx<'_>| queries::old_manifests(tx, &of, &whose, after, READ_AT_ONCE)).await;
        let rows: Vec<OldManifest> = read.map_err(|error: DbError| AppError::from(error))?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = (last.document, last.log_index);
        let mut named = Vec::new();
        for row in &rows {
            let manifest = evidence::open_manifest(app, tenant, subject, row.commitment, &row.sealed).await?;
            named.extend(manifest.images.into_iter().map(|image| (DocumentId(row.document), image)));
        }
        let (of, whose, now_ms) = (tenant.clone(), subject.to_owned(), app.now_ms());
        let written = app.db.write(move |tx: &Tx<'_>| {
            named.iter().try_for_each(|(document, image)| {
                evidence::begin(tx, &of, &whose, image, Use::Evidence(*document), now_ms)
            })
        });
        written.await.map_err(|error: DbError| AppError::from(error))?;
    }
}

/// What came with a waiting change is put beside it, and is nobody's evidence until that is admitted.
async fn read_waiting(app: &App, tenant: &TenantId, subject: &str) -> AppResult<()> {
    let mut after = ChangeHash([0; 32]);
    let mut moved = Vec::new();
    loop {
        let (of, whose) = (tenant.clone(), subject.to_owned());
        let read = app.db.read(move |tx: &Tx<'_>| queries::old_waiting(tx, &of, &whose, after, READ_AT_ONCE)).await;
        let rows: Vec<OldWaiting> = read.map_err(|error: DbError| AppError::from(error))?;
        let Some(last) = rows.last() else { break };
        after = last.hash;
        for row in rows {
            let commitment = entry_view::commitment_of(row.kind, [&row.key1, &row.key2], &row.signed);
            let Some((_, commitment)) = commitment else { continue };
            let sealed = sealed(app, tenant, subject, commitment).await?;
            let Some((sealed, manifest)) = sealed else { continue };
            let seen = SealedManifest { commitment, sealed, images: manifest.images };
            let (of, whose, now_ms) = (tenant.clone(), subject.to_owned(), app.now_ms());
            let written = app.db.write(move |tx: &Tx<'_>| move_manifest(tx, &of, &whose, &row, &seen, now_ms));
            written.await.map_err(|error: DbError| AppError::from(error))?;
            moved.push(commitment);
        }
    }
    // Not before: a phone signs the same capture anew when its chain broke, and then two changes have one manifest.
    let (of, whose) = (tenant.clone(), subject.to_owned());
    let written = app.db.write(move |tx: &Tx<'_>| {
        moved.iter().try_for_each(|commitment| queries::delete_unadmitted(tx, &of, &whose, commitment))
    });
    written.await.map_err(|error: DbError| AppError::from(error))
}

async fn sealed(
    app: &App,
    tenant: &TenantId,
    subject: &str,
    commitment: [u8; 32],
) -> AppResult<Option<(Vec<u8>, Manifest)>> {
    let (of, whose) = (tenant.clone(), subject.to_owned());
    let read = app.db.read(move |tx: &Tx<'_>| queries::old_sealed(tx, &of, &whose, &commitment)).await;
    let Some(sealed) = read.map_err(|error: DbError| AppError::from(error))? else { return Ok(None) };
    let manifest = evidence::open_manifest(app, tenant, subject, commitment, &sealed).await?;
    Ok(Some((sealed, manifest)))
}

fn move_manifest(
    tx: &Tx<'_>,
    tenant: &TenantId,
    subject: &str,
    row: &OldWaiting,
    seen: &SealedManifest,
    now_ms: i64,
) -> Result<(), DbError> {
    if queries::put_beside(tx, tenant, row.hash, seen)? && row.sender_id == subject {
        evidence::expect_for_waiting(tx, tenant, subject, row.hash, &seen.images, now_ms)?;
    }
    Ok(())
}
