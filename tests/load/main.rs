//! Load: what a storm, thousands of slow sockets, a whole campus that reconnects, a cold page, an idle exchange, a
//! growing log, a large audit log, a large roster, a hall that signs in and somebody hostile cost a real `muster serve`, measured from outside; and whether the
//! time of an answer tells who has an account.
//!
//! `cargo run --release -p muster-tests --bin load -- storm` after `cargo build --release`. The figures of one run stand
//! beside each other; figures of different machines, or of a busy one, do not compare.

mod audit;
mod decisions;
mod figures;
mod floor;
mod hostile;
mod import;
mod oracle;
mod page;
mod process;
mod reconnect;
mod scale;
mod sign_in;
mod slow;
mod storm;

use std::process::ExitCode;

pub(crate) use muster_tests::campus::Result;

const USAGE: &str = "usage: load storm [--rounds N] [--students N] [--pull] | load page | load idle
       load slow [--sockets N] [--seconds N] | load reconnect [--phones N] [--seconds N] | load scale [--changes N]
       load audit [--rows N]
       load decisions
       load hostile
       load oracle [--each N]
       load import [--students N]
       load sign-in [--phones N] [--seconds N]
--database postgresql://user@host/postgres runs the server, and the floor, on databases that it makes there.
MUSTER names the server's binary; default: `muster` beside this one. This one does some of its work too: `load serve`,
`load config`, `load admin`, `load roster`, `load sessions`, `load verify`, `load rebuild`, `load keys` and `load audit verify` are those of
`muster`.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().take(2).map(String::as_str).collect();
    if let ["serve" | "config" | "admin" | "roster" | "sessions" | "verify" | "rebuild" | "keys", ..]
    | ["audit", "verify"] = words[..]
    {
        return muster_server::cli::run();
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            figures::say(&format!("load: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let number = |name: &str, default: usize| -> Result<usize> {
        match arguments.iter().position(|argument| argument == name) {
            Some(at) => Ok(arguments.get(at + 1).ok_or(USAGE)?.parse()?),
            None => Ok(default),
        }
    };
    if let Some(at) = arguments.iter().position(|argument| argument == "--database") {
        muster_tests::postgres::use_server(arguments.get(at + 1).ok_or(USAGE)?);
    }
    match arguments.first().map(String::as_str) {
        Some("storm") => storm::run(&storm::Options {
            rounds: number("--rounds", 10)?,
            students: number("--students", 200)?,
            pull: arguments.iter().any(|argument| argument == "--pull"),
        }),
        Some("oracle") => oracle::run(number("--each", 400)?),
        Some("page") => page::cold_page(),
        Some("idle") => page::idle(),
        Some("slow") => {
            slow::run(&slow::Options { sockets: number("--sockets", 9_000)?, seconds: number("--seconds", 30)? })
        }
        Some("reconnect") => reconnect::run(&reconnect::Options {
            phones: number("--phones", 2_000)?,
            seconds: number("--seconds", 10)?,
        }),
        Some("sign-in") => {
            sign_in::run(&sign_in::Options { phones: number("--phones", 400)?, seconds: number("--seconds", 60)? })
        }
        Some("decisions") => decisions::run(),
        Some("hostile") => hostile::run(),
        Some("import") => import::run(number("--students", 100_000)?),
        Some("scale") => scale::run(number("--changes", 1_000_000)?),
        Some("audit") => audit::run(number("--rows", 1_000_000)?),
        _ => Err(USAGE.into()),
    }
}
