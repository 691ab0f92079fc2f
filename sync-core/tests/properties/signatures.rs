//! Public vectors through the one function that verifies every signature: RFC 8032, Wycheproof, speccheck, weak keys.
//!
//! The files in `tests/fixtures/signatures` name their sources; this file says what strict verification makes of them.

use crate::fixtures::*;
use ed25519_dalek::{Signature, Verifier, VerifyingKey};
use muster_sync_core::{
    DeviceKey, Refusal,
    document::{Binding, BindingAction, Container, Entry, KeyLevel, Request, RequestPurpose},
    signing::{SigningKey, SoftwareKey, is_strong, verify_strict},
};
use std::path::PathBuf;

/// The lines of a file of vectors, cut at spaces; comments are left out.
fn vectors(file: &str) -> Vec<Vec<String>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/signatures").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(' ').map(str::to_owned).collect()).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    if hex == "-" { Vec::new() } else { data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap() }
}

fn device_key(hex: &str) -> DeviceKey {
    DeviceKey::from_hex(hex).unwrap()
}

/// The verdict as the files name it. A signature of another length than 64 bytes is none: the type has no room for it.
fn strict(key: &DeviceKey, message: &[u8], signature: &[u8]) -> &'static str {
    let Ok(signature) = signature.try_into() else { return "not a signature" };
    verify_strict(key, message, signature).map_or_else(|refusal| refusal.code(), |()| "taken")
}

#[test]
fn the_vectors_of_rfc_8032_are_signed_and_verified() {
    let all = vectors("rfc8032.txt");
    assert_eq!(all.len(), 5);
    for vector in all {
        let [name, seed, key, message, signature] = &vector[..] else { panic!("{vector:?}") };
        let seed: [u8; 32] = bytes(seed).try_into().unwrap();
        let (own, message) = (SoftwareKey::from_seed(&seed.into()), bytes(message));
        assert_eq!(own.public_key(), device_key(key), "{name}");
        assert_eq!(own.sign(&message).unwrap().to_vec(), bytes(signature), "{name}");
        assert_eq!(strict(&device_key(key), &message, &bytes(signature)), "taken", "{name}");
        let longer = [&message[..], &[0]].concat();
        assert_eq!(strict(&device_key(key), &longer, &bytes(signature)), "signature_invalid", "{name}");
    }
}

#[test]
fn wycheproof_s_151_signatures_are_judged_as_they_should_be() {
    let (mut key, mut judged) = (DeviceKey([0; 32]), [0; 2]);
    for vector in vectors("wycheproof-ed25519.txt") {
        if vector[0] == "key" {
            key = device_key(&vector[1]);
            continue;
        }
        let [number, result, message, signature] = &vector[..] else { panic!("{vector:?}") };
        let taken = strict(&key, &bytes(message), &bytes(signature)) == "taken";
        assert_eq!(taken, result == "valid", "number {number}");
        judged[usize::from(taken)] += 1;
    }
    assert_eq!(judged, [63, 88], "refused and taken, as the source counts them");
}

#[test]
fn speccheck_s_twelve_cases_are_refused_but_for_the_one_that_is_a_signature() {
    let all = vectors("speccheck.txt");
    assert_eq!(all.len(), 12);
    for vector in all {
        let [number, verdict, lax_verdict, message, key, signature] = &vector[..] else { panic!("{vector:?}") };
        let (key, message, signature) = (device_key(key), bytes(message), bytes(signature));
        assert_eq!(strict(&key, &message, &signature), verdict, "case {number}");
        // What plain verification makes of them, so that the difference stays on record.
        let lax = VerifyingKey::from_bytes(&key.0).unwrap();
        let lax = lax.verify(&message, &Signature::from_slice(&signature).unwrap());
        assert_eq!(lax.map_or("signature_invalid", |()| "taken"), lax_verdict, "case {number}, lax");
    }
}

/// Every key that nobody may have: points of small order in all their encodings, and keys in a second encoding.
fn weak_keys() -> Vec<DeviceKey> {
    vectors("weak-keys.txt").iter().map(|vector| device_key(&vector[2])).collect()
}

#[test]
fn no_weak_key_is_bound_and_none_verifies_anything() {
    let all = weak_keys();
    assert_eq!(all.len(), 8 + 6 + 20);
    for key in all {
        assert!(!is_strong(&key), "{key}");
        let mut signature = [0; 64];
        for r in [key.0, [0; 32], [1; 32]] {
            signature[..32].copy_from_slice(&r);
            assert_eq!(verify_strict(&key, b"anything", &signature), Err(Refusal::KeyWeak), "{key}");
        }
        for entry in asking_for(key) {
            assert_eq!(read_again(&entry).map_err(|refusal| refusal.code()), Err("field_invalid"), "{key}");
        }
        // A key that should never have been bound can still be taken away.
        let revoke = Binding { action: BindingAction::Revoke, ..device_binding(key) };
        assert_eq!(read_again(&revoke.into()), Ok(()), "{key}");
    }
}

#[test]
fn an_honest_key_is_bound() {
    for seed in 1..=50 {
        let key = key(seed).public_key();
        assert!(is_strong(&key));
        asking_for(key).iter().for_each(|entry| assert_eq!(read_again(entry), Ok(())));
    }
}

/// What would bind `key`: the phone's request and the admin's answer.
fn asking_for(key: DeviceKey) -> [Entry; 2] {
    let request = Request {
        key,
        purpose: RequestPurpose::Bind,
        platform: code("android"),
        model: None,
        level: KeyLevel::Software,
        legacy_id_hash: None,
        code_key_hash: None,
    };
    [request.into(), device_binding(key).into()]
}

/// The entry as its reader finds it in a change.
fn read_again(entry: &Entry) -> Result<(), Refusal> {
    let container: Container = entry.container();
    Entry::read(container, &entry.fields()).map(|_| ())
}
