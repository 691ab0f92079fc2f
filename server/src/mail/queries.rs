//! All SQL about `mail_outbox`.

use serde::Serialize;
use utoipa::ToSchema;

use super::limits;
use super::message::Message;
use crate::db::{DbError, Row, Tx};
use crate::ids::TenantId;
use crate::params;

/// A message that waits.
pub(super) struct Queued {
    pub(super) id: Vec<u8>,
    pub(super) tenant: TenantId,
    pub(super) recipient: String,
    pub(super) template: String,
    pub(super) content: Vec<u8>,
    pub(super) attempts: u32,
    pub(super) give_up_at_ms: i64,
}

/// How the outbox stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Counts {
    /// Waiting to be sent.
    pub queued: u64,
    /// Given up within the last 30 days.
    pub failed: u64,
}

/// A message that could not be sent so far, or was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Troubled {
    /// To whom.
    pub recipient: String,
    /// What it says: `password_reset`, `confirm_email`, `security_notice`, `already_registered`.
    pub template: String,
    /// `queued` if it is tried again, `failed` if it was given up.
    pub state: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Why it failed the last time.
    pub last_error: String,
    /// When it was made.
    #[serde(rename = "created_at", serialize_with = "crate::clock::as_iso")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at_ms: i64,
    /// When it was given up, or will be.
    #[serde(rename = "give_up_at", serialize_with = "crate::clock::as_iso")]
    #[schema(value_type = String, format = DateTime)]
    pub give_up_at_ms: i64,
}

pub(super) fn insert(tx: &Tx<'_>, tenant: &TenantId, message: &Message, now_ms: i64) -> Result<(), DbError> {
    let sql = "INSERT INTO mail_outbox
            (id, tenant_id, recipient, template, content, state, attempts, created_at, give_up_at)
        VALUES (?1, ?2, ?3, ?4, ?5, 'queued', 0, ?6, ?7)
        ON CONFLICT (id) DO NOTHING";
    tx.send(
        sql,
        params![
            &message.id,
            tenant.as_str(),
            &message.recipient,
            message.template,
            &message.content,
            now_ms,
            message.give_up_at_ms
        ],
    )
}

/// A message, unless it was sent or given up.
pub(super) fn queued(tx: &Tx<'_>, id: &[u8]) -> Result<Option<Queued>, DbError> {
    let sql = "SELECT id, tenant_id, recipient, template, content, attempts, give_up_at FROM mail_outbox
        WHERE id = ?1 AND state = 'queued' AND content IS NOT NULL";
    tx.query_one(sql, params![id], |row| {
        Ok(Queued {
            id: row.get(0)?,
            tenant: row.get(1)?,
            recipient: row.get(2)?,
            template: row.get(3)?,
            content: row.get(4)?,
            attempts: row.get(5)?,
            give_up_at_ms: row.get(6)?,
        })
    })
}

pub(super) fn sent(tx: &Tx<'_>, id: &[u8]) -> Result<(), DbError> {
    tx.send("DELETE FROM mail_outbox WHERE id = ?1", params![id])
}

pub(super) fn failed_once(tx: &Tx<'_>, id: &[u8], error: &str) -> Result<(), DbError> {
    let sql = "UPDATE mail_outbox SET attempts = attempts + 1, last_error = ?2 WHERE id = ?1 AND state = 'queued'";
    tx.send(sql, params![id, error])
}

/// The content goes with it: it may hold a link.
pub(super) fn give_up(tx: &Tx<'_>, id: &[u8], error: &str, now_ms: i64) -> Result<(), DbError> {
    let sql = "UPDATE mail_outbox
        SET state = 'failed', attempts = attempts + 1, last_error = ?2, failed_at = ?3, content = NULL
        WHERE id = ?1 AND state = 'queued'";
    tx.send(sql, params![id, error, now_ms])
}

pub(super) fn forget_failed(tx: &Tx<'_>, before_ms: i64) -> Result<(), DbError> {
    tx.send("DELETE FROM mail_outbox WHERE state = 'failed' AND failed_at < ?1", params![before_ms])
}

/// How the tenant's outbox stands.
///
/// # Errors
/// When the database fails.
pub fn counts(tx: &Tx<'_>, tenant: &TenantId) -> Result<Counts, DbError> {
    let sql = "SELECT
            CAST(coalesce(sum(CASE WHEN state = 'queued' THEN 1 ELSE 0 END), 0) AS BIGINT),
            CAST(coalesce(sum(CASE WHEN state = 'failed' THEN 1 ELSE 0 END), 0) AS BIGINT)
        FROM mail_outbox
        WHERE tenant_id = ?1";
    let counts =
        tx.query_one(sql, params![tenant.as_str()], |row| Ok(Counts { queued: row.get(0)?, failed: row.get(1)? }))?;
    Ok(counts.unwrap_or_default())
}

/// The tenant's messages that failed at least once, newest first.
///
/// # Errors
/// When the database fails.
pub fn troubled(tx: &Tx<'_>, tenant: &TenantId) -> Result<Vec<Troubled>, DbError> {
    let sql = "SELECT recipient, template, state, attempts, coalesce(last_error, ''), created_at, give_up_at, failed_at
        FROM mail_outbox
        WHERE tenant_id = ?1 AND attempts > 0
        ORDER BY created_at DESC, id
        LIMIT ?2";
    tx.query(sql, params![tenant.as_str(), limits::TROUBLED_LISTED_MAX], |row: &Row<'_>| {
        let failed_at_ms: Option<i64> = row.get(7)?;
        Ok(Troubled {
            recipient: row.get(0)?,
            template: row.get(1)?,
            state: row.get(2)?,
            attempts: row.get(3)?,
            last_error: row.get(4)?,
            created_at_ms: row.get(5)?,
            give_up_at_ms: failed_at_ms.unwrap_or(row.get(6)?),
        })
    })
}
