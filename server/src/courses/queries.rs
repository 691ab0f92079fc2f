//! All SQL of this slice.

use super::registry::KnownCourse;
use super::{Course, limits};
use crate::db::{DbError, Row, Tx};
use crate::ids::{CourseId, TenantId, UserId, UuidText};
use crate::params;

fn course(row: &Row<'_>) -> Result<Course, DbError> {
    Ok(Course {
        id: row.get(0)?,
        code: row.get(1)?,
        title: row.get(2)?,
        created_at_ms: row.get(3)?,
        external_id: row.get(4)?,
    })
}

pub(super) fn insert(tx: &Tx<'_>, tenant: &TenantId, course: &Course, created_by: UserId) -> Result<bool, DbError> {
    let sql = "INSERT INTO courses (id, tenant_id, code, title, created_by, created_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6)
        ON CONFLICT DO NOTHING";
    let (id, created_by) = (course.id.to_string(), created_by.to_string());
    let params = params![&id, tenant.as_str(), &course.code, &course.title, &created_by, course.created_at_ms];
    Ok(tx.execute(sql, params)? == 1)
}

pub(super) fn by_id(tx: &Tx<'_>, tenant: &TenantId, id: CourseId) -> Result<Option<Course>, DbError> {
    let sql = "SELECT id, code, title, created_at, external_id FROM courses WHERE tenant_id = ?1 AND id = ?2";
    tx.query_one(sql, params![tenant.as_str(), &id.to_string()], course)
}

pub(super) fn by_code(tx: &Tx<'_>, tenant: &TenantId, code: &str) -> Result<Option<Course>, DbError> {
    let sql = "SELECT id, code, title, created_at, external_id FROM courses WHERE tenant_id = ?1 AND code = ?2";
    tx.query_one(sql, params![tenant.as_str(), code], course)
}

/// A page of all courses.
pub(super) fn page(
    tx: &Tx<'_>,
    tenant: &TenantId,
    after: Option<CourseId>,
    limit: u32,
) -> Result<Vec<Course>, DbError> {
    let sql = "SELECT id, code, title, created_at, external_id FROM courses
        WHERE tenant_id = ?1 AND id > ?2
        ORDER BY id
        LIMIT ?3";
    let after = after.map(|id| id.to_string()).unwrap_or_default();
    tx.query(sql, params![tenant.as_str(), &after, limit], course)
}

/// Which places of somebody count: places stay when a role changes, and count again when it comes back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    pub(super) teaches: bool,
    pub(super) attends: bool,
}

/// A page of the courses that the user teaches or attends.
pub(super) fn page_of(
    tx: &Tx<'_>,
    tenant: &TenantId,
    (user, places): (UserId, Places),
    after: Option<CourseId>,
    limit: u32,
) -> Result<Vec<Course>, DbError> {
    let sql = "SELECT id, code, title, created_at, external_id FROM courses
        WHERE tenant_id = ?1 AND id > ?3 AND id IN (
            SELECT course_id FROM course_lecturers WHERE user_id = ?2 AND ?5 = 1
            UNION
            SELECT course_id FROM enrolments WHERE user_id = ?2 AND ?6 = 1
        )
        ORDER BY id
        LIMIT ?4";
    let after = after.map(|id| id.to_string()).unwrap_or_default();
    let Places { teaches, attends } = places;
    tx.query(sql, params![tenant.as_str(), &user.to_string(), &after, limit, teaches, attends], course)
}

/// The user's courses and whether the user teaches them.
pub(super) fn memberships(
    tx: &Tx<'_>,
    tenant: &TenantId,
    user: UserId,
    Places { teaches, attends }: Places,
) -> Result<Vec<(CourseId, bool)>, DbError> {
    let sql = "SELECT course_id, max(taught) FROM (
            SELECT course_id, 1 AS taught FROM course_lecturers
            WHERE tenant_id = ?1 AND user_id = ?2 AND ?4 = 1
            UNION ALL
            SELECT course_id, 0 AS taught FROM enrolments
            WHERE tenant_id = ?1 AND user_id = ?2 AND ?5 = 1
        ) AS mine
        GROUP BY course_id
        ORDER BY course_id
        LIMIT ?3";
    let user = user.to_string();
    let params = params![tenant.as_str(), &user, limits::COURSES_PER_USER_MAX, teaches, attends];
    tx.query(sql, params, |row| Ok((row.get(0)?, row.get(1)?)))
}

/// In how many courses a person has a place.
pub(super) fn count_courses(tx: &Tx<'_>, tenant: &TenantId, user: UserId) -> Result<u32, DbError> {
    let sql = "SELECT COUNT(*) FROM (
            SELECT course_id FROM course_lecturers WHERE tenant_id = ?1 AND user_id = ?2
            UNION
            SELECT course_id FROM enrolments WHERE tenant_id = ?1 AND user_id = ?2
        ) AS mine";
    tx.count(sql, params![tenant.as_str(), &user.to_string()])
}

/// In how many courses everybody has places.
pub(super) fn courses_by_person(tx: &Tx<'_>, tenant: &TenantId) -> Result<Vec<(String, u32)>, DbError> {
    let sql = "SELECT user_id, COUNT(*) FROM (
            SELECT user_id, course_id FROM course_lecturers WHERE tenant_id = ?1
            UNION
            SELECT user_id, course_id FROM enrolments WHERE tenant_id = ?1
        ) AS places
        GROUP BY user_id";
    tx.query(sql, params![tenant.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
}

pub(super) fn is_enrolled(tx: &Tx<'_>, tenant: &TenantId, course: CourseId, user: UserId) -> Result<bool, DbError> {
    let sql = "SELECT 1 FROM enrolments WHERE tenant_id = ?1 AND course_id = ?2 AND user_id = ?3";
    exists(tx, sql, tenant, course, user)
}

pub(super) fn teaches(tx: &Tx<'_>, tenant: &TenantId, course: CourseId, user: UserId) -> Result<bool, DbError> {
    let sql = "SELECT 1 FROM course_lecturers WHERE tenant_id = ?1 AND course_id = ?2 AND user_id = ?3";
    exists(tx, sql, tenant, course, user)
}

fn exists(tx: &Tx<'_>, sql: &str, tenant: &TenantId, course: CourseId, user: UserId) -> Result<bool, DbError> {
    let (course, user) = (course.to_string(), user.to_string());
    Ok(tx.query_one(sql, params![tenant.as_str(), &course, &user], |row| row.get::<i64>(0))?.is_some())
}

pub(super) fn add_lecturer(
    tx: &Tx<'_>,
    tenant: &TenantId,
    course: CourseId,
    user: UserId,
    now_ms: i64,
) -> Result<bool, DbError> {
    let sql = "INSERT INTO course_lecturers (tenant_id, course_id, user_id, added_at)
        VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT DO NOTHING";
    Ok(tx.execute(sql, params![tenant.as_str(), &course.to_string(), &user.to_string(), now_ms])? == 1)
}

pub(super) fn enrol(
    tx: &Tx<'_>,
    tenant: &TenantId,
    course: CourseId,
    user: UserId,
    now_ms: i64,
) -> Result<bool, DbError> {
    let sql = "INSERT INTO enrolments (tenant_id, course_id, user_id, enrolled_at)
        VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT (course_id, user_id) DO UPDATE
        SET enrolled_at = excluded.enrolled_at
        WHERE enrolments.enrolled_at > excluded.enrolled_at";
    Ok(tx.execute(sql, params![tenant.as_str(), &course.to_string(), &user.to_string(), now_ms])? == 1)
}

/// Whose enrolment has not begun, and when it does.
pub(super) fn not_begun(
    tx: &Tx<'_>,
    tenant: &TenantId,
    course: CourseId,
    now_ms: i64,
) -> Result<Vec<(UserId, i64)>, DbError> {
    let sql = "SELECT user_id, enrolled_at FROM enrolments
        WHERE tenant_id = ?1 AND course_id = ?2 AND enrolled_at > ?3
        ORDER BY user_id
        LIMIT ?4";
    let course = course.to_string();
    let params = params![tenant.as_str(), &course, now_ms, limits::STUDENTS_PER_COURSE_MAX];
    tx.query(sql, params, |row| Ok((row.get(0)?, row.get(1)?)))
}

pub(super) fn begin_at(
    tx: &Tx<'_>,
    tenant: &TenantId,
    (course, user): (CourseId, UserId),
    begins_at_ms: i64,
) -> Result<(), DbError> {
    let sql = "UPDATE enrolments
        SET enrolled_at = ?4
        WHERE tenant_id = ?1 AND course_id = ?2 AND user_id = ?3";
    tx.send(sql, params![tenant.as_str(), &course.to_string(), &user.to_string(), begins_at_ms])
}

/// Ends an enrolment, which from then on is one of the past.
pub(super) fn remove(
    tx: &Tx<'_>,
    tenant: &TenantId,
    course: CourseId,
    user: UserId,
    now_ms: i64,
) -> Result<bool, DbError> {
    end_enrolments(tx, tenant, (Some(course), user), now_ms).map(|ended| ended == 1)
}

/// Ends the enrolments of a user in one course, or in every one, and says how many they were.
pub(super) fn end_enrolments(
    tx: &Tx<'_>,
    tenant: &TenantId,
    (course, user): (Option<CourseId>, UserId),
    now_ms: i64,
) -> Result<u64, DbError> {
    let (course, user) = (course.map_or(String::new(), |course| course.to_string()), user.to_string());
    let sql = "INSERT INTO past_enrolments (tenant_id, course_id, user_id, enrolled_at, left_at)
        SELECT tenant_id, course_id, user_id, enrolled_at, CAST(?4 AS BIGINT)
        FROM enrolments
        WHERE tenant_id = ?1 AND (?2 = '' OR course_id = ?2) AND user_id = ?3
        ON CONFLICT (course_id, user_id, enrolled_at) DO UPDATE
        SET left_at = excluded.left_at";
    tx.send(sql, params![tenant.as_str(), &course, &user, now_ms])?;
    let sql = "DELETE FROM enrolments WHERE tenant_id = ?1 AND (?2 = '' OR course_id = ?2) AND user_id = ?3";
    tx.execute(sql, params![tenant.as_str(), &course, &user])
}

/// Who is enrolled now, and begins no later than a time; in order.
pub(super) fn students_until(
    tx: &Tx<'_>,
    tenant: &TenantId,
    course: CourseId,
    time_ms: i64,
) -> Result<Vec<UserId>, DbError> {
    let sql = "SELECT user_id FROM enrolments
        WHERE tenant_id = ?1 AND course_id = ?2 AND enrolled_at <= ?3
        ORDER BY user_id
        LIMIT ?4";
    let course = course.to_string();
    let params = params![tenant.as_str(), &course, time_ms, limits::STUDENTS_PER_COURSE_MAX];
    tx.query(sql, params, |row| row.get(0))
}

/// Who was enrolled at a time, in order.
pub(super) fn students_at(
    tx: &Tx<'_>,
    tenant: &TenantId,
    course: CourseId,
    time_ms: i64,
) -> Result<Vec<UserId>, DbError> {
    let sql = "SELECT user_id FROM enrolments
        WHERE tenant_id = ?1 AND course_id = ?2 AND enrolled_at <= ?3
        UNION
        SELECT user_id FROM past_enrolments
        WHERE tenant_id = ?1 AND course_id = ?2 AND enrolled_at <= ?3 AND left_at >= ?3
        ORDER BY user_id
        LIMIT ?4";
    let course = course.to_string();
    let params = params![tenant.as_str(), &course, time_ms, limits::STUDENTS_PER_COURSE_MAX];
    tx.query(sql, params, |row| row.get(0))
}

pub(super) fn was_enrolled(
    tx: &Tx<'_>,
    tenant: &TenantId,
    course: CourseId,
    user: UserId,
    (from_ms, until_ms): (i64, i64),
) -> Result<bool, DbError> {
    let sql = "SELECT 1 FROM enrolments
        WHERE tenant_id = ?1 AND course_id = ?2 AND user_id = ?3 AND enrolled_at <= ?5
        UNION
        SELECT 1 FROM past_enrolments
        WHERE tenant_id = ?1 AND course_id = ?2 AND user_id = ?3 AND enrolled_at <= ?5 AND left_at >= ?4";
    let (course, user) = (course.to_string(), user.to_string());
    let params = params![tenant.as_str(), &course, &user, from_ms, until_ms];
    Ok(tx.query_one(sql, params, |row| row.get::<i64>(0))?.is_some())
}

/// Notes the name that the course has until now; of several changes at one moment the first one's counts.
pub(super) fn keep_name(tx: &Tx<'_>, tenant: &TenantId, course: CourseId, now_ms: i64) -> Result<(), DbError> {
    let sql = "INSERT INTO past_course_names (tenant_id, course_id, until_at, code, title)
        SELECT tenant_id, id, CAST(?3 AS BIGINT), code, title
        FROM courses
        WHERE tenant_id = ?1 AND id = ?2
        ON CONFLICT (course_id, until_at) DO NOTHING";
    tx.send(sql, params![tenant.as_str(), &course.to_string(), now_ms])
}

/// The code and the title that the course had at a time, if they are not today's.
pub(super) fn name_at(
    tx: &Tx<'_>,
    tenant: &TenantId,
    course: CourseId,
    time_ms: i64,
) -> Result<Option<(String, String)>, DbError> {
    let sql = "SELECT code, title FROM past_course_names
        WHERE tenant_id = ?1 AND course_id = ?2 AND until_at > ?3
        ORDER BY until_at
        LIMIT 1";
    tx.query_one(sql, params![tenant.as_str(), &course.to_string(), time_ms], |row| Ok((row.get(0)?, row.get(1)?)))
}

pub(super) fn count_students(tx: &Tx<'_>, tenant: &TenantId, course: CourseId) -> Result<u32, DbError> {
    let sql = "SELECT count(*) FROM enrolments WHERE tenant_id = ?1 AND course_id = ?2";
    tx.count(sql, params![tenant.as_str(), &course.to_string()])
}

pub(super) fn student_ids(tx: &Tx<'_>, tenant: &TenantId, course: CourseId) -> Result<Vec<UserId>, DbError> {
    student_page(tx, tenant, course, None, limits::STUDENTS_PER_COURSE_MAX)
}

/// A page of the enrolled students' ids, in order.
pub(super) fn student_page(
    tx: &Tx<'_>,
    tenant: &TenantId,
    course: CourseId,
    after: Option<UserId>,
    limit: u32,
) -> Result<Vec<UserId>, DbError> {
    let sql = "SELECT user_id FROM enrolments
        WHERE tenant_id = ?1 AND course_id = ?2 AND user_id > ?3
        ORDER BY user_id
        LIMIT ?4";
    people_page(tx, sql, (tenant, course), after, limit)
}

/// A page of the lecturers' ids, in order.
pub(super) fn lecturer_page(
    tx: &Tx<'_>,
    tenant: &TenantId,
    course: CourseId,
    after: Option<UserId>,
    limit: u32,
) -> Result<Vec<UserId>, DbError> {
    let sql = "SELECT user_id FROM course_lecturers
        WHERE tenant_id = ?1 AND course_id = ?2 AND user_id > ?3
        ORDER BY user_id
        LIMIT ?4";
    people_page(tx, sql, (tenant, course), after, limit)
}

fn people_page(
    tx: &Tx<'_>,
    sql: &'static str,
    (tenant, course): (&TenantId, CourseId),
    after: Option<UserId>,
    limit: u32,
) -> Result<Vec<UserId>, DbError> {
    let after = after.map(|id| id.to_string()).unwrap_or_default();
    tx.query(sql, params![tenant.as_str(), &course.to_string(), &after, limit], |row| row.get(0))
}

pub(super) fn rename(tx: &Tx<'_>, tenant: &TenantId, course: &Course) -> Result<(), DbError> {
    let sql = "UPDATE courses
        SET code = ?3, title = ?4
        WHERE tenant_id = ?1 AND id = ?2";
    tx.send(sql, params![tenant.as_str(), &course.id.to_string(), &course.code, &course.title])
}

/// A student's place in a course, as texts.
pub(super) struct Place {
    pub(super) course: UuidText,
    pub(super) user: UuidText,
}

/// Students that one statement enrols.
pub(super) const ENROLMENTS_PER_STATEMENT: usize = 8;

/// Enrols up to eight students.
pub(super) fn send_enrolments(tx: &Tx<'_>, tenant: &TenantId, students: &[Place], now_ms: i64) -> Result<(), DbError> {
    let Some(last) = students.last() else { return Ok(()) };
    let sql = "INSERT INTO enrolments (tenant_id, course_id, user_id, enrolled_at)
        VALUES
            (?1, ?3, ?4, ?2),
            (?1, ?5, ?6, ?2),
            (?1, ?7, ?8, ?2),
            (?1, ?9, ?10, ?2),
            (?1, ?11, ?12, ?2),
            (?1, ?13, ?14, ?2),
            (?1, ?15, ?16, ?2),
            (?1, ?17, ?18, ?2)
        ON CONFLICT DO NOTHING";
    // The last one fills the places that are left: a second time changes nothing.
    let at = |index: usize| students.get(index).unwrap_or(last);
    let (a, b, c, d, e, f, g, h) = (at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7));
    let params = params![
        tenant.as_str(),
        now_ms,
        a.course.as_str(),
        a.user.as_str(),
        b.course.as_str(),
        b.user.as_str(),
        c.course.as_str(),
        c.user.as_str(),
        d.course.as_str(),
        d.user.as_str(),
        e.course.as_str(),
        e.user.as_str(),
        f.course.as_str(),
        f.user.as_str(),
        g.course.as_str(),
        g.user.as_str(),
        h.course.as_str(),
        h.user.as_str()
    ];
    tx.send(sql, params)
}

/// Every course of the tenant.
pub(super) fn known(tx: &Tx<'_>, tenant: &TenantId) -> Result<Vec<KnownCourse>, DbError> {
    let sql = "SELECT id, code, title, external_id FROM courses WHERE tenant_id = ?1 ORDER BY id";
    tx.query(sql, params![tenant.as_str()], |row| {
        Ok(KnownCourse { id: row.get(0)?, code: row.get(1)?, title: row.get(2)?, external_id: row.get(3)? })
    })
}

pub(super) fn insert_known(
    tx: &Tx<'_>,
    tenant: &TenantId,
    course: &KnownCourse,
    created_by: UserId,
    now_ms: i64,
) -> Result<bool, DbError> {
    let sql = "INSERT INTO courses (id, tenant_id, code, title, created_by, created_at, external_id)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
        ON CONFLICT DO NOTHING";
    let (id, created_by, external_id) = (course.id.to_string(), created_by.to_string(), course.external_id.as_deref());
    let params = params![&id, tenant.as_str(), &course.code, &course.title, &created_by, now_ms, external_id];
    Ok(tx.execute(sql, params)? == 1)
}

/// Nothing happens when another course has the registry's id.
pub(super) fn change_known(tx: &Tx<'_>, tenant: &TenantId, course: &KnownCourse, now_ms: i64) -> Result<bool, DbError> {
    keep_name(tx, tenant, course.id, now_ms)?;
    let sql = "UPDATE courses
        SET title = ?3, external_id = ?4
        WHERE tenant_id = ?1 AND id = ?2
          AND NOT EXISTS (SELECT 1 FROM courses o WHERE o.tenant_id = ?1 AND o.external_id = ?4 AND o.id <> ?2)";
    let id = course.id.to_string();
    Ok(tx.execute(sql, params![tenant.as_str(), &id, &course.title, course.external_id.as_deref()])? == 1)
}

/// Everybody who teaches the course.
pub(super) fn lecturer_ids(tx: &Tx<'_>, tenant: &TenantId, course: CourseId) -> Result<Vec<UserId>, DbError> {
    let sql = "SELECT user_id FROM course_lecturers
        WHERE tenant_id = ?1 AND course_id = ?2
        ORDER BY user_id
        LIMIT ?3";
    let course = course.to_string();
    tx.query(sql, params![tenant.as_str(), &course, limits::STUDENTS_PER_COURSE_MAX], |row| row.get(0))
}

pub(super) fn remove_lecturer(tx: &Tx<'_>, tenant: &TenantId, course: CourseId, user: UserId) -> Result<bool, DbError> {
    let sql = "DELETE FROM course_lecturers WHERE tenant_id = ?1 AND course_id = ?2 AND user_id = ?3";
    Ok(tx.execute(sql, params![tenant.as_str(), &course.to_string(), &user.to_string()])? == 1)
}
