//! `GET /admin/flagged` and `POST /admin/attendance/{id}/set-status`: every record that waits, and the last word.

use std::collections::BTreeMap;
use std::str::FromStr;

use axum::extract::State;
use muster_sync_core::{DocumentId, document::DecisionAction};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::decide::carry_out;
use super::decision_entry::Wish;
use super::listing::{self, Waiting};
use super::roster;
use super::rows::RecordRow;
use super::views::RecordView;
use crate::app::App;
use crate::auth::permission::{AttendanceReview, SystemAdmin};
use crate::auth::{Allowed, Role};
use crate::db::DbError;
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Json, Path, Query, RequestId};
use crate::ids::CourseId;
use crate::limits;

/// Which records, and which page of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Of one course.
    course_id: Option<CourseId>,
    /// `flagged`, `disputed` or `escalated`.
    state: Option<String>,
    /// With this flag: the name of a check, or a reason.
    flag: Option<String>,
    /// Rows, at most 200.
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// A page of the records that wait for a person.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InReview {
    /// The longest waiting first.
    items: Vec<RecordView>,
    /// Records per state, over all pages and whatever the filter.
    counts: BTreeMap<String, u64>,
    /// Send it as `after` for the next page; missing on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// The place of a record in the list: since when it waits, and its document.
struct Place(i64, DocumentId);

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (updated_at_ms, document) = text.split_once('.').ok_or(())?;
        Ok(Self(updated_at_ms.parse().map_err(|_| ())?, DocumentId::from_hex(document).ok_or(())?))
    }
}

/// Lists the records of every course that wait for a person; for reviewers and admins.
#[utoipa::path(
    get, path = "/admin/flagged", tag = "attendance", params(Filter),
    responses((status = 200, body = InReview), (status = 403, body = ErrorEnvelope))
)]
pub(super) async fn flagged(
    State(app): State<App>,
    allowed: Allowed<AttendanceReview>,
    Query(filter): Query<Filter>,
) -> AppResult<Json<InReview>> {
    let user = allowed.user;
    if user.role == Role::Lecturer {
        return Err(AppError::forbidden("FORBIDDEN", "lecturers see the flagged records of their own sessions"));
    }
    let limit = filter.limit.unwrap_or(limits::PAGE_ROWS_DEFAULT).clamp(1, limits::PAGE_ROWS_MAX);
    let after: Option<Place> = filter.after.as_deref().map(str::parse).transpose().map_err(|()| not_a_page())?;
    let after = after.map_or((i64::MIN, DocumentId([0; 16])), |Place(updated, document)| (updated, document));
    let read = app.db.read(move |tx| {
        let course = filter.course_id.map(|course| course.to_string()).unwrap_or_default();
        let wanted = Waiting {
            course: &course,
            state: filter.state.as_deref().unwrap_or_default(),
            flag: filter.flag.as_deref().unwrap_or_default(),
        };
        let mut records = listing::in_review(tx, &user.tenant, &wanted, after, limit + 1)?;
        let more = records.len() > limit as usize;
        records.truncate(limit as usize);
        let place = |record: &RecordRow| format!("{}.{}", record.updated_at_ms, record.document);
        let next = if more { records.last().map(place) } else { None };
        let counts = listing::in_review_counts(tx, &user.tenant)?.into_iter().collect();
        let mut items = Vec::with_capacity(records.len());
        for record in &records {
            items.push(RecordView::new(record, &roster::person(tx, &user.tenant, &record.student)?));
        }
        Ok::<_, DbError>(InReview { items, counts, next })
    });
    read.await.map(Json).map_err(AppError::from)
}

fn not_a_page() -> AppError {
    AppError::field("after", "this is not the next of a page")
}

/// The status to give to a record.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewStatus {
    /// What it is from now on.
    status: NewStatusName,
    /// Why, as a code; needed for `rejected`.
    reason: Option<String>,
    /// A remark, kept beside the record and erasable; at most 2,000 characters.
    note: Option<String>,
}

/// What an admin makes of a record.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum NewStatusName {
    /// Present.
    Confirmed,
    /// Present, but late.
    Late,
    /// Absent with good reason.
    Excused,
    /// Not accepted as present.
    Rejected,
}

/// Gives a record its status, over whatever people of lower rank decided.
#[utoipa::path(
    post, path = "/admin/attendance/{id}/set-status", tag = "attendance",
    params(("id" = String, Path, description = "the record's id")), request_body = NewStatus,
    responses(
        (status = 200, description = "how the record is now", body = RecordView),
        (status = 403, description = "not an admin, or one's own record", body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope),
        (status = 409, description = "somebody decided meanwhile", body = ErrorEnvelope),
        (status = 422, body = ErrorEnvelope)
    )
)]
pub(super) async fn set_status(
    State(app): State<App>,
    allowed: Allowed<SystemAdmin>,
    request: RequestId,
    Path(id): Path<String>,
    Json(new): Json<NewStatus>,
) -> AppResult<Json<RecordView>> {
    let action = match new.status {
        NewStatusName::Confirmed => DecisionAction::Confirm,
        NewStatusName::Late => DecisionAction::Late,
        NewStatusName::Excused => DecisionAction::Excuse,
        NewStatusName::Rejected => DecisionAction::Reject,
    };
    let wish = Wish::new(action, new.reason.as_deref(), new.note.as_deref())?;
    carry_out(&app, &allowed.user, &request, id, wish).await.map(Json)
}
