//! The database behind one door: `write` and `read` take closures that contain nothing but SQL.
//!
//! SQLite or PostgreSQL: nothing outside this folder knows which. One SQL text serves both, see [`Tx`].

mod checkpoint;
mod error;
pub mod faults;
mod meters;
mod migrate;
mod postgres;
mod queue;
mod request;
mod sqlite;
mod tx;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;

pub use error::{ConstraintKind, DbError};
pub use migrate::{Migration, SERVER_MIGRATIONS};
pub use postgres::{Allowances, Notice};
pub use tx::{Cell, FromCell, Row, Tx, Value};

use crate::config::{Capacity, DatabaseUrl, Secret};
use crate::limits;
use crate::telemetry::DatabaseMeters;
use postgres::Notices;
use request::Workers;

/// A handle that is cheap to clone; the last one to go does not wait for the threads, `close` does.
#[derive(Clone)]
pub struct Db(Arc<Inner>);

struct Inner {
    workers: Workers,
    /// The other servers of a PostgreSQL database.
    notices: Option<Notices>,
}

impl Db {
    /// Opens the database, brings its tables up to date and starts the threads.
    ///
    /// # Errors
    /// Also when an applied migration was edited, when the database is newer than this program, or when PostgreSQL is
    /// set up so that it would lose what was acknowledged.
    pub fn open(
        database: &DatabaseUrl,
        allowances: Allowances,
        capacity: Capacity,
        now_ms: i64,
    ) -> Result<Self, DbError> {
        let db = match database {
            DatabaseUrl::Sqlite(path) => Self::open_bare(path, capacity)?,
            DatabaseUrl::Postgres(url) => {
                let (workers, notices) = postgres::open(url.reveal(), allowances, capacity)?;
                Self(Arc::new(Inner { workers, notices: Some(notices) }))
            }
        };
        let migrated = migrate::apply(&db, SERVER_MIGRATIONS, now_ms);
        db.or_close(migrated)
    }

    /// Whether the address of a database can be read; nobody is asked.
    ///
    /// # Errors
    /// The text says what is wrong and never holds the password.
    pub fn check_address(database: &DatabaseUrl) -> Result<(), DbError> {
        match database {
            DatabaseUrl::Sqlite(_) => Ok(()),
            DatabaseUrl::Postgres(url) => postgres::check_address(url.reveal()),
        }
    }

    /// The same for a file, which is made if it is not there.
    ///
    /// # Errors
    /// As [`Db::open`].
    pub fn open_sqlite(path: &Path, now_ms: i64) -> Result<Self, DbError> {
        let database = DatabaseUrl::Sqlite(path.to_owned());
        Self::open(&database, Allowances::default(), Capacity::default(), now_ms)
    }

    /// Opens a file that a stopped server left, for reading only: nothing is changed, not even brought up to date.
    ///
    /// # Errors
    /// Also when the tables are of another version than this program's.
    pub fn open_sqlite_read_only(path: &Path) -> Result<Self, DbError> {
        let db = Self(Arc::new(Inner { workers: sqlite::open_read_only(path)?, notices: None }));
        let checked = migrate::check_current(&db, SERVER_MIGRATIONS);
        db.or_close(checked)
    }

    /// The same for a database of a PostgreSQL server.
    ///
    /// # Errors
    /// As [`Db::open`].
    pub fn open_postgres(url: &str, allowances: Allowances, now_ms: i64) -> Result<Self, DbError> {
        let database = DatabaseUrl::Postgres(Secret::new(url.to_owned()));
        Self::open(&database, allowances, Capacity::default(), now_ms)
    }

    /// Without the tables.
    fn open_bare(path: &Path, capacity: Capacity) -> Result<Self, DbError> {
        Ok(Self(Arc::new(Inner { workers: sqlite::open(path, capacity)?, notices: None })))
    }

    /// How many migrations were applied, of those that this program knows.
    ///
    /// # Errors
    /// When the database fails.
    pub fn migrations_applied(&self) -> Result<usize, DbError> {
        migrate::applied_count(self)
    }

    /// Runs `work` in a transaction and answers after the commit that holds it.
    ///
    /// `work` may run more than once and must do nothing but SQL. When it returns an error, or panics, nothing of it
    /// is kept, whatever else was in the same commit.
    pub async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: Fn(&Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        self.0.workers.write(work).await
    }

    /// Runs `work` on a snapshot, beside other readers and the writer.
    pub async fn read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: Fn(&Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        self.0.workers.read(work).await
    }

    /// `write` for threads that may block. Never call it from async code.
    pub fn write_blocking<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: Fn(&Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        self.0.workers.write_blocking(work)
    }

    /// `read` for threads that may block. Never call it from async code.
    pub fn read_blocking<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: Fn(&Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        self.0.workers.read_blocking(work)
    }

    /// Writes that are not committed yet, so that background work can stand back.
    pub fn writer_waiting(&self) -> usize {
        self.0.workers.writer_waiting()
    }

    /// Reads that wait for a thread.
    pub fn reads_waiting(&self) -> usize {
        self.0.workers.reads_waiting()
    }

    /// How often the storage was full or failed since the start: what found no room, though less than it may have found some.
    pub fn storage_failures(&self) -> u64 {
        self.0.workers.meters().storage_failures()
    }

    /// What the threads measure.
    pub fn meters(&self) -> &DatabaseMeters {
        &self.0.workers.meters().database
    }

    /// Statements that take longer are logged from now on, without their values.
    pub fn log_slower_than(&self, limit: Duration) {
        self.0.workers.meters().log_slower_than(limit);
    }

    /// Whether other servers may use this database at the same time.
    pub fn is_shared(&self) -> bool {
        self.0.notices.is_some()
    }

    /// Whether another program has this database open, too: a server, or a command. Of SQLite nobody can tell. Blocks.
    ///
    /// # Errors
    /// When the database fails.
    pub fn has_others(&self) -> Result<bool, DbError> {
        if !self.is_shared() {
            return Ok(false);
        }
        // PostgreSQL notices a moment later that a program has ended.
        for _ in 0..limits::OTHERS_ASKED_TIMES {
            if self.read_blocking(postgres::nodes)? <= 1 {
                return Ok(false);
            }
            std::thread::sleep(limits::OTHERS_ASKED_EVERY);
        }
        Ok(true)
    }

    /// Tells the other servers of this database that channels moved; a hint.
    pub fn announce(&self, channel_keys: &[i64]) {
        if let Some(notices) = &self.0.notices {
            notices.tell(channel_keys);
        }
    }

    /// What the other servers of this database announce; `None` when there can be no others.
    pub fn notices(&self) -> Option<broadcast::Receiver<Notice>> {
        self.0.notices.as_ref().map(Notices::listen)
    }

    /// This database if what it needs first was done. Else it is closed when this returns: whoever is told that it does
    /// not open may open it again at once, or take the disk away. Blocks.
    fn or_close(self, prepared: Result<(), DbError>) -> Result<Self, DbError> {
        if let Err(error) = prepared {
            self.close();
            return Err(error);
        }
        Ok(self)
    }

    /// Finishes what waits, then stops the threads. Later calls get `DbError::Closed`. Blocks.
    pub fn close(&self) {
        self.0.workers.close();
        if let Some(notices) = &self.0.notices {
            notices.close();
        }
    }
}

/// Values for the placeholders `?1`, `?2`, ... of a statement.
#[macro_export]
macro_rules! params {
    () => { &[] as &[$crate::db::Value<'_>] };
    ($($value:expr),+ $(,)?) => { &[$($crate::db::Value::from($value)),+] as &[$crate::db::Value<'_>] };
}
