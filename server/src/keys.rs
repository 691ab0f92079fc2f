//! Secret keys in files of DATA_DIR/keys: which there are, made once, readable by the server's user only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::clock::Entropy;
use crate::durable;

/// Bytes of every key that is kept in a file.
pub const KEY_BYTES: usize = 32;
/// Bits of a mode by which others than the owner can open a file.
const MODE_OF_OTHERS: u32 = 0o077;
/// Bits of a mode by which others than the owner can put files into a folder.
const MODE_OTHERS_WRITE: u32 = 0o022;

/// Keys that were replaced and are kept beside the one of today, of each kind.
pub const KEPT_MAX: u32 = 1_000;

/// A key that a file may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyFile {
    /// Signs the server's entries, receipts, anchors and heads. Phones pin it.
    Server,
    /// Gives the codes of sessions that the server planned.
    SessionCode,
    /// Wraps the keys of people's evidence. In base64.
    Master,
    /// Seals the secrets of authenticator apps. In base64.
    Mfa,
    /// Signs access tokens.
    Token,
    /// Hashes what is handed out once: refresh tokens, links, backup codes.
    TokenPepper,
    /// Seals the cookies of sign-ins by a provider.
    Oauth,
    /// Seals letters that have not left.
    Mail,
    /// Hashes the identifiers of older clients.
    LegacyId,
}

impl KeyFile {
    /// Every one.
    pub const ALL: [Self; 9] = [
        Self::Server,
        Self::SessionCode,
        Self::Master,
        Self::Mfa,
        Self::Token,
        Self::TokenPepper,
        Self::Oauth,
        Self::Mail,
        Self::LegacyId,
    ];

    /// Its name in commands and in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::SessionCode => "session-code",
            Self::Master => "master",
            Self::Mfa => "mfa",
            Self::Token => "token",
            Self::TokenPepper => "token-pepper",
            Self::Oauth => "oauth",
            Self::Mail => "mail",
            Self::LegacyId => "legacy-id",
        }
    }

    /// The name of its file in DATA_DIR/keys.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Server => "server-ed25519.key",
            Self::SessionCode => "session-code.key",
            Self::Master => "master.key",
            Self::Mfa => "mfa.key",
            Self::Token => "token.key",
            Self::TokenPepper => "token-pepper.key",
            Self::Oauth => "oauth.key",
            Self::Mail => "mail.key",
            Self::LegacyId => "legacy-id.key",
        }
    }
}

/// Reads a key, or makes one and stores it before it is used.
///
/// # Errors
/// Also when the stored key has another length, because a torn file must not become a key, and when others can open it.
pub fn load_or_create(dir: &Path, key: KeyFile, entropy: &dyn Entropy) -> io::Result<Zeroizing<Vec<u8>>> {
    create_private_dir(dir)?;
    match load(dir, key) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(dir, key, entropy),
        other => other,
    }
}

/// Reads a key, and makes none.
///
/// # Errors
/// When it is not there, has another length, or others can open it.
pub fn load(dir: &Path, key: KeyFile) -> io::Result<Zeroizing<Vec<u8>>> {
    load_at(dir, key.file_name())
}

/// The same for a key under another name: one that waits to take a place, or had it.
///
/// # Errors
/// As [`load`].
pub fn load_at(dir: &Path, name: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    check_folder(dir)?;
    let path = dir.join(name);
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let mut file = File::open(&path).map_err(named)?;
    check_private(&path, &file)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_BYTES + 1));
    io::Read::read_to_end(&mut io::Read::take(&mut file, KEY_BYTES as u64 + 1), &mut bytes)?;
    if bytes.len() == KEY_BYTES {
        return Ok(bytes);
    }
    let length = file.metadata()?.len();
    Err(io::Error::other(format!(
        "{} holds {length} bytes instead of {KEY_BYTES}: it is damaged; put it back from a backup",
        path.display()
    )))
}

/// Refuses a file that others than its owner can open.
///
/// # Errors
/// Says how to mend it.
#[cfg(unix)]
pub fn check_private(path: &Path, file: &File) -> io::Result<()> {
    let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata()?.permissions()) & 0o777;
    if mode & MODE_OF_OTHERS == 0 {
        return Ok(());
    }
    let text = format!("it has mode {mode:03o}, so that others can open it; run: chmod 600 {}", path.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{}: {text}", path.display())))
}

/// Refuses a folder in which others than its owner can put another key.
///
/// # Errors
/// Says how to mend it.
#[cfg(unix)]
pub fn check_folder(dir: &Path) -> io::Result<()> {
    let mode = match fs::metadata(dir) {
        Ok(metadata) => std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if mode & MODE_OTHERS_WRITE == 0 {
        return Ok(());
    }
    let text = format!("it has mode {mode:03o}, so that others can change the keys; run: chmod 700 {}", dir.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{}: {text}", dir.display())))
}

/// Nothing to see where files have no modes.
#[cfg(not(unix))]
pub fn check_private(_: &Path, _: &File) -> io::Result<()> {
    Ok(())
}

/// Nothing to see where folders have no modes.
#[cfg(not(unix))]
pub fn check_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Writes a fresh key beside its place and moves it there, so that a power cut leaves a whole key or none.
fn create(dir: &Path, key: KeyFile, entropy: &dyn Entropy) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; KEY_BYTES]);
    entropy.fill(&mut bytes);
    place_new(dir, key.file_name(), &bytes, entropy)?;
    // Of two starts at once one key wins, and both use it.
    load(dir, key)
}

/// Writes a file that is not there yet, whole and private, and flushes its name. One that is there stays.
///
/// # Errors
/// When it cannot be written.
pub fn place_new(dir: &Path, name: &str, bytes: &[u8], entropy: &dyn Entropy) -> io::Result<()> {
    let mut nonce = [0; 8];
    entropy.fill(&mut nonce);
    let draft = dir.join(format!("{name}.{:016x}.new", u64::from_le_bytes(nonce)));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    // A hard link never replaces a file.
    let linked = fs::hard_link(&draft, dir.join(name));
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => durable::sync_folder(dir),
    }
}

/// Keeps what a file holds under another name beside it, `NAME.key.replaced` or the next number that is free: one that is
/// kept already is never written over. Gives that name; `None` if there is no such file.
///
/// # Errors
/// When the folder cannot be written, or holds [`KEPT_MAX`] of them.
pub fn keep_copy(path: &Path) -> io::Result<Option<PathBuf>> {
    let bytes = match fs::read(path).map(Zeroizing::new) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    for number in 1..=KEPT_MAX {
        let suffix = if number == 1 { String::new() } else { format!("-{number}") };
        let kept = path.with_extension(format!("key.replaced{suffix}"));
        match fs::hard_link(path, &kept) {
            Ok(()) => {
                durable::sync_folder(durable::parent_of(path))?;
                return Ok(Some(kept));
            }
            // Whoever was cut off before the next step kept it already.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if fs::read(&kept).map(Zeroizing::new)? == bytes {
                    return Ok(Some(kept));
                }
            }
            Err(error) => return Err(error),
        }
    }
    let text = format!("{KEPT_MAX} keys that were replaced are beside {}: move them away first", path.display());
    Err(io::Error::other(text))
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
        let first = load_or_create(&keys, KeyFile::Token, &SystemEntropy).unwrap();
        let second = load_or_create(&keys, KeyFile::Token, &SystemEntropy).unwrap();
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
    fn a_key_that_is_kept_is_never_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mail.key");
        assert_eq!(keep_copy(&path).unwrap(), None);
        for (bytes, name) in [(b"one", "mail.key.replaced"), (b"two", "mail.key.replaced-2")] {
            fs::write(&path, bytes).unwrap();
            // Twice, as after a cut.
            for _ in 0..2 {
                assert_eq!(keep_copy(&path).unwrap(), Some(dir.path().join(name)));
            }
            assert_eq!(fs::read(dir.path().join(name)).unwrap(), bytes);
            fs::remove_file(&path).unwrap();
        }
        assert_eq!(fs::read(dir.path().join("mail.key.replaced")).unwrap(), b"one");
    }

    #[test]
    fn a_key_of_the_wrong_length_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        for length in [0, KEY_BYTES - 1, KEY_BYTES + 1] {
            let _ = fs::remove_file(dir.path().join("token.key"));
            place_new(dir.path(), "token.key", &vec![1; length], &SystemEntropy).unwrap();
            let error = load_or_create(dir.path(), KeyFile::Token, &SystemEntropy).unwrap_err();
            assert!(error.to_string().contains(&format!("{length} bytes instead of 32")), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_others_can_open_is_refused_with_the_command_that_mends_it() {
        use std::os::unix::fs::PermissionsExt;
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys");
        load_or_create(&keys, KeyFile::Mail, &SystemEntropy).unwrap();
        let file = keys.join("mail.key");
        for mode in [0o644, 0o640, 0o604, 0o620] {
            set(&file, mode);
            let error = load(&keys, KeyFile::Mail).unwrap_err().to_string();
            assert!(error.ends_with(&format!("chmod 600 {}", file.display())), "{error}");
        }
        set(&file, 0o400);
        load(&keys, KeyFile::Mail).unwrap();
        for mode in [0o777, 0o770] {
            set(&keys, mode);
            let error = load(&keys, KeyFile::Mail).unwrap_err().to_string();
            assert!(error.ends_with(&format!("chmod 700 {}", keys.display())), "{error}");
        }
        set(&keys, 0o755);
        load(&keys, KeyFile::Mail).unwrap();
    }
}
