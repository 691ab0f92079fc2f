//! All SQL about `jobs`.

use super::{Counts, DeadJob, Job, Standing, limits};
use crate::db::{DbError, Tx};
use crate::ids::TenantId;
use crate::params;

/// The kind of the row that is there for the length of one transaction.
const PROBE: &str = "health.probe";

/// One statement, so that it is safe against a worker that settles the same job.
pub(super) fn enqueue(
    tx: &Tx<'_>,
    tenant: &TenantId,
    kind: &str,
    subject: &[u8],
    run_at_ms: i64,
) -> Result<(), DbError> {
    let sql = "INSERT INTO jobs (kind, tenant_id, subject, state, due_at, claim, attempts, first_due_at)
        VALUES (?1, ?2, ?3, 'pending', ?4, 0, 0, ?4)
        ON CONFLICT (kind, tenant_id, subject) DO UPDATE SET
            wanted_at = CASE
                WHEN jobs.state <> 'running' THEN NULL
                WHEN jobs.wanted_at IS NULL OR jobs.wanted_at > excluded.due_at THEN excluded.due_at
                ELSE jobs.wanted_at
            END,
            due_at = CASE
                WHEN jobs.state = 'dead' THEN excluded.due_at
                WHEN jobs.state = 'pending' AND jobs.due_at > excluded.due_at THEN excluded.due_at
                ELSE jobs.due_at
            END,
            attempts = CASE WHEN jobs.state = 'dead' THEN 0 ELSE jobs.attempts END,
            state = CASE WHEN jobs.state = 'dead' THEN 'pending' ELSE jobs.state END";
    tx.send(sql, params![kind, tenant.as_str(), subject, run_at_ms])
}

pub(super) fn cancel(tx: &Tx<'_>, tenant: &TenantId, kind: &str, subject: &[u8]) -> Result<bool, DbError> {
    let sql = "DELETE FROM jobs WHERE kind = ?1 AND tenant_id = ?2 AND subject = ?3 AND state = 'pending'";
    Ok(tx.execute(sql, params![kind, tenant.as_str(), subject])? == 1)
}

pub(super) fn is_asked(tx: &Tx<'_>, tenant: &TenantId, kind: &str, subject: &[u8]) -> Result<bool, DbError> {
    let sql = "SELECT 1 FROM jobs WHERE kind = ?1 AND tenant_id = ?2 AND subject = ?3 AND state <> 'dead'";
    let found = tx.query_one(sql, params![kind, tenant.as_str(), subject], |row| row.get::<i64>(0))?;
    Ok(found.is_some())
}

/// Takes the jobs whose time has come, also those whose worker was lost.
pub(super) fn claim(tx: &Tx<'_>, kind: &str, now_ms: i64, limit: u32) -> Result<Vec<Job>, DbError> {
    let sql = "UPDATE jobs
        SET state = 'running', due_at = ?3, wanted_at = NULL, claim = claim + 1, attempts = attempts + 1
        WHERE kind = ?1 AND (tenant_id, subject) IN (
            SELECT tenant_id, subject FROM jobs
            WHERE kind = ?1 AND state <> 'dead' AND due_at <= ?2
            ORDER BY due_at
            LIMIT ?4
        )
        RETURNING tenant_id, kind, subject, attempts, claim";
    let lease_end_ms = now_ms.saturating_add(limits::LEASE.as_millis() as i64);
    tx.query(sql, params![kind, now_ms, lease_end_ms, limit], |row| {
        Ok(Job {
            tenant: row.get(0)?,
            kind: row.get(1)?,
            subject: row.get(2)?,
            attempt: row.get(3)?,
            claim: row.get(4)?,
        })
    })
}

/// Work that is done goes away, unless it was asked for again meanwhile.
pub(super) fn succeed(tx: &Tx<'_>, job: &Job) -> Result<(), DbError> {
    let delete = "DELETE FROM jobs
        WHERE kind = ?1 AND tenant_id = ?2 AND subject = ?3 AND claim = ?4 AND state = 'running' AND wanted_at IS NULL";
    let params = params![&job.kind, job.tenant.as_str(), &job.subject, job.claim];
    if tx.execute(delete, params)? == 0 {
        let again = "UPDATE jobs
            SET state = 'pending', due_at = wanted_at, wanted_at = NULL, attempts = 0, last_error = NULL
            WHERE kind = ?1 AND tenant_id = ?2 AND subject = ?3 AND claim = ?4 AND state = 'running'";
        tx.send(again, params)?;
    }
    Ok(())
}

/// Work that failed waits until `retry_at_ms`, or is given up when that is `None`.
pub(super) fn fail(tx: &Tx<'_>, job: &Job, error: &str, retry_at_ms: Option<i64>) -> Result<(), DbError> {
    // Asked for again meanwhile: then it is not given up, whatever happened so far.
    let sql = "UPDATE jobs SET
            state = CASE WHEN ?6 = 1 AND wanted_at IS NULL THEN 'dead' ELSE 'pending' END,
            attempts = CASE WHEN ?6 = 1 AND wanted_at IS NOT NULL THEN 0 ELSE attempts END,
            due_at = CASE WHEN wanted_at IS NOT NULL AND wanted_at > ?5 THEN wanted_at ELSE ?5 END,
            wanted_at = NULL,
            last_error = ?7
        WHERE kind = ?1 AND tenant_id = ?2 AND subject = ?3 AND claim = ?4 AND state = 'running'";
    let (give_up, due_at) = (retry_at_ms.is_none(), retry_at_ms.unwrap_or(0));
    let params = params![&job.kind, job.tenant.as_str(), &job.subject, job.claim, due_at, give_up, error];
    tx.send(sql, params)
}

pub(super) fn counts(tx: &Tx<'_>, kind: &str) -> Result<Counts, DbError> {
    let sql = "SELECT
            coalesce(sum(CASE WHEN state = 'dead' THEN 0 ELSE 1 END), 0),
            coalesce(sum(CASE WHEN state = 'dead' THEN 1 ELSE 0 END), 0)
        FROM jobs
        WHERE kind = ?1";
    let counted = tx.query_one(sql, params![kind], |row| Ok(Counts { pending: row.get(0)?, dead: row.get(1)? }))?;
    Ok(counted.unwrap_or_default())
}

pub(super) fn standing(tx: &Tx<'_>, now_ms: i64) -> Result<Vec<Standing>, DbError> {
    let sql = "SELECT
            kind,
            CAST(sum(CASE WHEN state = 'running' OR (state = 'pending' AND due_at <= ?1) THEN 1 ELSE 0 END) AS BIGINT),
            CAST(sum(CASE WHEN state = 'pending' AND due_at > ?1 THEN 1 ELSE 0 END) AS BIGINT),
            CAST(sum(CASE WHEN state = 'dead' THEN 1 ELSE 0 END) AS BIGINT),
            min(CASE WHEN state = 'pending' AND due_at <= ?1 THEN due_at END)
        FROM jobs
        GROUP BY kind
        ORDER BY kind
        LIMIT ?2";
    tx.query(sql, params![now_ms, limits::KINDS_MAX], |row| {
        let (kind, due, scheduled, dead) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        Ok(Standing { kind, due, oldest_due_ms: row.get(4)?, scheduled, dead })
    })
}

pub(super) fn try_to_store(tx: &Tx<'_>, filler: &str) -> Result<(), DbError> {
    let insert = "INSERT INTO jobs (kind, tenant_id, subject, state, due_at, claim, attempts, last_error, first_due_at)
        VALUES (?1, ?1, ?2, 'dead', 0, 0, 0, ?3, 0)";
    tx.execute(insert, params![PROBE, PROBE.as_bytes(), filler])?;
    tx.execute("DELETE FROM jobs WHERE kind = ?1", params![PROBE])?;
    Ok(())
}

pub(super) fn dead(tx: &Tx<'_>, tenant: &TenantId) -> Result<Vec<DeadJob>, DbError> {
    let sql = "SELECT kind, subject, attempts, coalesce(last_error, '') FROM jobs
        WHERE tenant_id = ?1 AND state = 'dead'
        ORDER BY first_due_at, kind, subject
        LIMIT ?2";
    tx.query(sql, params![tenant.as_str(), limits::DEAD_LISTED_MAX], |row| {
        Ok(DeadJob { kind: row.get(0)?, subject: row.get(1)?, attempts: row.get(2)?, last_error: row.get(3)? })
    })
}
