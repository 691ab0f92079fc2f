//! Runs a command with a PostgreSQL of its own: `cargo run -p muster-tests --bin with-postgres -- cargo test ...`.
//!
//! The server lives in a temporary folder while the command runs, and TEST_DATABASE_URL names it. It flushes nothing to
//! the disk, except with `--durable` before the command, which is for measurements.

use std::io::Write;
use std::process::ExitCode;

use muster_tests::postgres::{Cluster, WITHOUT_FLUSHES, run_with_cluster};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    let durable = arguments.next_if(|argument| argument == "--durable").is_some();
    let Some(command) = arguments.next() else { return say("usage: with-postgres [--durable] COMMAND [ARGUMENTS]") };
    if Cluster::programs().is_none() {
        return say("PostgreSQL is not installed: its programs initdb and pg_ctl are needed");
    }
    let settings: &[&str] = if durable { &[] } else { &WITHOUT_FLUSHES };
    ExitCode::from(u8::try_from(run_with_cluster(settings, &command, arguments)).unwrap_or(1))
}

fn say(text: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{text}");
    ExitCode::from(2)
}
