//! The `muster` program.

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use muster_server::cli::models;

#[derive(Parser)]
#[command(name = "muster", version, about = "Attendance and exam evidence")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The face models
    Models(models::ModelsArgs),
}

fn main() -> ExitCode {
    let Arguments { command: Command::Models(arguments) } = Arguments::parse();
    models::run(arguments).unwrap_or_else(|error| {
        // There is nobody left to tell if standard error is closed.
        let _ = writeln!(std::io::stderr(), "muster: {error}");
        ExitCode::FAILURE
    })
}
