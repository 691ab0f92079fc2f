//! What the settings and files hold of a key, as far as it is needed to tell keys apart.

use std::io;

use data_encoding::HEXLOWER;
use muster_sync_core::signing::{SigningKey, SoftwareKey};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::queries::{Mark, Wrapped};
use crate::blobs::crypt::MasterKey;
use crate::config::Config;
use crate::keys::{self, KeyFile};

/// Stands in front of what is hashed into an id.
const ID_CONTEXT: &[u8] = b"muster/key-id/v1\0";
/// Bytes of an id.
const ID_BYTES: usize = 8;

/// What is there of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Material {
    /// A key.
    Found(Found),
    /// No setting gives it, and its file is not there.
    Missing,
    /// Another key stands in for it.
    Unused,
    /// Why it cannot be read.
    Unreadable(String),
}

/// A key that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its id: the public key of the server, or a hash.
    pub id: String,
    /// The file or the setting.
    pub place: String,
    /// Whether a setting gives it.
    pub is_setting: bool,
    /// Ids of keys that the settings name as those before it.
    pub previous: Vec<String>,
}

impl Found {
    /// Whether a server may go on with this key where the database knows `mark`: it is that one, or the settings name that
    /// one as the key before it.
    pub fn follows(&self, mark: &Mark) -> bool {
        self.id == mark.id || self.previous.contains(&mark.id)
    }
}

const MASTER_KEY: &str = "MASTER_KEY";
const MFA_KEY: &str = "MFA_ENCRYPTION_KEY";

/// Where a key is looked for.
pub(super) fn place(config: &Config, key: KeyFile) -> String {
    config.data.keys_dir().join(key.file_name()).display().to_string()
}

/// What is there of a key.
pub(super) fn of(config: &Config, key: KeyFile) -> Material {
    let tokens = &config.tokens;
    let given = |place: &str, id: String| Found { id, place: place.to_owned(), is_setting: true, previous: Vec::new() };
    match key {
        KeyFile::Token => match &tokens.jwt_secret {
            Some(secret) => {
                let previous = tokens.previous_secrets().map(|secret| digest(key, secret)).collect();
                Material::Found(Found { previous, ..given("JWT_SECRET", digest(key, secret.reveal().as_bytes())) })
            }
            None => of_file(config, key),
        },
        KeyFile::TokenPepper => match &tokens.token_pepper {
            Some(secret) => Material::Found(given("TOKEN_PEPPER", digest(key, secret.reveal().as_bytes()))),
            None => of_file(config, key),
        },
        // The pepper of the settings gives this key too.
        KeyFile::Oauth if tokens.token_pepper.is_some() => Material::Unused,
        KeyFile::Master => match &config.master_key {
            Some(secret) => match MasterKey::from_base64(secret.reveal(), MASTER_KEY) {
                Ok(master) => Material::Found(given(MASTER_KEY, master_id(&master))),
                Err(error) => Material::Unreadable(error.to_string()),
            },
            None => of_base64_file(config, key),
        },
        KeyFile::Mfa => match (config.mfa.encryption_key(), config.mfa.previous_encryption_keys()) {
            (Ok(Some(current)), Ok(previous)) => {
                let previous = previous.into_iter().map(|key| master_id(&MasterKey::new(*key))).collect();
                Material::Found(Found { previous, ..given(MFA_KEY, master_id(&MasterKey::new(*current))) })
            }
            (Ok(None), Ok(previous)) => match of_base64_file(config, key) {
                Material::Found(found) => {
                    let previous = previous.into_iter().map(|key| master_id(&MasterKey::new(*key))).collect();
                    Material::Found(Found { previous, ..found })
                }
                other => other,
            },
            (Err(error), _) | (_, Err(error)) => Material::Unreadable(error.to_string()),
        },
        KeyFile::Server | KeyFile::SessionCode | KeyFile::Oauth | KeyFile::Mail | KeyFile::LegacyId => {
            of_file(config, key)
        }
    }
}

fn of_file(config: &Config, key: KeyFile) -> Material {
    match keys::load(&config.data.keys_dir(), key) {
        Ok(bytes) => Material::Found(in_file(config, key, id_of(key, &bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Material::Missing,
        Err(error) => Material::Unreadable(error.to_string()),
    }
}

fn of_base64_file(config: &Config, key: KeyFile) -> Material {
    match MasterKey::load(&config.data.keys_dir().join(key.file_name())) {
        Ok(Some(master)) => Material::Found(in_file(config, key, master_id(&master))),
        Ok(None) => Material::Missing,
        Err(error) => Material::Unreadable(error.to_string()),
    }
}

fn in_file(config: &Config, key: KeyFile, id: String) -> Found {
    Found { id, place: place(config, key), is_setting: false, previous: Vec::new() }
}

/// The id of a key that a file holds as it is.
pub(super) fn id_of(key: KeyFile, bytes: &[u8]) -> String {
    match (key, <[u8; keys::KEY_BYTES]>::try_from(bytes)) {
        (KeyFile::Server, Ok(seed)) => SoftwareKey::from_seed(&Zeroizing::new(seed)).public_key().to_string(),
        _ => digest(key, bytes),
    }
}

fn digest(key: KeyFile, bytes: &[u8]) -> String {
    let digest = Sha256::new().chain_update(ID_CONTEXT).chain_update(key.name()).chain_update([0]).chain_update(bytes);
    HEXLOWER.encode(&digest.finalize()[..ID_BYTES])
}

/// The id of a master key, as rows carry it.
pub(super) fn master_id(key: &MasterKey) -> String {
    HEXLOWER.encode(&key.id())
}

/// The key under which rows are sealed, and those that the settings name as the ones before it.
pub(super) fn sealing(config: &Config, key: KeyFile) -> Result<Vec<MasterKey>, String> {
    let of_file = || MasterKey::load(&config.data.keys_dir().join(key.file_name()));
    let in_words = |error: &dyn std::fmt::Display| error.to_string();
    let (current, previous) = match key {
        KeyFile::Mfa => {
            let current = config.mfa.encryption_key().map_err(|error| in_words(&error))?;
            let previous = config.mfa.previous_encryption_keys().map_err(|error| in_words(&error))?;
            (current.map(|key| MasterKey::new(*key)), previous)
        }
        _ => {
            let given = config.master_key.as_ref().map(|secret| MasterKey::from_base64(secret.reveal(), MASTER_KEY));
            (given.transpose().map_err(|error| in_words(&error))?, Vec::new())
        }
    };
    let current = match current {
        Some(key) => Some(key),
        None => of_file().map_err(|error| in_words(&error))?,
    };
    Ok(current.into_iter().chain(previous.into_iter().map(|key| MasterKey::new(*key))).collect())
}

/// The id of the master key that wrapped a row: the present one if it opens the row, else one that nobody knows.
pub(super) fn wrapped_by(config: &Config, wrapped: &Wrapped) -> String {
    let master = sealing(config, KeyFile::Master).ok().and_then(|keys| keys.into_iter().next());
    let opens = |master: &MasterKey| master.unwrap_key(&wrapped.tenant, &wrapped.subject, &wrapped.bytes).is_ok();
    master.filter(opens).map_or("of an earlier release, not noted".to_owned(), |master| master_id(&master))
}
