//! Challenges that were answered: each once, until it expires.

use crate::db::{DbError, Tx};
use crate::params;

/// How long after its end a challenge is kept, in milliseconds: servers' clocks differ.
const KEPT_MS: i64 = 60_000;

/// Notes that a challenge was answered; false if it had been before. Forgets those that nobody may answer any more.
pub(in crate::devices) fn use_challenge(
    tx: &Tx<'_>,
    nonce: &[u8; 16],
    expires_at_ms: i64,
    now_ms: i64,
) -> Result<bool, DbError> {
    tx.send(
        "DELETE FROM device_challenges
         WHERE expires_at < ?1",
        params![now_ms - KEPT_MS],
    )?;
    let inserted = tx.execute(
        "INSERT INTO device_challenges (nonce, expires_at)
         VALUES (?1, ?2)
         ON CONFLICT (nonce) DO NOTHING",
        params![nonce, expires_at_ms],
    )?;
    Ok(inserted == 1)
}
