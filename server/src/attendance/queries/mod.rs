//! The SQL of attendance that projections and decisions need: one document at a time.
//!
//! What a state depends on is read whole: a limit here would let whoever fills it keep the old state. What may come in
//! is bounded in `share`.

mod appeals;

use muster_sync_core::{ChangeHash, DeviceKey, DocumentId, Locator, document::Source};

use super::rows::{DecisionRow, NoteRow, RecordRow, SubmissionBy, SubmissionRow, VerdictRow};
use crate::db::{DbError, Row, Tx};
use crate::ids::TenantId;
use crate::log::Appended;
use crate::params;

pub(super) use appeals::{appeal_count, appealed_after, insert_appeal, newest_appeal};

/// The columns that [`record`] reads.
pub(super) const RECORD_COLUMNS: &str =
    "r.document_id, r.locator, r.student_id, r.course_id, r.state, r.awaiting_media,
    r.risk, r.flags, r.submission_count, r.appeal_open, r.captured_at, r.received_at, r.decided_by, r.decided_at,
    r.decision, r.decision_reason, r.updated_at";

pub(super) fn record(row: &Row<'_>) -> Result<RecordRow, DbError> {
    let locator: String = row.get(1)?;
    Ok(RecordRow {
        document: DocumentId(row.get(0)?),
        locator: Locator::parse(&locator).ok_or_else(|| broken("locator"))?,
        student: row.get(2)?,
        course: row.get(3)?,
        state: row.get(4)?,
        awaiting_media: row.get(5)?,
        risk: row.get(6)?,
        flags: row.get(7)?,
        submission_count: row.get(8)?,
        appeal_open: row.get(9)?,
        captured_at_ms: row.get(10)?,
        received_at_ms: row.get(11)?,
        decided_by: row.get(12)?,
        decided_at_ms: row.get(13)?,
        decision: row.get(14)?,
        decision_reason: row.get(15)?,
        updated_at_ms: row.get(16)?,
    })
}

fn broken(what: &str) -> DbError {
    DbError::Other(format!("an attendance record has an unreadable {what}"))
}

/// The row of a record, whose tenant the document's id implies.
pub(super) fn record_for(tx: &Tx<'_>, id: DocumentId) -> Result<Option<RecordRow>, DbError> {
    let sql = format!("SELECT {RECORD_COLUMNS} FROM records r WHERE r.document_id = ?1");
    tx.query_one(&sql, params![&id.0], record)
}

/// The row of a record, if it is one of the tenant's: for ids that clients name.
pub(super) fn record_of(tx: &Tx<'_>, tenant: &TenantId, id: DocumentId) -> Result<Option<RecordRow>, DbError> {
    let sql = format!("SELECT {RECORD_COLUMNS} FROM records r WHERE r.document_id = ?1 AND r.tenant_id = ?2");
    tx.query_one(&sql, params![&id.0, tenant.as_str()], record)
}

/// The row of a submission's document: made by the first entry of any kind, counted up by every submission.
pub(super) fn upsert_record(
    tx: &Tx<'_>,
    appended: &Appended,
    (locator, student): (&Locator, &str),
    course: Option<&str>,
    captured_at_ms: Option<i64>,
) -> Result<(), DbError> {
    let submitted = captured_at_ms.is_some();
    tx.send(
        "INSERT INTO records
             (document_id, tenant_id, locator, student_id, course_id, state, awaiting_media, flags, submission_count,
              appeal_open, captured_at, received_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ',', ?7, 0, ?8, ?9, ?10)
         ON CONFLICT (document_id) DO UPDATE
         SET submission_count = records.submission_count + ?7,
             course_id = COALESCE(records.course_id, ?5),
             state = COALESCE(records.state, ?6),
             captured_at = COALESCE(records.captured_at, ?8),
             received_at = COALESCE(records.received_at, ?9),
             updated_at = ?10",
        params![
            &appended.document().0,
            appended.tenant.as_str(),
            locator.as_str(),
            student,
            course,
            submitted.then_some("received"),
            submitted,
            captured_at_ms,
            submitted.then_some(appended.received_at_ms),
            appended.received_at_ms
        ],
    )
}

/// What the fold says of a record.
pub(super) struct Folded<'a> {
    pub(super) state: Option<&'a str>,
    pub(super) verdict: Option<&'a VerdictRow>,
    pub(super) decision: Option<&'a DecisionRow>,
    pub(super) appeal_open: bool,
}

pub(super) fn set_folded(tx: &Tx<'_>, id: DocumentId, folded: &Folded<'_>, now_ms: i64) -> Result<(), DbError> {
    let (verdict, decision) = (folded.verdict, folded.decision);
    tx.send(
        "UPDATE records
         SET state = ?2, risk = ?3, flags = ?4, appeal_open = ?5, decided_by = ?6, decided_at = ?7, decision = ?8,
             decision_reason = ?9, updated_at = ?10
         WHERE document_id = ?1",
        params![
            &id.0,
            folded.state,
            verdict.map(|verdict| verdict.risk),
            verdict.map_or(",", |verdict| verdict.flags.as_str()),
            folded.appeal_open,
            decision.map(|decision| decision.by.as_str()),
            decision.map(|decision| decision.received_at_ms),
            decision.map(|decision| decision.says.as_str()),
            decision.and_then(|decision| decision.reason.as_deref()),
            now_ms
        ],
    )
}

/// Whether the record was there and said otherwise.
pub(super) fn set_awaiting_media(tx: &Tx<'_>, id: DocumentId, awaiting: bool, now_ms: i64) -> Result<bool, DbError> {
    let changed = tx.execute(
        "UPDATE records
         SET awaiting_media = ?2, updated_at = ?3
         WHERE document_id = ?1 AND awaiting_media <> ?2",
        params![&id.0, awaiting, now_ms],
    )?;
    Ok(changed == 1)
}

pub(super) fn insert_submission(tx: &Tx<'_>, id: DocumentId, row: &SubmissionRow) -> Result<(), DbError> {
    tx.send(
        "INSERT INTO submissions
             (document_id, log_index, hash, writer, source, captured_at, code, step, commitment, received_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            &id.0,
            row.log_index,
            &row.hash.0,
            &row.writer.0,
            row.source.as_str(),
            row.captured_at_ms,
            row.code.as_deref(),
            row.step.map(|step| step as i64),
            &row.commitment,
            row.received_at_ms
        ],
    )
}

/// The columns that [`submission`] reads.
const SUBMISSION: &str = "SELECT log_index, hash, writer, source, captured_at, code, step, commitment, received_at
    FROM submissions";

fn submission(row: &Row<'_>) -> Result<SubmissionRow, DbError> {
    let source: String = row.get(3)?;
    Ok(SubmissionRow {
        log_index: row.get(0)?,
        hash: ChangeHash(row.get(1)?),
        writer: DeviceKey(row.get(2)?),
        source: Source::parse(&source).ok_or_else(|| broken("source"))?,
        captured_at_ms: row.get(4)?,
        code: row.get(5)?,
        step: row.get::<Option<i64>>(6)?.map(|step| step as u64),
        commitment: row.get(7)?,
        received_at_ms: row.get(8)?,
    })
}

/// The submissions of a document in the order of the log.
pub(super) fn submissions(tx: &Tx<'_>, id: DocumentId) -> Result<Vec<SubmissionRow>, DbError> {
    tx.query(&format!("{SUBMISSION} WHERE document_id = ?1 ORDER BY log_index"), params![&id.0], submission)
}

/// The submission of a document at a place of the log.
pub(super) fn submission_at(tx: &Tx<'_>, id: DocumentId, log_index: i64) -> Result<Option<SubmissionRow>, DbError> {
    let sql = format!("{SUBMISSION} WHERE document_id = ?1 AND log_index = ?2");
    tx.query_one(&sql, params![&id.0, log_index], submission)
}

pub(super) fn insert_verdict(tx: &Tx<'_>, id: DocumentId, row: &VerdictRow) -> Result<(), DbError> {
    tx.send(
        "INSERT INTO verdicts
             (document_id, log_index, hash, seq, of_hash, outcome, risk, flags, policy, model, not_before, not_after,
              received_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        params![
            &id.0,
            row.log_index,
            &row.hash.0,
            row.seq as i64,
            &row.of.0,
            row.outcome.as_str(),
            row.risk,
            row.flags.as_str(),
            row.policy.as_str(),
            row.model.as_deref(),
            row.not_before_ms,
            row.not_after_ms,
            row.received_at_ms
        ],
    )
}

/// The verdicts of a document in the order of the log.
pub(super) fn verdicts(tx: &Tx<'_>, id: DocumentId) -> Result<Vec<VerdictRow>, DbError> {
    use muster_sync_core::document::Outcome;
    tx.query(
        "SELECT log_index, hash, seq, of_hash, outcome, risk, flags, policy, model, not_before, not_after,
                received_at
         FROM verdicts
         WHERE document_id = ?1
         ORDER BY log_index",
        params![&id.0],
        |row| {
            let outcome: String = row.get(4)?;
            Ok(VerdictRow {
                log_index: row.get(0)?,
                hash: ChangeHash(row.get(1)?),
                seq: row.get(2)?,
                of: ChangeHash(row.get(3)?),
                outcome: Outcome::parse(&outcome).ok_or_else(|| broken("outcome"))?,
                risk: row.get(5)?,
                flags: row.get(6)?,
                policy: row.get(7)?,
                model: row.get(8)?,
                not_before_ms: row.get(9)?,
                not_after_ms: row.get(10)?,
                received_at_ms: row.get(11)?,
            })
        },
    )
}

pub(super) fn insert_decision(tx: &Tx<'_>, id: DocumentId, row: &DecisionRow) -> Result<(), DbError> {
    tx.send(
        "INSERT INTO decisions
             (document_id, log_index, kind, hash, writer, of_hash, after_hashes, says, reason, rank, by_user,
              received_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        params![
            &id.0,
            row.log_index,
            if row.of.is_some() { "decision" } else { "mark" },
            &row.hash.0,
            &row.writer.0,
            row.of.as_ref().map(|of| &of.0),
            &row.after,
            row.says.as_str(),
            row.reason.as_deref(),
            row.rank,
            row.by.as_str(),
            row.received_at_ms
        ],
    )
}

/// The decisions and marks of a document in the order of the log.
pub(super) fn decisions(tx: &Tx<'_>, id: DocumentId) -> Result<Vec<DecisionRow>, DbError> {
    tx.query(
        "SELECT log_index, hash, writer, of_hash, after_hashes, says, reason, rank, by_user, received_at
         FROM decisions
         WHERE document_id = ?1
         ORDER BY log_index",
        params![&id.0],
        |row| {
            Ok(DecisionRow {
                log_index: row.get(0)?,
                hash: ChangeHash(row.get(1)?),
                writer: DeviceKey(row.get(2)?),
                of: row.get::<Option<[u8; 32]>>(3)?.map(ChangeHash),
                after: row.get(4)?,
                says: row.get(5)?,
                reason: row.get(6)?,
                rank: row.get(7)?,
                by: row.get(8)?,
                received_at_ms: row.get(9)?,
            })
        },
    )
}

/// How many entries there are of one person in a document.
pub(super) fn decisions_by(tx: &Tx<'_>, id: DocumentId, person: &str) -> Result<u64, DbError> {
    tx.count(
        "SELECT COUNT(*)
         FROM decisions
         WHERE document_id = ?1 AND by_user = ?2",
        params![&id.0, person],
    )
}

/// How many decisions and marks a document has.
pub(super) fn decision_count(tx: &Tx<'_>, id: DocumentId) -> Result<u64, DbError> {
    tx.count(
        "SELECT COUNT(*)
         FROM decisions
         WHERE document_id = ?1",
        params![&id.0],
    )
}

pub(super) fn submission_count(tx: &Tx<'_>, id: DocumentId) -> Result<u64, DbError> {
    tx.count(
        "SELECT COUNT(*)
         FROM submissions
         WHERE document_id = ?1",
        params![&id.0],
    )
}

/// The records of a session that another course has, or none, with that course.
pub(super) fn of_other_course(
    tx: &Tx<'_>,
    tenant: &TenantId,
    locator: &Locator,
    course: Option<&str>,
) -> Result<Vec<(DocumentId, Option<String>)>, DbError> {
    tx.query(
        "SELECT document_id, course_id
         FROM records
         WHERE tenant_id = ?1 AND locator = ?2 AND COALESCE(course_id, '') <> ?3
         ORDER BY student_id",
        params![tenant.as_str(), locator.as_str(), course.unwrap_or_default()],
        |row| Ok((DocumentId(row.get(0)?), row.get(1)?)),
    )
}

/// Every record of a session.
pub(super) fn of_session(tx: &Tx<'_>, tenant: &TenantId, locator: &Locator) -> Result<Vec<DocumentId>, DbError> {
    tx.query(
        "SELECT document_id
         FROM records
         WHERE tenant_id = ?1 AND locator = ?2
         ORDER BY student_id",
        params![tenant.as_str(), locator.as_str()],
        |row| Ok(DocumentId(row.get(0)?)),
    )
}

pub(super) fn set_course(
    tx: &Tx<'_>,
    tenant: &TenantId,
    locator: &Locator,
    course: Option<&str>,
) -> Result<(), DbError> {
    tx.send(
        "UPDATE records
         SET course_id = ?3
         WHERE tenant_id = ?1 AND locator = ?2",
        params![tenant.as_str(), locator.as_str(), course],
    )
}

/// The student's flagged records whose flags contain `part`, by their id from `after` on.
pub(super) fn flagged_with(
    tx: &Tx<'_>,
    tenant: &TenantId,
    student: &str,
    part: &str,
    after: DocumentId,
    limit: u32,
) -> Result<Vec<DocumentId>, DbError> {
    let pattern = format!("%{part}%");
    tx.query(
        "SELECT document_id
         FROM records
         WHERE tenant_id = ?1 AND student_id = ?2 AND state = 'flagged' AND flags LIKE ?3 AND document_id > ?4
         ORDER BY document_id
         LIMIT ?5",
        params![tenant.as_str(), student, &pattern, &after.0, limit],
        |row| Ok(DocumentId(row.get(0)?)),
    )
}

/// The student's records with a submission that the key signed, by their id from `after` on.
pub(super) fn signed_by(
    tx: &Tx<'_>,
    tenant: &TenantId,
    student: &str,
    writer: &DeviceKey,
    after: DocumentId,
    limit: u32,
) -> Result<Vec<DocumentId>, DbError> {
    tx.query(
        "SELECT r.document_id
         FROM records r
         WHERE r.tenant_id = ?1 AND r.student_id = ?2 AND r.document_id > ?4
           AND EXISTS (SELECT 1 FROM submissions s WHERE s.document_id = r.document_id AND s.writer = ?3)
         ORDER BY r.document_id
         LIMIT ?5",
        params![tenant.as_str(), student, &writer.0, &after.0, limit],
        |row| Ok(DocumentId(row.get(0)?)),
    )
}

/// What one key wrote for a student, newest arrival first.
pub(super) fn submissions_by(
    tx: &Tx<'_>,
    tenant: &TenantId,
    student: &str,
    writer: &DeviceKey,
    limit: u32,
) -> Result<Vec<SubmissionBy>, DbError> {
    tx.query(
        "SELECT s.document_id, s.commitment, s.received_at
         FROM records r
         JOIN submissions s ON s.document_id = r.document_id
         WHERE r.tenant_id = ?1 AND r.student_id = ?2 AND s.writer = ?3
         ORDER BY s.received_at DESC, s.log_index DESC
         LIMIT ?4",
        params![tenant.as_str(), student, &writer.0, limit],
        |row| {
            Ok(SubmissionBy { document: DocumentId(row.get(0)?), commitment: row.get(1)?, received_at_ms: row.get(2)? })
        },
    )
}

/// Where the entries of a document stand in the log, in order.
pub(super) fn log_indexes(tx: &Tx<'_>, id: DocumentId) -> Result<Vec<i64>, DbError> {
    tx.query(
        "SELECT log_index FROM submissions WHERE document_id = ?1
         UNION ALL SELECT log_index FROM verdicts WHERE document_id = ?1
         UNION ALL SELECT log_index FROM decisions WHERE document_id = ?1
         UNION ALL SELECT log_index FROM appeals WHERE document_id = ?1
         ORDER BY 1",
        params![&id.0],
        |row| row.get(0),
    )
}

pub(super) fn insert_note(
    tx: &Tx<'_>,
    tenant: &TenantId,
    id: DocumentId,
    entry: ChangeHash,
    note: &NoteRow,
) -> Result<(), DbError> {
    tx.send(
        "INSERT INTO notes (entry_hash, tenant_id, document_id, salt, text)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (entry_hash) DO NOTHING",
        params![&entry.0, tenant.as_str(), &id.0, &note.salt, note.text.as_str()],
    )
}

/// What people wrote beside an entry.
pub(super) fn note(tx: &Tx<'_>, entry: ChangeHash) -> Result<Option<String>, DbError> {
    tx.query_one(
        "SELECT text
         FROM notes
         WHERE entry_hash = ?1",
        params![&entry.0],
        |row| row.get(0),
    )
}
