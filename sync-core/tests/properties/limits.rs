//! Each limit of what is read, on both sides: the most is read as it was written, one more is refused and named.

use crate::fixtures::*;
use muster_sync_core::evidence::{
    Check, CheckOutcome, Checks, DeviceFacts, ImagePurpose, ImageRef, ImageType, MANIFEST_VERSION, Manifest,
};
use muster_sync_core::limits::*;
use muster_sync_core::sync::message::*;
use muster_sync_core::time::CaptureClocks;
use muster_sync_core::{ChangeHash, DocumentName};

fn request(cursors: usize, pushes: usize) -> Vec<u8> {
    let name = attendance();
    let push = Push {
        name: WireName::new(&name),
        change: &[],
        signature: [0; 64],
        manifest: None,
        code_key: None,
        sealed_manifest: None,
        receipt: None,
    };
    let request = Request {
        version: PROTOCOL_VERSION,
        device: None,
        nonce: None,
        cursors: vec![Cursor { channel: "c", number: 0 }; cursors],
        pushes: vec![push; pushes],
        pull: false,
        log: None,
    };
    minicbor::to_vec(&request).unwrap()
}

#[test]
fn a_request_has_so_many_cursors_pushes_and_bytes() {
    for (cursors, pushes, is_read) in [
        (CURSORS_MAX, PUSHES_PER_REQUEST_MAX, true),
        (CURSORS_MAX + 1, 0, false),
        (0, PUSHES_PER_REQUEST_MAX + 1, false),
    ] {
        let bytes = request(cursors, pushes);
        assert_eq!(Request::decode(&bytes).is_ok(), is_read, "{cursors} {pushes}");
    }
    // A reader skips what it does not know, and counts it.
    let sized = |size: usize| {
        let mut bytes = vec![0xa5, 0x00, 0x01, 0x03, 0x80, 0x04, 0x80, 0x05, 0xf4, 0x18, 0x63, 0x5a];
        let filler = size - bytes.len() - 4;
        bytes.extend((filler as u32).to_be_bytes());
        bytes.resize(size, 0);
        bytes
    };
    assert!(Request::decode(&sized(SYNC_REQUEST_BYTES_MAX)).is_ok());
    assert!(Request::decode(&sized(SYNC_REQUEST_BYTES_MAX + 1)).is_err());
}

/// A response with so many fates, changes, cursors, wanted images and changes to ask again about.
fn response(lists: [usize; 5]) -> Vec<u8> {
    let [fates, changes, cursors, wanted, again] = lists;
    let name = attendance();
    let change =
        Pulled { name: WireName::new(&name), change: &[], signature: [0; 64], log_index: 1, received_at_ms: 1 };
    let response = Response {
        version: PROTOCOL_VERSION,
        fates: vec![Fate { kind: FateKind::Retry, reason: None, receipt: None }; fates],
        changes: vec![change; changes],
        cursors: vec![Cursor { channel: "c", number: 0 }; cursors],
        more: false,
        anchor: None,
        wanted: vec![ChangeHash([0; 32]); wanted],
        ask_again: Some(vec![ChangeHash([0; 32]); again]),
        log: None,
    };
    minicbor::to_vec(&response).unwrap()
}

#[test]
fn a_response_has_so_many_of_everything_and_so_many_bytes() {
    let most =
        [PUSHES_PER_REQUEST_MAX, CHANGES_PER_PAGE_MAX, CURSORS_MAX, HASHES_PER_RESPONSE_MAX, HASHES_PER_RESPONSE_MAX];
    assert!(Response::decode(&response(most)).is_ok());
    for index in 0..most.len() {
        let mut lists = [0; 5];
        lists[index] = most[index] + 1;
        assert!(Response::decode(&response(lists)).is_err(), "{index}");
    }
    // The last key of the map is one that nobody knows, filled up.
    let sized = |size: usize| {
        let mut bytes = response([0; 5]);
        bytes[0] += 1;
        bytes.extend([0x18, 0x63, 0x5a]);
        let filler = size - bytes.len() - 4;
        bytes.extend((filler as u32).to_be_bytes());
        bytes.resize(size, 0);
        bytes
    };
    assert!(Response::decode(&sized(SYNC_RESPONSE_BYTES_MAX)).is_ok());
    assert!(Response::decode(&sized(SYNC_RESPONSE_BYTES_MAX + 1)).is_err());
}

fn manifest(images: usize, image_bytes: u64, model: usize) -> Vec<u8> {
    let image = ImageRef {
        purpose: ImagePurpose::Selfie,
        sha256: [1; 32],
        size_bytes: image_bytes,
        image_type: ImageType::Jpeg,
    };
    Manifest {
        version: MANIFEST_VERSION,
        salt: [9; 32],
        images: vec![image; images],
        position: None,
        clocks: CaptureClocks { wall_ms: 1, monotonic_ms: 1, boot_id: [1; 16], anchor: None },
        device: DeviceFacts { model: "m".repeat(model), ..DeviceFacts::default() },
    }
    .to_bytes()
}

#[test]
fn a_manifest_names_so_many_images_of_such_a_size_and_has_so_many_bytes() {
    let reads = |bytes: &[u8]| Manifest::from_bytes(bytes).is_ok();
    assert!(reads(&manifest(MANIFEST_IMAGES_MAX, IMAGE_SIZE_BYTES_MAX, 0)));
    assert!(!reads(&manifest(MANIFEST_IMAGES_MAX + 1, 1, 0)));
    assert!(!reads(&manifest(1, IMAGE_SIZE_BYTES_MAX + 1, 0)));
    let overhead = manifest(0, 0, 1_000).len() - 1_000;
    let (fits, long) = (manifest(0, 0, MANIFEST_SIZE_BYTES_MAX - overhead), manifest(0, 0, MANIFEST_SIZE_BYTES_MAX));
    assert_eq!(fits.len(), MANIFEST_SIZE_BYTES_MAX);
    assert!(reads(&fits) && !reads(&long));
    assert!(!reads(&manifest(0, 0, MANIFEST_SIZE_BYTES_MAX - overhead + 1)));
}

#[test]
fn a_verdict_has_so_many_checks() {
    let check = Check { name: "c".to_owned(), outcome: CheckOutcome::Pass, score: None, threshold: None, reason: None };
    let checks = |n: usize| Checks(vec![check.clone(); n]).to_bytes();
    assert!(Checks::from_bytes(&checks(CHECKS_MAX)).is_some());
    assert!(Checks::from_bytes(&checks(CHECKS_MAX + 1)).is_none());
}

#[test]
fn an_id_has_so_many_bytes() {
    let name = |n: usize| DocumentName::from_parts(3, [&"u".repeat(n), ""]);
    assert!(name(ID_SIZE_BYTES_MAX).is_ok());
    assert!(name(ID_SIZE_BYTES_MAX + 1).is_err());
    assert!(name(0).is_err());
}
