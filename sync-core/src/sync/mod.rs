//! The sync protocol: the messages, and the device's side of it as a state machine without IO.

pub mod backoff;
pub mod message;
