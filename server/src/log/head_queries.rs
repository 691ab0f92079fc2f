//! All SQL about the heads of logs, their generations and their losses.

use super::chain::{self, Link};
use super::heads::{Head, Loss, LossSource};
use crate::db::{DbError, Row, Tx};
use crate::ids::TenantId;
use crate::{limits, params};

/// Tenants whose heads are read at once.
const TENANTS_MAX: i64 = 100_000;
/// Losses that a list shows.
const LOSSES_MAX: i64 = 200;

fn head(row: &Row<'_>) -> Result<Head, DbError> {
    let tenant: TenantId = row.get(0)?;
    let log_index = row.get(2)?;
    // A row that is missing or has no chain value is damage, which `verify` names; zeroes contradict every proof.
    let chain = match row.get::<Option<[u8; 32]>>(4)? {
        Some(chain) => chain,
        None if log_index == 0 => chain::first(&tenant),
        None => [0; 32],
    };
    Ok(Head { tenant, generation: row.get(1)?, log_index, last_number: row.get(3)?, chain })
}

/// The head of every tenant's log.
///
/// # Errors
/// When the database fails.
pub fn heads(tx: &Tx<'_>) -> Result<Vec<Head>, DbError> {
    tx.query(
        "SELECT h.tenant_id, h.generation, h.last_index, h.last_number, l.chain
         FROM log_heads h
         LEFT JOIN change_log l ON l.tenant_id = h.tenant_id AND l.log_index = h.last_index
         ORDER BY h.tenant_id
         LIMIT ?1",
        params![TENANTS_MAX],
        head,
    )
}

/// When the newest change was taken, by the clock of then.
///
/// # Errors
/// When the database fails.
pub fn newest_received_ms(tx: &Tx<'_>) -> Result<Option<i64>, DbError> {
    let newest = tx.query_one(
        "SELECT max(l.received_at)
         FROM log_heads h
         JOIN change_log l ON l.tenant_id = h.tenant_id AND l.log_index = h.last_index",
        &[],
        |row| row.get::<Option<i64>>(0),
    )?;
    Ok(newest.flatten())
}

/// For how long, milliseconds, the log went on behind a row that a signed head proves: from the row after it to the newest
/// one. `None` if no longer than a head is ever written late.
///
/// # Errors
/// When the database fails.
pub fn late_ms(tx: &Tx<'_>, tenant: &TenantId, log_index: i64) -> Result<Option<i64>, DbError> {
    let at = |log_index: i64| {
        tx.query_one(
            "SELECT CAST(received_at AS BIGINT)
             FROM change_log
             WHERE tenant_id = ?1 AND log_index = ?2",
            params![tenant.as_str(), log_index],
            |row| row.get::<i64>(0),
        )
    };
    let Some(head) = head_of(tx, tenant)? else { return Ok(None) };
    Ok(late_between(at(log_index.saturating_add(1))?, at(head.log_index)?))
}

/// The time between the first row that a signed head does not cover and the newest one, Unix milliseconds both, if it is
/// longer than a head is ever written late: then the head is an old one.
pub fn late_between(first_ms: Option<i64>, newest_ms: Option<i64>) -> Option<i64> {
    let late_ms = newest_ms?.saturating_sub(first_ms?);
    (late_ms > limits::HEAD_FILE_LATE_MS_MAX).then_some(late_ms)
}

/// The head of one tenant's log; `None` before its first change.
pub(super) fn head_of(tx: &Tx<'_>, tenant: &TenantId) -> Result<Option<Head>, DbError> {
    tx.query_one(
        "SELECT h.tenant_id, h.generation, h.last_index, h.last_number, l.chain
         FROM log_heads h
         LEFT JOIN change_log l ON l.tenant_id = h.tenant_id AND l.log_index = h.last_index
         WHERE h.tenant_id = ?1",
        params![tenant.as_str()],
        head,
    )
}

/// The hash chain's value at a row.
pub(super) fn chain_at(tx: &Tx<'_>, tenant: &TenantId, log_index: i64) -> Result<Option<[u8; 32]>, DbError> {
    if log_index == 0 {
        return Ok(Some(chain::first(tenant)));
    }
    let found = tx.query_one(
        "SELECT chain
         FROM change_log
         WHERE tenant_id = ?1 AND log_index = ?2",
        params![tenant.as_str(), log_index],
        |row| row.get::<Option<[u8; 32]>>(0),
    )?;
    Ok(found.flatten())
}

pub(super) fn set_generation(tx: &Tx<'_>, tenant: &TenantId, generation: i64, last_number: i64) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO log_heads (tenant_id, last_index, last_number, generation)
         VALUES (?1, 0, ?3, ?2)
         ON CONFLICT (tenant_id) DO UPDATE
         SET generation = excluded.generation, last_number = excluded.last_number",
        params![tenant.as_str(), generation, last_number],
    )?;
    Ok(())
}

pub(super) fn insert_loss(tx: &Tx<'_>, loss: &Loss) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO log_losses
             (tenant_id, generation, lost_generation, proven_index, kept_index, kept_number, noticed_by, noticed_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            loss.tenant.as_str(),
            loss.generation,
            loss.lost_generation,
            loss.proven_index,
            loss.kept_index,
            loss.kept_number,
            loss.noticed_by.as_str(),
            loss.noticed_at_ms
        ],
    )?;
    Ok(())
}

/// The newest losses of one tenant, or of all.
///
/// # Errors
/// When the database fails.
pub fn losses(tx: &Tx<'_>, tenant: Option<&TenantId>) -> Result<Vec<Loss>, DbError> {
    tx.query(
        "SELECT tenant_id, generation, lost_generation, proven_index, kept_index, kept_number, noticed_by, noticed_at
         FROM log_losses
         WHERE ?1 = '' OR tenant_id = ?1
         ORDER BY noticed_at DESC, generation DESC
         LIMIT ?2",
        params![tenant.map_or("", TenantId::as_str), LOSSES_MAX],
        |row| {
            Ok(Loss {
                tenant: row.get(0)?,
                generation: row.get(1)?,
                lost_generation: row.get(2)?,
                proven_index: row.get(3)?,
                kept_index: row.get(4)?,
                kept_number: row.get(5)?,
                noticed_by: LossSource::parse(&row.get::<String>(6)?),
                noticed_at_ms: row.get(7)?,
            })
        },
    )
}

/// What the chain covers of one row, and the value that it has.
pub(super) struct LinkRow {
    pub(super) log_index: i64,
    document: [u8; 16],
    writer: [u8; 32],
    seq: i64,
    max_op: i64,
    hash: [u8; 32],
    signature: [u8; 64],
    received_at_ms: i64,
    pub(super) chain: Option<[u8; 32]>,
}

impl LinkRow {
    pub(super) fn link(&self) -> Link<'_> {
        Link {
            log_index: self.log_index,
            document: &self.document,
            writer: &self.writer,
            seq: self.seq,
            max_op: self.max_op,
            hash: &self.hash,
            signature: &self.signature,
            received_at_ms: self.received_at_ms,
        }
    }
}

/// The rows after an index, without the changes' bytes.
pub(super) fn links_after(tx: &Tx<'_>, tenant: &TenantId, after: i64, limit: i64) -> Result<Vec<LinkRow>, DbError> {
    tx.query(
        "SELECT log_index, document_id, writer, seq, max_op, hash, signature, received_at, chain
         FROM change_log
         WHERE tenant_id = ?1 AND log_index > ?2
         ORDER BY log_index
         LIMIT ?3",
        params![tenant.as_str(), after, limit],
        |row| {
            Ok(LinkRow {
                log_index: row.get(0)?,
                document: row.get(1)?,
                writer: row.get(2)?,
                seq: row.get(3)?,
                max_op: row.get(4)?,
                hash: row.get(5)?,
                signature: row.get(6)?,
                received_at_ms: row.get(7)?,
                chain: row.get(8)?,
            })
        },
    )
}

/// Gives a row its chain value; the table allows it once.
pub(super) fn set_chain(tx: &Tx<'_>, tenant: &TenantId, log_index: i64, chain: &[u8; 32]) -> Result<(), DbError> {
    tx.execute(
        "UPDATE change_log
         SET chain = ?3
         WHERE tenant_id = ?1 AND log_index = ?2 AND chain IS NULL",
        params![tenant.as_str(), log_index, chain],
    )?;
    Ok(())
}
