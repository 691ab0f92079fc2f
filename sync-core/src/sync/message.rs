//! What travels: `POST /api/v1/sync`, CBOR both ways, maps with numbered keys so that unknown fields are skipped.

use super::head::LogHead;
use crate::wire::{self, TooMany};
use crate::{
    ChangeHash, DeviceKey, DocumentName, Refusal, limits,
    time::{Anchor, Receipt},
};
use minicbor::{Decode, Decoder, Encode, decode::Error};

/// Version of the protocol that this code speaks.
pub const PROTOCOL_VERSION: u16 = 1;
/// The content type of both bodies.
pub const CONTENT_TYPE: &str = "application/vnd.muster.sync+cbor";

/// A document's name on the wire; see [`DocumentName`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct WireName<'a> {
    /// The kind.
    #[n(0)]
    pub kind: u8,
    /// First part of the natural key.
    #[b(1)]
    pub key: &'a str,
    /// Second part, empty if there is none.
    #[b(2)]
    pub key2: &'a str,
}

impl<'a> WireName<'a> {
    /// As it travels.
    #[must_use]
    pub fn new(name: &'a DocumentName) -> Self {
        let [key, key2] = name.key();
        Self { kind: name.kind(), key, key2 }
    }

    /// Checked.
    ///
    /// # Errors
    /// [`Refusal::DocumentName`].
    pub fn parse(&self) -> Result<DocumentName, Refusal> {
        DocumentName::from_parts(self.kind, [self.key, self.key2])
    }
}

/// A change on its way up.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Push<'a> {
    /// The document.
    #[b(0)]
    pub name: WireName<'a>,
    /// The change chunk.
    #[cbor(b(1), with = "minicbor::bytes")]
    pub change: &'a [u8],
    /// The writer's signature.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub signature: [u8; 64],
    /// The evidence manifest that a submission commits to.
    #[cbor(b(3), with = "minicbor::bytes")]
    pub manifest: Option<&'a [u8]>,
    /// The code key that a binding request commits to.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub code_key: Option<[u8; 32]>,
    /// The manifest, sealed to the server's key, when somebody else's phone pushes it; see [`crate::sealing`].
    #[cbor(b(5), with = "minicbor::bytes")]
    pub sealed_manifest: Option<&'a [u8]>,
    /// The receipt that the client had for it, when it brings back what the server lost: it proves when the server had
    /// it first.
    #[n(6)]
    pub receipt: Option<Receipt>,
}

/// How far a client has read a channel.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Cursor<'a> {
    /// The channel, such as `user:42` or `course:7:staff`.
    #[b(0)]
    pub channel: &'a str,
    /// The number in the channel up to which the client has everything; 0 at first.
    #[cbor(n(1), decode_with = "wire::number")]
    pub number: u64,
}

/// What the lists of these messages are called where they are too long.
const CURSORS: &str = "cursors";
const PUSHES: &str = "pushes";
const FATES: &str = "fates";
const CHANGES: &str = "changes";
const HASHES: &str = "hashes";

fn read_cursors<'b, C>(decoder: &mut Decoder<'b>, context: &mut C) -> Result<Vec<Cursor<'b>>, Error> {
    wire::list(decoder, context, limits::CURSORS_MAX, CURSORS)
}

fn read_pushes<'b, C>(decoder: &mut Decoder<'b>, context: &mut C) -> Result<Vec<Push<'b>>, Error> {
    wire::list(decoder, context, limits::PUSHES_PER_REQUEST_MAX, PUSHES)
}

fn read_fates<C>(decoder: &mut Decoder<'_>, context: &mut C) -> Result<Vec<Fate>, Error> {
    wire::list(decoder, context, limits::PUSHES_PER_REQUEST_MAX, FATES)
}

fn read_changes<'b, C>(decoder: &mut Decoder<'b>, context: &mut C) -> Result<Vec<Pulled<'b>>, Error> {
    wire::list(decoder, context, limits::CHANGES_PER_PAGE_MAX, CHANGES)
}

fn read_hashes<C>(decoder: &mut Decoder<'_>, context: &mut C) -> Result<Vec<ChangeHash>, Error> {
    wire::list(decoder, context, limits::HASHES_PER_RESPONSE_MAX, HASHES)
}

fn read_hashes_or_none<C>(decoder: &mut Decoder<'_>, context: &mut C) -> Result<Option<Vec<ChangeHash>>, Error> {
    if decoder.datatype()? == minicbor::data::Type::Null {
        return decoder.null().map(|()| None);
    }
    read_hashes(decoder, context).map(Some)
}

/// What a client sends.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Request<'a> {
    /// [`PROTOCOL_VERSION`].
    #[n(0)]
    pub version: u16,
    /// The device that asks for an anchor.
    #[n(1)]
    pub device: Option<DeviceKey>,
    /// The anchor's nonce.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub nonce: Option<[u8; 16]>,
    /// How far the client has read each channel. Channels that it does not name start at 0.
    #[cbor(b(3), decode_with = "read_cursors")]
    pub cursors: Vec<Cursor<'a>>,
    /// Changes, at most [`limits::PUSHES_PER_REQUEST_MAX`].
    #[cbor(b(4), decode_with = "read_pushes")]
    pub pushes: Vec<Push<'a>>,
    /// Whether the client wants changes at all; a relay only pushes.
    #[n(5)]
    pub pull: bool,
    /// The newest head of the log that the client was told: a witness of what the server had.
    #[n(6)]
    pub log: Option<LogHead>,
}

impl<'a> Request<'a> {
    /// Reads a request within its limits.
    ///
    /// # Errors
    /// A sentence that says which limit or form was broken.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, RequestError> {
        if bytes.len() > limits::SYNC_REQUEST_BYTES_MAX {
            return Err(RequestError::TooLarge);
        }
        let request: Self = wire::whole(bytes).map_err(|error| RequestError::of(&error))?;
        if request.version != PROTOCOL_VERSION {
            return Err(RequestError::Version(request.version));
        }
        Ok(request)
    }
}

/// Why a whole request was not read. Single changes in it are refused one by one instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Over [`limits::SYNC_REQUEST_BYTES_MAX`].
    #[error("sync request is over 1 MiB: push fewer changes at once")]
    TooLarge,
    /// Not a request in CBOR.
    #[error("body is not one sync message in CBOR")]
    NotCbor,
    /// Another version of the protocol.
    #[error("sync protocol version {0} is not spoken here, version 1 is")]
    Version(u16),
    /// Over [`limits::PUSHES_PER_REQUEST_MAX`].
    #[error("{0} changes in one request, at most 100")]
    TooManyPushes(usize),
    /// Over [`limits::CURSORS_MAX`].
    #[error("{0} cursors in one request, at most 512")]
    TooManyCursors(usize),
    /// A response with more in a list than it may hold.
    #[error("a list in the message is over a limit")]
    OverLimit,
}

impl RequestError {
    fn of(error: &Error) -> Self {
        match TooMany::of(error) {
            None => Self::NotCbor,
            Some(TooMany { what: PUSHES, n, .. }) => Self::TooManyPushes(n),
            Some(TooMany { what: CURSORS, n, .. }) => Self::TooManyCursors(n),
            Some(_) => Self::OverLimit,
        }
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge => "SYNC_TOO_LARGE",
            Self::NotCbor => "SYNC_MALFORMED",
            Self::Version(_) => "SYNC_VERSION",
            Self::TooManyPushes(_) | Self::TooManyCursors(_) | Self::OverLimit => "SYNC_LIMIT",
        }
    }
}

/// What became of a pushed change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum FateKind {
    /// In the log.
    #[n(0)]
    Accepted,
    /// Authentic, but waiting for a person or for a change before it.
    #[n(1)]
    Quarantined,
    /// Not taken.
    #[n(2)]
    Refused,
    /// The server could not say; push it again.
    #[n(3)]
    Retry,
}

impl FateKind {
    /// Its name in the API and the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Quarantined => "quarantined",
            Self::Refused => "refused",
            Self::Retry => "retry",
        }
    }
}

/// The fate of one pushed change. Fates stand in the order of the pushes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Fate {
    /// What became of it.
    #[n(0)]
    pub kind: FateKind,
    /// The stable reason code, unless it was accepted.
    #[n(1)]
    pub reason: Option<String>,
    /// The receipt, if it was accepted.
    #[n(2)]
    pub receipt: Option<Receipt>,
}

/// A change on its way down.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Pulled<'a> {
    /// The document.
    #[b(0)]
    pub name: WireName<'a>,
    /// The change chunk.
    #[cbor(b(1), with = "minicbor::bytes")]
    pub change: &'a [u8],
    /// The writer's signature.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub signature: [u8; 64],
    /// Its place in the log.
    #[cbor(n(3), decode_with = "wire::number")]
    pub log_index: u64,
    /// When the server had it, Unix milliseconds.
    #[n(4)]
    pub received_at_ms: i64,
}

/// What the server answers.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Response<'a> {
    /// [`PROTOCOL_VERSION`].
    #[n(0)]
    pub version: u16,
    /// One fate per push, in their order.
    #[cbor(n(1), decode_with = "read_fates")]
    pub fates: Vec<Fate>,
    /// A page of changes, in the order of the channels' numbers.
    #[cbor(b(2), decode_with = "read_changes")]
    pub changes: Vec<Pulled<'a>>,
    /// The client's cursors after this page; channels that it lost are missing.
    #[cbor(b(3), decode_with = "read_cursors")]
    pub cursors: Vec<Cursor<'a>>,
    /// Whether there is another page.
    #[n(4)]
    pub more: bool,
    /// The time, if it was asked for.
    #[n(5)]
    pub anchor: Option<Anchor>,
    /// SHA-256 of images that accepted submissions name and the server does not have, at most 100.
    #[cbor(n(6), decode_with = "read_hashes")]
    pub wanted: Vec<ChangeHash>,
    /// Changes of the device in quarantine of which a person settled what becomes of them: push them again to learn it.
    #[cbor(n(9), decode_with = "read_hashes_or_none", nil = "wire::missing")]
    pub ask_again: Option<Vec<ChangeHash>>,
    /// Where the log ends, if changes were asked for and the log is not empty. Another generation than the request's:
    /// the server lost a part of its log, and this page begins at 0 whatever cursors the request named.
    #[n(7)]
    pub log: Option<LogHead>,
}

impl<'a> Response<'a> {
    /// Reads a response.
    ///
    /// # Errors
    /// [`RequestError`] if it is too large, not CBOR, or of another version.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, RequestError> {
        if bytes.len() > limits::SYNC_RESPONSE_BYTES_MAX {
            return Err(RequestError::TooLarge);
        }
        let response: Self = wire::whole(bytes).map_err(|error| RequestError::of(&error))?;
        if response.version != PROTOCOL_VERSION {
            return Err(RequestError::Version(response.version));
        }
        Ok(response)
    }
}
