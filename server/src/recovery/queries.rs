//! All SQL of the operator's checks.

use muster_sync_core::{ChangeHash, DeviceKey, DocumentId};
use sha2::{Digest, Sha256};

use super::tables::Projection;
use crate::db::{Cell, DbError, FromCell, Row, Tx, Value};
use crate::ids::TenantId;
use crate::log::Stored;
use crate::params;

/// A row of the log with its document and the change before it in its writer's chain, as the database holds them. Bytes
/// may have any length here: a row that somebody edited must be named, not fail to be read.
pub(super) struct LogRow {
    pub(super) document: Vec<u8>,
    pub(super) writer: Vec<u8>,
    pub(super) seq: i64,
    pub(super) max_op: i64,
    pub(super) hash: Vec<u8>,
    pub(super) change: Vec<u8>,
    pub(super) signature: Vec<u8>,
    pub(super) received_at_ms: i64,
    pub(super) chain: Option<Vec<u8>>,
    pub(super) name: Option<NameRow>,
    pub(super) previous: Option<PreviousRow>,
}

/// The row of `documents`.
pub(super) struct NameRow {
    pub(super) tenant: String,
    pub(super) kind: i64,
    pub(super) key1: String,
    pub(super) key2: String,
}

/// The change before it in its writer's chain.
pub(super) struct PreviousRow {
    pub(super) log_index: i64,
    pub(super) hash: Vec<u8>,
    pub(super) max_op: i64,
}

/// A row as far as it can be read.
pub(super) struct Read {
    pub(super) log_index: i64,
    /// Its value of the hash chain, which the next row continues also when the rest is damaged.
    pub(super) chain: Option<[u8; 32]>,
    /// The row, or why its columns cannot be read.
    pub(super) row: Result<LogRow, String>,
}

fn log_row(row: &Row<'_>) -> Result<LogRow, DbError> {
    let name = match optional::<String>(row, 10)? {
        Some(tenant) => Some(NameRow { tenant, kind: row.get(11)?, key1: row.get(12)?, key2: row.get(13)? }),
        None => None,
    };
    let previous = match optional::<i64>(row, 14)? {
        Some(log_index) => Some(PreviousRow { log_index, hash: row.get(15)?, max_op: row.get(16)? }),
        None => None,
    };
    Ok(LogRow {
        document: row.get(1)?,
        writer: row.get(2)?,
        seq: row.get(3)?,
        max_op: row.get(4)?,
        hash: row.get(5)?,
        change: row.get(6)?,
        signature: row.get(7)?,
        received_at_ms: row.get(8)?,
        chain: row.get(9)?,
        name,
        previous,
    })
}

fn optional<T: FromCell>(row: &Row<'_>, index: usize) -> Result<Option<T>, DbError> {
    row.get(index)
}

/// The rows of a tenant's log from `first` to `last`, both included.
pub(super) fn rows(tx: &Tx<'_>, tenant: &TenantId, first: i64, last: i64) -> Result<Vec<Read>, DbError> {
    tx.query(
        "SELECT l.log_index, l.document_id, l.writer, l.seq, l.max_op, l.hash, l.change, l.signature, l.received_at,
             l.chain, d.tenant_id, d.kind, d.key1, d.key2, p.log_index, p.hash, p.max_op
         FROM change_log l
         LEFT JOIN documents d ON d.document_id = l.document_id
         LEFT JOIN change_log p ON p.document_id = l.document_id AND p.writer = l.writer AND p.seq = l.seq - 1
         WHERE l.tenant_id = ?1 AND l.log_index BETWEEN ?2 AND ?3
         ORDER BY l.log_index",
        params![tenant.as_str(), first, last],
        |row| {
            let chain = row.get(9).ok().flatten();
            Ok(Read { log_index: row.get(0)?, chain, row: log_row(row).map_err(|error| error.to_string()) })
        },
    )
}

/// What a tenant's rows span.
pub(super) struct Span {
    pub(super) tenant: String,
    pub(super) first: i64,
    pub(super) last: i64,
}

/// The least and the greatest index of every tenant that has rows.
pub(super) fn spans(tx: &Tx<'_>) -> Result<Vec<Span>, DbError> {
    tx.query(
        "SELECT tenant_id, min(log_index), max(log_index)
         FROM change_log
         GROUP BY tenant_id
         ORDER BY tenant_id",
        params![],
        |row| Ok(Span { tenant: row.get(0)?, first: row.get(1)?, last: row.get(2)? }),
    )
}

/// A change of a device-binding document.
pub(super) struct BindingRow {
    pub(super) document: [u8; 16],
    pub(super) user: String,
    pub(super) change: Vec<u8>,
}

/// The first change after `after` of every device-binding document, and the rest of these documents.
pub(super) fn bindings(
    tx: &Tx<'_>,
    tenant: &TenantId,
    after: &[u8; 16],
    documents_max: i64,
) -> Result<Vec<BindingRow>, DbError> {
    tx.query(
        "SELECT d.document_id, d.key1, l.change
         FROM (SELECT document_id, key1
               FROM documents
               WHERE tenant_id = ?1 AND kind = 3 AND document_id > ?2
               ORDER BY document_id
               LIMIT ?3) d
         JOIN change_log l ON l.document_id = d.document_id
         ORDER BY d.document_id",
        params![tenant.as_str(), after, documents_max],
        |row| Ok(BindingRow { document: row.get(0)?, user: row.get(1)?, change: row.get(2)? }),
    )
}

/// The hash chain's value at a row.
pub(super) fn chain_at(tx: &Tx<'_>, tenant: &TenantId, log_index: i64) -> Result<Option<Vec<u8>>, DbError> {
    let found = tx.query_one(
        "SELECT chain
         FROM change_log
         WHERE tenant_id = ?1 AND log_index = ?2",
        params![tenant.as_str(), log_index],
        |row| row.get::<Option<Vec<u8>>>(0),
    )?;
    Ok(found.flatten())
}

/// The users to whom a key was bound, by what the log says.
pub(super) type Owners = std::collections::HashMap<DeviceKey, Vec<String>>;

/// A value of any column.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum AnyCell {
    Null,
    Int(i64),
    Text(String),
    Blob(Vec<u8>),
}

/// A row of any table.
pub(super) type Cells = Vec<AnyCell>;

impl FromCell for AnyCell {
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        Some(match cell {
            Cell::Null => Self::Null,
            Cell::Int(value) => Self::Int(value),
            Cell::Text(text) => Self::Text(text.to_owned()),
            Cell::Blob(bytes) => Self::Blob(bytes.to_vec()),
        })
    }
}

impl AnyCell {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Int(value) => Value::Int(*value),
            Self::Text(text) => Value::Text(text),
            Self::Blob(bytes) => Value::Blob(bytes),
        }
    }

    /// Adds it to a digest so that no two rows give the same bytes.
    pub(super) fn digest(&self, digest: &mut Sha256) {
        let (kind, bytes): (u8, &[u8]) = match self {
            Self::Null => (0, &[]),
            Self::Int(value) => return digest.update([&[1], value.to_be_bytes().as_slice()].concat()),
            Self::Text(text) => (2, text.as_bytes()),
            Self::Blob(bytes) => (3, bytes),
        };
        digest.update([kind]);
        digest.update((bytes.len() as u64).to_be_bytes());
        digest.update(bytes);
    }
}

impl std::fmt::Display for AnyCell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Text(text) => write!(f, "'{text}'"),
            Self::Blob(bytes) => f.write_str(&data_encoding::HEXLOWER.encode(bytes)),
        }
    }
}

/// `?from`, `?from+1`, ... for `count` values.
fn places(from: usize, count: usize) -> String {
    (from..from + count).map(|number| format!("?{number}")).collect::<Vec<_>>().join(", ")
}

/// The next rows of a projection in the order of its key.
pub(super) fn page(
    tx: &Tx<'_>,
    projection: &Projection,
    after: Option<&[AnyCell]>,
    limit: i64,
) -> Result<Vec<Cells>, DbError> {
    let columns: Vec<_> = projection.all_columns().collect();
    let key = projection.key.join(", ");
    let later = match after {
        Some(after) => format!("({key}) > ({})", places(2, after.len())),
        None => "1 = 1".to_owned(),
    };
    let sql = format!(
        "SELECT {} FROM {} WHERE {} AND {later} ORDER BY {key} LIMIT ?1",
        columns.join(", "),
        projection.table,
        projection.rows
    );
    let mut values = vec![Value::Int(limit)];
    values.extend(after.unwrap_or_default().iter().map(AnyCell::value));
    tx.query(&sql, &values, |row| (0..columns.len()).map(|index| row.get(index)).collect())
}

/// Removes a row.
pub(super) fn delete(tx: &Tx<'_>, projection: &Projection, key: &[AnyCell]) -> Result<(), DbError> {
    let columns = projection.key.join(", ");
    let sql = format!("DELETE FROM {} WHERE ({columns}) = ({})", projection.table, places(1, key.len()));
    tx.execute(&sql, &key.iter().map(AnyCell::value).collect::<Vec<_>>())?;
    Ok(())
}

/// Adds a row.
pub(super) fn insert(tx: &Tx<'_>, projection: &Projection, cells: &[AnyCell]) -> Result<(), DbError> {
    let columns = projection.all_columns().collect::<Vec<_>>().join(", ");
    let sql = format!("INSERT INTO {} ({columns}) VALUES ({})", projection.table, places(1, cells.len()));
    tx.execute(&sql, &cells.iter().map(AnyCell::value).collect::<Vec<_>>())?;
    Ok(())
}

/// A row of the log as it is projected, with the sealed code key of a binding request, which is kept beside it.
pub(super) struct StoredRow {
    pub(super) stored: Stored,
    pub(super) code_key: Option<Vec<u8>>,
}

/// A row, or why it cannot be read.
pub(super) type Readable = Result<StoredRow, String>;

/// The rows of a tenant's log from `first` to `last`, both included.
pub(super) fn stored_rows(
    tx: &Tx<'_>,
    tenant: &TenantId,
    first: i64,
    last: i64,
) -> Result<Vec<(i64, Readable)>, DbError> {
    tx.query(
        "SELECT l.log_index, l.document_id, d.kind, d.key1, d.key2, l.hash, l.change, l.signature, l.received_at,
             r.sealed_code_key
         FROM change_log l
         LEFT JOIN documents d ON d.document_id = l.document_id
         LEFT JOIN device_requests r ON r.tenant_id = l.tenant_id AND r.request_hash = l.hash
         WHERE l.tenant_id = ?1 AND l.log_index BETWEEN ?2 AND ?3
         ORDER BY l.log_index",
        params![tenant.as_str(), first, last],
        |row| Ok((row.get(0)?, stored_row(row).map_err(|error| error.to_string()))),
    )
}

fn stored_row(row: &Row<'_>) -> Result<StoredRow, DbError> {
    let kind: Option<i64> = row.get(2)?;
    let kind = kind.ok_or_else(|| DbError::Other("its document has no name".to_owned()))?;
    Ok(StoredRow {
        stored: Stored {
            log_index: row.get(0)?,
            document: DocumentId(row.get(1)?),
            kind: u8::try_from(kind).map_err(|_| DbError::Other("its document is of no known kind".to_owned()))?,
            key1: row.get(3)?,
            key2: row.get(4)?,
            hash: ChangeHash(row.get(5)?),
            change: row.get(6)?,
            signature: row.get(7)?,
            received_at_ms: row.get(8)?,
        },
        code_key: row.get(9)?,
    })
}

/// The entries in channels that a row has, among those with a number after `after` and up to `last`.
pub(super) fn places_of(
    tx: &Tx<'_>,
    log_index: i64,
    (after, last): (i64, i64),
) -> Result<Vec<crate::log::ChannelPlace>, DbError> {
    tx.query(
        "SELECT channel_key, number
         FROM channel_entries
         WHERE log_index = ?1 AND number > ?2 AND number <= ?3
         ORDER BY number",
        params![log_index, after, last],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

/// The number that a row has in a channel.
pub(super) fn number_in(tx: &Tx<'_>, channel_key: i64, log_index: i64) -> Result<Option<i64>, DbError> {
    tx.query_one(
        "SELECT number
         FROM channel_entries
         WHERE channel_key = ?1 AND log_index = ?2
         ORDER BY number
         LIMIT 1",
        params![channel_key, log_index],
        |row| row.get(0),
    )
}

/// What a binding depends on.
pub(super) struct UserRow {
    pub(super) id: String,
    tenant: String,
    role: String,
    status: String,
}

/// The users after an id.
pub(super) fn users_after(tx: &Tx<'_>, after: &str, limit: i64) -> Result<Vec<UserRow>, DbError> {
    tx.query(
        "SELECT id, tenant_id, role, status
         FROM users
         WHERE id > ?1
         ORDER BY id
         LIMIT ?2",
        params![after, limit],
        |row| Ok(UserRow { id: row.get(0)?, tenant: row.get(1)?, role: row.get(2)?, status: row.get(3)? }),
    )
}

/// A user without name, address and password.
pub(super) fn insert_user(tx: &Tx<'_>, user: &UserRow) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO users
             (id, tenant_id, email, display_name, role, password_hash, status, epoch, created_at, updated_at)
         VALUES (?1, ?2, ?1, '', ?3, '', ?4, 0, 0, 0)",
        params![&user.id, &user.tenant, &user.role, &user.status],
    )?;
    Ok(())
}
