//! All SQL about `mail_tokens`.

use super::Owner;
use crate::db::{DbError, Row, Tx};
use crate::ids::{TenantId, UserId};
use crate::params;

fn as_owner(row: &Row<'_>) -> Result<Owner, DbError> {
    Ok(Owner { tenant: row.get(0)?, user: row.get(1)?, email: row.get(2)? })
}

/// One statement, so that of two requests at once one token remains.
pub(super) fn replace(
    tx: &Tx<'_>,
    purpose: &str,
    hash: &[u8; 32],
    owner: &Owner,
    now_ms: i64,
    expires_at_ms: i64,
) -> Result<(), DbError> {
    let sql = "INSERT INTO mail_tokens (tenant_id, user_id, purpose, token_hash, email, created_at, expires_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
        ON CONFLICT (tenant_id, user_id, purpose) DO UPDATE SET
            token_hash = excluded.token_hash,
            email = excluded.email,
            created_at = excluded.created_at,
            expires_at = excluded.expires_at";
    let user = owner.user.to_string();
    tx.send(sql, params![owner.tenant.as_str(), &user, purpose, hash, &owner.email, now_ms, expires_at_ms])
}

pub(super) fn owner(tx: &Tx<'_>, purpose: &str, hash: &[u8; 32], now_ms: i64) -> Result<Option<Owner>, DbError> {
    let sql = "SELECT tenant_id, user_id, email FROM mail_tokens
        WHERE token_hash = ?1 AND purpose = ?2 AND expires_at > ?3";
    tx.query_one(sql, params![hash, purpose, now_ms], as_owner)
}

pub(super) fn take(tx: &Tx<'_>, purpose: &str, hash: &[u8; 32], now_ms: i64) -> Result<Option<Owner>, DbError> {
    let sql = "DELETE FROM mail_tokens
        WHERE token_hash = ?1 AND purpose = ?2 AND expires_at > ?3
        RETURNING tenant_id, user_id, email";
    tx.query_one(sql, params![hash, purpose, now_ms], as_owner)
}

pub(super) fn forget(tx: &Tx<'_>, tenant: &TenantId, user: UserId, purpose: &str) -> Result<(), DbError> {
    let sql = "DELETE FROM mail_tokens WHERE tenant_id = ?1 AND user_id = ?2 AND purpose = ?3";
    tx.send(sql, params![tenant.as_str(), &user.to_string(), purpose])
}

pub(super) fn forget_expired(tx: &Tx<'_>, now_ms: i64) -> Result<(), DbError> {
    tx.send("DELETE FROM mail_tokens WHERE expires_at <= ?1", params![now_ms])
}
