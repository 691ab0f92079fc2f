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
    let entry = entry_of(name, &body)?;
    Ok(Valid::new(hash, &body, entry))
}

/// The entry that a decoded change makes, by the schema of its container.
fn entry_of(name: &DocumentName, body: &Body<'_>) -> Result<Entry, Refusal> {
    let container = Container::at(name.kind(), body.container_op)
        .ok_or(Refusal::Scope { what: "the document has no such container" })?;
    Entry::read(container, &body.fields)
}

/// Why an entry was not written. Nothing was signed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Whoever reads it would refuse it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The keystore did not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
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
    /// As [`Author::write`].
    pub fn append(&self, entry: &Entry) -> Result<(SignedChange, ChainTip), WriteError> {
        let (signed, valid) = self.write(entry)?;
        Ok((signed, valid.tip()))
    }

    /// Appends `entry` to the writer's chain: the signed change, and what [`validate`] would say of it.
    ///
    /// The bytes pass what [`validate`] asks of them before they are signed: a signature cannot be taken back, and an
    /// entry that its own readers refuse stands in its writer's chain for ever.
    ///
    /// # Errors
    /// When a reader would refuse the entry, or when the keystore does not sign.
    pub fn write(&self, entry: &Entry) -> Result<(SignedChange, Valid), WriteError> {
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
        let bytes = encode(&body).raw_bytes().to_vec();
        let valid = {
            let (hash, read) = decode(&bytes)?;
            let entry = entry_of(self.name, &read)?;
            Valid::new(hash, &read, entry)
        };
        let signature = self.key.sign(&signing::change_message(document, valid.hash))?;
        Ok((SignedChange { bytes, signature }, valid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Locator,
        document::{PlanAction, PlanChange},
        limits,
        signing::SoftwareKey,
    };
    use std::cell::Cell;
    use std::sync::Mutex;

    /// Counts how often it signs.
    struct Counting(SoftwareKey, Mutex<Cell<u32>>);

    impl SigningKey for Counting {
        fn public_key(&self) -> DeviceKey {
            self.0.public_key()
        }

        fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
            let count = self.1.lock().unwrap();
            count.set(count.get() + 1);
            self.0.sign(message)
        }
    }

    #[test]
    fn what_a_reader_would_refuse_is_never_signed() {
        let key = Counting(SoftwareKey::from_seed(&[7; 32].into()), Mutex::default());
        let name = DocumentName::ClassSession { locator: Locator::from_random([1; 4]) };
        let change = |epoch| PlanChange::new(PlanAction::Regenerate, 0, epoch, None).into();
        let write = |tip, time_s, epoch| {
            Author { key: &key, tenant: "t", name: &name, tip, time_s }.write(&change(epoch)).map(|(_, valid)| valid)
        };
        let refused = |result: Result<Valid, WriteError>| matches!(result, Err(WriteError::Refused(_)));
        let written = write(None, 0, limits::EPOCH_MAX).unwrap();
        let tip = |seq, max_op| Some(ChainTip { seq, max_op, ..written.tip() });
        assert!(write(tip(limits::SEQ_MAX - 1, 9), 0, 1).is_ok());
        assert!(write(tip(1, limits::START_OP_MAX - 1), 0, 1).is_ok());
        let signed = key.1.lock().unwrap().get();
        assert_eq!(signed, 3);
        assert!(refused(write(None, 0, limits::EPOCH_MAX + 1)));
        assert!(refused(write(None, limits::CHANGE_TIME_S_MAX + 1, 1)));
        assert!(refused(write(tip(limits::SEQ_MAX, 9), 0, 1)));
        assert!(refused(write(tip(1, limits::START_OP_MAX), 0, 1)));
        assert_eq!(key.1.lock().unwrap().get(), signed);
    }
}
