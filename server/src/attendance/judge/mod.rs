//! The job that judges: gathers facts, runs the checks, and writes a verdict only where it says something new.
//!
//! A submission whose selfie is on its way has no verdict yet; its record is `awaiting_media` until the image arrives or
//! `MEDIA_TIMEOUT_HOURS` are over. A submission without a class session waits for its plan.

mod facts;
mod media;

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::StreamExt;
use muster_sync_core::{
    DeviceKey, DocumentId, DocumentName, Locator,
    change::decode,
    document::{Code, Container, Entry, Verdict},
};

use self::facts::Facts;
use self::media::Waiting;
use super::checks::{self, EpochSecret, POLICY};
use super::fold::{Unfolded, newest_verdicts};
use super::limits::REJUDGED_AT_ONCE_MAX;
use super::project::JUDGE_JOB;
use super::{VerdictRow, queries};
use crate::app::App;
use crate::class_sessions;
use crate::db::{DbError, Tx};
use crate::devices;
use crate::error::{AppError, AppResult};
use crate::ids::TenantId;
use crate::jobs::{self, Job};
use crate::log::{self, Channel};

/// Documents that are judged at once; their faces wait for the cores.
const DOCUMENTS_AT_ONCE: usize = 16;
/// Documents of one call.
pub const JUDGE_BATCH_MAX: u32 = 32;
/// What came of one document.
struct Judged {
    tenant: TenantId,
    course: String,
    locator: Locator,
    name: DocumentName,
    document: DocumentId,
    verdicts: Vec<Verdict>,
    waiting: Waiting,
}

/// Judges the documents that jobs of the kind `judge` name; one answer per job, in their order.
pub async fn judge_batch(app: App, jobs: Vec<Job>) -> Vec<Result<(), String>> {
    let facts = match facts::gather(&app, &jobs).await {
        Ok(facts) => facts,
        Err(error) => return vec![Err(error.to_string()); jobs.len()],
    };
    let judging = facts.into_iter().map(|facts| {
        let app = app.clone();
        async move {
            match facts {
                Some(facts) => judge_document(&app, facts).await.map(Some),
                None => Ok(None),
            }
        }
    });
    let judged: Vec<AppResult<Option<Judged>>> =
        futures_util::stream::iter(judging).buffered(DOCUMENTS_AT_ONCE).collect().await;
    settle(&app, judged).await
}

/// Has the records of a student judged again that had no reference to compare with; the subject names the student.
pub async fn reference_changed(app: App, jobs: Vec<Job>) -> Vec<Result<(), String>> {
    let mut results = Vec::with_capacity(jobs.len());
    for job in jobs {
        let student = String::from_utf8_lossy(&job.subject).into_owned();
        let next = move |tx: &Tx<'_>, tenant: &TenantId, after, limit| {
            queries::flagged_with(tx, tenant, &student, ":no_reference,", after, limit)
        };
        results.push(judge_all_again(&app, &job.tenant, next).await);
    }
    app.wake_jobs();
    results
}

/// Has the records of keys judged again that signed two changes for one place; the subject is the key.
pub async fn device_forked(app: App, jobs: Vec<Job>) -> Vec<Result<(), String>> {
    let mut results = Vec::with_capacity(jobs.len());
    for job in jobs {
        let next = move |tx: &Tx<'_>, tenant: &TenantId, after, limit| {
            let Some(key) = DeviceKey::from_slice(&job.subject) else { return Ok(Vec::new()) };
            let Some(owner) = devices::owner_of(tx, tenant, &key)? else { return Ok(Vec::new()) };
            queries::signed_by(tx, tenant, &owner.user.to_string(), &key, after, limit)
        };
        results.push(judge_all_again(&app, &job.tenant, next).await);
    }
    app.wake_jobs();
    results
}

/// Has every record judged again that `next` gives, page by page and however many there are.
async fn judge_all_again<F>(app: &App, tenant: &TenantId, next: F) -> Result<(), String>
where
    F: Fn(&Tx<'_>, &TenantId, DocumentId, u32) -> Result<Vec<DocumentId>, DbError> + Send + Sync + 'static,
{
    let next = Arc::new(next);
    let mut after = DocumentId([0; 16]);
    loop {
        let (next, tenant, now_ms) = (Arc::clone(&next), tenant.clone(), app.now_ms());
        let written = app.db.write(move |tx: &Tx<'_>| {
            let documents = next(tx, &tenant, after, REJUDGED_AT_ONCE_MAX)?;
            documents.iter().try_for_each(|document| jobs::enqueue(tx, &tenant, JUDGE_JOB, &document.0, now_ms))?;
            Ok(documents.last().copied())
        });
        match written.await.map_err(|error: DbError| error.to_string())? {
            Some(last) => after = last,
            None => return Ok(()),
        }
    }
}

async fn judge_document(app: &App, facts: Facts) -> AppResult<Judged> {
    let secrets = facts::secrets(app, &facts.tenant, &facts.session).await?;
    let mut judged = Judged {
        tenant: facts.tenant.clone(),
        course: facts.session.course.clone(),
        locator: facts.record.locator,
        name: DocumentName::Attendance { locator: facts.record.locator, student: facts.record.student.clone() },
        document: facts.record.document,
        verdicts: Vec::new(),
        waiting: Waiting::of(&facts.record),
    };
    let newest = newest_verdicts(&facts.verdicts);
    // All of them, whenever something happens to one: an older verdict that was left as it is would go on counting.
    for index in 0..facts.submissions.len() {
        let verdict = judge_submission(app, &facts, index, secrets.as_deref(), &mut judged.waiting).await?;
        let Some(verdict) = verdict else { continue };
        if says_something_new(app, &facts.tenant, newest.get(&verdict.of).copied(), &verdict).await? {
            judged.verdicts.push(verdict);
        }
    }
    Ok(judged)
}

/// The verdict on one submission, or `None` while its selfie is on its way.
async fn judge_submission(
    app: &App,
    facts: &Facts,
    index: usize,
    secrets: Option<&[EpochSecret]>,
    waiting: &mut Waiting,
) -> AppResult<Option<Verdict>> {
    let submission = &facts.submissions[index];
    let seen = facts::look(app, facts, submission).await?;
    if waiting.note(app, submission, &seen) {
        return Ok(None);
    }
    let (faces, model) = facts::faces(app, facts, submission, &seen).await?;
    let judged = checks::judge(checks::CheckInput {
        submission,
        earlier: index,
        manifest: seen.manifest.as_ref(),
        session: &facts.session,
        secrets,
        server: facts.server,
        device: facts::device(app, facts, submission, seen.manifest.as_ref()).await?,
        enrolled: facts.enrolled,
        faces,
    });
    Ok(Some(Verdict {
        of: submission.hash,
        outcome: judged.outcome,
        risk: judged.risk,
        checks: judged.checks.to_bytes(),
        policy: Code::new(POLICY).ok_or_else(|| AppError::internal("the policy's version is no code"))?,
        model: model.as_deref().and_then(model_code),
    }))
}

/// The version of the models as a code, which has no slash: `pipeline/1` is written `pipeline.1`.
fn model_code(version: &str) -> Option<Code> {
    Code::new(&version.replace('/', "."))
}

/// Whether the verdict differs from the newest one on the same submission, whose checks stand in the log.
async fn says_something_new(
    app: &App,
    tenant: &TenantId,
    newest: Option<&VerdictRow>,
    verdict: &Verdict,
) -> AppResult<bool> {
    let Some(row) = newest else { return Ok(true) };
    if (row.outcome, row.risk) != (verdict.outcome, verdict.risk as i64) {
        return Ok(true);
    }
    let (tenant, log_index) = (tenant.clone(), row.log_index);
    let stored = app.db.read(move |tx: &Tx<'_>| log::read(tx, &tenant, log_index)).await;
    let Some(stored) = stored.map_err(|error: DbError| AppError::from(error))? else { return Ok(true) };
    let (_, body) = decode(&stored.change).map_err(AppError::internal)?;
    let entry = Entry::read(Container::Verdicts, &body.fields).map_err(AppError::internal)?;
    Ok(entry != Entry::Verdicts(verdict.clone()))
}

/// Writes everything that was judged, in one transaction per tenant; answers for each job.
async fn settle(app: &App, judged: Vec<AppResult<Option<Judged>>>) -> Vec<Result<(), String>> {
    let mut by_tenant: HashMap<TenantId, Vec<&Judged>> = HashMap::new();
    for judged in judged.iter().flatten().flatten() {
        by_tenant.entry(judged.tenant.clone()).or_default().push(judged);
    }
    let mut failed: HashMap<TenantId, String> = HashMap::new();
    for (tenant, judged) in &by_tenant {
        if let Err(error) = write(app, tenant, judged).await {
            failed.insert(tenant.clone(), error.to_string());
        }
    }
    let answer = |judged: &AppResult<Option<Judged>>| match judged {
        Err(error) => Err(error.to_string()),
        Ok(None) => Ok(()),
        Ok(Some(judged)) => failed.get(&judged.tenant).map_or(Ok(()), |error| Err(error.clone())),
    };
    judged.iter().map(answer).collect()
}

async fn write(app: &App, tenant: &TenantId, judged: &[&Judged]) -> AppResult<()> {
    let mut entries: Vec<(DocumentName, Vec<Channel>, Entry)> = Vec::new();
    let mut sessions: HashMap<DocumentId, (Locator, String)> = HashMap::new();
    let mut waiting = Vec::new();
    for judged in judged {
        sessions.insert(judged.document, (judged.locator, judged.course.clone()));
        for verdict in &judged.verdicts {
            let channels = log::channels_of(&judged.name, Some(&judged.course));
            entries.push((judged.name.clone(), channels, verdict.clone().into()));
        }
        if judged.waiting.has_something_to_say() {
            waiting.push(judged.waiting.clone());
        }
    }
    let (of, now_ms) = (tenant.clone(), app.now_ms());
    let rest_of = of.clone();
    let rest = move |tx: &Tx<'_>| waiting.iter().try_for_each(|waiting| waiting.write(tx, &rest_of, now_ms));
    if entries.is_empty() {
        return app.db.write(rest).await.map_err(|error: DbError| AppError::from(error));
    }
    let written = log::append_as_server(app, tenant, entries, move |tx, appended| {
        // A verdict that was worded before somebody contested the session would give the record its old course back. The
        // job comes again, and looks anew.
        for (locator, course) in sessions.values() {
            class_sessions::check_course(tx, &of, locator, Some(course))?;
        }
        let mut unfolded = Unfolded::default();
        for appended in appended {
            let course = sessions.get(&appended.document()).map(|(_, course)| course.as_str());
            unfolded.project(tx, appended, course)?;
        }
        unfolded.fold(tx)?;
        rest(tx).map_err(AppError::from)
    });
    written.await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_version_becomes_a_code() {
        assert_eq!(model_code("yunet-dlib128-mirror/1").unwrap().as_str(), "yunet-dlib128-mirror.1");
    }
}
