//! The command line: `muster serve` and the commands around it.

mod admin;
mod audit;
pub mod demo;
mod migrate;
pub mod models;
mod rebuild;
mod roster;
pub mod serve;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Attendance and exam evidence that survives a dead network, a wrong clock and a dishonest phone.
#[derive(Debug, Parser)]
#[command(name = "muster", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server.
    Serve(Box<serve::Serve>),
    /// Bring the tables of the database up to date; `serve` does so too.
    Migrate(migrate::Migrate),
    /// Play a lecture with 40 phones, cheats among them, on a server of its own.
    Demo(demo::Demo),
    /// Bring the face models, or show which are there.
    Models(models::ModelsArgs),
    /// Check every signature, chain and place of the log, with the server stopped.
    Verify(verify::Verify),
    /// Check the audit log, with the server running or stopped.
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Make every projection again from the log and compare, with the server stopped.
    Rebuild(rebuild::Rebuild),
    /// Manage accounts without a running server.
    #[command(subcommand)]
    Admin(admin::Admin),
    /// Import people, courses and enrolments.
    #[command(subcommand)]
    Roster(Box<roster::Roster>),
}

/// Reads the arguments, runs the command and says how it ended.
pub fn run() -> ExitCode {
    let done = |()| ExitCode::SUCCESS;
    let result: Result<ExitCode, Box<dyn std::error::Error>> = match Cli::parse().command {
        Command::Serve(serve) => serve::run(*serve).map(done).map_err(Into::into),
        Command::Migrate(migrate) => migrate::run(&migrate).map(done).map_err(Into::into),
        Command::Demo(demo) => demo::run(&demo),
        Command::Models(models) => models::run(models),
        Command::Verify(verify) => verify::run(&verify),
        Command::Audit(audit) => audit::run(&audit),
        Command::Rebuild(rebuild) => rebuild::run(&rebuild),
        Command::Admin(admin) => admin::run(admin).map(done).map_err(Into::into),
        Command::Roster(roster) => roster::run(&roster),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("muster: {error}\n"));
            ExitCode::FAILURE
        }
    }
}
