//! From entries of attendance documents to rows. Rows depend on the log and its order alone, and the state of a record
//! on the fold alone, which runs once per document at the end of a transaction; see [`Unfolded`].
//!
//! A first submission costs three statements: its row, the record's row and the job.

use std::collections::{BTreeMap, BTreeSet};

use muster_sync_core::{
    DocumentName, Locator,
    document::{Decision, Entry, Mark, Outcome, Submission, Verdict},
    evidence::{CheckOutcome, Checks},
};

use super::fold::Unfolded;
use super::queries;
use super::rows::{DecisionRow, SubmissionRow, VerdictRow};
use crate::class_sessions;
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

/// Projects one entry of an attendance document and folds the document. `course` is that of the class session, if its
/// plan has arrived. Where several entries are written at once, [`Unfolded`] folds each document only once.
///
/// # Errors
/// When the database fails.
pub fn project(tx: &Tx<'_>, appended: &Appended, course: Option<&str>) -> Result<(), DbError> {
    let mut unfolded = Unfolded::default();
    unfolded.project(tx, appended, course)?;
    unfolded.fold(tx)
}

/// Writes the rows of an entry; says whether the document is to be folded.
pub(super) fn insert(tx: &Tx<'_>, appended: &Appended, course: Option<&str>) -> Result<bool, DbError> {
    let DocumentName::Attendance { locator, student } = &appended.name else { return Ok(false) };
    let (document, named) = (appended.document(), (locator, student.as_str()));
    match &appended.valid.entry {
        Entry::Submissions(submission) => {
            queries::insert_submission(tx, document, &submission_row(appended, submission))?;
            queries::upsert_record(tx, appended, named, course, Some(submission.captured_at_ms))?;
            jobs::enqueue(tx, &appended.tenant, JUDGE_JOB, &document.0, appended.received_at_ms)?;
            // Without a verdict of its own it changes no state but the first, which the row begins with.
            return Ok(false);
        }
        Entry::Verdicts(verdict) => queries::insert_verdict(tx, document, &verdict_row(appended, verdict))?,
        Entry::Decisions(decision) => queries::insert_decision(tx, document, &decision_row(appended, decision))?,
        Entry::Marks(mark) => queries::insert_decision(tx, document, &mark_row(appended, mark))?,
        Entry::Appeals(appeal) => queries::insert_appeal(tx, appended, &appeal.of, appeal.reason.as_str())?,
        _ => return Ok(false),
    }
    queries::upsert_record(tx, appended, named, course, None)?;
    Ok(true)
}

/// The records of a session follow it: into the course whose plan stands, to whose staff they are shown and by whose
/// code they are judged; out of every course while several people contest the session. Called when another plan or key
/// stands, so all of them are judged anew. Gives the channels that got something.
///
/// # Errors
/// When the database fails.
pub fn follow_session(tx: &Tx<'_>, tenant: &TenantId, locator: &Locator, now_ms: i64) -> Result<Vec<Channel>, DbError> {
    let course = class_sessions::course_of(tx, tenant, locator)?;
    let moving = queries::of_other_course(tx, tenant, locator, course.as_deref())?;
    let mut leaving: BTreeMap<&str, BTreeSet<i64>> = BTreeMap::new();
    for (document, before) in &moving {
        let Some(before) = before else { continue };
        leaving.entry(before).or_default().extend(queries::log_indexes(tx, *document)?);
    }
    for (before, log_indexes) in leaving {
        log::take_from(tx, tenant, &Channel::CourseStaff(before.to_owned()), &log_indexes)?;
    }
    queries::set_course(tx, tenant, locator, course.as_deref())?;
    let Some(course) = course else { return Ok(Vec::new()) };
    let staff = Channel::CourseStaff(course);
    for (document, _) in &moving {
        log::place_in(tx, tenant, &staff, &queries::log_indexes(tx, *document)?)?;
    }
    for document in queries::of_session(tx, tenant, locator)? {
        jobs::enqueue(tx, tenant, JUDGE_JOB, &document.0, now_ms)?;
    }
    Ok(if moving.is_empty() { Vec::new() } else { vec![staff] })
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
