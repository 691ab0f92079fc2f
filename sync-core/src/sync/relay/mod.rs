//! Phone to phone: where there is no network, the lecturer's phone carries what its students signed, and pushes it later.
//!
//! The app moves bytes over Bluetooth, Wi-Fi or QR codes; this says which. Four messages: the student's phone says hello
//! with a fresh key, the relay offers the class sessions that it runs, then pages with what the relay lacks go one way
//! and the relay's version vector the other way, until nothing is left. Any of them may be lost, repeated or late.
//!
//! A relay carries and judges nothing: it checks form, signature and limits, so that nobody fills it with junk. It reads
//! the claims, which its role may read, but no manifest: those are sealed to the server. Pictures stay where they are.
//! That a relay says it carries a record proves nothing; only the server's receipt does, and it may travel back this way.

mod carrier;
mod giver;
pub(crate) mod message;

pub use carrier::{Carrier, Collected};
pub use giver::{Giver, HandedOver, OfferView, OfferedView, Trust};
pub use message::{MessageError, RELAY_VERSION};

use crate::{
    DeviceKey,
    sealing::SealingKey,
    signing::{self, Context},
    store::StoreError,
};

/// What pages are sealed for.
const PAGE_INFO: &[u8] = b"muster/relay-page/v1";
/// What states are sealed for.
const STATE_INFO: &[u8] = b"muster/relay-state/v1";

/// Why a step of a meeting did not work. Nothing was kept of the message then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RelayError {
    /// The other phone's message is not one.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// This phone's store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a device signs to prove that it holds a fresh key of this very meeting: the other phone's key, then its own.
fn meeting_message(other: SealingKey, own: SealingKey) -> [u8; 88] {
    let mut message = [0; 88];
    message[..24].copy_from_slice(Context::Relay.bytes());
    message[24..56].copy_from_slice(&other.0);
    message[56..].copy_from_slice(&own.0);
    message
}

/// Whether `device` holds the fresh key `own` of this very meeting with the phone that has `other`.
fn prove(device: &DeviceKey, other: SealingKey, own: SealingKey, signature: &[u8; 64]) -> Result<(), MessageError> {
    signing::verify_strict(device, &meeting_message(other, own), signature).map_err(MessageError::NotProven)
}

/// Twelve characters by which people compare two screens: 60 bits of a hash of the device's key.
#[must_use]
pub fn fingerprint(device: &DeviceKey) -> String {
    use sha2::{Digest, Sha256};
    const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let digest = Sha256::new().chain_update(b"muster/relay-fingerprint/v1").chain_update(device.0).finalize();
    let bits = digest.iter().take(8).fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    let character = |index: u32| char::from(ALPHABET[(bits >> (59 - 5 * index) & 31) as usize]);
    let group = |first: u32| (first..first + 4).map(character).collect::<String>();
    [group(0), group(4), group(8)].join("-")
}
