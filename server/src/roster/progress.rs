//! How far an import is, for whoever waits for it.

use std::sync::Arc;

use super::limits;

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Files are read; how many rows there are is not known yet.
    Read,
    /// What the roster says is compared with what is there.
    Compare,
    /// What changes is written.
    Write,
}

/// Told now and then how many rows are done, and of how many; 0 when that is not known.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(Stage, u64, u64) + Send + Sync>);

impl Progress {
    /// Calls this.
    pub fn to(tell: impl Fn(Stage, u64, u64) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    /// Nobody waits.
    pub fn none() -> Self {
        Self::to(|_, _, _| {})
    }

    /// Rows so far, of a number that nobody knows.
    pub(super) fn rows(&self, stage: Stage, done: u64) {
        self.tell(stage, done, 0);
    }

    /// Rows so far. Most are not told.
    pub(super) fn tell(&self, stage: Stage, done: u64, total: u64) {
        if done.is_multiple_of(limits::PROGRESS_ROWS) || done == total {
            (self.0)(stage, done, total);
        }
    }
}
