//! Another key in the place of one that is still there, and nothing ends with it: what is sealed is sealed anew, what is
//! signed stays good until it ends.
//!
//! Every step can be repeated, so that a rotation that was cut off goes on where it was. The new key is on the disk before
//! anything is under it, the database notes its id before the first row is, and until the last step no server starts.

use std::io;
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::{Known, Mark, Material, known, material, queries};
use crate::app::StartError;
use crate::audit::{self, Action, Actor, Event};
use crate::auth::{self, SealedSecret};
use crate::blobs::crypt::MasterKey;
use crate::blobs::reseal::{self, Resealed};
use crate::clock::Entropy;
use crate::config::Config;
use crate::db::{Db, DbError, Tx};
use crate::durable;
use crate::evidence::WrappedKey;
use crate::keys::{self, KEY_BYTES, KeyFile};

/// What came of it.
#[derive(Debug)]
pub struct Rotated {
    /// The id of the new key.
    pub id: String,
    /// What was sealed anew; `None` if nothing is sealed under this key.
    pub resealed: Option<Resealed>,
    /// Where the key before it is kept, if it was in a file.
    pub kept: Option<PathBuf>,
    /// The setting that gave the key before it and has to go now.
    pub setting: Option<String>,
}

/// Why a key cannot be rotated; `None` if it can.
pub fn why_not_rotatable(config: &Config, key: KeyFile) -> Option<String> {
    let replace =
        format!("`muster keys replace {}` lets another one take its place, and that ends something:", key.name());
    match key {
        KeyFile::Master => None,
        KeyFile::Mfa => config.mfa.mfa_encryption_key.as_ref().map(|_| {
            "MFA_ENCRYPTION_KEY gives this key: set another one, and name this one in MFA_PREVIOUS_ENCRYPTION_KEYS; \
             secrets are sealed anew when they are used"
                .to_owned()
        }),
        KeyFile::Token => config.tokens.jwt_secret.as_ref().map(|_| {
            "JWT_SECRET gives this key: set another one, and name this one in JWT_PREVIOUS_SECRETS until its tokens have \
             ended"
                .to_owned()
        }),
        KeyFile::Server => Some(
            "the server's key cannot be rotated in this release: phones pin it and check every receipt by it, and nothing \
             hands them over to another one yet; if it is exposed, begin with an empty DATA_DIR: see docs/recovery.md"
                .to_owned(),
        ),
        KeyFile::SessionCode | KeyFile::TokenPepper | KeyFile::Oauth | KeyFile::Mail | KeyFile::LegacyId => {
            let what = "what was made under this key cannot be made anew under another one";
            Some(format!("{what}; {replace} {}", super::what_ends(key)))
        }
    }
}

/// Whose rotation is under way, so that no server may start: what to say of it.
pub(super) fn under_way(key: KeyFile, id: &str) -> String {
    format!(
        "the rotation of the {name} key to the one with the id {id} was begun and has not ended: run `muster keys rotate \
         {name}` again, with {file} in place",
        name = key.name(),
        file = next_name(key),
    )
}

/// The name of a key that is not in its place yet.
pub fn next_name(key: KeyFile) -> String {
    format!("{}.next", key.file_name())
}

/// Rotates a key, or ends a rotation that was cut off. The server is stopped. Blocks.
///
/// # Errors
/// When the key cannot be rotated, is not the one of the database, or something cannot be read or written.
pub fn rotate(
    db: &Db,
    config: &Config,
    key: KeyFile,
    entropy: &dyn Entropy,
    actor: &Actor,
    now_ms: i64,
) -> Result<Rotated, StartError> {
    if let Some(why) = why_not_rotatable(config, key) {
        return Err(StartError::Other(why));
    }
    let known = known(db, config, key)?;
    let id = match &known.next {
        Some(id) => id.clone(),
        None => begin(db, config, &known, entropy, now_ms)?,
    };
    let place = Place::find(config, key, &id)?;
    let (resealed, setting) = match key {
        KeyFile::Token => {
            keep_verifying(config, &place, now_ms)?;
            (None, None)
        }
        _ => (Some(seal_anew(db, config, key, &place, entropy)?), setting_of(&known, &id)),
    };
    let kept = place.take(config, key)?;
    let (noted, actor) = (id.clone(), actor.clone());
    db.write_blocking::<_, DbError, _>(move |tx: &Tx<'_>| {
        if super::is_noted(key) {
            queries::set_mark(tx, key, &Mark { id: noted.clone(), by_setting: false, since_ms: Some(now_ms) })?;
        }
        queries::delete_next_mark(tx, key)?;
        let event = Event { action: Action::KeyRotate, kind: "key", id: key.name(), reason: None, result: "rotated" };
        audit::record(tx, &actor, &event, now_ms)
    })?;
    Ok(Rotated { id, resealed, kept, setting })
}

/// How many of the rows that are sealed under a key open under it; `None` if nothing is sealed under it. Nothing is
/// written. Blocks.
///
/// # Errors
/// When the database fails, or the key cannot be read.
pub fn prove(db: &Db, config: &Config, key: KeyFile, entropy: &dyn Entropy) -> Result<Option<Resealed>, StartError> {
    let sealing = || material::sealing(config, key).map_err(StartError::Other);
    Ok(match key {
        KeyFile::Master => Some(reseal::reseal::<WrappedKey>(db, &sealing()?, None, entropy)?),
        KeyFile::Mfa => Some(reseal::reseal::<SealedSecret>(db, &sealing()?, None, entropy)?),
        _ => None,
    })
}

/// Makes the new key, and lets the database know its id.
fn begin(db: &Db, config: &Config, known: &Known, entropy: &dyn Entropy, now_ms: i64) -> Result<String, StartError> {
    let key = known.key;
    match (known.problem(config), &known.material) {
        (Some(problem), _) => return Err(StartError::Other(problem)),
        (None, Material::Found(_)) => {}
        (None, _) => {
            let text = format!("there is no {} key yet: the next start makes one", key.name());
            return Err(StartError::Other(text));
        }
    }
    let dir = config.data.keys_dir();
    let place = dir.join(next_name(key));
    let failed = |error| StartError::Io(place.display().to_string(), error);
    keys::create_private_dir(&dir).map_err(failed)?;
    if is_base64(key) {
        let made = MasterKey::load_or_create(&place, &|bytes: &mut [u8]| entropy.fill(bytes));
        made.map_err(|error| StartError::Other(error.to_string()))?;
    } else {
        let mut bytes = Zeroizing::new(vec![0; KEY_BYTES]);
        entropy.fill(&mut bytes);
        // One that a cut left there is as good.
        keys::place_new(&dir, &next_name(key), &bytes, entropy).map_err(failed)?;
    }
    let id = id_at(config, key, &next_name(key))?.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
    let noted = id.clone();
    db.write_blocking::<_, DbError, _>(move |tx: &Tx<'_>| queries::set_next_mark(tx, key, &noted, now_ms))?;
    Ok(id)
}

/// Where the new key is.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// Beside the place that it is to take.
    Waits,
    /// There: the rotation was cut off after that.
    Taken,
}

impl Place {
    fn find(config: &Config, key: KeyFile, id: &str) -> Result<Self, StartError> {
        if id_at(config, key, &next_name(key))?.as_deref() == Some(id) {
            return Ok(Self::Waits);
        }
        if id_at(config, key, key.file_name())?.as_deref() == Some(id) {
            return Ok(Self::Taken);
        }
        let dir = config.data.keys_dir();
        let text = format!("{}; it is neither there nor in its place in {}", under_way(key, id), dir.display());
        Err(StartError::Other(text))
    }

    /// Moves the new key to its place; the one before it stays beside it. There is a key at every moment.
    fn take(&self, config: &Config, key: KeyFile) -> Result<Option<PathBuf>, StartError> {
        let dir = config.data.keys_dir();
        let path = dir.join(key.file_name());
        let failed = |error| StartError::Io(path.display().to_string(), error);
        if *self == Self::Taken {
            return Ok(None);
        }
        let kept = keys::keep_copy(&path).map_err(failed)?;
        let moved = std::fs::rename(dir.join(next_name(key)), &path);
        moved.and_then(|()| durable::sync_folder(&dir)).map_err(failed)?;
        Ok(kept)
    }

    fn name(&self, key: KeyFile) -> String {
        match self {
            Self::Waits => next_name(key),
            Self::Taken => key.file_name().to_owned(),
        }
    }
}

/// Seals every row anew that is not yet.
fn seal_anew(
    db: &Db,
    config: &Config,
    key: KeyFile,
    place: &Place,
    entropy: &dyn Entropy,
) -> Result<Resealed, StartError> {
    let path = config.data.keys_dir().join(place.name(key));
    let to = MasterKey::load(&path).map_err(|error| StartError::Other(error.to_string()))?;
    let to = to.ok_or_else(|| StartError::Io(path.display().to_string(), io::ErrorKind::NotFound.into()))?;
    let from = material::sealing(config, key).map_err(StartError::Other)?;
    Ok(match key {
        KeyFile::Master => reseal::reseal::<WrappedKey>(db, &from, Some(&to), entropy)?,
        _ => reseal::reseal::<SealedSecret>(db, &from, Some(&to), entropy)?,
    })
}

/// What the key of today signed verifies until the last of it has ended.
fn keep_verifying(config: &Config, place: &Place, now_ms: i64) -> Result<(), StartError> {
    let dir = config.data.keys_dir();
    if *place == Place::Taken {
        return Ok(());
    }
    let failed = |error| StartError::Io(dir.display().to_string(), error);
    let old = keys::load(&dir, KeyFile::Token).map_err(failed)?;
    let life_ms = i64::from(config.tokens.access_token_expire_minutes) * 60_000;
    auth::keep_token_key(&dir, &old, now_ms.saturating_add(life_ms)).map_err(failed)
}

/// The setting that gives another key than the new one.
fn setting_of(known: &Known, id: &str) -> Option<String> {
    match &known.material {
        Material::Found(found) if found.is_setting && found.id != id => Some(found.place.clone()),
        _ => None,
    }
}

/// Whether the file holds base64.
fn is_base64(key: KeyFile) -> bool {
    matches!(key, KeyFile::Master | KeyFile::Mfa)
}

/// The id of the key in a file of the folder; `None` if there is no such file.
fn id_at(config: &Config, key: KeyFile, name: &str) -> Result<Option<String>, StartError> {
    let dir = config.data.keys_dir();
    if is_base64(key) {
        let found = MasterKey::load(&dir.join(name)).map_err(|error| StartError::Other(error.to_string()))?;
        return Ok(found.map(|found| material::master_id(&found)));
    }
    match keys::load_at(&dir, name) {
        Ok(bytes) => Ok(Some(material::id_of(key, &bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StartError::Io(dir.join(name).display().to_string(), error)),
    }
}
