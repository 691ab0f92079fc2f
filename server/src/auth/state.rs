//! What this slice keeps in memory: the keys of tokens, roles and epochs of recent users, the key of the counters.

use moka::sync::Cache;

use super::auth_session::RefreshKeys;
use super::hashing::Hashing;
use super::limits;
use super::mfa::MfaState;
use super::pepper::{HashKey, Pepper};
use super::previous_key;
use super::role::Role;
use super::token::TokenKey;
use crate::app::{App, StartError};
use crate::clock::Entropy;
use crate::config::Config;
use crate::error::{AppError, AppResult};
use crate::ids::{AuthSessionId, TenantId, UserId};
use crate::keys::{self, KeyFile};

/// Lives in the `App`.
pub struct AuthState {
    pub(super) token_key: TokenKey,
    pub(super) pepper: Pepper,
    pub(super) refresh_keys: RefreshKeys,
    pub(super) principals: Cache<UserId, Principal>,
    pub(super) hashing: Hashing,
    pub(super) mfa: MfaState,
    /// Under which the keys of counters are hashed.
    pub(super) counter_key: HashKey,
}

/// What a token is checked against.
#[derive(Debug, Clone)]
pub(super) struct Principal {
    pub(super) tenant: TenantId,
    pub(super) role: Role,
    pub(super) epoch: i64,
    pub(super) active: bool,
    /// Sessions that ended, and whose access tokens may not have expired yet; `None` until somebody asks the database.
    pub(super) revoked: Option<Vec<AuthSessionId>>,
}

impl AuthState {
    /// Reads the keys, or makes them at the first start.
    pub fn open(config: &Config, entropy: &dyn Entropy) -> Result<Self, StartError> {
        let previous: Vec<_> = config.tokens.previous_secrets().collect();
        let token_key = match &config.tokens.jwt_secret {
            Some(secret) => TokenKey::new(secret.reveal().as_bytes(), previous),
            None => {
                let dir = config.data.keys_dir();
                let key = keys::load_or_create(&dir, KeyFile::Token, entropy)
                    .map_err(|error| StartError::Io("the key of access tokens".to_owned(), error))?;
                let token_key = TokenKey::new(&key, previous);
                match previous_key::load(&dir)
                    .map_err(|error| StartError::Io("the key of access tokens before this one".to_owned(), error))?
                {
                    Some(old) => token_key.and_until(&old.key, old.until_ms / 1_000),
                    None => token_key,
                }
            }
        };
        let pepper = Pepper::open(config, entropy)?;
        let ttl = config.work.kept_for(Some(limits::PRINCIPAL_TTL));
        let principals = Cache::builder().max_capacity(limits::PRINCIPALS_MAX).time_to_live(ttl).build();
        let refresh_keys = RefreshKeys::new(&pepper);
        let mfa = MfaState::open(config, &pepper, entropy)?;
        let counter_key = pepper.key("counters");
        Ok(Self { token_key, pepper, refresh_keys, principals, hashing: Hashing::new(), mfa, counter_key })
    }

    pub(super) fn of(app: &App) -> AppResult<&Self> {
        app.slice::<Self>().ok_or_else(|| AppError::internal("the app was built without AuthState"))
    }

    /// Accounts that are kept in memory now.
    pub fn cached(&self) -> u64 {
        self.principals.run_pending_tasks();
        self.principals.entry_count()
    }

    /// Keeps the newest epoch, and whatever is known to be revoked, also when an older row is read at the same moment.
    pub(super) fn remember(&self, user: UserId, mut principal: Principal) {
        self.principals.entry(user).and_upsert_with(|kept| match kept {
            Some(kept) if kept.value().epoch > principal.epoch => kept.into_value(),
            Some(kept) if kept.value().epoch == principal.epoch => {
                principal.revoked = union(kept.into_value().revoked, principal.revoked.take());
                principal
            }
            _ => principal,
        });
    }
}

/// What either of them knows.
fn union(one: Option<Vec<AuthSessionId>>, other: Option<Vec<AuthSessionId>>) -> Option<Vec<AuthSessionId>> {
    match (one, other) {
        (Some(mut all), Some(more)) => {
            all.extend(more);
            all.sort_unstable();
            all.dedup();
            Some(all)
        }
        (one, other) => one.or(other),
    }
}
