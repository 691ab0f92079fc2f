//! All SQL of the second factor.

use super::reseal::SealedSecret;
use crate::db::{DbError, Tx};
use crate::ids::{TenantId, UserId};
use crate::params;

/// Whose rows.
#[derive(Debug, Clone)]
pub(super) struct Owner {
    pub(super) tenant: TenantId,
    pub(super) user: UserId,
}

/// The row of a user.
#[derive(Debug, Clone)]
pub(super) struct Enrolment {
    pub(super) id: String,
    pub(super) key_id: [u8; 8],
    pub(super) sealed: Vec<u8>,
    pub(super) period_s: u32,
    pub(super) digits: u32,
    pub(super) confirmed_at_ms: Option<i64>,
}

pub(super) fn enrolment(tx: &Tx<'_>, owner: &Owner) -> Result<Option<Enrolment>, DbError> {
    tx.query_one(
        "SELECT id, key_id, secret, period_s, digits, confirmed_at
         FROM mfa_enrolments
         WHERE tenant_id = ?1 AND user_id = ?2",
        params![owner.tenant.as_str(), &owner.user.to_string()],
        |row| {
            Ok(Enrolment {
                id: row.get(0)?,
                key_id: row.get(1)?,
                sealed: row.get(2)?,
                period_s: row.get(3)?,
                digits: row.get(4)?,
                confirmed_at_ms: row.get(5)?,
            })
        },
    )
}

/// Stores an enrolment that waits for its first code, in place of one that waited; false when one is active.
pub(super) fn start(tx: &Tx<'_>, owner: &Owner, new: &Enrolment, now_ms: i64) -> Result<bool, DbError> {
    let stored = tx.execute(
        "INSERT INTO mfa_enrolments
             (tenant_id, user_id, id, key_id, secret, period_s, digits, last_step, created_at, confirmed_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, -1, ?8, NULL)
         ON CONFLICT (tenant_id, user_id) DO UPDATE
         SET id = excluded.id, key_id = excluded.key_id, secret = excluded.secret, period_s = excluded.period_s,
             digits = excluded.digits, last_step = -1, created_at = excluded.created_at
         WHERE mfa_enrolments.confirmed_at IS NULL",
        params![
            owner.tenant.as_str(),
            &owner.user.to_string(),
            &new.id,
            &new.key_id,
            &new.sealed,
            new.period_s,
            new.digits,
            now_ms
        ],
    )?;
    Ok(stored == 1)
}

/// Whether the enrolment waited for its first code, and is active now.
pub(super) fn confirm(tx: &Tx<'_>, owner: &Owner, id: &str, now_ms: i64) -> Result<bool, DbError> {
    let confirmed = tx.execute(
        "UPDATE mfa_enrolments
         SET confirmed_at = ?4
         WHERE tenant_id = ?1 AND user_id = ?2 AND id = ?3 AND confirmed_at IS NULL",
        params![owner.tenant.as_str(), &owner.user.to_string(), id, now_ms],
    )?;
    Ok(confirmed == 1)
}

/// Takes a time step, if neither it nor a later one was taken.
pub(super) fn use_step(tx: &Tx<'_>, owner: &Owner, id: &str, step: i64) -> Result<bool, DbError> {
    let taken = tx.execute(
        "UPDATE mfa_enrolments
         SET last_step = ?4
         WHERE tenant_id = ?1 AND user_id = ?2 AND id = ?3 AND last_step < ?4",
        params![owner.tenant.as_str(), &owner.user.to_string(), id, step],
    )?;
    Ok(taken == 1)
}

/// Stores the same secret under another key.
pub(super) fn reseal(tx: &Tx<'_>, owner: &Owner, id: &str, key_id: &[u8; 8], sealed: &[u8]) -> Result<(), DbError> {
    tx.execute(
        "UPDATE mfa_enrolments
         SET key_id = ?4, secret = ?5
         WHERE tenant_id = ?1 AND user_id = ?2 AND id = ?3",
        params![owner.tenant.as_str(), &owner.user.to_string(), id, key_id, sealed],
    )?;
    Ok(())
}

/// The next secrets, by tenant and user.
pub(super) fn sealed_after(
    tx: &Tx<'_>,
    (tenant, user): (&str, &str),
    count: i64,
) -> Result<Vec<SealedSecret>, DbError> {
    tx.query(
        "SELECT tenant_id, user_id, id, key_id, secret
         FROM mfa_enrolments
         WHERE (tenant_id, user_id) > (?1, ?2)
         ORDER BY tenant_id, user_id
         LIMIT ?3",
        params![tenant, user, count],
        |row| {
            let (tenant, user, id) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(SealedSecret { tenant, user, id, key_id: row.get(3)?, sealed: row.get(4)? })
        },
    )
}

/// Stores a secret under another key, unless the row is another one by now.
pub(super) fn reseal_row(tx: &Tx<'_>, row: &SealedSecret, key_id: &[u8; 8], sealed: &[u8]) -> Result<(), DbError> {
    tx.send(
        "UPDATE mfa_enrolments
         SET key_id = ?4, secret = ?5
         WHERE tenant_id = ?1 AND user_id = ?2 AND id = ?3 AND secret = ?6",
        params![&row.tenant, &row.user, &row.id, key_id, sealed, &row.sealed],
    )
}

/// Removes the second factor with all that belongs to it. False when it was not active.
pub(super) fn remove(tx: &Tx<'_>, owner: &Owner) -> Result<bool, DbError> {
    let (tenant, user) = (owner.tenant.as_str(), owner.user.to_string());
    let was_active = enrolment(tx, owner)?.is_some_and(|enrolment| enrolment.confirmed_at_ms.is_some());
    tx.execute("DELETE FROM mfa_enrolments WHERE tenant_id = ?1 AND user_id = ?2", params![tenant, &user])?;
    tx.execute("DELETE FROM mfa_backup_codes WHERE tenant_id = ?1 AND user_id = ?2", params![tenant, &user])?;
    Ok(was_active)
}

/// Stores new backup codes in place of all older ones.
pub(super) fn replace_codes(tx: &Tx<'_>, owner: &Owner, hashes: &[[u8; 32]], now_ms: i64) -> Result<(), DbError> {
    let (tenant, user) = (owner.tenant.as_str(), owner.user.to_string());
    tx.execute("DELETE FROM mfa_backup_codes WHERE tenant_id = ?1 AND user_id = ?2", params![tenant, &user])?;
    for hash in hashes {
        tx.execute(
            "INSERT INTO mfa_backup_codes (tenant_id, user_id, code_hash, created_at, used_at)
             VALUES (?1, ?2, ?3, ?4, NULL)",
            params![tenant, &user, hash, now_ms],
        )?;
    }
    Ok(())
}

/// Uses a backup code up, if it was there and unused.
pub(super) fn use_code(tx: &Tx<'_>, owner: &Owner, hash: &[u8; 32], now_ms: i64) -> Result<bool, DbError> {
    let used = tx.execute(
        "UPDATE mfa_backup_codes
         SET used_at = ?4
         WHERE tenant_id = ?1 AND user_id = ?2 AND code_hash = ?3 AND used_at IS NULL",
        params![owner.tenant.as_str(), &owner.user.to_string(), hash, now_ms],
    )?;
    Ok(used == 1)
}

pub(super) fn codes_left(tx: &Tx<'_>, owner: &Owner) -> Result<u32, DbError> {
    tx.count(
        "SELECT count(*)
         FROM mfa_backup_codes
         WHERE tenant_id = ?1 AND user_id = ?2 AND used_at IS NULL",
        params![owner.tenant.as_str(), &owner.user.to_string()],
    )
}

pub(super) fn token_was_used(tx: &Tx<'_>, jti: &str) -> Result<bool, DbError> {
    let found = tx.query_one("SELECT 1 FROM mfa_tokens_used WHERE jti = ?1", params![jti], |row| row.get::<i64>(0))?;
    Ok(found.is_some())
}

/// Notes that a token completed a sign-in, until nobody would take it anyway.
pub(super) fn use_token(tx: &Tx<'_>, jti: &str, expires_at_ms: i64, now_ms: i64) -> Result<(), DbError> {
    tx.execute("DELETE FROM mfa_tokens_used WHERE expires_at < ?1", params![now_ms])?;
    tx.execute(
        "INSERT INTO mfa_tokens_used (jti, expires_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        params![jti, expires_at_ms],
    )?;
    Ok(())
}

/// Under which keys the secrets of active apps are stored, and how many under each.
pub(super) fn key_ids(tx: &Tx<'_>, limit: u32) -> Result<Vec<([u8; 8], i64)>, DbError> {
    tx.query(
        "SELECT key_id, count(*)
         FROM mfa_enrolments
         WHERE confirmed_at IS NOT NULL
         GROUP BY key_id
         ORDER BY key_id
         LIMIT ?1",
        params![limit],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}
