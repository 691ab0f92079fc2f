//! The server through its public door, a file per slice.

mod auth;
mod blobs;
mod courses;
mod db_contract;
mod http;
mod jobs;
