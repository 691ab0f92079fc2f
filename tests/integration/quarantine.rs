//! Quarantine over HTTP: list, inspect, release, discard, one or many; and how the phone learns of it.

use std::collections::{BTreeSet, HashMap};

use muster_server::db::{DbError, Tx};
use muster_server::params;
use muster_sync_core::change::SignedChange;
use muster_sync_core::limits::SUBMISSIONS_PER_RECORD_MAX;
use muster_sync_core::store::{RecordStatus, reason_in_words};
use muster_sync_core::sync::message::{self, FateKind};
use muster_sync_core::{ChangeHash, Locator, change};
use muster_tests::device::Device;
use muster_tests::lecture::Lecture;
use muster_tests::phone::{Item, Phone};
use muster_tests::{Client, TestServer};
use serde_json::{Value, json};

use super::audit;

const NOON_MS: i64 = 1_763_640_000_000;
const QUARANTINE: &str = "/api/v1/admin/quarantine";

fn session(index: u8) -> Locator {
    Locator::from_random([0, 9, index, 0])
}

fn hash(signed: &SignedChange) -> ChangeHash {
    change::inspect(&signed.bytes).unwrap().hash
}

/// A student whose phone nobody has bound, and captures of it that wait, one for each session.
async fn unbound(server: &TestServer, seed: u8, count: u8) -> (Phone, Vec<Item>) {
    let mut phone = Phone::new(server.client("student").await, seed);
    let items: Vec<_> = (0..count).map(|index| phone.submission(session(index), "123456", NOON_MS)).collect();
    let fates = phone.push(&items).await;
    assert!(fates.iter().all(|fate| fate.reason.as_deref() == Some("device_unbound")), "{fates:?}");
    (phone, items)
}

async fn revoke(admin: &Client, phone: &Phone) {
    let path = format!("/api/v1/admin/devices/{}/revoke", phone.public_key());
    admin.post(&path, &json!({"reason": "lost"})).await.expect(200);
}

async fn list(admin: &Client, query: &str) -> Vec<Value> {
    admin.get(&format!("{QUARANTINE}?{query}")).await.expect(200)["items"].as_array().unwrap().clone()
}

fn path(item: &Item, verb: &str) -> String {
    format!("{QUARANTINE}/{}/{verb}", hash(&item.signed))
}

#[tokio::test]
async fn an_admin_lists_by_reason_state_device_and_person_in_pages() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let (one, items) = unbound(&server, 1, 3).await;
    let (two, _) = unbound(&server, 2, 2).await;
    let mut gap = Phone::new(server.client("student").await, 3);
    gap.bind(&server).await;
    let chain = [gap.submission(session(0), "1", NOON_MS), gap.submission(session(0), "2", NOON_MS)];
    gap.push(&chain[1..]).await;

    assert_eq!(list(&admin, "").await.len(), 6);
    assert_eq!(list(&admin, "reason=chain_gap").await.len(), 1);
    assert_eq!(list(&admin, &format!("writer={}", two.public_key())).await.len(), 2);
    assert_eq!(list(&admin, &format!("user_id={}", one.client.user_id())).await.len(), 3);
    assert!(list(&admin, "state=discarded").await.is_empty());
    admin.post(&path(&items[0], "discard"), &json!({"reason": "test"})).await.expect(200);
    let gone = list(&admin, "state=discarded").await;
    assert_eq!((&gone[0]["settled_by"], &gone[0]["settle_reason"]), (&json!(admin.user_id()), &json!("test")));

    let (mut seen, mut after) = (BTreeSet::new(), String::new());
    loop {
        let page = admin.get(&format!("{QUARANTINE}?limit=2{after}")).await.expect(200);
        seen.extend(page["items"].as_array().unwrap().iter().map(|item| item["hash"].to_string()));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(seen.len(), 5);
    for wrong in ["state=maybe", "writer=x", "after=x", "nonsense=1"] {
        admin.get(&format!("{QUARANTINE}?{wrong}")).await.expect_error(422, "VALIDATION_ERROR");
    }
}

#[tokio::test]
async fn an_admin_sees_what_a_change_says_and_why_it_waits() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let mut phone = Phone::new(server.client("student").await, 1);
    phone.bind(&server).await;
    revoke(&admin, &phone).await;
    let items: Vec<_> = (0..2).map(|index| phone.submission(session(index), "123456", NOON_MS)).collect();
    phone.push(&items).await;
    let seen = admin.get(&format!("{QUARANTINE}/{}", hash(&items[0].signed))).await.expect(200);
    assert_eq!((&seen["reason"], &seen["state"]), (&json!("device_revoked"), &json!("waiting")));
    assert_eq!(
        (&seen["entry"]["container"], &seen["entry"]["fields"]["code"]),
        (&json!("submissions"), &json!("123456"))
    );
    assert_eq!(seen["entry"]["fields"]["captured_at_ms"], NOON_MS);
    assert_eq!(
        (&seen["device_standing"]["user_id"], &seen["device_standing"]["status"]),
        (&json!(phone.client.user_id()), &json!("revoked"))
    );
    assert_eq!((&seen["chain"]["seq"], &seen["chain"]["position"]), (&json!(1), &json!("next")));
    assert_eq!(seen["sender_id"], phone.client.user_id());
    assert_eq!(seen["waiting_of_device"], json!([{"reason": "device_revoked", "count": 2}]));
    assert!(seen["time"]["revocation"].as_str().unwrap().starts_with("nothing proves"));
    assert!(seen.get("fork").is_none());
    assert_eq!(audit::rows(&server).await.last().unwrap().action, "quarantine.view");
}

#[tokio::test]
async fn only_admins_of_the_tenant_see_and_settle_what_waits() {
    let server = TestServer::start().await;
    let (_, items) = unbound(&server, 1, 1).await;
    let body = json!({"reason": "test"});
    for role in ["student", "lecturer", "reviewer", "staff"] {
        let client = server.client(role).await;
        client.get(&format!("{QUARANTINE}/{}", hash(&items[0].signed))).await.expect_error(403, "FORBIDDEN");
        for verb in ["release", "discard"] {
            client.post(&path(&items[0], verb), &body).await.expect_error(403, "FORBIDDEN");
            client.post(&format!("{QUARANTINE}/{verb}"), &body).await.expect_error(403, "FORBIDDEN");
        }
    }
    let admin = server.client("admin").await;
    admin.post(&path(&items[0], "discard"), &json!({})).await.expect_error(422, "VALIDATION_ERROR");
    admin
        .post(&path(&items[0], "discard"), &json!({"reason": "two words"}))
        .await
        .expect_error(422, "VALIDATION_ERROR");
    admin.post(&format!("{QUARANTINE}/release"), &body).await.expect_error(422, "VALIDATION_ERROR");

    let moved =
        server.app().db.write(|tx: &Tx<'_>| tx.execute("UPDATE quarantine SET tenant_id = ?1", params!["other"]));
    assert_eq!(moved.await.map_err(|error: DbError| error), Ok(1));
    admin.get(&format!("{QUARANTINE}/{}", hash(&items[0].signed))).await.expect_error(404, "NOT_FOUND");
    admin.post(&path(&items[0], "release"), &json!({})).await.expect_error(404, "NOT_FOUND");
    admin.post(&path(&items[0], "discard"), &body).await.expect_error(404, "NOT_FOUND");
    admin.post(&format!("{QUARANTINE}/nonsense/release"), &json!({})).await.expect_error(404, "NOT_FOUND");
    let many = json!({"waits_for": "device_unbound", "reason": "test"});
    let none = admin.post(&format!("{QUARANTINE}/discard"), &many).await.expect(200);
    assert_eq!(none["items"], json!([]));
}

#[tokio::test]
async fn a_release_is_judged_by_the_rules_of_today_and_may_be_asked_for_twice() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let mut phone = Phone::new(server.client("student").await, 1);
    phone.bind(&server).await;
    revoke(&admin, &phone).await;
    let item = phone.submission(session(0), "123456", NOON_MS);
    phone.push(std::slice::from_ref(&item)).await;
    let release = path(&item, "release");
    let still = admin.post(&release, &json!({})).await.expect(200);
    assert_eq!((&still["fate"], &still["reason"]), (&json!("quarantined"), &json!("device_revoked")));
    admin.post(&release, &json!({"despite_revocation": true})).await.expect_error(422, "VALIDATION_ERROR");
    let vouched = json!({"despite_revocation": true, "reason": "was_there"});
    let taken = admin.post(&release, &vouched).await.expect(200);
    assert_eq!(taken["fate"], "accepted");
    assert_eq!(admin.post(&release, &vouched).await.expect(200), taken, "the same call again changes nothing");
    admin.post(&path(&item, "discard"), &json!({"reason": "late"})).await.expect_error(409, "ALREADY_RELEASED");
    let fates = phone.push(std::slice::from_ref(&item)).await;
    assert_eq!(fates[0].receipt.as_ref().unwrap().log_index, taken["receipt"]["log_index"].as_u64().unwrap());
    let released = list(&admin, "state=released").await;
    assert_eq!(
        (&released[0]["settled_by"], &released[0]["settle_reason"]),
        (&json!(admin.user_id()), &json!("was_there"))
    );

    let rows = audit::rows(&server).await;
    let noted: Vec<_> = rows.iter().filter(|row| row.action == "quarantine.release").collect();
    let results: Vec<_> = noted.iter().map(|row| row.result.as_str()).collect();
    assert_eq!(results, ["device_revoked", "accepted_despite_revocation"]);
    assert_eq!(noted[1].object_id, hash(&item.signed).to_string());
    assert!(audit::check(&server).await.is_ok());
}

#[tokio::test]
async fn nobody_vouches_for_a_fork_for_another_s_phone_or_for_themselves() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let mut phone = Phone::new(server.client("student").await, 1);
    phone.bind(&server).await;
    let honest = phone.submission(session(0), "123456", NOON_MS);
    phone.tips.remove(&honest.name.id("default"));
    let twin = phone.submission(session(0), "654321", NOON_MS);
    phone.push(&[honest.clone(), twin.clone()]).await;
    let vouched = json!({"despite_revocation": true, "reason": "was_there"});
    let fate = admin.post(&path(&twin, "release"), &vouched).await.expect(200);
    assert_eq!((&fate["fate"], &fate["reason"]), (&json!("quarantined"), &json!("chain_fork")));
    let seen = admin.get(&format!("{QUARANTINE}/{}", hash(&twin.signed))).await.expect(200);
    assert_eq!(
        (&seen["fork"]["accepted"]["hash"], &seen["chain"]["position"]),
        (&json!(hash(&honest.signed).to_string()), &json!("taken"))
    );

    let mut friend = Phone::new(server.client("student").await, 2);
    friend.bind(&server).await;
    let name = phone.attendance(session(1));
    let item = phone.submission(session(1), "123456", NOON_MS);
    let (_, body) = change::decode(&item.signed.bytes).unwrap();
    let entry =
        muster_sync_core::document::Entry::read(muster_sync_core::document::Container::Submissions, &body.fields);
    let signed = friend.write(&name, &entry.unwrap());
    let lent = Item { name, signed, manifest: item.manifest.clone() };
    friend.push(std::slice::from_ref(&lent)).await;
    let fate = admin.post(&path(&lent, "release"), &vouched).await.expect(200);
    assert_eq!(fate["reason"], "device_of_other_user");

    let mut own = Phone::new(admin.clone(), 3);
    let item = own.submission(session(0), "123456", NOON_MS);
    own.push(std::slice::from_ref(&item)).await;
    admin.post(&path(&item, "release"), &json!({})).await.expect_error(403, "OWN_CHANGE");
    admin.post(&path(&item, "discard"), &json!({"reason": "x"})).await.expect_error(403, "OWN_CHANGE");
    let other = server.client("admin").await;
    other.post(&path(&item, "discard"), &json!({"reason": "x"})).await.expect(200);
}

#[tokio::test]
async fn many_are_settled_at_once_within_a_limit() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let mut phone = Phone::new(server.client("student").await, 1);
    phone.bind(&server).await;
    revoke(&admin, &phone).await;
    // Chains of three: in their order, or else each release would find a gap.
    let items: Vec<_> = (0..12).map(|index| phone.submission(session(index / 3), "123456", NOON_MS)).collect();
    phone.push(&items).await;
    let key = phone.public_key().to_string();
    let many = json!({"writer": key, "limit": 6, "reason": "was_there", "despite_revocation": true});
    let first = admin.post(&format!("{QUARANTINE}/release"), &many).await.expect(200);
    assert_eq!((first["items"].as_array().unwrap().len(), &first["more"]), (6, &json!(true)));
    assert!(first["items"].as_array().unwrap().iter().all(|item| item["fate"] == "accepted"), "{first:#}");
    let rest = json!({"writer": key, "reason": "not_there"});
    let second = admin.post(&format!("{QUARANTINE}/discard"), &rest).await.expect(200);
    assert_eq!((second["items"].as_array().unwrap().len(), &second["more"]), (6, &json!(false)));
    assert!(list(&admin, "").await.is_empty());
    let fates = phone.push(&items).await;
    let of = |kind| fates.iter().filter(|fate| fate.kind == kind).count();
    assert_eq!((of(FateKind::Accepted), of(FateKind::Refused)), (6, 6));
    let noted = audit::rows(&server).await;
    assert_eq!(noted.iter().filter(|row| row.action.starts_with("quarantine.")).count(), 12);
}

#[tokio::test]
async fn a_discard_stands_although_the_device_is_bound_later() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let (mut phone, items) = unbound(&server, 1, 2).await;
    let discard = json!({"reason": "not_yours"});
    let gone = admin.post(&path(&items[0], "discard"), &discard).await.expect(200);
    assert_eq!((&gone["fate"], &gone["reason"]), (&json!("refused"), &json!("discarded.not_yours")));
    assert_eq!(admin.post(&path(&items[0], "discard"), &discard).await.expect(200), gone);
    admin.post(&path(&items[0], "release"), &json!({})).await.expect_error(409, "ALREADY_DISCARDED");
    phone.bind(&server).await;
    let fates = phone.push(&items).await;
    assert_eq!(fates[0].reason.as_deref(), Some("discarded.not_yours"));
    assert_eq!(fates[1].kind, FateKind::Accepted);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_admins_at_once_settle_a_change_once() {
    let server = TestServer::start().await;
    let (one, two) = (server.client("admin").await, server.client("admin").await);
    let mut phone = Phone::new(server.client("student").await, 1);
    phone.bind(&server).await;
    revoke(&one, &phone).await;
    let items: Vec<_> = (0..20).map(|index| phone.submission(session(index), "123456", NOON_MS)).collect();
    phone.push(&items).await;
    let vouched = json!({"despite_revocation": true, "reason": "was_there"});
    let mut released = 0;
    for item in &items {
        let (release, discard) = (path(item, "release"), path(item, "discard"));
        let no = json!({"reason": "no"});
        let (taken, gone) = tokio::join!(one.post(&release, &vouched), two.post(&discard, &no));
        match (taken.status.as_u16(), gone.status.as_u16()) {
            (200, 409) => {
                gone.expect_error(409, "ALREADY_RELEASED");
                released += 1;
            }
            (409, 200) => drop(taken.expect_error(409, "ALREADY_DISCARDED")),
            other => unreachable!("{other:?}"),
        }
    }
    let fates = phone.push(&items).await;
    assert_eq!(fates.iter().filter(|fate| fate.kind == FateKind::Accepted).count(), released);
    let rows = audit::rows(&server).await;
    assert_eq!(rows.iter().filter(|row| row.action.starts_with("quarantine.")).count(), 20);
    assert!(audit::check(&server).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_by_hand_beside_the_release_of_a_binding_takes_each_change_once() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let (mut phone, items) = unbound(&server, 1, 60).await;
    let many = json!({"waits_for": "device_unbound", "limit": 100});
    let release = format!("{QUARANTINE}/release");
    let bound = async {
        phone.bind(&server).await;
        phone
    };
    let by_hand = async {
        for _ in 0..10 {
            admin.post(&release, &many).await.expect(200);
        }
    };
    let (phone, ()) = tokio::join!(bound, by_hand);
    let fates = phone.push(&items).await;
    assert!(fates.iter().all(|fate| fate.kind == FateKind::Accepted), "{fates:?}");
    let indexes: BTreeSet<_> = fates.iter().map(|fate| fate.receipt.as_ref().unwrap().log_index).collect();
    assert_eq!(indexes.len(), items.len());
    assert!(list(&admin, "").await.is_empty());
}

#[tokio::test]
async fn a_long_chain_that_waited_is_released_without_a_deep_stack() {
    let server = TestServer::start().await;
    let mut phone = Phone::new(server.client("student").await, 1);
    phone.bind(&server).await;
    let items: Vec<_> = (0..1_500).map(|_| phone.submission(session(0), "123456", NOON_MS)).collect();
    for chunk in items[1..].chunks(100) {
        let fates = phone.push(chunk).await;
        assert!(fates.iter().all(|fate| fate.reason.as_deref() == Some("chain_gap")));
    }
    phone.push(&items[..1]).await;
    // As many as one record may have are in the log now; the others are told so when they come again.
    let room = SUBMISSIONS_PER_RECORD_MAX as usize;
    let fates = phone.push(&items[..room]).await;
    assert!(fates.iter().all(|fate| fate.kind == FateKind::Accepted), "{:?}", fates[0]);
    let fates = phone.push(&items[1_400..]).await;
    assert!(fates.iter().all(|fate| fate.reason.as_deref() == Some("too_many_submissions")), "{:?}", fates[0]);
}

#[tokio::test]
async fn the_phone_learns_of_a_discard_with_its_reason_and_of_a_release() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let dir = tempfile::tempdir().unwrap();
    let mut device = Device::new(&server, server.client("student").await, 1, dir.path()).await;
    device.bind(&server).await;
    device.sync(&server).await;
    let path = format!("/api/v1/admin/devices/{}/revoke", device.public_key());
    admin.post(&path, &json!({"reason": "lost"})).await.expect(200);
    let (bad, good) = (device.capture(&server, session(0), "1"), device.capture(&server, session(1), "2"));
    device.sync(&server).await;
    for record in [bad, good] {
        let view = device.record(record);
        assert_eq!((view.status, view.reason.as_deref()), (RecordStatus::Waiting, Some("device_revoked")));
    }
    let of = |record| format!("{QUARANTINE}/{}", device.record(record).change);
    admin.post(&format!("{}/discard", of(bad)), &json!({"reason": "not_there"})).await.expect(200);
    let vouched = json!({"despite_revocation": true, "reason": "was_there"});
    admin.post(&format!("{}/release", of(good)), &vouched).await.expect(200);
    device.sync(&server).await;
    let view = device.record(bad);
    assert_eq!((view.status, view.reason.as_deref()), (RecordStatus::Refused, Some("discarded.not_there")));
    assert_eq!(view.reason_in_words.unwrap(), reason_in_words("discarded.not_there"));
    assert!(device.record(good).receipt.is_some());
    // Once told, it is not told again: the next exchange of a phone that is up to date asks for nothing.
    let told = server.app().db.read(|tx: &Tx<'_>| {
        tx.query_one("SELECT count(*) FROM quarantine WHERE tell_since IS NOT NULL", &[], |row| row.get::<i64>(0))
    });
    assert_eq!(told.await.map_err(|error: DbError| error).unwrap(), Some(0));
}

/// What a network does that spoils the evidence of one change.
fn spoiled(bytes: &[u8], spoil: ChangeHash) -> Vec<u8> {
    let mut request = message::Request::decode(bytes).unwrap();
    for push in &mut request.pushes {
        if change::inspect(push.change).unwrap().hash == spoil {
            push.manifest = Some(&[0xa0]);
        }
    }
    minicbor::to_vec(&request).unwrap()
}

#[tokio::test]
async fn one_refused_change_of_a_hundred_spoils_no_other_and_everyone_agrees() {
    let lecture = Lecture::begin().await;
    let server = &lecture.server;
    let student = server.client("student").await;
    let path = format!("/api/v1/courses/{}/students", lecture.course);
    lecture.lecturer.post(&path, &json!({"user_ids": [student.user_id()]})).await.expect(200);
    let dir = tempfile::tempdir().unwrap();
    let mut device = Device::new(server, student.clone(), 1, dir.path()).await;
    device.bind(server).await;
    device.sync(server).await;
    // Ten sessions with a chain of ten each; the change at position 50 is in the middle of one of them.
    let of = |index: u8| if index.is_multiple_of(10) { lecture.locator() } else { session(index % 10) };
    let records: Vec<_> = (0..100).map(|index| device.capture(server, of(index), "123456")).collect();
    let spoil = device.record(records[50]).change;
    device.sync_through(server, |bytes| spoiled(&bytes, spoil)).await;

    for (index, record) in records.iter().enumerate() {
        let view = device.record(*record);
        if index == 50 {
            assert_eq!((view.status, view.reason.as_deref()), (RecordStatus::Refused, Some("manifest_invalid")));
            assert_eq!(view.reason_in_words.unwrap(), reason_in_words("manifest_invalid"));
        } else {
            assert!(view.receipt.is_some(), "{index}: {view:?}");
        }
    }
    // Another phone of the student, the lecturer and the phone itself have the same changes.
    let own: BTreeSet<_> =
        records.iter().filter(|record| **record != records[50]).map(|r| device.record(*r).change).collect();
    let hashes = |changes: Vec<(muster_sync_core::DocumentName, Vec<u8>, u64)>| -> BTreeSet<ChangeHash> {
        let inspected = changes.iter().map(|(_, bytes, _)| change::inspect(bytes).unwrap());
        inspected.filter(|header| header.writer == device.public_key()).map(|header| header.hash).collect()
    };
    let pulled = hashes(Phone::new(student, 2).pull(&HashMap::new()).await.changes);
    assert!(own.is_subset(&pulled));
    assert_eq!(pulled.len(), 99 + 1, "and the request to be bound");
    let of_lecturer = hashes(Phone::new(lecture.lecturer.clone(), 3).pull(&HashMap::new()).await.changes);
    assert_eq!(of_lecturer.len(), 9);
    assert!(of_lecturer.is_subset(&own));
    // Signing anew is no fork.
    let admin = server.client("admin").await;
    assert_eq!(admin.get("/api/v1/admin/forks").await.expect(200)["items"], json!([]));
}
