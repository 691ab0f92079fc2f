//! Signatures: the key of a device, strict verification, and one context per purpose.

use crate::{ChangeHash, DeviceKey, DocumentId, Refusal};
use ed25519_dalek::{Signature, Signer, VerifyingKey};
use zeroize::Zeroizing;

/// What a signature is for. Its 24 bytes stand in front of the message, so that no signature serves two purposes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    /// A change in a document.
    Change,
    /// The server's receipt for an accepted change.
    Receipt,
    /// The server's statement of the time.
    Anchor,
    /// A phone that relays, to the phone that it meets.
    Relay,
    /// The server's statement of where its log ends.
    LogHead,
    /// A device that proves itself to a server.
    DeviceAuth,
}

impl Context {
    /// The 24 fixed bytes.
    #[must_use]
    pub const fn bytes(self) -> &'static [u8; 24] {
        match self {
            Self::Change => b"muster/change/v1\0\0\0\0\0\0\0\0",
            Self::Receipt => b"muster/receipt/v1\0\0\0\0\0\0\0",
            Self::Anchor => b"muster/anchor/v1\0\0\0\0\0\0\0\0",
            Self::Relay => b"muster/relay/v1\0\0\0\0\0\0\0\0\0",
            Self::LogHead => b"muster/log-head/v1\0\0\0\0\0\0",
            Self::DeviceAuth => b"muster/device-auth/v1\0\0\0",
        }
    }
}

/// A key that could not sign: the keystore refused, or the user did not unlock it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the device key could not sign: {0}")]
pub struct SignError(pub String);

/// A device's signing key: in software, or in a platform's keystore behind the FFI.
pub trait SigningKey: Send + Sync {
    /// The public half.
    fn public_key(&self) -> DeviceKey;

    /// The Ed25519 signature (RFC 8032) of `message`.
    ///
    /// # Errors
    /// When the keystore does not sign; nothing was written then.
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError>;
}

/// A key held in memory; its secret is wiped when it is dropped.
pub struct SoftwareKey(ed25519_dalek::SigningKey);

impl SoftwareKey {
    /// From 32 secret bytes (the RFC 8032 seed).
    #[must_use]
    pub fn from_seed(seed: &Zeroizing<[u8; 32]>) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// The same secret as an X25519 key, not clamped; for [`crate::sealing`] alone.
    pub(crate) fn agreement_secret(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_scalar_bytes())
    }
}

impl std::fmt::Debug for SoftwareKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SoftwareKey({})", self.public_key())
    }
}

impl SigningKey for SoftwareKey {
    fn public_key(&self) -> DeviceKey {
        DeviceKey(self.0.verifying_key().to_bytes())
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        Ok(self.0.sign(message).to_bytes())
    }
}

/// Verifies an Ed25519 signature: one encoding of key, R and S, and neither key nor R of small order.
///
/// Every signature of Muster goes through here; `message` starts with its [`Context`].
///
/// # Errors
/// [`Refusal::KeyWeak`] or [`Refusal::SignatureInvalid`].
pub fn verify_strict(key: &DeviceKey, message: &[u8], signature: &[u8; 64]) -> Result<(), Refusal> {
    let key = strong(key).ok_or(Refusal::KeyWeak)?;
    key.verify_strict(message, &Signature::from_bytes(signature)).map_err(|_| Refusal::SignatureInvalid)
}

/// Whether a key may be bound: on the curve, in canonical form and not of small order.
#[must_use]
pub fn is_strong(key: &DeviceKey) -> bool {
    strong(key).is_some()
}

fn strong(key: &DeviceKey) -> Option<VerifyingKey> {
    // The library reduces a coordinate that is not reduced; then one key would have two names.
    let [first, middle @ .., last] = &key.0;
    let reduced = *first < 0xed || last & 0x7f != 0x7f || middle.iter().any(|byte| *byte != 0xff);
    let key = VerifyingKey::from_bytes(&key.0).ok().filter(|key| !key.is_weak());
    key.filter(|_| reduced)
}

/// The 72 bytes that a writer signs for a change: context, document, hash.
#[must_use]
pub fn change_message(document: DocumentId, hash: ChangeHash) -> [u8; 72] {
    let mut message = [0; 72];
    message[..24].copy_from_slice(Context::Change.bytes());
    message[24..40].copy_from_slice(&document.0);
    message[40..].copy_from_slice(&hash.0);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_point_signs_for_nobody() {
        // With the identity as key, (R, S) = (identity, 0) satisfies the lax equation for every message.
        let mut identity = [0; 32];
        identity[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        assert_eq!(verify_strict(&DeviceKey(identity), b"anything", &signature), Err(Refusal::KeyWeak));
        assert!(!is_strong(&DeviceKey(identity)));
    }

    #[test]
    fn a_signature_holds_for_its_message_only() {
        let key = SoftwareKey::from_seed(&Zeroizing::new([7; 32]));
        let signature = key.sign(b"message").unwrap();
        assert_eq!(verify_strict(&key.public_key(), b"message", &signature), Ok(()));
        assert_eq!(verify_strict(&key.public_key(), b"massage", &signature), Err(Refusal::SignatureInvalid));
        assert!(is_strong(&key.public_key()));
    }
}
