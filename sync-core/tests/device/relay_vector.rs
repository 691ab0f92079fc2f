//! The golden vector of a meeting: every message between two phones, from fixed seeds.

use crate::{
    peer::Peer,
    phone::STUDENT,
    relay::{capture, lecturer, student},
};
use muster_sync_core::{signing::SigningKey, sync::relay::*};
use serde_json::{Value, json};
use std::path::PathBuf;

fn hex(bytes: impl AsRef<[u8]>) -> String {
    data_encoding::HEXLOWER.encode(bytes.as_ref())
}

/// A student (device seed 1, fresh key from 0x11 bytes) hands one record to a lecturer (seed 3, 0x33 bytes), and at a
/// second meeting, after the lecturer pushed it to the server (seed 200), gets its receipt.
fn meetings() -> Value {
    let mut peer = Peer::new();
    let (mut lecturer, locator) = lecturer(&mut peer, true);
    let mut phone = student(&peer, 1, STUDENT);
    capture(&mut phone, locator, 1);
    let mut messages = Vec::new();
    for (meeting, random) in [(1, 0x11), (2, 0x22)] {
        let (mut giver, mut carrier) = (Giver::new([random; 32]), Carrier::new([random + 0x22; 32]));
        let hello = giver.hello();
        let offer = carrier.offer(&lecturer.store, &lecturer.key, &[locator], &hello).unwrap();
        giver.read_offer(&phone.store, &offer).unwrap();
        let page = giver.next_page(&phone.store, &phone.key, [random + 1; 32]).unwrap().unwrap();
        let collected = carrier.collect(&mut lecturer.store, &page, [random + 2; 32]).unwrap();
        let handed = giver.read_state(&mut phone.store, &phone.key, &collected.reply).unwrap();
        assert_eq!((handed.carried, handed.receipts), if meeting == 1 { (1, 0) } else { (1, 1) });
        messages.push(json!({
            "hello": hex(hello), "offer": hex(offer), "page": hex(page), "state": hex(collected.reply),
            "giver_ikm": hex([random; 32]), "relay_ikm": hex([random + 0x22; 32]),
        }));
        lecturer.sync(&mut peer);
    }
    json!({
        "locator": locator.as_str(),
        "relay_device": lecturer.key.public_key().to_string(),
        "relay_fingerprint": fingerprint(&lecturer.key.public_key()),
        "giver_device": phone.key.public_key().to_string(),
        "server_key": peer.key.public_key().to_string(),
        "meetings": messages,
    })
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/wire/relay-v1").join(name)
}

#[test]
fn a_meeting_is_byte_for_byte_what_it_was() {
    let path = fixture("meeting.json");
    let made = serde_json::to_string_pretty(&meetings()).unwrap() + "\n";
    if std::env::var_os("MUSTER_WRITE_FIXTURES").is_some() {
        assert!(std::env::var_os("CI").is_none(), "it would accept any wire format");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &made).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert_eq!(golden, made, "THE WIRE FORMAT BETWEEN PHONES CHANGED: keep its bytes, or make a version 2 beside it");
}

/// Phones wrote no `by` into a plan before a session could be contested. Their offers are still offers.
#[test]
fn an_offer_whose_plan_names_nobody_is_still_taken() {
    let older: Value =
        serde_json::from_str(&std::fs::read_to_string(fixture("meeting-unnamed.json")).unwrap()).unwrap();
    let bytes = |name: &str| data_encoding::HEXLOWER.decode(older[name].as_str().unwrap().as_bytes()).unwrap();
    let mut peer = Peer::new();
    let (_, locator) = lecturer(&mut peer, true);
    let mut phone = student(&peer, 1, STUDENT);
    capture(&mut phone, locator, 1);

    let mut giver = Giver::new(bytes("giver_ikm").try_into().unwrap());
    assert_eq!(giver.hello(), bytes("hello"));
    giver.read_offer(&phone.store, &bytes("offer")).unwrap();
    let page = giver.next_page(&phone.store, &phone.key, [0x12; 32]).unwrap();

    assert!(page.is_some(), "the relay of the older phone is handed the record");
}
