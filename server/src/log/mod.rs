//! The change log: admitted changes under gap-free numbers, the channels they belong to, and the server as a writer.
//!
//! This module stores and numbers. Whether a change may be admitted is for `sync` to judge; what it means is for the
//! slice that projects it.

pub mod chain;
mod channels;
mod head_file;
mod heads;
mod head_queries;
mod queries;
mod replay;
mod server_key;
mod signed_list;
mod write;

pub use channels::{Channel, Movements, announce, channel_key, channels_of, pass_on_movements, watch};
pub use head_file::{HeadFile, ReadHeads};
pub use head_queries::{heads, late_between, late_ms, losses, newest_received_ms};
pub use heads::{
    Head, Loss, LossSource, Witnessed, check_at_start, current, keep_published, publish, repeat_loss, witness,
};
pub use queries::{Stored, entries_of, find, page_of, read, tip};
pub use replay::{ChannelPlace, leave_out, number_from};
pub use server_key::ServerKey;
pub use signed_list::{HeadFileError, ReadList, SignedList};
pub use write::{Appended, append, append_as_server, place_in, take_from};
