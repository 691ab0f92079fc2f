//! The secret under which tokens are hashed, and the keys that derive from it, one per purpose.

use std::path::Path;

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::state::AuthState;
use crate::app::{App, StartError};
use crate::clock::Entropy;
use crate::config::{Config, Secret};
use crate::error::AppResult;
use crate::keys::{self, KeyFile};

/// `TOKEN_PEPPER`. Whoever has the database alone cannot tell which token belongs to a stored hash.
pub(super) struct Pepper(Hkdf<Sha256>);

/// A key for one purpose.
#[derive(Clone)]
pub(crate) struct HashKey(Hmac<Sha256>);

impl Pepper {
    /// Takes the setting, or reads the file, or makes it at the first start. Blocks.
    pub(super) fn open(config: &Config, entropy: &dyn Entropy) -> Result<Self, StartError> {
        if let Some(secret) = &config.tokens.token_pepper {
            return Ok(Self::new(secret.reveal().as_bytes()));
        }
        let dir = config.data.keys_dir();
        let secret = keys::load_or_create(&dir, KeyFile::TokenPepper, entropy)
            .map_err(|error| StartError::Io("the pepper of tokens".to_owned(), error))?;
        Ok(Self::new(&secret))
    }

    /// The pepper of a server that has one already. Blocks.
    pub(super) fn of_server(setting: Option<&Secret>, keys_dir: &Path) -> Result<Self, StartError> {
        if let Some(secret) = setting {
            return Ok(Self::new(secret.reveal().as_bytes()));
        }
        let secret = keys::load(keys_dir, KeyFile::TokenPepper)
            .map_err(|error| StartError::Other(format!("{error}; name the server's TOKEN_PEPPER, or its DATA_DIR")))?;
        Ok(Self::new(&secret))
    }

    pub(super) fn new(secret: &[u8]) -> Self {
        Self(Hkdf::new(Some(b"muster/token-pepper/v1"), secret))
    }

    /// The key for a purpose, such as `refresh-token`.
    pub(super) fn key(&self, purpose: &str) -> HashKey {
        let mut key = Zeroizing::new([0; 32]);
        self.0.expand(purpose.as_bytes(), &mut *key).expect("32 bytes are fewer than HKDF can give");
        HashKey(Hmac::new_from_slice(&*key).expect("HMAC takes keys of any length"))
    }
}

impl HashKey {
    /// The keyed hash of a message.
    pub(crate) fn hash(&self, message: &[u8]) -> [u8; 32] {
        self.0.clone().chain_update(message).finalize().into_bytes().into()
    }
}

/// The key for a purpose, for tokens of other slices.
pub(crate) fn hash_key(app: &App, purpose: &str) -> AppResult<HashKey> {
    Ok(AuthState::of(app)?.pepper.key(purpose))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_purpose_and_each_pepper_has_its_own_hashes() {
        let pepper = Pepper::new(b"0123456789abcdef0123456789abcdef");
        let hash = pepper.key("a").hash(b"token");
        assert_eq!(hash, pepper.key("a").hash(b"token"));
        assert_ne!(hash, pepper.key("b").hash(b"token"));
        assert_ne!(hash, Pepper::new(b"another pepper of thirty-two byt").key("a").hash(b"token"));
    }
}
