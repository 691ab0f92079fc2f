//! `muster roster import`: people, courses and enrolments from a university's registry.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;

use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressStyle};

use super::admin::{actor, with_database};
use crate::app::StartError;
use crate::clock::{SystemClock, SystemEntropy};
use crate::config::DataConfig;
use crate::roster::{Format, Importer, LIMITS, Options, Progress, Report, RosterError, Stage};

/// The status when something was imported and some rows were bad.
const SOME_ROWS_BAD: u8 = 2;
/// Rows between two lines where there is no terminal.
const ROWS_PER_LINE: u64 = 100_000;

/// `muster roster ...`
#[derive(Debug, Subcommand)]
pub(super) enum Roster {
    /// Import people, courses and enrolments. The status is 0 when every row was good, 2 when some were bad, and 1 when
    /// nothing could be imported.
    #[command(after_long_help = HELP)]
    Import(Import),
}

/// The roster.
#[derive(Debug, Args)]
pub(super) struct Import {
    #[command(flatten)]
    data: DataConfig,

    /// A OneRoster folder or .zip, or one CSV.
    path: PathBuf,

    /// What it looks like.
    #[arg(long, value_enum, default_value = "auto")]
    format: Format,

    /// Only say what would change.
    #[arg(long)]
    dry_run: bool,

    /// One bad row stops everything.
    #[arg(long)]
    strict: bool,

    /// Whoever came from the registry and is not in a complete OneRoster set (file.users,bulk) any more loses access.
    #[arg(long)]
    disable_missing: bool,

    /// An account with the address of a person is that person's, also if nobody has confirmed the address.
    #[arg(long)]
    trust_emails: bool,

    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

const HELP: &str = "\
OneRoster 1.2 or 1.1 (CSV): a folder or .zip with manifest.csv, users.csv, roles.csv (1.2) or a column role in users.csv
(1.1), classes.csv, courses.csv and enrollments.csv. A class becomes a course. Other files are not read, passwords never.

A plain CSV has a header and these columns, in any order; separators are , ; or tab. Capitals, spaces, - and _ do not matter:
  email         needed; also mail, e-mail address
  name          or given_name and family_name (first name, last name); needed for new people
  username      another name to sign in with
  external_id   the registry's id, by which a person is found again; also student id, matriculation number, roll number
  section       the group in which a student is taught
  role          student (default), lecturer or teacher, staff
  course        a code, or several with | between them; or one row for each course
  course_title  default: the code
  status        active or inactive: ends the place in the course, or without a course the access
  password_hash of the system before, for new people: Argon2, bcrypt, or PBKDF2 with SHA-256 as passlib or Django write it

People are found by the registry's id, else by e-mail address. Who comes without a password_hash signs in through a provider,
or sets a password by mail; nobody's password is changed. A roster makes nobody an admin, takes no role away and deletes
nobody; who is not in it any more is reported.

Everything is written in one transaction. While a server runs on the same SQLite file, its writes wait for it, and give up
after 5 seconds: large rosters are better sent to the running server, POST /api/v1/admin/roster/import.";

/// Runs the command.
pub(super) fn run(roster: &Roster) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let Roster::Import(import) = roster;
    let options = Options {
        format: import.format,
        dry_run: import.dry_run,
        strict: import.strict,
        disable_missing: import.disable_missing,
        trust_emails: import.trust_emails,
    };
    let shown = Shown::new();
    let bar = shown.bar.clone();
    let name = import.path.file_name().unwrap_or(import.path.as_os_str()).to_string_lossy().into_owned();
    let imported = with_database(&import.data, |db| {
        let importer = Importer {
            db,
            clock: &SystemClock,
            entropy: &SystemEntropy,
            actor: actor(),
            created_by: None,
            limits: LIMITS,
            progress: Progress::to(move |stage, done, total| shown.show(stage, done, total)),
        };
        Ok::<_, StartError>(importer.import(&import.path, &name, options))
    });
    bar.finish_and_clear();
    match imported? {
        Ok(imported) => {
            print(&imported.report, import.json)?;
            let bad = imported.report.bad_rows > 0;
            Ok(if bad { ExitCode::from(SOME_ROWS_BAD) } else { ExitCode::SUCCESS })
        }
        Err(RosterError::Strict(report)) => {
            print(&report, import.json)?;
            Err(RosterError::Strict(report).into())
        }
        Err(error) => Err(error.into()),
    }
}

/// A bar where there is a terminal, and a line now and then where there is none.
struct Shown {
    bar: ProgressBar,
    terminal: bool,
    last: Mutex<Option<Stage>>,
}

impl Shown {
    fn new() -> Self {
        let terminal = io::stderr().is_terminal();
        let bar = if terminal { ProgressBar::no_length() } else { ProgressBar::hidden() };
        let template = "{msg:10} {wide_bar} {pos} of {len} rows, {per_sec}, {eta} left";
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, terminal, last: Mutex::new(None) }
    }

    fn show(&self, stage: Stage, done: u64, total: u64) {
        let Ok(mut last) = self.last.lock() else { return };
        let begins = last.replace(stage) != Some(stage);
        let word = match stage {
            Stage::Read => "reading",
            Stage::Compare => "comparing",
            Stage::Write => "writing",
        };
        if self.terminal {
            if begins {
                self.bar.reset();
                self.bar.set_message(word);
            }
            if total > 0 {
                self.bar.set_length(total);
            }
            self.bar.set_position(done);
        } else if begins || done.is_multiple_of(ROWS_PER_LINE) || (total > 0 && done == total) {
            let of = if total > 0 { format!(" of {total}") } else { String::new() };
            let _ = writeln!(io::stderr().lock(), "{word}: {done}{of} rows");
        }
    }
}

fn print(report: &Report, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, report)?;
        return writeln!(out);
    }
    for file in &report.files {
        writeln!(out, "{}: {} rows", file.name, file.rows)?;
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["", "new", "changed", "as before", "ended", "missing", "bad"]);
    let Report { users, courses, lecturers, enrolments, .. } = report;
    let mut row = |name: &str, counts: [u64; 6]| {
        table.add_row(std::iter::once(name.to_owned()).chain(counts.map(|count| count.to_string())));
    };
    row("accounts", [users.created, users.updated, users.unchanged, users.disabled, users.missing, users.bad]);
    row("courses", [courses.created, courses.updated, courses.unchanged, courses.ended, 0, courses.bad]);
    for (name, places) in [("lecturers", lecturers), ("enrolments", enrolments)] {
        row(name, [places.added, 0, places.unchanged, places.removed, places.missing, places.bad]);
    }
    writeln!(out, "{table}")?;
    for change in &report.changes {
        writeln!(out, "{} {} {}: {}", change.action, change.kind, change.which, change.what)?;
    }
    for problem in &report.problems {
        let column = problem.column.as_ref().map_or(String::new(), |column| format!(", {column}"));
        writeln!(out, "BAD {} line {}{column}: {}; {}", problem.file, problem.line, problem.what, problem.fix)?;
    }
    let unlisted = report.bad_rows - report.problems.len() as u64;
    if unlisted > 0 {
        writeln!(out, "and {unlisted} more bad rows")?;
    }
    for note in &report.notes {
        writeln!(out, "note: {note}")?;
    }
    writeln!(out, "{} rows were skipped, {} are bad", report.skipped_rows, report.bad_rows)?;
    let time = report.elapsed_ms;
    writeln!(out, "read in {} ms, compared in {} ms, written in {} ms", time.read, time.compare, time.write)?;
    writeln!(out, "{}", outcome(report))
}

fn outcome(report: &Report) -> &'static str {
    match (report.dry_run, report.applied, report.changes_anything()) {
        (_, _, false) => "nothing changes",
        (true, ..) => "a dry run: nothing was written",
        (false, true, true) => "imported",
        (false, false, true) => "nothing was written",
    }
}
