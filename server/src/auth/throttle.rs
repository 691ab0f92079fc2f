//! How often somebody may guess an account's password. In memory: a restart forgets it.

use std::sync::{Arc, Mutex, PoisonError};

use moka::sync::Cache;
use sha2::{Digest, Sha256};

use super::limits;
use crate::error::{AppError, AppResult};

/// Failures per account.
pub(super) struct Throttle {
    accounts: Cache<[u8; 32], Arc<Mutex<Failures>>>,
}

#[derive(Default)]
struct Failures {
    count: u32,
    since_ms: i64,
}

/// An account, whether it exists or not.
pub(super) type AccountKey = [u8; 32];

/// Unknown accounts are counted too, so that they behave like known ones.
pub(super) fn account_key(tenant: &str, account: &str) -> AccountKey {
    Sha256::new().chain_update(tenant).chain_update([0]).chain_update(account).finalize().into()
}

impl Throttle {
    pub(super) fn new() -> Self {
        Self { accounts: Cache::new(limits::FAILURES_ACCOUNTS_MAX) }
    }

    /// Counts an attempt before it is evaluated, so that many at once are not all evaluated.
    pub(super) fn attempt(&self, account: AccountKey, now_ms: i64) -> AppResult<()> {
        let window_ms = limits::FAILURES_WINDOW.as_millis() as i64;
        let entry = self.accounts.get_with(account, Arc::default);
        let mut failures = entry.lock().unwrap_or_else(PoisonError::into_inner);
        if !(0..window_ms).contains(&(now_ms - failures.since_ms)) {
            *failures = Failures { count: 0, since_ms: now_ms };
        }
        if failures.count >= limits::FAILURES_MAX {
            let left_s = (failures.since_ms + window_ms - now_ms).div_euclid(1000) + 1;
            return Err(AppError::too_many("too many failed attempts to sign in", left_s as u32));
        }
        failures.count += 1;
        Ok(())
    }

    /// The attempt succeeded: the account starts afresh.
    pub(super) fn succeeded(&self, account: AccountKey) {
        self.accounts.invalidate(&account);
    }
}
