//! All SQL of counters and locks.

use super::KeyHash;
use super::locks::Failures;
use crate::db::{DbError, Tx};
use crate::params;

/// Rows whose time has passed that one write takes away; it adds at most three.
const ENDED_DROPPED_MAX: u32 = 16;

/// A counter as it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Count {
    pub(super) count: i64,
    pub(super) ends_at_ms: i64,
}

impl Count {
    /// Whether its window runs. A clock that was set back must not make a window longer than it is.
    pub(super) fn holds(&self, now_ms: i64, window_ms: i64) -> bool {
        (1..=window_ms).contains(&(self.ends_at_ms - now_ms))
    }
}

pub(super) fn count_of(tx: &Tx<'_>, key: &KeyHash) -> Result<Option<Count>, DbError> {
    let sql = "SELECT count, ends_at FROM rate_counters WHERE key_hash = ?1";
    tx.query_one(sql, params![key], |row| Ok(Count { count: row.get(0)?, ends_at_ms: row.get(1)? }))
}

pub(super) fn set_count(tx: &Tx<'_>, key: &KeyHash, count: Count) -> Result<(), DbError> {
    let sql = "INSERT INTO rate_counters (key_hash, count, ends_at)
        VALUES (?1, ?2, ?3)
        ON CONFLICT (key_hash) DO UPDATE
        SET count = excluded.count, ends_at = excluded.ends_at";
    tx.send(sql, params![key, count.count, count.ends_at_ms])
}

pub(super) fn forget_count(tx: &Tx<'_>, key: &KeyHash) -> Result<(), DbError> {
    tx.send("DELETE FROM rate_counters WHERE key_hash = ?1", params![key])
}

/// Takes away some rows of either table whose time has passed.
pub(super) fn drop_ended(tx: &Tx<'_>, now_ms: i64) -> Result<(), DbError> {
    for table in ["rate_counters", "sign_in_failures"] {
        let sql = format!(
            "DELETE FROM {table}
             WHERE key_hash IN (SELECT key_hash FROM {table} WHERE ends_at <= ?1 ORDER BY ends_at LIMIT ?2)"
        );
        tx.send(&sql, params![now_ms, ENDED_DROPPED_MAX])?;
    }
    Ok(())
}

pub(super) fn failures_of(tx: &Tx<'_>, key: &KeyHash) -> Result<Option<Failures>, DbError> {
    let sql = "SELECT failures, counted_until, locked_until, locks, ends_at
        FROM sign_in_failures
        WHERE key_hash = ?1";
    tx.query_one(sql, params![key], |row| {
        Ok(Failures {
            failures: row.get(0)?,
            counted_until_ms: row.get(1)?,
            locked_until_ms: row.get(2)?,
            locks: row.get(3)?,
            ends_at_ms: row.get(4)?,
        })
    })
}

pub(super) fn set_failures(tx: &Tx<'_>, key: &KeyHash, failures: &Failures) -> Result<(), DbError> {
    let sql = "INSERT INTO sign_in_failures (key_hash, failures, counted_until, locked_until, locks, ends_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6)
        ON CONFLICT (key_hash) DO UPDATE
        SET failures = excluded.failures, counted_until = excluded.counted_until,
            locked_until = excluded.locked_until, locks = excluded.locks, ends_at = excluded.ends_at";
    let Failures { failures, counted_until_ms, locked_until_ms, locks, ends_at_ms } = *failures;
    tx.send(sql, params![key, failures, counted_until_ms, locked_until_ms, locks, ends_at_ms])
}

pub(super) fn forget_failures(tx: &Tx<'_>, key: &KeyHash) -> Result<(), DbError> {
    tx.send("DELETE FROM sign_in_failures WHERE key_hash = ?1", params![key])
}
