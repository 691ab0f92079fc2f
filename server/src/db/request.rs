//! A request for the database on its way to a thread, and the threads that work on requests.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::Span;

use super::meters::{self, Meters};
use super::queue::Queue;
use super::{DbError, Tx};
use crate::limits::budgets;

/// Requests that wait for a thread.
pub(super) type Requests = Queue<Box<dyn Request>>;

type Threads = Mutex<Vec<JoinHandle<()>>>;

/// The queues of a database and the threads behind them.
pub(super) struct Workers {
    writes: Arc<Requests>,
    reads: Arc<Requests>,
    writer: Threads,
    readers: Threads,
    meters: Arc<Meters>,
}

impl Workers {
    /// Nobody works yet; a request waits `queue_wait` for a place in a full queue.
    pub(super) fn new(queue_wait: Duration) -> Self {
        Self {
            writes: Arc::new(Queue::new(budgets::WRITES_WAITING.count(), queue_wait)),
            reads: Arc::new(Queue::new(budgets::READS_WAITING.count(), queue_wait)),
            writer: Mutex::default(),
            readers: Mutex::default(),
            meters: Arc::default(),
        }
    }

    /// Answers every write with `DbError::Closed`.
    pub(super) fn refuse_writes(&self) {
        self.writes.close();
    }

    /// Starts the one thread that writes.
    pub(super) fn writer(&self, work: impl FnOnce(&Requests) + Send + 'static) -> Result<(), DbError> {
        let queue = Arc::clone(&self.writes);
        let thread = self.spawn("db-writer", move || work(&queue))?;
        lock(&self.writer).push(thread);
        Ok(())
    }

    /// Starts one of the threads that read.
    pub(super) fn reader(&self, work: impl FnOnce(&Requests) + Send + 'static) -> Result<(), DbError> {
        let queue = Arc::clone(&self.reads);
        let thread = self.spawn("db-reader", move || work(&queue))?;
        lock(&self.readers).push(thread);
        Ok(())
    }

    /// Starts a thread that ends by itself when the one that writes has ended.
    pub(super) fn beside(&self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), DbError> {
        let thread = self.spawn(name, work)?;
        lock(&self.writer).push(thread);
        Ok(())
    }

    fn spawn(&self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, DbError> {
        let meters = Arc::clone(&self.meters);
        let body = move || {
            meters::of_this_thread(meters);
            body();
        };
        std::thread::Builder::new().name(name.to_owned()).spawn(body).map_err(DbError::other)
    }

    /// These threads if all of them started. Else none is left, and no file is open, when this returns.
    pub(super) fn or_close(self, started: Result<(), DbError>) -> Result<Self, DbError> {
        if let Err(error) = started {
            self.close();
            return Err(error);
        }
        Ok(self)
    }

    pub(super) async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: Fn(&Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        submit(&self.writes, work).await
    }

    pub(super) async fn read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: Fn(&Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        submit(&self.reads, work).await
    }

    pub(super) fn write_blocking<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: Fn(&Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        submit_blocking(&self.writes, work)
    }

    pub(super) fn read_blocking<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: Fn(&Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        submit_blocking(&self.reads, work)
    }

    pub(super) fn writer_waiting(&self) -> usize {
        self.writes.unfinished()
    }

    pub(super) fn reads_waiting(&self) -> usize {
        self.reads.waiting()
    }

    pub(super) fn meters(&self) -> &Meters {
        &self.meters
    }

    /// Ends the readers first: whoever closes an SQLite file last brings its write-ahead log home, and only the writer
    /// can.
    pub(super) fn close(&self) {
        self.reads.close();
        join(&self.readers);
        self.writes.close();
        join(&self.writer);
    }
}

fn lock(threads: &Threads) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
    threads.lock().unwrap_or_else(PoisonError::into_inner)
}

fn join(threads: &Threads) {
    let threads = std::mem::take(&mut *lock(threads));
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!("A database thread ended with a panic");
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.reads.close();
        self.writes.close();
    }
}

/// A request in a queue, with its types forgotten.
pub(super) trait Request: Send {
    /// Runs the work and keeps its result; says whether it succeeded. Can run again.
    fn run(&mut self, tx: &Tx<'_>) -> bool;
    /// Forgets the kept result in favour of `error`.
    fn fail(&mut self, error: DbError);
    /// Answers with the kept result, the first time.
    fn answer(&mut self);
}

struct Pending<T, E, F> {
    work: F,
    /// The request that asks, so that lines of this thread name it.
    span: Span,
    result: Option<Result<T, E>>,
    reply: Option<oneshot::Sender<Result<T, E>>>,
}

impl<T, E, F> Request for Pending<T, E, F>
where
    F: Fn(&Tx<'_>) -> Result<T, E> + Send,
    T: Send,
    E: From<DbError> + Send,
{
    fn run(&mut self, tx: &Tx<'_>) -> bool {
        let _asking = self.span.enter();
        let result = catch_unwind(AssertUnwindSafe(|| (self.work)(tx)))
            .unwrap_or_else(|panic| Err(E::from(DbError::Other(panic_text(&*panic)))));
        let succeeded = result.is_ok();
        self.result = Some(result);
        succeeded
    }

    fn fail(&mut self, error: DbError) {
        self.result = Some(Err(E::from(error)));
    }

    fn answer(&mut self) {
        let Some(reply) = self.reply.take() else { return };
        // Whoever asked may have gone; what was committed stays committed.
        let _ = reply.send(self.result.take().unwrap_or_else(|| Err(E::from(DbError::Closed))));
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("a transaction panicked: {}", text.unwrap_or("no message"))
}

async fn submit<T, E, F>(queue: &Requests, work: F) -> Result<T, E>
where
    F: Fn(&Tx<'_>) -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: From<DbError> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    queue.push(Box::new(Pending { work, span: Span::current(), result: None, reply: Some(reply) })).await?;
    answer.await.unwrap_or_else(|_| Err(E::from(DbError::Closed)))
}

fn submit_blocking<T, E, F>(queue: &Requests, work: F) -> Result<T, E>
where
    F: Fn(&Tx<'_>) -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: From<DbError> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    queue.push_blocking(Box::new(Pending { work, span: Span::current(), result: None, reply: Some(reply) }))?;
    answer.blocking_recv().unwrap_or_else(|_| Err(E::from(DbError::Closed)))
}

/// Answers everybody with one failure.
pub(super) fn fail_all(requests: impl Iterator<Item = Box<dyn Request>>, error: &DbError) {
    for mut request in requests {
        request.fail(error.clone());
        request.answer();
    }
}
