//! A transaction as slices see it: statements with numbered placeholders, values in, rows out.

use rusqlite::types::{ToSqlOutput, ValueRef};

use super::postgres::{self, Column, Session};
use super::{ConstraintKind, DbError, meters};

/// One open transaction.
///
/// A statement is written once for both databases: placeholders are `?1`, `?2`, ...; sums are cast to BIGINT; a row
/// that may be there already is for ON CONFLICT, because a statement that fails ends the transaction of PostgreSQL.
pub struct Tx<'a>(Inner<'a>);

enum Inner<'a> {
    Sqlite(&'a rusqlite::Connection),
    Postgres(&'a Session),
}

impl<'a> Tx<'a> {
    pub(super) fn sqlite(connection: &'a rusqlite::Connection) -> Self {
        Self(Inner::Sqlite(connection))
    }

    pub(super) fn postgres(session: &'a Session) -> Self {
        Self(Inner::Postgres(session))
    }

    /// Runs a statement and says how many rows it changed.
    pub fn execute(&self, sql: &str, params: &[Value<'_>]) -> Result<u64, DbError> {
        check(params)?;
        meters::timed(sql, || match &self.0 {
            Inner::Postgres(session) => session.execute(sql, params),
            Inner::Sqlite(connection) => {
                let mut statement = connection.prepare_cached(sql)?;
                Ok(statement.execute(rusqlite::params_from_iter(params))? as u64)
            }
        })
    }

    /// Runs a statement whose count nobody needs.
    ///
    /// PostgreSQL gets it together with the next statement that somebody waits for, so that a request costs few round
    /// trips. What goes wrong with it then fails a later statement, or the request at its end.
    pub fn send(&self, sql: &str, params: &[Value<'_>]) -> Result<(), DbError> {
        match &self.0 {
            Inner::Postgres(session) => check(params).and_then(|()| session.send(sql, params)),
            Inner::Sqlite(_) => self.execute(sql, params).map(drop),
        }
    }

    /// The first row, if there is one.
    pub fn query_one<T>(
        &self,
        sql: &str,
        params: &[Value<'_>],
        map: impl FnOnce(&Row<'_>) -> Result<T, DbError>,
    ) -> Result<Option<T>, DbError> {
        check(params)?;
        meters::timed(sql, || match &self.0 {
            Inner::Postgres(session) => {
                session.query(sql, params)?.first().map(|row| map(&Row::postgres(row))).transpose()
            }
            Inner::Sqlite(connection) => {
                let mut statement = connection.prepare_cached(sql)?;
                let mut rows = statement.query(rusqlite::params_from_iter(params))?;
                let Some(row) = rows.next()? else { return Ok(None) };
                map(&Row::sqlite(row)).map(Some)
            }
        })
    }

    /// The number that a statement of one row and one column counts.
    pub fn count<N: FromCell + Default>(&self, sql: &str, params: &[Value<'_>]) -> Result<N, DbError> {
        Ok(self.query_one(sql, params, |row| row.get(0))?.unwrap_or_default())
    }

    /// Every row, in order. Statements bound what they return with LIMIT.
    pub fn query<T>(
        &self,
        sql: &str,
        params: &[Value<'_>],
        mut map: impl FnMut(&Row<'_>) -> Result<T, DbError>,
    ) -> Result<Vec<T>, DbError> {
        check(params)?;
        meters::timed(sql, || match &self.0 {
            Inner::Postgres(session) => {
                session.query(sql, params)?.iter().map(|row| map(&Row::postgres(row))).collect()
            }
            Inner::Sqlite(connection) => {
                let mut statement = connection.prepare_cached(sql)?;
                let mut rows = statement.query(rusqlite::params_from_iter(params))?;
                let mut mapped = Vec::new();
                while let Some(row) = rows.next()? {
                    mapped.push(map(&Row::sqlite(row))?);
                }
                Ok(mapped)
            }
        })
    }

    /// How many placeholders a statement has and how many columns its rows, if the database understands it.
    pub fn describe(&self, sql: &str) -> Result<(usize, usize), DbError> {
        match &self.0 {
            Inner::Sqlite(connection) => {
                let statement = connection.prepare(sql)?;
                Ok((statement.parameter_count(), statement.column_count()))
            }
            Inner::Postgres(session) => session.describe(sql),
        }
    }

    /// Statements that make tables, in the words of a migration.
    pub fn batch(&self, sql: &str) -> Result<(), DbError> {
        match &self.0 {
            Inner::Sqlite(connection) => Ok(connection.execute_batch(sql)?),
            Inner::Postgres(session) => {
                // A large table takes as long as it takes.
                session.batch("SET LOCAL statement_timeout = 0")?;
                session.batch(&postgres::migration(sql)?)
            }
        }
    }
}

/// PostgreSQL cannot hold the character NUL in a text, so neither database takes one.
fn check(params: &[Value<'_>]) -> Result<(), DbError> {
    let holds_nul = |value: &Value<'_>| matches!(value, Value::Text(text) if text.as_bytes().contains(&0));
    if params.iter().any(holds_nul) {
        let detail = "a text holds the character NUL".to_owned();
        return Err(DbError::Constraint { kind: ConstraintKind::Text, detail });
    }
    Ok(())
}

/// A value for a placeholder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// NULL.
    Null,
    /// BIGINT; also booleans, as 0 and 1.
    Int(i64),
    /// TEXT.
    Text(&'a str),
    /// BLOB or BYTEA.
    Blob(&'a [u8]),
}

impl rusqlite::ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match *self {
            Value::Null => ValueRef::Null,
            Value::Int(value) => ValueRef::Integer(value),
            Value::Text(value) => ValueRef::Text(value.as_bytes()),
            Value::Blob(value) => ValueRef::Blob(value),
        }))
    }
}

macro_rules! from_int {
    ($($type:ty),+) => { $(
        impl From<$type> for Value<'_> {
            fn from(value: $type) -> Self { Self::Int(i64::from(value)) }
        }
    )+ };
}
from_int!(i64, u32, i32, u16, u8, bool);

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(value: &'a String) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self::Blob(value)
    }
}

impl<'a> From<&'a Vec<u8>> for Value<'a> {
    fn from(value: &'a Vec<u8>) -> Self {
        Self::Blob(value)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Value<'a> {
    fn from(value: &'a [u8; N]) -> Self {
        Self::Blob(value)
    }
}

impl<'a, T> From<Option<T>> for Value<'a>
where
    Value<'a>: From<T>,
{
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Self::from)
    }
}

/// One row of a result.
pub struct Row<'a>(RowInner<'a>);

enum RowInner<'a> {
    Sqlite(&'a rusqlite::Row<'a>),
    Postgres(&'a tokio_postgres::Row),
}

impl<'a> Row<'a> {
    fn sqlite(row: &'a rusqlite::Row<'a>) -> Self {
        Self(RowInner::Sqlite(row))
    }

    fn postgres(row: &'a tokio_postgres::Row) -> Self {
        Self(RowInner::Postgres(row))
    }

    /// The column at `index`, from 0.
    ///
    /// # Errors
    /// When there is no such column or when it holds another type.
    pub fn get<T: FromCell>(&self, index: usize) -> Result<T, DbError> {
        let cell = match &self.0 {
            RowInner::Postgres(row) => row.try_get::<_, Column<'_>>(index).map_err(in_full)?.0,
            RowInner::Sqlite(row) => match row.get_ref(index)? {
                ValueRef::Null => Cell::Null,
                ValueRef::Integer(value) => Cell::Int(value),
                ValueRef::Text(bytes) => Cell::Text(std::str::from_utf8(bytes).map_err(DbError::other)?),
                ValueRef::Blob(bytes) => Cell::Blob(bytes),
                ValueRef::Real(_) => return Err(DbError::other(format!("column {index} holds a float"))),
            },
        };
        T::from_cell(cell)
            .ok_or_else(|| DbError::other(format!("column {index} does not hold a {}", std::any::type_name::<T>())))
    }
}

fn in_full(error: tokio_postgres::Error) -> DbError {
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
    DbError::Other(format!("{error}{}", cause.unwrap_or_default()))
}

/// What a column holds.
pub type Cell<'a> = Value<'a>;

/// A type that a column can be read as.
pub trait FromCell: Sized {
    /// `None` when the column holds another type or a value out of range.
    fn from_cell(cell: Cell<'_>) -> Option<Self>;
}

macro_rules! int_from_cell {
    ($($type:ty),+) => { $(
        impl FromCell for $type {
            fn from_cell(cell: Cell<'_>) -> Option<Self> {
                match cell { Cell::Int(value) => value.try_into().ok(), _ => None }
            }
        }
    )+ };
}
int_from_cell!(i64, i32, u64, u32, u16, u8);

impl FromCell for bool {
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        match cell {
            Cell::Int(value) => Some(value != 0),
            _ => None,
        }
    }
}

impl FromCell for String {
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        match cell {
            Cell::Text(value) => Some(value.to_owned()),
            _ => None,
        }
    }
}

impl FromCell for Vec<u8> {
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        match cell {
            Cell::Blob(value) => Some(value.to_vec()),
            _ => None,
        }
    }
}

impl<const N: usize> FromCell for [u8; N] {
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        match cell {
            Cell::Blob(value) => value.try_into().ok(),
            _ => None,
        }
    }
}

impl<T: FromCell> FromCell for Option<T> {
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        match cell {
            Cell::Null => Some(None),
            cell => T::from_cell(cell).map(Some),
        }
    }
}
