//! The bounds of this module.

use std::time::Duration;

/// Jobs that one handler call gets, unless its registration says less.
pub(super) const BATCH_MAX: u32 = 64;
/// A worker that says nothing for this long has lost its jobs to the next one.
pub(super) const LEASE: Duration = Duration::from_secs(300);
/// Tries before a job is given up.
pub(super) const ATTEMPTS_MAX: u32 = 8;
/// Wait after the first failure; doubles with each.
pub(super) const BACKOFF_FIRST: Duration = Duration::from_secs(2);
/// Longest wait after a failure.
pub(super) const BACKOFF_MAX: Duration = Duration::from_secs(900);
/// How often workers look for work that nobody woke them for: jobs whose time has come, leases that ended.
pub(super) const POLL: Duration = Duration::from_millis(500);
/// Pause while the writer has more important things to do.
pub(super) const YIELD: Duration = Duration::from_millis(5);
/// Pauses before a batch is taken all the same, so that ingest never starves the verdicts: about a second.
pub(super) const YIELDS_MAX: u32 = 200;
/// Bytes of a stored failure.
pub(super) const ERROR_BYTES_MAX: usize = 500;
/// Dead jobs that are listed.
pub(super) const DEAD_LISTED_MAX: u32 = 200;
/// Kinds of jobs that are counted.
pub(super) const KINDS_MAX: u32 = 100;
