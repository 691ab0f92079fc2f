//! A bound device that lies: correctly signed changes whose numbers, runs, columns and actors are not what they should be.
//!
//! Every named attack has its reason code in `attacks.rs`. The mutator looks for the unnamed ones:
//! `MUSTER_HOSTILE_MUTATIONS=1000000` makes it look longer, `MUSTER_HOSTILE_SEED` elsewhere.

use crate::{
    allocations::{Cost, measured},
    attacks::{cases, full_change, honest, raw},
    fixtures::*,
    mutate::{Dice, mutate},
    raw::put_field,
};
use automerge::{Automerge, ReadDoc};
use muster_sync_core::{
    ChangeHash, DocumentName, Refusal,
    change::{Author, Scalar, SignedChange, Valid, decode, inspect, validate},
    document::*,
    signing::SigningKey,
};
use std::io::Write;

const NO_COST: Cost = Cost { peak_bytes: 0, total_bytes: 0, count: 0 };

/// The judgement of one change that arrives first in its writer's chain; a gap is a wait and not a refusal.
fn judge(name: &DocumentName, change: &SignedChange, tip: ChainTip) -> Result<Valid, &'static str> {
    placed(validate(TENANT, name, &change.bytes, &change.signature), tip)
}

fn placed(validated: Result<Valid, Refusal>, tip: ChainTip) -> Result<Valid, &'static str> {
    let valid = validated.map_err(|refusal| refusal.code())?;
    match tip.step(&valid).map_err(|refusal| refusal.code())? {
        ChainStep::Next => Ok(valid),
        ChainStep::Gap => Err("(gap)"),
        ChainStep::Behind => Err("(behind)"),
    }
}

#[test]
fn every_named_attack_is_refused_for_its_reason() {
    let tip = genesis::tip(attendance().id(TENANT), attendance().kind());
    for case in cases() {
        assert_eq!(judge(&case.name, &case.change, tip).map(|_| "taken"), Err(case.code), "{}", case.what);
    }
}

#[test]
fn the_protocol_s_rules_give_automerge_s_bytes() {
    // The encoder of these tests is written from PROTOCOL.md, without Automerge.
    for (name, entry) in one_of_each() {
        for change in chain(&key(1), &name, &[entry.clone(), entry]) {
            assert_eq!(raw(&change).signed(&name), change);
        }
    }
}

#[test]
fn what_a_newer_client_adds_is_kept() {
    let tip = genesis::tip(attendance().id(TENANT), attendance().kind());
    let mut newer = honest();
    for name in ["", "\0", "zz_new", "zz_\u{1f980}"] {
        let at = newer.ops[1..].partition_point(|op| op.key.as_slice() < name.as_bytes()) + 1;
        newer.ops.insert(at, put_field(&newer, name, Scalar::Text("value")));
    }
    newer.ops.push(put_field(&newer, "zzz", Scalar::Int(i64::MIN)));
    newer.ops.push(put_field(&newer, "zzzz", Scalar::Uint(u64::MAX)));
    let change = newer.signed(&attendance());
    let valid = judge(&attendance(), &change, tip).unwrap();
    survives(&attendance(), &[change], &valid);
    let change = full_change();
    let valid = judge(&attendance(), &change, tip).unwrap();
    survives(&attendance(), &[change], &valid);
}

/// What was taken must materialise, save and load, and come back byte for byte: signatures survive compaction only then.
fn loads(name: &DocumentName, changes: &[SignedChange]) -> Automerge {
    let bytes = changes.iter().map(|change| &change.bytes[..]);
    let document = materialise(name.id(TENANT), name.kind(), bytes).unwrap().document;
    let loaded = Automerge::load(&document.save()).unwrap();
    assert_eq!(loaded.get_heads(), document.get_heads());
    for change in changes {
        let hash = decode(&change.bytes).unwrap().0;
        let again = loaded.get_change_by_hash(&automerge::ChangeHash(hash.0)).unwrap();
        assert_eq!(again.raw_bytes(), change.bytes);
    }
    loaded
}

/// What was taken must also let its writer and others write on, and merge with what others wrote apart from it.
fn survives(name: &DocumentName, changes: &[SignedChange], last: &Valid) {
    let author = key(1);
    let mut own = changes.to_vec();
    if last.writer == author.public_key() {
        let next = Author { key: &author, tenant: TENANT, name, tip: Some(last.tip()), time_s: 1_763_640_000 };
        own.push(next.append(&last.entry).unwrap().0);
    }
    let honest = chain(&key(3), name, &[last.entry.clone(), last.entry.clone()]);
    let whole = loads(name, &[&own[..], &honest].concat());
    let (mut own, mut honest) = (loads(name, &own), loads(name, &honest));
    honest.merge(&mut own).unwrap();
    own.merge(&mut honest).unwrap();
    assert_eq!(own.get_heads(), whole.get_heads());
    assert_eq!(honest.get_heads(), whole.get_heads());
}

/// The most that checking one change may hold at once.
const VALIDATION_BYTES_MAX: usize = 1024 * 1024;

/// [`validate`], within what it may cost; the guard alone allocates nothing.
fn validated(name: &DocumentName, change: &SignedChange, most: &mut Cost) -> Result<Valid, Refusal> {
    let (inspected, guard) = measured(|| inspect(&change.bytes).map(|_| ()));
    assert_eq!(guard.count, 0, "{guard:?}");
    let (validated, cost) = measured(|| validate(TENANT, name, &change.bytes, &change.signature));
    assert!(cost.peak_bytes <= VALIDATION_BYTES_MAX, "{cost:?}");
    assert!(inspected.is_ok() || cost.count == 0, "what the guard refuses costs {cost:?}");
    most.peak_bytes = most.peak_bytes.max(cost.peak_bytes);
    most.total_bytes = most.total_bytes.max(cost.total_bytes);
    most.count = most.count.max(cost.count);
    validated
}

#[test]
fn every_named_attack_costs_less_than_an_honest_change() {
    let (mut honest_cost, mut most) = (NO_COST, NO_COST);
    let full = full_change();
    validated(&attendance(), &full, &mut honest_cost).unwrap();
    for case in cases() {
        let _ = validated(&case.name, &case.change, &mut most);
    }
    assert!(most.total_bytes <= honest_cost.total_bytes, "{most:?} is more than {honest_cost:?}");
}

#[test]
fn a_flood_of_changes_without_their_predecessors_costs_the_same_for_each() {
    // 50,000 correctly signed changes of one writer whose first one never comes: counted in allocations, not in time.
    let (name, author, tip) = (attendance(), key(1), genesis::tip(attendance().id(TENANT), attendance().kind()));
    let mut costs = std::collections::BTreeSet::new();
    let mut flood = Vec::new();
    for index in 0..50_000 {
        // `seq` has 5 digits and 3 bytes throughout, so that all are of one length.
        let before = ChainTip { seq: 20_000 + index, hash: ChangeHash([index as u8; 32]), max_op: 1_000_000 + index };
        let append = Author { key: &author, tenant: TENANT, name: &name, tip: Some(before), time_s: 1_763_640_000 };
        let (change, _) = append.append(&submission().into()).unwrap();
        let mut cost = NO_COST;
        let valid = validated(&name, &change, &mut cost).unwrap();
        let (step, judged) = measured(|| tip.step(&valid));
        assert_eq!((step, judged.count), (Ok(ChainStep::Gap), 0));
        costs.insert((cost.count, cost.total_bytes));
        flood.push(change.bytes);
    }
    assert_eq!(costs.len(), 1, "a later change costs more than an earlier one: {costs:?}");
    // Nobody makes a document of it: Automerge would need minutes for what is refused here after one look at each.
    let made = |n: usize| measured(|| materialise(name.id(TENANT), name.kind(), flood[..n].iter().map(Vec::as_slice)));
    let ((few, of_few), (all, of_all)) = (made(5_000), made(50_000));
    assert_eq!((few.unwrap_err().code(), all.unwrap_err().code()), ("chain_broken", "chain_broken"));
    assert!(of_all.count <= 11 * of_few.count, "{of_few:?} for 5,000, {of_all:?} for 50,000");
}

#[test]
fn a_duplicate_sequence_number_stops_neither_the_first_one_nor_what_follows() {
    // Bare Automerge refuses the whole batch that holds one of them.
    let (name, author) = (attendance(), key(1));
    let first = chain(&author, &name, &[submission().into(), submission().into()]);
    let twin = Submission { captured_at_ms: 1, ..submission() };
    let twin = chain(&author, &name, &[twin.into()]).remove(0);
    let tip = judged(&name, &first[0]).tip();
    assert_eq!(tip.step(&judged(&name, &twin)), Ok(ChainStep::Behind));
    assert_eq!(tip.step(&judged(&name, &first[1])), Ok(ChainStep::Next));
    let all = [&first[0].bytes, &twin.bytes, &first[1].bytes].map(Vec::as_slice);
    assert_eq!(materialise(name.id(TENANT), name.kind(), all).unwrap_err().code(), "chain_broken");
    loads(&name, &first);
}

#[test]
fn no_signed_mutation_panics_and_whatever_is_taken_survives() {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let n_mutations = number("MUSTER_HOSTILE_MUTATIONS").unwrap_or(20_000);
    let mut dice = Dice(number("MUSTER_HOSTILE_SEED").unwrap_or(20_261_120));
    let chains: Vec<_> = one_of_each()
        .into_iter()
        .map(|(name, entry)| {
            let changes = chain(&key(1), &name, &[entry.clone(), entry]);
            let tips = [genesis::tip(name.id(TENANT), name.kind()), judged(&name, &changes[0]).tip()];
            (raw(&changes[0]), raw(&changes[1]), name, changes, tips)
        })
        .collect();
    let mut codes = std::collections::BTreeMap::<&str, u64>::new();
    let mut most = NO_COST;
    for _ in 0..n_mutations {
        let (first, second, name, changes, tips) = &chains[dice.below(chains.len())];
        let place = dice.below(2);
        let change = mutate([first, second][place], name, &mut dice);
        let judgement = placed(validated(name, &change, &mut most), tips[place]);
        *codes.entry(judgement.as_ref().map_or_else(|code| *code, |_| "taken")).or_default() += 1;
        let history: Vec<_> = changes[..place].iter().chain([&change]).cloned().collect();
        match judgement {
            // Unoptimised Automerge is slow: then every fourth one is also written on.
            Ok(valid) if !cfg!(debug_assertions) || codes["taken"].is_multiple_of(4) => {
                survives(name, &history, &valid);
            }
            Ok(_) => drop(loads(name, &history)),
            // Valid alone but not next in its chain: a document is not made of it, and says so instead of panicking.
            Err("(gap)" | "(behind)" | "chain_broken") => {
                let made = materialise(name.id(TENANT), name.kind(), history.iter().map(|change| &change.bytes[..]));
                assert!(made.is_err());
            }
            Err(_) => {}
        }
    }
    let taken = codes.get("taken").copied().unwrap_or(0);
    assert!(taken > n_mutations / 50, "the mutator is too wild to test anything: {codes:?}");
    assert!(codes.len() > 10, "the mutator is too tame to test anything: {codes:?}");
    // Shown with --nocapture: what a longer run found.
    writeln!(std::io::stderr(), "{n_mutations} mutations: {codes:?}; one validation at most: {most:?}").unwrap();
}

fn judged(name: &DocumentName, change: &SignedChange) -> Valid {
    validate(TENANT, name, &change.bytes, &change.signature).unwrap()
}
