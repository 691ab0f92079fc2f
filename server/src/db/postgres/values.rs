//! Values and failures as PostgreSQL has them.

use std::error::Error as StdError;

use bytes::BytesMut;
use tokio_postgres::Error;
use tokio_postgres::error::{DbError as ServerError, SqlState};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use super::super::tx::{Cell, Value};
use super::super::{ConstraintKind, DbError};

type Failed = Box<dyn StdError + Sync + Send>;

impl ToSql for Value<'_> {
    fn to_sql(&self, to: &Type, out: &mut BytesMut) -> Result<IsNull, Failed> {
        match (*self, to) {
            (Value::Null, _) => Ok(IsNull::Yes),
            (Value::Int(value), &Type::INT8) => value.to_sql(to, out),
            (Value::Int(value), &Type::INT4) => i32::try_from(value)?.to_sql(to, out),
            (Value::Int(value), &Type::INT2) => i16::try_from(value)?.to_sql(to, out),
            (Value::Text(text), &Type::TEXT) => text.to_sql(to, out),
            (Value::Blob(bytes), &Type::BYTEA) => bytes.to_sql(to, out),
            (value, to) => Err(format!("a placeholder is {to} and its value is {value:?}").into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// A value that is kept until it is sent.
#[derive(Debug)]
pub(super) enum Kept {
    Null,
    Int(i64),
    Text(Box<str>),
    Blob(Box<[u8]>),
}

impl From<Value<'_>> for Kept {
    fn from(value: Value<'_>) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Int(value) => Self::Int(value),
            Value::Text(text) => Self::Text(text.into()),
            Value::Blob(bytes) => Self::Blob(bytes.into()),
        }
    }
}

impl Kept {
    pub(super) fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Int(value) => Value::Int(*value),
            Self::Text(text) => Value::Text(text),
            Self::Blob(bytes) => Value::Blob(bytes),
        }
    }
}

/// A column of a row, whatever its type.
pub(in crate::db) struct Column<'a>(pub(in crate::db) Cell<'a>);

impl<'a> FromSql<'a> for Column<'a> {
    fn from_sql(of: &Type, raw: &'a [u8]) -> Result<Self, Failed> {
        Ok(Self(match *of {
            Type::INT8 => Cell::Int(i64::from_sql(of, raw)?),
            Type::INT4 => Cell::Int(i32::from_sql(of, raw)?.into()),
            Type::INT2 => Cell::Int(i16::from_sql(of, raw)?.into()),
            Type::BOOL => Cell::Int(bool::from_sql(of, raw)?.into()),
            Type::TEXT | Type::VARCHAR | Type::NAME => Cell::Text(<&str>::from_sql(of, raw)?),
            Type::BYTEA => Cell::Blob(raw),
            _ => return Err(format!("a column is {of}, which the other database does not have: cast it").into()),
        }))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Failed> {
        Ok(Self(Cell::Null))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// What can be done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cure {
    /// The same again: others wrote at the same time.
    Again,
    /// A new connection.
    Reconnect,
    /// Nothing now; everybody has to wait.
    Wait,
    /// Nothing: the statement does not fit what is stored.
    Never,
}

/// A failure that ended a transaction, and what can be done about it.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    pub(super) error: DbError,
    pub(super) cure: Cure,
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        if let Some(refusal) = error.as_db_error() {
            return refused(refusal);
        }
        let text = match StdError::source(&error) {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        };
        // Without a code from the server it is either the connection, or a value that did not fit its placeholder.
        if error.is_closed() || StdError::source(&error).is_some_and(|cause| cause.is::<std::io::Error>()) {
            return Self { error: DbError::Lost(text), cure: Cure::Reconnect };
        }
        Self { error: DbError::Other(text), cure: Cure::Never }
    }
}

fn refused(refusal: &ServerError) -> Trouble {
    let detail = match refusal.constraint() {
        Some(constraint) => format!("{} ({constraint})", refusal.message()),
        None => format!("{} ({})", refusal.message(), refusal.code().code()),
    };
    let constraint = |kind| (DbError::Constraint { kind, detail: detail.clone() }, Cure::Never);
    let code = refusal.code();
    let (error, cure) = match *code {
        SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => (DbError::Busy(detail), Cure::Again),
        // A plan or a statement that a migration of another server made useless.
        SqlState::FEATURE_NOT_SUPPORTED | SqlState::INVALID_SQL_STATEMENT_NAME => {
            (DbError::Other(detail), Cure::Reconnect)
        }
        SqlState::UNIQUE_VIOLATION => constraint(ConstraintKind::Unique),
        SqlState::FOREIGN_KEY_VIOLATION => constraint(ConstraintKind::ForeignKey),
        SqlState::NOT_NULL_VIOLATION => constraint(ConstraintKind::NotNull),
        SqlState::LOCK_NOT_AVAILABLE | SqlState::TOO_MANY_CONNECTIONS => (DbError::Busy(detail), Cure::Wait),
        // One slow statement must not take the others of its group with it.
        SqlState::QUERY_CANCELED => (DbError::Busy(detail), Cure::Never),
        SqlState::READ_ONLY_SQL_TRANSACTION | SqlState::IO_ERROR => (DbError::Full(detail), Cure::Never),
        _ => match &code.code()[..2] {
            "23" => constraint(ConstraintKind::Check),
            // Insufficient resources: disk, memory.
            "53" => (DbError::Full(detail), Cure::Never),
            // The connection, or an operator who restarts the server.
            "08" => (DbError::Lost(detail), Cure::Reconnect),
            "57" | "25" if ends_connection(code) => (DbError::Lost(detail), Cure::Reconnect),
            _ => (DbError::Other(detail), Cure::Never),
        },
    };
    Trouble { error, cure }
}

fn ends_connection(code: &SqlState) -> bool {
    let ends = [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
    ];
    ends.contains(code)
}
