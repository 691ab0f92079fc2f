//! The guard and the decoder. No fuzzer guesses a checksum or a signature, so both are repaired.

use automerge::{Automerge, ReadDoc};
use muster_sync_core::{
    ChangeHash, DeviceKey, DocumentName, Locator,
    change::{self, Author, Body, SignedChange, Valid},
    document::{ChainStep, genesis, materialise},
    limits,
    signing::{SigningKey, SoftwareKey, change_message},
};
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

use crate::{READ_BYTES_MAX, allocations::measured};

const TENANT: &str = "default";

/// The keys of the fixtures.
static KEYS: LazyLock<[SoftwareKey; 2]> =
    LazyLock::new(|| [1, 2].map(|seed| SoftwareKey::from_seed(&[seed; 32].into())));

/// The documents of the fixtures.
static NAMES: LazyLock<[DocumentName; 3]> = LazyLock::new(|| {
    let (locator, student) = (Locator::parse("K7M2QX").unwrap(), "student-1".to_owned());
    [
        DocumentName::ClassSession { locator },
        DocumentName::Attendance { locator, student: student.clone() },
        DocumentName::DeviceBinding { user: student },
    ]
});

fn repaired(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if bytes.len() > 8 {
        let hash = Sha256::digest(&bytes[8..]);
        bytes[4..8].copy_from_slice(&hash[..4]);
    }
    bytes
}

/// The guard allocates nothing, and what it lets through is within every limit; what it refuses, nobody takes.
pub fn guard(bytes: &[u8]) {
    for bytes in [bytes, &repaired(bytes)] {
        let (inspected, cost) = measured(|| change::inspect(bytes));
        assert_eq!(cost.count, 0, "the guard allocated {cost:?}");
        match inspected {
            Ok(header) => {
                let hash: [u8; 32] = Sha256::digest(&bytes[8..]).into();
                assert!(header.hash.0 == hash && bytes[4..8] == hash[..4]);
                assert!(bytes.len() <= limits::CHANGE_SIZE_BYTES_MAX);
                assert!((1..=limits::OPS_PER_CHANGE_MAX).contains(&header.op_count));
                assert!((1..=limits::SEQ_MAX).contains(&header.seq));
                assert!((2..=limits::START_OP_MAX).contains(&header.start_op));
                assert!((0..=limits::CHANGE_TIME_S_MAX).contains(&header.time_s));
            }
            Err(refusal) => assert_eq!(change::decode(bytes).map(|_| ()), Err(refusal)),
        }
    }
}

/// What is decoded is what Automerge reads from the same bytes and writes again; what is valid survives in a document.
pub fn decode(bytes: &[u8]) {
    let bytes = repaired(bytes);
    let (decoded, cost) = measured(|| change::decode(&bytes));
    assert!(cost.peak_bytes <= READ_BYTES_MAX, "{cost:?}");
    let Ok((hash, body)) = decoded else { return };
    assert_eq!(change::encode(&body).raw_bytes(), bytes);
    agrees_with_automerge(&bytes, hash, &body);
    let Some(name) = NAMES.iter().find(|name| name.id(TENANT) == body.document) else { return };
    let Some(key) = KEYS.iter().find(|key| key.public_key() == body.writer) else { return };
    let signature = key.sign(&change_message(body.document, hash)).unwrap();
    let (valid, cost) = measured(|| change::validate(TENANT, name, &bytes, &signature));
    assert!(cost.peak_bytes <= READ_BYTES_MAX, "{cost:?}");
    if let Ok(valid) = valid {
        assert_eq!((valid.hash, valid.max_op), (hash, body.max_op()));
        survives(name, key, SignedChange { bytes, signature }, &valid);
    }
}

fn agrees_with_automerge(bytes: &[u8], hash: ChangeHash, body: &Body<'_>) {
    let read = automerge::Change::from_bytes(bytes.to_vec()).unwrap();
    assert_eq!(read.hash().0, hash.0);
    assert_eq!(DeviceKey::from_slice(read.actor_id().to_bytes()), Some(body.writer));
    assert_eq!((read.seq(), read.start_op().get(), read.max_op()), (body.seq, body.start_op, body.max_op()));
    assert_eq!((read.timestamp(), read.len()), (body.time_s, body.fields.len() + 1));
    assert_eq!(read.deps().iter().map(|dep| dep.0).collect::<Vec<_>>(), [body.dep.0]);
}

/// A valid first change is saved, loaded and merged with honest ones, and comes back byte for byte.
fn survives(name: &DocumentName, key: &SoftwareKey, change: SignedChange, valid: &Valid) {
    let document_id = name.id(TENANT);
    if genesis::tip(document_id, name.kind()).step(valid) != Ok(ChainStep::Next) {
        return;
    }
    let write = |key: &SoftwareKey, tip| {
        let author = Author { key, tenant: TENANT, name, tip, time_s: 1_763_640_000 };
        author.append(&valid.entry).unwrap().0
    };
    let other = KEYS.iter().find(|other| other.public_key() != valid.writer).unwrap();
    let (next, honest) = (write(key, Some(valid.tip())), write(other, None));
    let whole = [&change, &next, &honest].map(|change| &change.bytes[..]);
    let document = materialise(document_id, name.kind(), whole).unwrap().document;
    let loaded = Automerge::load(&document.save()).unwrap();
    assert_eq!(loaded.get_heads(), document.get_heads());
    let again = loaded.get_change_by_hash(&automerge::ChangeHash(valid.hash.0)).unwrap();
    assert_eq!(again.raw_bytes(), change.bytes);
    let mut merged = materialise(document_id, name.kind(), [&honest.bytes[..]]).unwrap().document;
    let mut own = materialise(document_id, name.kind(), [&change.bytes[..], &next.bytes]).unwrap().document;
    merged.merge(&mut own).unwrap();
    assert_eq!(merged.get_heads(), document.get_heads());
}
