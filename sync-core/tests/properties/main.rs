//! What must hold for any order, duplication and partition of changes, and for any bytes from outside.

#![allow(missing_docs)]

mod changes;
mod decisions;
mod fixtures;
mod scopes;
mod wire;
