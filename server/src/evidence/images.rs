//! Images: checked, sealed, kept in the blob store, and noted in the table of images.

use image::RgbImage;
use muster_sync_core::document::Role;
use muster_sync_core::evidence::{ImagePurpose, ImageRef, ImageType};
use sha2::{Digest, Sha256};
use tracing::Instrument;

use super::uses::{self, Use};
use super::{erase, limits, queries, subject_key, vault};
use crate::app::App;
use crate::blobs::crypt::{Context, Purpose};
use crate::blobs::picture::{self, PictureError, PictureLimits, PictureType};
use crate::blobs::{BLOB_BYTES_MAX, BlobError, BlobKey};
use crate::budgets::{self, Amounts};
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult};
use crate::ids::TenantId;

/// An image that is durable now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredImage {
    /// Its type.
    pub image_type: ImageType,
    /// The size of its file.
    pub size_bytes: u64,
    /// Whether it was missing before.
    pub is_new: bool,
}

/// An image of a request that is not answered yet. Whoever stored it ends this use in the transaction that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sending {
    /// What a manifest says about it.
    pub image: ImageRef,
    token: [u8; 32],
}

impl Sending {
    /// Makes the image what it was sent for.
    ///
    /// # Errors
    /// When the database fails.
    pub fn settle(
        &self,
        tx: &Tx<'_>,
        tenant: &TenantId,
        subject: &str,
        used: Option<Use>,
        now_ms: i64,
    ) -> Result<(), DbError> {
        if let Some(used) = used {
            uses::begin(tx, tenant, subject, &self.image, used, now_ms)?;
        }
        uses::end(tx, tenant, subject, &self.image.sha256, Use::Sending(self.token), now_ms)
    }
}

/// The media type to send an image with.
pub fn media_type(image_type: ImageType) -> &'static str {
    match image_type {
        ImageType::Jpeg => PictureType::Jpeg.media_type(),
        ImageType::Png => PictureType::Png.media_type(),
    }
}

/// What is known of an image that `subject` wants to send: asked before it is sent.
///
/// # Errors
/// 404 `IMAGE_NOT_EXPECTED` if no manifest names it, 507 when it has to wait.
pub async fn expected_image(
    app: &App,
    tenant: &TenantId,
    subject: &str,
    sha256: [u8; 32],
) -> AppResult<queries::ImageRow> {
    let (asked_tenant, asked, now_ms) = (tenant.clone(), subject.to_owned(), app.now_ms());
    app.db.read(move |tx: &Tx<'_>| expected(tx, &asked_tenant, &asked, &sha256, now_ms)).await
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
    sha256: [u8; 32],
    bytes: Vec<u8>,
) -> AppResult<StoredImage> {
    if <[u8; 32]>::from(Sha256::digest(&bytes)) != sha256 {
        return Err(hash_mismatch());
    }
    let row = expected_image(app, tenant, subject, sha256).await?;
    let (image_type, _) = decode_image(app, tenant, subject, &bytes).await?;
    let size_bytes = bytes.len() as u64;
    let is_new = row.stored_at_ms.is_none() && keep(app, tenant, subject, sha256, bytes, None).await?;
    Ok(StoredImage { image_type, size_bytes, is_new })
}

/// The row of an image that may be taken now. Who has used up the pictures of a day is told so for a missing one only.
fn expected(
    tx: &Tx<'_>,
    tenant: &TenantId,
    subject: &str,
    sha256: &[u8; 32],
    now_ms: i64,
) -> AppResult<queries::ImageRow> {
    if erase::is_asked(tx, tenant, subject, sha256)? {
        return Err(being_erased());
    }
    if let Some(row) = queries::image(tx, tenant, subject, sha256)? {
        if row.stored_at_ms.is_none() {
            let said = Amounts::image(usize::try_from(row.size_bytes).unwrap_or(0));
            check_day(tx, tenant, subject, &said, now_ms)?;
        }
        return Ok(row);
    }
    let later = Use::Later(muster_sync_core::ChangeHash([0; 32]));
    if queries::is_used_as(tx, tenant, subject, sha256, later.kind())? {
        return Err(AppError::new(
            axum::http::StatusCode::INSUFFICIENT_STORAGE,
            "WAITING_IMAGES_FULL",
            "as many pictures as may wait for the approval of your phone are here; this one is taken after it",
        )
        .retry_after(limits::LATER_RETRY_AFTER_S));
    }
    Err(not_expected())
}

fn not_expected() -> AppError {
    AppError::new(
        axum::http::StatusCode::NOT_FOUND,
        "IMAGE_NOT_EXPECTED",
        "no submission of yours names this image; sync the submission first",
    )
}

/// Whether today's budget has room for one more picture.
fn check_day(tx: &Tx<'_>, tenant: &TenantId, subject: &str, picture: &Amounts, now_ms: i64) -> AppResult<()> {
    let used = budgets::used(tx, tenant, subject, now_ms)?.unwrap_or_default();
    // Pictures have one limit for every role.
    if used.leaves_room_for(picture, &budgets::per_day(Role::Student.level())) {
        return Ok(());
    }
    Err(AppError::new(
        axum::http::StatusCode::INSUFFICIENT_STORAGE,
        "IMAGES_OF_TODAY_FULL",
        "you have sent as many pictures today as one person may; this one is taken tomorrow",
    )
    .retry_after(budgets::until_tomorrow_s(now_ms)))
}

/// Puts a picture that is expected, or that `sending` says is used from now on, into the store; false if it is there already.
///
/// On its own, because whoever hangs up must not leave bytes that nobody noted, nor a picture counted that is not there.
async fn keep(
    app: &App,
    tenant: &TenantId,
    subject: &str,
    sha256: [u8; 32],
    bytes: Vec<u8>,
    sending: Option<Sending>,
) -> AppResult<bool> {
    let (app, tenant, subject, now_ms) = (app.clone(), tenant.clone(), subject.to_owned(), app.now_ms());
    let kept = async move {
        let arriving = Arriving { tenant, subject, sha256, size_bytes: bytes.len(), now_ms };
        let taken = arriving.clone();
        if !app.db.write(move |tx: &Tx<'_>| taken.take_in(tx, sending.as_ref())).await? {
            return Ok(false);
        }
        let put = put(&app, &arriving.tenant, &arriving.subject, sha256, &bytes).await;
        let is_put = put.is_ok();
        let settled = app.db.write(move |tx: &Tx<'_>| arriving.settle(tx, is_put)).await;
        put?;
        settled?.map_or(Ok(true), Err)
    };
    tokio::spawn(kept.in_current_span()).await.map_err(AppError::internal)?
}

/// A picture on its way into the store.
#[derive(Clone)]
struct Arriving {
    tenant: TenantId,
    subject: String,
    sha256: [u8; 32],
    size_bytes: usize,
    now_ms: i64,
}

impl Arriving {
    /// Counts the picture before its bytes go into the store, in the transaction that looks whether there is room: whoever
    /// sends several at once gets no more of the day than one after the other. False if it is there already.
    fn take_in(&self, tx: &Tx<'_>, sending: Option<&Sending>) -> AppResult<bool> {
        let Self { tenant, subject, sha256, now_ms, .. } = self;
        if let Some(sending) = sending {
            // The use goes first: what is cut off after it leaves a row that says so, and no bytes that nobody knows.
            uses::sweep(tx, tenant, subject, *now_ms)?;
            uses::begin(tx, tenant, subject, &sending.image, Use::Sending(sending.token), *now_ms)?;
        }
        if expected(tx, tenant, subject, sha256, *now_ms)?.stored_at_ms.is_some() {
            return Ok(false);
        }
        let picture = Amounts::image(self.size_bytes);
        check_day(tx, tenant, subject, &picture, *now_ms)?;
        let used = budgets::used(tx, tenant, subject, *now_ms)?;
        budgets::spend(tx, tenant, subject, used.as_ref(), &picture, *now_ms)?;
        Ok(true)
    }

    /// Notes that the bytes are there, unless nothing wants them any more; that is told. What came to nothing is given back.
    fn settle(&self, tx: &Tx<'_>, is_put: bool) -> AppResult<Option<AppError>> {
        let Self { tenant, subject, sha256, now_ms, .. } = self;
        let erased = erase::is_asked(tx, tenant, subject, sha256)?;
        if is_put && !erased && queries::mark_stored(tx, tenant, subject, sha256, *now_ms)? {
            return Ok(None);
        }
        budgets::give_back(tx, tenant, subject, &Amounts::image(self.size_bytes), *now_ms)?;
        if erased {
            return Ok(Some(being_erased()));
        }
        // Stored by another request meanwhile, or let go of.
        Ok(queries::image(tx, tenant, subject, sha256)?.is_none().then(not_expected))
    }
}

fn being_erased() -> AppError {
    let sentence = "an older copy of this picture is being erased; send it again";
    AppError::unavailable("IMAGE_BEING_ERASED", sentence, limits::ERASING_RETRY_AFTER_S)
}

/// Checks and keeps an image that came beside its claim, for as long as the request lasts.
///
/// # Errors
/// As [`receive_image`], but for 404.
pub async fn store_image(
    app: &App,
    tenant: &TenantId,
    subject: &str,
    purpose: ImagePurpose,
    bytes: &[u8],
) -> AppResult<Sending> {
    let (image_type, _) = decode_image(app, tenant, subject, bytes).await?;
    let sha256 = Sha256::digest(bytes).into();
    let image = ImageRef { purpose, sha256, size_bytes: bytes.len() as u64, image_type };
    let mut token = [0; 32];
    app.entropy.fill(&mut token);
    let sending = Sending { image, token };
    keep(app, tenant, subject, sha256, bytes.to_vec(), Some(sending.clone())).await?;
    Ok(sending)
}

/// The bytes of a stored image, as they came; `None` if it is not there.
///
/// # Errors
/// When the store fails, or when the image does not open under the subject's key.
pub async fn load_image(app: &App, tenant: &TenantId, subject: &str, sha256: [u8; 32]) -> AppResult<Option<Vec<u8>>> {
    let key = BlobKey::new(tenant.as_str(), subject, sha256).map_err(AppError::internal)?;
    let sealed = vault(app)?.store.get(&key, BLOB_BYTES_MAX).await.map_err(blob_error)?;
    let Some(sealed) = sealed else {
        // The store lost what the database says it has: its phone may have it still, and is asked.
        let (tenant, subject) = (tenant.clone(), subject.to_owned());
        let written = app.db.write(move |tx: &Tx<'_>| queries::mark_missing(tx, &tenant, &subject, &sha256));
        return written.await.map(|()| None).map_err(|error: DbError| AppError::from(error));
    };
    let name = key.sha256_hex();
    let subject_key = subject_key(app, tenant, subject).await?;
    let context = Context { purpose: Purpose::Blob, tenant: tenant.as_str(), subject, name: &name };
    subject_key.open(&context, &sealed).map(Some).map_err(AppError::internal)
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

async fn put(app: &App, tenant: &TenantId, subject: &str, sha256: [u8; 32], bytes: &[u8]) -> AppResult<()> {
    let key = BlobKey::new(tenant.as_str(), subject, sha256).map_err(AppError::internal)?;
    let name = key.sha256_hex();
    let subject_key = subject_key(app, tenant, subject).await?;
    let context = Context { purpose: Purpose::Blob, tenant: tenant.as_str(), subject, name: &name };
    let sealed = subject_key.seal(&context, bytes, &|random| app.entropy.fill(random));
    vault(app)?.store.put(&key, sealed.into()).await.map_err(blob_error)
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

pub(super) fn blob_error(error: BlobError) -> AppError {
    if error.is_retryable() {
        let sentence = "images cannot be stored or read now; the record is safe, try again";
        return AppError::unavailable("BLOB_STORE_UNAVAILABLE", sentence, 5).with_cause(error);
    }
    AppError::internal(error)
}
