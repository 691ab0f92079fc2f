//! `/courses/{id}/lecturers` and `/courses/{id}/students`: who teaches and who attends.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{limits, queries};
use crate::app::App;
use crate::audit::{self, Action, Actor, Event};
use crate::auth::permission::CoursesManage;
use crate::auth::{self, Allowed, CurrentUser, Email, Role, User, Users};
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Json, Page, Path, Query, RequestId};
use crate::ids::{CourseId, TenantId, UserId};

/// People, by id or by e-mail address; at most 500.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct People {
    /// Ids.
    #[serde(default)]
    user_ids: Vec<UserId>,
    /// E-mail addresses.
    #[serde(default)]
    emails: Vec<String>,
}

/// What became of the people.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct Added {
    /// How many are new.
    added: u32,
    /// How many were there already.
    already: u32,
    /// Who could not be added: there is no such person, or not with the right role, or nobody confirmed the address. As they
    /// were sent.
    unknown: Vec<String>,
    /// Those of `unknown` that are addresses of accounts, and nobody confirmed that they are theirs: anybody may have typed
    /// them. The office can confirm them by hand; or name the account by its id.
    unconfirmed: Vec<String>,
}

/// Makes people lecturers of the course.
#[utoipa::path(
    post, path = "/courses/{id}/lecturers", tag = "courses",
    params(("id" = CourseId, Path)), request_body = People,
    responses(
        (status = 200, body = Added),
        (status = 404, body = ErrorEnvelope),
        (status = 409, description = "`TOO_MANY_COURSES`: one of them has as many as a person may have", body = ErrorEnvelope)
    )
)]
pub(super) async fn add_lecturers(
    State(app): State<App>,
    allowed: Allowed<CoursesManage>,
    request: RequestId,
    Path(course): Path<CourseId>,
    Json(people): Json<People>,
) -> AppResult<Json<Added>> {
    people.check()?;
    let (actor, user, now_ms) = (allowed.actor(&request), allowed.user, app.now_ms());
    let written = app.db.write(move |tx| {
        check_manages(tx, &user, course)?;
        add(tx, &user, &people, |person| match person.role {
            Role::Lecturer | Role::Admin => {
                let is_new = super::add_lecturer(tx, &user.tenant, course, person.id, now_ms)?;
                if is_new {
                    super::check_courses_of(tx, &user.tenant, person.id)?;
                    note(tx, &actor, Action::CourseTeach, (course, person.id), now_ms)?;
                }
                Ok(Some(is_new))
            }
            _ => Ok(None),
        })
    });
    written.await.map(Json)
}

/// Lists the lecturers.
#[utoipa::path(
    get, path = "/courses/{id}/lecturers", tag = "courses", params(("id" = CourseId, Path), Page),
    responses((status = 200, body = Users), (status = 404, body = ErrorEnvelope))
)]
pub(super) async fn list_lecturers(
    State(app): State<App>,
    allowed: Allowed<CoursesManage>,
    Path(course): Path<CourseId>,
    Query(page): Query<Page>,
) -> AppResult<Json<Users>> {
    people_page(&app, allowed.user, course, &page, queries::lecturer_page).await
}

/// Takes a course from a lecturer, who sees nothing of it from now on. What they decided stays.
#[utoipa::path(
    delete, path = "/courses/{id}/lecturers/{user_id}", tag = "courses",
    params(("id" = CourseId, Path), ("user_id" = UserId, Path)),
    responses((status = 204), (status = 404, body = ErrorEnvelope))
)]
pub(super) async fn remove_lecturer(
    State(app): State<App>,
    allowed: Allowed<CoursesManage>,
    request: RequestId,
    Path((course, lecturer)): Path<(CourseId, UserId)>,
) -> AppResult<StatusCode> {
    let (actor, user, now_ms) = (allowed.actor(&request), allowed.user, app.now_ms());
    let written = app.db.write(move |tx| {
        check_manages(tx, &user, course)?;
        let was_there = queries::remove_lecturer(tx, &user.tenant, course, lecturer)?;
        if was_there {
            note(tx, &actor, Action::CourseUnteach, (course, lecturer), now_ms)?;
        }
        Ok::<bool, AppError>(was_there)
    });
    if written.await? { Ok(StatusCode::NO_CONTENT) } else { Err(AppError::not_found("the lecturer")) }
}

/// Enrols students.
#[utoipa::path(
    post, path = "/courses/{id}/students", tag = "courses",
    params(("id" = CourseId, Path)), request_body = People,
    responses(
        (status = 200, body = Added),
        (status = 404, body = ErrorEnvelope),
        (status = 409, description = "`COURSE_FULL`, or `TOO_MANY_COURSES`: a student has as many as a person may have", body = ErrorEnvelope)
    )
)]
pub(super) async fn enrol_students(
    State(app): State<App>,
    allowed: Allowed<CoursesManage>,
    request: RequestId,
    Path(course): Path<CourseId>,
    Json(people): Json<People>,
) -> AppResult<Json<Added>> {
    people.check()?;
    let (actor, user, now_ms) = (allowed.actor(&request), allowed.user, app.now_ms());
    let written = app.db.write(move |tx| {
        check_manages(tx, &user, course)?;
        let added = add(tx, &user, &people, |person| match person.role {
            Role::Student => {
                let is_new = super::enrol(tx, &user.tenant, course, person.id, now_ms)?;
                if is_new {
                    super::check_courses_of(tx, &user.tenant, person.id)?;
                    note(tx, &actor, Action::CourseEnrol, (course, person.id), now_ms)?;
                }
                Ok(Some(is_new))
            }
            _ => Ok(None),
        })?;
        if queries::count_students(tx, &user.tenant, course)? > limits::STUDENTS_PER_COURSE_MAX {
            return Err(AppError::conflict("COURSE_FULL", "a course has at most 5000 students"));
        }
        Ok(added)
    });
    written.await.map(Json)
}

/// Lists the enrolled students.
#[utoipa::path(
    get, path = "/courses/{id}/students", tag = "courses", params(("id" = CourseId, Path), Page),
    responses((status = 200, body = Users), (status = 404, body = ErrorEnvelope))
)]
pub(super) async fn list_students(
    State(app): State<App>,
    allowed: Allowed<CoursesManage>,
    Path(course): Path<CourseId>,
    Query(page): Query<Page>,
) -> AppResult<Json<Users>> {
    people_page(&app, allowed.user, course, &page, queries::student_page).await
}

/// Which people of a course a page names.
type PageOf = fn(&Tx<'_>, &TenantId, CourseId, Option<UserId>, u32) -> Result<Vec<UserId>, DbError>;

async fn people_page(
    app: &App,
    user: CurrentUser,
    course: CourseId,
    page: &Page,
    page_of: PageOf,
) -> AppResult<Json<Users>> {
    let (after, limit) = (page.after()?, page.limit());
    let read = app.db.read(move |tx| {
        check_manages(tx, &user, course)?;
        let mut ids = page_of(tx, &user.tenant, course, after, limit + 1)?;
        let more = ids.len() > limit as usize;
        ids.truncate(limit as usize);
        let mut items = Vec::with_capacity(ids.len());
        for id in &ids {
            items.extend(auth::find(tx, &user.tenant, *id)?);
        }
        Ok::<Users, AppError>(Users { items, next: if more { ids.last().copied() } else { None } })
    });
    read.await.map(Json)
}

/// Ends an enrolment. Records of the past stay.
#[utoipa::path(
    delete, path = "/courses/{id}/students/{user_id}", tag = "courses",
    params(("id" = CourseId, Path), ("user_id" = UserId, Path)),
    responses((status = 204), (status = 404, body = ErrorEnvelope))
)]
pub(super) async fn remove_student(
    State(app): State<App>,
    allowed: Allowed<CoursesManage>,
    request: RequestId,
    Path((course, student)): Path<(CourseId, UserId)>,
) -> AppResult<StatusCode> {
    let (actor, user, now_ms) = (allowed.actor(&request), allowed.user, app.now_ms());
    let written = app.db.write(move |tx| {
        check_manages(tx, &user, course)?;
        let was_there = queries::remove(tx, &user.tenant, course, student, now_ms)?;
        if was_there {
            note(tx, &actor, Action::CourseUnenrol, (course, student), now_ms)?;
        }
        Ok::<bool, AppError>(was_there)
    });
    if written.await? { Ok(StatusCode::NO_CONTENT) } else { Err(AppError::not_found("the enrolment")) }
}

/// Notes what happened to a person in a course: a row per person, so that it can be found by either.
fn note(
    tx: &Tx<'_>,
    actor: &Actor,
    action: Action,
    (course, person): (CourseId, UserId),
    now_ms: i64,
) -> Result<(), DbError> {
    let (id, result) = (course.to_string(), person.to_string());
    audit::record(tx, actor, &Event { action, kind: "course", id: &id, reason: None, result: &result }, now_ms)
}

impl People {
    fn check(&self) -> AppResult<()> {
        let count = self.user_ids.len() + self.emails.len();
        if (1..=limits::PEOPLE_PER_REQUEST_MAX).contains(&count) {
            return Ok(());
        }
        Err(AppError::validation("send 1 to 500 people in user_ids and emails"))
    }
}

/// Lecturers manage their own courses; to others a course does not exist.
pub(super) fn check_manages(tx: &Tx<'_>, user: &CurrentUser, course: CourseId) -> AppResult<()> {
    if super::may_see_all(tx, user, course)? {
        return Ok(());
    }
    Err(AppError::not_found("the course"))
}

/// Finds each person and adds those whom `one` takes; `None` means the wrong role.
fn add(
    tx: &Tx<'_>,
    user: &CurrentUser,
    people: &People,
    one: impl Fn(&User) -> AppResult<Option<bool>>,
) -> AppResult<Added> {
    let mut result = Added::default();
    let by_id = people.user_ids.iter().map(|id| (id.to_string(), auth::find(tx, &user.tenant, *id)));
    let by_email = people.emails.iter().map(|text| {
        let found = match Email::parse(text) {
            Ok(email) => auth::find_by_email(tx, &user.tenant, &email),
            Err(_) => Ok(None),
        };
        (text.clone(), found)
    });
    let trusted = by_id.map(|(sent, found)| (sent, found, true));
    for (sent, found, is_theirs) in trusted.chain(by_email.map(|(sent, found)| (sent, found, false))) {
        let added = match found? {
            Some(person) if !is_theirs && person.email_confirmed_at_ms.is_none() => {
                result.unconfirmed.push(sent.clone());
                None
            }
            Some(person) => one(&person)?,
            None => None,
        };
        match added {
            Some(true) => result.added += 1,
            Some(false) => result.already += 1,
            None => result.unknown.push(sent),
        }
    }
    Ok(result)
}
