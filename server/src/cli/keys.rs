//! `muster keys ...`: which keys a server has and whether they are those of its database, a copy of them for the safe, and
//! what to do when one is lost.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use serde_json::json;
use zeroize::Zeroizing;

use super::admin::{actor, tell, tell_json};
use super::verify;
use crate::app::StartError;
use crate::audit::{self, Action, Event};
use crate::clock::{Clock, SystemClock, SystemEntropy, iso_utc};
use crate::config::{Config, DataConfig};
use crate::data_lock::DataLock;
use crate::db::{DbError, Tx};
use crate::keyring::{self, Bundle, Known, Material};
use crate::keys::KeyFile;
use crate::telemetry;

/// `muster keys ...`
#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// Show every key, its id, what depends on it, and whether it is the one of this database. The status is 0 only if the
    /// server would start with them.
    Check(Check),
    /// Let another key take the place of one that is lost, with the server stopped; says what ends with it.
    Replace(Replace),
    /// Write a copy of the key files into one file, for the safe.
    Export(Copy),
    /// Put key files back from such a copy. A file that is there is never replaced.
    Import(Copy),
}

/// Arguments of `muster keys check`.
#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    config: Config,

    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

/// Arguments of `muster keys replace`.
#[derive(Debug, Args)]
pub(super) struct Replace {
    #[command(flatten)]
    config: Config,

    /// Which one: session-code, token, token-pepper, oauth, mail or legacy-id.
    key: String,
}

/// Arguments of `muster keys export` and `import`.
#[derive(Debug, Args)]
pub(super) struct Copy {
    #[command(flatten)]
    data: DataConfig,

    /// The copy.
    path: PathBuf,

    /// A file with the passphrase that seals it; without one it holds the keys in clear.
    #[arg(long)]
    passphrase_file: Option<PathBuf>,
}

/// Runs the command.
pub(super) fn run(keys: Keys) -> Result<ExitCode, StartError> {
    match keys {
        Keys::Check(arguments) => check(&arguments),
        Keys::Replace(arguments) => replace(&arguments).map(|()| ExitCode::SUCCESS),
        Keys::Export(arguments) => export(&arguments).map(|()| ExitCode::SUCCESS),
        Keys::Import(arguments) => import(&arguments).map(|()| ExitCode::SUCCESS),
    }
}

fn check(check: &Check) -> Result<ExitCode, StartError> {
    let config = &check.config;
    telemetry::start(&config.data).map_err(StartError::Other)?;
    let db = verify::open(&config.data, false)?;
    let known = keyring::look(&db, config);
    db.close();
    let known = known?;
    let rows: Vec<_> = known.iter().map(|known| row(config, known)).collect();
    let fits = known.iter().all(|known| known.problem(config).is_none());
    if check.json {
        tell_json(&json!({ "keys": rows, "fits": fits }))?;
    } else {
        tell(&table(&rows))?;
        let problems = known.iter().filter_map(|known| known.problem(config));
        problems.into_iter().try_for_each(|problem| tell(&format!("WRONG: {problem}\n")))?;
    }
    Ok(if fits { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A key as `check` shows it.
#[derive(serde::Serialize)]
struct Shown {
    key: &'static str,
    place: String,
    id: Option<String>,
    expected_id: Option<String>,
    since: Option<String>,
    state: &'static str,
    depends: &'static str,
}

fn row(config: &Config, known: &Known) -> Shown {
    let found = match &known.material {
        Material::Found(found) => Some(found),
        _ => None,
    };
    let state = match (&known.material, &known.mark) {
        _ if known.problem(config).is_some() => "wrong",
        (Material::Unused, _) => "not used",
        (Material::Missing, _) => "made at the next start",
        (_, None) if known.key == KeyFile::Mfa => "nothing sealed yet",
        (_, None) => "noted at the next start",
        _ => "fits",
    };
    Shown {
        key: known.key.name(),
        place: found.map_or_else(|| known.key.file_name().to_owned(), |found| found.place.clone()),
        id: found.map(|found| found.id.clone()),
        expected_id: known.mark.as_ref().map(|mark| mark.id.clone()),
        since: known.mark.as_ref().and_then(|mark| mark.since_ms).map(iso_utc),
        state,
        depends: keyring::depends(known.key),
    }
}

fn table(rows: &[Shown]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["key", "state", "id", "since", "under it"]);
    for row in rows {
        let id = row.id.as_deref().unwrap_or("-");
        table.add_row([row.key, row.state, &id[..id.len().min(16)], row.since.as_deref().unwrap_or("-"), row.depends]);
    }
    format!("{table}\n")
}

fn replace(replace: &Replace) -> Result<(), StartError> {
    let config = &replace.config;
    telemetry::start(&config.data).map_err(StartError::Other)?;
    let Some(key) = KeyFile::ALL.into_iter().find(|key| key.name() == replace.key) else {
        return Err(StartError::Other(format!("there is no key {}; `muster keys check` lists them", replace.key)));
    };
    if let Some(why) = keyring::why_not_replaceable(key) {
        return Err(StartError::Other(why.to_owned()));
    }
    let _lock = DataLock::take(&config.data)?;
    let db = verify::open(&config.data, true)?;
    // The file goes first: cut in between, the next start refuses, and this command ends the work.
    let done = keyring::set_aside(config, key).and_then(|()| {
        let (actor, now_ms) = (actor(), SystemClock.now_ms());
        let written = db.write_blocking::<_, DbError, _>(move |tx: &Tx<'_>| {
            keyring::forget(tx, key)?;
            let event = Event {
                action: Action::KeyReplace,
                kind: "key",
                id: key.name(),
                reason: None,
                result: "made_at_next_start",
            };
            audit::record(tx, &actor, &event, now_ms)
        });
        written.map_err(StartError::from)
    });
    db.close();
    done?;
    tell(&format!("the next start makes another {} key: {}\n", key.name(), keyring::what_ends(key)))
}

fn export(copy: &Copy) -> Result<(), StartError> {
    let bundle = Bundle::of_folder(&copy.data.keys_dir())?;
    let count = bundle.len();
    bundle.write(&copy.path, passphrase(copy)?.as_ref(), &SystemEntropy)?;
    tell(&format!("{count} keys are in {}\n", copy.path.display()))?;
    if copy.passphrase_file.is_none() {
        let warning = "warning: they are in clear. Whoever has this file can sign as this server and open the evidence of \
                       every person; --passphrase-file seals it\n";
        let _ = std::io::stderr().lock().write_all(warning.as_bytes());
    }
    Ok(())
}

fn import(copy: &Copy) -> Result<(), StartError> {
    let bundle = Bundle::read(&copy.path, passphrase(copy)?.as_ref())?;
    let placed = bundle.place(&copy.data.keys_dir(), &SystemEntropy)?;
    let names = if placed.is_empty() { "nothing: all of them were there".to_owned() } else { placed.join(", ") };
    tell(&format!("put back: {names}\n"))
}

/// The first line of the file.
fn passphrase(copy: &Copy) -> Result<Option<Zeroizing<String>>, StartError> {
    let read = |path: &Path| {
        let text = std::fs::read_to_string(path).map(Zeroizing::new);
        let text = text.map_err(|error| StartError::Io(path.display().to_string(), error))?;
        Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
    };
    copy.passphrase_file.as_deref().map(read).transpose()
}
