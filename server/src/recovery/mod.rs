//! What an operator does after a crash, a restored backup or a suspicion, with the server stopped.
//!
//! [`verify`] checks the log itself: signatures, chains, places, scopes, and the signed head beside the keys. It only
//! reads.

mod queries;
mod row;
mod verify;

pub use verify::{Finding, Report, TenantReport, verify};
