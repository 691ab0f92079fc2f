//! Where a roster's files are: in a folder, in an archive, or one file that is all of it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use zip::{CompressionMethod, ZipArchive};

use super::error::RosterError;
use super::limits::Limits;
use crate::text;

/// How an archive begins, and how one does that holds nothing or is one of several parts.
const ARCHIVES: [[u8; 4]; 3] = [*b"PK\x03\x04", END, *b"PK\x07\x08"];
/// How the record at the end of an archive begins.
const END: [u8; 4] = *b"PK\x05\x06";
/// Bytes of that record.
const END_BYTES: u64 = 22;
/// Bytes in which it is looked for: its own, and a comment.
const END_BYTES_MAX: u64 = END_BYTES + 0xFFFF;
/// How the record before it begins, in an archive whose numbers are larger, and its bytes.
const LARGE_LOCATOR: [u8; 4] = *b"PK\x06\x07";
const LARGE_LOCATOR_BYTES: usize = 20;
/// How the record begins to which that one points.
const LARGE_END: [u8; 4] = *b"PK\x06\x06";
/// What the packers of some systems add beside the files that they were given.
const PACKERS_FOLDER: &str = "__MACOSX";
/// Files that stand in every workbook of a spreadsheet.
const WORKBOOK: [&str; 2] = ["[content_types].xml", "content.xml"];

/// A roster's files.
pub(super) enum Source {
    /// In a folder.
    Folder(PathBuf),
    /// In an archive, by name in small letters.
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
        let is_archive = file.read_exact(&mut begin).is_ok() && ARCHIVES.contains(&begin);
        file.rewind().map_err(io)?;
        if is_archive { archive(file, limits) } else { Ok(Self::File(path.to_owned())) }
    }

    /// Opens the file of a set that has this name, in whatever letters; `None` when it is not there.
    pub(super) fn file(&mut self, name: &str) -> Result<Option<Box<dyn Read + '_>>, RosterError> {
        match self {
            Self::Folder(folder) => in_folder(folder, name),
            Self::Archive(archive, names) => match names.get(&text::alike(name)) {
                Some(index) => {
                    let file = archive.by_index(*index).map_err(|error| unreadable(name, &error))?;
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

fn in_folder<'a>(folder: &Path, name: &str) -> Result<Option<Box<dyn Read + 'a>>, RosterError> {
    let io = |error| RosterError::Io(name.to_owned(), error);
    let mut path = None;
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let found = entry.file_name().to_str().is_some_and(|found| text::alike(found) == text::alike(name));
        if found && path.replace(entry.path()).is_some() {
            return Err(twice(name, "the folder"));
        }
    }
    let file = path.map(|path| File::open(path).map_err(io)).transpose()?;
    Ok(file.map(|file| -> Box<dyn Read> { Box::new(file) }))
}

fn archive(mut file: File, limits: Limits) -> Result<Source, RosterError> {
    let io = |error| RosterError::Io("the archive".to_owned(), error);
    let max = limits.archive_entries_max;
    let too_many = || {
        let what = format!("the archive is damaged or holds more than {max} files");
        RosterError::invalid("the archive", what, "pack only the files of the roster")
    };
    let entries = announced_entries(&mut file).map_err(io)?;
    if entries.is_none_or(|entries| entries > max as u64) {
        return Err(too_many());
    }
    file.rewind().map_err(io)?;
    let mut archive = ZipArchive::new(file).map_err(|error| unreadable("the archive", &error))?;
    if archive.len() > max {
        return Err(too_many());
    }
    let mut names = HashMap::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(|error| unreadable("the archive", &error))?;
        // Whose name cannot be read is none of ours.
        let Ok(path) = entry.name() else { continue };
        let (name, is_ours) = place(&path);
        if WORKBOOK.contains(&name.as_str()) {
            let what = "this is a workbook of a spreadsheet";
            return Err(RosterError::invalid("the file", what, "save the sheet as CSV in UTF-8, and send that"));
        }
        if entry.is_dir() || !is_ours {
            continue;
        }
        if entry.encrypted() {
            return Err(RosterError::invalid(&name, "the file is encrypted", "pack it without a password"));
        }
        if !matches!(entry.compression(), CompressionMethod::Stored | CompressionMethod::Deflated) {
            return Err(RosterError::invalid(&name, "it is packed by a method that is not read here", PACK_AGAIN));
        }
        if names.insert(name.clone(), index).is_some() {
            return Err(twice(&name, "the archive"));
        }
    }
    Ok(Source::Archive(Box::new(archive), names))
}

/// The name of a file in small letters, without its folders, and whether it can be one of a roster.
fn place(path: &str) -> (String, bool) {
    let mut parts = path.rsplit(['/', '\\']);
    let name = text::alike(parts.next().unwrap_or_default());
    let is_ours = !name.starts_with('.') && name.ends_with(".csv") && !parts.any(|folder| folder == PACKERS_FOLDER);
    (name, is_ours)
}

fn twice(name: &str, holder: &str) -> RosterError {
    RosterError::invalid(name, format!("{holder} holds it twice"), "pack one roster only")
}

/// How many files the end of the archive announces: looked at first, because a long list of files is read into memory.
fn announced_entries(file: &mut File) -> io::Result<Option<u64>> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(END_BYTES_MAX + LARGE_LOCATOR_BYTES as u64)))?;
    let mut end = Vec::new();
    Read::by_ref(file).take(END_BYTES_MAX + LARGE_LOCATOR_BYTES as u64).read_to_end(&mut end)?;
    let Some(at) = (0..end.len().saturating_sub(11)).rev().find(|at| end[*at..].starts_with(&END)) else {
        return Ok(None);
    };
    let entries = u16::from_le_bytes([end[at + 10], end[at + 11]]);
    let before = at.checked_sub(LARGE_LOCATOR_BYTES).map(|begin| &end[begin..at]);
    match before.filter(|before| entries == u16::MAX && before.starts_with(&LARGE_LOCATOR)) {
        Some(locator) if u64_at(locator, 8) < length => large_entries(file, u64_at(locator, 8)),
        Some(_) => Ok(None),
        None => Ok(Some(u64::from(entries))),
    }
}

fn large_entries(file: &mut File, at: u64) -> io::Result<Option<u64>> {
    let mut record = Vec::new();
    file.seek(SeekFrom::Start(at))?;
    Read::by_ref(file).take(40).read_to_end(&mut record)?;
    Ok((record.len() == 40 && record.starts_with(&LARGE_END)).then(|| u64_at(&record, 32)))
}

/// The little-endian number at this place of a record; zero where the record is shorter.
fn u64_at(record: &[u8], at: usize) -> u64 {
    record.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

const PACK_AGAIN: &str = "pack it again as an ordinary .zip (deflate, no password, one part)";

fn unreadable(file: &str, error: &zip::result::ZipError) -> RosterError {
    RosterError::invalid(file, format!("it cannot be read: {error}"), PACK_AGAIN)
}
