//! Work that must happen after a commit: durable rows, claimed in batches, tried again, never lost silently.
//!
//! `enqueue` is called in the transaction that makes the work necessary; `AppState::wake_jobs` after its commit. A job
//! is one row per (kind, tenant, subject): asking for it again while it waits changes nothing but, perhaps, brings it
//! forward; asking while it runs makes it run once more. Handlers must therefore be idempotent.

mod limits;
mod queries;
mod worker;

use crate::db::{DbError, Tx};
use crate::ids::TenantId;

pub use worker::{Handlers, run, run_due};

/// A claimed job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Whose.
    pub tenant: TenantId,
    /// What to do.
    pub kind: String,
    /// With what; an id, usually.
    pub subject: Vec<u8>,
    /// How often it was tried, this time included.
    pub attempt: u32,
    /// Which claim this is; settling asks for it.
    claim: i64,
}

/// How the jobs of one kind stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Waiting for their time, or running.
    pub pending: u64,
    /// Given up; they stay until they are asked for again.
    pub dead: u64,
}

/// How the jobs of one kind stand at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Which kind.
    pub kind: String,
    /// Due or running.
    pub due: u64,
    /// When the one was due that has been waiting longest.
    pub oldest_due_ms: Option<i64>,
    /// Waiting for their time.
    pub scheduled: u64,
    /// Given up.
    pub dead: u64,
}

/// A job that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadJob {
    /// What to do.
    pub kind: String,
    /// With what.
    pub subject: Vec<u8>,
    /// How often it was tried.
    pub attempts: u32,
    /// Why it failed the last time.
    pub last_error: String,
}

/// Asks for work at `run_at_ms` or as soon after as possible.
pub fn enqueue(tx: &Tx<'_>, tenant: &TenantId, kind: &str, subject: &[u8], run_at_ms: i64) -> Result<(), DbError> {
    queries::enqueue(tx, tenant, kind, subject, run_at_ms)
}

/// Withdraws work that is no longer needed, unless it runs already.
pub fn cancel(tx: &Tx<'_>, tenant: &TenantId, kind: &str, subject: &[u8]) -> Result<bool, DbError> {
    queries::cancel(tx, tenant, kind, subject)
}

/// Whether work is asked for and not done; work that was given up is not.
pub fn is_asked(tx: &Tx<'_>, tenant: &TenantId, kind: &str, subject: &[u8]) -> Result<bool, DbError> {
    queries::is_asked(tx, tenant, kind, subject)
}

/// How the jobs of one kind stand, in all tenants.
pub fn counts(tx: &Tx<'_>, kind: &str) -> Result<Counts, DbError> {
    queries::counts(tx, kind)
}

/// How the jobs of every kind stand, in all tenants.
pub fn standing(tx: &Tx<'_>, now_ms: i64) -> Result<Vec<Standing>, DbError> {
    queries::standing(tx, now_ms)
}

/// Stores a row with this text and takes it away again in the same transaction: whether room is there and may be used,
/// only a write can say. Nobody sees the row.
pub fn try_to_store(tx: &Tx<'_>, filler: &str) -> Result<(), DbError> {
    queries::try_to_store(tx, filler)
}

/// The tenant's jobs that were given up, oldest first.
pub fn dead(tx: &Tx<'_>, tenant: &TenantId) -> Result<Vec<DeadJob>, DbError> {
    queries::dead(tx, tenant)
}
