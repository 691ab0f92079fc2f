//! Through the public doors.
#![allow(clippy::unwrap_used, reason = "a test ends where its premise fails")]

mod faces;
