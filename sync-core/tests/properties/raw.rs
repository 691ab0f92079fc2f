//! A change taken apart and written again by hand, from PROTOCOL.md alone and without Automerge: so that a test can put
//! any number, run or column where an attacker would.

use muster_sync_core::{
    ChangeHash, DeviceKey, DocumentName,
    change::{Body, Scalar, SignedChange, entry_key},
    signing::{self, SigningKey, SoftwareKey},
};
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

use crate::fixtures::{TENANT, key};

/// The seeded keys, made once: thousands of mutations are signed.
static KEYS: LazyLock<Vec<(DeviceKey, SoftwareKey)>> =
    LazyLock::new(|| (1..=4).map(key).map(|key| (key.public_key(), key)).collect());

/// One operation, as the columns hold it.
#[derive(Debug, Clone, PartialEq)]
pub struct Op {
    /// Actor index and counter of the object; `None` for the root.
    pub object: Option<(u64, u64)>,
    pub key: Vec<u8>,
    pub insert: bool,
    pub action: u64,
    pub value_type: u64,
    pub value: Vec<u8>,
    pub n_predecessors: u64,
}

/// A change's content.
#[derive(Debug, Clone)]
pub struct Raw {
    pub kind: u8,
    pub deps: Vec<[u8; 32]>,
    pub actor: Vec<u8>,
    pub seq: u64,
    pub start_op: u64,
    pub time_s: i64,
    pub message: Vec<u8>,
    pub others: Vec<Vec<u8>>,
    pub ops: Vec<Op>,
    pub trailing: Vec<u8>,
}

/// A number or bytes as they stand in a chunk.
#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    Uleb(u64),
    Leb(i64),
    Bytes(Vec<u8>),
    /// An unsigned number with one more byte than it needs.
    Padded(u64),
}

/// A column: its specification, its data and, if it lies about it, its length.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    pub spec: Token,
    pub claimed: Option<Token>,
    pub data: Vec<Token>,
}

/// A change as numbers and bytes, before it is joined into a chunk.
#[derive(Debug, Clone)]
pub struct Layout {
    pub kind: u8,
    pub head: Vec<Token>,
    pub columns: Vec<Column>,
    pub trailing: Vec<u8>,
}

impl Raw {
    /// What `body` says, in operations.
    pub fn new(body: &Body<'_>) -> Self {
        let op = |object, key: &[u8], action, (value_type, value)| Op {
            object: Some(object),
            key: key.to_vec(),
            insert: false,
            action,
            value_type,
            value,
            n_predecessors: 0,
        };
        let entry = entry_key(&body.writer, body.seq);
        let mut ops = vec![op((1, body.container_op), entry.as_bytes(), 0, (0, Vec::new()))];
        let puts = body.fields.iter();
        ops.extend(puts.map(|(name, value)| op((0, body.start_op), name.as_bytes(), 1, typed(value))));
        Self {
            kind: 1,
            deps: vec![body.dep.0],
            actor: body.writer.0.to_vec(),
            seq: body.seq,
            start_op: body.start_op,
            time_s: body.time_s,
            message: Vec::new(),
            others: vec![body.document.0.to_vec()],
            ops,
            trailing: Vec::new(),
        }
    }

    /// Its numbers and bytes, in canonical form.
    pub fn layout(&self) -> Layout {
        let mut head = vec![Token::Uleb(self.deps.len() as u64)];
        head.extend(self.deps.iter().map(|dep| Token::Bytes(dep.to_vec())));
        head.extend(counted(&self.actor));
        head.extend([Token::Uleb(self.seq), Token::Uleb(self.start_op), Token::Leb(self.time_s)]);
        head.extend(counted(&self.message));
        head.push(Token::Uleb(self.others.len() as u64));
        head.extend(self.others.iter().flat_map(|actor| counted(actor)));
        let number = |value: &u64| vec![Token::Uleb(*value)];
        let each = |read: &dyn Fn(&Op) -> Option<u64>| runs(&self.ops.iter().map(read).collect::<Vec<_>>(), number);
        let keys: Vec<_> = self.ops.iter().map(|op| Some(op.key.clone())).collect();
        let values = self.ops.iter().filter(|op| !op.value.is_empty());
        let data = [
            (0x01, each(&|op| Some(op.object?.0))),
            (0x02, each(&|op| Some(op.object?.1))),
            (0x15, runs(&keys, |key| counted(key).to_vec())),
            (0x34, booleans(self.ops.iter().map(|op| op.insert))),
            (0x42, each(&|op| Some(op.action))),
            (0x56, each(&|op| Some((op.value.len() as u64) << 4 | op.value_type))),
            (0x57, values.map(|op| Token::Bytes(op.value.clone())).collect()),
            (0x70, each(&|op| Some(op.n_predecessors))),
        ];
        let columns = data.into_iter().filter(|(_, data)| !data.is_empty());
        let columns = columns.map(|(spec, data)| Column { spec: Token::Uleb(spec), claimed: None, data });
        Layout { kind: self.kind, head, columns: columns.collect(), trailing: self.trailing.clone() }
    }

    /// As a chunk with its checksum, signed by its writer.
    pub fn signed(&self, name: &DocumentName) -> SignedChange {
        sign(self.layout().chunk(), &self.actor, name)
    }
}

impl Layout {
    /// The chunk: magic, checksum, kind, length, content.
    pub fn chunk(&self) -> Vec<u8> {
        let mut content = bytes_of(&self.head);
        put(&mut content, &Token::Uleb(self.columns.len() as u64));
        let data: Vec<_> = self.columns.iter().map(|column| bytes_of(&column.data)).collect();
        for (column, data) in self.columns.iter().zip(&data) {
            put(&mut content, &column.spec);
            put(&mut content, column.claimed.as_ref().unwrap_or(&Token::Uleb(data.len() as u64)));
        }
        content.extend(data.concat());
        content.extend(&self.trailing);
        let mut chunk = vec![0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0, self.kind];
        put(&mut chunk, &Token::Uleb(content.len() as u64));
        chunk.extend(content);
        repair(&mut chunk);
        chunk
    }
}

/// Makes the checksum right again.
pub fn repair(chunk: &mut [u8]) -> ChangeHash {
    let hash: [u8; 32] = Sha256::digest(&chunk[8..]).into();
    chunk[4..8].copy_from_slice(&hash[..4]);
    ChangeHash(hash)
}

/// Signs a chunk with whichever of the seeded keys `actor` is, or with the first.
pub fn sign(mut bytes: Vec<u8>, actor: &[u8], name: &DocumentName) -> SignedChange {
    let hash = repair(&mut bytes);
    let writer = KEYS.iter().find(|(public, _)| DeviceKey::from_slice(actor) == Some(*public));
    let message = signing::change_message(name.id(TENANT), hash);
    let signature = writer.unwrap_or(&KEYS[0]).1.sign(&message).unwrap();
    SignedChange { bytes, signature }
}

/// Type and bytes of a value.
pub fn typed(value: &Scalar<'_>) -> (u64, Vec<u8>) {
    match value {
        Scalar::Bool(value) => (1 + u64::from(*value), Vec::new()),
        Scalar::Uint(value) => (3, bytes_of(&[Token::Uleb(*value)])),
        Scalar::Int(value) => (4, bytes_of(&[Token::Leb(*value)])),
        Scalar::Text(value) => (6, value.as_bytes().to_vec()),
        Scalar::Bytes(value) => (7, value.to_vec()),
    }
}

/// A field that puts `value` under `key`, like the first field of `raw`.
pub fn put_field(raw: &Raw, key: &str, value: Scalar<'_>) -> Op {
    let (value_type, value) = typed(&value);
    Op { key: key.as_bytes().to_vec(), value_type, value, ..raw.ops[1].clone() }
}

fn counted(bytes: &[u8]) -> [Token; 2] {
    [Token::Uleb(bytes.len() as u64), Token::Bytes(bytes.to_vec())]
}

/// Run-length encoding: `n, value` for n >= 2 equal values, `-n, values` for n different ones, `0, n` for n nulls.
fn runs<T: PartialEq + Clone>(values: &[Option<T>], write: impl Fn(&T) -> Vec<Token>) -> Vec<Token> {
    let mut out = Vec::new();
    let mut literals: Vec<&T> = Vec::new();
    let flush = |out: &mut Vec<Token>, literals: &mut Vec<&T>| {
        if !literals.is_empty() {
            out.push(Token::Leb(-(literals.len() as i64)));
            out.extend(literals.drain(..).flat_map(&write));
        }
    };
    if values.iter().all(Option::is_none) {
        return out;
    }
    for run in values.chunk_by(|left, right| left == right) {
        match &run[0] {
            Some(value) if run.len() == 1 => literals.push(value),
            Some(value) => {
                flush(&mut out, &mut literals);
                out.push(Token::Leb(run.len() as i64));
                out.extend(write(value));
            }
            None => {
                flush(&mut out, &mut literals);
                out.extend([Token::Leb(0), Token::Uleb(run.len() as u64)]);
            }
        }
    }
    flush(&mut out, &mut literals);
    out
}

/// How many false, then how many true, and so on.
fn booleans(values: impl Iterator<Item = bool>) -> Vec<Token> {
    let mut counts = vec![0];
    let mut now = false;
    for value in values {
        if value != now {
            counts.push(0);
            now = value;
        }
        *counts.last_mut().unwrap() += 1;
    }
    counts.into_iter().map(Token::Uleb).collect()
}

fn bytes_of(tokens: &[Token]) -> Vec<u8> {
    let mut out = Vec::new();
    tokens.iter().for_each(|token| put(&mut out, token));
    out
}

fn put(out: &mut Vec<u8>, token: &Token) {
    match token {
        Token::Bytes(bytes) => out.extend(bytes),
        Token::Uleb(value) => uleb(out, *value),
        Token::Padded(value) => {
            uleb(out, *value);
            *out.last_mut().unwrap() |= 0x80;
            out.push(0);
        }
        Token::Leb(value) => {
            let mut value = *value;
            loop {
                let byte = (value & 0x7f) as u8;
                value >>= 7;
                if (value == 0 && byte & 0x40 == 0) || (value == -1 && byte & 0x40 != 0) {
                    out.push(byte);
                    return;
                }
                out.push(byte | 0x80);
            }
        }
    }
}

fn uleb(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
