//! Golden vectors of what travels through a relay: a sealed manifest, and the push that carries it.

use crate::{fixtures::*, golden::diagnostic, wire::manifest};
use muster_sync_core::{
    document::Submission,
    evidence::commitment,
    sealing::{OpeningKey, SealingKey, open_manifest, seal_manifest},
    signing::SigningKey,
    sync::message::{CONTENT_TYPE, PROTOCOL_VERSION, Push, Request, WireName},
};
use serde_json::{Value, json};

fn hex(bytes: impl AsRef<[u8]>) -> String {
    data_encoding::HEXLOWER.encode(bytes.as_ref())
}

/// The ephemeral key of every vector: `ikmE` of RFC 9180.
const EPHEMERAL: [u8; 32] = [0x42; 32];

/// The server's key is that of seed 3, as in the other vectors.
pub(crate) fn sealed_manifest() -> Value {
    let (server, manifest, document) = (key(3), manifest().to_bytes(), attendance().id(TENANT));
    let sealed = seal_manifest(&server.public_key(), document, &manifest, &EPHEMERAL).unwrap();
    let opening = OpeningKey::of_signer(&server);
    assert_eq!(open_manifest(&opening, document, &commitment(&manifest), &sealed), Ok(manifest.clone()));
    json!({
        "server_seed": hex([3; 32]),
        "server_key": hex(server.public_key().0),
        "server_x25519": hex(SealingKey::of_signer(&server.public_key()).unwrap().0),
        "document": document.to_string(),
        "commitment": hex(commitment(&manifest)),
        "ephemeral_ikm": hex(EPHEMERAL),
        "manifest": hex(&manifest),
        "sealed": hex(&sealed),
    })
}

pub(crate) fn relayed_request() -> Value {
    let (name, manifest) = (attendance(), manifest().to_bytes());
    let claim = Submission { commitment: commitment(&manifest), ..submission() };
    let change = chain(&key(1), &name, &[claim.into()]).remove(0);
    let sealed = seal_manifest(&key(3).public_key(), name.id(TENANT), &manifest, &EPHEMERAL).unwrap();
    let message = Request {
        version: PROTOCOL_VERSION,
        device: None,
        nonce: None,
        cursors: vec![],
        pushes: vec![Push {
            name: WireName::new(&name),
            change: &change.bytes,
            signature: change.signature,
            manifest: None,
            code_key: None,
            sealed_manifest: Some(&sealed),
            receipt: None,
        }],
        pull: false,
        log: None,
    };
    let bytes = minicbor::to_vec(&message).unwrap();
    assert_eq!(Request::decode(&bytes), Ok(message));
    json!({ "content_type": CONTENT_TYPE, "cbor": hex(&bytes), "diagnostic": diagnostic(&bytes) })
}

/// A push as a server reads it that was built before manifests could be sealed.
#[derive(minicbor::Decode)]
#[cbor(map)]
struct OldPush<'a> {
    #[cbor(b(1), with = "minicbor::bytes")]
    change: &'a [u8],
    #[cbor(b(3), with = "minicbor::bytes")]
    manifest: Option<&'a [u8]>,
}

#[derive(minicbor::Decode)]
#[cbor(map)]
struct OldRequest<'a> {
    #[b(4)]
    pushes: Vec<OldPush<'a>>,
}

#[test]
fn an_older_server_sees_a_submission_without_its_manifest_and_nothing_worse() {
    let golden = relayed_request();
    let bytes = data_encoding::HEXLOWER.decode(golden["cbor"].as_str().unwrap().as_bytes()).unwrap();
    let old: OldRequest<'_> = minicbor::decode(&bytes).unwrap();
    let new = Request::decode(&bytes).unwrap();
    assert_eq!((old.pushes[0].change, old.pushes[0].manifest), (new.pushes[0].change, None));
    assert!(new.pushes[0].sealed_manifest.is_some());
}
