//! `POST /students/enroll-face`: the student's own reference photos, and with them the consent to compare selfies.

use axum::extract::{FromRequest, Multipart, Request, State};
use axum::http::StatusCode;
use muster_sync_core::evidence::ImagePurpose;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::reference::{self, ReferenceRow};
use super::{REFERENCE_JOB, engine, limits, queries};
use crate::app::App;
use crate::audit::{self, Action, Actor, Event};
use crate::auth::permission::FacesEnroll;
use crate::auth::{Allowed, CurrentUser};
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::evidence::{self, Sending, Use};
use crate::face_engine::{self, Advice, FACE_SIDE_MIN_PX, Face, FaceError, Judgement, Reading, Subject, Template};
use crate::http::{self, Form, Json, RequestId};
use crate::ids::{TenantId, uuid_text};
use crate::{jobs, settings};

/// When to look again for models that somebody has to fetch.
const UNAVAILABLE_RETRY_AFTER_S: u32 = 600;

/// A face that is enrolled.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Enrolled {
    /// Whether a reference was there before and this one matched it.
    replaced: bool,
    /// The version of the models that read it.
    model: String,
    /// When it was enrolled.
    #[serde(rename = "enrolled_at", serialize_with = "crate::clock::as_iso")]
    #[schema(value_type = String, format = DateTime)]
    enrolled_at_ms: i64,
    /// For each photo, what would make it better; empty if it is good.
    advice: Vec<Vec<PhotoAdvice>>,
}

/// What would make a photo better.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PhotoAdvice {
    /// `too_dark`, `too_bright`, `too_blurred`, `tilted` or `too_small`.
    code: &'static str,
    /// What to do.
    words: &'static str,
}

/// The photo, as a part of a form.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes the form to OpenAPI")]
pub(super) struct Photo {
    /// A JPEG or PNG that is about one face; `file` and `photo` are taken as names too. Up to three of them: their mean is
    /// nearer to every later selfie than any of them.
    #[schema(value_type = String, format = Binary)]
    image: Vec<u8>,
}

/// Enrols the student's face, or replaces it by a newer photo of the same face.
#[utoipa::path(
    post, path = "/students/enroll-face", tag = "faces",
    request_body(content = Photo, content_type = "multipart/form-data"),
    responses(
        (status = 201, body = Enrolled),
        (status = 409, description = "FACES_OFF or REENROLMENT_NEEDS_APPROVAL", body = ErrorEnvelope),
        (status = 413, body = ErrorEnvelope),
        (status = 415, body = ErrorEnvelope),
        (status = 422, description = "NO_FACE, SEVERAL_FACES, FACE_TOO_SMALL, DIFFERENT_FACES, IMAGE_INVALID", body = ErrorEnvelope),
        (status = 503, description = "FACE_UNAVAILABLE: no models are loaded", body = ErrorEnvelope),
        (status = 507, description = "IMAGES_OF_TODAY_FULL", body = ErrorEnvelope)
    )
)]
pub(super) async fn enroll_face(
    State(app): State<App>,
    allowed: Allowed<FacesEnroll>,
    id: RequestId,
    request: Request,
) -> AppResult<(StatusCode, Json<Enrolled>)> {
    check_possible(&app, &allowed.tenant).await?;
    let form = Multipart::from_request(request, &app).await.map_err(|rejection| {
        AppError::unsupported_media("send the photo as multipart/form-data").with_cause(rejection)
    })?;
    let photos = read_photos(form, app.config.image_bytes_max()).await?;
    let mut subjects = Vec::with_capacity(photos.len());
    for (index, bytes) in photos.iter().enumerate() {
        // Of several photos, whoever sent them has to know which one to take anew.
        let subject = read_subject(&app, &allowed, bytes).await;
        subjects.push(subject.map_err(|error| error.with_detail("photo", index + 1))?);
    }
    let template = mean_of_one_person(&app, &subjects)?;
    let advice = subjects.iter().map(|subject| subject.quality.advice().into_iter().map(PhotoAdvice::from).collect());
    let mut enrolled = enrol(&app, &allowed, allowed.actor(&id), &photos, &template).await?;
    enrolled.advice = advice.collect();
    Ok((StatusCode::CREATED, Json(enrolled)))
}

impl From<Advice> for PhotoAdvice {
    fn from(advice: Advice) -> Self {
        let (code, words) = advice.words();
        Self { code, words }
    }
}

/// Every photo has to match every other one: the mean of two people would match neither, or both.
fn mean_of_one_person(app: &App, subjects: &[Subject]) -> AppResult<Template> {
    let thresholds = engine(app)?.thresholds().map_err(|reason| AppError::internal(reason.reason()))?;
    for (index, one) in subjects.iter().enumerate() {
        for other in &subjects[..index] {
            let distance = face_engine::distance(&one.template, &other.template).map_err(AppError::internal)?;
            if thresholds.judge(distance) != Judgement::Match {
                let sentence = "these photos do not clearly show the same person; take them anew, one after the other";
                return Err(AppError::new(StatusCode::UNPROCESSABLE_ENTITY, "DIFFERENT_FACES", sentence)
                    .with_details(json!({ "photo": index + 1 })));
            }
        }
    }
    let templates: Vec<Template> = subjects.iter().map(|subject| subject.template.clone()).collect();
    let mean = Template::mean(&templates).map_err(AppError::internal)?;
    mean.ok_or_else(|| AppError::internal("a form without a photo was read"))
}

async fn check_possible(app: &App, tenant: &TenantId) -> AppResult<()> {
    let asked = tenant.clone();
    let settings = app.db.read(move |tx: &Tx<'_>| settings::of(tx, &asked)).await;
    if !settings.map_err(|error: DbError| AppError::from(error))?.face_matching {
        let sentence = "this institution does not compare faces, so none is taken";
        return Err(AppError::conflict("FACES_OFF", sentence));
    }
    match engine(app)?.model_version() {
        Ok(_) => Ok(()),
        Err(reason) => Err(unavailable("faces cannot be read on this server; its operator runs: muster models fetch")
            .with_details(json!({ "reason": reason.reason() }))),
    }
}

fn unavailable(sentence: &'static str) -> AppError {
    AppError::unavailable("FACE_UNAVAILABLE", sentence, UNAVAILABLE_RETRY_AFTER_S)
}

/// The parts that are photos; others are skipped without keeping them.
async fn read_photos(form: Multipart, bytes_max: usize) -> AppResult<Vec<Vec<u8>>> {
    let (mut form, mut photos) = (Form::new(form, limits::ENROL_PARTS_MAX), Vec::new());
    while let Some(field) = form.next().await? {
        if !matches!(field.name(), Some("image" | "file" | "photo")) {
            continue;
        }
        if photos.len() == limits::ENROL_PHOTOS_MAX {
            let sentence = format!("at most {} photos make a reference", limits::ENROL_PHOTOS_MAX);
            return Err(AppError::field("image", sentence));
        }
        let too_large = || AppError::too_large(format!("an image has at most {bytes_max} bytes"));
        photos.push(http::field_bytes(field, bytes_max, too_large).await?);
    }
    if photos.is_empty() {
        return Err(AppError::field("image", "the form has no part of this name"));
    }
    Ok(photos)
}

async fn read_subject(app: &App, user: &CurrentUser, bytes: &[u8]) -> AppResult<Subject> {
    match reference::read_picture(app, &user.tenant, &user.id.to_string(), bytes).await? {
        Ok((_, reading)) => one_face(reading),
        Err(FaceError::EmptyPicture) => Err(no_face()),
        Err(error) => Err(unavailable("the face models failed on this picture").with_cause(error)),
    }
}

/// The one whom the photo is about. Stricter than for a selfie, because every later one is held against it: nobody else in
/// it may be half as large.
fn one_face(reading: Reading) -> AppResult<Subject> {
    let n_large = |subject: &Subject| {
        let rivals = |face: &&Face| face.rivals(subject.quality.side_px, limits::BYSTANDER_PART_MAX);
        reading.faces.iter().filter(rivals).count()
    };
    let n_subjects = reading.subject.as_ref().map_or(reading.n_subjects, n_large);
    if let (Some(subject), 1) = (reading.subject, n_subjects) {
        return Ok(subject);
    }
    Err(match (reading.faces.len(), n_subjects) {
        (0, _) => no_face(),
        (_, 0) => {
            let sentence = format!("the face is smaller than {FACE_SIDE_MIN_PX} pixels; come closer");
            AppError::new(StatusCode::UNPROCESSABLE_ENTITY, "FACE_TOO_SMALL", sentence)
        }
        (_, n_subjects) => {
            let sentence = "the picture shows several faces; a reference shows one person";
            AppError::new(StatusCode::UNPROCESSABLE_ENTITY, "SEVERAL_FACES", sentence)
                .with_details(json!({ "faces": n_subjects }))
        }
    })
}

fn no_face() -> AppError {
    AppError::new(StatusCode::UNPROCESSABLE_ENTITY, "NO_FACE", "no face was found in the picture")
}

async fn enrol(
    app: &App,
    user: &CurrentUser,
    actor: Actor,
    photos: &[Vec<u8>],
    template: &Template,
) -> AppResult<Enrolled> {
    let subject = user.id.to_string();
    let previous = reference::current(app, &user.tenant, &subject).await?;
    let matches_previous = match &previous {
        Some(previous) => {
            let distance = face_engine::distance(template, &previous.template).map_err(AppError::internal)?;
            let thresholds = engine(app)?.thresholds().map_err(|reason| AppError::internal(reason.reason()))?;
            thresholds.judge(distance) == Judgement::Match
        }
        None => false,
    };
    check_reenrolment(app, actor.clone(), matches_previous).await?;
    let mut sent = Vec::with_capacity(photos.len());
    for bytes in photos {
        sent.push(evidence::store_image(app, &user.tenant, &subject, ImagePurpose::Reference, bytes).await?);
    }
    let id = uuid_text(&app.new_uuid());
    let row = ReferenceRow {
        sealed_template: reference::seal(app, &user.tenant, &subject, &id, template).await?,
        id,
        images: sent.iter().map(|photo| photo.image.sha256).collect(),
        model: template.model_version().to_owned(),
        enrolled_at_ms: app.now_ms(),
    };
    let (model, enrolled_at_ms) = (row.model.clone(), row.enrolled_at_ms);
    let enrolled = Enrolled { replaced: matches_previous, model, enrolled_at_ms, advice: Vec::new() };
    let expected = previous.as_ref().map(|previous| previous.id.clone());
    keep(app, actor, row, sent, expected).await?;
    Ok(enrolled)
}

/// Another face than before, or a face after a withdrawal, needs a person who looks at the student.
async fn check_reenrolment(app: &App, actor: Actor, matches_previous: bool) -> AppResult<()> {
    let now_ms = app.now_ms();
    let allowed = app.db.write(move |tx: &Tx<'_>| {
        let (tenant, subject) = (&actor.tenant, actor.id.as_str());
        let had_one = queries::reference(tx, tenant, subject)?.is_some();
        let asked = queries::reenrolment(tx, tenant, subject)?;
        match asked.as_deref() {
            Some("approved") => Ok(true),
            _ if matches_previous => Ok(true),
            None if !had_one => Ok(true),
            _ => {
                queries::set_reenrolment(tx, tenant, subject, ("pending", None), now_ms)?;
                if asked.as_deref() != Some("pending") {
                    note(tx, &actor, Action::FaceAsk, "pending", now_ms)?;
                }
                Ok(false)
            }
        }
    });
    if allowed.await.map_err(|error: DbError| AppError::from(error))? {
        return Ok(());
    }
    let sentence =
        "this is not clearly the face that was enrolled before; an admin has to approve it, then send it again";
    Err(AppError::conflict("REENROLMENT_NEEDS_APPROVAL", sentence))
}

/// Puts the reference in its place, unless another one got there first, and has records without one judged again.
async fn keep(
    app: &App,
    actor: Actor,
    row: ReferenceRow,
    sent: Vec<Sending>,
    expected: Option<String>,
) -> AppResult<()> {
    let kept = app.db.write(move |tx: &Tx<'_>| {
        let (tenant, subject, now_ms) = (&actor.tenant, actor.id.as_str(), row.enrolled_at_ms);
        let current = queries::reference(tx, tenant, subject)?;
        if expected.is_some() && current.as_ref().map(|current| &current.id) != expected.as_ref() {
            sent.iter().try_for_each(|photo| photo.settle(tx, tenant, subject, None, now_ms))?;
            return Ok(false);
        }
        let result = if current.is_some() { "replaced" } else { "enrolled" };
        queries::put_reference(tx, tenant, subject, &row)?;
        let before = current.map_or(Vec::new(), |current| current.images);
        for sha256 in before.iter().filter(|sha256| !row.images.contains(sha256)) {
            // What a submission names is evidence of its record, and stays.
            evidence::end(tx, tenant, subject, sha256, Use::Reference, now_ms)?;
        }
        sent.iter().try_for_each(|photo| photo.settle(tx, tenant, subject, Some(Use::Reference), now_ms))?;
        queries::clear_reenrolment(tx, tenant, subject)?;
        jobs::enqueue(tx, tenant, REFERENCE_JOB, subject.as_bytes(), row.enrolled_at_ms)?;
        note(tx, &actor, Action::FaceEnrol, result, row.enrolled_at_ms)?;
        Ok(true)
    });
    let kept = kept.await.map_err(|error: DbError| AppError::from(error))?;
    app.wake_jobs();
    if !kept {
        let sentence = "the reference changed at the same moment; look at it and send the photo again if you must";
        return Err(AppError::conflict("REFERENCE_CHANGED", sentence));
    }
    Ok(())
}

/// Notes what a student did with the own face.
fn note(tx: &Tx<'_>, actor: &Actor, action: Action, result: &str, now_ms: i64) -> Result<(), DbError> {
    audit::record(tx, actor, &Event { action, kind: "face", id: &actor.id, reason: None, result }, now_ms)
}
