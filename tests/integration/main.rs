//! Tests that cross a crate, one module per slice.

mod blobs;
