//! Secret keys in files of DATA_DIR/keys: made once, readable by the server's user only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use zeroize::Zeroizing;

use crate::clock::Entropy;
use crate::durable;

/// Reads the key `name`, or makes one of `len` bytes and stores it before it is used.
///
/// # Errors
/// Also when the stored key has another length: a torn file must not become a key.
pub fn load_or_create(dir: &Path, name: &str, len: usize, entropy: &dyn Entropy) -> io::Result<Zeroizing<Vec<u8>>> {
    create_private_dir(dir)?;
    let path = dir.join(name);
    match fs::read(&path) {
        Ok(bytes) => check_len(&path, Zeroizing::new(bytes), len),
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(dir, &path, len, entropy),
        Err(error) => Err(error),
    }
}

/// Reads the key `name`, and makes none.
///
/// # Errors
/// When it is not there, or has another length.
pub fn load(dir: &Path, name: &str, len: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let path = dir.join(name);
    check_len(&path, Zeroizing::new(fs::read(&path)?), len)
}

/// Writes a fresh key beside its place and moves it there, so that a power cut leaves a whole key or none.
fn create(dir: &Path, path: &Path, len: usize, entropy: &dyn Entropy) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut key = Zeroizing::new(vec![0; len]);
    entropy.fill(&mut key);
    let mut nonce = [0; 8];
    entropy.fill(&mut nonce);
    let draft = path.with_extension(format!("{:016x}.new", u64::from_le_bytes(nonce)));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft)?;
    file.write_all(&key)?;
    file.sync_all()?;
    // A hard link never replaces a file, so that of two starts at once one key wins and both use it.
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        Ok(()) => {
            File::open(dir)?.sync_all()?;
            Ok(key)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            check_len(path, Zeroizing::new(fs::read(path)?), len)
        }
        Err(error) => Err(error),
    }
}

fn check_len(path: &Path, key: Zeroizing<Vec<u8>>, len: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    if key.len() == len {
        return Ok(key);
    }
    Err(io::Error::other(format!("{} holds {} bytes instead of {len}", path.display(), key.len())))
}

/// Makes a folder that only the server's user may enter, and those above it.
///
/// # Errors
/// When one of them cannot be made or flushed: what is stored in a folder is only as durable as its name.
pub fn create_private_dir(dir: &Path) -> io::Result<()> {
    durable::create_folder(dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemEntropy;

    #[test]
    fn a_key_is_made_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys");
        let first = load_or_create(&keys, "token.key", 32, &SystemEntropy).unwrap();
        let second = load_or_create(&keys, "token.key", 32, &SystemEntropy).unwrap();
        assert_eq!(first, second);
        assert_eq!(fs::read_dir(&keys).unwrap().count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(keys.join("token.key")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_key_of_the_wrong_length_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("token.key"), [1, 2, 3]).unwrap();
        assert!(load_or_create(dir.path(), "token.key", 32, &SystemEntropy).is_err());
    }
}
