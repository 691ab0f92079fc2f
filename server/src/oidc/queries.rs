//! All SQL about identities of providers and about sign-ins by them.

use crate::auth::ClientClass;
use crate::db::{DbError, Tx};
use crate::ids::{TenantId, UserId};
use crate::params;

/// An identity as a provider knows it.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) provider: String,
    pub(super) issuer: String,
    pub(super) subject: String,
}

/// An identity as its owner sees it.
#[derive(Debug)]
pub(super) struct Linked {
    pub(super) provider: String,
    pub(super) linked_at_ms: i64,
    pub(super) used_at_ms: i64,
}

/// What an app gets tokens for.
#[derive(Debug, Clone)]
pub(super) struct Code {
    pub(super) tenant: TenantId,
    pub(super) user: UserId,
    pub(super) epoch: i64,
    pub(super) client: ClientClass,
    pub(super) challenge: Option<String>,
    pub(super) expires_at_ms: i64,
}

const fn client_word(client: ClientClass) -> &'static str {
    match client {
        ClientClass::Phone => "phone",
        ClientClass::Web => "web",
    }
}

fn client_of(word: &str) -> ClientClass {
    if word == client_word(ClientClass::Phone) { ClientClass::Phone } else { ClientClass::Web }
}

/// Notes that a state came back; false when it did before.
pub(super) fn use_state(tx: &Tx<'_>, hash: &[u8; 32], expires_at_ms: i64, now_ms: i64) -> Result<bool, DbError> {
    tx.execute("DELETE FROM oauth_used_states WHERE expires_at < ?1", params![now_ms])?;
    let sql = "INSERT INTO oauth_used_states (state_hash, expires_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    Ok(tx.execute(sql, params![hash, expires_at_ms])? == 1)
}

/// Whose identity it is.
pub(super) fn owner(tx: &Tx<'_>, tenant: &TenantId, identity: &Identity) -> Result<Option<UserId>, DbError> {
    let sql = "SELECT user_id FROM oauth_identities WHERE tenant_id = ?1 AND issuer = ?2 AND subject = ?3";
    tx.query_one(sql, params![tenant.as_str(), &identity.issuer, &identity.subject], |row| row.get(0))
}

/// Notes that somebody signed in by it.
pub(super) fn touch(tx: &Tx<'_>, tenant: &TenantId, identity: &Identity, now_ms: i64) -> Result<(), DbError> {
    let sql = "UPDATE oauth_identities
        SET used_at = ?4
        WHERE tenant_id = ?1 AND issuer = ?2 AND subject = ?3";
    tx.execute(sql, params![tenant.as_str(), &identity.issuer, &identity.subject, now_ms]).map(drop)
}

/// Gives an identity to a user; false when it is somebody's.
pub(super) fn link(
    tx: &Tx<'_>,
    tenant: &TenantId,
    user: UserId,
    identity: &Identity,
    now_ms: i64,
) -> Result<bool, DbError> {
    let sql = "INSERT INTO oauth_identities
            (tenant_id, issuer, subject, provider, user_id, linked_at, used_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)
        ON CONFLICT DO NOTHING";
    let (issuer, subject, provider) = (&identity.issuer, &identity.subject, &identity.provider);
    let user = user.to_string();
    Ok(tx.execute(sql, params![tenant.as_str(), issuer, subject, provider, &user, now_ms])? == 1)
}

/// Takes every identity of a provider from a user, and says how many they were.
pub(super) fn unlink(tx: &Tx<'_>, tenant: &TenantId, user: UserId, provider: &str) -> Result<u64, DbError> {
    let sql = "DELETE FROM oauth_identities WHERE tenant_id = ?1 AND user_id = ?2 AND provider = ?3";
    tx.execute(sql, params![tenant.as_str(), &user.to_string(), provider])
}

/// A user's identities, the oldest first.
pub(super) fn linked(tx: &Tx<'_>, tenant: &TenantId, user: UserId, limit: usize) -> Result<Vec<Linked>, DbError> {
    let sql = "SELECT provider, linked_at, used_at
        FROM oauth_identities
        WHERE tenant_id = ?1 AND user_id = ?2
        ORDER BY linked_at, issuer, subject
        LIMIT ?3";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    tx.query(sql, params![tenant.as_str(), &user.to_string(), limit], |row| {
        Ok(Linked { provider: row.get(0)?, linked_at_ms: row.get(1)?, used_at_ms: row.get(2)? })
    })
}

/// Keeps a code, in the place of the one before.
pub(super) fn put_code(tx: &Tx<'_>, hash: &[u8; 32], code: &Code, now_ms: i64) -> Result<(), DbError> {
    tx.execute("DELETE FROM oauth_codes WHERE expires_at < ?1", params![now_ms])?;
    let sql = "INSERT INTO oauth_codes (tenant_id, user_id, client, code_hash, epoch, challenge, expires_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
        ON CONFLICT (tenant_id, user_id, client) DO UPDATE
        SET code_hash = excluded.code_hash, epoch = excluded.epoch, challenge = excluded.challenge,
            expires_at = excluded.expires_at";
    let (tenant, user, client) = (code.tenant.as_str(), code.user.to_string(), client_word(code.client));
    let challenge = code.challenge.as_deref();
    tx.execute(sql, params![tenant, &user, client, hash, code.epoch, challenge, code.expires_at_ms]).map(drop)
}

/// A code, which is gone then.
pub(super) fn take_code(tx: &Tx<'_>, hash: &[u8; 32]) -> Result<Option<Code>, DbError> {
    let sql = "SELECT tenant_id, user_id, epoch, client, challenge, expires_at FROM oauth_codes WHERE code_hash = ?1";
    let code = tx.query_one(sql, params![hash], |row| {
        Ok(Code {
            tenant: row.get(0)?,
            user: row.get(1)?,
            epoch: row.get(2)?,
            client: client_of(&row.get::<String>(3)?),
            challenge: row.get(4)?,
            expires_at_ms: row.get(5)?,
        })
    })?;
    if code.is_some() {
        tx.execute("DELETE FROM oauth_codes WHERE code_hash = ?1", params![hash])?;
    }
    Ok(code)
}

/// Keeps a token by which a user may link an identity, in the place of the one before.
pub(super) fn put_link_token(
    tx: &Tx<'_>,
    tenant: &TenantId,
    user: UserId,
    hash: &[u8; 32],
    identity: &Identity,
    (now_ms, expires_at_ms): (i64, i64),
) -> Result<(), DbError> {
    tx.execute("DELETE FROM oauth_link_tokens WHERE expires_at < ?1", params![now_ms])?;
    let sql = "INSERT INTO oauth_link_tokens
            (tenant_id, user_id, token_hash, issuer, subject, provider, expires_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
        ON CONFLICT (tenant_id, user_id) DO UPDATE
        SET token_hash = excluded.token_hash, issuer = excluded.issuer, subject = excluded.subject,
            provider = excluded.provider, expires_at = excluded.expires_at";
    let (issuer, subject, provider) = (&identity.issuer, &identity.subject, &identity.provider);
    let user = user.to_string();
    tx.execute(sql, params![tenant.as_str(), &user, hash, issuer, subject, provider, expires_at_ms]).map(drop)
}

/// What this very user may link by a token, which is gone then. Another user's token stays and is not told of.
pub(super) fn take_link_token(
    tx: &Tx<'_>,
    tenant: &TenantId,
    user: UserId,
    hash: &[u8; 32],
) -> Result<Option<(Identity, i64)>, DbError> {
    let user = user.to_string();
    let sql = "SELECT provider, issuer, subject, expires_at
        FROM oauth_link_tokens
        WHERE tenant_id = ?1 AND user_id = ?2 AND token_hash = ?3";
    let found = tx.query_one(sql, params![tenant.as_str(), &user, hash], |row| {
        let identity = Identity { provider: row.get(0)?, issuer: row.get(1)?, subject: row.get(2)? };
        Ok((identity, row.get(3)?))
    })?;
    if found.is_some() {
        let sql = "DELETE FROM oauth_link_tokens WHERE tenant_id = ?1 AND user_id = ?2";
        tx.execute(sql, params![tenant.as_str(), &user])?;
    }
    Ok(found)
}
