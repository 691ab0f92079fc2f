//! The device store and the sync client through their public door, on real SQLite files, against a scripted peer.

mod capture;
mod chains;
mod hostile;
mod lecturer;
mod peer;
mod phone;
mod sync;
