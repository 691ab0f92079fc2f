//! What waits: authentic changes whose device is not bound (or no longer), or whose predecessor has not arrived.

use axum::extract::State;
use muster_sync_core::{
    ChangeHash, DeviceKey, DocumentName, Locator,
    change::{self, SignedChange, Valid},
    document::genesis,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::ingest::{Admission, Outcome, Sender};
use super::prepare::Checked;
use super::queries::{self, Waiting};
use crate::app::App;
use crate::auth::{Allowed, permission::DevicesApprove};
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult};
use crate::http::Json;
use crate::ids::TenantId;
use crate::jobs::Job;
use crate::log::{self, ServerKey};

/// Changes of one device that may wait at once.
pub(super) const WAITING_PER_WRITER_MAX: i64 = 2_000;
/// Changes released in one transaction.
const RELEASED_AT_ONCE_MAX: usize = 100;
/// Rows that an admin sees at once.
const LISTED_MAX: i64 = 200;

/// Which changes are judged again.
pub(super) enum Which<'a> {
    /// The next one of the chain of a change that was just accepted.
    After(&'a Valid),
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
    if queries::is_discarded(tx, tenant, change.valid.hash)? {
        return Ok(Outcome::Refused("discarded"));
    }
    if queries::waiting_count(tx, &change.valid.writer)? >= WAITING_PER_WRITER_MAX {
        let sentence = "more than 2,000 changes of this device wait already; ask an admin to look at it";
        return admission.refuse(signed, "quarantine_full", sentence);
    }
    queries::keep_waiting(tx, admission.sender, change, signed, reason, admission.now_ms)?;
    Ok(Outcome::Quarantined(reason))
}

/// Judges waiting changes again, by the same pipeline, in the order of their chains.
pub(super) fn release_where(admission: &Admission<'_>, which: Which<'_>) -> Result<(), DbError> {
    let (tx, tenant) = (admission.tx, &admission.sender.tenant);
    let waiting = match which {
        Which::After(accepted) => queries::waiting_after(tx, accepted)?,
        Which::Session(locator) => queries::waiting_session(tx, tenant, locator, RELEASED_AT_ONCE_MAX)?,
        Which::Device(writer) => queries::waiting_device(tx, writer, RELEASED_AT_ONCE_MAX)?,
    };
    for row in waiting {
        match which {
            Which::After(accepted) if row.hash == accepted.hash => {
                queries::settle(tx, tenant, row.hash, "released", admission.now_ms)?;
            }
            _ => rejudge(admission, row)?,
        }
    }
    Ok(())
}

fn rejudge(admission: &Admission<'_>, row: Waiting) -> Result<(), DbError> {
    let tenant = &admission.sender.tenant;
    // What waits was checked when it came; a row that no longer reads is damage, and stays for the admin to see.
    let Ok(name) = DocumentName::from_parts(row.kind, [&row.key1, &row.key2]) else { return Ok(()) };
    let Ok(valid) = change::validate(tenant.as_str(), &name, &row.signed.bytes, &row.signed.signature) else {
        return Ok(());
    };
    let genesis = (valid.seq == 1).then(|| genesis::tip(valid.document, name.kind()));
    let checked = Checked { name, valid, genesis, evidence: None, code_key: row.code_key, first_received_ms: None };
    // An acceptance settles the row; whatever else comes out, the row says why it still waits.
    admission.judge(&checked, &row.signed).map(drop)
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
            release_where(&admission, Which::Device(&device))?;
            Ok::<_, DbError>((queries::unbound_count(tx, &device)?, admission.moved()))
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

/// A change that waits.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WaitingChange {
    /// The change.
    hash: String,
    /// `class-session`, `attendance` or `device-binding`.
    document: &'static str,
    /// The document's natural key.
    key: Vec<String>,
    /// The device's key.
    device: String,
    /// Why it waits.
    reason: String,
    /// Who sent it.
    sender_id: String,
    /// When it came.
    received_at: String,
}

/// The newest changes that wait for a person or a predecessor, at most 200.
#[utoipa::path(get, path = "/admin/quarantine", tag = "sync", responses((status = 200, body = Vec<WaitingChange>)))]
pub(super) async fn list_waiting(
    State(app): State<App>,
    admin: Allowed<DevicesApprove>,
) -> AppResult<Json<Vec<WaitingChange>>> {
    let tenant = admin.tenant.clone();
    let rows = app.db.read(move |tx: &Tx<'_>| queries::list_waiting(tx, &tenant, LISTED_MAX)).await;
    let rows = rows.map_err(|error: DbError| AppError::from(error))?;
    let shown = rows.into_iter().map(|row| WaitingChange {
        hash: ChangeHash(row.hash).to_string(),
        document: match row.kind {
            1 => "class-session",
            2 => "attendance",
            _ => "device-binding",
        },
        key: [row.key1, row.key2].into_iter().filter(|part| !part.is_empty()).collect(),
        device: DeviceKey(row.writer).to_string(),
        reason: row.reason,
        sender_id: row.sender_id,
        received_at: crate::clock::iso_utc(row.received_at_ms),
    });
    Ok(Json(shown.collect()))
}

/// A change that was refused.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RefusedChange {
    /// SHA-256 of the bytes as they came.
    bytes_sha256: String,
    /// Size of the bytes that are kept.
    size_bytes: i64,
    /// Why.
    reason: String,
    /// Why, in words.
    detail: String,
    /// Who sent it.
    sender_id: String,
    /// How often.
    times: i64,
    /// The last time.
    last_at: String,
}

/// The newest refused changes, at most 200.
#[utoipa::path(get, path = "/admin/refusals", tag = "sync", responses((status = 200, body = Vec<RefusedChange>)))]
pub(super) async fn list_refused(
    State(app): State<App>,
    admin: Allowed<DevicesApprove>,
) -> AppResult<Json<Vec<RefusedChange>>> {
    let tenant = admin.tenant.clone();
    let rows = app.db.read(move |tx: &Tx<'_>| queries::list_refused(tx, &tenant, LISTED_MAX)).await;
    let rows = rows.map_err(|error: DbError| AppError::from(error))?;
    let shown = rows.into_iter().map(|row| RefusedChange {
        bytes_sha256: ChangeHash(row.bytes_sha256).to_string(),
        size_bytes: row.size_bytes,
        reason: row.reason,
        detail: row.detail,
        sender_id: row.sender_id,
        times: row.times,
        last_at: crate::clock::iso_utc(row.last_at_ms),
    });
    Ok(Json(shown.collect()))
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
