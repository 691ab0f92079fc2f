//! `GET /lecturers/sessions/{id}/export`: a session's roster as CSV (RFC 4180).

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::access;
use super::fold::Facts;
use super::roster::{self, RosterRow, Wanted};
use super::rows::VerdictRow;
use crate::app::App;
use crate::audit::{self, Action, Event};
use crate::auth::Allowed;
use crate::auth::permission::AttendanceExport;
use crate::class_sessions::ClassSession;
use crate::clock::iso_utc;
use crate::courses;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Path, Query, RequestId, csv_cell};

/// What goes into the file.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Only rows in this state.
    state: Option<String>,
    /// Only rows with this flag: the name of a check, or a reason.
    flag: Option<String>,
    /// Only rows that wait for a person.
    in_review: Option<bool>,
    /// Begin with a byte order mark, for spreadsheets that need one to see UTF-8.
    bom: Option<bool>,
}

/// `student_id` is what an import calls so: the id in the registry. The account has another name.
const HEADER: [&str; 21] = [
    "name",
    "email",
    "student_id",
    "course",
    "session",
    "opens_at",
    "state",
    "flags",
    "captured_at_device",
    "received_at_server",
    "not_before",
    "not_after",
    "risk",
    "section",
    "user_id",
    "course_id",
    "decided_by",
    "decided_at",
    "decision",
    "reason",
    "record_id",
];

/// A roster row with what the export adds.
struct ExportRow {
    roster: RosterRow,
    verdict: Option<VerdictRow>,
}

/// Exports a session's attendance: one row per student, also for those without a record.
#[utoipa::path(
    get, path = "/lecturers/sessions/{id}/export", tag = "attendance",
    params(("id" = String, Path, description = "the locator, or the document's id in hexadecimal"), Filter),
    responses(
        (status = 200, content_type = "text/csv", body = String, headers(("Content-Disposition" = String, description = "the file's name"))),
        (status = 404, body = ErrorEnvelope)
    )
)]
pub(super) async fn export(
    State(app): State<App>,
    allowed: Allowed<AttendanceExport>,
    request: RequestId,
    Path(id): Path<String>,
    Query(filter): Query<Filter>,
) -> AppResult<Response> {
    let (actor, user, now_ms) = (allowed.actor(&request), allowed.user, app.now_ms());
    let wanted = Wanted { state: filter.state, flag: filter.flag, in_review: filter.in_review.unwrap_or(false) };
    let read = app.db.read(move |tx| {
        let session = access::session(tx, &user, &id)?;
        let course = match session.course.parse() {
            // The name that the course had then: the file is about that day.
            Ok(course) => {
                let then_ms = session.ends_at_ms().min(now_ms);
                courses::find_at(tx, &user.tenant, course, then_ms)?.map(|course| course.code)
            }
            Err(_) => None,
        };
        let rows = roster::wanted(roster::read(tx, &user.tenant, &session, now_ms)?, &wanted);
        let mut exported = Vec::with_capacity(rows.len());
        for roster in rows {
            let verdict = match roster.document {
                Some(document) => {
                    let facts = Facts::read(tx, document)?;
                    facts.counting_verdict(&facts.fold()?).cloned()
                }
                None => None,
            };
            exported.push(ExportRow { roster, verdict });
        }
        let course = course.unwrap_or_else(|| session.course.clone());
        Ok::<_, AppError>((session, course, exported))
    });
    let (session, course, rows) = read.await?;
    let csv = csv(&session, &course, &rows, filter.bom.unwrap_or(false))?;
    // Before anything leaves: what cannot be noted is not exported.
    let (locator, exported) = (session.locator, format!("{} rows", rows.len()));
    let noted = app.db.write(move |tx: &Tx<'_>| {
        let (action, kind, id) = (Action::AttendanceExport, "class_session", locator.as_str());
        audit::record(tx, &actor, &Event { action, kind, id, reason: None, result: &exported }, now_ms)
    });
    noted.await.map_err(|error: DbError| AppError::from(error))?;
    let file_name = format!("attachment; filename=\"attendance-{}.csv\"", session.locator);
    let disposition = HeaderValue::from_str(&file_name).map_err(AppError::internal)?;
    let content_type = HeaderValue::from_static("text/csv; charset=utf-8; header=present");
    Ok(([(header::CONTENT_TYPE, content_type), (header::CONTENT_DISPOSITION, disposition)], csv).into_response())
}

fn csv(session: &ClassSession, course: &str, rows: &[ExportRow], bom: bool) -> AppResult<Vec<u8>> {
    let start = if bom { "\u{FEFF}".as_bytes().to_vec() } else { Vec::new() };
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(start);
    writer.write_record(HEADER).map_err(AppError::internal)?;
    for row in rows {
        let cells = cells(session, course, row);
        writer.write_record(cells.iter().map(|cell| csv_cell(cell))).map_err(AppError::internal)?;
    }
    writer.into_inner().map_err(AppError::internal)
}

fn cells(session: &ClassSession, course: &str, row: &ExportRow) -> [String; HEADER.len()] {
    let view = &row.roster.view;
    let text = |cell: &Option<String>| cell.clone().unwrap_or_default();
    let time = |time_ms: Option<i64>| time_ms.map(iso_utc).unwrap_or_default();
    let verdict = row.verdict.as_ref();
    let flags: Vec<_> = view.flags.iter().map(|flag| format!("{}:{}", flag.check, flag.reason)).collect();
    [
        text(&view.name),
        text(&view.email),
        text(&view.student_id),
        course.to_owned(),
        session.locator.to_string(),
        iso_utc(session.opens_at_ms),
        view.state.clone(),
        flags.join(" "),
        text(&view.captured_at),
        text(&view.received_at),
        time(verdict.and_then(|verdict| verdict.not_before_ms)),
        time(verdict.and_then(|verdict| verdict.not_after_ms)),
        view.risk.map(|risk| risk.to_string()).unwrap_or_default(),
        text(&view.section),
        view.user_id.clone(),
        session.course.clone(),
        text(&view.decided_by),
        text(&view.decided_at),
        text(&view.decision),
        text(&view.decision_reason),
        text(&view.id),
    ]
}
