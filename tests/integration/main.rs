//! The server through its public door, a file per slice.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where its premise fails")]

mod audit;
mod auth;
mod blobs;
mod class_sessions;
mod connection;
mod courses;
mod db_contract;
mod db_statements;
mod db_alike;
mod demo;
mod devices;
mod faces;
mod faces_http;
mod forks;
mod hostile;
mod http;
mod jobs;
mod lost_tail;
mod mobile;
mod mobile_relay;
mod power_cut;
mod quarantine;
mod relay;
mod rates;
mod rebuild;
mod nodes;
mod review;
mod revocation;
mod sign_in;
mod storm;
mod sync;
mod tamper;
mod tidy;
mod uploads;
mod verdicts;
