//! Opening what too many failures closed, by hand: an account, or an address.

use std::net::IpAddr;
use std::path::Path;

use axum::extract::State;
use axum::http::StatusCode;
use data_encoding::HEXLOWER;

use super::locks::{ACCOUNT_FAILURES, ADDRESS_FAILURES, SHOWN_BYTES};
use super::{Key, KeyHash, Rate, hash_under, queries};
use crate::app::{App, StartError};
use crate::audit::{self, Action, Actor, Event};
use crate::auth::current_user::Allowed;
use crate::auth::pepper::{HashKey, Pepper};
use crate::auth::permission::UsersWrite;
use crate::auth::state::AuthState;
use crate::auth::users::{self, User};
use crate::config::Secret;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{ClientIp, Path as UrlPath, RequestId};
use crate::ids::UserId;

/// The key under which counters and locks are named.
#[derive(Clone)]
pub struct Locks(HashKey);

impl Locks {
    /// As the server has it: from TOKEN_PEPPER, or from the file that the server made. Makes nothing. Blocks.
    ///
    /// # Errors
    /// When there is neither.
    pub fn open(token_pepper: Option<&Secret>, keys_dir: &Path) -> Result<Self, StartError> {
        Ok(Self(Pepper::of_server(token_pepper, keys_dir)?.key("counters")))
    }

    /// The account and whoever signs in to it need not wait any more; false when they did not have to.
    ///
    /// # Errors
    /// When the database fails.
    pub fn open_account(&self, tx: &Tx<'_>, actor: &Actor, user: &User, now_ms: i64) -> Result<bool, DbError> {
        let names = std::iter::once(user.email.as_str()).chain(user.username.as_deref());
        let tries = names.map(|name| self.key(Rate::LoginAccount.name(), Key::Account(&user.tenant, name)));
        let failures = self.key(ACCOUNT_FAILURES, Key::User(user.id));
        let opened = forget(tx, &failures, tries)?;
        note(tx, actor, ("account", &user.id.to_string()), opened, now_ms)?;
        Ok(opened)
    }

    /// The same for an address, and at IPv6 for its network of 64 bits.
    ///
    /// # Errors
    /// When the database fails.
    pub fn open_address(&self, tx: &Tx<'_>, actor: &Actor, address: IpAddr, now_ms: i64) -> Result<bool, DbError> {
        let client = ClientIp(address.to_canonical());
        let rates = [Rate::LoginAddress, Rate::SignUpAddress, Rate::ResetAddress, Rate::OauthFailures];
        let tries = rates.into_iter().map(|rate| self.key(rate.name(), Key::Address(client)));
        let failures = self.key(ADDRESS_FAILURES, Key::Address(client));
        let opened = forget(tx, &failures, tries)?;
        note(tx, actor, ("address", &HEXLOWER.encode(&failures[..SHOWN_BYTES])), opened, now_ms)?;
        Ok(opened)
    }

    fn key(&self, purpose: &str, key: Key<'_>) -> KeyHash {
        hash_under(&self.0, purpose, key)
    }
}

fn forget(tx: &Tx<'_>, failures: &KeyHash, tries: impl Iterator<Item = KeyHash>) -> Result<bool, DbError> {
    let mut opened = queries::failures_of(tx, failures)?.is_some();
    queries::forget_failures(tx, failures)?;
    for key in tries {
        opened |= queries::count_of(tx, &key)?.is_some();
        queries::forget_count(tx, &key)?;
    }
    Ok(opened)
}

fn note(
    tx: &Tx<'_>,
    actor: &Actor,
    (kind, id): (&'static str, &str),
    opened: bool,
    now_ms: i64,
) -> Result<(), DbError> {
    if !opened {
        return Ok(());
    }
    let event = Event { action: Action::SignInUnlock, kind, id, reason: None, result: "unlocked" };
    audit::record(tx, actor, &event, now_ms)
}

/// Lets somebody sign in again at once whom too many failures, their own or a stranger's, keep out.
#[utoipa::path(
    post, path = "/admin/users/{id}/unlock", tag = "accounts", params(("id" = UserId, Path)),
    responses((status = 204, description = "nobody waits now"), (status = 404, body = ErrorEnvelope))
)]
pub(in crate::auth) async fn unlock_user(
    State(app): State<App>,
    allowed: Allowed<UsersWrite>,
    request: RequestId,
    UrlPath(id): UrlPath<UserId>,
) -> AppResult<StatusCode> {
    let locks = Locks(AuthState::of(&app)?.counter_key.clone());
    let (actor, now_ms) = (allowed.actor(&request), app.now_ms());
    let found = app.db.write(move |tx| match users::find(tx, &actor.tenant, id)? {
        Some(user) => locks.open_account(tx, &actor, &user, now_ms).map(Some),
        None => Ok(None),
    });
    let found: Result<Option<bool>, DbError> = found.await;
    found?.map(|_| StatusCode::NO_CONTENT).ok_or_else(|| AppError::not_found("the account"))
}
