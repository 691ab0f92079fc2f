//! Capturing needs nothing but the phone, and is all or nothing.

use crate::{
    peer::Peer,
    phone::{Phone, input, jpeg},
};
use muster_sync_core::{
    signing::{SignError, SigningKey, SoftwareKey},
    store::*,
};

#[test]
fn a_capture_is_kept_before_anything_else_and_survives_a_restart() {
    let mut phone = Phone::new(&Peer::new());
    let id = phone.capture(1);
    phone.restart();
    let record = phone.record(id);
    assert_eq!(record.status, RecordStatus::OnThisPhone);
    assert_eq!((record.images_waiting, record.receipt, record.judgement), (1, None, None));
    assert!(record.reason_in_words.unwrap().contains("Only this phone has it"));
}

#[test]
fn no_clock_is_too_wrong_for_a_capture() {
    let mut phone = Phone::new(&Peer::new());
    for wall_ms in [i64::MIN, -1, 0, i64::MAX] {
        let mut wrong = input(1);
        wrong.clocks.wall_ms = wall_ms;
        wrong.clocks.monotonic_ms = u64::MAX / 2;
        phone.store.capture(&phone.key, &wrong).unwrap();
    }
    assert_eq!(phone.store.pending().unwrap().changes, 4);
    let mut peer = Peer::new();
    assert_eq!(phone.sync(&mut peer).accepted, 4);
}

#[test]
fn without_an_account_nobody_can_capture_and_the_tenant_stays() {
    let key = SoftwareKey::from_seed(&[1; 32].into());
    let mut store = DeviceStore::open_in_memory().unwrap();
    assert_eq!(store.capture(&key, &input(1)), Err(StoreError::NoAccount));
    store.set_account(&Account { tenant: "one".into(), user: "a".into() }).unwrap();
    let other = Account { tenant: "two".into(), user: "a".into() };
    assert_eq!(store.set_account(&other), Err(StoreError::OtherTenant("one".into())));
    store.pin_server_key(key.public_key()).unwrap();
    let other = SoftwareKey::from_seed(&[2; 32].into()).public_key();
    assert_eq!(store.pin_server_key(other), Err(StoreError::OtherServerKey));
}

#[test]
fn input_that_no_server_takes_is_an_error_before_anything_is_written() {
    let mut phone = Phone::new(&Peer::new());
    let mut text = input(1);
    text.images[0].bytes = b"plain text".to_vec();
    let mut large = input(1);
    large.images[0].bytes = [jpeg(1), vec![0; 5 * 1024 * 1024]].concat();
    let mut many = input(1);
    many.images = vec![many.images[0].clone(); 5];
    let mut nowhere = input(1);
    nowhere.position.as_mut().unwrap().latitude_e7 = 910_000_000;
    for wrong in [text, large, many] {
        let error = phone.store.capture(&phone.key, &wrong).unwrap_err();
        assert!(matches!(error, StoreError::Image { .. }), "{error}");
    }
    assert!(matches!(phone.store.capture(&phone.key, &nowhere), Err(StoreError::Input(_))));
    assert_eq!(phone.store.pending().unwrap(), PendingCounts::default());
    assert_eq!(phone.store.records().unwrap(), []);
}

#[test]
fn a_phone_takes_images_as_large_as_its_server_does() {
    let mut phone = Phone::new(&Peer::new());
    let sized = |bytes: usize| {
        let mut sized = input(1);
        sized.images[0].bytes = [jpeg(1), vec![0; bytes - jpeg(1).len()]].concat();
        sized
    };
    let megabyte = 1024 * 1024;
    phone.store.capture(&phone.key, &sized(5 * megabyte)).unwrap();
    phone.store.set_image_size_bytes_max(7 * megabyte as u64).unwrap();
    phone.store.capture(&phone.key, &sized(7 * megabyte)).unwrap();
    let error = phone.store.capture(&phone.key, &sized(7 * megabyte + 1)).unwrap_err();
    assert!(matches!(error, StoreError::Image { index: 0, .. }), "{error}");
    phone.store.set_image_size_bytes_max(megabyte as u64).unwrap();
    assert!(phone.store.capture(&phone.key, &sized(megabyte + 1)).is_err());
    phone.store.set_image_size_bytes_max(u64::MAX).unwrap();
    assert!(phone.store.capture(&phone.key, &sized(20 * megabyte + 1)).is_err(), "no manifest names more");
}

struct Locked(SoftwareKey);

impl SigningKey for Locked {
    fn public_key(&self) -> muster_sync_core::DeviceKey {
        self.0.public_key()
    }

    fn sign(&self, _: &[u8]) -> Result<[u8; 64], SignError> {
        Err(SignError("the keystore is locked".into()))
    }
}

#[test]
fn a_keystore_that_does_not_sign_leaves_nothing_behind() {
    let mut phone = Phone::new(&Peer::new());
    let locked = Locked(SoftwareKey::from_seed(&[1; 32].into()));
    assert!(matches!(phone.store.capture(&locked, &input(1)), Err(StoreError::Sign(_))));
    assert_eq!(phone.store.pending().unwrap(), PendingCounts::default());
    phone.capture(1);
}

#[test]
fn a_full_disk_is_told_and_leaves_whole_records_only() {
    let mut phone = Phone::new(&Peer::new());
    phone.capture(1);
    // The store's own cap stands for the disk's: SQLite reports both alike.
    let other = rusqlite::Connection::open(phone.path()).unwrap();
    let pages: u64 = other.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    drop(other);
    phone.store.limit_size((pages + 8) * 4096).unwrap();
    let mut big = input(2);
    big.images[0].bytes = [jpeg(2), vec![7; 200_000]].concat();
    assert_eq!(phone.store.capture(&phone.key, &big), Err(StoreError::Full));
    assert_eq!(phone.store.records().unwrap().len(), 1);
    assert_eq!(phone.store.pending().unwrap().images, 1);
    phone.store.limit_size(1 << 32).unwrap();
    phone.store.capture(&phone.key, &big).unwrap();
    let mut peer = Peer::new();
    assert_eq!(phone.sync(&mut peer).accepted, 2);
}

#[test]
fn a_file_that_is_no_store_is_told_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("photo.jpg");
    let bytes = jpeg(1).repeat(20);
    std::fs::write(&path, &bytes).unwrap();
    assert!(matches!(DeviceStore::open(&path), Err(StoreError::Corrupt(_))));
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_store_of_a_newer_app_is_not_touched() {
    let mut phone = Phone::new(&Peer::new());
    phone.capture(1);
    let other = rusqlite::Connection::open(phone.path()).unwrap();
    other.execute_batch("PRAGMA user_version = 99").unwrap();
    assert_eq!(DeviceStore::open(phone.path()).unwrap_err(), StoreError::Newer(99));
}

#[test]
fn a_store_opens_while_another_process_writes_or_the_phone_is_full() {
    let mut phone = Phone::new(&Peer::new());
    let id = phone.capture(1);
    let other = rusqlite::Connection::open(phone.path()).unwrap();
    // Nobody else gets to write a byte now, as on a full disk.
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    phone.restart();
    assert_eq!(phone.record(id).status, RecordStatus::OnThisPhone);
}
