//! Where a roster's files are: in a folder, in an archive, or one file that is all of it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use zip::ZipArchive;

use super::error::RosterError;
use super::limits::Limits;

/// How an archive begins.
const ARCHIVE: [u8; 4] = *b"PK\x03\x04";
/// How the record at the end of an archive begins.
const END: [u8; 4] = *b"PK\x05\x06";
/// Bytes in which that record is looked for: its own, and a comment.
const END_BYTES_MAX: u64 = 22 + 0xFFFF;

/// A roster's files.
pub(super) enum Source {
    /// In a folder.
    Folder(PathBuf),
    /// In an archive, by name.
    Archive(Box<ZipArchive<File>>, HashMap<String, usize>),
    /// One file.
    File(PathBuf),
}

impl Source {
    /// Looks what is there. Whatever begins like an archive is one.
    pub(super) fn open(path: &Path, limits: Limits) -> Result<Self, RosterError> {
        let io = |error| RosterError::Io(path.display().to_string(), error);
        if path.is_dir() {
            return Ok(Self::Folder(path.to_owned()));
        }
        let mut file = File::open(path).map_err(io)?;
        let mut begin = [0; 4];
        let is_archive = file.read_exact(&mut begin).is_ok() && begin == ARCHIVE;
        file.rewind().map_err(io)?;
        if is_archive { archive(file, limits) } else { Ok(Self::File(path.to_owned())) }
    }

    /// Opens the file of a set that has this name; `None` when it is not there.
    pub(super) fn file(&mut self, name: &str) -> Result<Option<Box<dyn Read + '_>>, RosterError> {
        let io = |error| RosterError::Io(name.to_owned(), error);
        match self {
            Self::Folder(folder) => match File::open(folder.join(name)) {
                Ok(file) => Ok(Some(Box::new(file))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(io(error)),
            },
            Self::Archive(archive, names) => match names.get(name) {
                Some(index) => {
                    let file = archive.by_index(*index).map_err(|error| unreadable(&error))?;
                    Ok(Some(Box::new(file)))
                }
                None => Ok(None),
            },
            Self::File(path) => Err(RosterError::invalid(
                &path.display().to_string(),
                format!("one file is no set of files with a {name}"),
                "name a folder or a .zip, or use --format csv",
            )),
        }
    }
}

fn archive(mut file: File, limits: Limits) -> Result<Source, RosterError> {
    let io = |error| RosterError::Io("the archive".to_owned(), error);
    let entries = announced_entries(&mut file).map_err(io)?;
    if entries.is_none_or(|entries| entries > limits.archive_entries_max) {
        let what = format!("the archive is damaged or holds more than {} files", limits.archive_entries_max);
        return Err(RosterError::invalid("the archive", what, "pack only the files of the roster"));
    }
    file.rewind().map_err(io)?;
    let mut archive = ZipArchive::new(file).map_err(|error| unreadable(&error))?;
    let mut names = HashMap::new();
    for index in 0..archive.len().min(limits.archive_entries_max) {
        let entry = archive.by_index_raw(index).map_err(|error| unreadable(&error))?;
        let path = entry.name().map_err(|error| unreadable(&error))?.into_owned();
        // What one system's packer adds beside each file.
        if entry.is_dir() || path.starts_with("__MACOSX/") {
            continue;
        }
        let name = path.rsplit(['/', '\\']).next().unwrap_or_default().to_owned();
        if entry.encrypted() {
            return Err(RosterError::invalid(&name, "the file is encrypted", "pack it without a password"));
        }
        if names.insert(name.clone(), index).is_some() {
            return Err(RosterError::invalid(&name, "the archive holds it twice", "pack one roster only"));
        }
    }
    Ok(Source::Archive(Box::new(archive), names))
}

/// How many files the end of the archive announces: looked at first, because a long list of files is read into memory.
fn announced_entries(file: &mut File) -> io::Result<Option<usize>> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(END_BYTES_MAX)))?;
    let mut end = Vec::new();
    file.take(END_BYTES_MAX).read_to_end(&mut end)?;
    let found = end.windows(12).rev().find(|bytes| bytes[..4] == END);
    Ok(found.map(|bytes| usize::from(u16::from_le_bytes([bytes[10], bytes[11]]))))
}

fn unreadable(error: &zip::result::ZipError) -> RosterError {
    RosterError::invalid("the archive", format!("it cannot be read: {error}"), "pack it again")
}
