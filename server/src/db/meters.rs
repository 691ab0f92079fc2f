//! What the threads of a database measure: commits, and statements that take too long.
//!
//! Each thread knows the meters of its own database, so that the code between it and a statement need not carry them.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::DbError;
use crate::clock::Stopwatch;
use crate::telemetry::DatabaseMeters;

/// The meters, and from when on a statement is slow.
pub(super) struct Meters {
    pub(super) database: DatabaseMeters,
    slow_us: AtomicU64,
    /// How often the storage was full or failed.
    storage_failures: AtomicU64,
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            database: DatabaseMeters::default(),
            slow_us: AtomicU64::new(u64::MAX),
            storage_failures: AtomicU64::new(0),
        }
    }
}

impl Meters {
    /// Statements that take longer are logged from now on.
    pub(super) fn log_slower_than(&self, limit: Duration) {
        self.slow_us.store(u64::try_from(limit.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How often the storage said that it is full or fails.
    pub(super) fn storage_failures(&self) -> u64 {
        self.storage_failures.load(Ordering::Relaxed)
    }
}

thread_local! {
    static METERS: RefCell<Option<Arc<Meters>>> = const { RefCell::new(None) };
}

/// Makes this thread one of the database whose meters these are.
pub(super) fn of_this_thread(meters: Arc<Meters>) {
    METERS.set(Some(meters));
}

/// Notes a commit of this thread's.
pub(super) fn committed(requests: usize, watch: Stopwatch) {
    METERS.with_borrow(|meters| {
        if let Some(meters) = meters {
            meters.database.committed(requests, watch.elapsed());
        }
    });
}

/// Notes what a statement or a commit of this thread's failed with.
pub(super) fn failed(error: &DbError) {
    if !matches!(error, DbError::Full(_)) {
        return;
    }
    METERS.with_borrow(|meters| {
        if let Some(meters) = meters {
            meters.storage_failures.fetch_add(1, Ordering::Relaxed);
        }
    });
}

/// Runs a statement and, if it took long, logs its text: the values are not in it.
pub(super) fn timed<T>(sql: &str, run: impl FnOnce() -> Result<T, DbError>) -> Result<T, DbError> {
    let watch = Stopwatch::start();
    let done = run();
    let took = watch.elapsed();
    if let Err(error) = &done {
        failed(error);
    }
    METERS.with_borrow(|meters| {
        let Some(meters) = meters else { return };
        if took.as_micros() >= u128::from(meters.slow_us.load(Ordering::Relaxed)) {
            meters.database.slow_statement();
            let duration_ms = took.as_micros() as f64 / 1e3;
            let statement = sql.split_whitespace().collect::<Vec<_>>().join(" ");
            tracing::warn!(operation = "database_query", duration_ms, statement, "A statement took long");
        }
    });
    done
}
