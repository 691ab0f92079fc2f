//! `muster config check`: the settings as `muster serve` would get them, and whether it would start with them.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use comfy_table::{ContentArrangement, Table, presets};

use super::serve;
use crate::config::{Config, Report, Sources, example};

/// `muster config ...`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print every setting with its origin, without secrets; the status is 0 only if the server would start.
    Check(Check),
    /// Print every setting as a file `.env` that changes nothing.
    Example,
}

/// Arguments of `muster config check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Print it as JSON.
    #[arg(long)]
    pub json: bool,

    /// Arguments as they would be given to `muster serve`, after `--`.
    #[arg(last = true)]
    pub arguments: Vec<String>,
}

/// Runs the command.
pub(super) fn run(command: &ConfigCommand, sources: &Sources) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let out = io::stdout();
    let check = match command {
        ConfigCommand::Check(check) => check,
        ConfigCommand::Example => {
            out.lock().write_all(example().as_bytes())?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let wide = out.is_terminal();
    run_to(check, sources, wide, &mut out.lock())
}

/// Runs the command and writes to `out`; long values are wrapped if it is a terminal.
///
/// # Errors
/// When an argument cannot be read, or `out` not written.
pub fn run_to(
    check: &Check,
    sources: &Sources,
    terminal: bool,
    out: &mut dyn Write,
) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut report = Report::new(sources, check.arguments.iter().cloned())?;
    if let Ok(config) = Config::from_sources(sources, check.arguments.iter().cloned()) {
        rehearse(&config, &mut report);
    }
    if check.json {
        serde_json::to_writer_pretty(&mut *out, &report)?;
        writeln!(out)?;
    } else {
        print(&report, terminal, out)?;
    }
    Ok(if report.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Adds what only a start would notice. What was said about a setting already is not said in other words.
fn rehearse(config: &Config, report: &mut Report) {
    let name = |problem: &str| problem.split(':').next().unwrap_or_default().to_owned();
    let told: Vec<String> = report.problems.iter().map(|problem| name(problem)).collect();
    report.problems.extend(serve::rehearse(config).into_iter().filter(|problem| !told.contains(&name(problem))));
    if let Some(dir) = config.models_dir.as_ref().filter(|dir| !dir.is_dir()) {
        let text = "is no folder, so faces will be unavailable; run muster models fetch";
        report.warnings.push(format!("MODELS_DIR: {} {text}", dir.display()));
    }
}

fn print(report: &Report, terminal: bool, out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["SETTING", "VALUE", "ORIGIN"]);
    if terminal {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    for row in &report.settings {
        table.add_row([row.name.clone(), row.value.clone().unwrap_or_else(|| "-".to_owned()), row.origin.to_string()]);
    }
    writeln!(out, "{}", table.trim_fmt())?;
    for ignored in &report.ignored {
        writeln!(out, "ignored: {}: {}", ignored.name, ignored.why)?;
    }
    for unknown in &report.unknown {
        writeln!(out, "warning: {unknown}")?;
    }
    for warning in &report.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    for problem in &report.problems {
        writeln!(out, "WRONG: {problem}")?;
    }
    let verdict = if report.problems.is_empty() { "the server would start" } else { "the server would NOT start" };
    writeln!(out, "{verdict}")
}
