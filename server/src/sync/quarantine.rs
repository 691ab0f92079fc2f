//! What waits: authentic changes whose device is not bound (or no longer), or whose predecessor has not arrived.

use std::borrow::Cow;

use muster_sync_core::{
    DeviceKey, DocumentName, Locator,
    change::{self, SignedChange, Valid},
    document::genesis,
};

use super::budget;
use super::ingest::{Admission, Outcome, Sender};
use super::prepare::Checked;
use super::queries::{self, Kept, Settled, Waiting};
use crate::app::App;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult};
use crate::evidence;
use crate::ids::TenantId;
use crate::jobs::Job;
use crate::log::{self, ServerKey};

/// Changes released in one transaction.
const RELEASED_AT_ONCE_MAX: usize = 100;
/// Which changes are judged again.
#[derive(Debug, Clone, Copy)]
pub(super) enum Which<'a> {
    /// The next one of the chain of a change that was just accepted.
    After(&'a Valid),
    /// The one that a change follows which existed before its key was revoked.
    Before(&'a Valid),
    /// Those that waited for a class session to be known.
    Session(&'a Locator),
    /// Those that waited for their device to be bound.
    Device(&'a DeviceKey),
}

/// Keeps a change until somebody, or its predecessor, settles it.
pub(super) fn keep(
    admission: &Admission<'_>,
    change: &Checked,
    signed: &SignedChange,
    reason: &'static str,
) -> Result<Outcome, DbError> {
    let (tx, tenant) = (admission.tx, &admission.sender.tenant);
    let payer = admission.payer_of(change)?;
    let size_bytes = budget::size_bytes(change, signed.bytes.len());
    // What waits already has its place; it may only wait for another reason now.
    if !queries::waits(tx, tenant, change.valid.hash)? {
        if let Some(reason) = admission.no_room_to_wait(payer, change, size_bytes)? {
            return Ok(Outcome::Retry(reason));
        }
        admission.count_waiting(payer, change, size_bytes)?;
    }
    let kept = Kept { signed, reason, payer, size_bytes };
    queries::keep_waiting(tx, admission.sender, change, &kept, admission.now_ms)?;
    expect_images(admission, change)?;
    Ok(Outcome::Quarantined(reason))
}

/// What belongs to a waiting change waits with it. Its images are expected at once only if their student sent it, from a
/// phone that is not approved yet: what a stranger's key says about somebody is asked of nobody.
fn expect_images(admission: &Admission<'_>, change: &Checked) -> Result<(), DbError> {
    let (Some(seen), DocumentName::Attendance { student, .. }) = (&change.evidence, &change.name) else {
        return Ok(());
    };
    if *student != admission.applicant.get().to_string() {
        return Ok(());
    }
    let (tenant, hash) = (&admission.sender.tenant, change.valid.hash);
    evidence::expect_for_waiting(admission.tx, tenant, student, hash, &seen.images, admission.now_ms)
}

/// The fate of a change that a person discarded, with the person's reason.
pub(super) fn discarded(reason: &str) -> Cow<'static, str> {
    if reason.is_empty() { Cow::Borrowed("discarded") } else { Cow::Owned(format!("discarded.{reason}")) }
}

/// Notes waiting changes, to be judged again in the order of their chains.
pub(super) fn note(admission: &Admission<'_>, which: Which<'_>) -> Result<(), DbError> {
    let (tx, tenant) = (admission.tx, &admission.sender.tenant);
    let mut waiting = match which {
        Which::After(accepted) => queries::waiting_after(tx, accepted)?,
        Which::Before(witnessed) => queries::waiting_revoked(tx, tenant, witnessed.dep)?.into_iter().collect(),
        Which::Session(locator) => queries::waiting_session(tx, tenant, locator)?,
        Which::Device(writer) => queries::waiting_device(tx, tenant, writer, RELEASED_AT_ONCE_MAX)?,
    };
    if let Which::After(accepted) = which {
        if waiting.iter().any(|row| row.hash == accepted.hash) {
            queries::settle(tx, tenant, accepted.hash, &Settled::RELEASED, admission.now_ms)?;
        }
        waiting.retain(|row| row.hash != accepted.hash);
    }
    admission.again.borrow_mut().extend(waiting);
    Ok(())
}

/// Judges again what was noted, and what comes to be noted by that, until nothing is left.
pub(super) fn judge_again(admission: &Admission<'_>) -> Result<(), DbError> {
    loop {
        let Some(row) = admission.again.borrow_mut().pop_front() else { return Ok(()) };
        rejudge(admission, &row)?;
    }
}

/// Judges a waiting change by the pipeline that judged it when it came, with the state of today. `None` for a row that
/// no longer reads: that is damage, and it stays for the admin to see.
pub(super) fn rejudge(admission: &Admission<'_>, row: &Waiting) -> Result<Option<Outcome>, DbError> {
    let tenant = &admission.sender.tenant;
    let Ok(name) = DocumentName::from_parts(row.kind, [&row.key1, &row.key2]) else { return Ok(None) };
    let Ok(valid) = change::validate(tenant.as_str(), &name, &row.signed.bytes, &row.signed.signature) else {
        return Ok(None);
    };
    let genesis = (valid.seq == 1).then(|| genesis::tip(valid.document, name.kind()));
    let checked =
        Checked { name, valid, genesis, evidence: None, code_key: row.code_key.clone(), first_received_ms: None };
    let sender = admission.applicant.get();
    admission.waited.set(true);
    if let Ok(own) = row.sender_id.parse() {
        admission.applicant.set(own);
    }
    // An acceptance settles the row; if it goes on waiting, the row says why.
    let outcome = admission.judge(&checked, &row.signed);
    admission.applicant.set(sender);
    admission.waited.set(false);
    let outcome = outcome?;
    if let Outcome::Refused(code) = &outcome {
        let settled = Settled { state: "discarded", by: None, reason: Some(code), tell: true };
        queries::settle(admission.tx, tenant, row.hash, &settled, admission.now_ms)?;
    }
    Ok(Some(outcome))
}

/// Releases everything that waited for a device to be bound.
///
/// # Errors
/// When the database fails.
async fn release(app: &App, tenant: &TenantId, device: DeviceKey) -> AppResult<()> {
    let server = ServerKey::of(app)?.public();
    let mut before = None;
    loop {
        let (tenant_of_job, now_ms) = (tenant.clone(), app.now_ms());
        let written = app.db.write(move |tx: &Tx<'_>| {
            let Some(owner) = crate::devices::owner_of(tx, &tenant_of_job, &device)? else {
                return Ok((0, Vec::new()));
            };
            let sender = Sender { tenant: tenant_of_job.clone(), user: owner.user };
            let admission = Admission::new(tx, &sender, server, now_ms);
            note(&admission, Which::Device(&device))?;
            judge_again(&admission)?;
            Ok::<_, DbError>((queries::unbound_count(tx, &tenant_of_job, &device)?, admission.finish()?))
        });
        let (left, moved) = written.await.map_err(AppError::from)?;
        log::announce(app, tenant, &moved);
        app.wake_jobs();
        // What is judged again and still waits (a revoked device, a gap) must not keep this loop alive.
        if left == 0 || before == Some(left) {
            return Ok(());
        }
        before = Some(left);
    }
}

/// The handler of [`crate::devices::RELEASE_JOB`]: the subject is the device's key.
pub async fn release_batch(app: App, jobs: Vec<Job>) -> Vec<Result<(), String>> {
    let mut settled = Vec::with_capacity(jobs.len());
    for job in jobs {
        settled.push(match DeviceKey::from_slice(&job.subject) {
            Some(device) => release(&app, &job.tenant, device).await.map_err(|error| error.to_string()),
            None => Err("the subject is not a device key".to_owned()),
        });
    }
    settled
}
