//! `POST /courses`.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Course, limits};
use crate::app::App;
use crate::audit::{self, Action, Event};
use crate::auth::permission::CoursesManage;
use crate::auth::{Allowed, Role};
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Json, RequestId};
use crate::ids::CourseId;
use crate::text;

/// A course to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateCourse {
    /// Unique in the institution; stored in capitals.
    code: String,
    /// In words.
    title: String,
}

/// Creates a course. A lecturer who creates one teaches it.
#[utoipa::path(
    post, path = "/courses", tag = "courses", request_body = CreateCourse,
    responses(
        (status = 201, body = Course),
        (status = 409, description = "the code is taken", body = ErrorEnvelope)
    )
)]
pub(super) async fn create_course(
    State(app): State<App>,
    allowed: Allowed<CoursesManage>,
    request: RequestId,
    Json(body): Json<CreateCourse>,
) -> AppResult<(StatusCode, Json<Course>)> {
    let course = Course {
        id: CourseId::generate(&*app.clock, &*app.entropy),
        code: code(&body.code)?,
        title: title(&body.title)?,
        external_id: None,
        created_at_ms: app.now_ms(),
    };
    let actor = allowed.actor(&request);
    let (new, user) = (course.clone(), allowed.user);
    let stored = app.db.write(move |tx| {
        if !super::insert(tx, &user.tenant, &new, user.id)? {
            return Ok::<bool, AppError>(false);
        }
        if user.role == Role::Lecturer {
            super::add_lecturer(tx, &user.tenant, new.id, user.id, new.created_at_ms)?;
            super::check_courses_of(tx, &user.tenant, user.id)?;
        }
        let (action, id) = (Action::CourseCreate, new.id.to_string());
        let event = Event { action, kind: "course", id: &id, reason: None, result: "created" };
        audit::record(tx, &actor, &event, new.created_at_ms)?;
        Ok(true)
    });
    if !stored.await? {
        return Err(AppError::conflict("COURSE_EXISTS", "there is a course with this code"));
    }
    Ok((StatusCode::CREATED, Json(course)))
}

pub(super) fn code(text: &str) -> AppResult<String> {
    let text = text::code(text);
    if limits::CODE_CHARS.contains(&text.chars().count()) && is_code_text(&text) {
        return Ok(text);
    }
    Err(AppError::field("code", "a code has 2 to 32 letters, digits, spaces, dots, hyphens, slashes or underscores"))
}

/// Whether every sign of a code may stand in one.
pub fn is_code_text(text: &str) -> bool {
    text::is_word(text, &['-', '_', '.', '/', ' '])
}

pub(super) fn title(text: &str) -> AppResult<String> {
    let text = text::shown(text);
    if limits::TITLE_CHARS.contains(&text.chars().count()) && !text::has_controls(&text) {
        return Ok(text);
    }
    Err(AppError::field("title", "a title has 1 to 200 characters"))
}
