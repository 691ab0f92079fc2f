//! The reference of a person: sealed in its row, open in memory for a while, and made anew when the models change.

use std::sync::Arc;

use image::RgbImage;
use muster_sync_core::evidence::ImageType;

use super::{Faces, engine, queries};
use crate::app::App;
use crate::blobs::crypt::Purpose;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult};
use crate::evidence;
use crate::face_engine::{FaceError, Reading, Template};
use crate::ids::TenantId;

/// A reference that was opened.
pub(super) struct Reference {
    /// Which one.
    pub(super) id: String,
    /// The photos.
    pub(super) images: Vec<[u8; 32]>,
    /// What the models make of them.
    pub(super) template: Template,
}

/// A reference as its row has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReferenceRow {
    pub(super) id: String,
    pub(super) images: Vec<[u8; 32]>,
    pub(super) model: String,
    pub(super) sealed_template: Vec<u8>,
    pub(super) enrolled_at_ms: i64,
}

/// The row of a person's reference.
pub(super) async fn row(app: &App, tenant: &TenantId, user: &str) -> AppResult<Option<ReferenceRow>> {
    let (tenant, user) = (tenant.clone(), user.to_owned());
    let read = app.db.read(move |tx: &Tx<'_>| queries::reference(tx, &tenant, &user)).await;
    read.map_err(|error: DbError| AppError::from(error))
}

/// The person's reference under the models of this server; `None` if there is none, or if the models find no face in a
/// photo that an older version took.
pub(super) async fn current(app: &App, tenant: &TenantId, user: &str) -> AppResult<Option<Arc<Reference>>> {
    let Some(row) = row(app, tenant, user).await? else { return Ok(None) };
    let cache = &Faces::of(app)?.references;
    let engine = engine(app)?;
    let version = engine.model_version().map_err(|unavailable| AppError::internal(unavailable.reason()))?.to_owned();
    if let Some(reference) = cache.get(&row.id).filter(|known| known.template.model_version() == version) {
        return Ok(Some(reference));
    }
    let template = if row.model == version {
        open(app, tenant, user, &row).await?
    } else {
        match renew(app, tenant, user, &row).await? {
            Some(template) => template,
            None => return Ok(None),
        }
    };
    let reference = Arc::new(Reference { id: row.id.clone(), images: row.images.clone(), template });
    cache.insert(row.id, Arc::clone(&reference));
    Ok(Some(reference))
}

async fn open(app: &App, tenant: &TenantId, user: &str, row: &ReferenceRow) -> AppResult<Template> {
    let name = sealed_name(&row.id, &row.model);
    let bytes = evidence::open(app, tenant, user, Purpose::FaceTemplate, &name, &row.sealed_template).await?;
    let bytes = zeroize::Zeroizing::new(bytes);
    Template::from_bytes(&bytes).ok_or_else(|| AppError::internal("a stored template is damaged"))
}

/// Seals a template under its owner's key, bound to the reference and the models.
pub(super) async fn seal(
    app: &App,
    tenant: &TenantId,
    user: &str,
    id: &str,
    template: &Template,
) -> AppResult<Vec<u8>> {
    let name = sealed_name(id, template.model_version());
    let bytes = zeroize::Zeroizing::new(template.to_bytes());
    evidence::seal(app, tenant, user, Purpose::FaceTemplate, &name, &bytes).await
}

fn sealed_name(id: &str, model: &str) -> String {
    format!("{id} {model}")
}

/// Reads the photos again, because templates of two versions cannot be compared. One that is lost, or in which the models
/// find nobody, is left out.
async fn renew(app: &App, tenant: &TenantId, user: &str, row: &ReferenceRow) -> AppResult<Option<Template>> {
    let mut templates = Vec::with_capacity(row.images.len());
    for sha256 in &row.images {
        let Some(bytes) = evidence::load_image(app, tenant, user, *sha256).await? else { continue };
        if let Ok((_, reading)) = read_picture(app, tenant, user, &bytes).await? {
            templates.extend(reading.subject.map(|subject| subject.template));
        }
    }
    let Some(template) = Template::mean(&templates).map_err(AppError::internal)? else { return Ok(None) };
    let sealed = seal(app, tenant, user, &row.id, &template).await?;
    let (tenant, user, id) = (tenant.clone(), user.to_owned(), row.id.clone());
    let model = template.model_version().to_owned();
    let written = app.db.write(move |tx: &Tx<'_>| queries::renew(tx, &tenant, &user, (&id, &model, &sealed))).await;
    written.map_err(|error: DbError| AppError::from(error))?;
    Ok(Some(template))
}

/// Decodes a picture of a person and reads its faces, beside the async threads, a few at a time and one of each person.
///
/// # Errors
/// 413, 415 or 422 if it is no picture. What the engine says against it is the inner result.
pub(super) async fn read_picture(
    app: &App,
    tenant: &TenantId,
    user: &str,
    bytes: &[u8],
) -> AppResult<Result<(ImageType, Reading), FaceError>> {
    let place = Faces::of(app)?.reading.enter((tenant.clone(), user.to_owned())).await.map_err(AppError::internal)?;
    let (image_type, pixels): (ImageType, RgbImage) = evidence::decode_image(app, tenant, user, bytes).await?;
    let engine = engine(app)?;
    let read = tokio::task::spawn_blocking(move || {
        let reading = engine.read(&pixels);
        drop(place);
        reading
    });
    let reading = read.await.map_err(AppError::internal)?;
    Ok(reading.map(|reading| (image_type, reading)))
}
