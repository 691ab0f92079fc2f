//! `GET /lecturers/sessions` and `GET /lecturers/sessions/{id}`.

use std::collections::BTreeMap;
use std::str::FromStr;

use axum::extract::State;
use muster_sync_core::DocumentId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access;
use super::queries::{self, Wanted};
use super::session::ClassSession;
use super::view::SessionView;
use crate::app::App;
use crate::auth::permission::SessionsManage;
use crate::auth::{Allowed, Role};
use crate::courses;
use crate::db::DbError;
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Json, Path, Query};
use crate::ids::CourseId;
use crate::limits;

/// Which sessions, and which page of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Of one course.
    course_id: Option<CourseId>,
    /// `planned`, `open`, `closed` or `expired`.
    #[param(inline)]
    status: Option<SessionStatusName>,
    /// Rows, at most 200.
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum SessionStatusName {
    Planned,
    Open,
    Closed,
    Expired,
}

/// A page of sessions.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Sessions {
    /// The latest to open first; without codes.
    items: Vec<SessionView>,
    /// Sessions per status, over all pages.
    counts: BTreeMap<String, u64>,
    /// Send it as `after` for the next page; missing on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// The place of a session in the list: when it opens, and its document.
struct Place(i64, DocumentId);

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (opens_at_ms, document) = text.split_once('.').ok_or(())?;
        Ok(Self(opens_at_ms.parse().map_err(|_| ())?, DocumentId::from_hex(document).ok_or(())?))
    }
}

/// Lists the sessions of one's courses; admins see all.
#[utoipa::path(
    get, path = "/lecturers/sessions", tag = "sessions", params(Filter),
    responses((status = 200, body = Sessions), (status = 403, body = ErrorEnvelope))
)]
pub(super) async fn list(
    State(app): State<App>,
    allowed: Allowed<SessionsManage>,
    Query(filter): Query<Filter>,
) -> AppResult<Json<Sessions>> {
    let (user, now_ms) = (allowed.user, app.now_ms());
    let limit = filter.limit.unwrap_or(limits::PAGE_ROWS_DEFAULT).clamp(1, limits::PAGE_ROWS_MAX);
    let after: Option<Place> = filter.after.as_deref().map(str::parse).transpose().map_err(|()| not_a_page())?;
    let before = after.map_or((i64::MAX, DocumentId([0xFF; 16])), |Place(opens, document)| (opens, document));
    let status = filter.status.map_or("", SessionStatusName::as_str);
    let read = app.db.read(move |tx| {
        let mut courses = match user.role {
            Role::Admin => None,
            _ => Some(courses::taught_by(tx, &user.tenant, user.id)?),
        };
        if let Some(only) = filter.course_id {
            let may = courses.as_ref().is_none_or(|courses| courses.contains(&only));
            courses = Some(if may { vec![only] } else { Vec::new() });
        }
        let courses = courses.map(|courses| courses.iter().map(CourseId::to_string).collect());
        let wanted = Wanted { courses, planner: user.id.to_string(), status, now_ms };
        let items = queries::page(tx, &user.tenant, &wanted, before, limit + 1)?;
        Ok::<_, DbError>((items, queries::counts(tx, &user.tenant, &wanted)?))
    });
    let (mut items, counts) = read.await.map_err(AppError::from)?;
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let place = |session: &ClassSession| format!("{}.{}", session.opens_at_ms, session.document);
    let next = if more { items.last().map(place) } else { None };
    let items = items.iter().map(|session| SessionView::new(session, now_ms)).collect();
    Ok(Json(Sessions { items, counts: all_counts(counts), next }))
}

fn not_a_page() -> AppError {
    AppError::field("after", "this is not the next of a page")
}

/// Every status has a count, also 0.
fn all_counts(counted: Vec<(String, u64)>) -> BTreeMap<String, u64> {
    use SessionStatusName::{Closed, Expired, Open, Planned};
    let mut counts: BTreeMap<_, _> =
        [Planned, Open, Closed, Expired].map(|status| (status.as_str().to_owned(), 0)).into();
    counts.extend(counted);
    counts
}

impl SessionStatusName {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Expired => "expired",
        }
    }
}

/// Shows a session with its code as it is now; ask again at `code_valid_until` for a display that rotates.
#[utoipa::path(
    get, path = "/lecturers/sessions/{id}", tag = "sessions",
    params(("id" = String, Path, description = "the locator, or the document's id in hexadecimal")),
    responses((status = 200, body = SessionView), (status = 404, body = ErrorEnvelope))
)]
pub(super) async fn show(
    State(app): State<App>,
    allowed: Allowed<SessionsManage>,
    Path(id): Path<String>,
) -> AppResult<Json<SessionView>> {
    let session = access::steerable(&app, &allowed.user, id).await?;
    SessionView::with_code(&app, &allowed.user.tenant, &session).await.map(Json)
}
