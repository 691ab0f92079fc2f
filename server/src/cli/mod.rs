//! The command line: `muster serve` and the commands around it.

mod admin;
pub mod serve;

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
    Serve(serve::Serve),
    /// Manage accounts without a running server.
    #[command(subcommand)]
    Admin(admin::Admin),
}

/// Reads the arguments, runs the command and says how it ended.
pub fn run() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(serve) => serve::run(serve),
        Command::Admin(admin) => admin::run(admin),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("muster: {error}\n"));
            ExitCode::FAILURE
        }
    }
}
