//! The way from a socket to a handler and back: timeouts, limits, request ids, the error envelope, the request log.

mod activity;
mod body;
mod client_ip;
mod connection;
mod content;
mod cors;
mod csv;
mod extract;
mod facts;
mod form;
mod gate;
mod headers;
mod in_flight;
mod open_files;
mod page;

pub use client_ip::{ClientIp, ClientNetworks};
pub use connection::{listen, serve};
pub use content::{check_content, media_type, streamed};
pub use cors::{CrossOrigin, cors};
pub use csv::csv_cell;
pub use extract::{Binary, Json, OptionalJson, Path, Query};
pub use facts::{RequestFacts, note_route};
pub use form::JsonOrForm;
pub use gate::RequestId;
pub use open_files::connections_within;
pub use page::Page;
