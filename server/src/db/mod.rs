//! The database behind one door: `write` and `read` take closures that contain nothing but SQL.
//!
//! The enum has one variant today; nothing outside this folder knows which database it is.

mod error;
pub mod faults;
mod migrate;
mod queue;
mod sqlite;
mod tx;

use std::path::Path;

pub use error::{ConstraintKind, DbError};
pub use migrate::{Migration, SERVER_MIGRATIONS};
pub use tx::{Cell, FromCell, Row, Tx, Value};

use sqlite::Sqlite;

/// A handle that is cheap to clone; the last one to go does not stop the threads, `close` does.
#[derive(Clone)]
pub struct Db(Backend);

#[derive(Clone)]
enum Backend {
    Sqlite(Sqlite),
}

impl Db {
    /// Opens or creates the file, brings its tables up to date and starts the threads.
    ///
    /// # Errors
    /// Also when an applied migration was edited, or when the database is newer than this program.
    pub fn open_sqlite(path: &Path, now_ms: i64) -> Result<Self, DbError> {
        let db = Self::open_bare(path)?;
        migrate::apply(&db, SERVER_MIGRATIONS, now_ms)?;
        Ok(db)
    }

    /// Opens a file that a stopped server left, for reading only: nothing is changed, not even brought up to date.
    ///
    /// # Errors
    /// Also when the tables are of another version than this program's.
    pub fn open_sqlite_read_only(path: &Path) -> Result<Self, DbError> {
        let db = Self(Backend::Sqlite(Sqlite::open_read_only(path)?));
        migrate::check_current(&db, SERVER_MIGRATIONS)?;
        Ok(db)
    }

    /// Without the tables.
    fn open_bare(path: &Path) -> Result<Self, DbError> {
        Ok(Self(Backend::Sqlite(Sqlite::open(path)?)))
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
        match &self.0 {
            Backend::Sqlite(sqlite) => sqlite.write(work).await,
        }
    }

    /// Runs `work` on a snapshot, beside other readers and the writer.
    pub async fn read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: Fn(&Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        match &self.0 {
            Backend::Sqlite(sqlite) => sqlite.read(work).await,
        }
    }

    /// `write` for threads that may block. Never call it from async code.
    pub fn write_blocking<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: Fn(&Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        match &self.0 {
            Backend::Sqlite(sqlite) => sqlite.write_blocking(work),
        }
    }

    /// `read` for threads that may block. Never call it from async code.
    pub fn read_blocking<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: Fn(&Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        match &self.0 {
            Backend::Sqlite(sqlite) => sqlite.read_blocking(work),
        }
    }

    /// Writes that are not committed yet, so that background work can stand back.
    pub fn writer_waiting(&self) -> usize {
        match &self.0 {
            Backend::Sqlite(sqlite) => sqlite.writer_waiting(),
        }
    }

    /// Finishes what waits, then stops the threads. Later calls get `DbError::Closed`. Blocks.
    pub fn close(&self) {
        match &self.0 {
            Backend::Sqlite(sqlite) => sqlite.close(),
        }
    }
}

/// Values for the placeholders `?1`, `?2`, ... of a statement.
#[macro_export]
macro_rules! params {
    () => { &[] as &[$crate::db::Value<'_>] };
    ($($value:expr),+ $(,)?) => { &[$($crate::db::Value::from($value)),+] as &[$crate::db::Value<'_>] };
}
