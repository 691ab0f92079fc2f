//! `muster verify`: checks the whole log with the server stopped, and says which rows are wrong.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::app::{self, StartError};
use crate::clock::{Clock, SystemClock};
use crate::config::{DataConfig, DatabaseUrl};
use crate::data_lock::DataLock;
use crate::db::Db;
use crate::log::{HeadFile, ServerKey};
use crate::recovery::{self, Report};
use crate::{keyring, telemetry};

/// Arguments of `muster verify`.
#[derive(Debug, Args)]
pub(super) struct Verify {
    #[command(flatten)]
    data: DataConfig,

    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command; its status is 0 only if nothing is wrong.
pub(super) fn run(verify: &Verify) -> Result<ExitCode, Box<dyn std::error::Error>> {
    telemetry::start(&verify.data).map_err(StartError::Other)?;
    let keys_dir = verify.data.keys_dir();
    let file = HeadFile::in_folder(&keys_dir);
    let db = open(&verify.data, false)?;
    let key = server_key(&db, &verify.data).inspect_err(|_| db.close())?;
    let bar = progress_bar("rows");
    let report = recovery::verify(&db, &key, &file, &|done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    db.close();
    let report = report?;
    let mut out = std::io::stdout().lock();
    if verify.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else {
        print(&mut out, &report)?;
    }
    Ok(if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The database of a stopped server. A SQLite file is opened for reading unless `writes`; PostgreSQL is brought up to date.
pub(super) fn open(data: &DataConfig, writes: bool) -> Result<Db, StartError> {
    match data.database()? {
        DatabaseUrl::Sqlite(path) if !writes => Ok(Db::open_sqlite_read_only(&path)?),
        DatabaseUrl::Sqlite(_) | DatabaseUrl::Postgres(_) => app::open_database(data, SystemClock.now_ms()),
    }
}

/// The database of a stopped server, for a command that changes what servers rely on, and the lock that keeps them stopped.
pub(super) fn open_alone(data: &DataConfig) -> Result<(Option<DataLock>, Db), StartError> {
    let lock = DataLock::take(data)?;
    let db = open(data, true)?;
    match db.has_others() {
        Ok(false) => Ok((lock, db)),
        found => {
            db.close();
            found?;
            let text = "a server, or another command, uses this database: stop every server of it first";
            Err(StartError::Other(text.to_owned()))
        }
    }
}

/// The key that signed the log, by which it is held to be whole or not: never another one.
pub(super) fn server_key(db: &Db, data: &DataConfig) -> Result<ServerKey, StartError> {
    keyring::check_server(db, data)?;
    let keys_dir = data.keys_dir();
    ServerKey::load(&keys_dir)
        .map_err(|error| StartError::Io(format!("the server's key in {}", keys_dir.display()), error))
}

/// A bar on standard error, where there is a terminal.
pub(super) fn progress_bar(unit: &str) -> ProgressBar {
    let bar = ProgressBar::new(0);
    let template = format!("{{wide_bar}} {{pos}} of {{len}} {unit}, {{per_sec}}, {{eta}} left");
    bar.set_style(ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

fn print(out: &mut impl Write, report: &Report) -> std::io::Result<()> {
    for tenant in &report.tenants {
        let covered = tenant.covered_index.map_or("no signed head".to_owned(), |index| format!("signed up to {index}"));
        writeln!(out, "{}: {} rows, generation {}, {covered}", tenant.tenant, tenant.rows, tenant.generation)?;
    }
    for note in &report.notes {
        writeln!(out, "note: {note}")?;
    }
    for finding in &report.findings {
        let place = finding.log_index.map_or(String::new(), |index| format!(", row {index}"));
        writeln!(out, "WRONG: {}{place}: {}", finding.tenant, finding.what)?;
    }
    let seconds = report.elapsed_ms as f64 / 1e3;
    let rate = report.rows_per_s();
    writeln!(out, "checked {} rows in {seconds:.2} s on {} threads: {rate} rows/s", report.rows, report.workers)?;
    let verdict = if report.findings.is_empty() { "the log is whole" } else { "the log is NOT whole" };
    writeln!(out, "{verdict}")
}
