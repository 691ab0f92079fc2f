//! What a stranger bound to an account whose address they had typed: once the owner of the address has proved to be that, by a
//! password that was set by mail, the stranger's keys are not the owner's.

use muster_sync_core::DocumentName;
use muster_sync_core::document::{Binding, BindingAction, Code, Entry, Label};

use super::project::project;
use super::queries::{self, DeviceRow};
use super::rules::STAFF_DEVICES_MAX;
use crate::app::App;
use crate::audit::{self, Action, Actor, Event};
use crate::auth;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult};
use crate::ids::{TenantId, UserId};
use crate::jobs::Job;
use crate::log;

/// Why, in the signed entry and in the audit log.
const REASON: &str = "unconfirmed_address";
/// In whose name.
const SERVER: &str = "server";

/// The handler of [`auth::OWNER_PROVEN_JOB`].
pub async fn end_strangers_batch(app: App, jobs: Vec<Job>) -> Vec<Result<(), String>> {
    let mut results = Vec::with_capacity(jobs.len());
    for job in jobs {
        let user = std::str::from_utf8(&job.subject).ok().and_then(|text| text.parse::<UserId>().ok());
        results.push(match user {
            Some(user) => end_strangers(&app, &job.tenant, user).await.map_err(|error| error.to_string()),
            None => Ok(()),
        });
    }
    results
}

async fn end_strangers(app: &App, tenant: &TenantId, user: UserId) -> AppResult<()> {
    let asked = tenant.clone();
    let read = app.db.read(move |tx: &Tx<'_>| queries::devices_of(tx, &asked, user, STAFF_DEVICES_MAX as u32)).await;
    let devices: Vec<DeviceRow> = read.map_err(|error: DbError| AppError::from(error))?;
    let strange = |row: &DeviceRow| row.bound && row.owner.was_nobodys(row.bound_at_ms);
    let keys: Vec<_> = devices.into_iter().filter(strange).map(|row| row.key).collect();
    if keys.is_empty() {
        return Ok(());
    }
    let name = DocumentName::DeviceBinding { user: user.to_string() };
    let by = Label::new(SERVER).ok_or_else(|| AppError::internal("the server's name is no label"))?;
    let binding = |key| {
        let (reason, by) = (Code::new(REASON), by.clone());
        Entry::from(Binding { key, action: BindingAction::Revoke, of: None, reason, by })
    };
    let entries = keys.iter().map(|key| (name.clone(), log::channels_of(&name, None), binding(*key))).collect();
    let (tenant, now_ms, count) = (tenant.clone(), app.now_ms(), keys.len());
    log::append_as_server(app, &tenant.clone(), entries, move |tx, appended| {
        appended.iter().try_for_each(|entry| project(tx, entry, None))?;
        let name = || SERVER.to_owned();
        let actor = Actor { tenant: tenant.clone(), id: name(), role: name(), request_id: "-".to_owned() };
        for key in &keys {
            let id = key.to_string();
            let (action, reason) = (Action::DeviceRevoke, Some(REASON));
            audit::record(tx, &actor, &Event { action, kind: "device", id: &id, reason, result: "revoked" }, now_ms)?;
        }
        Ok::<_, AppError>(())
    })
    .await?;
    app.wake_jobs();
    auth::look_again(app, user).await?;
    tracing::info!(user.id = %user, count, "Ended what was bound before the account's owner proved to be that");
    Ok(())
}
