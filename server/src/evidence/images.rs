//! Images: checked, sealed, kept in the blob store, and noted in the table of images.

use image::RgbImage;
use muster_sync_core::evidence::{ImagePurpose, ImageRef, ImageType};
use sha2::{Digest, Sha256};

use super::queries::ImageRow;
use super::{queries, subject_key, vault};
use crate::app::App;
use crate::blobs::crypt::{Context, Purpose};
use crate::blobs::picture::{self, PictureError, PictureLimits, PictureType};
use crate::blobs::{BLOB_BYTES_MAX, BlobError, BlobKey};
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult};
use crate::ids::TenantId;

/// An image that is durable now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredImage {
    /// What a manifest says about it.
    pub image: ImageRef,
    /// The attendance document that waited for it.
    pub document: Option<[u8; 16]>,
    /// Whether it was missing before.
    pub is_new: bool,
}

/// The media type to send an image with.
pub fn media_type(image_type: ImageType) -> &'static str {
    match image_type {
        ImageType::Jpeg => PictureType::Jpeg.media_type(),
        ImageType::Png => PictureType::Png.media_type(),
    }
}

/// What is known of an image that `subject` wants to send.
///
/// # Errors
/// 404 `IMAGE_NOT_EXPECTED` if no manifest names it.
pub async fn expected_image(app: &App, tenant: &TenantId, subject: &str, sha256: [u8; 32]) -> AppResult<ImageRow> {
    let (asked_tenant, asked) = (tenant.clone(), subject.to_owned());
    let expected = app.db.read(move |tx: &Tx<'_>| queries::image(tx, &asked_tenant, &asked, &sha256)).await;
    expected.map_err(|error: DbError| AppError::from(error))?.ok_or_else(|| {
        AppError::new(
            axum::http::StatusCode::NOT_FOUND,
            "IMAGE_NOT_EXPECTED",
            "no submission of yours names this image; sync the submission first",
        )
    })
}

/// 422: these are not the bytes that a manifest names.
pub fn hash_mismatch() -> AppError {
    let sentence = "the bytes are not those that the address names; send the file again";
    AppError::new(axum::http::StatusCode::UNPROCESSABLE_ENTITY, "HASH_MISMATCH", sentence)
}

/// Takes an image that a manifest of `subject` names.
///
/// # Errors
/// 422 if its bytes are not those of the hash or not a safe picture.
pub async fn receive_image(
    app: &App,
    tenant: &TenantId,
    subject: &str,
    row: ImageRow,
    bytes: Vec<u8>,
) -> AppResult<StoredImage> {
    let sha256 = row.sha256;
    if <[u8; 32]>::from(Sha256::digest(&bytes)) != sha256 {
        return Err(hash_mismatch());
    }
    let purpose = match row.purpose.as_str() {
        "selfie" => ImagePurpose::Selfie,
        "presence" => ImagePurpose::Presence,
        _ => ImagePurpose::Reference,
    };
    let (image_type, _) = decode_image(app, tenant, subject, &bytes).await?;
    let image = ImageRef { purpose, sha256, size_bytes: bytes.len() as u64, image_type };
    let is_new = row.stored_at_ms.is_none();
    if is_new {
        keep(app, tenant, subject, sha256, &bytes).await?;
        mark_stored(app, tenant, subject, sha256).await?;
    }
    Ok(StoredImage { image, document: row.document, is_new })
}

/// Checks and keeps an image that came beside its claim, and says what the manifest has to say about it.
///
/// # Errors
/// As [`receive_image`], but for 404.
pub async fn store_image(
    app: &App,
    tenant: &TenantId,
    subject: &str,
    purpose: ImagePurpose,
    bytes: &[u8],
) -> AppResult<ImageRef> {
    let (image_type, _) = decode_image(app, tenant, subject, bytes).await?;
    let sha256 = Sha256::digest(bytes).into();
    keep(app, tenant, subject, sha256, bytes).await?;
    let image = ImageRef { purpose, sha256, size_bytes: bytes.len() as u64, image_type };
    let (tenant, subject, noted, now_ms) = (tenant.clone(), subject.to_owned(), image.clone(), app.now_ms());
    let written = app.db.write(move |tx: &Tx<'_>| {
        queries::expect_image(tx, &tenant, &subject, None, &noted, now_ms)?;
        queries::mark_stored(tx, &tenant, &subject, &noted.sha256, now_ms)
    });
    written.await.map_err(|error: DbError| AppError::from(error))?;
    Ok(image)
}

/// The bytes of a stored image, as they came; `None` if it is not there.
///
/// # Errors
/// When the store fails, or when the image does not open under the subject's key.
pub async fn load_image(app: &App, tenant: &TenantId, subject: &str, sha256: [u8; 32]) -> AppResult<Option<Vec<u8>>> {
    let key = BlobKey::new(tenant.as_str(), subject, sha256).map_err(AppError::internal)?;
    let sealed = vault(app)?.store.get(&key, BLOB_BYTES_MAX).await.map_err(blob_error)?;
    let Some(sealed) = sealed else { return Ok(None) };
    let name = key.sha256_hex();
    let subject_key = subject_key(app, tenant, subject).await?;
    let context = Context { purpose: Purpose::Blob, tenant: tenant.as_str(), subject, name: &name };
    subject_key.open(&context, &sealed).map(Some).map_err(AppError::internal)
}

/// Forgets a reference photo, its bytes first; what a submission names is evidence and stays.
///
/// # Errors
/// When the store or the database fails; then it can be asked for again.
pub async fn erase_reference(app: &App, tenant: &TenantId, subject: &str, sha256: [u8; 32]) -> AppResult<()> {
    let (asked_tenant, asked) = (tenant.clone(), subject.to_owned());
    let row = app.db.read(move |tx: &Tx<'_>| queries::image(tx, &asked_tenant, &asked, &sha256)).await;
    let row = row.map_err(|error: DbError| AppError::from(error))?;
    if row.is_none_or(|row| row.document.is_some() || row.purpose != ImagePurpose::Reference.as_str()) {
        return Ok(());
    }
    let key = BlobKey::new(tenant.as_str(), subject, sha256).map_err(AppError::internal)?;
    vault(app)?.store.delete(&key).await.map_err(blob_error)?;
    let (tenant, subject) = (tenant.clone(), subject.to_owned());
    let written = app.db.write(move |tx: &Tx<'_>| queries::delete_reference(tx, &tenant, &subject, &sha256));
    written.await.map_err(|error: DbError| AppError::from(error))
}

/// The pixels of a JPEG or PNG within the limits; decoding runs beside the async threads, a few at a time and one of each
/// person.
///
/// # Errors
/// 413, 415 or 422 `IMAGE_INVALID`, with the reason.
pub async fn decode_image(
    app: &App,
    tenant: &TenantId,
    subject: &str,
    bytes: &[u8],
) -> AppResult<(ImageType, RgbImage)> {
    let limits = PictureLimits { file_bytes_max: app.config.image_bytes_max(), ..PictureLimits::default() };
    let info = picture::check(bytes, &limits).map_err(picture_error)?;
    check_type(app, info.picture_type)?;
    let place = vault(app)?.decoding.enter((tenant.clone(), subject.to_owned())).await.map_err(AppError::internal)?;
    let copy = bytes.to_vec();
    let decoded = tokio::task::spawn_blocking(move || {
        let decoded = picture::decode(&copy);
        // What has begun goes on when its client leaves, and its place is taken until then.
        drop(place);
        decoded
    });
    let decoded = decoded.await;
    let pixels = decoded.map_err(AppError::internal)?.map_err(picture_error)?;
    let image_type = match info.picture_type {
        PictureType::Jpeg => ImageType::Jpeg,
        PictureType::Png => ImageType::Png,
    };
    Ok((image_type, pixels))
}

async fn keep(app: &App, tenant: &TenantId, subject: &str, sha256: [u8; 32], bytes: &[u8]) -> AppResult<()> {
    let key = BlobKey::new(tenant.as_str(), subject, sha256).map_err(AppError::internal)?;
    let name = key.sha256_hex();
    let subject_key = subject_key(app, tenant, subject).await?;
    let context = Context { purpose: Purpose::Blob, tenant: tenant.as_str(), subject, name: &name };
    let sealed = subject_key.seal(&context, bytes, &|random| app.entropy.fill(random));
    vault(app)?.store.put(&key, sealed.into()).await.map_err(blob_error)
}

async fn mark_stored(app: &App, tenant: &TenantId, subject: &str, sha256: [u8; 32]) -> AppResult<()> {
    let (tenant, subject, now_ms) = (tenant.clone(), subject.to_owned(), app.now_ms());
    app.db
        .write(move |tx: &Tx<'_>| queries::mark_stored(tx, &tenant, &subject, &sha256, now_ms))
        .await
        .map_err(|error: DbError| AppError::from(error))
}

/// Of what can be read, UPLOAD_ALLOWED_IMAGE_TYPES may name less.
fn check_type(app: &App, picture_type: PictureType) -> AppResult<()> {
    let media_type = picture_type.media_type();
    if app.config.takes_images_of(media_type) {
        return Ok(());
    }
    let details = serde_json::json!({ "reason": PictureError::UnsupportedType.code() });
    let sentence = format!("pictures of the type {media_type} are not taken here; send another type");
    Err(AppError::unsupported_media(sentence).with_details(details))
}

fn picture_error(error: PictureError) -> AppError {
    let details = serde_json::json!({ "reason": error.code() });
    match error.code() {
        "too_large" => AppError::too_large(error.to_string()).with_details(details),
        "unsupported_type" => AppError::unsupported_media(error.to_string()).with_details(details),
        _ => {
            let status = axum::http::StatusCode::UNPROCESSABLE_ENTITY;
            AppError::new(status, "IMAGE_INVALID", error.to_string()).with_details(details)
        }
    }
}

fn blob_error(error: BlobError) -> AppError {
    if error.is_retryable() {
        let sentence = "images cannot be stored or read now; the record is safe, try again";
        return AppError::unavailable("BLOB_STORE_UNAVAILABLE", sentence, 5).with_cause(error);
    }
    AppError::internal(error)
}
