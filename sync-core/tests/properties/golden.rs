//! Golden vectors: the bytes of protocol version 1, made again from fixed seeds and compared with the files in
//! `tests/fixtures/wire/v1`. Other implementations test themselves against the same files.
//!
//! New vectors are written with `MUSTER_WRITE_FIXTURES=1 cargo test -p muster-sync-core --test properties golden`.
//! An existing file that changes is a change of the wire format: every phone in the field speaks the old one.

use crate::{attacks, fixtures::*, golden_sealed};
use muster_sync_core::{
    ChangeHash, DocumentId, DocumentName,
    change::{Scalar, SignedChange, decode, validate},
    document::*,
    evidence::*,
    signing::{Context, SigningKey, change_message},
    sync::{
        head::LogHead,
        message::{
            CONTENT_TYPE, Cursor, Fate, FateKind, PROTOCOL_VERSION, Pulled, Push, Request as SyncRequest, Response,
            WireName,
        },
    },
    time::{
        Anchor, AnchorReading, CaptureClocks, Receipt,
        session_code::{CodeClaim, CodeKey, SessionSecret},
    },
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

const WRITE: &str = "MUSTER_WRITE_FIXTURES";

fn hex(bytes: impl AsRef<[u8]>) -> String {
    data_encoding::HEXLOWER.encode(bytes.as_ref())
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/wire/v1")
}

#[test]
fn every_golden_vector_is_byte_for_byte_what_it_was() {
    let vectors = vectors();
    if std::env::var_os(WRITE).is_some() {
        assert!(std::env::var_os("CI").is_none(), "{WRITE} must not be set in CI: it would accept any wire format");
        std::fs::create_dir_all(folder()).unwrap();
        for (name, text) in &vectors {
            std::fs::write(folder().join(name), text).unwrap();
        }
    }
    let on_disk = std::fs::read_dir(folder()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let on_disk: BTreeSet<_> = on_disk.collect();
    for (name, made) in &vectors {
        assert!(on_disk.contains(name), "{name} is new: run this test once with {WRITE}=1 and commit the file");
        let golden = std::fs::read_to_string(folder().join(name)).unwrap();
        if golden != *made {
            let differs = golden.lines().zip(made.lines()).position(|(old, new)| old != new);
            let line = differs.unwrap_or(golden.lines().count().min(made.lines().count()));
            let (old, new) = (golden.lines().nth(line).unwrap_or(""), made.lines().nth(line).unwrap_or(""));
            panic!(
                "THE WIRE FORMAT CHANGED: {name}, line {}:\n  was {old}\n  is  {new}\n\
                 Phones that speak version 1 exist. Keep its bytes, or make a version 2 beside it; \
                 {WRITE}=1 writes the files again.",
                line + 1
            );
        }
    }
    let known: BTreeSet<_> = vectors.into_keys().collect();
    let stale: Vec<_> = on_disk.difference(&known).collect();
    assert!(stale.is_empty(), "golden vectors that nothing makes any more: {stale:?}");
}

#[test]
fn what_the_files_hold_is_still_read() {
    // The comparison above shows what is written; this shows that bytes on disk are taken as they stand.
    for (name, _) in vectors().into_iter().filter(|(name, _)| name.starts_with("change-")) {
        let golden: Value = serde_json::from_str(&std::fs::read_to_string(folder().join(&name)).unwrap()).unwrap();
        let bytes = |field: &str| data_encoding::HEXLOWER.decode(golden[field].as_str().unwrap().as_bytes()).unwrap();
        let part = |index: usize| golden["document"]["key"][index].as_str().unwrap();
        let kind = u8::try_from(golden["document"]["kind"].as_u64().unwrap()).unwrap();
        let document = DocumentName::from_parts(kind, [part(0), part(1)]).unwrap();
        let signature = bytes("signature").try_into().unwrap();
        let valid = validate(TENANT, &document, &bytes("change"), &signature).unwrap();
        assert_eq!(golden["hash"], valid.hash.to_string(), "{name}");
        assert_eq!(golden["container"], valid.container.name(), "{name}");
    }
}

/// Every vector: file name and text.
fn vectors() -> BTreeMap<String, String> {
    let mut all = BTreeMap::from([
        ("document-ids".to_owned(), document_ids()),
        ("chain-of-three".to_owned(), chain_of_three()),
        ("manifest".to_owned(), manifest_vector()),
        ("checks".to_owned(), checks_vector()),
        ("anchor".to_owned(), anchor_vector()),
        ("receipt".to_owned(), receipt_vector()),
        ("log-head".to_owned(), log_head_vector()),
        ("sync-recovery".to_owned(), recovery_vector()),
        ("sync-request".to_owned(), request_vector()),
        ("sync-request-relayed".to_owned(), golden_sealed::relayed_request()),
        ("sealed-manifest".to_owned(), golden_sealed::sealed_manifest()),
        ("sync-response".to_owned(), response_vector()),
        ("session-codes".to_owned(), session_codes()),
        ("qr-payloads".to_owned(), qr_payloads()),
        ("refused-changes".to_owned(), refused_changes()),
    ]);
    for name in [class_session(), attendance(), binding()] {
        all.insert(format!("genesis-{}", kind_name(&name)), genesis_vector(&name));
    }
    for (name, entry) in one_of_each() {
        all.insert(format!("change-{}", entry.container().name()), change_vector(&name, entry));
    }
    let text = |value: &Value| serde_json::to_string_pretty(value).unwrap() + "\n";
    all.iter().map(|(name, value)| (format!("{name}.json"), text(value))).collect()
}

fn kind_name(name: &DocumentName) -> &'static str {
    match name {
        DocumentName::ClassSession { .. } => "class-session",
        DocumentName::Attendance { .. } => "attendance",
        DocumentName::DeviceBinding { .. } => "device-binding",
    }
}

fn document(name: &DocumentName) -> Value {
    json!({ "tenant": TENANT, "kind": name.kind(), "key": name.key(), "id": name.id(TENANT).to_string() })
}

#[test]
fn lists_may_grow_at_their_end() {
    // A cursor and a document's name are CBOR arrays; a newer peer may append to them.
    let cursor = |bytes: &'static [u8]| minicbor::decode::<Cursor<'_>>(bytes).unwrap();
    assert_eq!(cursor(&[0x82, 0x61, b'a', 7]), cursor(&[0x83, 0x61, b'a', 7, 0x81, 1]));
}

fn document_ids() -> Value {
    let names = [class_session(), attendance(), binding()];
    let ids = names.iter().flat_map(|name| {
        [TENANT, "university-of-examples"].map(|tenant| {
            json!({ "tenant": tenant, "kind": name.kind(), "key": name.key(), "id": name.id(tenant).to_string() })
        })
    });
    ids.collect()
}

fn genesis_vector(name: &DocumentName) -> Value {
    let change = genesis::change(name.id(TENANT), name.kind());
    let tip = genesis::tip(name.id(TENANT), name.kind());
    let containers = Container::ALL.iter().filter(|container| container.kind() == name.kind());
    let containers: Value =
        containers.map(|container| json!({ "op": container.op(), "name": container.name() })).collect();
    json!({
        "document": document(name),
        "containers": containers,
        "max_op": tip.max_op,
        "change": hex(change.raw_bytes()),
        "hash": tip.hash.to_string(),
    })
}

fn scalar(value: &Scalar<'_>) -> Value {
    match value {
        Scalar::Bool(value) => json!({ "bool": value }),
        Scalar::Int(value) => json!({ "int": value }),
        Scalar::Uint(value) => json!({ "uint": value }),
        Scalar::Text(value) => json!({ "text": value }),
        Scalar::Bytes(value) => json!({ "bytes": hex(value) }),
    }
}

fn change_facts(name: &DocumentName, change: &SignedChange) -> Value {
    let valid = validate(TENANT, name, &change.bytes, &change.signature).unwrap();
    let (hash, body) = decode(&change.bytes).unwrap();
    let fields: Vec<_> = body.fields.iter().map(|(name, value)| json!([name, scalar(value)])).collect();
    json!({
        "document": document(name),
        "writer": body.writer.to_string(),
        "seq": body.seq,
        "start_op": body.start_op,
        "max_op": body.max_op(),
        "time_s": body.time_s,
        "dep": body.dep.to_string(),
        "container": valid.container.name(),
        "container_op": body.container_op,
        "entry_key": muster_sync_core::change::entry_key(&body.writer, body.seq),
        "fields": fields,
        "change": hex(&change.bytes),
        "hash": hash.to_string(),
        "signed_message": hex(change_message(name.id(TENANT), hash)),
        "signature": hex(change.signature),
    })
}

fn change_vector(name: &DocumentName, entry: Entry) -> Value {
    let mut facts = change_facts(name, &chain(&key(1), name, &[entry])[0]);
    facts["seed"] = json!(hex([1; 32]));
    facts
}

fn chain_of_three() -> Value {
    let name = attendance();
    let appeal = Appeal { of: hash(3), reason: code("was_there"), note_hash: None, by: None };
    let second = Submission { captured_at_ms: 1_763_640_060_000, ..submission() };
    let changes = chain(&key(1), &name, &[submission().into(), second.into(), appeal.into()]);
    changes.iter().map(|change| change_facts(&name, change)).collect()
}

fn anchor() -> Anchor {
    Anchor::sign(&key(3), 1_763_600_000_000, key(1).public_key(), [7; 16]).unwrap()
}

fn manifest() -> Manifest {
    let image = |purpose, byte, image_type| ImageRef { purpose, sha256: [byte; 32], size_bytes: 120_000, image_type };
    Manifest {
        version: MANIFEST_VERSION,
        salt: [6; 32],
        images: vec![image(ImagePurpose::Selfie, 8, ImageType::Jpeg), image(ImagePurpose::Presence, 9, ImageType::Png)],
        position: Some(Position {
            latitude_e7: 407_128_000,
            longitude_e7: -740_060_000,
            accuracy_m: 12,
            mocked: false,
        }),
        clocks: CaptureClocks {
            wall_ms: 1_763_640_000_000,
            monotonic_ms: 40_000_000,
            boot_id: [1; 16],
            anchor: Some(AnchorReading { anchor: anchor(), monotonic_ms: 1_000, boot_id: [1; 16] }),
        },
        device: DeviceFacts {
            platform: "android 16".into(),
            model: "Pixel 11".into(),
            app_version: "1.0.0".into(),
            legacy_id: None,
        },
    }
}

/// CBOR in the notation of RFC 8949, section 8.
pub(crate) fn diagnostic(bytes: &[u8]) -> String {
    minicbor::display(bytes).to_string()
}

fn manifest_vector() -> Value {
    let bytes = manifest().to_bytes();
    assert_eq!(Manifest::from_bytes(&bytes), Ok(manifest()));
    json!({
        "cbor": hex(&bytes),
        "commitment": hex(commitment(&bytes)),
        "salt": hex(manifest().salt),
        "diagnostic": diagnostic(&bytes),
    })
}

fn checks_vector() -> Value {
    let check = |name: &str, outcome, score, reason: Option<&str>| Check {
        name: name.into(),
        outcome,
        score,
        threshold: score.map(|_| 0.5),
        reason: reason.map(Into::into),
    };
    let checks = Checks(vec![
        check("code", CheckOutcome::Pass, None, None),
        check("selfie_match", CheckOutcome::Flag, Some(0.25), Some("face_differs")),
        check("liveness", CheckOutcome::Unavailable, None, Some("face_unavailable")),
    ]);
    assert_eq!(Checks::from_bytes(&checks.to_bytes()), Some(checks.clone()));
    json!({ "cbor": hex(checks.to_bytes()), "diagnostic": diagnostic(&checks.to_bytes()) })
}

fn anchor_vector() -> Value {
    let anchor = anchor();
    json!({
        "server_seed": hex([3; 32]),
        "server": key(3).public_key().to_string(),
        "time_ms": anchor.time_ms,
        "device": anchor.device.to_string(),
        "nonce": hex(anchor.nonce),
        "signature": hex(anchor.signature),
        "context": hex(Context::Anchor.bytes()),
        "cbor": hex(minicbor::to_vec(&anchor).unwrap()),
        "diagnostic": diagnostic(&minicbor::to_vec(&anchor).unwrap()),
    })
}

fn receipt() -> Receipt {
    Receipt::sign(&key(3), attendance().id(TENANT), hash(1), 7, 1_763_640_005_000).unwrap()
}

fn receipt_vector() -> Value {
    let receipt = receipt();
    json!({
        "server": key(3).public_key().to_string(),
        "document_id": attendance().id(TENANT).to_string(),
        "change_hash": hash(1).to_string(),
        "log_index": receipt.log_index,
        "received_at_ms": receipt.received_at_ms,
        "signature": hex(receipt.signature),
        "context": hex(Context::Receipt.bytes()),
        "cbor": hex(minicbor::to_vec(&receipt).unwrap()),
        "diagnostic": diagnostic(&minicbor::to_vec(&receipt).unwrap()),
    })
}

fn log_head() -> LogHead {
    LogHead::sign(&key(200), 115_581_911_040_000_007, 41, [6; 32]).unwrap()
}

fn log_head_vector() -> Value {
    let head = log_head();
    assert_eq!(head.verify(&key(200).public_key()), Ok(()));
    json!({
        "server_key": key(200).public_key().to_string(),
        "generation": head.generation,
        "log_index": head.log_index,
        "chain": hex(head.chain),
        "signature": hex(head.signature),
        "context": hex(Context::LogHead.bytes()),
        "cbor": hex(minicbor::to_vec(&head).unwrap()),
        "diagnostic": diagnostic(&minicbor::to_vec(&head).unwrap()),
    })
}

/// A phone that brings back what the server lost: the newest head that it knew, and a change with its void receipt.
fn recovery_vector() -> Value {
    let (name, bytes) = (attendance(), manifest().to_bytes());
    let claim = Submission { commitment: commitment(&bytes), ..submission() };
    let change = chain(&key(1), &name, &[claim.into()]).remove(0);
    let push = Push {
        name: WireName::new(&name),
        change: &change.bytes,
        signature: change.signature,
        manifest: Some(&bytes),
        code_key: None,
        receipt: Some(receipt()),
        sealed_manifest: None,
    };
    let request = SyncRequest {
        version: PROTOCOL_VERSION,
        device: None,
        nonce: None,
        cursors: vec![],
        pushes: vec![push],
        pull: true,
        log: Some(log_head()),
    };
    let request = minicbor::to_vec(&request).unwrap();
    let response = Response {
        version: PROTOCOL_VERSION,
        fates: vec![],
        changes: vec![],
        cursors: vec![],
        more: false,
        anchor: None,
        wanted: vec![],
        log: Some(log_head()),
        ask_again: None,
    };
    let response = minicbor::to_vec(&response).unwrap();
    json!({
        "request_cbor": hex(&request),
        "request_diagnostic": diagnostic(&request),
        "response_cbor": hex(&response),
        "response_diagnostic": diagnostic(&response),
    })
}

fn request_vector() -> Value {
    let (name, to_bind) = (attendance(), binding());
    let manifest = manifest().to_bytes();
    let claim = Submission { commitment: commitment(&manifest), ..submission() };
    let change = chain(&key(1), &name, &[claim.into()]).remove(0);
    let code_key = CodeKey([4; 32]);
    let to_be_bound = Request {
        key: key(1).public_key(),
        purpose: RequestPurpose::Bind,
        platform: code("android"),
        model: Some(label("Pixel 11")),
        level: KeyLevel::Hardware,
        legacy_id_hash: None,
        code_key_hash: Some(code_key.commitment()),
    };
    let request = chain(&key(1), &to_bind, &[to_be_bound.into()]).remove(0);
    let push = |name, change: &'static SignedChange, manifest, code_key| Push {
        name: WireName::new(name),
        change: &change.bytes,
        signature: change.signature,
        manifest,
        code_key,
        sealed_manifest: None,
        receipt: None,
    };
    let (change, request) = (Box::leak(Box::new(change)), Box::leak(Box::new(request)));
    let message = SyncRequest {
        version: PROTOCOL_VERSION,
        device: Some(key(1).public_key()),
        nonce: Some([7; 16]),
        cursors: vec![Cursor { channel: "user:student-1", number: 41 }, Cursor { channel: "course:7", number: 0 }],
        pushes: vec![push(&name, change, Some(&manifest), None), push(&to_bind, request, None, Some(code_key.0))],
        pull: true,
        log: None,
    };
    let bytes = minicbor::to_vec(&message).unwrap();
    assert_eq!(SyncRequest::decode(&bytes), Ok(message.clone()));
    let idle = SyncRequest { device: None, nonce: None, cursors: vec![], pushes: vec![], ..message };
    json!({
        "content_type": CONTENT_TYPE,
        "cbor": hex(&bytes),
        "diagnostic": diagnostic(&bytes),
        "idle_cbor": hex(minicbor::to_vec(&idle).unwrap()),
    })
}

fn response_vector() -> Value {
    let name = attendance();
    let change = chain(&key(1), &name, &[submission().into()]).remove(0);
    let fate = |kind, reason: Option<&str>| Fate { kind, reason: reason.map(Into::into), receipt: None };
    let message = Response {
        version: PROTOCOL_VERSION,
        fates: vec![
            Fate { receipt: Some(receipt()), ..fate(FateKind::Accepted, None) },
            fate(FateKind::Quarantined, Some("key_not_bound")),
            fate(FateKind::Refused, Some("signature_invalid")),
            fate(FateKind::Retry, Some("server_busy")),
        ],
        changes: vec![Pulled {
            name: WireName::new(&name),
            change: &change.bytes,
            signature: change.signature,
            log_index: 7,
            received_at_ms: 1_763_640_005_000,
        }],
        cursors: vec![Cursor { channel: "user:student-1", number: 42 }],
        more: false,
        anchor: Some(anchor()),
        wanted: vec![ChangeHash([8; 32])],
        ask_again: None,
        log: None,
    };
    let bytes = minicbor::to_vec(&message).unwrap();
    assert_eq!(Response::decode(&bytes), Ok(message.clone()));
    let idle = Response { fates: vec![], changes: vec![], cursors: vec![], anchor: None, wanted: vec![], ..message };
    json!({
        "content_type": CONTENT_TYPE,
        "cbor": hex(&bytes),
        "diagnostic": diagnostic(&bytes),
        "idle_cbor": hex(minicbor::to_vec(&idle).unwrap()),
    })
}

fn session_codes() -> Value {
    let code_key = CodeKey([3; 32]);
    let class_session: DocumentId = class_session().id(TENANT);
    let times_ms = [0, 1_763_640_000_000, 1_763_640_014_999, 1_763_640_015_000, 4_102_444_800_000];
    let rows = |mode, step_s, epoch: u64| -> Vec<Value> {
        let secret = SessionSecret::derive(&code_key, class_session, mode, step_s, epoch);
        let row = |time_ms| {
            let step = secret.step_at(time_ms);
            json!({ "time_ms": time_ms, "step": step, "code": secret.code(step) })
        };
        times_ms.into_iter().map(row).collect()
    };
    json!({
        "code_key": hex(code_key.0),
        "code_key_commitment": hex(code_key.commitment()),
        "locator": locator().as_str(),
        "locator_from_random": { "random": "01020304", "locator": muster_sync_core::Locator::from_random([1, 2, 3, 4]).as_str() },
        "salt_document_id": class_session.to_string(),
        "info_of_epoch_1": hex([&b"muster/session-code/v1"[..], &1u64.to_be_bytes()].concat()),
        "secret_of_epoch_0": session_secret(&code_key, class_session, 0),
        "secret_of_epoch_1": session_secret(&code_key, class_session, 1),
        "rotating_15_s_epoch_0": rows(CodeMode::Rotating, 15, 0),
        "rotating_15_s_epoch_1": rows(CodeMode::Rotating, 15, 1),
        "rotating_300_s_epoch_0": rows(CodeMode::Rotating, 300, 0),
        "static_epoch_0": rows(CodeMode::Static, 15, 0),
        "static_epoch_1": rows(CodeMode::Static, 15, 1),
    })
}

/// HKDF by hand, from HMAC alone: the secret itself never leaves [`SessionSecret`].
fn session_secret(key: &CodeKey, class_session: DocumentId, epoch: u64) -> String {
    let extracted = hmac(&class_session.0, &key.0);
    let expanded = hmac(&extracted, &[&b"muster/session-code/v1"[..], &epoch.to_be_bytes(), &[1]].concat());
    hex(expanded)
}

/// HMAC-SHA-256 (RFC 2104) for keys of up to 64 bytes.
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    use sha2::{Digest, Sha256};
    let pad = |byte: u8| -> Vec<u8> { (0..64).map(|at| key.get(at).copied().unwrap_or(0) ^ byte).collect() };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}

#[test]
fn the_session_code_is_rebuilt_from_hmac_alone() {
    // What PROTOCOL.md says, without the libraries: HKDF, then RFC 4226's truncation of HMAC-SHA-256 over the step.
    let class_session = class_session().id(TENANT);
    let secret = SessionSecret::derive(&CodeKey([3; 32]), class_session, CodeMode::Rotating, 15, 1);
    let own = data_encoding::HEXLOWER.decode(session_secret(&CodeKey([3; 32]), class_session, 1).as_bytes()).unwrap();
    for step in [0, 1, 117_576_000, u64::MAX] {
        let mac = hmac(&own, &step.to_be_bytes());
        let at = usize::from(mac[31] & 0xf);
        let number = u32::from_be_bytes(mac[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
        assert_eq!(format!("{:06}", number % 1_000_000), secret.code(step));
    }
}

fn qr_payloads() -> Value {
    let texts = [
        "MUSTER:1:K7M2QX:117576000:123456",
        "MUSTER:1:k7m2qo:1:000000",
        "K7M2QX-123456",
        "k7m2qx 123456",
        " K7M2QX123456 ",
        "K7M2QX",
        "K7M2QX-12345",
        "MUSTER:2:K7M2QX:1:123456",
        "MUSTER:1:K7M2QX:1:123456:9",
        "MUSTER:1:K7M2QX:-1:123456",
        "MUSTER:1:K7M2QU:1:123456",
    ];
    let read = |text: &str| match CodeClaim::parse(text) {
        Some(claim) => json!({
            "text": text,
            "locator": claim.locator.as_str(),
            "step": claim.step,
            "code": claim.code,
            "written": claim.to_qr(),
        }),
        None => json!({ "text": text, "refused": true }),
    };
    texts.map(read).into_iter().collect()
}

/// Changes that every implementation must refuse, and why. The oversized ones are left out: they are only long.
fn refused_changes() -> Value {
    let small = |case: &&attacks::Case| case.change.bytes.len() <= 2_048;
    let row = |case: &attacks::Case| {
        let mut row = json!({
            "what": case.what,
            "document": document(&case.name),
            "change": hex(&case.change.bytes),
            "signature": hex(case.change.signature),
            "code": case.code,
        });
        if let Some(effect) = attacks::bare_automerge(case.what) {
            row["bare_automerge"] = json!(effect);
        }
        row
    };
    attacks::cases().iter().filter(small).map(row).collect()
}
