//! What may happen to a record: signed documents, write scopes, decisions, trusted time and the sync protocol.
//!
//! No tokio, no HTTP, no system clock and no randomness live here: they are arguments. The same code runs on a phone
//! and on the server, so both judge a change alike. Every byte and limit is in `PROTOCOL.md`.

pub mod limits;
mod wire;

pub mod error;
pub mod typed;
pub mod id;

pub mod signing;

pub mod change;
pub mod document;

pub mod reading;
pub mod evidence;
pub mod sealing;
pub mod time;

pub mod decision;
pub mod plan;

pub mod sync;

#[cfg(feature = "store")]
pub mod store;

pub use error::Refusal;
pub use id::{ChangeHash, DeviceKey, DocumentId, DocumentName, Locator};
