//! `muster audit verify`: proves that no row of the audit log was changed, removed, put in or moved.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::verify;
use crate::app::StartError;
use crate::audit::{self, AuditHeadFile, Report};
use crate::config::DataConfig;
use crate::telemetry;

/// `muster audit ...`
#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// Check every row of every tenant's audit log, and its head.
    Verify(Verify),
}

/// Arguments of `muster audit verify`.
#[derive(Debug, Args)]
pub(super) struct Verify {
    #[command(flatten)]
    data: DataConfig,

    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command; its status is 0 only if nothing is wrong.
pub(super) fn run(audit: &Audit) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let Audit::Verify(arguments) = audit;
    telemetry::start(&arguments.data).map_err(StartError::Other)?;
    let keys_dir = arguments.data.keys_dir();
    let db = verify::open(&arguments.data, false)?;
    let key = verify::server_key(&db, &arguments.data).inspect_err(|_| db.close())?;
    let report = audit::verify(&db, &key.public(), &AuditHeadFile::in_folder(&keys_dir));
    db.close();
    let report = report?;
    let mut out = std::io::stdout().lock();
    if arguments.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else {
        print(&mut out, &report)?;
    }
    Ok(if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(out: &mut impl Write, report: &Report) -> std::io::Result<()> {
    for tenant in &report.tenants {
        let head = tenant.head.as_deref().unwrap_or("none");
        let covered = tenant.covered_rows.map_or("no signed head".to_owned(), |rows| format!("signed up to {rows}"));
        writeln!(out, "{}: {} rows, {covered}, head {head}", tenant.tenant, tenant.rows)?;
        if let Some(number) = tenant.broken_at {
            writeln!(out, "{}: {} broken numbers, the first is {number}", tenant.tenant, tenant.bad_rows)?;
        }
    }
    for note in &report.notes {
        writeln!(out, "note: {note}")?;
    }
    for finding in &report.findings {
        writeln!(out, "WRONG: {finding}")?;
    }
    let seconds = report.elapsed_ms as f64 / 1e3;
    writeln!(out, "checked {} rows in {seconds:.2} s: {} rows/s", report.rows, report.rows_per_s())?;
    writeln!(
        out,
        "{}",
        if report.findings.is_empty() { "the audit log is whole" } else { "the audit log is NOT whole" }
    )
}
