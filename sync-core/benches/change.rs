//! What one change costs, step by step: to refuse, to validate, to author, and to fold a record's state.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark that cannot go on should say where")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use muster_sync_core::{
    ChangeHash, DeviceKey, DocumentName, Locator,
    change::{Author, SignedChange, decode, encode, inspect, validate},
    decision::{Does, Judgement, Record, Step, fold},
    document::*,
    limits,
    signing::{self, SigningKey, SoftwareKey},
    time::session_code::{CodeKey, SessionSecret},
};
use std::hint::black_box;

const TENANT: &str = "default";
const TIME_S: i64 = 1_763_640_000;

fn key(seed: u8) -> SoftwareKey {
    SoftwareKey::from_seed(&[seed; 32].into())
}

fn name() -> DocumentName {
    DocumentName::Attendance { locator: Locator::parse("K7M2QX").unwrap(), student: "student-1".into() }
}

fn submission() -> Submission {
    Submission {
        captured_at_ms: TIME_S * 1000,
        code: Code::new("123456"),
        step: Some(117_576_000),
        commitment: [9; 32],
        schema: 1,
        source: Source::Phone,
        by: None,
    }
}

/// A verdict whose checks fill the largest byte value.
fn large_verdict() -> Verdict {
    Verdict {
        of: ChangeHash([1; 32]),
        outcome: Outcome::Flagged,
        risk: 40,
        checks: vec![0; limits::BYTES_SIZE_BYTES_MAX],
        policy: Code::new("2026-11").unwrap(),
        model: None,
    }
}

fn author<'a>(key: &'a SoftwareKey, name: &'a DocumentName) -> Author<'a> {
    Author { key, tenant: TENANT, name, tip: None, time_s: TIME_S }
}

fn honest() -> SignedChange {
    author(&key(1), &name()).append(&submission().into()).unwrap().0
}

/// The honest change with the run length of its put operations replaced by 100,000,000, and the lengths repaired.
fn bomb() -> Vec<u8> {
    let honest = honest().bytes;
    let mut content = honest[11..].to_vec();
    let at = content.windows(4).position(|window| window == [0x7f, 0, 6, 1]).unwrap() + 2;
    content.splice(at..=at, [0x80, 0xc2, 0xd7, 0x2f]);
    let table = content.windows(2).position(|window| window == [0x42, 4]).unwrap() + 1;
    content[table] += 3;
    let mut bytes = honest[..9].to_vec();
    bytes.extend([content.len() as u8 | 0x80, (content.len() >> 7) as u8]);
    bytes.extend(content);
    bytes
}

/// A record with one flagged submission and `n` decisions that contradict each other, the last of which settles it.
fn record(n: u32) -> Record {
    let hash = |number: u32| {
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&number.to_be_bytes());
        ChangeHash(hash)
    };
    let step = |number: u32| {
        let action = if number.is_multiple_of(2) { DecisionAction::Confirm } else { DecisionAction::Reject };
        let after = if number == n { (2..n).map(hash).collect() } else { Vec::new() };
        let (does, by) = (Does::decision(action, hash(1)), format!("lecturer-{number}"));
        (hash(number), Step { writer: DeviceKey([1; 32]), by, place: number.into(), rank: 2, does, after })
    };
    Record {
        submissions: [hash(1)].into(),
        verdicts: vec![Judgement { hash: hash(0), place: 1, of: hash(1), outcome: Outcome::Flagged }],
        steps: (2..=n).map(step).collect(),
    }
}

fn refuse(criterion: &mut Criterion) {
    let (honest, bomb) = (honest(), bomb());
    assert_eq!(inspect(&bomb).unwrap_err().code(), "too_many_ops");
    criterion.bench_function("guard/honest", |bench| bench.iter(|| inspect(black_box(&honest.bytes)).is_ok()));
    criterion.bench_function("guard/bomb", |bench| bench.iter(|| inspect(black_box(&bomb)).is_err()));
    let (mut deflated, mut checksum, mut cut) = (honest.bytes.clone(), honest.bytes.clone(), honest.bytes.clone());
    deflated[8] = 2;
    checksum[4] ^= 1;
    cut.pop();
    let oversized = vec![0; 1_000_000];
    let mut forged = honest.clone();
    forged.signature[40] ^= 1;
    let refused = [("deflate", deflated), ("checksum", checksum), ("truncated", cut), ("one_megabyte", oversized)];
    for (what, bytes) in refused {
        let name = name();
        assert!(validate(TENANT, &name, &bytes, &honest.signature).is_err());
        criterion.bench_function(&format!("refuse/{what}"), |bench| {
            bench.iter(|| validate(TENANT, &name, black_box(&bytes), &honest.signature).is_err())
        });
    }
    let name = name();
    criterion.bench_function("refuse/signature", |bench| {
        bench.iter(|| validate(TENANT, &name, black_box(&forged.bytes), &forged.signature).is_err())
    });
}

fn validation(criterion: &mut Criterion) {
    let (key, name, honest) = (key(1), name(), honest());
    let (hash, body) = decode(&honest.bytes).unwrap();
    let message = signing::change_message(name.id(TENANT), hash);
    let writer = key.public_key();
    let mut group = criterion.benchmark_group("validate");
    group.throughput(Throughput::Elements(1));
    group.bench_function("decode", |bench| bench.iter(|| decode(black_box(&honest.bytes)).is_ok()));
    group.bench_function("reencode", |bench| bench.iter(|| encode(black_box(&body))));
    group.bench_function("verify_strict", |bench| {
        bench.iter(|| signing::verify_strict(&writer, black_box(&message), &honest.signature).is_ok())
    });
    group.bench_function("scope_and_schema", |bench| {
        let writer = Writer::Device { user: "student-1", role: Role::Student, teaches: false };
        bench.iter(|| {
            let container = Container::at(name.kind(), body.container_op).unwrap();
            let entry = Entry::read(container, black_box(&body.fields)).unwrap();
            may_write(&name, &entry, writer).is_ok()
        })
    });
    group.bench_function("whole", |bench| {
        bench.iter(|| validate(TENANT, &name, black_box(&honest.bytes), &honest.signature).is_ok())
    });
    let (large, _) = author(&key, &name).append(&large_verdict().into()).unwrap();
    group.bench_function("whole_large", |bench| {
        bench.iter(|| validate(TENANT, &name, black_box(&large.bytes), &large.signature).is_ok())
    });
    group.finish();
}

fn authoring(criterion: &mut Criterion) {
    let (key, name, entry) = (key(1), name(), Entry::from(submission()));
    let message = signing::change_message(name.id(TENANT), ChangeHash([1; 32]));
    let tip = genesis::tip(name.id(TENANT), name.kind());
    criterion.bench_function("author/sign", |bench| bench.iter(|| key.sign(black_box(&message)).unwrap()));
    criterion.bench_function("author/first_record", |bench| {
        bench.iter(|| author(&key, &name).append(black_box(&entry)).unwrap())
    });
    criterion.bench_function("author/next_record", |bench| {
        bench.iter(|| Author { tip: Some(tip), ..author(&key, &name) }.append(black_box(&entry)).unwrap())
    });
}

fn judging(criterion: &mut Criterion) {
    for n in [4, 1_000, 10_000] {
        let record = record(n);
        criterion.bench_function(&format!("decision/fold/{n}"), |bench| bench.iter(|| fold(black_box(&record))));
    }
    let class_session = DocumentName::ClassSession { locator: Locator::parse("K7M2QX").unwrap() }.id(TENANT);
    let secret = SessionSecret::derive(&CodeKey([3; 32]), class_session, CodeMode::Rotating, 15, 0);
    let step = secret.step_at(TIME_S * 1000);
    let code = secret.code(step);
    let lecture_ms = (TIME_S * 1000, (TIME_S + 5_400) * 1000);
    criterion.bench_function("session_code/scanned", |bench| {
        bench.iter(|| secret.find_step(black_box(&code), Some(step), lecture_ms))
    });
    criterion.bench_function("session_code/typed_wrong", |bench| {
        bench.iter(|| secret.find_step(black_box("00000x"), None, lecture_ms))
    });
}

criterion_group!(change, refuse, validation, authoring, judging);
criterion_main!(change);
