//! Which keys a database belongs to: what was signed, sealed or hashed under a key is worth nothing under another one, so
//! the database knows the id of each, and no server starts on it with another.
//!
//! The keys themselves are read by the slices that use them. Here they are only told apart.

mod bundle;
mod cure;
mod material;
mod queries;

use crate::app::StartError;
use crate::config::Config;
use crate::db::{Db, DbError, Tx};
use crate::durable;
use crate::keys::KeyFile;

pub use bundle::Bundle;
pub use cure::{depends, what_ends, why_not_replaceable};
pub use material::{Found, Material};
pub use queries::{Mark, forget};

/// A key as the settings and files have it, and as the database knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Which one.
    pub key: KeyFile,
    /// What is there.
    pub material: Material,
    /// What the database expects; `None` if it never saw one.
    pub mark: Option<Mark>,
}

impl Known {
    /// Why no server may start with it; `None` if it may.
    pub fn problem(&self, config: &Config) -> Option<String> {
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
    let mut known = Vec::with_capacity(KeyFile::ALL.len());
    for key in KeyFile::ALL {
        let material = material::of(config, key);
        let mark = expected(db, config, key)?;
        known.push(Known { key, material, mark });
    }
    Ok(known)
}

/// What the database expects of a key: what it noted, or, before it noted anything, what can be told from what is signed
/// and sealed in it. That costs a row of an index, whatever the size.
fn expected(db: &Db, config: &Config, key: KeyFile) -> Result<Option<Mark>, StartError> {
    let noted: Option<Mark> = db.read_blocking::<_, DbError, _>(move |tx: &Tx<'_>| queries::mark(tx, key))?;
    if noted.is_some() {
        return Ok(noted);
    }
    let id = match key {
        KeyFile::Server => db.read_blocking::<_, DbError, _>(queries::server_of_log)?,
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
            tracing::warn!(
                key.name = key.name(),
                key.before = before.id,
                key.now = found.id,
                "{} takes the place of another key: {}",
                found.place,
                cure::what_ends(key)
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
    match std::fs::rename(&path, path.with_extension("key.replaced")) {
        Ok(()) => durable::sync_folder(durable::parent_of(&path)).map_err(failed),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
    }
}
