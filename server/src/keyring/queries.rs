//! All SQL about the ids of keys.

use data_encoding::HEXLOWER;

use crate::db::{DbError, Tx};
use crate::keys::KeyFile;
use crate::params;

/// A key as the database knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Its id.
    pub id: String,
    /// Whether a setting gave it.
    pub by_setting: bool,
    /// Since when, Unix milliseconds; `None` for one that was told from what it signed or sealed.
    pub since_ms: Option<i64>,
}

/// A person's key as it is stored.
pub(super) struct Wrapped {
    pub(super) tenant: String,
    pub(super) subject: String,
    pub(super) bytes: Vec<u8>,
}

pub(super) fn mark(tx: &Tx<'_>, key: KeyFile) -> Result<Option<Mark>, DbError> {
    tx.query_one(
        "SELECT key_id, by_setting, since
         FROM key_marks
         WHERE name = ?1",
        params![key.name()],
        |row| Ok(Mark { id: row.get(0)?, by_setting: row.get(1)?, since_ms: row.get(2)? }),
    )
}

pub(super) fn set_mark(tx: &Tx<'_>, key: KeyFile, mark: &Mark) -> Result<(), DbError> {
    tx.send(
        "INSERT INTO key_marks (name, key_id, by_setting, since)
         VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (name) DO UPDATE
         SET key_id = excluded.key_id, by_setting = excluded.by_setting, since = excluded.since",
        params![key.name(), &mark.id, i64::from(mark.by_setting), mark.since_ms.unwrap_or_default()],
    )
}

/// The id of the key that is to take the place of this one, while its rotation is under way.
pub(super) fn next_mark(tx: &Tx<'_>, key: KeyFile) -> Result<Option<String>, DbError> {
    tx.query_one(
        "SELECT key_id
         FROM key_marks
         WHERE name = ?1",
        params![&next_name(key)],
        |row| row.get(0),
    )
}

/// Notes that a rotation begins: from now on no server starts until it has ended.
pub(super) fn set_next_mark(tx: &Tx<'_>, key: KeyFile, id: &str, now_ms: i64) -> Result<(), DbError> {
    tx.send(
        "INSERT INTO key_marks (name, key_id, by_setting, since)
         VALUES (?1, ?2, 0, ?3)",
        params![&next_name(key), id, now_ms],
    )
}

pub(super) fn delete_next_mark(tx: &Tx<'_>, key: KeyFile) -> Result<(), DbError> {
    tx.send("DELETE FROM key_marks WHERE name = ?1", params![&next_name(key)])
}

fn next_name(key: KeyFile) -> String {
    format!("{}.next", key.name())
}

/// Lets the database expect nothing of a key: the next start notes another one.
///
/// # Errors
/// When the database fails.
pub fn forget(tx: &Tx<'_>, key: KeyFile) -> Result<(), DbError> {
    tx.send("DELETE FROM key_marks WHERE name = ?1", params![key.name()])?;
    delete_next_mark(tx, key)
}

/// The key that signed the server's own entries, by a session that it planned or a verdict.
pub(super) fn server_of_log(tx: &Tx<'_>) -> Result<Option<String>, DbError> {
    let hex = |bytes: Vec<u8>| HEXLOWER.encode(&bytes);
    let planned = tx.query_one(
        "SELECT planned_by
         FROM class_sessions
         WHERE by_user IS NOT NULL
         LIMIT 1",
        params![],
        |row| row.get::<Vec<u8>>(0),
    )?;
    if let Some(planned) = planned {
        return Ok(Some(hex(planned)));
    }
    let judged = tx.query_one(
        "SELECT l.writer
         FROM verdicts v
         JOIN change_log l ON l.document_id = v.document_id AND l.hash = v.hash
         LIMIT 1",
        params![],
        |row| row.get::<Vec<u8>>(0),
    )?;
    Ok(judged.map(hex))
}

/// Any person's key.
pub(super) fn any_wrapped(tx: &Tx<'_>) -> Result<Option<Wrapped>, DbError> {
    tx.query_one(
        "SELECT tenant_id, subject_id, wrapped
         FROM subject_keys
         LIMIT 1",
        params![],
        |row| Ok(Wrapped { tenant: row.get(0)?, subject: row.get(1)?, bytes: row.get(2)? }),
    )
}

/// The key under which any second factor is sealed.
pub(super) fn mfa_key(tx: &Tx<'_>) -> Result<Option<String>, DbError> {
    let found = tx.query_one(
        "SELECT key_id
         FROM mfa_enrolments
         WHERE confirmed_at IS NOT NULL
         LIMIT 1",
        params![],
        |row| row.get::<Vec<u8>>(0),
    )?;
    Ok(found.map(|id| HEXLOWER.encode(&id)))
}

/// How many second factors are sealed under a key.
pub(super) fn sealed_by(tx: &Tx<'_>, id: &str) -> Result<i64, DbError> {
    let id = HEXLOWER.decode(id.as_bytes()).unwrap_or_default();
    tx.count(
        "SELECT COUNT(*)
         FROM mfa_enrolments
         WHERE confirmed_at IS NOT NULL AND key_id = ?1",
        params![&id[..]],
    )
}
