//! What a phone keeps for a server that may lose it, and for how long.

use crate::{peer::Peer, phone::*};
use muster_sync_core::{limits, store::StoreError};
use rusqlite::Connection;

fn count(phone: &Phone, sql: &str) -> u64 {
    Connection::open(phone.path()).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
}

const IMAGES: &str = "SELECT count(*) FROM blob_bytes";
const MANIFESTS: &str = "SELECT count(*) FROM outbox WHERE manifest IS NOT NULL";

#[test]
fn manifests_and_images_are_kept_for_their_time_by_the_server_s_clock() {
    let mut peer = Peer::new();
    let mut phone = Phone::new(&peer);
    phone.sync(&mut peer);
    phone.capture(1);
    phone.sync(&mut peer);
    assert_eq!((count(&phone, IMAGES), count(&phone, MANIFESTS)), (1, 1));
    let began_ms = peer.now_ms;
    for (after_ms, left) in [
        (limits::IMAGE_KEPT_MS, (1, 1)),
        (limits::IMAGE_KEPT_MS + 1, (0, 1)),
        (limits::MANIFEST_KEPT_MS, (0, 1)),
        (limits::MANIFEST_KEPT_MS + 1, (0, 0)),
    ] {
        peer.now_ms = began_ms + after_ms;
        phone.sync(&mut peer);
        assert_eq!((count(&phone, IMAGES), count(&phone, MANIFESTS)), left, "{after_ms}");
    }
}

#[test]
fn what_has_not_arrived_is_kept_for_ever() {
    let mut peer = Peer::new();
    let mut phone = Phone::new(&peer);
    peer.unbound.insert(muster_sync_core::signing::SigningKey::public_key(&phone.key));
    phone.capture(1);
    peer.now_ms += 10 * limits::MANIFEST_KEPT_MS;
    phone.sync(&mut peer);
    assert_eq!(count(&phone, MANIFESTS), 1);
}

#[test]
fn a_full_phone_lets_go_of_images_that_the_server_has_before_it_loses_a_capture() {
    let mut peer = Peer::new();
    let mut phone = Phone::new(&peer);
    let mut large = input(1);
    large.images[0].bytes = [jpeg(1), vec![7; 300_000]].concat();
    phone.store.capture(&phone.key, &large).unwrap();
    phone.sync(&mut peer);
    let size_bytes = count(&phone, "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size");
    phone.store.limit_size(size_bytes + 40_000).unwrap();

    let mut next = input(2);
    next.images[0].bytes = [jpeg(2), vec![8; 200_000]].concat();
    phone.store.capture(&phone.key, &next).unwrap();
    assert_eq!(count(&phone, IMAGES), 1);
    // What the server does not have is never let go of.
    let mut third = input(3);
    third.images[0].bytes = [jpeg(3), vec![9; 300_000]].concat();
    assert_eq!(phone.store.capture(&phone.key, &third), Err(StoreError::Full));
    assert_eq!(count(&phone, IMAGES), 1);
}
