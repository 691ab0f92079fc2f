//! The SQL of attendance that lists and exports need: many records at a time.

use muster_sync_core::{ChangeHash, DocumentId, Locator};

use super::queries::{RECORD_COLUMNS, record};
use super::rows::{AppealRow, RecordRow};
use crate::db::{DbError, Tx};
use crate::ids::TenantId;
use crate::params;

/// Every record of a session.
pub(super) fn of_session(tx: &Tx<'_>, tenant: &TenantId, locator: &Locator) -> Result<Vec<RecordRow>, DbError> {
    let sql = format!(
        "SELECT {RECORD_COLUMNS}
         FROM records r
         WHERE r.tenant_id = ?1 AND r.locator = ?2
         ORDER BY r.student_id"
    );
    tx.query(&sql, params![tenant.as_str(), locator.as_str()], record)
}

/// A page of a student's records, the newest first.
pub(super) fn of_student(
    tx: &Tx<'_>,
    tenant: &TenantId,
    student: &str,
    before: (i64, DocumentId),
    limit: u32,
) -> Result<Vec<RecordRow>, DbError> {
    let sql = format!(
        "SELECT {RECORD_COLUMNS}
         FROM records r
         WHERE r.tenant_id = ?1 AND r.student_id = ?2
           AND (COALESCE(r.received_at, 0) < ?3 OR (COALESCE(r.received_at, 0) = ?3 AND r.document_id < ?4))
         ORDER BY COALESCE(r.received_at, 0) DESC, r.document_id DESC
         LIMIT ?5"
    );
    tx.query(&sql, params![tenant.as_str(), student, before.0, &before.1.0, limit], record)
}

/// A page of the records of an institution, the newest first: of every course, or of those that somebody teaches.
pub(super) fn of_courses(
    tx: &Tx<'_>,
    tenant: &TenantId,
    taught_by: Option<&str>,
    before: (i64, DocumentId),
    limit: u32,
) -> Result<Vec<RecordRow>, DbError> {
    let sql = format!(
        "SELECT {RECORD_COLUMNS}
         FROM records r
         WHERE r.tenant_id = ?1
           AND (?2 = '' OR r.course_id IN (SELECT c.course_id FROM course_lecturers c
                                           WHERE c.tenant_id = ?1 AND c.user_id = ?2))
           AND (COALESCE(r.received_at, 0) < ?3 OR (COALESCE(r.received_at, 0) = ?3 AND r.document_id < ?4))
         ORDER BY COALESCE(r.received_at, 0) DESC, r.document_id DESC
         LIMIT ?5"
    );
    let values = params![tenant.as_str(), taught_by.unwrap_or_default(), before.0, &before.1.0, limit];
    tx.query(&sql, values, record)
}

/// Which records that wait for a person are wanted; empty means any.
pub(super) struct Waiting<'a> {
    pub(super) course: &'a str,
    pub(super) state: &'a str,
    pub(super) flag: &'a str,
}

/// A page of the records that wait for a person, the longest waiting first.
pub(super) fn in_review(
    tx: &Tx<'_>,
    tenant: &TenantId,
    wanted: &Waiting<'_>,
    after: (i64, DocumentId),
    limit: u32,
) -> Result<Vec<RecordRow>, DbError> {
    let sql = format!(
        "SELECT {RECORD_COLUMNS}
         FROM records r
         WHERE r.tenant_id = ?1 AND (r.state IN ('flagged', 'disputed', 'escalated') OR r.appeal_open = 1)
           AND (?2 = '' OR r.course_id = ?2)
           AND (?3 = '' OR r.state = ?3)
           AND (?4 = '' OR r.flags LIKE '%,' || ?4 || ':%' ESCAPE '!' OR r.flags LIKE '%:' || ?4 || ',%' ESCAPE '!')
           AND (r.updated_at > ?5 OR (r.updated_at = ?5 AND r.document_id > ?6))
         ORDER BY r.updated_at, r.document_id
         LIMIT ?7"
    );
    let flag = wanted.flag.replace('!', "!!").replace('%', "!%").replace('_', "!_");
    let values = params![tenant.as_str(), wanted.course, wanted.state, &flag, after.0, &after.1.0, limit];
    tx.query(&sql, values, record)
}

/// How many records wait for a person, by state.
pub(super) fn in_review_counts(tx: &Tx<'_>, tenant: &TenantId) -> Result<Vec<(String, u64)>, DbError> {
    tx.query(
        "SELECT COALESCE(r.state, 'received'), COUNT(*)
         FROM records r
         WHERE r.tenant_id = ?1 AND (r.state IN ('flagged', 'disputed', 'escalated') OR r.appeal_open = 1)
         GROUP BY 1
         LIMIT 20",
        params![tenant.as_str()],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

/// This student's records in sessions whose plan is unknown.
pub(super) fn unknown_sessions(tx: &Tx<'_>, tenant: &TenantId, student: &str) -> Result<i64, DbError> {
    tx.count(
        "SELECT COUNT(*)
         FROM records r
         WHERE r.tenant_id = ?1 AND r.student_id = ?2 AND r.course_id IS NULL",
        params![tenant.as_str(), student],
    )
}

/// What an online client sent under one key before.
pub(super) struct Sent {
    pub(super) content_hash: [u8; 32],
    pub(super) document: DocumentId,
    pub(super) log_index: i64,
}

pub(super) fn sent(
    tx: &Tx<'_>,
    tenant: &TenantId,
    student: &str,
    request_key: &[u8; 32],
) -> Result<Option<Sent>, DbError> {
    tx.query_one(
        "SELECT content_hash, document_id, log_index
         FROM gateway_submissions
         WHERE tenant_id = ?1 AND student_id = ?2 AND request_key = ?3",
        params![tenant.as_str(), student, request_key],
        |row| Ok(Sent { content_hash: row.get(0)?, document: DocumentId(row.get(1)?), log_index: row.get(2)? }),
    )
}

/// Whether the key was new.
pub(super) fn insert_sent(
    tx: &Tx<'_>,
    tenant: &TenantId,
    student: &str,
    request_key: &[u8; 32],
    sent: &Sent,
) -> Result<bool, DbError> {
    let inserted = tx.execute(
        "INSERT INTO gateway_submissions
             (tenant_id, student_id, request_key, content_hash, document_id, log_index)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (tenant_id, student_id, request_key) DO NOTHING",
        params![tenant.as_str(), student, request_key, &sent.content_hash, &sent.document.0, sent.log_index],
    )?;
    Ok(inserted == 1)
}

/// The appeals of a document in the order of the log.
pub(super) fn appeals(tx: &Tx<'_>, document: DocumentId) -> Result<Vec<AppealRow>, DbError> {
    tx.query(
        "SELECT hash, of_hash, reason, received_at
         FROM appeals
         WHERE document_id = ?1
         ORDER BY log_index",
        params![&document.0],
        |row| {
            Ok(AppealRow {
                hash: ChangeHash(row.get(0)?),
                of: ChangeHash(row.get(1)?),
                reason: row.get(2)?,
                received_at_ms: row.get(3)?,
            })
        },
    )
}
