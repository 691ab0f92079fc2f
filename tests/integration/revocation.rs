//! What becomes of changes around a revocation, as one table. ADR 5 says why.

use std::collections::HashMap;
use std::time::Duration;

use muster_sync_core::sync::message::{Fate, FateKind};
use muster_sync_core::time::{Anchor, AnchorReading};
use muster_sync_core::{ChangeHash, Locator};
use muster_tests::phone::{Item, Phone, TENANT, manifest};
use muster_tests::{Client, TestServer};
use serde_json::{Value, json};

const NOON_MS: i64 = 1_763_640_000_000;
const DAY_MS: i64 = 24 * 3_600_000;
const A_WHILE: Duration = Duration::from_secs(60);

/// When the change was signed, by the order of events and not by any clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signed {
    /// A while before the revocation.
    Before,
    /// In the moment of the revocation: nobody's clock moves in between.
    Concurrent,
    /// A while after it.
    After,
}

/// What speaks for its existence before the revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Anchored {
    /// The server had the change that follows it, which names it by hash, when it revoked the key.
    Yes,
    /// It carries the server's signed time of before the revocation, which only says that it is not older than that.
    Stale,
    /// Nothing.
    No,
}

/// What its phone's clock says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clock {
    /// The truth.
    Honest,
    /// A day earlier: before the revocation, whenever it was.
    Backdated,
}

const ACCEPTED: &str = "accepted";
const WAITS: &str = "device_revoked";

/// Nothing anchored before the revocation is lost; nothing unanchored after it is accepted by itself.
const TABLE: &[(Signed, Anchored, Clock, &str)] = &[
    // The server knows that it existed, whatever its clock says.
    (Signed::Before, Anchored::Yes, Clock::Honest, ACCEPTED),
    (Signed::Before, Anchored::Yes, Clock::Backdated, ACCEPTED),
    (Signed::Concurrent, Anchored::Yes, Clock::Honest, ACCEPTED),
    (Signed::Concurrent, Anchored::Yes, Clock::Backdated, ACCEPTED),
    // True, and nobody can know: it waits for a person, who may vouch for it. It is not lost.
    (Signed::Before, Anchored::Stale, Clock::Honest, WAITS),
    (Signed::Before, Anchored::Stale, Clock::Backdated, WAITS),
    (Signed::Before, Anchored::No, Clock::Honest, WAITS),
    (Signed::Before, Anchored::No, Clock::Backdated, WAITS),
    (Signed::Concurrent, Anchored::Stale, Clock::Honest, WAITS),
    (Signed::Concurrent, Anchored::Stale, Clock::Backdated, WAITS),
    (Signed::Concurrent, Anchored::No, Clock::Honest, WAITS),
    (Signed::Concurrent, Anchored::No, Clock::Backdated, WAITS),
    // A thief has the key, and every anchor that the phone ever got: neither an anchor nor a clock helps.
    (Signed::After, Anchored::Stale, Clock::Honest, WAITS),
    (Signed::After, Anchored::Stale, Clock::Backdated, WAITS),
    (Signed::After, Anchored::No, Clock::Honest, WAITS),
    (Signed::After, Anchored::No, Clock::Backdated, WAITS),
    // After and anchored by the server is no row: the server cannot have had what did not exist.
];

fn code(fate: &Fate) -> &str {
    fate.reason.as_deref().unwrap_or(fate.kind.as_str())
}

async fn revoke(server: &TestServer, phone: &Phone) -> Client {
    let admin = server.client("admin").await;
    let path = format!("/api/v1/admin/devices/{}/revoke", phone.public_key());
    admin.post(&path, &json!({"reason": "lost"})).await.expect(200);
    admin
}

/// Two submissions of one chain, signed now.
fn two(server: &TestServer, phone: &mut Phone, locator: Locator, clock: Clock, anchor: Option<&Anchor>) -> [Item; 2] {
    let back_ms = if clock == Clock::Backdated { DAY_MS } else { 0 };
    let claimed_ms = server.clock_ms() - back_ms;
    let mut seen = manifest(claimed_ms);
    seen.clocks.anchor = anchor.map(|anchor| {
        let (monotonic_ms, boot_id) = (500, seen.clocks.boot_id);
        AnchorReading { anchor: anchor.clone(), monotonic_ms, boot_id }
    });
    let first = phone.submission_with(locator, "123456", claimed_ms, &seen);
    seen.salt = [10; 32];
    let second = phone.submission_with(locator, "123456", claimed_ms, &seen);
    [first, second]
}

fn hash_of(item: &Item) -> ChangeHash {
    muster_sync_core::change::inspect(&item.signed.bytes).unwrap().hash
}

async fn settle(admin: &Client, item: &Item, verb: &str, body: Value) -> Value {
    admin.post(&format!("/api/v1/admin/quarantine/{}/{verb}", hash_of(item)), &body).await.expect(200)
}

#[tokio::test]
async fn what_is_anchored_before_a_revocation_is_taken_and_all_else_waits_for_a_person() {
    let server = TestServer::builder().manual_clock(NOON_MS).start().await;
    for (index, row @ (signed, anchored, clock, want)) in TABLE.iter().enumerate() {
        let locator = Locator::from_random([0, 0, index as u8, 0]);
        let mut phone = Phone::new(server.client("student").await, index as u8 + 1);
        phone.bind(&server).await;
        let anchor = phone.pull(&HashMap::new()).await.anchor.unwrap();
        let stale = (*anchored == Anchored::Stale).then_some(&anchor);
        server.clock().advance(A_WHILE);

        let mut items = None;
        if *signed != Signed::After {
            let signed_now = two(&server, &mut phone, locator, *clock, stale);
            if *anchored == Anchored::Yes {
                let fates = phone.push(&signed_now[1..]).await;
                assert_eq!(code(&fates[0]), "chain_gap", "{row:?}");
            }
            items = Some(signed_now);
        }
        if *signed == Signed::Before {
            server.clock().advance(A_WHILE);
        }
        let admin = revoke(&server, &phone).await;
        if *signed == Signed::After {
            server.clock().advance(A_WHILE);
        }
        let items = items.unwrap_or_else(|| two(&server, &mut phone, locator, *clock, stale));
        if *signed != Signed::Concurrent {
            server.clock().advance(A_WHILE);
        }

        let fates = phone.push(&items).await;
        assert_eq!(code(&fates[0]), *want, "{row:?}");
        if *want == ACCEPTED {
            assert_eq!(code(&fates[1]), ACCEPTED, "{row:?}");
            continue;
        }
        // Judging again changes nothing; a person who vouches for it does.
        let again = settle(&admin, &items[0], "release", json!({})).await;
        assert_eq!((&again["fate"], &again["reason"]), (&json!("quarantined"), &json!(WAITS)), "{row:?}");
        let vouched = json!({"reason": "seen_in_class", "despite_revocation": true});
        let fate = settle(&admin, &items[0], "release", vouched).await;
        assert_eq!(fate["fate"], "accepted", "{row:?}");
        assert_eq!(code(&phone.push(&items[..1]).await[0]), ACCEPTED, "{row:?}");
        // That was one change: nobody vouched for the next one.
        assert_eq!(code(&phone.push(&items[1..]).await[0]), WAITS, "{row:?}");
    }
}

#[tokio::test]
async fn a_chain_that_the_server_knew_only_by_its_end_is_taken_whole() {
    let server = TestServer::builder().manual_clock(NOON_MS).start().await;
    let mut phone = Phone::new(server.client("student").await, 1);
    phone.bind(&server).await;
    let locator = Locator::parse("K7M2QX").unwrap();
    let items: Vec<_> = (0..6).map(|_| phone.submission(locator, "123456", NOON_MS)).collect();
    assert_eq!(code(&phone.push(&items[5..]).await[0]), "chain_gap");
    server.clock().advance(A_WHILE);
    revoke(&server, &phone).await;
    server.clock().advance(A_WHILE);

    // The first ones alone prove nothing. With the last missing link, all of them did exist.
    for item in &items[..4] {
        assert_eq!(code(&phone.push(std::slice::from_ref(item)).await[0]), WAITS);
    }
    phone.push(&items[4..5]).await;
    let fates = phone.push(&items).await;
    assert!(fates.iter().all(|fate| fate.kind == FateKind::Accepted), "{fates:?}");
    // What the key signs now continues the chain, and waits all the same.
    let later = phone.submission(locator, "123456", NOON_MS);
    assert_eq!(code(&phone.push(&[later]).await[0]), WAITS);
}

#[tokio::test]
async fn a_change_that_names_no_known_one_is_not_covered_by_its_place() {
    let server = TestServer::builder().manual_clock(NOON_MS).start().await;
    let mut phone = Phone::new(server.client("student").await, 1);
    phone.bind(&server).await;
    let locator = Locator::parse("K7M2QX").unwrap();
    let honest = [phone.submission(locator, "1", NOON_MS), phone.submission(locator, "2", NOON_MS)];
    phone.push(&honest[1..]).await;
    server.clock().advance(A_WHILE);
    revoke(&server, &phone).await;
    server.clock().advance(A_WHILE);

    // A thief signs another change for the place of the missing one.
    phone.tips.remove(&honest[0].name.id(TENANT));
    let forged = phone.submission(locator, "3", NOON_MS);
    assert_eq!(code(&phone.push(&[forged]).await[0]), WAITS);
    let fates = phone.push(&honest).await;
    assert!(fates.iter().all(|fate| fate.kind == FateKind::Accepted), "{fates:?}");
}

#[tokio::test]
async fn a_key_that_is_bound_again_has_what_waited_released() {
    let server = TestServer::builder().manual_clock(NOON_MS).start().await;
    let mut phone = Phone::new(server.client("student").await, 1);
    phone.bind(&server).await;
    revoke(&server, &phone).await;
    server.clock().advance(A_WHILE);
    let item = phone.submission(Locator::parse("K7M2QX").unwrap(), "123456", NOON_MS);
    assert_eq!(code(&phone.push(std::slice::from_ref(&item)).await[0]), WAITS);
    phone.bind(&server).await;
    assert_eq!(code(&phone.push(&[item]).await[0]), ACCEPTED);
}
