//! Changes: what an honest author writes is taken, what anybody mutates is refused, and nothing panics.

use crate::fixtures::*;
use automerge::{Automerge, Change};
use muster_sync_core::{
    DocumentName, Refusal,
    change::{Body, SignedChange, Valid, decode, encode, inspect, validate},
    document::*,
    limits,
    signing::{self, SigningKey},
};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

fn check(name: &DocumentName, change: &SignedChange) -> Result<Valid, Refusal> {
    validate(TENANT, name, &change.bytes, &change.signature)
}

/// Repairs length and checksum after a mutation, and signs: an attacker with a bound device can do all of that.
fn resign(bytes: &mut [u8], name: &DocumentName) -> SignedChange {
    let digest = Sha256::digest(&bytes[8..]);
    bytes[4..8].copy_from_slice(&digest[..4]);
    let hash = muster_sync_core::ChangeHash(digest.into());
    let signature = key(1).sign(&signing::change_message(name.id(TENANT), hash)).unwrap();
    SignedChange { bytes: bytes.to_vec(), signature }
}

#[test]
fn every_entry_round_trips_and_automerge_reads_it() {
    for (name, entry) in one_of_each() {
        let change = &chain(&key(1), &name, std::slice::from_ref(&entry))[0];
        let valid = check(&name, change).unwrap();
        assert_eq!(valid.entry, entry);
        assert_eq!(valid.writer, key(1).public_key());
        let document = materialise(valid.document, name.kind(), [change.bytes.as_slice()]).unwrap();
        assert_eq!(document.len(entry.container()), 1);
        let saved = document.document.save();
        assert_eq!(Automerge::load(&saved).unwrap().get_heads(), document.document.get_heads());
    }
}

#[test]
fn a_change_without_a_document_equals_automerge_s_own() {
    // The author never loads a document. What Automerge writes for the same edit in a loaded one must be the same bytes.
    use automerge::{ActorId, ObjType, ROOT, ReadDoc, transaction::Transactable};
    let name = attendance();
    let ours = chain(&key(1), &name, &[submission().into()]);
    let mut document = Automerge::new();
    document.apply_changes([genesis::change(name.id(TENANT), name.kind())]).unwrap();
    document.set_actor(ActorId::from(&key(1).public_key().0[..]));
    let mut tx = document.transaction();
    let (_, container) = tx.get(ROOT, "submissions").unwrap().unwrap();
    let entry_key = muster_sync_core::change::entry_key(&key(1).public_key(), 1);
    let entry = tx.put_object(&container, entry_key, ObjType::Map).unwrap();
    let s = submission();
    tx.put(&entry, "captured_at_ms", s.captured_at_ms).unwrap();
    tx.put(&entry, "code", "123456").unwrap();
    tx.put(&entry, "commitment", s.commitment.to_vec()).unwrap();
    tx.put(&entry, "schema", s.schema).unwrap();
    tx.put(&entry, "source", "phone").unwrap();
    tx.put(&entry, "step", s.step.unwrap()).unwrap();
    tx.commit_with(automerge::transaction::CommitOptions::default().with_time(1_763_640_000));
    let theirs = document.get_last_local_change().unwrap();
    assert_eq!(theirs.raw_bytes(), ours[0].bytes);
}

#[test]
fn a_signature_holds_for_one_document_of_one_tenant() {
    let name = attendance();
    let change = &chain(&key(1), &name, &[submission().into()])[0];
    assert!(check(&name, change).is_ok());
    let other = DocumentName::Attendance { locator: locator(), student: "student-2".into() };
    assert_eq!(check(&other, change), Err(Refusal::DocumentMismatch));
    assert_eq!(validate("elsewhere", &name, &change.bytes, &change.signature), Err(Refusal::DocumentMismatch));
    let mut forged = change.clone();
    forged.signature[5] ^= 1;
    assert_eq!(check(&name, &forged), Err(Refusal::SignatureInvalid));
}

/// The honest submission, with the run length of its put operations (6) replaced by another LEB128 number.
fn with_run_length(run: &[u8]) -> Vec<u8> {
    let honest = chain(&key(1), &attendance(), &[submission().into()]).remove(0).bytes;
    let (length_size, content) = (2, 11);
    let mut body = honest[content..].to_vec();
    let at = body.windows(4).position(|window| window == [0x7f, 0, 6, 1]).unwrap() + 2;
    body.splice(at..=at, run.iter().copied());
    // The column table names 0x42 (action) with the length of its data.
    let table = body.windows(2).position(|window| window == [0x42, 4]).unwrap() + 1;
    body[table] += run.len() as u8 - 1;
    let mut bytes = honest[..content - length_size].to_vec();
    bytes.extend([body.len() as u8 | 0x80, (body.len() >> 7) as u8]);
    bytes.extend(body);
    bytes
}

#[test]
fn a_bomb_is_refused_by_its_header() {
    let claimed = |run: &[u8]| inspect(&with_run_length(run)).unwrap_err();
    let limit = limits::OPS_PER_CHANGE_MAX;
    // 63 puts and the entry are within the limit, so that the next rule speaks: the checksum.
    assert_eq!(claimed(&[63]), Refusal::ChecksumMismatch);
    assert_eq!(claimed(&[0xc0, 0]), Refusal::TooManyOps { claimed: 65, limit });
    assert_eq!(claimed(&[0x80, 0xc2, 0xd7, 0x2f]), Refusal::TooManyOps { claimed: 100_000_001, limit });
    let most = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0];
    assert!(matches!(claimed(&most), Refusal::TooManyOps { .. }));
}

#[test]
fn chains_are_judged_from_their_tip() {
    let name = attendance();
    let entries: Vec<Entry> = (0..3).map(|_| submission().into()).collect();
    let changes: Vec<_> = chain(&key(1), &name, &entries).iter().map(|change| check(&name, change).unwrap()).collect();
    let genesis = genesis::tip(name.id(TENANT), name.kind());
    assert_eq!(genesis.step(&changes[0]), Ok(ChainStep::Next));
    assert_eq!(genesis.step(&changes[1]), Ok(ChainStep::Gap));
    assert_eq!(changes[0].tip().step(&changes[1]), Ok(ChainStep::Next));
    assert_eq!(changes[2].tip().step(&changes[1]), Ok(ChainStep::Behind));
    let mut moved = changes[1].clone();
    moved.start_op += 1;
    assert!(matches!(changes[0].tip().step(&moved), Err(Refusal::ChainBroken { .. })));
    let mut elsewhere = changes[1].clone();
    elsewhere.dep = hash(8);
    assert!(matches!(changes[0].tip().step(&elsewhere), Err(Refusal::ChainBroken { .. })));
}

#[test]
fn the_size_limit_holds_on_both_sides() {
    let name = attendance();
    // Nobody who writes with `Author` gets such a change signed.
    let with_checks = |size| {
        let entry: Entry = Verdict { checks: vec![0; size], ..verdict(hash(1), Outcome::Flagged) }.into();
        let tip = genesis::tip(name.id(TENANT), name.kind());
        let body = Body {
            writer: key(1).public_key(),
            document: name.id(TENANT),
            seq: tip.seq + 1,
            start_op: tip.max_op + 1,
            time_s: 1_763_640_000,
            dep: tip.hash,
            container_op: entry.container().op(),
            fields: entry.fields(),
        };
        resign(&mut encode(&body).raw_bytes().to_vec(), &name)
    };
    assert!(check(&name, &with_checks(limits::BYTES_SIZE_BYTES_MAX)).is_ok());
    assert_eq!(check(&name, &with_checks(limits::BYTES_SIZE_BYTES_MAX + 1)).unwrap_err().code(), "field_invalid");
    assert_eq!(check(&name, &with_checks(limits::CHANGE_SIZE_BYTES_MAX)).unwrap_err().code(), "change_too_large");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn replicas_converge_in_any_order_with_repeats_and_partitions(
        order in proptest::collection::vec(0usize..12, 12..40),
        split in 0usize..40,
    ) {
        let name = attendance();
        let id = name.id(TENANT);
        let student: Vec<Entry> = (0..4).map(|_| submission().into()).collect();
        let lecturer: Vec<Entry> =
            (0..4).map(|_| decision(DecisionAction::Confirm, 2, "lecturer-1", &[]).into()).collect();
        let server: Vec<Entry> = (0..4).map(|_| verdict(hash(1), Outcome::Accepted).into()).collect();
        let mut changes = chain(&key(1), &name, &student);
        changes.extend(chain(&key(2), &name, &lecturer));
        changes.extend(chain(&key(3), &name, &server));
        let everything = materialise(id, name.kind(), changes.iter().map(|change| &change.bytes[..])).unwrap();

        // Two replicas each see a part, in some order and with repeats; then they exchange what they have.
        let (left, right) = order.split_at(split.min(order.len()));
        let read = |index: &usize| Change::from_bytes(changes[*index].bytes.clone()).unwrap();
        let mut one = Automerge::new();
        one.apply_changes([genesis::change(id, name.kind())]).unwrap();
        let mut two = one.fork();
        one.apply_changes(left.iter().map(read)).unwrap();
        two.apply_changes(right.iter().map(read)).unwrap();
        one.apply_changes((0..changes.len()).rev().map(|index| read(&index))).unwrap();
        two.apply_changes((0..changes.len()).map(|index| read(&index))).unwrap();
        prop_assert_eq!(one.get_heads(), two.get_heads());
        prop_assert_eq!(one.get_heads(), everything.document.get_heads());
        prop_assert_eq!(one.hydrate(None), two.hydrate(None));

        let arrived = left.iter().chain(right).copied().chain((0..changes.len()).rev());
        let arrived = arrived.map(|index| &changes[index].bytes[..]);
        let again = materialise(id, name.kind(), arrived).unwrap();
        prop_assert_eq!(again.document.save(), everything.document.save());
    }

    #[test]
    fn a_mutated_change_never_panics_and_what_is_taken_loads(
        which in 0usize..10,
        edits in proptest::collection::vec((0usize..600, any::<u8>()), 1..5),
        cut in proptest::option::of(0usize..600),
    ) {
        let (name, entry) = one_of_each().swap_remove(which);
        let mut bytes = chain(&key(1), &name, &[entry]).remove(0).bytes;
        for (at, value) in edits {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.max(9));
        }
        let change = resign(&mut bytes, &name);
        let _ = check(&name, &SignedChange { bytes: bytes.clone(), signature: [0; 64] });
        if let Ok(valid) = check(&name, &change)
            && genesis::tip(valid.document, name.kind()).step(&valid) == Ok(ChainStep::Next)
        {
            let document = materialise(valid.document, name.kind(), [change.bytes.as_slice()]).unwrap();
            prop_assert!(Automerge::load(&document.document.save()).is_ok());
        }
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(decode(&bytes).is_err());
        let mut chunk = vec![0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0, 1];
        chunk.extend(bytes);
        prop_assert!(decode(&chunk).is_err());
    }
}
