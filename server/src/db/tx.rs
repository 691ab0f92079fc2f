//! A transaction as slices see it: statements with numbered placeholders, values in, rows out.

use rusqlite::types::{ToSqlOutput, ValueRef};

use super::DbError;

/// One open transaction.
pub struct Tx<'a>(Inner<'a>);

enum Inner<'a> {
    Sqlite(&'a rusqlite::Connection),
}

impl<'a> Tx<'a> {
    pub(super) fn sqlite(connection: &'a rusqlite::Connection) -> Self {
        Self(Inner::Sqlite(connection))
    }

    /// Runs a statement and says how many rows it changed.
    pub fn execute(&self, sql: &str, params: &[Value<'_>]) -> Result<u64, DbError> {
        match &self.0 {
            Inner::Sqlite(connection) => {
                let mut statement = connection.prepare_cached(sql)?;
                Ok(statement.execute(rusqlite::params_from_iter(params))? as u64)
            }
        }
    }

    /// The first row, if there is one.
    pub fn query_one<T>(
        &self,
        sql: &str,
        params: &[Value<'_>],
        map: impl FnOnce(&Row<'_>) -> Result<T, DbError>,
    ) -> Result<Option<T>, DbError> {
        match &self.0 {
            Inner::Sqlite(connection) => {
                let mut statement = connection.prepare_cached(sql)?;
                let mut rows = statement.query(rusqlite::params_from_iter(params))?;
                let Some(row) = rows.next()? else { return Ok(None) };
                map(&Row::sqlite(row)).map(Some)
            }
        }
    }

    /// Every row, in order. Statements bound what they return with LIMIT.
    pub fn query<T>(
        &self,
        sql: &str,
        params: &[Value<'_>],
        mut map: impl FnMut(&Row<'_>) -> Result<T, DbError>,
    ) -> Result<Vec<T>, DbError> {
        match &self.0 {
            Inner::Sqlite(connection) => {
                let mut statement = connection.prepare_cached(sql)?;
                let mut rows = statement.query(rusqlite::params_from_iter(params))?;
                let mut mapped = Vec::new();
                while let Some(row) = rows.next()? {
                    mapped.push(map(&Row::sqlite(row))?);
                }
                Ok(mapped)
            }
        }
    }

    /// Several statements without placeholders, for migrations.
    pub(super) fn batch(&self, sql: &str) -> Result<(), DbError> {
        match &self.0 {
            Inner::Sqlite(connection) => Ok(connection.execute_batch(sql)?),
        }
    }
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
}

impl<'a> Row<'a> {
    fn sqlite(row: &'a rusqlite::Row<'a>) -> Self {
        Self(RowInner::Sqlite(row))
    }

    /// The column at `index`, from 0.
    ///
    /// # Errors
    /// When there is no such column or when it holds another type.
    pub fn get<T: FromCell>(&self, index: usize) -> Result<T, DbError> {
        let cell = match &self.0 {
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
