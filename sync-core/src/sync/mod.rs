//! The sync protocol: the messages, and the device's side of it as a state machine without IO.

#[cfg(feature = "store")]
mod answer;
pub mod auth;
pub mod backoff;
#[cfg(feature = "store")]
pub mod client;
pub mod head;
pub mod message;
#[cfg(feature = "store")]
pub mod relay;

#[cfg(feature = "store")]
pub use answer::Problem;
