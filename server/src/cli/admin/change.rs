//! `muster admin set-role`, `disable`, `enable`, `reset-mfa` and `confirm-email`.

use clap::Args;
use serde_json::json;

use super::{actor, tell, tell_json, with_database};
use crate::accounts;
use crate::app::StartError;
use crate::auth::{self, MfaReset, Role, Status, Updated, User, UserChange};
use crate::clock::{Clock, SystemClock};
use crate::config::DataConfig;
use crate::db::{Db, DbError};

/// An account.
#[derive(Debug, Args)]
pub(in crate::cli) struct Whom {
    #[command(flatten)]
    pub(super) data: DataConfig,

    /// Its e-mail address, user name or id.
    pub(super) account: String,

    /// Print the account as JSON.
    #[arg(long)]
    json: bool,
}

/// An account and a role.
#[derive(Debug, Args)]
pub(in crate::cli) struct SetRole {
    #[command(flatten)]
    whom: Whom,

    /// guest, student, lecturer, reviewer, staff or admin.
    role: Role,
}

/// Runs `set-role`.
pub(super) fn set_role(set_role: &SetRole) -> Result<(), StartError> {
    let change = UserChange { role: Some(set_role.role), ..UserChange::default() };
    let (before, after) = apply(&set_role.whom, change)?;
    let words = match before.role == after.role {
        true => format!("{} is {} already\n", after.email, after.role),
        false => format!("{}: {} -> {}; every sign-in has ended\n", after.email, before.role, after.role),
    };
    tell_changed(&set_role.whom, &after, &words)
}

/// Runs `disable`.
pub(super) fn disable(whom: &Whom) -> Result<(), StartError> {
    let (_, after) = apply(whom, UserChange { status: Some(Status::Disabled), ..UserChange::default() })?;
    tell_changed(whom, &after, &format!("{} is disabled; every sign-in has ended\n", after.email))
}

/// Runs `enable`.
pub(super) fn enable(whom: &Whom) -> Result<(), StartError> {
    let (_, after) = apply(whom, UserChange { status: Some(Status::Active), ..UserChange::default() })?;
    tell_changed(whom, &after, &format!("{} is active\n", after.email))
}

/// Runs `confirm-email`.
pub(super) fn confirm_email(whom: &Whom) -> Result<(), StartError> {
    let (_, after) = apply(whom, UserChange { email_confirmed: Some(true), ..UserChange::default() })?;
    let words = format!("{} is the address of {} ({})\n", after.email, after.display_name, after.id);
    tell_changed(whom, &after, &words)
}

/// Whether a name says whom it means: an address that nobody confirmed is nobody's.
fn names_somebody(name: &str, user: &User) -> bool {
    !name.contains('@') || user.email_confirmed_at_ms.is_some()
}

fn unconfirmed(whom: &Whom) -> StartError {
    let name = &whom.account;
    let text = format!(
        "nobody confirmed that the address {name} is this account's: anybody may have typed it. Say which account you \
         mean by its id (muster admin list --search {name}), or first muster admin confirm-email"
    );
    StartError::Other(text)
}

/// Runs `reset-mfa`.
pub(super) fn reset_mfa(whom: &Whom) -> Result<(), StartError> {
    let (actor, name, now_ms) = (actor(), whom.account.clone(), SystemClock.now_ms());
    let reset = with_database(&whom.data, |db| {
        let written =
            db.write_blocking::<_, DbError, _>(move |tx| match auth::find_by_any_name(tx, &actor.tenant, &name)? {
                Some(user) if !names_somebody(&name, &user) => Ok(None),
                Some(user) => auth::reset_mfa(tx, &actor, user.id, now_ms).map(Some),
                None => Ok(Some(MfaReset::NoSuchUser)),
            });
        Ok(written?)
    })?;
    let reset = reset.ok_or_else(|| unconfirmed(whom))?;
    if whom.json && !matches!(reset, MfaReset::NoSuchUser) {
        return tell_json(&json!({ "account": whom.account, "reset": matches!(reset, MfaReset::Done) }));
    }
    match reset {
        MfaReset::Done => tell(&format!("{} signs in without a second factor now\n", whom.account)),
        MfaReset::NotEnabled => tell(&format!("{} had no second factor\n", whom.account)),
        MfaReset::NoSuchUser => Err(unknown(whom)),
    }
}

fn tell_changed(whom: &Whom, after: &User, words: &str) -> Result<(), StartError> {
    if whom.json { tell_json(after) } else { tell(words) }
}

fn unknown(whom: &Whom) -> StartError {
    StartError::Other(format!("there is no account {}", whom.account))
}

fn apply(whom: &Whom, change: UserChange) -> Result<(User, User), StartError> {
    match with_database(&whom.data, |db| write(db, &whom.account, change))?.ok_or_else(|| unconfirmed(whom))? {
        Updated::Done(users) => Ok(*users),
        Updated::Unknown => Err(unknown(whom)),
        Updated::LastAdmin => {
            let text = "this is the last active admin, without whom nobody could administer the institution; make \
                        another one first: muster admin create";
            Err(StartError::Other(text.to_owned()))
        }
        Updated::Taken => Err(StartError::Other("another account has that".to_owned())),
    }
}

/// `None` when the name is an address that nobody confirmed, and the change would give somebody something.
fn write(db: &Db, name: &str, change: UserChange) -> Result<Option<Updated>, StartError> {
    let (actor, name, now_ms) = (actor(), name.to_owned(), SystemClock.now_ms());
    let written =
        db.write_blocking::<_, DbError, _>(move |tx| match auth::find_by_any_name(tx, &actor.tenant, &name)? {
            Some(user) if gives(&change) && !names_somebody(&name, &user) => Ok(None),
            Some(user) => accounts::change(tx, &actor, user.id, &change, now_ms).map(Some),
            None => Ok(Some(Updated::Unknown)),
        });
    Ok(written?)
}

fn gives(change: &UserChange) -> bool {
    change.role.is_some() || change.status == Some(Status::Active)
}
