//! The Muster server. The modules are listed in reading order, and each imports only from those above it.

pub mod clock;
pub mod limits;
pub mod telemetry;
pub mod config;
pub mod keys;
pub mod error;
pub mod db;
pub mod ids;
pub mod blobs;
pub mod app;
pub mod http;
pub mod log;
pub mod evidence;

pub mod class_sessions;

pub mod health;
pub mod router;
pub mod cli;
