//! The way from a socket to a handler and back: timeouts, limits, request ids, the error envelope, the request log.

mod activity;
mod body;
mod client_ip;
mod connection;
mod content;
mod cors;
mod crowd;
mod csv;
mod extract;
mod facts;
mod form;
mod gate;
mod headers;
mod holder;
mod in_flight;
mod meter;
mod multipart;
mod open_files;
mod page;
mod turns;
mod well_formed;

/// The prefix that documentation and our own clients use.
pub const CANONICAL_PREFIX: &str = "/api/v1";
/// The prefix of one of the systems that Muster replaces.
pub const LEGACY_PREFIX: &str = "/v1";

pub use client_ip::{ClientIp, ClientNetworks};
pub use connection::{listen, serve};
pub use content::{check_content, media_type, streamed};
pub use cors::{CrossOrigin, cors};
pub use csv::csv_cell;
pub use extract::{Binary, Json, OptionalJson, Path, Query};
pub use facts::{RequestFacts, note_route};
pub use form::JsonOrForm;
pub use gate::RequestId;
pub use holder::{Holder, Shares};
pub use meter::{BodyMeter, ReplyBytes};
pub use multipart::{Form, field_bytes};
pub use open_files::connections_within;
pub use page::Page;
pub use turns::Turns;
