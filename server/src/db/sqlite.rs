//! SQLite: one writer thread that commits many requests at once, and a few reader threads on snapshots.
//!
//! One commit costs a disk flush whatever it holds, so the writer takes all that waits, runs each request in a
//! savepoint of its own, commits once, and only then answers anybody.

use std::collections::VecDeque;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::faults::{self, Fault};
use super::request::{Request, Requests, Workers, fail_all};
use super::{DbError, Tx, checkpoint, meters};
use crate::clock::Stopwatch;
use crate::config::Capacity;
use crate::limits;

/// Opens or creates the file and starts the threads.
pub(super) fn open(path: &Path, capacity: Capacity) -> Result<Workers, DbError> {
    let mut writer = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    writer.pragma_update(None, "journal_mode", "WAL")?;
    let fault = faults::current();
    let synchronous = if fault == Fault::SynchronousNormal { "NORMAL" } else { "FULL" };
    writer.pragma_update(None, "synchronous", synchronous)?;
    // Negative means KiB, positive would mean pages.
    writer.pragma_update(None, "cache_size", -limits::WRITER_CACHE_KIB)?;
    let copying = checkpoint::watch(&mut writer, path.to_owned())?;
    let workers = Workers::new(capacity.queue_wait);
    let started = workers
        .writer(move |queue| write_loop(&writer, queue, fault))
        .and_then(|()| workers.beside("db-checkpoint", move || copying.run()))
        .and_then(|()| add_readers(&workers, path, capacity.readers));
    workers.or_close(started)
}

/// Readers alone: every write is answered with `DbError::Closed`.
pub(super) fn open_read_only(path: &Path) -> Result<Workers, DbError> {
    let workers = Workers::new(limits::QUEUE_WAIT);
    workers.refuse_writes();
    let started = add_readers(&workers, path, limits::readers());
    workers.or_close(started)
}

fn add_readers(workers: &Workers, path: &Path, readers: usize) -> Result<(), DbError> {
    for _ in 0..readers {
        let reader = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        reader.pragma_update(None, "cache_size", -limits::READER_CACHE_KIB)?;
        workers.reader(move |queue| read_loop(&reader, queue))?;
    }
    Ok(())
}

/// One more connection that may write, while the file is there.
pub(super) fn connect_beside(path: &Path) -> Result<Connection, DbError> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, DbError> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(limits::DATABASE_BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(limits::STATEMENTS_CACHED_MAX);
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // As PostgreSQL does it.
    connection.pragma_update(None, "case_sensitive_like", true)?;
    // Without this, SQLite plans a cached statement again whenever a new value might make another plan better.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

fn read_loop(connection: &Connection, queue: &Requests) {
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

fn write_loop(connection: &Connection, queue: &Requests, fault: Fault) {
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
    let watch = Stopwatch::start();
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
    fault.before_commit(|| request.answer());
    if let Err(error) = statement(connection, "COMMIT") {
        roll_back(connection);
        return request.fail(error);
    }
    meters::committed(1, watch);
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
    fault.before_commit(|| done.iter_mut().for_each(|request| request.answer()));
    if let Err(error) = statement(connection, "COMMIT") {
        roll_back(connection);
        return fail_all(done.into_iter(), &error);
    }
    meters::committed(done.len(), watch);
    done.into_iter().for_each(|mut request| request.answer());
}

/// The same requests in one commit, in which each can fail alone.
fn run_group_in_savepoints(connection: &Connection, requests: Vec<Box<dyn Request>>) {
    let watch = Stopwatch::start();
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
    match statement(connection, "COMMIT") {
        Ok(()) => meters::committed(done.len(), watch),
        Err(error) => {
            roll_back(connection);
            for (request, succeeded) in &mut done {
                if *succeeded {
                    request.fail(error.clone());
                }
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

fn roll_back(connection: &Connection) {
    if connection.is_autocommit() {
        return;
    }
    if let Err(error) = statement(connection, "ROLLBACK") {
        tracing::error!(%error, "A transaction could not be rolled back");
    }
}

fn statement(connection: &Connection, sql: &str) -> Result<(), DbError> {
    let run = || -> Result<(), DbError> {
        connection.prepare_cached(sql)?.execute([])?;
        Ok(())
    };
    run().inspect_err(meters::failed)
}
