//! Where the server's log ended: a statement that it signs, and that phones show to it later.

use crate::{
    DeviceKey, Refusal,
    signing::{self, Context, SignError, SigningKey},
    wire,
};
use minicbor::{Decode, Encode};

/// The server's statement: "in this generation my log reached this index, and `chain` is the hash over all of it".
///
/// The chain value names the tenant, because it begins with it. What the head covers, its receipts cover too: the
/// facts of every receipt up to `log_index` are in the chain.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LogHead {
    /// Which life of the log. A log that lost its tail goes on in a new one; a later one is a larger number.
    #[cbor(n(0), decode_with = "wire::number")]
    pub generation: u64,
    /// The newest index, 0 in an empty log.
    #[cbor(n(1), decode_with = "wire::number")]
    pub log_index: u64,
    /// The hash chain's value at that index.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub chain: [u8; 32],
    /// The server's signature.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub signature: [u8; 64],
}

impl LogHead {
    /// Signs a head.
    ///
    /// # Errors
    /// When the server's key does not sign.
    pub fn sign(key: &dyn SigningKey, generation: u64, log_index: u64, chain: [u8; 32]) -> Result<Self, SignError> {
        let signature = key.sign(&Self::message(generation, log_index, &chain))?;
        Ok(Self { generation, log_index, chain, signature })
    }

    /// Verifies the signature of `server`.
    ///
    /// # Errors
    /// [`Refusal::SignatureInvalid`] or [`Refusal::KeyWeak`].
    pub fn verify(&self, server: &DeviceKey) -> Result<(), Refusal> {
        signing::verify_strict(server, &Self::message(self.generation, self.log_index, &self.chain), &self.signature)
    }

    fn message(generation: u64, log_index: u64, chain: &[u8; 32]) -> [u8; 72] {
        let mut message = [0; 72];
        message[..24].copy_from_slice(Context::LogHead.bytes());
        message[24..32].copy_from_slice(&generation.to_be_bytes());
        message[32..40].copy_from_slice(&log_index.to_be_bytes());
        message[40..].copy_from_slice(chain);
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::SoftwareKey;

    #[test]
    fn a_head_holds_for_its_generation_index_and_chain_only() {
        let key = SoftwareKey::from_seed(&zeroize::Zeroizing::new([3; 32]));
        let head = LogHead::sign(&key, 5, 9, [7; 32]).unwrap();
        let server = key.public_key();
        assert_eq!(head.verify(&server), Ok(()));
        for forged in [
            LogHead { generation: 6, ..head.clone() },
            LogHead { log_index: 10, ..head.clone() },
            LogHead { chain: [8; 32], ..head.clone() },
        ] {
            assert_eq!(forged.verify(&server), Err(Refusal::SignatureInvalid));
        }
    }
}
