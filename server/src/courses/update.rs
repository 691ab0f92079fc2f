//! `PATCH /courses/{id}`: another code or title.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::create::{code, title};
use super::members::check_manages;
use super::{Course, queries};
use crate::app::App;
use crate::audit::{self, Action, Event};
use crate::auth::Allowed;
use crate::auth::permission::CoursesManage;
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Json, Path, RequestId};
use crate::ids::CourseId;

/// What to change; what is missing stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UpdateCourse {
    /// Unique in the institution; stored in capitals.
    code: Option<String>,
    /// In words.
    title: Option<String>,
}

/// Changes how a course is called. Its sessions, its people and its records stay.
#[utoipa::path(
    patch, path = "/courses/{id}", tag = "courses", params(("id" = CourseId, Path)), request_body = UpdateCourse,
    responses(
        (status = 200, body = Course),
        (status = 404, body = ErrorEnvelope),
        (status = 409, description = "the code is taken", body = ErrorEnvelope)
    )
)]
pub(super) async fn update_course(
    State(app): State<App>,
    allowed: Allowed<CoursesManage>,
    request: RequestId,
    Path(id): Path<CourseId>,
    Json(body): Json<UpdateCourse>,
) -> AppResult<Json<Course>> {
    let code = body.code.as_deref().map(code).transpose()?;
    let title = body.title.as_deref().map(title).transpose()?;
    let (actor, user, now_ms) = (allowed.actor(&request), allowed.user, app.now_ms());
    let written = app.db.write(move |tx| {
        check_manages(tx, &user, id)?;
        let found = super::find(tx, &user.tenant, id)?;
        let before = found.ok_or_else(|| AppError::not_found("the course"))?;
        let (old_code, old_title) = (before.code.clone(), before.title.clone());
        let after = Course {
            code: code.clone().unwrap_or(before.code),
            title: title.clone().unwrap_or(before.title),
            ..before
        };
        if (&after.code, &after.title) == (&old_code, &old_title) {
            return Ok(Some(after));
        }
        if queries::by_code(tx, &user.tenant, &after.code)?.is_some_and(|other| other.id != id) {
            return Ok(None);
        }
        queries::keep_name(tx, &user.tenant, id, now_ms)?;
        queries::rename(tx, &user.tenant, &after)?;
        let (action, text) = (Action::CourseUpdate, id.to_string());
        let event = Event { action, kind: "course", id: &text, reason: None, result: "changed" };
        audit::record(tx, &actor, &event, now_ms)?;
        Ok::<Option<Course>, AppError>(Some(after))
    });
    let taken = || AppError::conflict("COURSE_EXISTS", "there is a course with this code");
    written.await?.map(Json).ok_or_else(taken)
}
