//! SQLite: one writer thread that commits many requests at once, and a few reader threads on snapshots.
//!
//! One commit costs a disk flush whatever it holds, so the writer takes all that waits, runs each request in a
//! savepoint of its own, commits once, and only then answers anybody.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::oneshot;

use super::faults::{self, Fault};
use super::queue::Queue;
use super::{DbError, Tx};
use crate::clock::Stopwatch;
use crate::limits;

/// The queues and the threads behind them.
#[derive(Clone)]
pub(super) struct Sqlite(Arc<Threads>);

struct Threads {
    writes: Arc<Queue<Box<dyn Request>>>,
    reads: Arc<Queue<Box<dyn Request>>>,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

impl Sqlite {
    pub(super) fn open(path: &Path) -> Result<Self, DbError> {
        let writer = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        writer.pragma_update(None, "journal_mode", "WAL")?;
        let fault = faults::current();
        let synchronous = if fault == Fault::SynchronousNormal { "NORMAL" } else { "FULL" };
        writer.pragma_update(None, "synchronous", synchronous)?;
        // Negative means KiB, positive would mean pages.
        writer.pragma_update(None, "cache_size", -limits::WRITER_CACHE_KIB)?;
        writer.pragma_update(None, "wal_autocheckpoint", limits::WAL_PAGES_MAX)?;
        let writes = Arc::new(Queue::new(limits::WRITE_QUEUE_MAX));
        let reads = Arc::new(Queue::new(limits::READ_QUEUE_MAX));
        let mut handles = Vec::new();
        let queue = Arc::clone(&writes);
        handles.push(spawn("db-writer", move || write_loop(&writer, &queue, fault))?);
        spawn_readers(path, &reads, &mut handles)?;
        Ok(Self(Arc::new(Threads { writes, reads, handles: Mutex::new(handles) })))
    }

    /// Readers alone: every write is answered with `DbError::Closed`.
    pub(super) fn open_read_only(path: &Path) -> Result<Self, DbError> {
        let writes: Arc<Queue<Box<dyn Request>>> = Arc::new(Queue::new(limits::WRITE_QUEUE_MAX));
        writes.close();
        let reads = Arc::new(Queue::new(limits::READ_QUEUE_MAX));
        let mut handles = Vec::new();
        spawn_readers(path, &reads, &mut handles)?;
        Ok(Self(Arc::new(Threads { writes, reads, handles: Mutex::new(handles) })))
    }

    pub(super) async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: Fn(&Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        submit(&self.0.writes, work).await
    }

    pub(super) async fn read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: Fn(&Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        submit(&self.0.reads, work).await
    }

    pub(super) fn write_blocking<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: Fn(&Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        submit_blocking(&self.0.writes, work)
    }

    pub(super) fn read_blocking<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: Fn(&Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        submit_blocking(&self.0.reads, work)
    }

    pub(super) fn writer_waiting(&self) -> usize {
        self.0.writes.unfinished()
    }

    pub(super) fn close(&self) {
        self.0.reads.close();
        self.0.writes.close();
        let handles = std::mem::take(&mut *self.0.handles.lock().unwrap_or_else(PoisonError::into_inner));
        for handle in handles.into_iter().rev() {
            if handle.join().is_err() {
                tracing::error!("A database thread ended with a panic");
            }
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.reads.close();
        self.writes.close();
    }
}

fn spawn_readers(
    path: &Path,
    reads: &Arc<Queue<Box<dyn Request>>>,
    handles: &mut Vec<JoinHandle<()>>,
) -> Result<(), DbError> {
    let cores = std::thread::available_parallelism().map_or(limits::READERS_MIN, usize::from);
    for _ in 0..cores.clamp(limits::READERS_MIN, limits::READERS_MAX) {
        let reader = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        reader.pragma_update(None, "cache_size", -limits::READER_CACHE_KIB)?;
        let queue = Arc::clone(reads);
        handles.push(spawn("db-reader", move || read_loop(&reader, &queue))?);
    }
    Ok(())
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, DbError> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(limits::DATABASE_BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(limits::STATEMENTS_CACHED_MAX);
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // Without this, SQLite plans a cached statement again whenever a new value might make another plan better.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, DbError> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body).map_err(DbError::other)
}

/// A request in a queue, with its types forgotten.
trait Request: Send {
    /// Runs the work and keeps its result; says whether it succeeded. Can run again.
    fn run(&mut self, tx: &Tx<'_>) -> bool;
    /// Forgets the kept result in favour of `error`.
    fn fail(&mut self, error: DbError);
    /// Answers with the kept result, the first time.
    fn answer(&mut self);
}

struct Pending<T, E, F> {
    work: F,
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

async fn submit<T, E, F>(queue: &Queue<Box<dyn Request>>, work: F) -> Result<T, E>
where
    F: Fn(&Tx<'_>) -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: From<DbError> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    queue.push(Box::new(Pending { work, result: None, reply: Some(reply) })).await?;
    answer.await.unwrap_or_else(|_| Err(E::from(DbError::Closed)))
}

fn submit_blocking<T, E, F>(queue: &Queue<Box<dyn Request>>, work: F) -> Result<T, E>
where
    F: Fn(&Tx<'_>) -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: From<DbError> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    queue.push_blocking(Box::new(Pending { work, result: None, reply: Some(reply) }))?;
    answer.blocking_recv().unwrap_or_else(|_| Err(E::from(DbError::Closed)))
}

fn read_loop(connection: &Connection, queue: &Queue<Box<dyn Request>>) {
    loop {
        let Some(mut request) = queue.take(1).pop_front() else { return };
        run_read(connection, request.as_mut());
        request.answer();
    }
}

fn run_read(connection: &Connection, request: &mut dyn Request) {
    if let Err(error) = statement(connection, "BEGIN DEFERRED") {
        return request.fail(error);
    }
    request.run(&Tx::sqlite(connection));
    if !connection.is_autocommit() && statement(connection, "COMMIT").is_err() {
        roll_back(connection);
    }
}

fn write_loop(connection: &Connection, queue: &Queue<Box<dyn Request>>, fault: Fault) {
    let mut waiting = VecDeque::new();
    loop {
        if waiting.is_empty() {
            waiting = queue.take(limits::GROUP_REQUESTS_MAX);
        }
        if waiting.is_empty() {
            return;
        }
        if waiting.len() == 1 {
            if let Some(mut request) = waiting.pop_front() {
                run_alone(connection, request.as_mut(), fault);
                request.answer();
            }
        } else {
            run_group(connection, &mut waiting, fault);
        }
    }
}

/// One request in a transaction of its own. The rollback of the transaction takes back exactly what the rollback of
/// a savepoint around the same work would, so none is needed.
fn run_alone(connection: &Connection, request: &mut dyn Request, fault: Fault) {
    if let Err(error) = statement(connection, "BEGIN IMMEDIATE") {
        return request.fail(error);
    }
    if !request.run(&Tx::sqlite(connection)) {
        return roll_back(connection);
    }
    // SQLite ends the transaction itself after some failures, even if the closure went on as if nothing had happened.
    if connection.is_autocommit() {
        return request.fail(DbError::Full("the database ended the transaction".to_owned()));
    }
    if fault == Fault::AnswersBeforeCommit {
        request.answer();
    }
    if let Err(error) = statement(connection, "COMMIT") {
        roll_back(connection);
        request.fail(error);
    }
}

/// As many of the waiting requests as the time budget allows, in one commit.
///
/// Nearly always all of them succeed, so the first try has no savepoints, each of which would make SQLite copy every
/// page that the request touches. If one fails, all of it is taken back and done again with a savepoint each.
fn run_group(connection: &Connection, waiting: &mut VecDeque<Box<dyn Request>>, fault: Fault) {
    let watch = Stopwatch::start();
    if let Err(error) = statement(connection, "BEGIN IMMEDIATE") {
        return fail_all(waiting.drain(..), &error);
    }
    let mut done: Vec<Box<dyn Request>> = Vec::with_capacity(waiting.len());
    while let Some(mut request) = waiting.pop_front() {
        let succeeded = request.run(&Tx::sqlite(connection)) && !connection.is_autocommit();
        done.push(request);
        if !succeeded {
            roll_back(connection);
            return run_group_in_savepoints(connection, done);
        }
        if watch.elapsed() > limits::GROUP_BUDGET {
            break;
        }
    }
    if fault == Fault::AnswersBeforeCommit {
        done.iter_mut().for_each(|request| request.answer());
    }
    if let Err(error) = statement(connection, "COMMIT") {
        roll_back(connection);
        return fail_all(done.into_iter(), &error);
    }
    done.into_iter().for_each(|mut request| request.answer());
}

/// The same requests in one commit, in which each can fail alone.
fn run_group_in_savepoints(connection: &Connection, requests: Vec<Box<dyn Request>>) {
    if let Err(error) = statement(connection, "BEGIN IMMEDIATE") {
        return fail_all(requests.into_iter(), &error);
    }
    let mut done: Vec<(Box<dyn Request>, bool)> = Vec::with_capacity(requests.len());
    let mut requests = requests.into_iter();
    while let Some(mut request) = requests.next() {
        match run_in_savepoint(connection, request.as_mut()) {
            Ok(succeeded) => done.push((request, succeeded)),
            Err(Broken) => {
                done.push((request, false));
                done.extend(requests.map(|request| (request, false)));
                return run_each_alone(connection, done);
            }
        }
    }
    if let Err(error) = statement(connection, "COMMIT") {
        roll_back(connection);
        for (request, succeeded) in &mut done {
            if *succeeded {
                request.fail(error.clone());
            }
        }
    }
    done.into_iter().for_each(|(mut request, _)| request.answer());
}

/// The whole transaction is gone, not only one request's part of it.
struct Broken;

fn run_in_savepoint(connection: &Connection, request: &mut dyn Request) -> Result<bool, Broken> {
    statement(connection, "SAVEPOINT request").map_err(|_| Broken)?;
    let succeeded = request.run(&Tx::sqlite(connection));
    if connection.is_autocommit() {
        return Err(Broken);
    }
    if !succeeded {
        statement(connection, "ROLLBACK TO request").map_err(|_| Broken)?;
    }
    statement(connection, "RELEASE request").map_err(|_| Broken)?;
    Ok(succeeded)
}

/// After a failure that ended the transaction: everybody again, each in a transaction of its own, so that the one
/// that filled the disk does not take the others with it.
fn run_each_alone(connection: &Connection, requests: Vec<(Box<dyn Request>, bool)>) {
    roll_back(connection);
    for (mut request, _) in requests {
        run_alone(connection, request.as_mut(), Fault::None);
        request.answer();
    }
}

fn fail_all(requests: impl Iterator<Item = Box<dyn Request>>, error: &DbError) {
    for mut request in requests {
        request.fail(error.clone());
        request.answer();
    }
}

fn roll_back(connection: &Connection) {
    if connection.is_autocommit() {
        return;
    }
    if let Err(error) = statement(connection, "ROLLBACK") {
        tracing::error!(%error, "A transaction could not be rolled back");
    }
}

fn statement(connection: &Connection, sql: &str) -> Result<(), DbError> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}
