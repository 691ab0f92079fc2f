//! What an operator does after a crash, a restored backup or a suspicion, with the server stopped.
//!
//! [`verify`] checks the log itself: signatures, chains, places, scopes, and the signed head beside the keys. It only
//! reads. [`rebuild`] makes every projection again from the log and compares; [`tables`] says which these are.

mod pages;
mod queries;
mod rebuild;
mod replay;
mod row;
pub mod tables;
mod verify;

pub use rebuild::{Difference, Rebuilt, SET_ASIDE_NAMED_MAX, SetAside, TableReport, rebuild};
pub use verify::{Finding, NAMED_MAX, Report, TenantReport, verify};
