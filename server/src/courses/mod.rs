//! Courses: who teaches them, who is enrolled, and which sync channels that gives to whom.

mod create;
mod forms;
mod history;
mod limits;
mod list;
mod members;
mod queries;
mod registry;
mod update;

use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::auth::permission::UsersRead;
use crate::auth::{CurrentUser, Role};
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult};
use crate::ids::{CourseId, TenantId, UserId};

use queries::Places;

pub use create::is_code_text;
pub use forms::{FORMS_JOB, forms_batch, settle_forms};
pub use history::{find_at, students_at, was_enrolled};
pub use limits::{CODE_CHARS_MAX, COURSES_PER_USER_MAX, STUDENTS_PER_COURSE_MAX};
pub use registry::{
    KnownCourse, Member, add_members, begin_at, change_known, courses_by_person, insert_known, known_courses,
    leave_all, may_be_member, members_of, not_begun, remove_member,
};

/// `/courses/...`
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list::list_courses, create::create_course))
        .routes(routes!(list::show_course, update::update_course))
        .routes(routes!(members::list_lecturers, members::add_lecturers))
        .routes(routes!(members::remove_lecturer))
        .routes(routes!(members::list_students, members::enrol_students))
        .routes(routes!(members::remove_student))
}

/// A course.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Course {
    /// Which.
    pub id: CourseId,
    /// Unique in the institution, `CS101` for example.
    pub code: String,
    /// In words.
    pub title: String,
    /// The id of the class in the registry's own system, if it came from there.
    pub external_id: Option<String>,
    /// When it was made.
    #[serde(rename = "created_at", serialize_with = "crate::clock::as_iso")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at_ms: i64,
}

/// A code as it is stored, in capitals.
///
/// # Errors
/// When it is too short, too long or holds something odd.
pub fn parse_code(text: &str) -> AppResult<String> {
    create::code(text)
}

/// A title as it is stored.
///
/// # Errors
/// When it is empty or too long.
pub fn parse_title(text: &str) -> AppResult<String> {
    create::title(text)
}

/// A course of the tenant.
pub fn find(tx: &Tx<'_>, tenant: &TenantId, course: CourseId) -> Result<Option<Course>, DbError> {
    queries::by_id(tx, tenant, course)
}

/// Whether the user attends the course.
pub fn is_enrolled(tx: &Tx<'_>, tenant: &TenantId, course: CourseId, user: UserId) -> Result<bool, DbError> {
    queries::is_enrolled(tx, tenant, course, user)
}

/// Whether the user teaches the course.
pub fn teaches(tx: &Tx<'_>, tenant: &TenantId, course: CourseId, user: UserId) -> Result<bool, DbError> {
    queries::teaches(tx, tenant, course, user)
}

/// Whether the user may see everything about the course: its lecturers and the office.
pub fn may_see_all(tx: &Tx<'_>, user: &CurrentUser, course: CourseId) -> Result<bool, DbError> {
    if user.may::<UsersRead>() {
        return Ok(find(tx, &user.tenant, course)?.is_some());
    }
    Ok(places(user.role).teaches && teaches(tx, &user.tenant, course, user.id)?)
}

/// Which places count for somebody with this role.
fn places(role: Role) -> Places {
    Places { teaches: may_be_member(role, true), attends: may_be_member(role, false) }
}

/// Everybody who is enrolled, at most `limits::STUDENTS_PER_COURSE_MAX`.
pub fn students_of(tx: &Tx<'_>, tenant: &TenantId, course: CourseId) -> Result<Vec<UserId>, DbError> {
    queries::student_ids(tx, tenant, course)
}

/// The courses that the user teaches.
pub fn taught_by(tx: &Tx<'_>, tenant: &TenantId, user: UserId) -> Result<Vec<CourseId>, DbError> {
    let memberships = queries::memberships(tx, tenant, user, Places { teaches: true, attends: false })?;
    Ok(memberships.into_iter().filter_map(|(course, taught)| taught.then_some(course)).collect())
}

/// The sync channels that the user may read: `user:U`, `course:C`, for lecturers also `course:C:staff`, for admins `admin`.
/// Whoever was a lecturer and is one no more reads nothing of the courses that they taught.
pub fn channels_of(tx: &Tx<'_>, user: &CurrentUser) -> Result<Vec<String>, DbError> {
    let mut channels = vec![format!("user:{}", user.id)];
    for (course, taught) in queries::memberships(tx, &user.tenant, user.id, places(user.role))? {
        channels.push(format!("course:{course}"));
        if taught {
            channels.push(format!("course:{course}:staff"));
        }
    }
    if user.role == Role::Admin {
        channels.push("admin".to_owned());
    }
    Ok(channels)
}

/// Creates a course; false when the code is taken.
pub fn insert(tx: &Tx<'_>, tenant: &TenantId, course: &Course, created_by: UserId) -> Result<bool, DbError> {
    queries::insert(tx, tenant, course, created_by)
}

/// An error if somebody has more courses than one person may have, and so more channels than a phone keeps cursors for.
///
/// # Errors
/// When that is so, or the database fails.
pub fn check_courses_of(tx: &Tx<'_>, tenant: &TenantId, user: UserId) -> AppResult<()> {
    if queries::count_courses(tx, tenant, user)? <= COURSES_PER_USER_MAX {
        return Ok(());
    }
    let sentence =
        format!("{user} has {COURSES_PER_USER_MAX} courses already, and nobody has more; end one of them first");
    Err(AppError::conflict("TOO_MANY_COURSES", sentence).with_details(json!({ "limit": COURSES_PER_USER_MAX })))
}

/// Makes somebody a lecturer of the course; false when they were already.
pub fn add_lecturer(
    tx: &Tx<'_>,
    tenant: &TenantId,
    course: CourseId,
    user: UserId,
    now_ms: i64,
) -> Result<bool, DbError> {
    queries::add_lecturer(tx, tenant, course, user, now_ms)
}

/// Enrols a student; false when they were already.
pub fn enrol(tx: &Tx<'_>, tenant: &TenantId, course: CourseId, user: UserId, now_ms: i64) -> Result<bool, DbError> {
    queries::enrol(tx, tenant, course, user, now_ms)
}
