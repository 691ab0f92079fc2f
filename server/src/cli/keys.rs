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
use crate::blobs::reseal::Resealed;
use crate::clock::{Clock, SystemClock, SystemEntropy, iso_utc};
use crate::config::{Config, DataConfig};
use crate::db::{Db, DbError, Tx};
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
    /// Let another key take the place of one that is there, with the server stopped: what is sealed is sealed anew, and
    /// nothing ends. Cut off, it goes on when it is run again.
    Rotate(Rotate),
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

/// Arguments of `muster keys rotate`.
#[derive(Debug, Args)]
pub(super) struct Rotate {
    #[command(flatten)]
    config: Config,

    /// Which one: master, mfa or token.
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
        Keys::Rotate(arguments) => rotate(&arguments),
        Keys::Export(arguments) => export(&arguments).map(|()| ExitCode::SUCCESS),
        Keys::Import(arguments) => import(&arguments).map(|()| ExitCode::SUCCESS),
    }
}

fn check(check: &Check) -> Result<ExitCode, StartError> {
    let config = &check.config;
    telemetry::start(&config.data).map_err(StartError::Other)?;
    let db = verify::open(&config.data, false)?;
    let looked = keyring::look(&db, config).and_then(|known| {
        let rows = known.iter().map(|known| row(&db, config, known)).collect::<Result<Vec<_>, _>>()?;
        Ok((known, rows))
    });
    db.close();
    let (known, rows) = looked?;
    let fits = known.iter().all(|known| known.problem(config).is_none());
    let opens = rows.iter().all(|row| row.sealed.as_ref().is_none_or(|sealed| sealed.unopened == 0));
    if check.json {
        tell_json(&json!({ "keys": rows, "fits": fits, "opens": opens }))?;
    } else {
        tell(&table(&rows))?;
        let problems = known.iter().filter_map(|known| known.problem(config));
        problems.into_iter().try_for_each(|problem| tell(&format!("WRONG: {problem}\n")))?;
        let sealed = rows.iter().filter_map(|row| Some((row.key, row.sealed.as_ref()?)));
        sealed.filter_map(|(key, sealed)| unopened(key, sealed)).try_for_each(|text| tell(&text))?;
    }
    Ok(if fits && opens { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Which rows do not open, if there are any.
fn unopened(key: &str, sealed: &Resealed) -> Option<String> {
    let named = sealed.named.join(", ");
    (sealed.unopened > 0).then(|| {
        format!("WRONG: {} of {} rows do not open under the {key} key, of {named}\n", sealed.unopened, sealed.rows)
    })
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
    /// What is sealed under it, and how much of that does not open.
    #[serde(skip_serializing_if = "Option::is_none")]
    sealed: Option<Resealed>,
}

fn row(db: &Db, config: &Config, known: &Known) -> Result<Shown, StartError> {
    let sealed = match known.problem(config) {
        Some(_) => None,
        None => keyring::prove(db, config, known.key, &SystemEntropy)?,
    };
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
    Ok(Shown {
        key: known.key.name(),
        place: found.map_or_else(|| known.key.file_name().to_owned(), |found| found.place.clone()),
        id: found.map(|found| found.id.clone()),
        expected_id: known.mark.as_ref().map(|mark| mark.id.clone()),
        since: known.mark.as_ref().and_then(|mark| mark.since_ms).map(iso_utc),
        state,
        depends: keyring::depends(known.key),
        sealed,
    })
}

fn table(rows: &[Shown]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["key", "state", "id", "since", "opens", "under it"]);
    for row in rows {
        let (id, since) = (row.id.as_deref().unwrap_or("-"), row.since.as_deref().unwrap_or("-"));
        let opens = row
            .sealed
            .as_ref()
            .map_or_else(String::new, |sealed| format!("{} of {}", sealed.rows - sealed.unopened, sealed.rows));
        table.add_row([row.key, row.state, &id[..id.len().min(16)], since, &opens, row.depends]);
    }
    format!("{table}\n")
}

fn replace(replace: &Replace) -> Result<(), StartError> {
    let config = &replace.config;
    telemetry::start(&config.data).map_err(StartError::Other)?;
    let key = named(&replace.key)?;
    if let Some(why) = keyring::why_not_replaceable(key) {
        return Err(StartError::Other(why.to_owned()));
    }
    let (_lock, db) = verify::open_alone(&config.data)?;
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
    tell(&format!(
        "the next start takes the {} key of the settings, or makes another one: {}\n",
        key.name(),
        keyring::what_ends(key)
    ))
}

fn named(name: &str) -> Result<KeyFile, StartError> {
    let found = KeyFile::ALL.into_iter().find(|key| key.name() == name);
    found.ok_or_else(|| StartError::Other(format!("there is no key {name}; `muster keys check` lists them")))
}

/// Its status is 0 only if all that was sealed under the key before opens under the new one.
fn rotate(rotate: &Rotate) -> Result<ExitCode, StartError> {
    let config = &rotate.config;
    config.check()?;
    telemetry::start(&config.data).map_err(StartError::Other)?;
    let key = named(&rotate.key)?;
    if let Some(why) = keyring::why_not_rotatable(config, key) {
        return Err(StartError::Other(why));
    }
    let (_lock, db) = verify::open_alone(&config.data)?;
    let rotated = keyring::rotate(&db, config, key, &SystemEntropy, &actor(), SystemClock.now_ms());
    db.close();
    let rotated = rotated?;
    tell(&format!("the {} key is the one with the id {} now\n", key.name(), rotated.id))?;
    match &rotated.resealed {
        Some(resealed) => tell(&format!("{} of {} rows were sealed anew\n", resealed.resealed, resealed.rows))?,
        None => tell("tokens of the key before it are good until they end\n")?,
    }
    if let Some(kept) = &rotated.kept {
        let what = match rotated.resealed {
            Some(_) => "older copies of the database open only with it",
            None => "nothing needs it once they have ended",
        };
        tell(&format!("the key before it is kept as {}: {what}\n", kept.display()))?;
    }
    if let Some(setting) = &rotated.setting {
        let file = config.data.keys_dir().join(key.file_name());
        tell(&format!("take {setting} out of the settings, or set it to what {} holds\n", file.display()))?;
    }
    let missed = rotated.resealed.as_ref().and_then(|resealed| unopened(key.name(), resealed));
    missed.iter().try_for_each(|text| tell(text))?;
    Ok(if missed.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
