//! `POST /sync` as phones see it: fates, receipts, quarantine, channels.

use std::collections::HashMap;

use muster_server::db::{DbError, Tx};
use muster_sync_core::{
    ChangeHash, DocumentName, Locator,
    change::Author,
    document::{Appeal, Code, Decision, DecisionAction, Label, Outcome, Verdict},
    signing::{SigningKey, SoftwareKey},
    sync::message::{Fate, FateKind},
};
use muster_tests::phone::{Answer, Item, Phone, TENANT};
use muster_tests::{Client, TestServer};

const NOON_MS: i64 = 1_763_640_000_000;

fn locator() -> Locator {
    Locator::parse("K7M2QX").unwrap()
}

fn reason(fate: &Fate) -> (&'static str, &str) {
    (fate.kind.as_str(), fate.reason.as_deref().unwrap_or(""))
}

async fn student(server: &TestServer, seed: u8) -> Phone {
    Phone::new(server.client("student").await, seed)
}

async fn bound_student(server: &TestServer, seed: u8) -> Phone {
    let mut phone = student(server, seed).await;
    phone.bind(server).await;
    phone
}

/// The server's key, as `GET /server` tells it.
async fn server_key(client: &Client) -> muster_sync_core::DeviceKey {
    let facts = client.get("/api/v1/server").await.expect(200);
    muster_sync_core::DeviceKey::from_hex(facts["server_key"].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn a_submission_gets_a_receipt_that_verifies_and_stays_the_same() {
    let server = TestServer::start().await;
    let mut phone = bound_student(&server, 1).await;
    let item = phone.submission(locator(), "123456", NOON_MS);
    let first = phone.push(std::slice::from_ref(&item)).await;
    let receipt = first[0].receipt.clone().unwrap();
    let tip = phone.tips[&item.name.id(TENANT)];
    let key = server_key(&phone.client).await;
    assert_eq!(receipt.verify(&key, item.name.id(TENANT), tip.hash), Ok(()));

    let mut again = vec![item.clone(); 100];
    again[40].manifest = None;
    let fates = phone.push(&again).await;
    assert_eq!(fates.len(), 100);
    assert!(fates.iter().all(|fate| fate.receipt.as_ref() == Some(&receipt)));
    let pulled = phone.pull(&HashMap::new()).await;
    let of_document = pulled.changes.iter().filter(|(name, ..)| *name == item.name);
    assert_eq!(of_document.filter(|(_, bytes, _)| *bytes == item.signed.bytes).count(), 1);
}

#[tokio::test]
async fn one_refused_change_does_not_delay_the_other_ones() {
    let server = TestServer::start().await;
    let mut phone = bound_student(&server, 1).await;
    let mut items: Vec<_> = (0..100u32)
        .map(|index| phone.submission(Locator::from_random((index << 8).to_be_bytes()), "123456", NOON_MS))
        .collect();
    items[50].signed.signature[3] ^= 1;
    let fates = phone.push(&items).await;
    assert_eq!(reason(&fates[50]), ("refused", "signature_invalid"));
    assert_eq!(fates.iter().filter(|fate| fate.kind == FateKind::Accepted).count(), 99);
    let indexes: Vec<_> = fates.iter().filter_map(|fate| fate.receipt.as_ref()).map(|r| r.log_index).collect();
    assert!(indexes.windows(2).all(|pair| pair[1] == pair[0] + 1), "{indexes:?}");
}

#[tokio::test]
async fn captures_before_the_approval_wait_and_are_released_by_it() {
    let server = TestServer::start().await;
    let mut phone = student(&server, 1).await;
    let items: Vec<_> = (0..3u32)
        .map(|index| phone.submission(Locator::from_random((index << 8).to_be_bytes()), "123456", NOON_MS))
        .collect();
    for fate in phone.push(&items).await {
        assert_eq!(reason(&fate), ("quarantined", "device_unbound"));
    }
    let admin = server.client("admin").await;
    let waiting = admin.get("/api/v1/admin/quarantine").await.expect(200);
    assert_eq!(waiting["items"].as_array().unwrap().len(), 3);
    assert_eq!(waiting["items"][0]["reason"], "device_unbound");

    phone.bind(&server).await;
    // The release is a job: the phone asks again until it is done, as a real one does.
    let mut fates = phone.push(&items).await;
    for _ in 0..200 {
        if fates.iter().all(|fate| fate.kind == FateKind::Accepted) {
            break;
        }
        tokio::task::yield_now().await;
        fates = phone.push(&items).await;
    }
    assert!(fates.iter().all(|fate| fate.kind == FateKind::Accepted), "{fates:?}");
    let waiting = admin.get("/api/v1/admin/quarantine").await.expect(200);
    assert_eq!(waiting["items"].as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn a_gap_waits_for_what_is_before_it() {
    let server = TestServer::start().await;
    let mut phone = bound_student(&server, 1).await;
    let items: Vec<_> = (0..3).map(|_| phone.submission(locator(), "123456", NOON_MS)).collect();
    let fates = phone.push(&[items[2].clone(), items[1].clone()]).await;
    assert_eq!(reason(&fates[0]), ("quarantined", "chain_gap"));
    assert_eq!(reason(&fates[1]), ("quarantined", "chain_gap"));
    let fates = phone.push(&items).await;
    assert!(fates.iter().all(|fate| fate.kind == FateKind::Accepted), "{fates:?}");
}

#[tokio::test]
async fn equivocation_is_kept_as_evidence_and_the_first_one_stands() {
    let server = TestServer::start().await;
    let mut phone = bound_student(&server, 1).await;
    let honest = phone.submission(locator(), "123456", NOON_MS);
    phone.tips.remove(&honest.name.id(TENANT));
    let twin = phone.submission(locator(), "654321", NOON_MS);
    let fates = phone.push(&[honest.clone(), twin]).await;
    assert_eq!(fates[0].kind, FateKind::Accepted);
    assert_eq!(reason(&fates[1]), ("quarantined", "chain_fork"));
    let fates = phone.push(std::slice::from_ref(&honest)).await;
    assert_eq!(fates[0].kind, FateKind::Accepted);
}

#[tokio::test]
async fn a_relay_changes_no_fate_and_a_stranger_s_device_waits() {
    let server = TestServer::start().await;
    let (mut author, other) = (bound_student(&server, 1).await, bound_student(&server, 2).await);
    let item = author.submission(locator(), "123456", NOON_MS);
    let relayed = other.push(std::slice::from_ref(&item)).await;
    let own = author.push(std::slice::from_ref(&item)).await;
    assert_eq!(relayed, own);
    assert_eq!(own[0].kind, FateKind::Accepted);

    // The friend's phone captures for the author: authentic, but not the author's device.
    let mut friend = other;
    let name = author.attendance(Locator::parse("ABCDEF").unwrap());
    let entry = muster_sync_core::document::Entry::from(muster_sync_core::document::Submission {
        captured_at_ms: NOON_MS,
        code: Code::new("123456"),
        step: None,
        commitment: [1; 32],
        schema: 1,
        source: muster_sync_core::document::Source::Phone,
        by: None,
    });
    let signed = friend.write(&name, &entry);
    let fates = friend.push(&[Item { name, signed, manifest: None }]).await;
    assert_eq!(reason(&fates[0]), ("quarantined", "device_of_other_user"));
}

#[tokio::test]
async fn a_student_writes_neither_verdicts_nor_decisions() {
    let server = TestServer::start().await;
    let mut phone = bound_student(&server, 1).await;
    let name = phone.attendance(locator());
    let of = ChangeHash([1; 32]);
    let verdict = Verdict {
        of,
        outcome: Outcome::Accepted,
        risk: 0,
        checks: vec![0x80],
        policy: Code::new("mine").unwrap(),
        model: None,
    };
    let signed = phone.write(&name, &verdict.into());
    let fates = phone.push(&[Item { name: name.clone(), signed, manifest: None }]).await;
    assert_eq!(reason(&fates[0]), ("refused", "writer_not_allowed"));
    phone.tips.clear();
    let decision = Decision {
        of,
        after: Vec::new(),
        action: DecisionAction::Confirm,
        reason: None,
        rank: 1,
        by: Label::new(phone.client.user_id()).unwrap(),
        note_hash: None,
    };
    let signed = phone.write(&name, &decision.into());
    let fates = phone.push(&[Item { name: name.clone(), signed, manifest: None }]).await;
    // Nobody knows the session yet, so whose course it is cannot be judged: it waits.
    assert_eq!(reason(&fates[0]), ("quarantined", "session_unknown"));
    phone.tips.clear();
    let appeal = Appeal { of, reason: Code::new("was_there").unwrap(), note_hash: None, by: None };
    let signed = phone.write(&name, &appeal.into());
    let fates = phone.push(&[Item { name, signed, manifest: None }]).await;
    assert_eq!(fates[0].kind, FateKind::Accepted);
}

/// Everything that can be wrong with one change, the fate that it gets, and that the next one is taken all the same.
#[tokio::test]
async fn bad_changes_are_refused_with_a_stable_code_each() {
    let server = TestServer::start().await;
    let mut phone = bound_student(&server, 1).await;
    let good = phone.submission(locator(), "123456", NOON_MS);
    let edit = |change: &dyn Fn(&mut Item)| {
        let mut item = good.clone();
        change(&mut item);
        item
    };
    let stranger = SoftwareKey::from_seed(&[77; 32].into());
    let table: Vec<(&str, Item, (&str, &str))> = vec![
        ("truncated", edit(&|item| item.signed.bytes.truncate(60)), ("refused", "change_truncated")),
        ("oversized", edit(&|item| item.signed.bytes.resize(8 * 1024 + 1, 0)), ("refused", "change_too_large")),
        ("not a change", edit(&|item| item.signed.bytes[0] = 0), ("refused", "change_malformed")),
        ("compressed", edit(&|item| item.signed.bytes[8] = 2), ("refused", "change_kind")),
        ("wrong checksum", edit(&|item| item.signed.bytes[4] ^= 1), ("refused", "checksum_mismatch")),
        ("wrong signature", edit(&|item| item.signed.signature[0] ^= 1), ("refused", "signature_invalid")),
        (
            "signed by another key",
            edit(&|item| {
                let hash = phone.tips[&item.name.id(TENANT)].hash;
                let message = muster_sync_core::signing::change_message(item.name.id(TENANT), hash);
                item.signed.signature = stranger.sign(&message).unwrap();
            }),
            ("refused", "signature_invalid"),
        ),
        (
            "wrong document",
            edit(&|item| {
                item.name = DocumentName::Attendance { locator: locator(), student: "somebody-else".into() };
            }),
            ("refused", "document_mismatch"),
        ),
        (
            "another manifest",
            edit(&|item| {
                item.manifest = Some(muster_tests::phone::manifest(1).to_bytes());
            }),
            ("refused", "manifest_mismatch"),
        ),
        ("no manifest", edit(&|item| item.manifest = None), ("refused", "manifest_missing")),
        ("manifest is not one", edit(&|item| item.manifest = Some(vec![1, 2, 3])), ("refused", "manifest_invalid")),
    ];
    for (what, item, want) in table {
        let fates = phone.push(std::slice::from_ref(&item)).await;
        assert_eq!(reason(&fates[0]), want, "{what}");
    }
    let refusals = server.client("admin").await.get("/api/v1/admin/refusals").await.expect(200);
    // Six different byte strings: a bounded copy of each is kept, with its newest reason.
    assert_eq!(refusals.as_array().unwrap().len(), 6);
    assert_eq!(phone.push(&[good]).await[0].kind, FateKind::Accepted);
}

#[tokio::test]
async fn a_chain_that_does_not_continue_is_refused() {
    let server = TestServer::start().await;
    let mut phone = bound_student(&server, 1).await;
    let first = phone.submission(locator(), "123456", NOON_MS);
    assert_eq!(phone.push(std::slice::from_ref(&first)).await[0].kind, FateKind::Accepted);
    let tip = phone.tips.get_mut(&first.name.id(TENANT)).unwrap();
    tip.max_op += 5;
    let wrong = phone.submission(locator(), "123456", NOON_MS);
    assert_eq!(reason(&phone.push(&[wrong]).await[0]), ("refused", "chain_broken"));
}

#[tokio::test]
async fn a_weak_key_is_refused() {
    let server = TestServer::start().await;
    let phone = student(&server, 1).await;
    struct Identity;
    impl SigningKey for Identity {
        fn public_key(&self) -> muster_sync_core::DeviceKey {
            let mut point = [0; 32];
            point[0] = 1;
            muster_sync_core::DeviceKey(point)
        }
        fn sign(&self, _: &[u8]) -> Result<[u8; 64], muster_sync_core::signing::SignError> {
            let mut signature = [0; 64];
            signature[0] = 1;
            Ok(signature)
        }
    }
    let name = phone.attendance(locator());
    let appeal = Appeal { of: ChangeHash([1; 32]), reason: Code::new("x").unwrap(), note_hash: None, by: None };
    let author = Author { key: &Identity, tenant: TENANT, name: &name, tip: None, time_s: 1 };
    let (signed, _) = author.append(&appeal.into()).unwrap();
    let fates = phone.push(&[Item { name, signed, manifest: None }]).await;
    assert_eq!(reason(&fates[0]), ("refused", "key_weak"));
}

#[tokio::test]
async fn bad_requests_are_refused_whole_with_a_stable_code() {
    let server = TestServer::start().await;
    let phone = student(&server, 1).await;
    let body = phone.body(&[], &HashMap::new(), true);
    phone.send(b"not cbor".to_vec()).await.expect_error(400, "SYNC_MALFORMED");
    phone.send(body[..body.len() - 2].to_vec()).await.expect_error(400, "SYNC_MALFORMED");
    phone.send(vec![0; 1024 * 1024 + 1]).await.expect_error(413, "PAYLOAD_TOO_LARGE");
    let mut newer = body.clone();
    assert_eq!(newer[1..3], [0, 1]);
    newer[2] = 9;
    phone.send(newer).await.expect_error(422, "SYNC_VERSION");
    let plain = phone.client.request(reqwest::Method::POST, "/api/v1/sync").body(body.clone());
    muster_tests::Reply::of(plain).await.expect_error(415, "UNSUPPORTED_MEDIA_TYPE");
    let mut unknown = body.clone();
    assert_eq!(unknown[0] & 0xe0, 0xa0);
    unknown[0] += 1;
    unknown.extend([0x18, 99, 0x61, b'x']);
    assert!(Answer::of(phone.send(unknown).await).fates.is_empty());
    for token in ["", "x.y.z", "eyJhbGciOiJub25lIn0.e30."] {
        let stranger = Phone::new(server.with_token(token), 1);
        assert_eq!(stranger.send(body.clone()).await.status.as_u16(), 401);
    }
    assert_eq!(Phone::new(server.anonymous(), 1).send(body).await.status.as_u16(), 401);
}

#[tokio::test]
async fn an_expired_token_strands_nothing() {
    let server = TestServer::builder().manual_clock(NOON_MS).start().await;
    let mut phone = bound_student(&server, 1).await;
    let item = phone.submission(locator(), "123456", NOON_MS);
    server.clock().advance(std::time::Duration::from_secs(16 * 60));
    phone
        .send(phone.body(std::slice::from_ref(&item), &HashMap::new(), false))
        .await
        .expect_error(401, "TOKEN_EXPIRED");
}

#[tokio::test]
async fn an_exchange_with_nothing_new_is_small_and_carries_an_anchor() {
    let server = TestServer::start().await;
    let mut phone = bound_student(&server, 1).await;
    let item = phone.submission(locator(), "123456", NOON_MS);
    phone.push(&[item]).await;
    let first = phone.pull(&HashMap::new()).await;
    assert_eq!(first.changes.len(), 3);
    assert!(!first.more);
    let idle = phone.pull(&first.cursors).await;
    assert!(idle.changes.is_empty());
    assert_eq!(idle.cursors, first.cursors);
    assert!(idle.size_bytes < 400, "{} bytes down", idle.size_bytes);
    assert!(phone.body(&[], &first.cursors, true).len() < 400);
    let anchor = idle.anchor.unwrap();
    assert_eq!(anchor.verify(&server_key(&phone.client).await), Ok(()));
    assert_eq!((anchor.device, anchor.nonce), (phone.public_key(), [7; 16]));
}

#[tokio::test]
async fn nobody_pulls_what_is_not_theirs() {
    let server = TestServer::start().await;
    let (mut one, two) = (bound_student(&server, 1).await, bound_student(&server, 2).await);
    let item = one.submission(locator(), "123456", NOON_MS);
    one.push(&[item]).await;
    let theirs = format!("user:{}", one.client.user_id());
    let answer = two.pull(&HashMap::from([(theirs.clone(), 0), ("admin".to_owned(), 0)])).await;
    let own = DocumentName::DeviceBinding { user: two.client.user_id().to_owned() };
    assert!(answer.changes.iter().all(|(name, ..)| *name == own));
    assert!(!answer.cursors.contains_key(&theirs) && !answer.cursors.contains_key("admin"));
}

#[tokio::test]
async fn the_admin_lists_are_for_admins() {
    let server = TestServer::start().await;
    let student = server.client("student").await;
    student.get("/api/v1/admin/quarantine").await.expect_error(403, "FORBIDDEN");
    student.get("/api/v1/admin/refusals").await.expect_error(403, "FORBIDDEN");
    server.client("admin").await.get("/api/v1/admin/refusals").await.expect(200);
}

#[tokio::test]
async fn a_live_stream_says_which_channel_moved() {
    let server = TestServer::start().await;
    let mut phone = bound_student(&server, 1).await;
    let mut stream = phone.client.request(reqwest::Method::GET, "/api/v1/sync/live").send().await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let ready = stream.chunk().await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&ready).contains("event: ready"));
    let item = phone.submission(locator(), "123456", NOON_MS);
    phone.push(&[item]).await;
    let moved = String::from_utf8_lossy(&stream.chunk().await.unwrap().unwrap()).into_owned();
    assert!(moved.contains(&format!("data: user:{}", phone.client.user_id())), "{moved}");
}

/// Runs a pragma on the writer's connection: the only way to a disk that is full when the test says so.
async fn pragma(server: &TestServer, sql: &str) -> i64 {
    let sql = sql.to_owned();
    let written = server.app().db.write(move |tx: &Tx<'_>| tx.query_one(&sql, &[], |row| row.get::<i64>(0)));
    written.await.map_err(|error: DbError| error).unwrap().unwrap_or(0)
}

#[tokio::test]
async fn a_full_disk_refuses_the_push_and_loses_nothing() {
    let server = TestServer::start().await;
    // Only SQLite can be told that its disk is full.
    if !server.data().is_sqlite() {
        return;
    }
    let mut phone = bound_student(&server, 1).await;
    let kept = phone.submission(locator(), "123456", NOON_MS);
    assert_eq!(phone.push(std::slice::from_ref(&kept)).await[0].kind, FateKind::Accepted);
    let used = pragma(&server, "PRAGMA page_count").await;
    pragma(&server, &format!("PRAGMA max_page_count = {}", used + 4)).await;
    let mut later = Vec::new();
    let mut refused = None;
    for index in 1..400u32 {
        let item = phone.submission(Locator::from_random((index << 8).to_be_bytes()), "123456", NOON_MS);
        later.push(item.clone());
        let reply = phone.send(phone.body(&[item], &HashMap::new(), false)).await;
        if reply.status.as_u16() != 200 {
            refused = Some(reply);
            break;
        }
    }
    let refused = refused.expect("a full database refuses");
    assert!(refused.headers.contains_key("retry-after"));
    refused.expect_error(503, "STORAGE_FULL");
    pragma(&server, "PRAGMA max_page_count = 1000000").await;
    for chunk in later.chunks(100) {
        assert!(phone.push(chunk).await.iter().all(|fate| fate.kind == FateKind::Accepted));
    }
    assert_eq!(phone.push(&[kept]).await[0].kind, FateKind::Accepted);
}

#[tokio::test]
async fn a_restart_keeps_every_receipt() {
    let server = TestServer::start().await;
    let mut phone = bound_student(&server, 1).await;
    let item = phone.submission(locator(), "123456", NOON_MS);
    let before = phone.push(std::slice::from_ref(&item)).await;
    let token = phone.client.token().unwrap().to_owned();
    let data = server.stop().await;
    let server = TestServer::builder().data(data).start().await;
    let again = Phone::new(server.with_token(&token), 1);
    assert_eq!(again.push(&[item]).await, before);
}
