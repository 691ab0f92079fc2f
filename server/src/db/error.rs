//! What can go wrong with a database, told apart by what the caller can do about it.

use thiserror::Error;

use crate::error::{AppError, jittered_retry_after};

/// A failed statement, transaction or queue.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum DbError {
    /// Too much waits, or another process holds the file: try again later.
    #[error("the database is busy: {0}")]
    Busy(String),
    /// The disk is full or fails: nothing of the transaction was kept.
    #[error("the storage is full or fails: {0}")]
    Full(String),
    /// A rule of a table refused a row.
    #[error("a constraint of the database refused a row: {detail}")]
    Constraint {
        /// Which sort of rule.
        kind: ConstraintKind,
        /// Which one, for logs and tests; its text differs between databases.
        detail: String,
    },
    /// The connection was lost before the answer came: what was asked may have been done or not.
    #[error("the connection to the database was lost: {0}")]
    Lost(String),
    /// The database is not one that this server may rely on; the text says what to do.
    #[error("{0}")]
    Refused(String),
    /// The database was closed: the server is stopping.
    #[error("the database is closed")]
    Closed,
    /// Anything else: a defect of ours, or a damaged file.
    #[error("the database failed: {0}")]
    Other(String),
}

/// Sorts of rules that a row can break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConstraintKind {
    /// The key exists already.
    Unique,
    /// What it points to does not exist, or something points to it.
    ForeignKey,
    /// A value is missing.
    NotNull,
    /// CHECK, or a trigger that refuses.
    Check,
    /// A text that no column can hold.
    Text,
}

impl DbError {
    /// Whether a row with the same key exists already.
    pub fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Constraint { kind: ConstraintKind::Unique, .. })
    }

    pub(super) fn other(cause: impl std::fmt::Display) -> Self {
        Self::Other(cause.to_string())
    }
}

impl From<rusqlite::Error> for DbError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as Code;
        let rusqlite::Error::SqliteFailure(failure, message) = &error else { return Self::other(error) };
        let detail = message.clone().unwrap_or_else(|| failure.to_string());
        match failure.code {
            Code::DatabaseBusy | Code::DatabaseLocked => Self::Busy(detail),
            Code::DiskFull | Code::SystemIoFailure | Code::CannotOpen | Code::ReadOnly => Self::Full(detail),
            Code::ConstraintViolation => Self::Constraint { kind: constraint_kind(failure.extended_code), detail },
            _ => Self::Other(detail),
        }
    }
}

fn constraint_kind(extended_code: i32) -> ConstraintKind {
    use rusqlite::ffi;
    match extended_code {
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => ConstraintKind::ForeignKey,
        ffi::SQLITE_CONSTRAINT_NOTNULL => ConstraintKind::NotNull,
        ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID => {
            ConstraintKind::Unique
        }
        _ => ConstraintKind::Check,
    }
}

impl From<DbError> for AppError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Busy(_) | DbError::Closed => {
                let message = "the server has more to do than it can; try again";
                Self::unavailable("BUSY", message, retry_after()).with_cause(error)
            }
            DbError::Lost(_) => {
                let message = "the database did not answer, so nobody knows whether this was done; send it again";
                Self::unavailable("DATABASE_LOST", message, retry_after()).with_cause(error)
            }
            DbError::Full(_) => {
                let message = "the server cannot store anything now; try again";
                Self::unavailable("STORAGE_FULL", message, retry_after()).with_cause(error)
            }
            DbError::Constraint { kind: ConstraintKind::Text, .. } => {
                Self::validation("a text holds a character that cannot be stored").with_cause(error)
            }
            DbError::Constraint { .. } => {
                Self::conflict("CONFLICT", "this contradicts what is stored").with_cause(error)
            }
            DbError::Other(_) | DbError::Refused(_) => Self::internal(error),
        }
    }
}

fn retry_after() -> u32 {
    static DRAWS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    jittered_retry_after(DRAWS.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
}
