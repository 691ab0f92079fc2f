//! The loops that claim jobs, hand them to handlers in batches, and settle what came of it.

use std::collections::{BTreeMap, HashSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{Job, limits, queries};
use crate::app::App;
use crate::db::DbError;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Handle = dyn Fn(App, Vec<Job>) -> BoxFuture<Vec<Result<(), String>>> + Send + Sync;

/// Which function does which kind of work.
#[derive(Clone, Default)]
pub struct Handlers {
    kinds: BTreeMap<&'static str, Handler>,
}

#[derive(Clone)]
struct Handler {
    batch_max: u32,
    handle: Arc<Handle>,
}

impl Handlers {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one. It gets at most `batch_max` jobs at once and answers for each, in their order. Kinds run beside each
    /// other; one kind's batches run one after the other.
    pub fn on<F, R>(mut self, kind: &'static str, batch_max: u32, handler: F) -> Self
    where
        F: Fn(App, Vec<Job>) -> R + Send + Sync + 'static,
        R: Future<Output = Vec<Result<(), String>>> + Send + 'static,
    {
        let handle: Arc<Handle> = Arc::new(move |app, jobs| Box::pin(handler(app, jobs)));
        self.kinds.insert(kind, Handler { batch_max: batch_max.clamp(1, limits::BATCH_MAX), handle });
        self
    }
}

/// Works until the app stops; a batch that has begun is finished and settled.
pub async fn run(app: App, handlers: Handlers) {
    let mut loops = JoinSet::new();
    let kinds = handlers.kinds.len();
    app.metrics.job_workers.set(kinds as i64);
    let at_once = Arc::new(Semaphore::new(app.config.work.task_workers.unwrap_or(kinds).max(1)));
    for (kind, handler) in handlers.kinds {
        loops.spawn(work(app.clone(), kind, handler, Arc::clone(&at_once)));
    }
    while let Some(ended) = loops.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "A job loop ended with a panic");
        }
        app.metrics.job_workers.dec();
    }
}

/// Does all work that is due by the app's clock and then stops, without a worker: for programs that drive the time
/// themselves. Says how many jobs were tried.
///
/// # Errors
/// When jobs cannot be claimed; what was claimed before is settled.
pub async fn run_due(app: &App, handlers: &Handlers) -> Result<usize, DbError> {
    let mut tried = 0;
    for (&kind, handler) in &handlers.kinds {
        let mut claims = HashSet::new();
        loop {
            let (now_ms, limit) = (app.now_ms(), handler.batch_max);
            let jobs: Vec<Job> = app.db.write(move |tx| queries::claim(tx, kind, now_ms, limit)).await?;
            // A claim that comes a second time was never kept: a database that forgets would keep this call for ever.
            if jobs.is_empty() || !jobs.iter().all(|job| claims.insert((job.subject.clone(), job.claim))) {
                break;
            }
            tried += jobs.len();
            batch(app, handler, jobs).await;
        }
    }
    Ok(tried)
}

async fn work(app: App, kind: &'static str, handler: Handler, at_once: Arc<Semaphore>) {
    let mut enqueued = app.jobs_enqueued();
    while !app.is_stopping() {
        stand_back(&app).await;
        // Before jobs are claimed: whoever waits for a place must not hold a lease. It is never closed.
        let Ok(place) = at_once.acquire().await else { return };
        enqueued.mark_unchanged();
        let (now_ms, limit) = (app.now_ms(), handler.batch_max);
        let claimed: Result<_, DbError> = app.db.write(move |tx| queries::claim(tx, kind, now_ms, limit)).await;
        match claimed {
            Ok(jobs) if jobs.is_empty() => {}
            Ok(jobs) => {
                batch(&app, &handler, jobs).await;
                // Semaphores are fair: the other kinds that wait for a place have theirs first.
                continue;
            }
            Err(error) => tracing::warn!(%error, kind, "Could not claim jobs"),
        }
        drop(place);
        tokio::select! {
            () = app.stopped() => {}
            _ = enqueued.changed() => {}
            () = tokio::time::sleep(limits::POLL) => {}
        }
    }
}

/// Lets ingest go first while it has much to write, but not for ever.
async fn stand_back(app: &App) {
    for _ in 0..limits::YIELDS_MAX {
        if app.db.writer_waiting() <= crate::limits::WRITER_BUSY_WAITING || app.is_stopping() {
            return;
        }
        tokio::time::sleep(limits::YIELD).await;
    }
}

async fn batch(app: &App, handler: &Handler, jobs: Vec<Job>) {
    let results = match handle(app, handler, jobs.clone()).await {
        Some(results) => results,
        // One job may be poison; the others of its batch must not pay for it.
        None => {
            let mut results = Vec::with_capacity(jobs.len());
            for job in &jobs {
                let alone = handle(app, handler, vec![job.clone()]).await;
                results.extend(alone.unwrap_or_else(|| vec![Err("the handler panicked".to_owned())]));
            }
            results
        }
    };
    let settled: Vec<Settled> = jobs.into_iter().zip(results).map(|(job, result)| settle(app, job, result)).collect();
    let written: Result<(), DbError> = app
        .db
        .write(move |tx| {
            settled.iter().try_for_each(|settled| match &settled.failure {
                None => queries::succeed(tx, &settled.job),
                Some((error, retry_at_ms)) => queries::fail(tx, &settled.job, error, *retry_at_ms),
            })
        })
        .await;
    if let Err(error) = written {
        // The lease ends and the jobs run again; handlers are idempotent.
        tracing::error!(%error, "Could not settle jobs");
    }
}

/// One answer per job, or `None` after a panic.
async fn handle(app: &App, handler: &Handler, jobs: Vec<Job>) -> Option<Vec<Result<(), String>>> {
    let count = jobs.len();
    // A task of its own, so that a panic ends the call and not the loop; in a set, so that it ends with the loop.
    let mut call = JoinSet::new();
    call.spawn((handler.handle)(app.clone(), jobs));
    let mut results = call.join_next().await?.ok()?;
    results.resize_with(count, || Err("the handler did not answer for this job".to_owned()));
    Some(results)
}

struct Settled {
    job: Job,
    /// The error, and when to try again.
    failure: Option<(String, Option<i64>)>,
}

fn settle(app: &App, job: Job, result: Result<(), String>) -> Settled {
    let Err(mut error) = result else { return Settled { job, failure: None } };
    let end = (0..=limits::ERROR_BYTES_MAX).rev().find(|end| error.is_char_boundary(*end)).unwrap_or(0);
    error.truncate(end);
    let retries = job.attempt < limits::ATTEMPTS_MAX;
    let retry_at_ms = retries.then(|| app.now_ms() + backoff(job.attempt, app.draw()).as_millis() as i64);
    if retries {
        tracing::warn!(kind = job.kind, attempt = job.attempt, error, "A job failed and will be tried again");
    } else {
        tracing::error!(kind = job.kind, attempt = job.attempt, error, "A job failed and was given up");
    }
    Settled { job, failure: Some((error, retry_at_ms)) }
}

/// Doubles with each failure up to a ceiling; between half of it and all of it, so that failures spread out.
fn backoff(attempt: u32, draw: u64) -> Duration {
    let doubled = limits::BACKOFF_FIRST.saturating_mul(1 << attempt.saturating_sub(1).min(16));
    let half = doubled.min(limits::BACKOFF_MAX) / 2;
    half + half.mul_f64((draw >> 11) as f64 / (1_u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_ceiling() {
        assert_eq!(backoff(1, 0), Duration::from_secs(1));
        assert_eq!(backoff(2, 0), Duration::from_secs(2));
        assert!(backoff(1, u64::MAX) <= Duration::from_secs(2));
        for attempt in [20, 31, 32, 64, u32::MAX] {
            assert!(backoff(attempt, u64::MAX) <= limits::BACKOFF_MAX);
        }
    }
}
