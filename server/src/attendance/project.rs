//! From entries of attendance documents to rows. Rows depend on the log and its order alone, and the state of a record
//! on `sync_core::decision` alone.
//!
//! A first submission costs three statements: its row, the record's row and the job. Verdicts, decisions, marks and
//! appeals fold the one document anew.

use std::collections::BTreeMap;

use muster_sync_core::{
    ChangeHash, DocumentId, DocumentName, Locator,
    decision::{self, Record, RecordState},
    document::{Code, Decision, DecisionAction, Entry, Label, Mark, MarkStatus, Outcome, Submission, Verdict},
    evidence::{CheckOutcome, Checks},
};

use super::queries::{self, Folded};
use super::rows::{DecisionRow, SubmissionRow, VerdictRow};
use crate::db::{DbError, Tx};
use crate::ids::TenantId;
use crate::jobs;
use crate::log::{self, Appended, Channel};

/// The kind of job that judges the submissions of a document; its subject is the document's id.
pub const JUDGE_JOB: &str = "judge";
/// The check, always skipped, whose score is the start of the capture's interval in Unix milliseconds.
pub const NOT_BEFORE: &str = "not_before";
/// The check, always skipped, whose score is the end of the capture's interval in Unix milliseconds.
pub const NOT_AFTER: &str = "not_after";

/// Records of one session that are connected when its plan arrives: more is no class.
const RECORDS_PER_SESSION_MAX: u32 = 10_000;

/// Projects an entry of an attendance document. `course` is that of the class session, if its plan has arrived.
///
/// # Errors
/// When the database fails.
pub fn project(tx: &Tx<'_>, appended: &Appended, course: Option<&str>) -> Result<(), DbError> {
    let DocumentName::Attendance { locator, student } = &appended.name else { return Ok(()) };
    let (document, named) = (appended.document(), (locator, student.as_str()));
    match &appended.valid.entry {
        Entry::Submissions(submission) => {
            queries::insert_submission(tx, document, &submission_row(appended, submission))?;
            queries::upsert_record(tx, appended, named, course, Some(submission.captured_at_ms))?;
            return jobs::enqueue(tx, &appended.tenant, JUDGE_JOB, &document.0, appended.received_at_ms);
        }
        Entry::Verdicts(verdict) => queries::insert_verdict(tx, document, &verdict_row(appended, verdict))?,
        Entry::Decisions(decision) => queries::insert_decision(tx, document, &decision_row(appended, decision))?,
        Entry::Marks(mark) => queries::insert_decision(tx, document, &mark_row(appended, mark))?,
        Entry::Appeals(appeal) => queries::insert_appeal(tx, appended, &appeal.of, appeal.reason.as_str())?,
        _ => return Ok(()),
    }
    queries::upsert_record(tx, appended, named, course, None)?;
    refresh(tx, document, appended.received_at_ms)
}

/// A plan came after submissions for its session: they get its course, are shown to those who teach it, and are judged.
///
/// # Errors
/// When the database fails.
pub fn session_appeared(
    tx: &Tx<'_>,
    tenant: &TenantId,
    locator: &Locator,
    course: &str,
    now_ms: i64,
) -> Result<(), DbError> {
    let documents = queries::without_course(tx, tenant, locator, RECORDS_PER_SESSION_MAX)?;
    if documents.is_empty() {
        return Ok(());
    }
    queries::set_course(tx, tenant, locator, course)?;
    let staff = Channel::CourseStaff(course.to_owned());
    for document in documents {
        log::place_in(tx, tenant, &staff, &queries::log_indexes(tx, document)?)?;
        jobs::enqueue(tx, tenant, JUDGE_JOB, &document.0, now_ms)?;
    }
    Ok(())
}

/// Folds a document and stores what comes out.
fn refresh(tx: &Tx<'_>, document: DocumentId, now_ms: i64) -> Result<(), DbError> {
    let facts = Facts::read(tx, document)?;
    let state = decision::state(&facts.record()?);
    let newest_decision = facts.decisions.iter().map(|decision| decision.log_index).max();
    let appeal = queries::newest_appeal(tx, document)?;
    let folded = Folded {
        state: state.map(RecordState::as_str),
        verdict: facts.counting_verdict(),
        decision: state.and_then(|state| facts.deciding(state)),
        appeal_open: appeal.is_some() && appeal > newest_decision,
    };
    queries::set_folded(tx, document, &folded, now_ms)
}

/// Everything in a document that its state depends on.
pub(super) struct Facts {
    pub(super) submissions: Vec<SubmissionRow>,
    pub(super) verdicts: Vec<VerdictRow>,
    pub(super) decisions: Vec<DecisionRow>,
}

impl Facts {
    pub(super) fn read(tx: &Tx<'_>, document: DocumentId) -> Result<Self, DbError> {
        Ok(Self {
            submissions: queries::submissions(tx, document)?,
            verdicts: queries::verdicts(tx, document)?,
            decisions: queries::decisions(tx, document)?,
        })
    }

    /// As `sync_core::decision` takes it. The checks play no part in the state and are left out.
    pub(super) fn record(&self) -> Result<Record, DbError> {
        let mut record =
            Record { submissions: self.submissions.iter().map(|row| row.hash).collect(), ..Record::default() };
        for row in &self.verdicts {
            record.verdicts.push((row.seq, verdict_entry(row)?));
        }
        for row in &self.decisions {
            match row.of {
                Some(of) => _ = record.decisions.insert(row.hash, decision_entry(row, of)?),
                None => _ = record.marks.insert(row.hash, mark_entry(row)?),
            }
        }
        Ok(record)
    }

    /// The verdict whose risk and flags a record shows: the newest one that accepted a submission, or else the newest,
    /// of those that no newer one on the same submission replaced.
    pub(super) fn counting_verdict(&self) -> Option<&VerdictRow> {
        let mut newest: BTreeMap<ChangeHash, &VerdictRow> = BTreeMap::new();
        for verdict in &self.verdicts {
            let place = newest.entry(verdict.of).or_insert(verdict);
            if verdict.seq >= place.seq {
                *place = verdict;
            }
        }
        newest.into_values().max_by_key(|verdict| (verdict.outcome == Outcome::Accepted, verdict.log_index))
    }

    /// The newest decision of the highest rank that says what the state is.
    fn deciding(&self, state: RecordState) -> Option<&DecisionRow> {
        let says = |row: &&DecisionRow| match state {
            RecordState::Disputed => state_of(&row.says).is_some(),
            state => state_of(&row.says) == Some(state),
        };
        self.decisions.iter().filter(says).max_by_key(|row| (row.rank, row.log_index))
    }
}

/// The state that an action or a mark stands for.
fn state_of(says: &str) -> Option<RecordState> {
    Some(match says {
        "confirm" | "present" => RecordState::Confirmed,
        "late" => RecordState::Late,
        "excuse" | "excused" => RecordState::Excused,
        "reject" | "absent" => RecordState::Rejected,
        "escalate" => RecordState::Escalated,
        _ => return None,
    })
}

fn submission_row(appended: &Appended, submission: &Submission) -> SubmissionRow {
    SubmissionRow {
        log_index: appended.log_index,
        hash: appended.hash(),
        writer: appended.valid.writer,
        source: submission.source,
        captured_at_ms: submission.captured_at_ms,
        code: submission.code.as_ref().map(|code| code.as_str().to_owned()),
        step: submission.step,
        commitment: submission.commitment,
        received_at_ms: appended.received_at_ms,
    }
}

fn verdict_row(appended: &Appended, verdict: &Verdict) -> VerdictRow {
    let checks = Checks::from_bytes(&verdict.checks).unwrap_or_default();
    let score = |name| checks.0.iter().find(|check| check.name == name).and_then(|check| check.score);
    VerdictRow {
        log_index: appended.log_index,
        hash: appended.hash(),
        seq: appended.valid.seq,
        of: verdict.of,
        outcome: verdict.outcome,
        risk: verdict.risk as i64,
        flags: flags_text(verdict.outcome, &checks),
        policy: verdict.policy.as_str().to_owned(),
        model: verdict.model.as_ref().map(|model| model.as_str().to_owned()),
        not_before_ms: score(NOT_BEFORE).map(|time_ms| time_ms as i64),
        not_after_ms: score(NOT_AFTER).map(|time_ms| time_ms as i64),
        received_at_ms: appended.received_at_ms,
    }
}

/// The checks that keep a flagged verdict from being a pass, as `,check:reason,`.
fn flags_text(outcome: Outcome, checks: &Checks) -> String {
    let mut text = ",".to_owned();
    let stands = |outcome| matches!(outcome, CheckOutcome::Flag | CheckOutcome::Unavailable);
    for check in checks.0.iter().filter(|check| outcome == Outcome::Flagged && stands(check.outcome)) {
        let reason = check.reason.as_deref().unwrap_or(check.outcome.as_str());
        text.push_str(&format!("{}:{reason},", check.name));
    }
    text
}

fn decision_row(appended: &Appended, decision: &Decision) -> DecisionRow {
    DecisionRow {
        log_index: appended.log_index,
        hash: appended.hash(),
        writer: appended.valid.writer,
        of: Some(decision.of),
        after: decision.after.clone(),
        says: decision.action.as_str().to_owned(),
        reason: decision.reason.as_ref().map(|reason| reason.as_str().to_owned()),
        rank: decision.rank as i64,
        by: decision.by.as_str().to_owned(),
        received_at_ms: appended.received_at_ms,
    }
}

fn mark_row(appended: &Appended, mark: &Mark) -> DecisionRow {
    DecisionRow {
        log_index: appended.log_index,
        hash: appended.hash(),
        writer: appended.valid.writer,
        of: None,
        after: mark.after.clone(),
        says: mark.status.as_str().to_owned(),
        reason: Some(mark.reason.as_str().to_owned()),
        rank: mark.rank as i64,
        by: mark.by.as_str().to_owned(),
        received_at_ms: appended.received_at_ms,
    }
}

fn verdict_entry(row: &VerdictRow) -> Result<Verdict, DbError> {
    let policy = Code::new(&row.policy).ok_or_else(|| broken("policy"))?;
    Ok(Verdict { of: row.of, outcome: row.outcome, risk: row.risk as u64, checks: Vec::new(), policy, model: None })
}

fn decision_entry(row: &DecisionRow, of: ChangeHash) -> Result<Decision, DbError> {
    Ok(Decision {
        of,
        after: row.after.clone(),
        action: DecisionAction::parse(&row.says).ok_or_else(|| broken("action"))?,
        reason: row.reason.as_deref().and_then(Code::new),
        rank: row.rank as u64,
        by: Label::new(&row.by).ok_or_else(|| broken("person"))?,
        note_hash: None,
    })
}

fn mark_entry(row: &DecisionRow) -> Result<Mark, DbError> {
    Ok(Mark {
        status: MarkStatus::parse(&row.says).ok_or_else(|| broken("mark"))?,
        reason: row.reason.as_deref().and_then(Code::new).ok_or_else(|| broken("reason"))?,
        rank: row.rank as u64,
        by: Label::new(&row.by).ok_or_else(|| broken("person"))?,
        after: row.after.clone(),
    })
}

fn broken(what: &str) -> DbError {
    DbError::Other(format!("a stored decision has an unreadable {what}"))
}
