//! What two phones say to each other: CBOR maps with numbered keys. Limits are checked before anything is read.

use crate::{
    ChangeHash, DeviceKey, DocumentId, Refusal, limits,
    sync::message::WireName,
    time::Receipt,
    wire::{self, TooMany},
};
use minicbor::{Decode, Decoder, Encode, decode::Error};

/// Version of the protocol between phones that this code speaks.
pub const RELAY_VERSION: u16 = 1;

/// Why a message of another phone was not read; nothing of it was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Over [`limits::RELAY_MESSAGE_BYTES_MAX`].
    #[error("a message between phones is over 128 KiB")]
    TooLarge,
    /// Not a message in CBOR.
    #[error("not a message between phones")]
    Malformed,
    /// Another version.
    #[error("version {0} of the protocol between phones is not spoken here, version 1 is")]
    Version(u16),
    /// More sessions, chains or changes than a message may hold.
    #[error("a message between phones is over a limit")]
    OverLimit,
    /// Not sealed by the phone that was met, or not for this one.
    #[error("the message does not come from the phone that was met")]
    NotOpened,
    /// The offer is not signed by the device that it names.
    #[error("the offer does not prove who makes it: {0}")]
    NotProven(Refusal),
    /// A message that has no place now: an answer to nothing.
    #[error("the other phone did not introduce itself yet")]
    NotMet,
}

/// The phone that has something to hand over says hello. Nothing in it says who it is.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct Hello {
    #[n(0)]
    pub(super) version: u16,
    /// A fresh X25519 key.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub(super) key: [u8; 32],
}

/// A class session that a relay says it runs.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct OfferedSession<'a> {
    #[b(0)]
    pub(super) locator: &'a str,
    /// The session's plan, written by the relay's device, and the server's receipt for it.
    #[b(1)]
    pub(super) plan: Option<PlanProof<'a>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct PlanProof<'a> {
    #[cbor(b(0), with = "minicbor::bytes")]
    pub(super) change: &'a [u8],
    #[cbor(n(1), with = "minicbor::bytes")]
    pub(super) signature: [u8; 64],
    #[n(2)]
    pub(super) receipt: Receipt,
}

/// The relay's answer to a hello: who it is and for which sessions it carries.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct Offer<'a> {
    #[n(0)]
    pub(super) version: u16,
    /// A fresh X25519 key.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub(super) key: [u8; 32],
    /// The relay's device.
    #[n(2)]
    pub(super) device: DeviceKey,
    #[cbor(b(3), decode_with = "read_sessions")]
    pub(super) sessions: Vec<OfferedSession<'a>>,
    /// The device's signature over both fresh keys.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub(super) signature: [u8; 64],
}

/// The end of a chain: one entry of a version vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Head {
    #[n(0)]
    pub(crate) document: DocumentId,
    #[n(1)]
    pub(crate) writer: DeviceKey,
    #[cbor(n(2), decode_with = "wire::number")]
    pub(crate) seq: u64,
    #[n(3)]
    pub(crate) hash: ChangeHash,
}

/// A change on its way through a relay.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct Item<'a> {
    #[b(0)]
    pub(super) name: WireName<'a>,
    #[cbor(b(1), with = "minicbor::bytes")]
    pub(super) change: &'a [u8],
    #[cbor(n(2), with = "minicbor::bytes")]
    pub(super) signature: [u8; 64],
    #[cbor(b(3), with = "minicbor::bytes")]
    pub(super) sealed_manifest: Option<&'a [u8]>,
}

/// What the student's phone hands over; sealed to the relay's fresh key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct Page<'a> {
    #[n(0)]
    pub(super) version: u16,
    /// The version vector of the giver: its chains in these sessions. It asks for the relay's one, and for receipts.
    #[cbor(n(1), decode_with = "read_chains")]
    pub(super) chains: Vec<Head>,
    #[cbor(b(2), decode_with = "read_items")]
    pub(super) items: Vec<Item<'a>>,
    /// The giver's device: the writer of the chains that it asks about.
    #[n(3)]
    pub(super) device: DeviceKey,
    /// Its signature over both fresh keys: nobody asks about another one's chains.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub(super) signature: [u8; 64],
}

/// The relay's answer to a page; sealed to the giver's fresh key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct State {
    #[n(0)]
    pub(super) version: u16,
    /// SHA-256 of the page that this answers, as it travelled.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub(super) page: [u8; 32],
    /// The relay's version vector, of the chains that the page named and of nothing else.
    #[cbor(n(2), decode_with = "read_chains")]
    pub(super) chains: Vec<Head>,
    /// The server's receipts for changes of these chains that the relay has pushed.
    #[cbor(n(3), decode_with = "read_receipts")]
    pub(super) receipts: Vec<CarriedReceipt>,
}

/// A receipt that travels back.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct CarriedReceipt {
    #[n(0)]
    pub(crate) hash: ChangeHash,
    #[n(1)]
    pub(crate) receipt: Receipt,
}

fn read_sessions<'b, C>(decoder: &mut Decoder<'b>, context: &mut C) -> Result<Vec<OfferedSession<'b>>, Error> {
    wire::list(decoder, context, limits::RELAY_SESSIONS_MAX, "sessions")
}

fn read_chains<C>(decoder: &mut Decoder<'_>, context: &mut C) -> Result<Vec<Head>, Error> {
    wire::list(decoder, context, limits::RELAY_CHAINS_MAX, "chains")
}

fn read_items<'b, C>(decoder: &mut Decoder<'b>, context: &mut C) -> Result<Vec<Item<'b>>, Error> {
    wire::list(decoder, context, limits::RELAY_ITEMS_PER_PAGE_MAX, "items")
}

fn read_receipts<C>(decoder: &mut Decoder<'_>, context: &mut C) -> Result<Vec<CarriedReceipt>, Error> {
    wire::list(decoder, context, limits::RELAY_CHAINS_MAX, "receipts")
}

pub(super) fn encode<T: Encode<()>>(message: &T) -> Vec<u8> {
    minicbor::to_vec(message).expect("encoding into memory does not fail")
}

fn read<'a, T: Decode<'a, ()>>(bytes: &'a [u8]) -> Result<T, MessageError> {
    if bytes.len() > limits::RELAY_MESSAGE_BYTES_MAX {
        return Err(MessageError::TooLarge);
    }
    wire::whole(bytes).map_err(|error| match TooMany::of(&error) {
        Some(_) => MessageError::OverLimit,
        None => MessageError::Malformed,
    })
}

fn check(version: u16) -> Result<(), MessageError> {
    if version == RELAY_VERSION { Ok(()) } else { Err(MessageError::Version(version)) }
}

impl Hello {
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let hello: Self = read(bytes)?;
        check(hello.version)?;
        Ok(hello)
    }
}

impl<'a> Offer<'a> {
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self, MessageError> {
        let offer: Self = read(bytes)?;
        check(offer.version)?;
        Ok(offer)
    }
}

impl<'a> Page<'a> {
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self, MessageError> {
        let page: Self = read(bytes)?;
        check(page.version)?;
        Ok(page)
    }
}

impl State {
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let state: Self = read(bytes)?;
        check(state.version)?;
        Ok(state)
    }
}
