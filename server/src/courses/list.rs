//! `GET /courses` and `GET /courses/{id}`.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Course, queries};
use crate::app::App;
use crate::auth::CurrentUser;
use crate::auth::permission::UsersRead;
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Json, Page, Path, Query};
use crate::ids::CourseId;

/// A page of courses.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Courses {
    /// In the order of their ids.
    items: Vec<Course>,
    /// Send it as `after` for the next page; missing on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<CourseId>,
}

/// Lists the courses that one teaches or attends; the office sees all.
#[utoipa::path(get, path = "/courses", tag = "courses", params(Page), responses((status = 200, body = Courses)))]
pub(super) async fn list_courses(
    State(app): State<App>,
    user: CurrentUser,
    Query(page): Query<Page>,
) -> AppResult<Json<Courses>> {
    let (after, limit) = (page.after()?, page.limit());
    let read = app.db.read(move |tx| {
        let page = if user.may::<UsersRead>() {
            queries::page(tx, &user.tenant, after, limit + 1)
        } else {
            let who = (user.id, super::places(user.role));
            queries::page_of(tx, &user.tenant, who, after, limit + 1)
        };
        page.map_err(AppError::from)
    });
    let mut items = read.await?;
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next = if more { items.last().map(|course| course.id) } else { None };
    Ok(Json(Courses { items, next }))
}

/// Shows a course to its members and to the office; to others it does not exist.
#[utoipa::path(
    get, path = "/courses/{id}", tag = "courses", params(("id" = CourseId, Path)),
    responses((status = 200, body = Course), (status = 404, body = ErrorEnvelope))
)]
pub(super) async fn show_course(
    State(app): State<App>,
    user: CurrentUser,
    Path(id): Path<CourseId>,
) -> AppResult<Json<Course>> {
    let read = app.db.read(move |tx| {
        let attends = super::places(user.role).attends;
        let seen =
            super::may_see_all(tx, &user, id)? || (attends && super::is_enrolled(tx, &user.tenant, id, user.id)?);
        if !seen {
            return Ok(None);
        }
        super::find(tx, &user.tenant, id).map_err(AppError::from)
    });
    read.await?.map(Json).ok_or_else(|| AppError::not_found("the course"))
}
