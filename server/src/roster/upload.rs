//! `POST /admin/roster/import`: a roster over HTTP, from an archive or one CSV.

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Multipart, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use futures_util::{Stream, StreamExt};
use serde::Deserialize;
use serde_json::json;
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use utoipa::IntoParams;

use super::error::RosterError;
use super::import::{Imported, Importer};
use super::limits::{LIMITS, UPLOAD_BYTES_MAX};
use super::progress::Progress;
use super::report::Report;
use super::{Format, Options};
use crate::app::App;
use crate::audit::Actor;
use crate::auth::permission::UsersWrite;
use crate::auth::{self, Allowed};
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Binary, BodyMeter, Form, Json, Query, RequestId, media_type};
use crate::ids::UserId;
use crate::limits::budgets;
use crate::shares::Lines;
use crate::text;

/// Bytes around the file in a form.
const FORM_BYTES_MAX: u64 = 64 * 1024;
/// Parts of such a form.
const FORM_PARTS_MAX: usize = 16;
/// What a file is called that came without a name.
const NAMELESS: &str = "roster";
/// Characters of a file's name in a report.
const NAME_CHARS_MAX: usize = 100;

/// Lets one import run at a time, and one of each admin be received. Lives in the `App`.
pub struct Imports {
    running: Semaphore,
    receiving: Lines<UserId>,
}

impl Default for Imports {
    fn default() -> Self {
        let (all_max, own_max) = (budgets::IMPORTS_RECEIVED.count(), budgets::IMPORTS_RECEIVED_PER_PERSON.count());
        Self { running: Semaphore::new(budgets::IMPORTS.count()), receiving: Lines::new(all_max, own_max) }
    }
}

/// What to do with the roster.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Only say what would change.
    dry_run: bool,
    /// One bad row stops everything.
    strict: bool,
    /// Whoever came from the registry and is not in a complete OneRoster set any more loses access.
    disable_missing: bool,
    /// An account with the address of a person is that person's, also if nobody has confirmed the address.
    trust_emails: bool,
    /// `auto`, `oneroster` or `csv`.
    #[param(inline)]
    format: Format,
}

/// Imports a roster: a OneRoster 1.2 or 1.1 archive, or a plain CSV; as the body, or as the file of a form. At most 64 MiB.
///
/// Everything is written in one transaction. Bad rows are reported one by one, and do not stop the good ones.
#[utoipa::path(
    post, path = "/admin/roster/import", tag = "accounts", params(Wanted),
    request_body(content = Binary, content_type = "application/octet-stream"),
    responses(
        (status = 200, body = Report),
        (status = 409, description = "another import is running", body = ErrorEnvelope),
        (status = 413, body = ErrorEnvelope),
        (status = 422, description = "ROSTER_INVALID, or with strict ROSTER_REFUSED", body = ErrorEnvelope),
        (status = 503, description = "ROSTER_NOT_READY: a dry run right after an update", body = ErrorEnvelope)
    )
)]
pub(super) async fn import_roster(
    State(app): State<App>,
    allowed: Allowed<UsersWrite>,
    request_id: RequestId,
    Query(wanted): Query<Wanted>,
    request: Request,
) -> AppResult<Json<Report>> {
    let _receiving = imports(&app)?.receiving.try_enter(allowed.id).ok_or_else(running)?;
    let (file, name) = receive(&app, request).await?;
    // Only now: whoever sends slowly keeps nobody else from importing.
    let _turn = imports(&app)?.running.try_acquire().map_err(|_| running())?;
    let options = Options {
        format: wanted.format,
        dry_run: wanted.dry_run,
        strict: wanted.strict,
        disable_missing: wanted.disable_missing,
        trust_emails: wanted.trust_emails,
    };
    let (actor, created_by, importing) = (allowed.actor(&request_id), allowed.id, app.clone());
    let imported =
        tokio::task::spawn_blocking(move || import(&importing, actor, created_by, (&file, &name), options)).await;
    let imported = imported.map_err(AppError::internal)?.map_err(refused)?;
    remember(&app, &allowed, &imported).await?;
    app.wake_jobs();
    Ok(Json(imported.report))
}

fn imports(app: &App) -> AppResult<&Imports> {
    app.slice::<Imports>().ok_or_else(|| AppError::internal("the app was built without Imports"))
}

fn running() -> AppError {
    AppError::conflict("IMPORT_RUNNING", "another import is running; wait for its end")
}

fn import(
    app: &App,
    actor: Actor,
    created_by: UserId,
    (file, name): (&NamedTempFile, &str),
    options: Options,
) -> Result<Imported, RosterError> {
    let importer = Importer {
        db: &app.db,
        clock: &*app.clock,
        entropy: &*app.entropy,
        actor,
        created_by: Some(created_by),
        limits: LIMITS,
        progress: Progress::none(),
    };
    importer.import(file.path(), name, options)
}

/// What ended takes effect on the next request.
async fn remember(app: &App, by: &Allowed<UsersWrite>, imported: &Imported) -> AppResult<()> {
    if imported.ended.is_empty() {
        return Ok(());
    }
    let (tenant, ended) = (by.tenant.clone(), imported.ended.clone());
    let users = app.db.read(move |tx| {
        let found = ended.iter().map(|id| auth::find(tx, &tenant, *id).map_err(AppError::from));
        found.collect::<AppResult<Vec<_>>>()
    });
    users.await?.iter().flatten().try_for_each(|user| auth::remember(app, user))
}

/// Keeps the body, or the file of the form, in a file of our own; says how it was called.
async fn receive(app: &App, mut request: Request) -> AppResult<(NamedTempFile, String)> {
    let file = NamedTempFile::new_in(&app.config.data.data_dir).map_err(AppError::internal)?;
    let meter = request.extensions().get::<BodyMeter>().cloned();
    if media_type(request.headers()) != "multipart/form-data" {
        announced(request.headers(), UPLOAD_BYTES_MAX)?;
        write(&file, request.into_body().into_data_stream(), meter.as_ref()).await?;
        return Ok((file, NAMELESS.to_owned()));
    }
    announced(request.headers(), UPLOAD_BYTES_MAX + FORM_BYTES_MAX)?;
    DefaultBodyLimit::max((UPLOAD_BYTES_MAX + FORM_BYTES_MAX) as usize).apply(&mut request);
    let malformed = |text: String| AppError::new(StatusCode::BAD_REQUEST, "MALFORMED_FORM", text);
    let form = Multipart::from_request(request, app).await.map_err(|error| malformed(error.body_text()))?;
    let mut form = Form::new(form, FORM_PARTS_MAX);
    while let Some(field) = form.next().await? {
        if let Some(name) = field.file_name().map(shown) {
            write(&file, field, meter.as_ref()).await?;
            return Ok((file, name));
        }
    }
    Err(AppError::field("file", "the form has no file"))
}

/// Refuses what is too large before it is sent.
fn announced(headers: &HeaderMap, bytes_max: u64) -> AppResult<()> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > bytes_max) { Err(too_large()) } else { Ok(()) }
}

fn too_large() -> AppError {
    AppError::too_large(format!("a roster has at most {UPLOAD_BYTES_MAX} bytes; pack it, or import it in parts"))
}

async fn write<E: std::fmt::Display>(
    file: &NamedTempFile,
    mut chunks: impl Stream<Item = Result<Bytes, E>> + Unpin,
    meter: Option<&BodyMeter>,
) -> AppResult<()> {
    let mut target = tokio::fs::File::from_std(file.reopen().map_err(AppError::internal)?);
    let mut bytes = 0;
    while let Some(chunk) = chunks.next().await {
        let early = |error: E| {
            AppError::new(StatusCode::BAD_REQUEST, "BODY_INCOMPLETE", "the body ended early; send it again")
                .with_cause(error)
        };
        let chunk = chunk.map_err(early)?;
        bytes += chunk.len() as u64;
        if bytes > UPLOAD_BYTES_MAX {
            return Err(too_large());
        }
        target.write_all(&chunk).await.map_err(AppError::internal)?;
        if let Some(meter) = meter {
            meter.gone(chunk.len());
        }
    }
    target.flush().await.map_err(AppError::internal)?;
    if bytes == 0 { Err(AppError::validation("the body is empty; send a .zip or a .csv")) } else { Ok(()) }
}

/// After this many seconds the texts of an earlier release are in form, as a rule.
const NOT_READY_RETRY_S: u32 = 10;

/// The last part of a file's name, as it may stand in a report.
fn shown(name: &str) -> String {
    let name = text::shown(name.rsplit(['/', '\\']).next().unwrap_or_default());
    let name: String = name.chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect();
    if name.is_empty() { NAMELESS.to_owned() } else { name }
}

fn refused(error: RosterError) -> AppError {
    let unprocessable = |code, text| AppError::new(StatusCode::UNPROCESSABLE_ENTITY, code, text);
    let text = error.to_string();
    match error {
        RosterError::Invalid { file, what, fix } => {
            unprocessable("ROSTER_INVALID", text).with_details(json!({ "file": file, "what": what, "fix": fix }))
        }
        RosterError::Strict(report) => unprocessable("ROSTER_REFUSED", text).with_details(json!({ "report": report })),
        RosterError::Contended | RosterError::NoAdmin => AppError::conflict("ROSTER_CONTENDED", text),
        RosterError::NotInForm => AppError::unavailable("ROSTER_NOT_READY", text, NOT_READY_RETRY_S),
        RosterError::Db(error) => AppError::from(error),
        RosterError::Io(..) => AppError::internal(text),
    }
}
