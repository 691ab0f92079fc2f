//! `muster admin unlock`: for whom too many failures keep out, beside a running server or without one.

use std::net::IpAddr;

use clap::Args;
use serde_json::json;

use super::{actor, tell, tell_json, with_database};
use crate::app::StartError;
use crate::auth::{self, Locks};
use crate::clock::{Clock, SystemClock};
use crate::config::{DataConfig, Secret};
use crate::db::{Db, DbError};

/// What to open; the same account may be named twice.
#[derive(Debug, Args)]
pub(in crate::cli) struct Unlock {
    #[command(flatten)]
    data: DataConfig,

    /// The server's TOKEN_PEPPER, under which it counts. Default: what the server keeps in DATA_DIR/keys.
    #[arg(long, env = "TOKEN_PEPPER", hide_env_values = true)]
    token_pepper: Option<Secret>,

    /// An account: its e-mail address, user name or id.
    #[arg(required_unless_present_any = ["email", "address"])]
    account: Option<String>,

    /// An account by its e-mail address.
    #[arg(long)]
    email: Option<String>,

    /// A network address whose users must wait; at IPv6 its network of 64 bits is meant.
    #[arg(long)]
    address: Option<IpAddr>,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(unlock: &Unlock) -> Result<(), StartError> {
    let mut lines = Vec::new();
    with_database(&unlock.data, |db| {
        for name in unlock.account.iter().chain(&unlock.email) {
            lines.push((name.clone(), account(db, &locks(unlock)?, name)?));
        }
        if let Some(address) = unlock.address {
            lines.push((address.to_string(), open_address(db, locks(unlock)?, address)?));
        }
        Ok(())
    })?;
    if unlock.json {
        let opened: Vec<_> = lines.iter().map(|(name, opened)| json!({ "name": name, "was_locked": opened })).collect();
        return tell_json(&opened);
    }
    lines.iter().try_for_each(|(name, opened)| match opened {
        true => tell(&format!("{name} may sign in again\n")),
        false => tell(&format!("nothing was counted against {name} on this server\n")),
    })
}

fn locks(unlock: &Unlock) -> Result<Locks, StartError> {
    Locks::open(unlock.token_pepper.as_ref(), &unlock.data.keys_dir())
}

fn account(db: &Db, locks: &Locks, name: &str) -> Result<bool, StartError> {
    let (actor, asked, now_ms, locks) = (actor(), name.to_owned(), SystemClock.now_ms(), locks.clone());
    let opened =
        db.write_blocking::<_, DbError, _>(move |tx| match auth::find_by_any_name(tx, &actor.tenant, &asked)? {
            Some(user) => locks.open_account(tx, &actor, &user, now_ms).map(Some),
            None => Ok(None),
        })?;
    opened.ok_or_else(|| StartError::Other(format!("there is no account {name}")))
}

fn open_address(db: &Db, locks: Locks, address: IpAddr) -> Result<bool, StartError> {
    let (actor, now_ms) = (actor(), SystemClock.now_ms());
    Ok(db.write_blocking::<_, DbError, _>(move |tx| locks.open_address(tx, &actor, address, now_ms))?)
}
