//! Where the master key comes from: `MASTER_KEY` in the environment, or a file that the first start creates.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use zeroize::Zeroizing;

use super::crypt::{Fill, KEY_BYTES, MasterKey};
use crate::durable::{create_folder, parent_of, sync_folder, write_new};

/// The longest key file that is read, in bytes: 44 of base64 and some white space.
const FILE_BYTES_MAX: u64 = 128;

/// Why there is no master key. Messages never show any of it.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// Not the base64 of 32 bytes.
    #[error("{origin} is not the base64 of {KEY_BYTES} bytes")]
    Malformed {
        /// The variable or file that holds it.
        origin: String,
    },
    /// Every byte is the same, as in an example that was left in place.
    #[error("{origin} is one byte repeated, not a random key")]
    Weak {
        /// The variable or file that holds it.
        origin: String,
    },
    /// Others on this machine can read or change the file.
    #[error("{path} has mode {mode:03o}; only its owner may open it (chmod 600)")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

impl MasterKey {
    /// Reads the base64 of a key; `origin` names its source in the error.
    ///
    /// # Errors
    /// If it is not 32 bytes, or plainly not random.
    pub fn from_base64(text: &str, origin: &str) -> Result<Self, MasterKeyError> {
        let malformed = || MasterKeyError::Malformed { origin: origin.to_owned() };
        let decoded = Zeroizing::new(BASE64.decode(text.trim().as_bytes()).map_err(|_| malformed())?);
        let bytes = Zeroizing::new(<[u8; KEY_BYTES]>::try_from(decoded.as_slice()).map_err(|_| malformed())?);
        if bytes.iter().all(|byte| *byte == bytes[0]) {
            return Err(MasterKeyError::Weak { origin: origin.to_owned() });
        }
        Ok(Self::new(*bytes))
    }

    /// Reads the key file, or `None` if there is none.
    ///
    /// # Errors
    /// If the file is readable by others, damaged, or cannot be read.
    pub fn load(path: &Path) -> Result<Option<Self>, MasterKeyError> {
        let failed = |source| MasterKeyError::File { path: path.to_owned(), source };
        let file = match fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        check_mode(path, &file)?;
        let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX as usize + 1));
        file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
        Self::from_base64(&text, &path.display().to_string()).map(Some)
    }

    /// Reads the key file, or makes one with a new key if there is none.
    ///
    /// Servers that start at the same moment end with the same key. A new key opens nothing that an older one wrapped:
    /// compare [`MasterKey::id`] with the one that the database remembers before using it.
    ///
    /// # Errors
    /// As [`MasterKey::load`], or if the file cannot be written and flushed.
    pub fn load_or_create(path: &Path, fill: Fill<'_>) -> Result<Self, MasterKeyError> {
        if let Some(key) = Self::load(path)? {
            return Ok(key);
        }
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        fill(bytes.as_mut_slice());
        let key = Self::new(*bytes);
        let failed = |source| MasterKeyError::File { path: path.to_owned(), source };
        write_once(path, &key).map_err(failed)?;
        Self::load(path)?.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
    }
}

/// Writes the key aside and links it into place, so that the file is never half written and never replaces another.
fn write_once(path: &Path, key: &MasterKey) -> io::Result<()> {
    let folder = parent_of(path);
    create_folder(folder)?;
    let aside = path.with_extension(format!("new-{}", std::process::id()));
    let text = Zeroizing::new(BASE64.encode(key.bytes()) + "\n");
    // An interrupted start may have left one under the same process id.
    let _ = fs::remove_file(&aside);
    write_new(&aside, text.as_bytes())?;
    let linked = fs::hard_link(&aside, path);
    fs::remove_file(&aside)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_folder(folder),
    }
}

#[cfg(unix)]
fn check_mode(path: &Path, file: &fs::File) -> Result<(), MasterKeyError> {
    let metadata = file.metadata().map_err(|source| MasterKeyError::File { path: path.to_owned(), source })?;
    let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
    if mode & 0o077 != 0 {
        return Err(MasterKeyError::Exposed { path: path.to_owned(), mode });
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_mode(_: &Path, _: &fs::File) -> Result<(), MasterKeyError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn counting(bytes: &mut [u8]) {
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = index as u8;
        }
    }

    #[test]
    fn the_first_start_creates_a_private_file_and_the_next_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data/keys/master.key");
        assert!(MasterKey::load(&path).unwrap().is_none());
        let made = MasterKey::load_or_create(&path, &counting).unwrap();
        let read = MasterKey::load_or_create(&path, &|_| unreachable!("the file is there")).unwrap();
        assert_eq!(made.bytes(), read.bytes());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        MasterKey::load_or_create(&path, &counting).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = MasterKey::load(&path).unwrap_err();
        assert!(matches!(error, MasterKeyError::Exposed { mode: 0o640, .. }), "{error}");
    }

    #[test]
    fn only_the_base64_of_32_random_bytes_is_a_key() {
        let mut bytes = [0; 33];
        counting(&mut bytes);
        assert!(MasterKey::from_base64(&BASE64.encode(&bytes[..32]), "MASTER_KEY").is_ok());
        assert!(MasterKey::from_base64(&format!(" {}\n", BASE64.encode(&bytes[..32])), "MASTER_KEY").is_ok());
        for text in ["", "secret", &BASE64.encode(&bytes[..31]), &BASE64.encode(&bytes)] {
            let error = MasterKey::from_base64(text, "MASTER_KEY").unwrap_err();
            assert_eq!(error.to_string(), "MASTER_KEY is not the base64 of 32 bytes");
        }
        let error = MasterKey::from_base64(&BASE64.encode(&[0; 32]), "MASTER_KEY").unwrap_err();
        assert!(matches!(error, MasterKeyError::Weak { .. }), "{error}");
    }

    #[test]
    fn a_damaged_file_is_never_replaced_by_a_new_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        write_new(&path, b"half").unwrap();
        assert!(MasterKey::load_or_create(&path, &counting).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"half");
    }
}
