//! What a capture saw, for those who review it; and `GET /lecturers/attendance/{id}/images/{sha256}`.

use std::collections::HashSet;

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use muster_sync_core::ChangeHash;
use muster_sync_core::evidence::{CheckOutcome, ImageRef, ImageType, Manifest};
use serde::Serialize;
use utoipa::ToSchema;

use super::fold::newest_verdicts;
use super::rows::{RecordRow, SubmissionRow};
use super::{access, queries, roster, verdict_checks};
use crate::app::App;
use crate::audit::{self, Action, Actor, Event};
use crate::auth::permission::AttendanceReview;
use crate::auth::{Allowed, CurrentUser, Role};
use crate::blobs::picture;
use crate::class_sessions;
use crate::clock::iso_utc;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::evidence;
use crate::http::{Binary, Path, RequestId};
use crate::ids::TenantId;

/// What a capture saw.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EvidenceView {
    /// The position, if the phone had one.
    position: Option<PositionView>,
    /// The device's wall clock.
    device_clock: String,
    /// The newest time that the server had told the device; missing if it never had.
    last_anchor: Option<String>,
    /// The platform, as the device says.
    platform: String,
    /// The model, as the device says.
    model: String,
    /// The app's version, as the device says.
    app_version: String,
    /// The pictures.
    images: Vec<ImageView>,
}

/// A position.
#[derive(Debug, Serialize, ToSchema)]
struct PositionView {
    latitude: f64,
    longitude: f64,
    /// Metres; missing if nobody knows.
    accuracy_m: Option<u32>,
    /// Whether the platform says that it is a mock.
    mocked: bool,
}

/// A picture.
#[derive(Debug, Serialize, ToSchema)]
struct ImageView {
    /// SHA-256 of the file, in hexadecimal; its address below `images/`.
    id: String,
    /// `selfie`, `presence` or `reference`.
    purpose: &'static str,
    media_type: &'static str,
    size_bytes: u64,
}

/// Which submissions of a record keep what they saw from somebody who teaches the course: the student is not of the course,
/// and the code was not the one that this session's planner showed, so nothing says that this is where the student was.
/// Before the real planner's phone has synced, a stranger's plan may be the only one, see ADR 24; reviewers and admins see
/// it.
pub(super) enum Withheld {
    /// Somebody may see all of them.
    Nothing,
    /// Only what these saw.
    AllBut(HashSet<ChangeHash>),
}

impl Withheld {
    /// From a user who may see the record.
    pub(super) fn from(tx: &Tx<'_>, user: &CurrentUser, record: &RecordRow) -> Result<Self, DbError> {
        if user.role != Role::Lecturer {
            return Ok(Self::Nothing);
        }
        let mut shown = HashSet::new();
        let Some(session) = class_sessions::find(tx, &user.tenant, &record.locator)? else {
            return Ok(Self::AllBut(shown));
        };
        if roster::was_enrolled(tx, &user.tenant, &session, &record.student)? {
            return Ok(Self::Nothing);
        }
        for (submission, verdict) in newest_verdicts(&queries::verdicts(tx, record.document)?) {
            let checks = verdict_checks::read(tx, &user.tenant, verdict.log_index)?;
            if checks.iter().any(|check| check.name == "code" && check.outcome == CheckOutcome::Pass) {
                shown.insert(submission);
            }
        }
        Ok(Self::AllBut(shown))
    }

    /// Whether what this submission saw is among it.
    pub(super) fn holds(&self, submission: &ChangeHash) -> bool {
        match self {
            Self::Nothing => false,
            Self::AllBut(shown) => !shown.contains(submission),
        }
    }
}

/// The evidence of a submission; `None` if it has not arrived, or was erased.
pub(super) async fn read(
    app: &App,
    tenant: &TenantId,
    record: &RecordRow,
    submission: &SubmissionRow,
) -> AppResult<Option<EvidenceView>> {
    let manifest = evidence::manifest(app, tenant, &record.student, submission.commitment).await?;
    Ok(manifest.as_ref().map(EvidenceView::new))
}

impl EvidenceView {
    fn new(manifest: &Manifest) -> Self {
        let degrees = |e7: i64| e7 as f64 / 1e7;
        let position = manifest.position.as_ref().map(|position| PositionView {
            latitude: degrees(position.latitude_e7),
            longitude: degrees(position.longitude_e7),
            accuracy_m: position.known_accuracy_m(),
            mocked: position.mocked,
        });
        Self {
            position,
            device_clock: iso_utc(manifest.clocks.wall_ms),
            last_anchor: manifest.clocks.anchor.as_ref().map(|reading| iso_utc(reading.anchor.time_ms)),
            platform: manifest.device.platform.clone(),
            model: manifest.device.model.clone(),
            app_version: manifest.device.app_version.clone(),
            images: manifest.images.iter().map(ImageView::new).collect(),
        }
    }
}

impl ImageView {
    fn new(image: &ImageRef) -> Self {
        Self {
            id: HEXLOWER.encode(&image.sha256),
            purpose: image.purpose.as_str(),
            media_type: media_type(image.image_type),
            size_bytes: image.size_bytes,
        }
    }
}

fn media_type(image_type: ImageType) -> &'static str {
    match image_type {
        ImageType::Jpeg => "image/jpeg",
        ImageType::Png => "image/png",
    }
}

/// Notes in the audit log that somebody looks at evidence.
pub(super) async fn note(app: &App, actor: Actor, action: Action, kind: &'static str, id: String) -> AppResult<()> {
    let now_ms = app.now_ms();
    let written = app.db.write(move |tx: &Tx<'_>| {
        let event = Event { action, kind, id: &id, reason: None, result: "shown" };
        audit::record(tx, &actor, &event, now_ms)
    });
    written.await.map_err(|error: DbError| AppError::from(error))
}

/// Shows a picture of a record, without the metadata that its file carried.
#[utoipa::path(
    get, path = "/lecturers/attendance/{id}/images/{sha256}", tag = "attendance",
    params(("id" = String, Path, description = "the record's id"), ("sha256" = String, Path, description = "the picture's id")),
    responses(
        (status = 200, description = "in the format that it came in",
         content((Binary = "image/jpeg"), (Binary = "image/png")),
         headers(("Content-Disposition" = String, description = "always `inline`"))),
        (status = 403, body = ErrorEnvelope),
        (status = 404, description = "no such record or picture, or the picture has not arrived", body = ErrorEnvelope)
    )
)]
pub(super) async fn image(
    State(app): State<App>,
    allowed: Allowed<AttendanceReview>,
    request: RequestId,
    Path((id, sha256)): Path<(String, String)>,
) -> AppResult<Response> {
    let missing = || AppError::not_found("the picture");
    let user = allowed.user;
    let record = access::read_reviewable(&app, &user, id).await?;
    let sha256 = ChangeHash::from_hex(&sha256).ok_or_else(missing)?.0;
    if !is_named(&app, &user, &record, sha256).await? {
        return Err(missing());
    }
    let stored = evidence::load_image(&app, &user.tenant, &record.student, sha256).await?;
    let bytes = stored.ok_or_else(missing)?;
    let shown = tokio::task::spawn_blocking(move || picture::strip_metadata(&bytes)).await;
    let shown = shown.map_err(AppError::internal)?.map_err(AppError::internal)?;
    let image_type = picture::sniff(&shown).ok_or_else(|| AppError::internal("a stored picture has no type"))?;
    note(&app, user.actor(&request), Action::ImageView, "image", HEXLOWER.encode(&sha256)).await?;
    tracing::info!(record = %record.document, viewer = %user.id, "Showed a picture");
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(image_type.media_type())),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static("inline")),
        (HeaderName::from_static("content-security-policy"), HeaderValue::from_static("default-src 'none'; sandbox")),
    ];
    Ok((headers, shown).into_response())
}

/// Whether a submission of this very record names the picture: a picture of another day is not for this reviewer.
async fn is_named(app: &App, user: &CurrentUser, record: &RecordRow, sha256: [u8; 32]) -> AppResult<bool> {
    let (asking, of) = (user.clone(), record.clone());
    let shown = app.db.read(move |tx| {
        let withheld = Withheld::from(tx, &asking, &of)?;
        let mut submissions = queries::submissions(tx, of.document)?;
        submissions.retain(|submission| !withheld.holds(&submission.hash));
        Ok(submissions)
    });
    for submission in shown.await.map_err(|error: DbError| AppError::from(error))? {
        let manifest = evidence::manifest(app, &user.tenant, &record.student, submission.commitment).await?;
        if manifest.is_some_and(|manifest| manifest.images.iter().any(|image| image.sha256 == sha256)) {
            return Ok(true);
        }
    }
    Ok(false)
}
