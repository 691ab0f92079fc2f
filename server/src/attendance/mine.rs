//! `GET /attendance`: what a student is told about the own records, and everybody else about those that their role sees.

use std::str::FromStr;

use axum::extract::State;
use muster_sync_core::DocumentId;
use serde::Serialize;
use utoipa::ToSchema;

use super::fold::Facts;
use super::rows::RecordRow;
use super::verdict_checks::{self, CheckInWords};
use super::views::RecordView;
use super::{listing, roster, words};
use crate::app::App;
use crate::auth::{CurrentUser, Role};
use crate::class_sessions;
use crate::clock::iso_utc;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Json, Page, Query};

/// A page of records.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Mine {
    /// The newest first.
    items: Vec<Item>,
    /// Send it as `after` for the next page; missing on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A record as its reader may see it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum Item {
    /// One's own.
    Own(OwnRecord),
    /// A student's, for those who teach, review or run the office.
    Student(RecordView),
}

/// One's own record.
#[derive(Debug, Serialize, ToSchema)]
struct OwnRecord {
    /// The id of its document, in hexadecimal.
    id: String,
    /// The locator of its class session.
    session: String,
    /// What the session is called.
    session_title: Option<String>,
    /// When the session began; missing while its plan is unknown.
    opens_at: Option<String>,
    /// The course.
    course_id: Option<String>,
    /// `received`, `accepted`, `in review`, `decided` or `appealed`.
    standing: &'static str,
    /// The state behind it.
    state: Option<String>,
    /// Whether a picture has not arrived.
    awaiting_media: bool,
    /// When it was captured, by the phone's clock.
    captured_at: Option<String>,
    /// When the server had it.
    received_at: Option<String>,
    /// What the machine looked at.
    checks: Vec<CheckInWords>,
    /// What people decided, oldest first.
    decisions: Vec<OwnDecision>,
}

/// A decision about one's own record.
#[derive(Debug, Serialize, ToSchema)]
struct OwnDecision {
    /// Its id, which an appeal names.
    id: String,
    /// What was decided.
    decision: String,
    /// Why, as a code.
    reason: Option<String>,
    /// When.
    at: String,
}

/// The place of a record in the list: when it was received, and its document.
struct Place(i64, DocumentId);

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (received_at_ms, document) = text.split_once('.').ok_or(())?;
        Ok(Self(received_at_ms.parse().map_err(|_| ())?, DocumentId::from_hex(document).ok_or(())?))
    }
}

/// Lists records: one's own with every check in words; for lecturers those of their courses, for reviewers, staff and
/// admins those of every course.
#[utoipa::path(
    get, path = "/attendance", tag = "attendance", params(Page),
    responses((status = 200, body = Mine), (status = 401, body = ErrorEnvelope))
)]
pub(super) async fn list(State(app): State<App>, user: CurrentUser, Query(page): Query<Page>) -> AppResult<Json<Mine>> {
    let (after, limit) = (page.after::<Place>()?, page.limit());
    let before = after.map_or((i64::MAX, DocumentId([0xFF; 16])), |Place(received, document)| (received, document));
    let read = app.db.read(move |tx| {
        let mut records = seen_by(tx, &user, before, limit + 1)?;
        let more = records.len() > limit as usize;
        records.truncate(limit as usize);
        let place = |record: &RecordRow| format!("{}.{}", record.received_at_ms.unwrap_or(0), record.document);
        let next = if more { records.last().map(place) } else { None };
        let items: Result<_, DbError> = records.iter().map(|record| item(tx, &user, record)).collect();
        Ok::<_, DbError>(Mine { items: items?, next })
    });
    read.await.map(Json).map_err(AppError::from)
}

fn seen_by(tx: &Tx<'_>, user: &CurrentUser, before: (i64, DocumentId), limit: u32) -> Result<Vec<RecordRow>, DbError> {
    let id = user.id.to_string();
    match user.role {
        Role::Guest | Role::Student => listing::of_student(tx, &user.tenant, &id, before, limit),
        Role::Lecturer => listing::of_courses(tx, &user.tenant, Some(&id), before, limit),
        Role::Reviewer | Role::Staff | Role::Admin => listing::of_courses(tx, &user.tenant, None, before, limit),
    }
}

fn item(tx: &Tx<'_>, user: &CurrentUser, record: &RecordRow) -> Result<Item, DbError> {
    if record.student == user.id.to_string() {
        return own(tx, user, record).map(Item::Own);
    }
    Ok(Item::Student(RecordView::new(record, &roster::person(tx, &user.tenant, &record.student)?)))
}

fn own(tx: &Tx<'_>, user: &CurrentUser, record: &RecordRow) -> Result<OwnRecord, DbError> {
    let session = class_sessions::find(tx, &user.tenant, &record.locator)?;
    let facts = Facts::read(tx, record.document)?;
    let checks = match facts.counting_verdict(&facts.fold()?) {
        Some(verdict) => verdict_checks::read(tx, &user.tenant, verdict.log_index)?,
        None => Vec::new(),
    };
    let decisions = facts.decisions.iter().map(|row| OwnDecision {
        id: row.hash.to_string(),
        decision: row.says.clone(),
        reason: row.reason.clone(),
        at: iso_utc(row.received_at_ms),
    });
    Ok(OwnRecord {
        id: record.document.to_string(),
        session: record.locator.to_string(),
        session_title: session.as_ref().and_then(|session| session.title.clone()),
        opens_at: session.as_ref().map(|session| iso_utc(session.opens_at_ms)),
        course_id: record.course.clone(),
        standing: words::standing(record.state.as_deref().unwrap_or("received"), record.appeal_open),
        state: record.state.clone(),
        awaiting_media: record.awaiting_media,
        captured_at: record.captured_at_ms.map(iso_utc),
        received_at: record.received_at_ms.map(iso_utc),
        checks: checks.into_iter().map(CheckInWords::from).collect(),
        decisions: decisions.collect(),
    })
}
