//! A file beside the server's keys that says where logs end: one list, signed as a whole, so that nobody takes a line out of
//! it, puts one back, or empties it unseen.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use data_encoding::HEXLOWER;
use muster_sync_core::{DeviceKey, signing};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::ServerKey;
use crate::durable;

/// Largest file that is read, in bytes: about 30,000 tenants.
const SIZE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// A list that is signed as a whole. Version 1 has signed lines only.
const VERSION: u32 = 2;

/// Why the file says nothing.
#[derive(Debug, thiserror::Error)]
pub enum HeadFileError {
    /// It cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is not what the server writes.
    #[error("{0} is not a file of heads: {1}")]
    Malformed(String, String),
    /// Another server's key, or an edited file.
    #[error("{0} is not signed by this server's key")]
    Forged(String),
}

/// The file, and what was last written into it.
pub struct SignedList<T> {
    path: PathBuf,
    context: &'static [u8; 24],
    written: Mutex<Option<Vec<T>>>,
}

/// What a file says.
pub struct ReadList<T> {
    /// Its lines, in their order.
    pub lines: Vec<T>,
    /// How often it was written; `None` for one of an earlier release, which does not say that it has all its lines.
    pub counter: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct Stored<T> {
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    counter: Option<u64>,
    heads: Vec<T>,
    /// Over the context, the counter and the lines, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signature: Option<String>,
}

impl<T: Serialize + DeserializeOwned + PartialEq> SignedList<T> {
    /// The file of this name in a folder; `context` stands in front of what is signed.
    pub fn in_folder(dir: &Path, name: &str, context: &'static [u8; 24]) -> Self {
        Self { path: dir.join(name), context, written: Mutex::new(None) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says, checked against the server's key; `None` if there is none. The lines carry signatures of their own,
    /// which are for the caller to check.
    ///
    /// # Errors
    /// A file that cannot be read, is torn, or whose list is not signed by `server`.
    pub fn read(&self, server: &DeviceKey) -> Result<Option<ReadList<T>>, HeadFileError> {
        let Some(stored) = self.stored()? else { return Ok(None) };
        let counter = match (stored.version, stored.counter, &stored.signature) {
            (1, None, None) => None,
            (VERSION, Some(counter), Some(signature)) => {
                let signature = HEXLOWER.decode(signature.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
                let signature: [u8; 64] =
                    signature.ok_or_else(|| self.malformed("its signature is not in hexadecimal"))?;
                let message = self.message(counter, &stored.heads)?;
                signing::verify_strict(server, &message, &signature)
                    .map_err(|_| HeadFileError::Forged(self.path.display().to_string()))?;
                Some(counter)
            }
            _ => return Err(self.malformed("its list is not signed as a whole")),
        };
        Ok(Some(ReadList { lines: stored.heads, counter }))
    }

    /// Replaces it, in a way that survives a power cut. Nothing happens if it says this already. Blocks.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, key: &ServerKey, lines: Vec<T>) -> io::Result<()> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.as_ref() == Some(&lines) {
            return Ok(());
        }
        // Servers that share the folder count on from each other; a file that says nothing is replaced.
        let before = self.stored().ok().flatten().and_then(|stored| stored.counter);
        let counter = before.unwrap_or_default().saturating_add(1);
        let signature = key.signer().sign(&self.message(counter, &lines)?).map_err(io::Error::other)?;
        let stored = Stored {
            version: VERSION,
            counter: Some(counter),
            heads: lines,
            signature: Some(HEXLOWER.encode(&signature)),
        };
        let bytes = serde_json::to_vec_pretty(&stored).map_err(io::Error::other)?;
        durable::replace(&self.path, &bytes)?;
        *written = Some(stored.heads);
        Ok(())
    }

    /// Keeps a file that says nothing under another name, so that the next one does not take its place.
    pub fn set_aside(&self) {
        if let Err(error) = fs::rename(&self.path, self.path.with_extension("json.rejected")) {
            tracing::error!(%error, path = %self.path.display(), "The file of heads could not be set aside");
        }
    }

    /// An error about what the file holds.
    pub fn malformed(&self, why: &str) -> HeadFileError {
        HeadFileError::Malformed(self.path.display().to_string(), why.to_owned())
    }

    fn stored(&self) -> Result<Option<Stored<T>>, HeadFileError> {
        let size_bytes = match fs::metadata(&self.path) {
            Ok(facts) => facts.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if size_bytes > SIZE_BYTES_MAX {
            return Err(self.malformed("too large"));
        }
        let read = serde_json::from_slice(&fs::read(&self.path)?);
        read.map(Some).map_err(|error| self.malformed(&error.to_string()))
    }

    fn message(&self, counter: u64, lines: &[T]) -> io::Result<Vec<u8>> {
        let lines = serde_json::to_vec(lines).map_err(io::Error::other)?;
        Ok([&self.context[..], &counter.to_be_bytes(), &Sha256::digest(lines)[..]].concat())
    }
}
