//! What `shim.c` wrote down: the records of a journal, in the order in which they happened.

use std::fs;
use std::path::Path;

use crate::Result;

/// Bytes of a record before its payload.
const HEAD_BYTES: usize = 32;

/// Something that a server did to its files. Paths are relative to the root; `""` is the root itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    /// The shim is in place.
    Start,
    /// A file or folder was opened.
    Open { handle: u32, path: String, create: bool, truncate: bool },
    /// Bytes were written; `durable` when the file was opened for synchronous writes.
    Write { handle: u32, at: usize, bytes: Vec<u8>, durable: bool },
    /// The file has this size now.
    Resize { handle: u32, size: usize },
    /// The file has at least this size now.
    Allocate { handle: u32, size: usize },
    /// A flush began: what was done before is durable when it ends.
    SyncBegin { handle: u32, token: u64 },
    /// A flush ended.
    SyncEnd { token: u64, succeeded: bool },
    /// A name moved.
    Rename { from: String, to: String },
    /// A file got one more name.
    Link { from: String, to: String },
    /// A name went.
    Unlink { path: String },
    /// A folder was made.
    Mkdir { path: String },
    /// A folder went.
    Rmdir { path: String },
    /// Memory that writes through to the file.
    Map { handle: u32 },
    /// Something that the shim cannot follow.
    Unknown { what: String },
}

/// The records of a journal that may end in the middle of one. An operation that failed is left out, one that did less
/// than it was asked is cut to what it did.
pub(crate) fn read(path: &Path) -> Result<Vec<Record>> {
    parse(&fs::read(path)?)
}

/// Bytes that a journal has by now.
pub(crate) fn length(path: &Path) -> Result<usize> {
    Ok(usize::try_from(fs::metadata(path)?.len())?)
}

/// The records within the first bytes of a journal.
pub(crate) fn parse(mut bytes: &[u8]) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    while let Some((kind, handle, a, b, payload, rest)) = split(bytes)? {
        bytes = rest;
        match kind {
            // The operation before it did not happen.
            14 => drop(records.pop()),
            15 => match records.last_mut() {
                Some(Record::Write { bytes, .. }) => bytes.truncate(a),
                _ => return Err("a journal with a short operation that is no write".into()),
            },
            _ => records.push(record(kind, handle, a, b, payload)?),
        }
    }
    Ok(records)
}

type Split<'a> = (u32, u32, usize, usize, &'a [u8], &'a [u8]);

fn split(bytes: &[u8]) -> Result<Option<Split<'_>>> {
    let Some((head, rest)) = bytes.split_at_checked(HEAD_BYTES) else { return Ok(None) };
    let word = |at: usize| -> Result<usize> { Ok(usize::try_from(u64::from_ne_bytes(head[at..at + 8].try_into()?))?) };
    let half = |at: usize| -> Result<u32> { Ok(u32::from_ne_bytes(head[at..at + 4].try_into()?)) };
    let Some((payload, rest)) = rest.split_at_checked(word(24)?) else { return Ok(None) };
    Ok(Some((half(0)?, half(4)?, word(8)?, word(16)?, payload, rest)))
}

fn record(kind: u32, handle: u32, a: usize, b: usize, payload: &[u8]) -> Result<Record> {
    let text = || -> Result<String> { Ok(std::str::from_utf8(payload)?.to_owned()) };
    let two = || -> Result<(String, String)> {
        let text = text()?;
        let (from, to) = text.split_once('\0').ok_or("a journal with a move of one name")?;
        Ok((from.to_owned(), to.to_owned()))
    };
    Ok(match kind {
        1 => Record::Start,
        2 => Record::Open { handle, path: text()?, create: a & 1 != 0, truncate: a & 2 != 0 },
        3 => Record::Write { handle, at: a, bytes: payload.to_vec(), durable: b != 0 },
        4 => Record::Resize { handle, size: a },
        5 => Record::Allocate { handle, size: a + b },
        6 => Record::SyncBegin { handle, token: a as u64 },
        7 => Record::SyncEnd { token: a as u64, succeeded: b == 0 },
        8 => two().map(|(from, to)| Record::Rename { from, to })?,
        9 => two().map(|(from, to)| Record::Link { from, to })?,
        10 => Record::Unlink { path: text()? },
        11 => Record::Mkdir { path: text()? },
        12 => Record::Rmdir { path: text()? },
        13 => Record::Map { handle },
        16 => Record::Unknown { what: text()? },
        _ => return Err(format!("a journal with a record of kind {kind}").into()),
    })
}
