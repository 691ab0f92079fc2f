//! The Muster server: who may ask, and where it is kept.

pub mod face_engine;

/// Commands of the `muster` program.
pub mod cli {
    pub mod models;
}
