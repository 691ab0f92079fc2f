//! `muster admin ...`: accounts from the command line, for the first one and for emergencies. The server may run meanwhile:
//! it notices within a second.

mod change;
mod create;
mod list;
mod unlock;

use std::io::{self, Write};

use clap::Subcommand;

use crate::app::{self, StartError};
use crate::audit::Actor;
use crate::clock::{Clock, SystemClock, SystemEntropy};
use crate::config::DataConfig;
use crate::db::Db;
use crate::ids::{self, TenantId};
use crate::telemetry;

pub(super) use create::{account, create_demo_accounts, create_first};

/// `muster admin ...`
#[derive(Debug, Subcommand)]
pub(super) enum Admin {
    /// Create an account.
    Create(create::Create),
    /// List accounts.
    List(list::List),
    /// Give an account another role; it must sign in again. The last active admin stays one.
    SetRole(change::SetRole),
    /// End the access of an account, and every sign-in of it. The last active admin stays active.
    Disable(change::Whom),
    /// Give an account its access back.
    Enable(change::Whom),
    /// Take the second factor of an account away, for somebody who lost the app and the backup codes.
    ResetMfa(change::Whom),
    /// Let an account, or everybody at an address, sign in again at once whom too many failures keep out.
    Unlock(unlock::Unlock),
    /// Say that the e-mail address of an account is theirs: because you know them, and no mail can tell.
    ConfirmEmail(change::Whom),
}

/// Runs the command.
pub(super) fn run(admin: Admin) -> Result<(), StartError> {
    match admin {
        Admin::Create(create) => create::run(&create),
        Admin::List(list) => list::run(&list),
        Admin::SetRole(set_role) => change::set_role(&set_role),
        Admin::Disable(whom) => change::disable(&whom),
        Admin::Enable(whom) => change::enable(&whom),
        Admin::ResetMfa(whom) => change::reset_mfa(&whom),
        Admin::Unlock(unlock) => unlock::run(&unlock),
        Admin::ConfirmEmail(whom) => change::confirm_email(&whom),
    }
}

/// Opens the database for one command, and closes it.
pub(super) fn with_database<T>(
    data: &DataConfig,
    work: impl FnOnce(&Db) -> Result<T, StartError>,
) -> Result<T, StartError> {
    telemetry::start(data).map_err(StartError::Other)?;
    let db = app::open_database(data, SystemClock.now_ms())?;
    let done = work(&db);
    db.close();
    done
}

/// The command line as the audit log names it, with an id of this run.
pub(super) fn actor() -> Actor {
    let id = ids::uuid_v7(&SystemClock, &SystemEntropy);
    Actor::command_line(TenantId::default_tenant(), &format!("cli-{}", ids::uuid_text(&id)))
}

/// Writes to the terminal; passwords never go to the log.
pub(super) fn tell(text: &str) -> Result<(), StartError> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| StartError::Io("standard output".to_owned(), error))
}

/// The same for a program that reads it.
pub(super) fn tell_json(value: &impl serde::Serialize) -> Result<(), StartError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| StartError::Other(error.to_string()))?;
    tell(&format!("{text}\n"))
}
