//! Changes: the guard that meets bytes from outside, the codec, and the signed envelope that travels.
//!
//! Bytes from outside never reach Automerge's parser. [`inspect`] bounds and splits them, [`decode`] reads the one shape
//! that Muster allows, and [`encode`] lets Automerge write the same operations again: what it writes must be what came.

mod decode;
mod encode;
mod guard;
mod leb;
mod signed;

pub use decode::decode;
pub use encode::encode;
pub use guard::{Header, inspect};
pub use signed::{Author, SignedChange, Valid, WriteError, validate};

use crate::{ChangeHash, DeviceKey, DocumentId};

/// A scalar value of a field, borrowed from the change that carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scalar<'a> {
    /// True or false.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// An unsigned integer.
    Uint(u64),
    /// UTF-8 text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
}

/// The fields of an entry, in strictly ascending order of their names.
pub type Fields<'a> = Vec<(&'a str, Scalar<'a>)>;

/// What a change says: one fresh entry in one container, and where it stands in its writer's chain.
#[derive(Debug, Clone, PartialEq)]
pub struct Body<'a> {
    /// The writer, which is the Automerge actor.
    pub writer: DeviceKey,
    /// The document, which is the actor of its genesis change.
    pub document: DocumentId,
    /// Position in the writer's chain in this document, from 1.
    pub seq: u64,
    /// Counter of the change's first operation.
    pub start_op: u64,
    /// Wall clock of the writer in Unix seconds; informative, never trusted.
    pub time_s: i64,
    /// The writer's previous change, or genesis.
    pub dep: ChangeHash,
    /// Counter of the container's operation in genesis.
    pub container_op: u64,
    /// The entry's fields.
    pub fields: Fields<'a>,
}

impl Body<'_> {
    /// Counter of the change's last operation: one for the entry and one per field.
    #[must_use]
    pub fn max_op(&self) -> u64 {
        self.start_op + self.fields.len() as u64
    }
}

/// The key that an entry must have: the first 8 bytes of the writer in hexadecimal, a slash and `seq`.
#[must_use]
pub fn entry_key(writer: &DeviceKey, seq: u64) -> String {
    let mut key = data_encoding::HEXLOWER.encode(&writer.0[..8]);
    key.push('/');
    key.push_str(&seq.to_string());
    key
}
