//! How what everybody needs is shared out: an account of what each holds, lines in which everybody waits behind
//! themselves, and things of which each has the newest few. How much is for `limits::budgets`, of whom for the callers.

mod ledger;
mod lines;
mod newest;

pub use ledger::{Held, Ledger, UsedUp};
pub use lines::{Lines, Place};
pub use newest::{Newest, Seat};
