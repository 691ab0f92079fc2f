//! Devices: which keys belong to whom, who asked for it, and who decided.
//!
//! A phone asks with a request that its own key signs; an admin, never the user, answers. A student has one bound key,
//! and another one takes its place only by a reset. A key has one owner for ever. `devices` and `device_requests` are
//! projections of the device-binding documents; what a bound key may write is for `sync` to judge.

mod owner;
mod project;
mod queries;
mod rules;

pub use owner::{BindingFacts, DeviceStatus, Owner, binding_at, code_key, flag_fork, owner_of, seal_code_key};
pub use project::project;

/// The job that has another look at what waits in quarantine for a key; its subject is the key.
pub const RELEASE_JOB: &str = "release-quarantine";
