//! `GET /lecturers/sessions/{id}/attendance` and `/flagged`: a session's roster and what of it waits for a person.

use std::collections::BTreeMap;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access;
use super::roster::{self, RosterRow, Wanted};
use super::views::RecordView;
use crate::app::App;
use crate::auth::permission::AttendanceRead;
use crate::auth::{Allowed, CurrentUser};
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Json, Path, Query};
use crate::limits;

/// Which rows, and which page of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// In this state.
    state: Option<String>,
    /// With this flag: the name of a check, or a reason.
    flag: Option<String>,
    /// Rows, at most 200.
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// A page of a session's roster.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Roster {
    /// By name.
    items: Vec<RecordView>,
    /// Rows per state, over all pages and whatever the filter.
    counts: BTreeMap<String, u64>,
    /// Send it as `after` for the next page; missing on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Lists a session's records and everybody who is enrolled and has none.
#[utoipa::path(
    get, path = "/lecturers/sessions/{id}/attendance", tag = "attendance",
    params(("id" = String, Path, description = "the locator, or the document's id in hexadecimal"), Filter),
    responses((status = 200, body = Roster), (status = 404, body = ErrorEnvelope))
)]
pub(super) async fn of_session(
    State(app): State<App>,
    allowed: Allowed<AttendanceRead>,
    Path(id): Path<String>,
    Query(filter): Query<Filter>,
) -> AppResult<Json<Roster>> {
    answer(&app, allowed.user, id, filter, false).await
}

/// Lists a session's records that wait for a person: flagged, disputed, escalated or appealed.
#[utoipa::path(
    get, path = "/lecturers/sessions/{id}/flagged", tag = "attendance",
    params(("id" = String, Path, description = "the locator, or the document's id in hexadecimal"), Filter),
    responses((status = 200, body = Roster), (status = 404, body = ErrorEnvelope))
)]
pub(super) async fn flagged_of_session(
    State(app): State<App>,
    allowed: Allowed<AttendanceRead>,
    Path(id): Path<String>,
    Query(filter): Query<Filter>,
) -> AppResult<Json<Roster>> {
    answer(&app, allowed.user, id, filter, true).await
}

async fn answer(app: &App, user: CurrentUser, id: String, filter: Filter, in_review: bool) -> AppResult<Json<Roster>> {
    let now_ms = app.now_ms();
    let read = app.db.read(move |tx| {
        let session = access::session(tx, &user, &id)?;
        roster::read(tx, &user.tenant, &session, now_ms).map_err(AppError::from)
    });
    let rows = read.await?;
    let counts = roster::counts(&rows);
    let wanted = Wanted { state: filter.state, flag: filter.flag, in_review };
    let limit = filter.limit.unwrap_or(limits::PAGE_ROWS_DEFAULT).clamp(1, limits::PAGE_ROWS_MAX);
    let rows = after(roster::wanted(rows, &wanted), filter.after.as_deref())?;
    let next = (rows.len() > limit as usize).then(|| rows[limit as usize - 1].view.user_id.clone());
    let items = rows.into_iter().take(limit as usize).map(|row| row.view).collect();
    Ok(Json(Roster { items, counts, next }))
}

/// The rows behind that of a student.
fn after(mut rows: Vec<RosterRow>, student: Option<&str>) -> AppResult<Vec<RosterRow>> {
    let Some(student) = student else { return Ok(rows) };
    let place = rows.iter().position(|row| row.view.user_id == student);
    let place = place.ok_or_else(|| AppError::field("after", "this is not the next of a page"))?;
    Ok(rows.split_off(place + 1))
}
