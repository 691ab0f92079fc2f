//! Courses as they were: who attended when, and under which name.

use super::queries;
use super::{Course, find};
use crate::db::{DbError, Tx};
use crate::ids::{CourseId, TenantId, UserId};

/// Who was enrolled when something ended at `end_ms`, at most `limits::STUDENTS_PER_COURSE_MAX`. What has not ended has
/// today's students: whoever was enrolled by mistake and removed again is not missed.
pub fn students_at(
    tx: &Tx<'_>,
    tenant: &TenantId,
    course: CourseId,
    end_ms: i64,
    now_ms: i64,
) -> Result<Vec<UserId>, DbError> {
    if now_ms < end_ms {
        queries::students_until(tx, tenant, course, end_ms)
    } else {
        queries::students_at(tx, tenant, course, end_ms)
    }
}

/// Whether the student was enrolled at some moment of a span, both ends included.
pub fn was_enrolled(
    tx: &Tx<'_>,
    tenant: &TenantId,
    course: CourseId,
    student: UserId,
    span_ms: (i64, i64),
) -> Result<bool, DbError> {
    queries::was_enrolled(tx, tenant, course, student, span_ms)
}

/// The course with the code and the title that it had at a time.
pub fn find_at(tx: &Tx<'_>, tenant: &TenantId, course: CourseId, time_ms: i64) -> Result<Option<Course>, DbError> {
    let Some(today) = find(tx, tenant, course)? else { return Ok(None) };
    Ok(Some(match queries::name_at(tx, tenant, course, time_ms)? {
        Some((code, title)) => Course { code, title, ..today },
        None => today,
    }))
}
