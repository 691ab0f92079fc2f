//! What the tests share.

pub mod models;
