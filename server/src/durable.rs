//! The few file operations that survive a power cut: a file and the folder entry that names it are both flushed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

/// Creates a folder, and those above it, that only this user can open. Each entry is flushed.
///
/// # Errors
/// When a folder cannot be created or flushed.
pub fn create_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = parent_of(path);
    create_folder(parent)?;
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        other => other?,
    }
    sync_folder(parent)
}

/// Writes a new file that only this user can read, and flushes its bytes. The folder's entry is not flushed yet.
///
/// A file that could not be written whole is removed again.
///
/// # Errors
/// Also when there is such a file.
pub fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written
}

/// Replaces a file that only this user can read: written beside its place, flushed, moved there, and the folder
/// flushed, so that a power cut leaves the old file or the new one.
///
/// # Errors
/// When the file cannot be written or moved.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Two processes may share the folder, but not a draft.
    let draft = path.with_extension(format!("{}.new", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    sync_folder(parent_of(path))
}

/// Flushes a folder's entries, so that a created, renamed or removed file stays so.
///
/// # Errors
/// When the folder cannot be opened or flushed.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(windows) {
        // Windows opens no folder as a file; its file system journals entries by itself.
        return Ok(());
    }
    File::open(path)?.sync_all()
}

/// The folder that holds `path`; the current one for a bare name.
pub fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => path,
    }
}
