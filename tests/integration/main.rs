//! The server through its public door, a file per slice.

mod blobs;
mod http;
