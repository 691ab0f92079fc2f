//! What must hold for any order, duplication and partition of changes, and for any bytes from outside.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod allocations;
mod attacks;
mod changes;
mod decisions;
mod fixtures;
mod golden;
mod golden_sealed;
mod hostile;
mod limits;
mod mutate;
mod plans;
mod protocol;
mod raw;
mod scopes;
mod signatures;
mod wire;
