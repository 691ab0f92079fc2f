//! The server through its public door, a file per slice.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where its premise fails")]

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
mod http;
mod jobs;
mod mobile;
mod nodes;
mod review;
mod storm;
mod sync;
mod tidy;
mod uploads;
mod verdicts;
