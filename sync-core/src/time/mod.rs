//! Trusted time: the server's anchors, the interval in which a capture happened, and the session code as a witness.

mod anchor;
mod interval;
pub mod session_code;

pub use anchor::{Anchor, Receipt};
pub use interval::{AnchorReading, CaptureClocks, Interval, interval};
