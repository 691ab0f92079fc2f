//! Images on their way in: a student uploads what a submission named, by its hash. What an image means is for
//! `attendance`; how it is checked, sealed and kept is for `evidence`.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::attendance;
use crate::auth::Allowed;
use crate::auth::permission::AttendanceSubmit;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::evidence;
use crate::http::{Binary, Json, Path, Query};

/// Missing images that are listed at once.
const MISSING_LISTED_MAX: usize = 200;

/// `/blobs/...`
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(upload)).routes(routes!(missing))
}

/// An image that is kept.
#[derive(Debug, Serialize, ToSchema)]
struct Uploaded {
    /// SHA-256 of the file, 64 hexadecimal digits.
    sha256: String,
    /// Its size.
    size_bytes: u64,
    /// `image/jpeg` or `image/png`.
    media_type: &'static str,
}

/// Images that the server waits for.
#[derive(Debug, Serialize, ToSchema)]
struct Missing {
    /// SHA-256 of each file, 64 hexadecimal digits; at most 200.
    missing: Vec<String>,
    /// Where the next page begins, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Which of them.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Page {
    /// The `next` of the page before.
    after: Option<String>,
}

/// Uploads an image that one of the user's submissions names. Repeating it changes nothing.
#[utoipa::path(
    put, path = "/blobs/{sha256}", tag = "blobs",
    params(("sha256" = String, Path, description = "SHA-256 of the file, 64 hexadecimal digits")),
    request_body(content = Binary, content_type = "application/octet-stream"),
    responses(
        (status = 201, description = "it is kept now", body = Uploaded),
        (status = 200, description = "it was kept already", body = Uploaded),
        (status = 404, description = "IMAGE_NOT_EXPECTED: no submission of the user names it", body = ErrorEnvelope),
        (status = 413, description = "larger than UPLOAD_MAX_IMAGE_MB", body = ErrorEnvelope),
        (status = 415, description = "neither JPEG nor PNG", body = ErrorEnvelope),
        (status = 422, description = "HASH_MISMATCH or IMAGE_INVALID", body = ErrorEnvelope),
        (status = 507, description = "WAITING_IMAGES_FULL: it is taken once the phone is approved; \
          IMAGES_OF_TODAY_FULL: it is taken tomorrow", body = ErrorEnvelope)
    )
)]
async fn upload(
    State(app): State<App>,
    allowed: Allowed<AttendanceSubmit>,
    Path(sha256): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> AppResult<Response> {
    let sha256 = parse_sha256("sha256", &sha256)?;
    let (announced, image_bytes_max) = (announced(&headers), app.config.image_bytes_max());
    within(announced.unwrap_or(0), image_bytes_max)?;
    let student = allowed.id.to_string();
    let expected = evidence::expected_image(&app, &allowed.tenant, &student, sha256).await?;
    let bytes_max = usize::try_from(expected.size_bytes).unwrap_or(0).min(image_bytes_max);
    if announced.is_some_and(|bytes| bytes > bytes_max) {
        return Err(evidence::hash_mismatch());
    }
    let bytes = read_body(body, bytes_max).await?;
    let stored = evidence::receive_image(&app, &allowed.tenant, &student, sha256, bytes).await?;
    let (tenant, now_ms) = (allowed.tenant.clone(), app.now_ms());
    // Also after a repeated upload: the first one may have been cut off before this.
    let written =
        app.db.write(move |tx: &Tx<'_>| attendance::image_arrived(tx, &tenant, &student, &sha256, now_ms)).await;
    written.map_err(|error: DbError| AppError::from(error))?;
    app.wake_jobs();
    let status = if stored.is_new { StatusCode::CREATED } else { StatusCode::OK };
    let uploaded = Uploaded {
        sha256: HEXLOWER.encode(&sha256),
        size_bytes: stored.size_bytes,
        media_type: evidence::media_type(stored.image_type),
    };
    Ok((status, Json(uploaded)).into_response())
}

/// Lists the images that the server waits for from the user.
#[utoipa::path(
    get, path = "/blobs/missing", tag = "blobs", params(Page),
    responses((status = 200, body = Missing), (status = 422, body = ErrorEnvelope))
)]
async fn missing(
    State(app): State<App>,
    allowed: Allowed<AttendanceSubmit>,
    Query(page): Query<Page>,
) -> AppResult<Json<Missing>> {
    let (tenant, student) = (allowed.tenant.clone(), allowed.id.to_string());
    let after = page.after.as_deref().map(|text| parse_sha256("after", text)).transpose()?;
    let read = app
        .db
        .read(move |tx: &Tx<'_>| evidence::wanted_after(tx, &tenant, &student, after.as_ref(), MISSING_LISTED_MAX + 1));
    let mut wanted = read.await.map_err(|error: DbError| AppError::from(error))?;
    let more = wanted.len() > MISSING_LISTED_MAX;
    wanted.truncate(MISSING_LISTED_MAX);
    let missing: Vec<_> = wanted.iter().map(|sha256| HEXLOWER.encode(sha256)).collect();
    Ok(Json(Missing { next: missing.last().filter(|_| more).cloned(), missing }))
}

fn parse_sha256(field: &'static str, text: &str) -> AppResult<[u8; 32]> {
    let decoded = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
    let sha256 = decoded.and_then(|bytes| bytes.try_into().ok());
    sha256.ok_or_else(|| AppError::field(field, "expected 64 hexadecimal digits"))
}

fn announced(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok())
}

fn within(bytes: usize, bytes_max: usize) -> AppResult<()> {
    if bytes <= bytes_max {
        return Ok(());
    }
    Err(AppError::too_large(format!("this image has at most {bytes_max} bytes")))
}

/// Reads the body as it comes, and never more of it than the image may have.
async fn read_body(body: Body, bytes_max: usize) -> AppResult<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut stream = body.into_data_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| {
            AppError::new(StatusCode::BAD_REQUEST, "BODY_INCOMPLETE", "the body ended early; send it again")
                .with_cause(error)
        })?;
        within(bytes.len() + chunk.len(), bytes_max)?;
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
