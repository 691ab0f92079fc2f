//! The key that signed access tokens until it was rotated: it verifies what it signed until the last of these has ended.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::durable;
use crate::keys;

/// Its name in the folder of the keys.
const NAME: &str = "token.key.previous";
/// Largest file that is read, in bytes.
const SIZE_BYTES_MAX: u64 = 1024;

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    /// In base64.
    key: String,
    until_ms: i64,
}

/// A key, and until when it verifies.
pub(super) struct PreviousKey {
    pub(super) key: Zeroizing<Vec<u8>>,
    pub(super) until_ms: i64,
}

/// The key before the one of today, if it was rotated. Blocks.
///
/// # Errors
/// When others can open the file, or it is damaged.
pub(super) fn load(dir: &Path) -> io::Result<Option<PreviousKey>> {
    let path = dir.join(NAME);
    let wrong = |what: &str| {
        let text = format!("{}: {what}; remove it, and clients refresh their tokens", path.display());
        io::Error::new(io::ErrorKind::InvalidData, text)
    };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    keys::check_private(&path, &file)?;
    if file.metadata()?.len() > SIZE_BYTES_MAX {
        return Err(wrong("it is too large"));
    }
    let bytes = Zeroizing::new(fs::read(&path)?);
    let stored: Stored = serde_json::from_slice(&bytes).map_err(|_| wrong("it is damaged"))?;
    let key = BASE64.decode(stored.key.as_bytes()).map(Zeroizing::new).map_err(|_| wrong("it is damaged"))?;
    if stored.version != 1 || key.len() != keys::KEY_BYTES {
        return Err(wrong("it is damaged"));
    }
    Ok(Some(PreviousKey { key, until_ms: stored.until_ms }))
}

/// Lets a key that goes out of use verify until `until_ms`, Unix milliseconds; the one before it verifies no more. Blocks.
///
/// # Errors
/// When the file cannot be written.
pub fn keep_token_key(dir: &Path, key: &[u8], until_ms: i64) -> io::Result<()> {
    let stored = Stored { version: 1, key: BASE64.encode(key), until_ms };
    let bytes = Zeroizing::new(serde_json::to_vec(&stored).map_err(io::Error::other)?);
    durable::replace(&dir.join(NAME), &bytes)
}

/// Lets it verify no more. Blocks.
///
/// # Errors
/// When the file cannot be removed.
pub fn drop_token_key(dir: &Path) -> io::Result<()> {
    match fs::remove_file(dir.join(NAME)) {
        Ok(()) => durable::sync_folder(dir),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
