//! Muster.

pub mod blobs;
