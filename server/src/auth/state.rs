//! What this slice keeps in memory: the token key, roles and epochs of recent users, the key of the counters.

use moka::sync::Cache;
use sha2::{Digest, Sha256};

use super::hashing::Hashing;
use super::limits;
use super::role::Role;
use super::token::TokenKey;
use crate::app::{App, StartError};
use crate::clock::Entropy;
use crate::config::{Config, DatabaseUrl, JWT_SECRET_BYTES_MIN};
use crate::error::{AppError, AppResult};
use crate::ids::{TenantId, UserId};
use crate::keys;

/// Bytes of the key under which counters are kept, when it is a file.
const COUNTER_KEY_BYTES: usize = 32;

/// Lives in the `App`.
pub struct AuthState {
    pub(super) token_key: TokenKey,
    pub(super) principals: Cache<UserId, Principal>,
    pub(super) hashing: Hashing,
    /// Under which the keys of counters are hashed.
    pub(super) counter_key: [u8; 32],
}

/// What a token is checked against.
#[derive(Debug, Clone)]
pub(super) struct Principal {
    pub(super) tenant: TenantId,
    pub(super) role: Role,
    pub(super) epoch: i64,
    pub(super) active: bool,
}

impl AuthState {
    /// Reads the token key, or makes it at the first start.
    pub fn open(config: &Config, entropy: &dyn Entropy) -> Result<Self, StartError> {
        let token_key = match &config.tokens.jwt_secret {
            Some(secret) => TokenKey::new(secret.reveal().as_bytes()),
            None => {
                let dir = config.data.keys_dir();
                let key = keys::load_or_create(&dir, "token.key", JWT_SECRET_BYTES_MIN, entropy)
                    .map_err(|error| StartError::Io(dir.join("token.key").display().to_string(), error))?;
                TokenKey::new(&key)
            }
        };
        let counter_key = counter_key(config, entropy)?;
        let alone = matches!(config.data.database()?, DatabaseUrl::Sqlite(_));
        let ttl = if alone { limits::PRINCIPAL_TTL } else { limits::PRINCIPAL_TTL_SHARED };
        let principals = Cache::builder().max_capacity(limits::PRINCIPALS_MAX).time_to_live(ttl).build();
        Ok(Self { token_key, principals, hashing: Hashing::new(), counter_key })
    }

    pub(super) fn of(app: &App) -> AppResult<&Self> {
        app.slice::<Self>().ok_or_else(|| AppError::internal("the app was built without AuthState"))
    }

    /// Keeps the newest epoch, also when an older row is read at the same moment.
    pub(super) fn remember(&self, user: UserId, principal: Principal) {
        self.principals.entry(user).and_upsert_with(|kept| match kept {
            Some(kept) if kept.value().epoch > principal.epoch => kept.into_value(),
            _ => principal,
        });
    }
}

/// Made from the pepper, or else from a key of its own; every server of one database needs the same.
fn counter_key(config: &Config, entropy: &dyn Entropy) -> Result<[u8; 32], StartError> {
    let hash = Sha256::new().chain_update("muster/counters/v1");
    if let Some(pepper) = &config.tokens.token_pepper {
        return Ok(hash.chain_update(pepper.reveal()).finalize().into());
    }
    let dir = config.data.keys_dir();
    let key = keys::load_or_create(&dir, "counters.key", COUNTER_KEY_BYTES, entropy)
        .map_err(|error| StartError::Io(dir.join("counters.key").display().to_string(), error))?;
    Ok(hash.chain_update(&*key).finalize().into())
}
