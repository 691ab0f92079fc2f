//! The models folder: one writer at a time, whole files only, and nothing is read that is not what the manifest says.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::Error;
use crate::manifest::Artifact;

const LOCK_FILE: &str = ".lock";
const INCOMING_PREFIX: &str = ".incoming-";
const SCRATCH_PREFIX: &str = ".scratch-";

/// Whether a file can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is there and its sha256 is the manifest's.
    Verified,
    /// It is not there.
    Missing,
    /// It is there, but its bytes are not the pinned ones: it is never opened.
    Different,
}

/// Looks at one file.
pub(crate) fn state(dir: &Path, artifact: &Artifact) -> Result<State, Error> {
    let path = dir.join(&artifact.file);
    let metadata = match std::fs::metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(State::Missing),
        Err(error) => return Err(Error::io(path)(error)),
    };
    if !metadata.is_file() || metadata.len() != artifact.size_bytes {
        return Ok(State::Different);
    }
    let found = crate::digest::of_file(&path).map_err(Error::io(path))?;
    Ok(if found == artifact.sha256 { State::Verified } else { State::Different })
}

/// Reads a file whole and returns it only if its sha256 is the manifest's.
pub fn read_verified(dir: &Path, artifact: &Artifact) -> Result<Vec<u8>, Error> {
    let path = dir.join(&artifact.file);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::Missing { file: artifact.file.clone() });
        }
        Err(error) => return Err(Error::io(path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(artifact.size_bytes + 1).read_to_end(&mut bytes).map_err(Error::io(&path))?;
    check(artifact, &bytes)?;
    Ok(bytes)
}

/// The path of a file whose sha256 is the manifest's, for what only takes a path.
pub fn verified_path(dir: &Path, artifact: &Artifact) -> Result<PathBuf, Error> {
    let path = dir.join(&artifact.file);
    match state(dir, artifact)? {
        State::Verified => Ok(path),
        State::Missing => Err(Error::Missing { file: artifact.file.clone() }),
        State::Different => {
            let found = crate::digest::of_file(&path).map_err(Error::io(path))?;
            Err(Error::Digest { what: artifact.file.clone(), expected: artifact.sha256.clone(), found })
        }
    }
}

/// Held while files are put in the folder; the system lets go of it even if the process dies.
pub(crate) struct Lock(#[expect(dead_code, reason = "the lock lives as long as the open file")] File);

/// Makes the folder and waits until no other process is writing in it.
pub(crate) fn lock(dir: &Path) -> Result<Lock, Error> {
    std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
    let path = dir.join(LOCK_FILE);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(Error::io(&path))?;
    file.lock().map_err(Error::io(&path))?;
    Ok(Lock(file))
}

/// A folder for an archive under way, gone when it is dropped.
pub(crate) fn scratch(dir: &Path) -> Result<tempfile::TempDir, Error> {
    tempfile::Builder::new().prefix(SCRATCH_PREFIX).tempdir_in(dir).map_err(Error::io(dir))
}

/// Removes what a process that died left behind; only the holder of the lock may.
pub(crate) fn sweep(dir: &Path, _lock: &Lock) -> Result<(), Error> {
    for entry in std::fs::read_dir(dir).map_err(Error::io(dir))? {
        let path = entry.map_err(Error::io(dir))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with(SCRATCH_PREFIX) {
            std::fs::remove_dir_all(&path).map_err(Error::io(&path))?;
        } else if name.starts_with(INCOMING_PREFIX) {
            std::fs::remove_file(&path).map_err(Error::io(&path))?;
        }
    }
    Ok(())
}

/// Puts a verified file in its place in one step, so that a crash leaves either nothing or all of it.
pub(crate) fn install(dir: &Path, artifact: &Artifact, bytes: &[u8]) -> Result<(), Error> {
    check(artifact, bytes)?;
    let path = dir.join(&artifact.file);
    let folder = path.parent().unwrap_or(dir);
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let mut file = tempfile::Builder::new().prefix(INCOMING_PREFIX).tempfile_in(folder).map_err(Error::io(folder))?;
    file.write_all(bytes).map_err(Error::io(&path))?;
    readable_by_all(file.as_file()).map_err(Error::io(&path))?;
    file.as_file().sync_all().map_err(Error::io(&path))?;
    file.persist(&path).map_err(|error| Error::io(&path)(error.error))?;
    sync_folder(folder).map_err(Error::io(folder))
}

fn check(artifact: &Artifact, bytes: &[u8]) -> Result<(), Error> {
    let found = crate::digest::of_bytes(bytes);
    if found == artifact.sha256 {
        return Ok(());
    }
    Err(Error::Digest { what: artifact.file.clone(), expected: artifact.sha256.clone(), found })
}

#[cfg(unix)]
fn readable_by_all(file: &File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn readable_by_all(_: &File) -> std::io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Manifest;

    fn artifact(bytes: &[u8]) -> Artifact {
        let mut artifact = Manifest::embedded().unwrap().artifacts[0].clone();
        artifact.size_bytes = bytes.len() as u64;
        artifact.sha256 = crate::digest::of_bytes(bytes);
        artifact
    }

    #[test]
    fn an_installed_file_is_verified_and_a_changed_one_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let pinned = artifact(b"right");
        assert_eq!(state(dir.path(), &pinned).unwrap(), State::Missing);
        install(dir.path(), &pinned, b"right").unwrap();
        assert_eq!(state(dir.path(), &pinned).unwrap(), State::Verified);
        assert_eq!(read_verified(dir.path(), &pinned).unwrap(), b"right");
        std::fs::write(dir.path().join(&pinned.file), b"wrong").unwrap();
        assert_eq!(state(dir.path(), &pinned).unwrap(), State::Different);
        assert!(matches!(read_verified(dir.path(), &pinned), Err(Error::Digest { .. })));
        assert!(matches!(verified_path(dir.path(), &pinned), Err(Error::Digest { .. })));
    }

    #[test]
    fn only_one_writer_is_in_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path()).unwrap();
        let other = File::open(dir.path().join(LOCK_FILE)).unwrap();
        assert!(other.try_lock().is_err());
        drop(held);
        other.try_lock().unwrap();
    }

    #[test]
    fn what_a_dead_process_left_is_removed_and_models_stay() {
        let dir = tempfile::tempdir().unwrap();
        let pinned = artifact(b"right");
        install(dir.path(), &pinned, b"right").unwrap();
        std::fs::create_dir(dir.path().join(".scratch-1")).unwrap();
        std::fs::write(dir.path().join(".incoming-1"), b"half").unwrap();
        let held = lock(dir.path()).unwrap();
        sweep(dir.path(), &held).unwrap();
        assert!(!dir.path().join(".scratch-1").exists() && !dir.path().join(".incoming-1").exists());
        assert_eq!(state(dir.path(), &pinned).unwrap(), State::Verified);
    }

    #[test]
    fn other_bytes_are_not_installed() {
        let dir = tempfile::tempdir().unwrap();
        assert!(install(dir.path(), &artifact(b"right"), b"wrong").is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
