//! What the server signs about time: an anchor for a device, and a receipt for a change.

use crate::{
    ChangeHash, DeviceKey, DocumentId, Refusal,
    signing::{self, Context, SignError, SigningKey},
    wire,
};
use minicbor::{Decode, Encode};

/// The server's statement: "it was this time when I answered this device's nonce".
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Anchor {
    /// Server time, Unix milliseconds.
    #[n(0)]
    pub time_ms: i64,
    /// The device that asked.
    #[n(1)]
    pub device: DeviceKey,
    /// The device's nonce.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub nonce: [u8; 16],
    /// The server's signature.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub signature: [u8; 64],
}

impl Anchor {
    /// Signs an anchor.
    ///
    /// # Errors
    /// When the server's key does not sign.
    pub fn sign(key: &dyn SigningKey, time_ms: i64, device: DeviceKey, nonce: [u8; 16]) -> Result<Self, SignError> {
        let signature = key.sign(&Self::message(time_ms, &device, &nonce))?;
        Ok(Self { time_ms, device, nonce, signature })
    }

    /// Verifies the signature of `server`.
    ///
    /// # Errors
    /// [`Refusal::SignatureInvalid`] or [`Refusal::KeyWeak`].
    pub fn verify(&self, server: &DeviceKey) -> Result<(), Refusal> {
        signing::verify_strict(server, &Self::message(self.time_ms, &self.device, &self.nonce), &self.signature)
    }

    fn message(time_ms: i64, device: &DeviceKey, nonce: &[u8; 16]) -> [u8; 80] {
        let mut message = [0; 80];
        message[..24].copy_from_slice(Context::Anchor.bytes());
        message[24..32].copy_from_slice(&time_ms.to_be_bytes());
        message[32..64].copy_from_slice(&device.0);
        message[64..].copy_from_slice(nonce);
        message
    }
}

/// The server's statement: "this change is number `log_index` of my log since `received_at_ms`".
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Receipt {
    /// Position in the tenant's log, from 1, without gaps.
    #[cbor(n(0), decode_with = "wire::number")]
    pub log_index: u64,
    /// When the server had it, Unix milliseconds.
    #[n(1)]
    pub received_at_ms: i64,
    /// The server's signature.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub signature: [u8; 64],
}

impl Receipt {
    /// Signs a receipt. Ed25519 is deterministic: the same facts always give the same receipt.
    ///
    /// # Errors
    /// When the server's key does not sign.
    pub fn sign(
        key: &dyn SigningKey,
        document: DocumentId,
        hash: ChangeHash,
        log_index: u64,
        received_at_ms: i64,
    ) -> Result<Self, SignError> {
        let signature = key.sign(&Self::message(document, hash, log_index, received_at_ms))?;
        Ok(Self { log_index, received_at_ms, signature })
    }

    /// Verifies the signature of `server` over this receipt for a change.
    ///
    /// # Errors
    /// [`Refusal::SignatureInvalid`] or [`Refusal::KeyWeak`].
    pub fn verify(&self, server: &DeviceKey, document: DocumentId, hash: ChangeHash) -> Result<(), Refusal> {
        let message = Self::message(document, hash, self.log_index, self.received_at_ms);
        signing::verify_strict(server, &message, &self.signature)
    }

    fn message(document: DocumentId, hash: ChangeHash, log_index: u64, received_at_ms: i64) -> [u8; 88] {
        let mut message = [0; 88];
        message[..24].copy_from_slice(Context::Receipt.bytes());
        message[24..40].copy_from_slice(&document.0);
        message[40..72].copy_from_slice(&hash.0);
        message[72..80].copy_from_slice(&log_index.to_be_bytes());
        message[80..].copy_from_slice(&received_at_ms.to_be_bytes());
        message
    }
}
