//! How often somebody may try something: counters and locks in SQL, which survive a restart and a request that fails.
//!
//! Whatever is counted is committed whatever becomes of the request: [`take`] does so by a write of its own before the work
//! is done, and a transaction that takes from a [`Counter`] commits when it refuses. So neither a failure nor many requests
//! at once give anybody a further try. Keys are hashed under a key of the server.

pub(super) mod locks;
mod queries;
pub(super) mod unlock;

use std::time::Duration;

use super::limits;
use super::pepper::HashKey;
use super::state::AuthState;
use crate::app::App;
use crate::config::RateConfig;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult};
use crate::http::ClientIp;
use crate::ids::{TenantId, UserId};

/// Something that is allowed so many times within a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rate {
    /// Sign-ins of an address: RL_LOGIN_IP_LIMIT within 10 minutes.
    LoginAddress,
    /// Sign-ins of an account: RL_LOGIN_EMAIL_LIMIT within 10 minutes.
    LoginAccount,
    /// Sign-ups of an address: RL_SIGNUP_IP_LIMIT within an hour.
    SignUpAddress,
    /// Sign-ups with one e-mail address, each of which sends mail there: RL_SIGNUP_IP_LIMIT within an hour.
    SignUpAccount,
    /// Requests for a new password of an address: RL_RESET_IP_LIMIT within an hour.
    ResetAddress,
    /// Requests for a new password of an account: RL_RESET_EMAIL_LIMIT within an hour.
    ResetAccount,
    /// Ways back from a provider that came to nothing, of an address: 600 within 10 minutes. Taken before it
    /// is looked at, given back by [`forget`].
    OauthFailures,
    /// Renewals of a user's tokens: RL_REFRESH_USER_LIMIT within an hour.
    Renewals,
    /// Wrong codes held against one enrolment of a second factor: 5 within any 15 minutes.
    MfaFailures,
}

/// Whose tries are counted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Key<'a> {
    /// An address; many people share one of the campus.
    Address(ClientIp),
    /// An account by the name that was typed, whether it exists or not.
    Account(&'a TenantId, &'a str),
    /// A user.
    User(UserId),
    /// An enrolment of a second factor, by its id.
    Enrolment(&'a str),
}

/// What stands in the database for a key.
pub(super) type KeyHash = [u8; 32];

impl Rate {
    const fn name(self) -> &'static str {
        match self {
            Self::LoginAddress => "login address",
            Self::LoginAccount => "login account",
            Self::SignUpAddress => "sign-up address",
            Self::SignUpAccount => "sign-up account",
            Self::ResetAddress => "reset address",
            Self::ResetAccount => "reset account",
            Self::OauthFailures => "oauth failures",
            Self::Renewals => "renewals",
            Self::MfaFailures => "mfa failures",
        }
    }

    const fn window(self) -> Duration {
        match self {
            Self::LoginAddress | Self::LoginAccount => limits::LOGIN_WINDOW,
            Self::SignUpAddress | Self::SignUpAccount => limits::SIGN_UP_WINDOW,
            Self::ResetAddress | Self::ResetAccount => limits::RESET_WINDOW,
            Self::OauthFailures => limits::OAUTH_FAILURES_WINDOW,
            Self::Renewals => limits::RENEWALS_WINDOW,
            Self::MfaFailures => limits::MFA_FAILURES_WINDOW,
        }
    }

    const fn limit(self, config: &RateConfig) -> u32 {
        match self {
            Self::LoginAddress => config.rl_login_ip_limit,
            Self::LoginAccount => config.rl_login_email_limit,
            Self::SignUpAddress | Self::SignUpAccount => config.rl_signup_ip_limit,
            Self::ResetAddress => config.rl_reset_ip_limit,
            Self::ResetAccount => config.rl_reset_email_limit,
            Self::OauthFailures => limits::OAUTH_FAILURES_MAX,
            Self::Renewals => config.rl_refresh_user_limit,
            Self::MfaFailures => limits::MFA_FAILURES_MAX,
        }
    }

    /// Whether each try is forgotten by itself, a window after it. Otherwise all of them are, a window after the first.
    const fn slides(self) -> bool {
        matches!(self, Self::MfaFailures)
    }
}

/// The counters of one rate, for a transaction that learns only inside whose tries it counts.
#[derive(Clone)]
pub(super) struct Counters {
    rate: Rate,
    limit: i64,
    key: HashKey,
}

impl Counters {
    pub(super) fn of(app: &App, rate: Rate) -> AppResult<Self> {
        let limit = i64::from(rate.limit(&app.config.rates));
        Ok(Self { rate, limit, key: AuthState::of(app)?.counter_key.clone() })
    }

    /// The counter of a key.
    pub(super) fn counter(&self, key: Key<'_>) -> Counter {
        let (name, window_ms) = (self.rate.name(), self.rate.window().as_millis() as i64);
        let (slots, limit) = if self.rate.slides() {
            let slot = |number| hash_under(&self.key, &format!("{name} {number}"), key);
            ((0..self.limit).map(slot).collect(), 1)
        } else {
            (vec![hash_under(&self.key, name, key)], self.limit)
        };
        Counter { slots, limit, window_ms }
    }
}

/// One counter and its bounds.
#[derive(Debug, Clone)]
pub(super) struct Counter {
    /// The rows that it counts in: one, or for each try one of its own.
    slots: Vec<KeyHash>,
    /// Tries that a row holds.
    limit: i64,
    window_ms: i64,
}

/// What is free of a counter.
enum Room<'a> {
    /// A row for the next try, and how it stands with that try in it.
    Free(&'a KeyHash, queries::Count),
    /// Milliseconds until there is one.
    After(i64),
}

impl Counter {
    fn new(app: &App, rate: Rate, key: Key<'_>) -> AppResult<Self> {
        let counter = Counters::of(app, rate)?.counter(key);
        Ok(Self { limit: counter.limit * campus_factor(app, key), ..counter })
    }

    fn room(&self, tx: &Tx<'_>, now_ms: i64) -> Result<Room<'_>, DbError> {
        let mut wait_ms = self.window_ms;
        for slot in &self.slots {
            let fresh = queries::Count { count: 0, ends_at_ms: now_ms + self.window_ms };
            let held = queries::count_of(tx, slot)?.filter(|stored| stored.holds(now_ms, self.window_ms));
            let stored = held.unwrap_or(fresh);
            if stored.count < self.limit {
                return Ok(Room::Free(slot, queries::Count { count: stored.count + 1, ..stored }));
            }
            wait_ms = wait_ms.min(stored.ends_at_ms - now_ms);
        }
        Ok(Room::After(wait_ms))
    }

    /// Milliseconds until there is room again; 0 when there is.
    pub(super) fn wait_ms(&self, tx: &Tx<'_>, now_ms: i64) -> Result<i64, DbError> {
        match self.room(tx, now_ms)? {
            Room::Free(..) => Ok(0),
            Room::After(wait_ms) => Ok(wait_ms),
        }
    }

    /// Counts a try, or says how many milliseconds to wait when the counter is used up; 0 when it was counted.
    pub(super) fn take(&self, tx: &Tx<'_>, now_ms: i64) -> Result<i64, DbError> {
        match self.room(tx, now_ms)? {
            Room::Free(slot, counted) => queries::set_count(tx, slot, counted).map(|()| 0),
            Room::After(wait_ms) => Ok(wait_ms),
        }
    }

    /// Gives every try back.
    fn forget(&self, tx: &Tx<'_>) -> Result<(), DbError> {
        self.slots.iter().try_for_each(|slot| queries::forget_count(tx, slot))
    }
}

/// An address of the campus stands for many people.
fn campus_factor(app: &App, key: Key<'_>) -> i64 {
    match key {
        Key::Address(client) if client.is_campus(app) => i64::from(app.config.rates.rl_campus_factor),
        _ => 1,
    }
}

fn key_hash(app: &App, purpose: &str, key: Key<'_>) -> AppResult<KeyHash> {
    Ok(hash_under(&AuthState::of(app)?.counter_key, purpose, key))
}

/// A hash that only this institution's servers can make, so that a copy of the table names nobody.
fn hash_under(hash_key: &HashKey, purpose: &str, key: Key<'_>) -> KeyHash {
    let whose = match key {
        Key::Address(client) => client.key().to_string(),
        Key::Account(tenant, name) => format!("{tenant}\0{name}"),
        Key::User(user) => user.to_string(),
        Key::Enrolment(id) => id.to_owned(),
    };
    hash_key.hash(format!("{purpose}\0{whose}").as_bytes())
}

/// Counts a try under each key, in a commit of its own. When one of them is used up nothing is counted.
///
/// # Errors
/// 429 `RATE_LIMITED` with `Retry-After`.
pub(crate) async fn take(app: &App, tries: &[(Rate, Key<'_>)]) -> AppResult<()> {
    let counters = counters(app, tries)?;
    let now_ms = app.now_ms();
    let wanted = counters.clone();
    // Whoever is over a limit costs a read, and never a commit.
    let full = app.db.read(move |tx| longest_wait_ms(tx, &wanted, now_ms)).await?;
    let wait_ms = if full > 0 { full } else { app.db.write(move |tx| count(tx, &counters, now_ms)).await? };
    if wait_ms > 0 { Err(too_many(wait_ms)) } else { Ok(()) }
}

/// What counts the sign-ins under a name, for [`drop_counts`].
pub(super) fn login_counts(app: &App, tenant: &TenantId, names: &[&str]) -> AppResult<Vec<KeyHash>> {
    names.iter().map(|name| key_hash(app, Rate::LoginAccount.name(), Key::Account(tenant, name))).collect()
}

/// Whoever the names belong to has proved who they are, and need not wait for what others tried.
pub(super) fn drop_counts(tx: &crate::db::Tx<'_>, keys: &[KeyHash]) -> Result<(), DbError> {
    keys.iter().try_for_each(|key| queries::forget_count(tx, key))
}

/// Gives back every try under the keys: what was tried succeeded.
pub(crate) async fn forget(app: &App, tries: &[(Rate, Key<'_>)]) -> AppResult<()> {
    let counters = counters(app, tries)?;
    app.db.write(move |tx| counters.iter().try_for_each(|counter| counter.forget(tx))).await.map_err(AppError::from)
}

fn counters(app: &App, tries: &[(Rate, Key<'_>)]) -> AppResult<Vec<Counter>> {
    tries.iter().map(|(rate, key)| Counter::new(app, *rate, *key)).collect()
}

fn longest_wait_ms(tx: &Tx<'_>, counters: &[Counter], now_ms: i64) -> AppResult<i64> {
    let mut longest = 0;
    for counter in counters {
        longest = longest.max(counter.wait_ms(tx, now_ms)?);
    }
    Ok(longest)
}

/// Says how long to wait instead, when a counter is used up.
fn count(tx: &Tx<'_>, counters: &[Counter], now_ms: i64) -> AppResult<i64> {
    queries::drop_ended(tx, now_ms)?;
    let wait_ms = longest_wait_ms(tx, counters, now_ms)?;
    if wait_ms > 0 {
        return Ok(wait_ms);
    }
    for counter in counters {
        counter.take(tx, now_ms)?;
    }
    Ok(0)
}

/// Whole seconds after which a wait is over for certain.
pub(super) fn seconds_after(wait_ms: i64) -> u32 {
    u32::try_from(wait_ms.div_euclid(1000) + 1).unwrap_or(u32::MAX)
}

/// 429, with the seconds after which it makes sense to come back.
pub(super) fn too_many(wait_ms: i64) -> AppError {
    let seconds = wait_ms.unsigned_abs().max(1).div_ceil(1000);
    AppError::too_many("too many tries; wait before the next one", u32::try_from(seconds).unwrap_or(u32::MAX))
}
