//! Many courses and enrolments at once, as an import from a university's registry needs them.

use std::collections::HashMap;

use super::queries::{self, Place};
use crate::auth::Role;
use crate::db::{DbError, Tx};
use crate::ids::{CourseId, TenantId, UserId};

/// A course as an import compares it.
#[derive(Debug, Clone)]
pub struct KnownCourse {
    /// Which.
    pub id: CourseId,
    /// Unique in the institution.
    pub code: String,
    /// In words.
    pub title: String,
    /// The id of the class in the registry's own system.
    pub external_id: Option<String>,
}

/// Somebody's place in a course.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Member {
    /// Of which course.
    pub course: CourseId,
    /// Who.
    pub user: UserId,
    /// Whether they teach it.
    pub teaches: bool,
}

/// Whether somebody with this role may have a place of this kind.
pub const fn may_be_member(role: Role, teaches: bool) -> bool {
    if teaches { matches!(role, Role::Lecturer | Role::Admin) } else { matches!(role, Role::Student) }
}

/// Every course of the tenant.
pub fn known_courses(tx: &Tx<'_>, tenant: &TenantId) -> Result<Vec<KnownCourse>, DbError> {
    queries::known(tx, tenant)
}

/// Who teaches and who attends the course.
pub fn members_of(tx: &Tx<'_>, tenant: &TenantId, course: CourseId) -> Result<Vec<Member>, DbError> {
    let as_member = |teaches| move |user| Member { course, user, teaches };
    let mut members: Vec<Member> = Vec::new();
    members.extend(queries::lecturer_ids(tx, tenant, course)?.into_iter().map(as_member(true)));
    members.extend(queries::student_ids(tx, tenant, course)?.into_iter().map(as_member(false)));
    Ok(members)
}

/// Creates a course; false when the code or the registry's id is taken.
pub fn insert_known(
    tx: &Tx<'_>,
    tenant: &TenantId,
    course: &KnownCourse,
    created_by: UserId,
    now_ms: i64,
) -> Result<bool, DbError> {
    queries::insert_known(tx, tenant, course, created_by, now_ms)
}

/// Changes the title and the registry's id of a course; false when there is no such course, or the id is another one's.
pub fn change_known(tx: &Tx<'_>, tenant: &TenantId, course: &KnownCourse, now_ms: i64) -> Result<bool, DbError> {
    queries::change_known(tx, tenant, course, now_ms)
}

/// In how many courses people have places; who has none is not named.
pub fn courses_by_person(tx: &Tx<'_>, tenant: &TenantId) -> Result<HashMap<UserId, u32>, DbError> {
    let counted = queries::courses_by_person(tx, tenant)?;
    Ok(counted.into_iter().filter_map(|(user, count)| Some((user.parse().ok()?, count))).collect())
}

/// Gives people their places; those who have theirs already keep them. Fastest in the order of courses and people.
pub fn add_members(tx: &Tx<'_>, tenant: &TenantId, members: &[Member], now_ms: i64) -> Result<(), DbError> {
    for member in members.iter().filter(|member| member.teaches) {
        queries::add_lecturer(tx, tenant, member.course, member.user, now_ms)?;
    }
    let students: Vec<Place> = members
        .iter()
        .filter(|member| !member.teaches)
        .map(|member| Place { course: member.course.text(), user: member.user.text() })
        .collect();
    students
        .chunks(queries::ENROLMENTS_PER_STATEMENT)
        .try_for_each(|some| queries::send_enrolments(tx, tenant, some, now_ms))
}

/// The students of a course whose enrolment has not begun, and when it does, Unix milliseconds.
pub fn not_begun(tx: &Tx<'_>, tenant: &TenantId, course: CourseId, now_ms: i64) -> Result<Vec<(Member, i64)>, DbError> {
    let rows = queries::not_begun(tx, tenant, course, now_ms)?;
    Ok(rows.into_iter().map(|(user, at_ms)| (Member { course, user, teaches: false }, at_ms)).collect())
}

/// Lets a student's enrolment begin at another time.
pub fn begin_at(tx: &Tx<'_>, tenant: &TenantId, member: &Member, begins_at_ms: i64) -> Result<(), DbError> {
    queries::begin_at(tx, tenant, (member.course, member.user), begins_at_ms)
}

/// Ends every enrolment of somebody, and says how many they were.
pub fn leave_all(tx: &Tx<'_>, tenant: &TenantId, user: UserId, now_ms: i64) -> Result<u64, DbError> {
    queries::end_enrolments(tx, tenant, (None, user), now_ms)
}

/// Ends a place.
pub fn remove_member(tx: &Tx<'_>, tenant: &TenantId, member: &Member, now_ms: i64) -> Result<bool, DbError> {
    if member.teaches {
        return queries::remove_lecturer(tx, tenant, member.course, member.user);
    }
    queries::remove(tx, tenant, member.course, member.user, now_ms)
}
