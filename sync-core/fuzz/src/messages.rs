//! The sync messages, the manifest and the QR payload: what is read says the same when it is written and read again.

use muster_sync_core::{
    DocumentName, change,
    evidence::{Checks, Manifest},
    limits,
    sync::message::{Request, Response},
    time::session_code::CodeClaim,
    typed,
};

use crate::{READ_BYTES_MAX, allocations::measured};

/// Most bytes that reading a message may hold for each byte of it, beyond a fixed part.
const MESSAGE_BYTES_PER_BYTE_MAX: usize = 64;

/// A request keeps its limits and means the same after a round trip; each push in it can be judged.
pub fn sync_request(bytes: &[u8]) {
    let (request, cost) = measured(|| Request::decode(bytes));
    assert!(cost.peak_bytes <= 64 * 1024 + MESSAGE_BYTES_PER_BYTE_MAX * bytes.len(), "{cost:?}");
    let Ok(request) = request else { return };
    assert!(request.pushes.len() <= limits::PUSHES_PER_REQUEST_MAX);
    assert!(request.cursors.len() <= limits::CURSORS_MAX);
    let written = minicbor::to_vec(&request).unwrap();
    assert_eq!(Request::decode(&written), Ok(request.clone()));
    assert_eq!(minicbor::to_vec(Request::decode(&written).unwrap()).unwrap(), written);
    for push in &request.pushes {
        if let Ok(name) = push.name.parse() {
            assert_eq!(DocumentName::from_parts(name.kind(), name.key()), Ok(name.clone()));
            let _ = change::validate("default", &name, push.change, &push.signature);
        }
        let _ = push.manifest.map(Manifest::from_bytes);
    }
}

/// A response means the same after a round trip.
pub fn sync_response(bytes: &[u8]) {
    let (response, cost) = measured(|| Response::decode(bytes));
    assert!(cost.peak_bytes <= 64 * 1024 + MESSAGE_BYTES_PER_BYTE_MAX * bytes.len(), "{cost:?}");
    let Ok(response) = response else { return };
    let written = minicbor::to_vec(&response).unwrap();
    assert_eq!(Response::decode(&written), Ok(response.clone()));
    assert_eq!(minicbor::to_vec(Response::decode(&written).unwrap()).unwrap(), written);
    for pulled in &response.changes {
        if let Ok(name) = pulled.name.parse() {
            let _ = change::validate("default", &name, pulled.change, &pulled.signature);
        }
    }
}

/// A manifest keeps its limits and means the same after a round trip; so do the checks of a verdict.
pub fn manifest(bytes: &[u8]) {
    let (manifest, cost) = measured(|| Manifest::from_bytes(bytes));
    assert!(cost.peak_bytes <= READ_BYTES_MAX, "{cost:?}");
    if let Ok(manifest) = manifest {
        assert!(bytes.len() <= limits::MANIFEST_SIZE_BYTES_MAX);
        assert!(manifest.images.len() <= limits::MANIFEST_IMAGES_MAX);
        assert!(manifest.images.iter().all(|image| image.size_bytes <= limits::IMAGE_SIZE_BYTES_MAX));
        let written = manifest.to_bytes();
        assert!(written.len() <= bytes.len(), "no writer is shorter than ours");
        assert_eq!(Manifest::from_bytes(&written), Ok(manifest));
    }
    if let Some(checks) = Checks::from_bytes(bytes) {
        // A score may be no number, which equals nothing: bytes are compared.
        let written = checks.to_bytes();
        assert_eq!(Checks::from_bytes(&written).unwrap().to_bytes(), written);
    }
}

/// What is read from a QR code, written again, is read as the same.
pub fn qr(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (claim, cost) = measured(|| CodeClaim::parse(text));
    // Two codes are tidied up, each of which is cut at its longest form and grows by doubling.
    assert!(cost.peak_bytes <= 4 * typed::TYPED_CHARS_MAX, "{cost:?}");
    let Some(claim) = claim else { return };
    assert!(claim.code.len() == 6 && claim.code.bytes().all(|byte| byte.is_ascii_digit()));
    let written = claim.to_qr();
    let alphanumeric = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b':';
    assert!(written.bytes().all(alphanumeric), "{written} is outside QR's alphanumeric mode");
    assert_eq!(CodeClaim::parse(&written), Some(claim));
}
