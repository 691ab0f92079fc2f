//! The guard: a bounded parser of a change's header that runs before anything else looks at bytes from outside.
//!
//! It refuses in microseconds and allocates nothing: chunk kind, size, dependencies, actors, columns and the number of
//! operations that the run lengths claim. The checksum comes last, because it is the first step that costs something.

use super::leb::Reader;
use crate::{ChangeHash, DeviceKey, DocumentId, Refusal, limits};
use sha2::{Digest, Sha256};

const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
const CHUNK_KIND_CHANGE: u8 = 1;

/// The columns that a change may have: Automerge's specification numbers, in the order in which they stand.
/// There is none for sequence elements, marks or predecessors: nothing that exists can be edited.
pub(super) const COLUMNS: [u32; limits::COLUMNS_PER_CHANGE_MAX] = [0x01, 0x02, 0x15, 0x34, 0x42, 0x56, 0x57, 0x70];

/// Index of each column in [`COLUMNS`].
pub(super) mod column {
    pub(in crate::change) const OBJECT_ACTOR: usize = 0;
    pub(in crate::change) const OBJECT_COUNTER: usize = 1;
    pub(in crate::change) const KEY: usize = 2;
    pub(in crate::change) const INSERT: usize = 3;
    pub(in crate::change) const ACTION: usize = 4;
    pub(in crate::change) const VALUE_META: usize = 5;
    pub(in crate::change) const VALUE: usize = 6;
    pub(in crate::change) const PREDECESSORS: usize = 7;
}

/// A change's header, bounded and in the one shape that Muster allows, with its columns still undecoded.
#[derive(Debug, Clone)]
pub struct Header<'a> {
    /// SHA-256 of the chunk: the change's identity.
    pub hash: ChangeHash,
    /// The only dependency.
    pub dep: ChangeHash,
    /// The writer.
    pub writer: DeviceKey,
    /// The genesis actor, which is the document.
    pub document: DocumentId,
    /// Position in the writer's chain.
    pub seq: u64,
    /// Counter of the first operation.
    pub start_op: u64,
    /// Claimed wall clock, Unix seconds.
    pub time_s: i64,
    /// How many operations the action column claims, at most [`limits::OPS_PER_CHANGE_MAX`].
    pub op_count: usize,
    pub(super) columns: [&'a [u8]; limits::COLUMNS_PER_CHANGE_MAX],
}

/// Checks a change's header without decoding its operations.
///
/// # Errors
/// The first rule that is broken; see [`Refusal`].
pub fn inspect(bytes: &[u8]) -> Result<Header<'_>, Refusal> {
    if bytes.len() > limits::CHANGE_SIZE_BYTES_MAX {
        let size_bytes = bytes.len();
        return Err(Refusal::ChangeTooLarge { size_bytes, limit_bytes: limits::CHANGE_SIZE_BYTES_MAX });
    }
    let mut chunk = Reader::new(bytes);
    if chunk.array()? != MAGIC {
        return Err(malformed("magic bytes"));
    }
    let checksum: [u8; 4] = chunk.array()?;
    let kind = chunk.byte()?;
    if kind != CHUNK_KIND_CHANGE {
        return Err(Refusal::ChangeKind { kind });
    }
    let len = chunk.uleb()?;
    let content = chunk.take(len)?;
    if !chunk.is_empty() {
        return Err(malformed("bytes after the chunk"));
    }
    let mut header = read_content(&mut Reader::new(content))?;
    // The hash covers the kind, the length and the content: all but magic and checksum.
    header.hash = ChangeHash(Sha256::digest(&bytes[8..]).into());
    if header.hash.0[..4] != checksum {
        return Err(Refusal::ChecksumMismatch);
    }
    Ok(header)
}

fn read_content<'a>(content: &mut Reader<'a>) -> Result<Header<'a>, Refusal> {
    if content.uleb()? != 1 {
        return Err(Refusal::ChainBroken { what: "a change has exactly one dependency" });
    }
    let dep = ChangeHash(content.array()?);
    if content.uleb()? != 32 {
        return Err(malformed("the actor is not a 32-byte key"));
    }
    let writer = DeviceKey(content.array()?);
    let seq = bounded(content.uleb()?, 1..=limits::SEQ_MAX, "seq")?;
    let start_op = bounded(content.uleb()?, 2..=limits::START_OP_MAX, "start_op")?;
    let time_s = content.leb()?;
    if !(0..=limits::CHANGE_TIME_S_MAX).contains(&time_s) {
        return Err(malformed("time outside the years 1970 to 9999"));
    }
    if content.uleb()? != 0 {
        return Err(malformed("a change has no message"));
    }
    if content.uleb()? != 1 || content.uleb()? != 16 {
        return Err(malformed("the other actor is not exactly the document"));
    }
    let document = DocumentId(content.array()?);
    let columns = read_columns(content)?;
    let op_count = count_ops(columns[column::ACTION])?;
    Ok(Header { hash: ChangeHash([0; 32]), dep, writer, document, seq, start_op, time_s, op_count, columns })
}

fn bounded(value: u64, range: std::ops::RangeInclusive<u64>, what: &'static str) -> Result<u64, Refusal> {
    if range.contains(&value) { Ok(value) } else { Err(malformed(what)) }
}

/// Reads the column table and splits the data that follows; every column from the whitelist, each once, in order.
fn read_columns<'a>(content: &mut Reader<'a>) -> Result<[&'a [u8]; limits::COLUMNS_PER_CHANGE_MAX], Refusal> {
    let count = content.uleb()?;
    if count > limits::COLUMNS_PER_CHANGE_MAX as u64 {
        return Err(malformed("too many columns"));
    }
    let mut lengths = [0; limits::COLUMNS_PER_CHANGE_MAX];
    let mut next = 0;
    for _ in 0..count {
        let spec = content.uleb()?;
        let known = COLUMNS[next..].iter().position(|known| u64::from(*known) == spec);
        let index = next + known.ok_or(malformed("unknown, compressed or repeated column"))?;
        lengths[index] = content.uleb()?;
        next = index + 1;
    }
    let mut columns: [&[u8]; limits::COLUMNS_PER_CHANGE_MAX] = [&[]; limits::COLUMNS_PER_CHANGE_MAX];
    for (column, len) in columns.iter_mut().zip(lengths) {
        *column = content.take(len)?;
    }
    if !content.is_empty() {
        return Err(malformed("bytes after the columns"));
    }
    Ok(columns)
}

/// Adds up the run lengths of the action column. Its values are single bytes, so nothing is expanded to count it.
fn count_ops(action: &[u8]) -> Result<usize, Refusal> {
    let mut runs = Reader::new(action);
    let mut claimed: u64 = 0;
    while !runs.is_empty() {
        let run = runs.leb()?;
        let (values, literals) = match run {
            0 => return Err(malformed("an operation without an action")),
            1.. => (run.unsigned_abs(), 1),
            _ => (run.unsigned_abs(), run.unsigned_abs()),
        };
        claimed = claimed.saturating_add(values);
        if claimed > limits::OPS_PER_CHANGE_MAX as u64 {
            return Err(Refusal::TooManyOps { claimed, limit: limits::OPS_PER_CHANGE_MAX });
        }
        for _ in 0..literals {
            runs.uleb()?;
        }
    }
    if claimed == 0 {
        return Err(Refusal::Scope { what: "a change creates one entry" });
    }
    Ok(claimed as usize)
}

pub(super) fn malformed(what: &'static str) -> Refusal {
    Refusal::ChangeMalformed { what }
}
