//! The command line: `muster serve` and the commands around it.

mod admin;
mod audit;
pub mod config;
pub mod demo;
mod keys;
mod migrate;
pub mod models;
mod rebuild;
mod roster;
pub mod serve;
mod sessions;
mod verify;

use std::path::Path;
use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::{Report, Resolved, Sources};

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
    /// Look at the settings.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Look at the server's keys, copy them for the safe, and replace what is lost.
    #[command(subcommand)]
    Keys(Box<keys::Keys>),
    /// Manage accounts without a running server.
    #[command(subcommand)]
    Admin(admin::Admin),
    /// Import people, courses and enrolments.
    #[command(subcommand)]
    Roster(Box<roster::Roster>),
    /// See which class sessions several people say are theirs, and settle whose plan stands.
    #[command(subcommand)]
    Sessions(sessions::Sessions),
}

/// The names of all commands, such as `admin` and `admin create`.
pub fn commands() -> Vec<String> {
    let mut names = Vec::new();
    for command in Cli::command().get_subcommands() {
        names.push(command.get_name().to_owned());
        let below = command.get_subcommands();
        names.extend(below.map(|below| format!("{} {}", command.get_name(), below.get_name())));
    }
    names
}

/// Reads the arguments, runs the command and says how it ended.
pub fn run() -> ExitCode {
    let sources = Sources::of_process_in(Path::new("."));
    let command = Cli::command();
    let resolved = Resolved::new(&sources, &command);
    let matches = resolved.apply(command).get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    if !matches!(cli.command, Command::Config(_)) {
        let mut problems = problems_of(&resolved, &matches);
        if matches!(cli.command, Command::Serve(_)) {
            problems.extend(resolved.refused.iter().map(|(name, text)| format!("{name}: {text}")));
        }
        if !problems.is_empty() {
            complain(&problems.join("\n"));
            return ExitCode::from(USAGE);
        }
    }
    let remarks = match matches.subcommand_matches("serve") {
        Some(serve) => Report::of(&resolved, serve).remarks(),
        None => Vec::new(),
    };
    match perform(cli.command, &sources, &remarks) {
        Ok(code) => code,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// The status of a program that was called wrongly, as clap has it.
const USAGE: u8 = 2;

fn perform(command: Command, sources: &Sources, remarks: &[String]) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let done = |()| ExitCode::SUCCESS;
    match command {
        Command::Serve(serve) => serve::run(*serve, remarks).map(done).map_err(Into::into),
        Command::Migrate(migrate) => migrate::run(&migrate).map(done).map_err(Into::into),
        Command::Demo(demo) => demo::run(&demo),
        Command::Models(models) => models::run(models),
        Command::Verify(verify) => verify::run(&verify),
        Command::Audit(audit) => audit::run(&audit),
        Command::Rebuild(rebuild) => rebuild::run(&rebuild),
        Command::Config(command) => config::run(&command, sources),
        Command::Keys(keys) => keys::run(*keys).map_err(Into::into),
        Command::Admin(admin) => admin::run(admin).map(done).map_err(Into::into),
        Command::Roster(roster) => roster::run(&roster),
        Command::Sessions(sessions) => sessions::run(sessions).map(done).map_err(Into::into),
    }
}

/// Values of the environment that this command would use and cannot read; those of other commands do not matter now.
fn problems_of(resolved: &Resolved, matches: &ArgMatches) -> Vec<String> {
    let mut used = Vec::new();
    let (mut command, mut matches) = (Cli::command(), matches);
    loop {
        for argument in command.get_arguments() {
            let given = matches.value_source(argument.get_id().as_str());
            if given != Some(clap::parser::ValueSource::CommandLine) {
                used.extend(argument.get_env().and_then(|name| name.to_str()).map(str::to_owned));
            }
        }
        let Some((name, below)) = matches.subcommand() else { break };
        let Some(found) = command.find_subcommand(name).cloned() else { break };
        (command, matches) = (found, below);
    }
    let matters = |name: &String| name == ".env" || used.contains(name);
    resolved.problems.iter().filter(|(name, _)| matters(name)).map(|(name, text)| format!("{name}: {text}")).collect()
}

fn complain(text: &str) {
    let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("muster: {text}\n"));
}
