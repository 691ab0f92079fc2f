//! Chains that the server does not continue: restored backups and refused changes. Later captures flow all the same.

use crate::{
    peer::Peer,
    phone::{Phone, input},
};
use muster_sync_core::{signing::SigningKey, store::*};

#[test]
fn what_was_written_after_a_refused_change_is_signed_anew_without_it() {
    let mut peer = Peer::new();
    let mut phone = Phone::new(&peer);
    let ids: Vec<_> = (0..4).map(|salt| capture(&mut phone, salt)).collect();
    let twin = capture(&mut phone, 0);
    let later = phone.record(ids[2]).change;
    peer.refused.insert(phone.record(ids[0]).change, "manifest_invalid");
    phone.sync(&mut peer);
    let states: Vec<_> = ids.iter().map(|id| phone.status(*id)).collect();
    let received = RecordStatus::Received;
    assert_eq!(states, [RecordStatus::Refused, received, received, received]);
    assert_eq!(phone.status(twin), received, "the same claim in another place is another change");
    assert_ne!(phone.record(ids[2]).change, later);
    let next = phone.capture(1);
    phone.sync(&mut peer);
    assert_eq!(phone.status(next), RecordStatus::Received);
    assert_eq!(peer.log.len(), 5);
}

#[test]
fn the_same_claim_in_the_same_place_as_a_refused_one_is_refused_like_it() {
    let mut peer = Peer::new();
    let mut phone = Phone::new(&peer);
    let ids: Vec<_> = [0, 0, 1].map(|salt| capture(&mut phone, salt)).into();
    peer.refused.insert(phone.record(ids[0]).change, "manifest_invalid");
    phone.sync(&mut peer);
    assert_eq!(phone.record(ids[1]).reason.as_deref(), Some("manifest_invalid"));
    assert_eq!(phone.status(ids[2]), RecordStatus::Received);
}

fn capture(phone: &mut Phone, salt: u8) -> RecordId {
    let mut input = input(1);
    input.salt = [salt; 32];
    phone.store.capture(&phone.key, &input).unwrap()
}

#[test]
fn a_restored_backup_pulls_its_own_chain_and_continues_it() {
    let mut peer = Peer::new();
    let mut phone = Phone::new(&peer);
    phone.capture(1);
    phone.sync(&mut peer);
    let backup = phone.dir.path().join("backup.db");
    rusqlite::Connection::open(phone.path()).unwrap().execute("VACUUM INTO ?1", [backup.to_str().unwrap()]).unwrap();
    phone.capture(1);
    phone.sync(&mut peer);

    let mut restored = Phone::new(&peer);
    restored.store = DeviceStore::open(&backup).unwrap();
    let mut other = input(1);
    other.salt = [99; 32];
    let id = restored.store.capture(&restored.key, &other).unwrap();
    let forked = restored.record(id).change;
    let after = restored.capture(1);
    restored.sync(&mut peer);
    assert_eq!(restored.status(id), RecordStatus::Received);
    assert_eq!(restored.status(after), RecordStatus::Received);
    assert_ne!(restored.record(id).change, forked);
    assert_eq!(peer.log.len(), 4);
}

#[test]
fn a_server_that_never_takes_the_chain_gets_four_tries() {
    let mut peer = Peer::new();
    let mut phone = Phone::new(&peer);
    let id = phone.capture(1);
    let other = phone.capture(2);
    peer.refused.insert(phone.record(id).change, "chain_broken");
    phone.sync(&mut peer);
    let record = phone.record(id);
    assert_eq!((record.status, record.reason.as_deref()), (RecordStatus::Refused, Some("chain_broken")));
    assert_eq!(phone.status(other), RecordStatus::Received);
    assert_eq!(peer.pushed.iter().filter(|hash| **hash == record.change).count(), 4);
}

#[test]
fn what_a_lost_key_wrote_is_pushed_but_not_signed_anew() {
    let mut peer = Peer::new();
    let mut phone = Phone::new(&peer);
    let ids: Vec<_> = (0..2).map(|_| phone.capture(1)).collect();
    peer.refused.insert(phone.record(ids[0]).change, "manifest_invalid");
    phone.key = muster_sync_core::signing::SoftwareKey::from_seed(&[2; 32].into());
    let id = phone.capture(2);
    phone.sync(&mut peer);
    assert_eq!(phone.record(ids[1]).reason.as_deref(), Some("key_replaced"));
    assert_eq!(phone.status(ids[1]), RecordStatus::Refused);
    assert_eq!(phone.status(id), RecordStatus::Received);
    assert_ne!(phone.key.public_key(), peer.key.public_key());
}
