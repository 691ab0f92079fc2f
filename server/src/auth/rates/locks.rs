//! Who must wait after too many wrong passwords: an account, or an address.
//!
//! A try is counted as a failure before it is evaluated and taken back when it was right. So many guesses at once are
//! not evaluated more often than one after the other, and an address where everybody types the right password counts
//! nothing, however many they are. Who must wait from a try on is told about it when the try has failed, and not before.

use data_encoding::HEXLOWER;

use super::{Key, KeyHash, campus_factor, key_hash, queries, too_many};
use crate::app::App;
use crate::audit::{self, Action, Actor, Event};
use crate::auth::notify;
use crate::config::RateConfig;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult};
use crate::http::{ClientIp, RequestId};
use crate::ids::{TenantId, UserId};
use crate::mail::Notice;
use crate::telemetry::SecurityEvent;

/// Bytes of a key's hash that the audit log shows, enough to see that two entries are about the same address.
pub(super) const SHOWN_BYTES: usize = 8;
/// For what the failures of an account, and of an address, are counted under a key.
pub(super) const ACCOUNT_FAILURES: &str = "account failures";
pub(super) const ADDRESS_FAILURES: &str = "address failures";

/// Whose password is tried: the account, or the name that was typed when there is none.
#[derive(Debug, Clone)]
pub(in crate::auth) enum Account {
    /// It exists.
    User(UserId),
    /// It does not, and is counted like one that does.
    Unknown(String),
}

/// The failures of an account or of an address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Failures {
    pub(super) failures: i64,
    pub(super) counted_until_ms: i64,
    pub(super) locked_until_ms: i64,
    pub(super) locks: i64,
    pub(super) ends_at_ms: i64,
}

/// When somebody must wait, and how long.
#[derive(Debug, Clone, Copy)]
struct Rules {
    threshold: i64,
    window_ms: i64,
    wait_ms: i64,
    wait_ms_max: i64,
    /// How long after a wait the next one is still longer.
    remembered_ms: i64,
}

impl Rules {
    fn account(config: &RateConfig) -> Self {
        let wait_ms = i64::from(config.email_lock_ttl) * 1000;
        let threshold = i64::from(config.login_fail_email_threshold);
        Self { threshold, window_ms: wait_ms, wait_ms, wait_ms_max: wait_ms, remembered_ms: 0 }
    }

    fn address(config: &RateConfig, factor: i64) -> Self {
        let wait_ms = i64::from(config.ip_lock_ttl) * 1000;
        let longest_ms = i64::from(config.ip_lock_max_ttl) * 1000;
        let (wait_ms_max, remembered_ms) =
            if config.ip_lock_escalation { (longest_ms, longest_ms) } else { (wait_ms, 0) };
        let threshold = i64::from(config.login_fail_ip_threshold) * factor;
        Self { threshold, window_ms: wait_ms, wait_ms, wait_ms_max, remembered_ms }
    }

    fn wait_ms(&self, locks: i64) -> i64 {
        let doublings = u32::try_from(locks).unwrap_or(u32::MAX).min(32);
        self.wait_ms.saturating_mul(1 << doublings).min(self.wait_ms_max)
    }
}

impl Failures {
    fn locked(&self, now_ms: i64) -> bool {
        self.locked_until_ms > now_ms
    }

    /// One more failure; whoever reaches the threshold waits from now on.
    fn and_one(self, rules: &Rules, now_ms: i64) -> Self {
        let kept = if self.ends_at_ms > now_ms { self } else { Self::default() };
        let fresh = kept.counted_until_ms <= now_ms;
        let mut next = Self { failures: if fresh { 1 } else { kept.failures + 1 }, ..kept };
        if fresh {
            next.counted_until_ms = now_ms + rules.window_ms;
        }
        if next.failures >= rules.threshold {
            next.locked_until_ms = now_ms + rules.wait_ms(kept.locks);
            next.counted_until_ms = next.locked_until_ms;
            next.locks += 1;
        }
        next.ends_at_ms = next.counted_until_ms + if next.locks > 0 { rules.remembered_ms } else { 0 };
        next
    }

    /// One failure less, because it was none.
    fn less_one(self, rules: &Rules, now_ms: i64) -> Self {
        let mut next = Self { failures: (self.failures - 1).max(0), ..self };
        if self.locked(now_ms) && next.failures < rules.threshold {
            next.locked_until_ms = 0;
            next.locks -= 1;
        }
        next
    }
}

/// A try that was counted.
#[derive(Debug, Clone)]
pub(in crate::auth) struct Attempt {
    account: KeyHash,
    address: Option<(KeyHash, Rules)>,
    /// Milliseconds that the account waits; then its password must not be evaluated.
    pub(in crate::auth) account_waits_ms: i64,
    /// What must wait from this try on, unless it was right.
    closed: Closed,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Closed {
    account: bool,
    address: bool,
}

#[derive(Default)]
struct Outcome {
    account_waits_ms: i64,
    address_waits_ms: i64,
    closed: Closed,
}

/// Counts a try of somebody who signs in. A try on an account that waits still counts for the address.
///
/// # Errors
/// 429 with `Retry-After` when the address must wait.
pub(in crate::auth) async fn attempt(
    app: &App,
    tenant: &TenantId,
    account: &Account,
    client: ClientIp,
) -> AppResult<Attempt> {
    let factor = campus_factor(app, Key::Address(client));
    let address = (key_hash(app, ADDRESS_FAILURES, Key::Address(client))?, Rules::address(&app.config.rates, factor));
    counted(app, Attempt::new(account_key(app, tenant, account)?, Some(address))).await
}

/// Counts a try of somebody who is signed in and says the password once more.
pub(in crate::auth) async fn attempt_again(app: &App, tenant: &TenantId, user: UserId) -> AppResult<Attempt> {
    let attempt = Attempt::new(account_key(app, tenant, &Account::User(user))?, None);
    let attempt = counted(app, attempt).await?;
    if attempt.account_waits_ms > 0 { Err(too_many(attempt.account_waits_ms)) } else { Ok(attempt) }
}

fn account_key(app: &App, tenant: &TenantId, account: &Account) -> AppResult<KeyHash> {
    match account {
        Account::User(user) => key_hash(app, ACCOUNT_FAILURES, Key::User(*user)),
        Account::Unknown(name) => key_hash(app, ACCOUNT_FAILURES, Key::Account(tenant, name)),
    }
}

async fn counted(app: &App, attempt: Attempt) -> AppResult<Attempt> {
    let (rules, wanted, now_ms) = (Rules::account(&app.config.rates), attempt.clone(), app.now_ms());
    let outcome = app.db.write(move |tx| count(tx, &wanted, &rules, now_ms)).await?;
    if outcome.address_waits_ms > 0 {
        return Err(too_many(outcome.address_waits_ms));
    }
    Ok(Attempt { account_waits_ms: outcome.account_waits_ms, closed: outcome.closed, ..attempt })
}

/// The commit stands whatever becomes of the request.
fn count(tx: &Tx<'_>, attempt: &Attempt, rules: &Rules, now_ms: i64) -> Result<Outcome, DbError> {
    let mut outcome = Outcome::default();
    if let Some((key, rules)) = &attempt.address {
        let before = queries::failures_of(tx, key)?.unwrap_or_default();
        if before.locked(now_ms) {
            return Ok(Outcome { address_waits_ms: before.locked_until_ms - now_ms, ..outcome });
        }
        let after = before.and_one(rules, now_ms);
        queries::set_failures(tx, key, &after)?;
        outcome.closed.address = after.locked(now_ms);
    }
    let before = queries::failures_of(tx, &attempt.account)?.unwrap_or_default();
    if before.locked(now_ms) {
        return Ok(Outcome { account_waits_ms: before.locked_until_ms - now_ms, ..outcome });
    }
    let after = before.and_one(rules, now_ms);
    queries::set_failures(tx, &attempt.account, &after)?;
    outcome.closed.account = after.locked(now_ms);
    Ok(outcome)
}

/// Somebody who is not signed in, as the audit log names them.
pub(in crate::auth) fn anonymous(tenant: &TenantId, request: &RequestId) -> Actor {
    let (id, role) = ("anonymous".to_owned(), "none".to_owned());
    Actor { tenant: tenant.clone(), id, role, request_id: request.as_str().to_owned() }
}

impl Attempt {
    fn new(account: KeyHash, address: Option<(KeyHash, Rules)>) -> Self {
        Self { account, address, account_waits_ms: 0, closed: Closed::default() }
    }

    /// What the audit log calls the account when there is none.
    pub(in crate::auth) fn shown(&self) -> String {
        HEXLOWER.encode(&self.account[..SHOWN_BYTES])
    }

    /// It was a failure: whom it made wait is noted, and the owner of an account is told.
    pub(in crate::auth) fn note_failed(
        &self,
        tx: &Tx<'_>,
        actor: &Actor,
        account: &Account,
        now_ms: i64,
    ) -> Result<(), DbError> {
        let record = |kind, id: &str| {
            let event = Event { action: Action::SignInLock, kind, id, reason: Some("failures"), result: "locked" };
            audit::record(tx, actor, &event, now_ms)
        };
        if let (Some((key, _)), true) = (&self.address, self.closed.address) {
            record("address", &HEXLOWER.encode(&key[..SHOWN_BYTES]))?;
        }
        if !self.closed.account {
            return Ok(());
        }
        match account {
            Account::User(user) => {
                notify(tx, &actor.tenant, *user, Notice::AccountLocked, now_ms)?;
                record("account", &user.to_string())
            }
            Account::Unknown(_) => record("account", &self.shown()),
        }
    }

    /// The same for whoever watches over accounts, after the commit.
    pub(in crate::auth) fn tell_failed(&self, app: &App, account: &Account, request: &RequestId) {
        let user = match account {
            Account::User(user) => Some(user.to_string()),
            Account::Unknown(_) => None,
        };
        let events =
            [(self.closed.address, SecurityEvent::AddressLocked), (self.closed.account, SecurityEvent::AccountLocked)];
        for (_, event) in events.into_iter().filter(|(closed, _)| *closed) {
            app.security_event(event, request.as_str(), user.as_deref());
        }
    }

    /// Both, for a failure that leaves no other row.
    pub(in crate::auth) async fn failed(
        self,
        app: &App,
        tenant: &TenantId,
        account: Account,
        request: &RequestId,
    ) -> AppResult<()> {
        if self.closed == Closed::default() {
            return Ok(());
        }
        let (actor, now_ms) = (anonymous(tenant, request), app.now_ms());
        let (attempt, whose) = (self.clone(), account.clone());
        app.db.write(move |tx| attempt.note_failed(tx, &actor, &whose, now_ms).map_err(AppError::from)).await?;
        self.tell_failed(app, &account, request);
        Ok(())
    }

    /// It was no failure: the account starts afresh, and the address has one failure less.
    pub(in crate::auth) async fn succeeded(self, app: &App) -> AppResult<()> {
        let now_ms = app.now_ms();
        app.db.write(move |tx| self.take_back(tx, now_ms).map_err(AppError::from)).await
    }

    fn take_back(&self, tx: &Tx<'_>, now_ms: i64) -> Result<(), DbError> {
        queries::drop_ended(tx, now_ms)?;
        queries::forget_failures(tx, &self.account)?;
        let Some((key, rules)) = &self.address else { return Ok(()) };
        match queries::failures_of(tx, key)? {
            Some(stored) => queries::set_failures(tx, key, &stored.less_one(rules, now_ms)),
            None => Ok(()),
        }
    }
}

/// The key of a user's failures, for [`clear`].
pub(in crate::auth) fn user_key(app: &App, user: UserId) -> AppResult<KeyHash> {
    key_hash(app, ACCOUNT_FAILURES, Key::User(user))
}

/// The account need not wait any more, because its owner proved who they are in another way.
pub(in crate::auth) fn clear(tx: &Tx<'_>, key: &KeyHash) -> Result<(), DbError> {
    queries::forget_failures(tx, key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_763_640_000_000;
    const MINUTES: i64 = 60_000;

    fn rules() -> Rules {
        Rules {
            threshold: 3,
            window_ms: 15 * MINUTES,
            wait_ms: 15 * MINUTES,
            wait_ms_max: 40 * MINUTES,
            remembered_ms: 60 * MINUTES,
        }
    }

    fn fail(failures: Failures, times: usize, now_ms: i64) -> Failures {
        (0..times).fold(failures, |failures, _| failures.and_one(&rules(), now_ms))
    }

    #[test]
    fn each_wait_is_longer_than_the_one_before_until_it_is_forgotten() {
        let mut now_ms = NOW;
        let mut failures = Failures::default();
        for minutes in [15, 30, 40, 40] {
            failures = fail(failures, 2, now_ms);
            assert!(!failures.locked(now_ms));
            failures = fail(failures, 1, now_ms);
            assert_eq!(failures.locked_until_ms - now_ms, minutes * MINUTES);
            now_ms = failures.locked_until_ms;
            assert!(!failures.locked(now_ms));
        }
        now_ms = failures.ends_at_ms;
        failures = fail(failures, 3, now_ms);
        assert_eq!(failures.locked_until_ms - now_ms, 15 * MINUTES);
    }

    #[test]
    fn failures_count_within_the_window_only() {
        let failures = fail(Failures::default(), 2, NOW);
        assert!(fail(failures, 1, NOW + 15 * MINUTES - 1).locked(NOW + 15 * MINUTES - 1));
        assert!(!fail(failures, 2, NOW + 15 * MINUTES).locked(NOW + 15 * MINUTES));
    }

    #[test]
    fn what_was_right_opens_what_it_had_closed() {
        let locked = fail(Failures::default(), 3, NOW);
        let opened = locked.less_one(&rules(), NOW);
        assert!(!opened.locked(NOW));
        assert_eq!((opened.failures, opened.locks), (2, 0));
        assert_eq!(Failures::default().less_one(&rules(), NOW).failures, 0);
    }
}
