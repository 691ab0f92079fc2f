//! Reads the operations of a guarded change: one new map in one container, and its scalar fields.

use super::{
    Body, Fields, Scalar, encode, entry_key,
    guard::{Header, column, inspect, malformed},
    leb::Reader,
};
use crate::{ChangeHash, Refusal, limits};

const ACTION_MAKE_MAP: u64 = 0;
const ACTION_PUT: u64 = 1;

/// Automerge's value types that a field may have: the low 4 bits of the value's metadata.
mod value_type {
    pub(super) const NULL: u64 = 0;
    pub(super) const FALSE: u64 = 1;
    pub(super) const TRUE: u64 = 2;
    pub(super) const UINT: u64 = 3;
    pub(super) const INT: u64 = 4;
    pub(super) const TEXT: u64 = 6;
    pub(super) const BYTES: u64 = 7;
}

/// Guards, decodes and re-encodes a change; the bytes must be exactly what Automerge writes for what they say.
///
/// # Errors
/// The first rule that is broken; see [`Refusal`].
pub fn decode(bytes: &[u8]) -> Result<(ChangeHash, Body<'_>), Refusal> {
    let header = inspect(bytes)?;
    let body = read_body(&header)?;
    if encode(&body).raw_bytes() != bytes {
        return Err(Refusal::NotCanonical);
    }
    Ok((header.hash, body))
}

fn read_body<'a>(header: &Header<'a>) -> Result<Body<'a>, Refusal> {
    let count = header.op_count;
    let objects = read_objects(header)?;
    let keys = required(read_runs(header.columns[column::KEY], count, read_text)?, "an operation without a key")?;
    let actions = required(read_runs(header.columns[column::ACTION], count, Reader::uleb)?, "action")?;
    let values = read_values(header)?;
    refuse_edits(header)?;

    let (container_actor, container_op) = objects[0];
    if actions[0] != ACTION_MAKE_MAP || container_actor != 1 || values[0].is_some() {
        return Err(scope("the first operation creates one entry in a container of the document"));
    }
    if keys[0] != entry_key(&header.writer, header.seq) {
        return Err(scope("the entry's key is not the one that belongs to this writer and seq"));
    }
    let mut fields: Fields<'a> = Vec::with_capacity(count - 1);
    for index in 1..count {
        if objects[index] != (0, header.start_op) || actions[index] != ACTION_PUT {
            return Err(scope("every further operation puts a field into the new entry"));
        }
        let value = values[index].ok_or(scope("a field has a scalar value"))?;
        if fields.last().is_some_and(|(last, _)| *last >= keys[index]) {
            return Err(scope("fields stand in ascending order, each once"));
        }
        fields.push((keys[index], value));
    }
    Ok(Body {
        writer: header.writer,
        document: header.document,
        seq: header.seq,
        start_op: header.start_op,
        time_s: header.time_s,
        dep: header.dep,
        container_op,
        fields,
    })
}

/// (actor index, counter) of the object of every operation.
fn read_objects(header: &Header<'_>) -> Result<Vec<(u64, u64)>, Refusal> {
    let outside = "an operation on the root";
    let actors = read_runs(header.columns[column::OBJECT_ACTOR], header.op_count, Reader::uleb)?;
    let counters = read_runs(header.columns[column::OBJECT_COUNTER], header.op_count, Reader::uleb)?;
    let actors = required(actors, outside)?;
    if actors.iter().any(|actor| *actor > 1) {
        return Err(malformed("actor index out of range"));
    }
    Ok(actors.into_iter().zip(required(counters, outside)?).collect())
}

/// Insertions and predecessors: there are none, so nothing that exists can be edited, deleted or shadowed.
fn refuse_edits(header: &Header<'_>) -> Result<(), Refusal> {
    let mut insert = Reader::new(header.columns[column::INSERT]);
    if insert.uleb()? != header.op_count as u64 || !insert.is_empty() {
        return Err(scope("no operation inserts into a sequence"));
    }
    let predecessors = read_runs(header.columns[column::PREDECESSORS], header.op_count, Reader::uleb)?;
    if predecessors.iter().any(|count| *count != Some(0)) {
        return Err(scope("no operation replaces another one"));
    }
    Ok(())
}

/// The value of every operation; `None` for null.
fn read_values<'a>(header: &Header<'a>) -> Result<Vec<Option<Scalar<'a>>>, Refusal> {
    let meta = read_runs(header.columns[column::VALUE_META], header.op_count, Reader::uleb)?;
    let mut raw = Reader::new(header.columns[column::VALUE]);
    let mut values = Vec::with_capacity(header.op_count);
    for meta in required(meta, "an operation without a value type")? {
        values.push(read_value(meta & 0xf, raw.take(meta >> 4)?)?);
    }
    if !raw.is_empty() {
        return Err(malformed("bytes after the last value"));
    }
    Ok(values)
}

fn read_value(kind: u64, raw: &[u8]) -> Result<Option<Scalar<'_>>, Refusal> {
    let mut number = Reader::new(raw);
    let value = match kind {
        value_type::NULL | value_type::FALSE | value_type::TRUE if !raw.is_empty() => {
            return Err(malformed("a value with bytes that its type has not"));
        }
        value_type::NULL => return Ok(None),
        value_type::FALSE => Scalar::Bool(false),
        value_type::TRUE => Scalar::Bool(true),
        value_type::UINT => Scalar::Uint(number.uleb()?),
        value_type::INT => Scalar::Int(number.leb()?),
        value_type::TEXT if raw.len() > limits::TEXT_SIZE_BYTES_MAX => {
            return Err(Refusal::Field { field: "text", what: "longer than 256 bytes" });
        }
        value_type::TEXT => Scalar::Text(utf8(raw)?),
        value_type::BYTES if raw.len() > limits::BYTES_SIZE_BYTES_MAX => {
            return Err(Refusal::Field { field: "bytes", what: "longer than 4096 bytes" });
        }
        value_type::BYTES => Scalar::Bytes(raw),
        _ => return Err(scope("a field is a boolean, an integer, text or bytes")),
    };
    if matches!(value, Scalar::Uint(_) | Scalar::Int(_)) && !number.is_empty() {
        return Err(malformed("bytes after a number"));
    }
    Ok(Some(value))
}

/// Expands a run-length column of exactly `count` values (at most 64, by the guard).
fn read_runs<'a, T: Copy>(
    column: &'a [u8],
    count: usize,
    read: impl Fn(&mut Reader<'a>) -> Result<T, Refusal>,
) -> Result<Vec<Option<T>>, Refusal> {
    let mut runs = Reader::new(column);
    let mut values = Vec::with_capacity(count);
    while !runs.is_empty() {
        let run = runs.leb()?;
        let len = if run == 0 { runs.uleb()? } else { run.unsigned_abs() };
        let room = (count - values.len()) as u64;
        if len > room {
            return Err(malformed("a column is longer than the operations"));
        }
        match run {
            0 => values.extend((0..len).map(|_| None)),
            1.. => {
                let value = read(&mut runs)?;
                values.extend((0..len).map(|_| Some(value)));
            }
            _ => {
                for _ in 0..len {
                    values.push(Some(read(&mut runs)?));
                }
            }
        }
    }
    if values.len() != count {
        return Err(malformed("a column is shorter than the operations"));
    }
    Ok(values)
}

fn read_text<'a>(reader: &mut Reader<'a>) -> Result<&'a str, Refusal> {
    let len = reader.uleb()?;
    if len > limits::NAME_SIZE_BYTES_MAX as u64 {
        return Err(Refusal::Field { field: "name", what: "longer than 64 bytes" });
    }
    utf8(reader.take(len)?)
}

fn utf8(bytes: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(bytes).map_err(|_| malformed("text is not UTF-8"))
}

fn required<T>(values: Vec<Option<T>>, what: &'static str) -> Result<Vec<T>, Refusal> {
    values.into_iter().collect::<Option<_>>().ok_or(malformed(what))
}

fn scope(what: &'static str) -> Refusal {
    Refusal::Scope { what }
}
