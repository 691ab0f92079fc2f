//! The device store and the sync client through their public door, on real SQLite files, against a scripted peer.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should say where")]

mod capture;
mod chains;
mod hostile;
mod lecturer;
mod peer;
mod phone;
mod recovery;
mod relay;
mod relay_hostile;
mod relay_vector;
mod sync;
