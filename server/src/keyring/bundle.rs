//! A copy of the key files in one file, for the safe: in clear, or sealed under a passphrase.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use argon2::Argon2;
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::next_name;
use crate::app::StartError;
use crate::blobs::crypt::{Context, MasterKey, Purpose};
use crate::clock::Entropy;
use crate::durable;
use crate::keys::{self, KeyFile};

/// Largest copy that is read, in bytes: nine keys need less than 2 KiB.
const SIZE_BYTES_MAX: u64 = 64 * 1024;
/// Fewest characters of a passphrase: whoever finds the file can try as many as they like.
const PASSPHRASE_CHARS_MIN: usize = 12;
/// Bytes of the salt that stands beside what is sealed.
const SALT_BYTES: usize = 16;
const VERSION: u32 = 1;

/// Key files by their names.
#[derive(Debug, PartialEq, Eq)]
pub struct Bundle(BTreeMap<String, Zeroizing<Vec<u8>>>);

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    /// Base64, by the name of the file; in clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keys: Option<BTreeMap<String, String>>,
    /// The same as JSON, sealed under the passphrase and the salt; base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    salt: Option<String>,
}

const CONTEXT: Context<'_> = Context { purpose: Purpose::KeyBundle, tenant: "", subject: "", name: "" };

impl Bundle {
    /// The key files of a folder.
    ///
    /// # Errors
    /// When there is none, or one cannot be read.
    pub fn of_folder(dir: &Path) -> Result<Self, StartError> {
        keys::check_folder(dir).map_err(|error| StartError::Other(error.to_string()))?;
        let mut found = BTreeMap::new();
        for key in KeyFile::ALL {
            let next = dir.join(next_name(key));
            if next.exists() {
                // A copy without it would open only half of what is sealed.
                let text = format!("{} waits for the end of `muster keys rotate {}`", next.display(), key.name());
                return Err(StartError::Other(text));
            }
            let path = dir.join(key.file_name());
            match fs::read(&path) {
                Ok(bytes) => drop(found.insert(key.file_name().to_owned(), Zeroizing::new(bytes))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(StartError::Io(path.display().to_string(), error)),
            }
        }
        if found.is_empty() {
            return Err(StartError::Other(format!("there are no key files in {}", dir.display())));
        }
        Ok(Self(found))
    }

    /// How many keys.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes a file that is not there yet, for its owner alone.
    ///
    /// # Errors
    /// When it is there, cannot be written, or the passphrase is too short.
    pub fn write(
        &self,
        path: &Path,
        passphrase: Option<&Zeroizing<String>>,
        entropy: &dyn Entropy,
    ) -> Result<(), StartError> {
        let clear: BTreeMap<_, _> = self.0.iter().map(|(name, bytes)| (name.clone(), BASE64.encode(bytes))).collect();
        let stored = match passphrase {
            None => Stored { version: VERSION, keys: Some(clear), sealed: None, salt: None },
            Some(passphrase) => {
                if passphrase.chars().count() < PASSPHRASE_CHARS_MIN {
                    let text = format!("a passphrase needs {PASSPHRASE_CHARS_MIN} characters or more");
                    return Err(StartError::Other(text));
                }
                let mut salt = [0; SALT_BYTES];
                entropy.fill(&mut salt);
                let plain = Zeroizing::new(serde_json::to_vec(&clear).map_err(in_words)?);
                let sealed = sealing_key(passphrase, &salt)?.seal(&CONTEXT, &plain, &|bytes| entropy.fill(bytes));
                let (sealed, salt) = (Some(BASE64.encode(&sealed)), Some(BASE64.encode(&salt)));
                Stored { version: VERSION, keys: None, sealed, salt }
            }
        };
        let bytes = Zeroizing::new(serde_json::to_vec_pretty(&stored).map_err(in_words)?);
        let written = durable::write_new(path, &bytes).and_then(|()| durable::sync_folder(durable::parent_of(path)));
        written.map_err(|error| StartError::Io(path.display().to_string(), error))
    }

    /// Reads such a file.
    ///
    /// # Errors
    /// When it is none, or is sealed and the passphrase is not the right one.
    pub fn read(path: &Path, passphrase: Option<&Zeroizing<String>>) -> Result<Self, StartError> {
        let failed = |error| StartError::Io(path.display().to_string(), error);
        let wrong = |what: &str| StartError::Other(format!("{}: {what}", path.display()));
        if fs::metadata(path).map_err(failed)?.len() > SIZE_BYTES_MAX {
            return Err(wrong("this is no copy of keys: it is too large"));
        }
        let bytes = Zeroizing::new(fs::read(path).map_err(failed)?);
        let stored: Stored = serde_json::from_slice(&bytes).map_err(|_| wrong("this is no copy of keys"))?;
        let clear = match (stored.keys, stored.sealed, stored.salt, passphrase) {
            (Some(clear), ..) => clear,
            (None, Some(_), Some(_), None) => return Err(wrong("it is sealed: name the --passphrase-file")),
            (None, Some(sealed), Some(salt), Some(passphrase)) => {
                let decode = |text: &str| BASE64.decode(text.as_bytes()).map_err(|_| wrong("it is damaged"));
                let opened = sealing_key(passphrase, &decode(&salt)?)?.open(&CONTEXT, &decode(&sealed)?);
                let plain = opened.map_err(|_| wrong("the passphrase is another one, or the file is damaged"))?;
                serde_json::from_slice(&plain).map_err(|_| wrong("it is damaged"))?
            }
            _ => return Err(wrong("this is no copy of keys")),
        };
        if stored.version != VERSION {
            return Err(wrong("a newer release wrote this copy"));
        }
        let mut keys = BTreeMap::new();
        for (name, text) in clear {
            let is_key = KeyFile::ALL.iter().any(|key| key.file_name() == name);
            let bytes = BASE64.decode(text.as_bytes()).ok().filter(|_| is_key);
            keys.insert(name, Zeroizing::new(bytes.ok_or_else(|| wrong("it is damaged"))?));
        }
        Ok(Self(keys))
    }

    /// Puts those back that are not there; gives their names.
    ///
    /// # Errors
    /// When one is there and is another one: then nothing was written.
    pub fn place(&self, dir: &Path, entropy: &dyn Entropy) -> Result<Vec<String>, StartError> {
        let failed = |error| StartError::Io(dir.display().to_string(), error);
        keys::create_private_dir(dir).map_err(failed)?;
        keys::check_folder(dir).map_err(failed)?;
        let mut missing = Vec::new();
        for (name, bytes) in &self.0 {
            match fs::read(dir.join(name)).map(Zeroizing::new) {
                Ok(there) if there == *bytes => {}
                Ok(_) => {
                    let path = dir.join(name);
                    let text = format!("{} is there and is another key: move it away first", path.display());
                    return Err(StartError::Other(text));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(name.clone()),
                Err(error) => return Err(failed(error)),
            }
        }
        for name in &missing {
            keys::place_new(dir, name, &self.0[name], entropy).map_err(failed)?;
        }
        Ok(missing)
    }
}

/// Argon2id, so that passphrases cost something to try.
fn sealing_key(passphrase: &str, salt: &[u8]) -> Result<MasterKey, StartError> {
    let mut key = Zeroizing::new([0; keys::KEY_BYTES]);
    Argon2::default().hash_password_into(passphrase.as_bytes(), salt, key.as_mut_slice()).map_err(in_words)?;
    Ok(MasterKey::new(*key))
}

fn in_words(error: impl std::fmt::Display) -> StartError {
    StartError::Other(error.to_string())
}
