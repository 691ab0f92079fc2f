//! Bytes on the wire: round trips, limits on both sides, and tolerance for newer peers.

use crate::fixtures::*;
use muster_sync_core::{
    Refusal,
    evidence::*,
    limits,
    signing::SigningKey,
    sync::message::*,
    time::{Anchor, AnchorReading, CaptureClocks, Receipt},
};
use proptest::prelude::*;

pub fn manifest() -> Manifest {
    let anchor = Anchor::sign(&key(3), 1_763_600_000_000, key(1).public_key(), [7; 16]).unwrap();
    Manifest {
        version: MANIFEST_VERSION,
        salt: [6; 32],
        images: vec![ImageRef {
            purpose: ImagePurpose::Selfie,
            sha256: [8; 32],
            size_bytes: 120_000,
            image_type: ImageType::Jpeg,
        }],
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
            anchor: Some(AnchorReading { anchor, monotonic_ms: 1_000, boot_id: [1; 16] }),
        },
        device: DeviceFacts { platform: "android 16".into(), model: "Pixel 11".into(), ..DeviceFacts::default() },
    }
}

#[test]
fn a_manifest_is_bound_by_its_commitment() {
    let bytes = manifest().to_bytes();
    assert_eq!(Manifest::from_bytes(&bytes), Ok(manifest()));
    let other = Manifest { salt: [5; 32], ..manifest() }.to_bytes();
    assert_ne!(commitment(&bytes), commitment(&other));
}

#[test]
fn a_manifest_keeps_its_limits() {
    let image = manifest().images.remove(0);
    let with = |count| Manifest { images: vec![image.clone(); count], ..manifest() }.to_bytes();
    assert!(Manifest::from_bytes(&with(4)).is_ok());
    assert_eq!(Manifest::from_bytes(&with(5)), Err(Refusal::Manifest { what: "more than 4 images" }));
    let sized = |size_bytes| {
        let image = ImageRef { size_bytes, ..image.clone() };
        Manifest::from_bytes(&Manifest { images: vec![image], ..manifest() }.to_bytes())
    };
    assert!(sized(20 * 1024 * 1024).is_ok());
    assert!(sized(20 * 1024 * 1024 + 1).is_err());
    let at = |latitude_e7| {
        let position = Position { latitude_e7, longitude_e7: 0, accuracy_m: 1, mocked: false };
        Manifest::from_bytes(&Manifest { position: Some(position), ..manifest() }.to_bytes())
    };
    assert!(at(900_000_000).is_ok());
    assert!(at(900_000_001).is_err());
    assert!(at(i64::MIN).is_err());
}

#[test]
fn receipts_and_anchors_verify_under_the_server_s_key_only() {
    let (server, other) = (key(3), key(4).public_key());
    let document = attendance().id(TENANT);
    let receipt = Receipt::sign(&server, document, hash(1), 7, 1_000).unwrap();
    assert_eq!(receipt, Receipt::sign(&server, document, hash(1), 7, 1_000).unwrap());
    assert_eq!(receipt.verify(&server.public_key(), document, hash(1)), Ok(()));
    assert!(receipt.verify(&other, document, hash(1)).is_err());
    assert!(receipt.verify(&server.public_key(), document, hash(2)).is_err());
    let later = Receipt { received_at_ms: 1_001, ..receipt };
    assert!(later.verify(&server.public_key(), document, hash(1)).is_err());
    let anchor = Anchor::sign(&server, 5, key(1).public_key(), [2; 16]).unwrap();
    assert_eq!(anchor.verify(&server.public_key()), Ok(()));
    assert!(Anchor { time_ms: 6, ..anchor }.verify(&server.public_key()).is_err());
}

fn request(pushes: usize, cursors: usize) -> Vec<u8> {
    let name = attendance();
    let change = chain(&key(1), &name, &[submission().into()]).remove(0);
    let push = Push {
        name: WireName::new(&name),
        change: &change.bytes,
        signature: change.signature,
        manifest: Some(&[1, 2, 3]),
        code_key: None,
        sealed_manifest: None,
        receipt: None,
    };
    let cursor = Cursor { channel: "user:student-1", number: 7 };
    let request = Request {
        version: PROTOCOL_VERSION,
        device: Some(key(1).public_key()),
        nonce: Some([1; 16]),
        cursors: vec![cursor; cursors],
        pushes: vec![push; pushes],
        pull: true,
        log: None,
    };
    minicbor::to_vec(&request).unwrap()
}

#[test]
fn a_request_keeps_its_limits() {
    assert!(Request::decode(&request(100, limits::CURSORS_MAX)).is_ok());
    assert_eq!(Request::decode(&request(101, 0)), Err(RequestError::TooManyPushes(101)));
    let over = limits::CURSORS_MAX + 1;
    assert_eq!(Request::decode(&request(0, over)), Err(RequestError::TooManyCursors(over)));
    assert_eq!(Request::decode(&vec![0; 1024 * 1024 + 1]), Err(RequestError::TooLarge));
    assert_eq!(Request::decode(b"not cbor"), Err(RequestError::NotCbor));
    assert_eq!(Request::decode(&[]), Err(RequestError::NotCbor));
    let bytes = request(1, 1);
    assert_eq!(Request::decode(&bytes[..bytes.len() - 1]), Err(RequestError::NotCbor));
}

#[test]
fn a_newer_peer_s_unknown_fields_are_skipped_and_its_version_is_named() {
    let mut bytes = request(1, 1);
    // The map header 0xa6 (6 fields) becomes 0xa7, and field 99 follows with a nested value.
    assert_eq!(bytes[0], 0xa6);
    bytes[0] = 0xa7;
    bytes.extend([0x18, 99, 0x82, 0xa1, 1, 2, 0x61, b'x']);
    assert_eq!(Request::decode(&bytes).unwrap().pushes.len(), 1);
    let newer =
        Request { version: 2, device: None, nonce: None, cursors: vec![], pushes: vec![], pull: true, log: None };
    assert_eq!(Request::decode(&minicbor::to_vec(&newer).unwrap()), Err(RequestError::Version(2)));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Request::decode(&bytes);
        let _ = Response::decode(&bytes);
        let _ = Manifest::from_bytes(&bytes);
        let _ = Checks::from_bytes(&bytes);
    }

    #[test]
    fn a_mutated_request_decodes_or_is_refused(at in 0usize..800, value in any::<u8>()) {
        let mut bytes = request(2, 2);
        let at = at % bytes.len();
        bytes[at] = value;
        let _ = Request::decode(&bytes);
    }
}
