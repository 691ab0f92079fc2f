//! The envelope that travels: a change and its writer's signature, and what is checked without any state.

use super::{Body, decode, encode};
use crate::{
    ChangeHash, DeviceKey, DocumentId, DocumentName, Refusal,
    document::{ChainTip, Container, Entry, genesis},
    signing::{self, SignError, SigningKey},
};

/// A change in canonical bytes with the signature of its writer over document and hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedChange {
    /// The uncompressed change chunk.
    pub bytes: Vec<u8>,
    /// Ed25519 over [`signing::change_message`].
    pub signature: [u8; 64],
}

/// A change that passed every check that needs no state: guard, canonical encoding, signature, entry and schema.
#[derive(Debug, Clone, PartialEq)]
pub struct Valid {
    /// The change's identity.
    pub hash: ChangeHash,
    /// The document's id in the tenant.
    pub document: DocumentId,
    /// The writer.
    pub writer: DeviceKey,
    /// Position in the writer's chain.
    pub seq: u64,
    /// Counter of the first operation.
    pub start_op: u64,
    /// Counter of the last operation.
    pub max_op: u64,
    /// The writer's previous change, or genesis.
    pub dep: ChangeHash,
    /// Claimed wall clock, Unix seconds.
    pub time_s: i64,
    /// Where the entry stands.
    pub container: Container,
    /// The entry itself.
    pub entry: Entry,
}

impl Valid {
    fn new(hash: ChangeHash, body: &Body<'_>, entry: Entry) -> Self {
        Self {
            hash,
            document: body.document,
            writer: body.writer,
            seq: body.seq,
            start_op: body.start_op,
            max_op: body.max_op(),
            dep: body.dep,
            time_s: body.time_s,
            container: entry.container(),
            entry,
        }
    }

    /// The tip of the writer's chain once this change is in it.
    #[must_use]
    pub fn tip(&self) -> ChainTip {
        ChainTip { seq: self.seq, hash: self.hash, max_op: self.max_op }
    }
}

/// Checks everything about a pushed change that needs no state.
///
/// # Errors
/// The first rule that is broken; see [`Refusal`].
pub fn validate(tenant: &str, name: &DocumentName, bytes: &[u8], signature: &[u8; 64]) -> Result<Valid, Refusal> {
    let (hash, body) = decode(bytes)?;
    let document = name.id(tenant);
    if body.document != document {
        return Err(Refusal::DocumentMismatch);
    }
    signing::verify_strict(&body.writer, &signing::change_message(document, hash), signature)?;
    let container = Container::at(name.kind(), body.container_op)
        .ok_or(Refusal::Scope { what: "the document has no such container" })?;
    let entry = Entry::read(container, &body.fields)?;
    Ok(Valid::new(hash, &body, entry))
}

/// Who writes, where and after what: all that is needed to append, without loading the document.
#[derive(Clone, Copy)]
pub struct Author<'a> {
    /// The writer's key.
    pub key: &'a dyn SigningKey,
    /// The tenant.
    pub tenant: &'a str,
    /// The document.
    pub name: &'a DocumentName,
    /// The writer's newest change in the document, or `None` if it has none.
    pub tip: Option<ChainTip>,
    /// Wall clock, Unix seconds.
    pub time_s: i64,
}

impl Author<'_> {
    /// Appends `entry` to the writer's chain: the signed change, and the chain's new tip.
    ///
    /// # Errors
    /// When the keystore does not sign.
    pub fn append(&self, entry: &Entry) -> Result<(SignedChange, ChainTip), SignError> {
        let (signed, valid) = self.write(entry)?;
        Ok((signed, valid.tip()))
    }

    /// Appends `entry` to the writer's chain: the signed change, and what [`validate`] would say of it.
    ///
    /// # Errors
    /// When the keystore does not sign.
    pub fn write(&self, entry: &Entry) -> Result<(SignedChange, Valid), SignError> {
        let document = self.name.id(self.tenant);
        let tip = self.tip.unwrap_or_else(|| genesis::tip(document, self.name.kind()));
        let body = Body {
            writer: self.key.public_key(),
            document,
            seq: tip.seq + 1,
            start_op: tip.max_op + 1,
            time_s: self.time_s,
            dep: tip.hash,
            container_op: entry.container().op(),
            fields: entry.fields(),
        };
        let change = encode(&body);
        let hash = ChangeHash(change.hash().0);
        let signature = self.key.sign(&signing::change_message(document, hash))?;
        let valid = Valid::new(hash, &body, entry.clone());
        Ok((SignedChange { bytes: change.raw_bytes().to_vec(), signature }, valid))
    }
}
