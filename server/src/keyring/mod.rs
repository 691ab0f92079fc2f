//! Which keys a database belongs to: what was signed, sealed or hashed under a key is worth nothing under another one, so
//! the database knows the id of each, and no server starts on it with another.
//!
//! The keys themselves are read by the slices that use them. Here they are only told apart.

mod bundle;
mod cure;
mod material;
mod queries;
mod rotate;

use crate::app::StartError;
use crate::auth;
use crate::config::{Config, DataConfig};
use crate::db::{Db, DbError, Tx};
use crate::durable;
use crate::keys::{self, KeyFile};

pub use bundle::Bundle;
pub use cure::{depends, what_ends, why_not_replaceable};
pub use material::{Found, Material};
pub use queries::{Mark, forget};
pub use rotate::{Rotated, next_name, prove, rotate, why_not_rotatable};

/// A key as the settings and files have it, and as the database knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Which one.
    pub key: KeyFile,
    /// What is there.
    pub material: Material,
    /// What the database expects; `None` if it never saw one.
    pub mark: Option<Mark>,
    /// The id of the key that is to take its place, while its rotation is under way.
    pub next: Option<String>,
}

impl Known {
    /// Why no server may start with it; `None` if it may.
    pub fn problem(&self, config: &Config) -> Option<String> {
        if let Some(next) = &self.next {
            return Some(rotate::under_way(self.key, next));
        }
        let place = || material::place(config, self.key);
        match (&self.material, &self.mark) {
            (Material::Unreadable(why), _) => Some(why.clone()),
            (Material::Missing, Some(mark)) => Some(cure::sentence(self.key, &format!("{} is missing", place()), mark)),
            (Material::Found(found), Some(mark)) if !found.follows(mark) => {
                let what = format!("{} is another key, with the id {}", found.place, found.id);
                Some(cure::sentence(self.key, &what, mark))
            }
            _ => None,
        }
    }
}

/// Every key, as it is there and as the database knows it. Nothing is made. Blocks.
///
/// # Errors
/// When the database fails.
pub fn look(db: &Db, config: &Config) -> Result<Vec<Known>, StartError> {
    KeyFile::ALL.into_iter().map(|key| known(db, config, key)).collect()
}

fn known(db: &Db, config: &Config, key: KeyFile) -> Result<Known, StartError> {
    let next: Option<String> = db.read_blocking::<_, DbError, _>(move |tx: &Tx<'_>| queries::next_mark(tx, key))?;
    Ok(Known { key, material: material::of(config, key), mark: expected(db, config, key)?, next })
}

/// Refuses a server's key that is not the one of this database, for commands that hold the log against it: under another
/// one every row would look forged. Blocks.
///
/// # Errors
/// Says in one sentence which id was expected.
pub fn check_server(db: &Db, data: &DataConfig) -> Result<(), StartError> {
    let Some(mark) = expected_server(db)? else { return Ok(()) };
    let path = data.keys_dir().join(KeyFile::Server.file_name());
    let what = match keys::load(&data.keys_dir(), KeyFile::Server) {
        Ok(seed) => match material::id_of(KeyFile::Server, &seed) {
            id if id == mark.id => return Ok(()),
            id => format!("{} is another key, with the id {id}", path.display()),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => format!("{} is missing", path.display()),
        Err(error) => return Err(StartError::Other(error.to_string())),
    };
    Err(StartError::Other(cure::sentence(KeyFile::Server, &what, &mark)))
}

fn expected_server(db: &Db) -> Result<Option<Mark>, StartError> {
    let told = |tx: &Tx<'_>| match queries::mark(tx, KeyFile::Server)? {
        Some(mark) => Ok(Some(mark)),
        None => {
            let id = queries::server_of_log(tx)?;
            Ok(id.map(|id| Mark { id, by_setting: false, since_ms: None }))
        }
    };
    db.read_blocking::<_, DbError, _>(told).map_err(StartError::from)
}

/// What the database expects of a key: what it noted, or, before it noted anything, what can be told from what is signed
/// and sealed in it. That costs a row of an index, whatever the size.
fn expected(db: &Db, config: &Config, key: KeyFile) -> Result<Option<Mark>, StartError> {
    let noted: Option<Mark> = db.read_blocking::<_, DbError, _>(move |tx: &Tx<'_>| queries::mark(tx, key))?;
    if noted.is_some() {
        return Ok(noted);
    }
    let id = match key {
        KeyFile::Server => return expected_server(db),
        KeyFile::Master => {
            let wrapped: Option<_> = db.read_blocking::<_, DbError, _>(queries::any_wrapped)?;
            wrapped.map(|wrapped| material::wrapped_by(config, &wrapped))
        }
        KeyFile::Mfa => db.read_blocking::<_, DbError, _>(queries::mfa_key)?,
        _ => None,
    };
    Ok(id.map(|id| Mark { id, by_setting: false, since_ms: None }))
}

/// Refuses to start with a key that is not the one of this database, or without it. Call it before anything makes a key:
/// one that the database knows is never made anew. Blocks.
///
/// # Errors
/// Says in one sentence which file it is, which id was expected, and what to do.
pub fn check(db: &Db, config: &Config) -> Result<(), StartError> {
    let known = look(db, config)?;
    let found = known.iter().find_map(|known| Some((known, known.problem(config)?)));
    let Some((known, problem)) = found else { return Ok(()) };
    let problem = match (known.key, &known.material, &known.mark) {
        _ if known.next.is_some() => problem,
        (_, Material::Unreadable(_), _) | (_, _, None) => problem,
        (KeyFile::Mfa, _, Some(mark)) => {
            let id = mark.id.clone();
            let accounts = db.read_blocking::<_, DbError, _>(move |tx: &Tx<'_>| queries::sealed_by(tx, &id))?;
            let what = "MFA_ENCRYPTION_KEY is not the key under which the second factor of";
            format!("{what} {accounts} accounts is stored: {problem}")
        }
        _ => problem,
    };
    Err(StartError::Other(problem))
}

/// Notes the keys with which this server starts, once all of them are there. Of two servers that start on one database
/// with keys of their own, the second is refused. Blocks.
///
/// # Errors
/// As [`check`].
pub fn remember(db: &Db, config: &Config, now_ms: i64) -> Result<(), StartError> {
    for key in KeyFile::ALL.into_iter().filter(|key| is_noted(*key)) {
        let Material::Found(found) = material::of(config, key) else { continue };
        let mark = Mark { id: found.id.clone(), by_setting: found.is_setting, since_ms: Some(now_ms) };
        let before: Option<Mark> = db.write_blocking::<_, DbError, _>(move |tx: &Tx<'_>| {
            let before = queries::mark(tx, key)?;
            if before.as_ref().is_none_or(|before| before.id != mark.id && found.follows(before)) {
                queries::set_mark(tx, key, &mark)?;
            }
            Ok(before)
        })?;
        if let Some(before) = before
            && let Material::Found(found) = material::of(config, key)
            && before.id != found.id
        {
            tracing::info!(
                key.name = key.name(),
                key.before = before.id,
                key.now = found.id,
                "{} takes the place of the key before it, which the settings still name",
                found.place
            );
        }
    }
    check(db, config)
}

/// Whether the database notes the key's id. The rows of second factors carry theirs.
fn is_noted(key: KeyFile) -> bool {
    key != KeyFile::Mfa
}

/// Moves the file of a key that is to be replaced out of the way, if there is one: it may turn out to be the right one.
///
/// # Errors
/// When it cannot be moved.
pub fn set_aside(config: &Config, key: KeyFile) -> Result<(), StartError> {
    let path = config.data.keys_dir().join(key.file_name());
    let failed = |error| StartError::Io(path.display().to_string(), error);
    if keys::keep_copy(&path).map_err(failed)?.is_some() {
        let removed = std::fs::remove_file(&path);
        removed.and_then(|()| durable::sync_folder(durable::parent_of(&path))).map_err(failed)?;
    }
    // A rotation that was under way is one no more.
    match std::fs::remove_file(config.data.keys_dir().join(next_name(key))) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    if key == KeyFile::Token {
        // What the lost key signed is not to verify any more, nor what the one before it did.
        auth::drop_token_key(&config.data.keys_dir()).map_err(failed)?;
    }
    Ok(())
}
