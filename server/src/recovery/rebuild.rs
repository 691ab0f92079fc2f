//! Makes every projection again from the log, in a database of its own, and compares it with what is there.

use std::cmp::Ordering;
use std::path::Path;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::queries::{self, AnyCell, Cells};
use super::replay::Replay;
use super::tables::{PROJECTIONS, Projection};
use crate::clock::Stopwatch;
use crate::db::{Db, DbError, Tx};
use crate::log::{self, Head, ServerKey};

/// Rows of a table that are compared at once.
const COMPARED_AT_ONCE: i64 = 1_000;
/// Users that are copied at once.
const USERS_AT_ONCE: i64 = 1_000;

/// A row that the log does not explain, or that it explains otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The row's key, column by column.
    pub key: String,
    /// What differs.
    pub what: String,
}

/// One table, present and made again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableReport {
    /// Its name.
    pub table: &'static str,
    /// Rows that are there.
    pub present_rows: u64,
    /// Rows that the log says.
    pub rebuilt_rows: u64,
    /// SHA-256 over the determined columns of the rows that are there.
    pub present_sha256: String,
    /// The same of the rows that the log says.
    pub rebuilt_sha256: String,
    /// Rows that differ.
    pub differences: u64,
    /// The first of them.
    pub first: Option<Difference>,
}

/// What came out.
#[derive(Debug, Clone, Serialize)]
pub struct Rebuilt {
    /// Rows of the log that were projected.
    pub rows: u64,
    /// How long it took, milliseconds.
    pub elapsed_ms: u64,
    /// Every projection.
    pub tables: Vec<TableReport>,
    /// Rows that were put right.
    pub replaced: u64,
    /// Rows of the log that no projection can be made from. What the others say was projected without them.
    pub set_aside_rows: u64,
    /// The first of them, at most [`SET_ASIDE_NAMED_MAX`].
    pub set_aside: Vec<SetAside>,
}

/// Rows that were set aside and are named.
pub const SET_ASIDE_NAMED_MAX: usize = 100;

/// A row of the log that no projection can be made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SetAside {
    /// The tenant.
    pub tenant: String,
    /// The row.
    pub log_index: i64,
    /// What is wrong.
    pub what: String,
}

impl Rebuilt {
    /// Whether every projection is what the log says.
    pub fn is_equal(&self) -> bool {
        self.tables.iter().all(|table| table.differences == 0)
    }
}

/// Makes the projections again in a fresh file `scratch` and compares them; with `replace`, what differs is put right in
/// one transaction. `progress` is told how many rows of the log are done and how many there are. Blocks.
///
/// A row of the log that cannot be read is set aside, and named: one bad row must not keep the others from being what
/// they say.
///
/// # Errors
/// When the database fails; nothing was changed then.
pub fn rebuild(
    db: &Db,
    key: &ServerKey,
    scratch: &Path,
    replace: bool,
    progress: &dyn Fn(u64, u64),
) -> Result<Rebuilt, DbError> {
    let watch = Stopwatch::start();
    let made = Db::open_sqlite(scratch, 0)?;
    let done = run(db, key, &made, replace, progress);
    made.close();
    Ok(Rebuilt { elapsed_ms: watch.elapsed().as_millis() as u64, ..done? })
}

fn run(db: &Db, key: &ServerKey, made: &Db, replace: bool, progress: &dyn Fn(u64, u64)) -> Result<Rebuilt, DbError> {
    copy_users(db, made)?;
    let heads: Vec<Head> = db.read_blocking(log::heads)?;
    let total = heads.iter().map(|head| head.log_index.unsigned_abs()).sum();
    let mut replay = Replay::new(db, key.public(), made, heads.len() == 1);
    for head in &heads {
        replay.tenant(head, &|done| progress(done, total))?;
    }
    let (mut tables, mut repairs) = (Vec::new(), Vec::new());
    for projection in PROJECTIONS {
        let (report, repair) = compare(db, made, projection)?;
        tables.push(report);
        repairs.push((projection, repair));
    }
    let mut replaced = 0;
    if replace && repairs.iter().any(|(_, repair)| !repair.is_empty()) {
        replaced = repairs.iter().map(|(_, repair)| repair.len() as u64).sum();
        db.write_blocking(move |tx: &Tx<'_>| {
            // All that is wrong goes before anything right comes, because rows may have changed places.
            for (projection, repair) in &repairs {
                repair.iter().try_for_each(|row| queries::delete(tx, projection, &row.key))?;
            }
            for (projection, repair) in &repairs {
                let rows = repair.iter().filter_map(|row| row.right.as_ref());
                rows.into_iter().try_for_each(|right| queries::insert(tx, projection, right))?;
            }
            Ok::<_, DbError>(())
        })?;
    }
    let Replay { rows, set_aside_rows, set_aside, .. } = replay;
    let rows = rows - set_aside_rows;
    Ok(Rebuilt { rows, elapsed_ms: 0, tables, replaced, set_aside_rows, set_aside })
}

/// Who there is, because bindings depend on it.
fn copy_users(db: &Db, made: &Db) -> Result<(), DbError> {
    let mut after = String::new();
    loop {
        let asked = after.clone();
        let users: Vec<queries::UserRow> =
            db.read_blocking(move |tx: &Tx<'_>| queries::users_after(tx, &asked, USERS_AT_ONCE))?;
        let Some(last) = users.last() else { return Ok(()) };
        after.clone_from(&last.id);
        made.write_blocking(move |tx: &Tx<'_>| users.iter().try_for_each(|user| queries::insert_user(tx, user)))?;
    }
}

/// A row that is wrong: its key, and what it must be, if it must be at all.
struct Repair {
    key: Cells,
    right: Option<Cells>,
}

/// The rows of a table in the order of their key.
struct Rows<'a> {
    db: &'a Db,
    projection: &'static Projection,
    page: std::vec::IntoIter<Cells>,
    after: Option<Cells>,
    ended: bool,
    count: u64,
    digest: Sha256,
}

impl<'a> Rows<'a> {
    fn of(db: &'a Db, projection: &'static Projection) -> Self {
        let page = Vec::new().into_iter();
        Self { db, projection, page, after: None, ended: false, count: 0, digest: Sha256::new() }
    }

    fn next(&mut self) -> Result<Option<Cells>, DbError> {
        if self.page.len() == 0 && !self.ended {
            let (projection, after) = (self.projection, self.after.clone());
            let page: Vec<Cells> = self
                .db
                .read_blocking(move |tx: &Tx<'_>| queries::page(tx, projection, after.as_deref(), COMPARED_AT_ONCE))?;
            self.ended = (page.len() as i64) < COMPARED_AT_ONCE;
            self.after = page.last().map(|row| row[..self.projection.key.len()].to_vec());
            self.page = page.into_iter();
        }
        let row = self.page.next();
        if let Some(row) = &row {
            self.count += 1;
            row[..self.projection.compared()].iter().for_each(|cell| cell.digest(&mut self.digest));
        }
        Ok(row)
    }

    fn sha256(self) -> String {
        data_encoding::HEXLOWER.encode(&self.digest.finalize())
    }
}

fn compare(db: &Db, made: &Db, projection: &'static Projection) -> Result<(TableReport, Vec<Repair>), DbError> {
    let (mut present, mut rebuilt) = (Rows::of(db, projection), Rows::of(made, projection));
    let (mut left, mut right) = (present.next()?, rebuilt.next()?);
    let (mut repairs, mut first) = (Vec::new(), None);
    let n_key = projection.key.len();
    loop {
        let order = match (&left, &right) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(left), Some(right)) => left[..n_key].cmp(&right[..n_key]),
        };
        let found = match (order, &left, &right) {
            (Ordering::Less, Some(left), _) => {
                Some((&left[..n_key], None, "the log knows nothing of this row".to_owned()))
            }
            (Ordering::Greater, _, Some(right)) => {
                Some((&right[..n_key], Some(right.clone()), "the row is missing".to_owned()))
            }
            (_, Some(left), Some(right)) => differing(projection, left, right)
                .map(|what| (&left[..n_key], Some(with_kept(projection, left, right)), what)),
            _ => None,
        };
        if let Some((key, right, what)) = found {
            first.get_or_insert_with(|| Difference { key: shown(projection, key), what });
            repairs.push(Repair { key: key.to_vec(), right });
        }
        if order.is_le() {
            left = present.next()?;
        }
        if order.is_ge() {
            right = rebuilt.next()?;
        }
    }
    let report = TableReport {
        table: projection.table,
        present_rows: present.count,
        rebuilt_rows: rebuilt.count,
        present_sha256: present.sha256(),
        rebuilt_sha256: rebuilt.sha256(),
        differences: repairs.len() as u64,
        first,
    };
    Ok((report, repairs))
}

fn differing(projection: &Projection, left: &[AnyCell], right: &[AnyCell]) -> Option<String> {
    let columns = projection.all_columns().take(projection.compared());
    let mut pairs = columns.zip(left.iter().zip(right));
    let (column, (left, right)) = pairs.find(|(_, (left, right))| left != right)?;
    Some(format!("{column} is {left} and must be {right}"))
}

/// The right row, with what the log does not determine as it is.
fn with_kept(projection: &Projection, left: &[AnyCell], right: &[AnyCell]) -> Cells {
    let compared = projection.compared();
    right[..compared].iter().chain(&left[compared..]).cloned().collect()
}

fn shown(projection: &Projection, key: &[AnyCell]) -> String {
    let named = projection.key.iter().zip(key).map(|(column, cell)| format!("{column} {cell}"));
    named.collect::<Vec<_>>().join(", ")
}
