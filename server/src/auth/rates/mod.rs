//! How often somebody may try something: counters and locks in SQL, which survive a restart and a request that fails.
//!
//! Whatever is counted is committed by a write of its own before the work is done, so that neither a failure of the
//! request nor many requests at once give anybody a further try. Keys are hashed under a key of the server.

pub(super) mod locks;
mod queries;

use std::time::Duration;

use super::limits;
use super::state::AuthState;
use crate::app::App;
use crate::config::RateConfig;
use crate::db::DbError;
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
        }
    }

    const fn window(self) -> Duration {
        match self {
            Self::LoginAddress | Self::LoginAccount => limits::LOGIN_WINDOW,
            Self::SignUpAddress | Self::SignUpAccount => limits::SIGN_UP_WINDOW,
            Self::ResetAddress | Self::ResetAccount => limits::RESET_WINDOW,
            Self::OauthFailures => limits::OAUTH_FAILURES_WINDOW,
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
        }
    }
}

/// One counter and its bounds.
#[derive(Debug, Clone)]
struct Counter {
    key: KeyHash,
    limit: i64,
    window_ms: i64,
}

impl Counter {
    fn new(app: &App, rate: Rate, key: Key<'_>) -> AppResult<Self> {
        let factor = campus_factor(app, key);
        let limit = i64::from(rate.limit(&app.config.rates)) * factor;
        let window_ms = rate.window().as_millis() as i64;
        Ok(Self { key: key_hash(app, rate.name(), key)?, limit, window_ms })
    }

    /// Milliseconds until there is room again; 0 when there is.
    fn wait_ms(&self, stored: Option<queries::Count>, now_ms: i64) -> i64 {
        match stored.filter(|stored| stored.holds(now_ms, self.window_ms)) {
            Some(stored) if stored.count >= self.limit => stored.ends_at_ms - now_ms,
            _ => 0,
        }
    }
}

/// An address of the campus stands for many people.
fn campus_factor(app: &App, key: Key<'_>) -> i64 {
    match key {
        Key::Address(client) if client.is_campus(app) => i64::from(app.config.rates.rl_campus_factor),
        _ => 1,
    }
}

/// A hash that only this institution's servers can make, so that a copy of the table names nobody.
fn key_hash(app: &App, purpose: &str, key: Key<'_>) -> AppResult<KeyHash> {
    let whose = match key {
        Key::Address(client) => client.key().to_string(),
        Key::Account(tenant, name) => format!("{tenant}\0{name}"),
        Key::User(user) => user.to_string(),
    };
    Ok(AuthState::of(app)?.counter_key.hash(format!("{purpose}\0{whose}").as_bytes()))
}

/// Counts a try under each key, in a commit of its own. When one of them is used up nothing is counted.
///
/// # Errors
/// 429 `RATE_LIMITED` with `Retry-After`.
pub(crate) async fn take(app: &App, tries: &[(Rate, Key<'_>)]) -> AppResult<()> {
    let counters: Vec<Counter> =
        tries.iter().map(|(rate, key)| Counter::new(app, *rate, *key)).collect::<AppResult<_>>()?;
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
    let keys: Vec<KeyHash> =
        tries.iter().map(|(rate, key)| key_hash(app, rate.name(), *key)).collect::<AppResult<_>>()?;
    app.db.write(move |tx| keys.iter().try_for_each(|key| queries::forget_count(tx, key)).map_err(AppError::from)).await
}

fn longest_wait_ms(tx: &crate::db::Tx<'_>, counters: &[Counter], now_ms: i64) -> AppResult<i64> {
    let mut longest = 0;
    for counter in counters {
        longest = longest.max(counter.wait_ms(queries::count_of(tx, &counter.key)?, now_ms));
    }
    Ok(longest)
}

/// Says how long to wait instead, when a counter is used up.
fn count(tx: &crate::db::Tx<'_>, counters: &[Counter], now_ms: i64) -> AppResult<i64> {
    queries::drop_ended(tx, now_ms)?;
    let wait_ms = longest_wait_ms(tx, counters, now_ms)?;
    if wait_ms > 0 {
        return Ok(wait_ms);
    }
    for counter in counters {
        add_one(tx, counter, now_ms)?;
    }
    Ok(0)
}

fn add_one(tx: &crate::db::Tx<'_>, counter: &Counter, now_ms: i64) -> Result<(), DbError> {
    let stored = queries::count_of(tx, &counter.key)?.filter(|stored| stored.holds(now_ms, counter.window_ms));
    let next = match stored {
        Some(stored) => queries::Count { count: stored.count + 1, ..stored },
        None => queries::Count { count: 1, ends_at_ms: now_ms + counter.window_ms },
    };
    queries::set_count(tx, &counter.key, next)
}

/// 429, with the seconds after which it makes sense to come back.
pub(super) fn too_many(wait_ms: i64) -> AppError {
    let seconds = wait_ms.unsigned_abs().max(1).div_ceil(1000);
    AppError::too_many("too many tries; wait before the next one", u32::try_from(seconds).unwrap_or(u32::MAX))
}
