//! `POST /students/attendance`: an online client submits, and the server writes for the student as a gateway.
//!
//! Sending the same again gives the same record: a request is the same when its `Idempotency-Key` is, or, without one,
//! when everything in the form is. A new code, picture or position makes one more submission of the same record, because
//! a record is one student's attendance of one session.

use axum::extract::{Multipart, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use muster_sync_core::{
    DocumentId, DocumentName,
    document::{Code, Label, Source, Submission},
    evidence::{DeviceFacts, ImagePurpose, MANIFEST_VERSION, Manifest},
    time::CaptureClocks,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::form::{self, Form, SubmissionForm};
use super::listing::{self, Sent};
use super::project::project;
use super::queries;
use super::rows::{RecordRow, SubmissionRow};
use super::share::Share;
use crate::app::App;
use crate::audit::{self, Action, Actor, Event};
use crate::auth::permission::AttendanceSubmit;
use crate::auth::{Allowed, CurrentUser};
use crate::budgets::{self, Amounts};
use crate::class_sessions;
use crate::clock::iso_utc;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::evidence::{self, SealedManifest, Sending};
use crate::http::{Json, RequestId};
use crate::ids::TenantId;
use crate::limits::budgets::UNKNOWN_SESSIONS;
use crate::log::{self, Appended, Channel, ServerKey};

/// Told to the handler that looks the first answer up, and to nobody else.
const SENT_BEFORE: &str = "SENT_BEFORE";

/// What became of a submission.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Submitted {
    /// The record's id.
    id: String,
    /// The submission's id.
    submission_id: String,
    /// The locator of the class session.
    session: String,
    /// Whether the session's plan is known. If not, the submission is kept and judged once the plan arrives.
    session_known: bool,
    /// The record's state.
    state: String,
    /// Whether an image has not arrived.
    awaiting_media: bool,
    /// When it was captured, as the client says.
    captured_at: String,
    /// When the server had it.
    received_at: String,
    /// The server's signed statement that it has it.
    receipt: SubmissionReceipt,
}

/// A receipt: Ed25519 over context, document, change, log index and time, as PROTOCOL.md says.
#[derive(Debug, Serialize, ToSchema)]
struct SubmissionReceipt {
    /// Place in the log.
    log_index: i64,
    /// Unix milliseconds.
    received_at_ms: i64,
    /// Hexadecimal.
    signature: String,
    /// Hexadecimal.
    server_key: String,
}

/// Submits attendance.
#[utoipa::path(
    post, path = "/students/attendance", tag = "attendance",
    params(("Idempotency-Key" = Option<String>, Header, description = "at most 128 bytes; names the request")),
    request_body(content = SubmissionForm, content_type = "multipart/form-data"),
    responses(
        (status = 201, body = Submitted, headers(("Idempotency-Replayed" = String, description = "`true` if this was sent before"))),
        (status = 409, description = "the key was used for another form, or there are too many", body = ErrorEnvelope),
        (status = 413, body = ErrorEnvelope),
        (status = 429, description = "DAY_FULL: as many submissions as one person may send on a day", body = ErrorEnvelope),
        (status = 507, description = "IMAGES_OF_TODAY_FULL", body = ErrorEnvelope),
        (status = 415, description = "an image is neither JPEG nor PNG", body = ErrorEnvelope),
        (status = 422, description = "a field or an image is wrong", body = ErrorEnvelope)
    )
)]
pub(super) async fn submit(
    State(app): State<App>,
    allowed: Allowed<AttendanceSubmit>,
    id: RequestId,
    headers: HeaderMap,
    multipart: Multipart,
) -> AppResult<Response> {
    let (actor, user) = (allowed.actor(&id), allowed.user);
    let form = form::read(multipart, app.config.image_bytes_max()).await?;
    let content_hash = form.content_hash();
    let request_key = form::request_key(&headers, content_hash)?;
    let name = DocumentName::Attendance { locator: form.claim.locator, student: user.id.to_string() };
    let request = Request { name, content_hash, request_key, rank: u64::from(user.role.rank()) };
    if let Some(before) = answer(&app, &user, &request).await? {
        return Ok(replayed(before));
    }
    check_load(&app, &user, &request).await?;
    let (seen, submission) = keep_images(&app, &user, form).await?;
    let written = append(&app, &actor, &request, &seen, submission).await;
    if let Err(error) = written {
        let gone = let_go(&app, &user, seen).await;
        // Otherwise the same request was faster on another connection.
        if error.code() != SENT_BEFORE {
            return Err(error);
        }
        gone?;
    }
    let answer = answer(&app, &user, &request).await?;
    let answer = answer.ok_or_else(|| AppError::internal("a submission that was stored is not there"))?;
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// The document, the name under which the request is remembered, and the rank of who sends it.
#[derive(Clone)]
struct Request {
    name: DocumentName,
    content_hash: [u8; 32],
    request_key: [u8; 32],
    rank: u64,
}

fn replayed(before: Submitted) -> Response {
    let mut response = (StatusCode::CREATED, Json(before)).into_response();
    let header = HeaderName::from_static("idempotency-replayed");
    response.headers_mut().insert(header, HeaderValue::from_static("true"));
    response
}

/// The answer to a request that was stored; the same facts give the same receipt.
async fn answer(app: &App, user: &CurrentUser, request: &Request) -> AppResult<Option<Submitted>> {
    let (asked, asking) = (request.clone(), user.clone());
    let read = app.db.read(move |tx| {
        let student = asking.id.to_string();
        let Some(sent) = listing::sent(tx, &asking.tenant, &student, &asked.request_key)? else { return Ok(None) };
        if sent.content_hash != asked.content_hash {
            let sentence = "this Idempotency-Key was used for another form";
            return Err(AppError::conflict("IDEMPOTENCY_KEY_REUSED", sentence));
        }
        let record = queries::record_for(tx, sent.document)?;
        let submission = queries::submission_at(tx, sent.document, sent.log_index)?;
        Ok::<_, AppError>(record.zip(submission))
    });
    let Some((record, submission)) = read.await? else { return Ok(None) };
    let server = ServerKey::of(app)?;
    Ok(Some(Submitted::new(server, &record, &submission)))
}

impl Submitted {
    fn new(server: &ServerKey, record: &RecordRow, submission: &SubmissionRow) -> Self {
        let (log_index, received_at_ms) = (submission.log_index, submission.received_at_ms);
        let receipt = server.receipt(record.document, submission.hash, log_index, received_at_ms);
        Self {
            id: record.document.to_string(),
            submission_id: submission.hash.to_string(),
            session: record.locator.to_string(),
            session_known: record.course.is_some(),
            state: record.state.clone().unwrap_or_else(|| "received".to_owned()),
            awaiting_media: record.awaiting_media,
            captured_at: iso_utc(submission.captured_at_ms),
            received_at: iso_utc(received_at_ms),
            receipt: SubmissionReceipt {
                log_index,
                received_at_ms,
                signature: data_encoding::HEXLOWER.encode(&receipt.signature),
                server_key: server.public().to_string(),
            },
        }
    }
}

/// Asks before images are kept what the transaction that writes the record asks once more.
async fn check_load(app: &App, user: &CurrentUser, request: &Request) -> AppResult<()> {
    let (tenant, student, now_ms) = (user.tenant.clone(), user.id.to_string(), app.now_ms());
    let (document, rank) = (request.name.id(tenant.as_str()), request.rank);
    let DocumentName::Attendance { locator, .. } = request.name else { return Ok(()) };
    let read = app.db.read(move |tx| {
        Share::Submissions.check(tx, document, &student, 1)?;
        let known = class_sessions::course_of(tx, &tenant, &locator)?.is_some();
        check_room(tx, (&tenant, &student, rank), known, &Amounts::log_row(0), now_ms)
    });
    read.await
}

/// What a student may pile up: rows of one day, and records of sessions that nobody knows.
fn check_room(
    tx: &Tx<'_>,
    (tenant, student, rank): (&TenantId, &str, u64),
    known: bool,
    row: &Amounts,
    now_ms: i64,
) -> AppResult<()> {
    let used = budgets::used(tx, tenant, student, now_ms)?.unwrap_or_default();
    if !used.leaves_room_for(row, &budgets::per_day(rank)) {
        let sentence = "you have submitted as often today as one person may; send it again tomorrow";
        return Err(AppError::new(StatusCode::TOO_MANY_REQUESTS, "DAY_FULL", sentence)
            .retry_after(budgets::until_tomorrow_s(now_ms)));
    }
    if !known && listing::unknown_sessions(tx, tenant, student)? >= UNKNOWN_SESSIONS.rows() {
        let sentence = "there is no such class session, and too many of your records name such a one";
        return Err(AppError::conflict("SESSION_UNKNOWN", sentence));
    }
    Ok(())
}

/// What a form showed, until its record is written.
#[derive(Debug, Clone)]
struct Seen {
    images: Vec<Sending>,
    manifest: SealedManifest,
}

impl Seen {
    /// Makes it the record's evidence, or, without a record, lets it go.
    fn settle(
        &self,
        tx: &Tx<'_>,
        tenant: &TenantId,
        student: &str,
        record: Option<DocumentId>,
        now_ms: i64,
    ) -> Result<(), DbError> {
        if let Some(record) = record {
            evidence::keep(tx, tenant, student, record, &self.manifest, now_ms)?;
        }
        self.images.iter().try_for_each(|image| image.settle(tx, tenant, student, None, now_ms))
    }
}

/// Stores the images before the change that commits to them, and words that change.
async fn keep_images(app: &App, user: &CurrentUser, form: Form) -> AppResult<(Seen, Submission)> {
    let student = user.id.to_string();
    let captured_at_ms = form.captured_at_ms.unwrap_or_else(|| app.now_ms());
    let mut images = Vec::new();
    for (purpose, bytes) in [(ImagePurpose::Selfie, &form.selfie), (ImagePurpose::Presence, &form.presence_image)] {
        if let Some(bytes) = bytes {
            images.push(evidence::store_image(app, &user.tenant, &student, purpose, bytes).await?);
        }
    }
    let mut salt = [0; 32];
    app.entropy.fill(&mut salt);
    let named: Vec<_> = images.iter().map(|sent: &Sending| sent.image.clone()).collect();
    let manifest = Manifest {
        version: MANIFEST_VERSION,
        salt,
        images: named.clone(),
        position: form.position,
        clocks: CaptureClocks { wall_ms: captured_at_ms, monotonic_ms: 0, boot_id: [0; 16], anchor: None },
        device: DeviceFacts { platform: "online client".to_owned(), legacy_id: form.imei, ..DeviceFacts::default() },
    };
    let manifest = evidence::seal_manifest(app, &user.tenant, &student, &manifest.to_bytes(), named).await?;
    let submission = Submission {
        captured_at_ms,
        code: Code::new(&form.claim.code),
        step: form.claim.step,
        commitment: manifest.commitment,
        schema: 1,
        source: Source::Gateway,
        by: Label::new(&student),
    };
    Ok((Seen { images, manifest }, submission))
}

/// No record came of it.
async fn let_go(app: &App, user: &CurrentUser, seen: Seen) -> AppResult<()> {
    let (tenant, student, now_ms) = (user.tenant.clone(), user.id.to_string(), app.now_ms());
    let written = app.db.write(move |tx: &Tx<'_>| seen.settle(tx, &tenant, &student, None, now_ms));
    written.await.map_err(|error: DbError| AppError::from(error))?;
    app.wake_jobs();
    Ok(())
}

async fn append(app: &App, actor: &Actor, request: &Request, seen: &Seen, submission: Submission) -> AppResult<()> {
    let DocumentName::Attendance { locator, student } = request.name.clone() else { return Ok(()) };
    let (tenant, now_ms) = (actor.tenant.clone(), app.now_ms());
    let read = app.db.read(move |tx| class_sessions::course_of(tx, &tenant, &locator).map_err(AppError::from));
    let drafted_course = read.await?;
    let channels = log::channels_of(&request.name, drafted_course.as_deref());
    let entries = vec![(request.name.clone(), channels, submission.into())];
    let (request, by, seen) = (request.clone(), actor.clone(), seen.clone());
    log::append_as_server(app, &actor.tenant, entries, move |tx, appended| {
        for submission in appended {
            let course = class_sessions::course_of(tx, &submission.tenant, &locator)?;
            remember(tx, submission, &student, &request, submission.document())?;
            // Asked before the images were kept, and once more here: other requests were faster, perhaps.
            Share::Submissions.check(tx, submission.document(), &student, 1)?;
            let row = Amounts::log_row(submission.size_bytes);
            check_room(tx, (&submission.tenant, &student, request.rank), course.is_some(), &row, now_ms)?;
            let used = budgets::used(tx, &submission.tenant, &student, now_ms)?;
            budgets::spend(tx, &submission.tenant, &student, used.as_ref(), &row, now_ms)?;
            seen.settle(tx, &submission.tenant, &student, Some(submission.document()), now_ms)?;
            if drafted_course.is_some() {
                // What is drafted for those who teach a course must not reach them once somebody contests the session.
                class_sessions::check_course(tx, &submission.tenant, &locator, drafted_course.as_deref())?;
            }
            if let Some(course) = course.as_ref().filter(|_| drafted_course.is_none()) {
                // The plan arrived between drafting and writing.
                let staff = Channel::CourseStaff(course.clone());
                log::place_in(tx, &submission.tenant, &staff, &[submission.log_index])?;
            }
            project(tx, submission, course.as_deref())?;
            let id = submission.document().to_string();
            let event =
                Event { action: Action::AttendanceSubmit, kind: "record", id: &id, reason: None, result: "received" };
            audit::record(tx, &by, &event, now_ms)?;
        }
        Ok(())
    })
    .await
}

fn remember(
    tx: &Tx<'_>,
    submission: &Appended,
    student: &str,
    request: &Request,
    document: DocumentId,
) -> AppResult<()> {
    let sent = Sent { content_hash: request.content_hash, document, log_index: submission.log_index };
    if listing::insert_sent(tx, &submission.tenant, student, &request.request_key, &sent)? {
        return Ok(());
    }
    Err(AppError::conflict(SENT_BEFORE, "this was sent before"))
}
