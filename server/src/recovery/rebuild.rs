//! Makes every projection again from the log, in a database of its own, and compares it with what is there.

use std::cmp::Ordering;
use std::path::Path;

use muster_sync_core::{
    ChangeHash, DocumentName,
    change::{self, SignedChange, Valid},
    document::{Container, Entry},
};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::queries::{self, AnyCell, Cells, StoredRow};
use super::tables::{PROJECTIONS, Projection};
use crate::clock::Stopwatch;
use crate::db::{Db, DbError, Tx};
use crate::ids::TenantId;
use crate::log::{self, Appended, Head, Loss, ServerKey};
use crate::{attendance, class_sessions, devices};

/// Rows of the log that are projected in one transaction.
const REPLAYED_AT_ONCE: i64 = 500;
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
}

impl Rebuilt {
    /// Whether every projection is what the log says.
    pub fn is_equal(&self) -> bool {
        self.tables.iter().all(|table| table.differences == 0)
    }
}

/// Why projections were not made again.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The database fails.
    #[error(transparent)]
    Database(#[from] DbError),
    /// The log cannot be read: `muster verify` says more.
    #[error("row {log_index} of {tenant}'s log cannot be projected: {what}")]
    Row {
        /// The tenant.
        tenant: TenantId,
        /// The row.
        log_index: i64,
        /// What is wrong.
        what: String,
    },
}

/// Makes the projections again in a fresh file `scratch` and compares them; with `replace`, what differs is put right in
/// one transaction. `progress` is told how many rows of the log are done and how many there are. Blocks.
///
/// # Errors
/// When the database fails or a row of the log cannot be read; nothing was changed then.
pub fn rebuild(
    db: &Db,
    key: &ServerKey,
    scratch: &Path,
    replace: bool,
    progress: &dyn Fn(u64, u64),
) -> Result<Rebuilt, RebuildError> {
    let watch = Stopwatch::start();
    let made = Db::open_sqlite(scratch, 0)?;
    let done = run(db, key, &made, replace, progress);
    made.close();
    let (rows, tables, replaced) = done?;
    Ok(Rebuilt { rows, elapsed_ms: watch.elapsed().as_millis() as u64, tables, replaced })
}

fn run(
    db: &Db,
    key: &ServerKey,
    made: &Db,
    replace: bool,
    progress: &dyn Fn(u64, u64),
) -> Result<(u64, Vec<TableReport>, u64), RebuildError> {
    copy_users(db, made)?;
    let heads: Vec<Head> = db.read_blocking(log::heads)?;
    let total = heads.iter().map(|head| head.log_index.unsigned_abs()).sum();
    let mut done = 0;
    for head in &heads {
        done = replay(db, key, made, head, done, &|done| progress(done, total))?;
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
    Ok((done, tables, replaced))
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

/// Projects one tenant's log into the fresh database, page by page.
fn replay(
    db: &Db,
    key: &ServerKey,
    made: &Db,
    head: &Head,
    mut done: u64,
    tell: &dyn Fn(u64),
) -> Result<u64, RebuildError> {
    let tenant = head.tenant.clone();
    let asked = tenant.clone();
    let mut losses: Vec<Loss> = db.read_blocking(move |tx: &Tx<'_>| log::losses(tx, Some(&asked)))?;
    losses.sort_by_key(|loss| loss.generation);
    let mut first = 1;
    while first <= head.log_index {
        let (asked, last) = (tenant.clone(), head.log_index.min(first + REPLAYED_AT_ONCE - 1));
        let rows: Vec<StoredRow> =
            db.read_blocking(move |tx: &Tx<'_>| queries::stored_rows(tx, &asked, first, last))?;
        if rows.len() as i64 != last - first + 1 {
            let what = "a row is missing before it".to_owned();
            return Err(RebuildError::Row { tenant, log_index: last, what });
        }
        let mut page = Vec::with_capacity(rows.len());
        for row in rows {
            let log_index = row.stored.log_index;
            let read =
                read(&tenant, row).map_err(|what| RebuildError::Row { tenant: tenant.clone(), log_index, what })?;
            page.push(read);
        }
        let (of_page, server) = (tenant.clone(), key.public());
        let jumps: Vec<Loss> =
            losses.iter().filter(|loss| (first..=last).contains(&(loss.kept_index + 1))).cloned().collect();
        done += page.len() as u64;
        made.write_blocking(move |tx: &Tx<'_>| {
            let mut unfolded = attendance::Unfolded::default();
            for row in &page {
                for loss in jumps.iter().filter(|loss| loss.kept_index + 1 == row.log_index) {
                    log::repeat_loss(tx, loss)?;
                }
                project(tx, &of_page, row, row.valid.writer == server, &mut unfolded)?;
            }
            unfolded.fold(tx)
        })?;
        tell(done);
        first = last + 1;
    }
    Ok(done)
}

/// A row of the log, checked.
struct Replayed {
    log_index: i64,
    name: DocumentName,
    valid: Valid,
    signed: SignedChange,
    received_at_ms: i64,
    code_key: Option<Vec<u8>>,
}

fn read(tenant: &TenantId, row: StoredRow) -> Result<Replayed, String> {
    let StoredRow { stored, code_key } = row;
    let name =
        DocumentName::from_parts(stored.kind, [&stored.key1, &stored.key2]).map_err(|error| error.to_string())?;
    let valid = change::validate(tenant.as_str(), &name, &stored.change, &stored.signature)
        .map_err(|error| error.to_string())?;
    if valid.hash != ChangeHash(stored.hash.0) {
        return Err("its hash is not that of its change".to_owned());
    }
    let signed = SignedChange { bytes: stored.change, signature: stored.signature };
    let (log_index, received_at_ms) = (stored.log_index, stored.received_at_ms);
    Ok(Replayed { log_index, name, valid, signed, received_at_ms, code_key })
}

/// As admission and the server's own writing do it, without judging again.
fn project(
    tx: &Tx<'_>,
    tenant: &TenantId,
    row: &Replayed,
    by_server: bool,
    unfolded: &mut attendance::Unfolded,
) -> Result<(), DbError> {
    let course = match (&row.name, &row.valid.entry) {
        (DocumentName::ClassSession { .. }, Entry::Plan(plan)) => Some(plan.course.as_str().to_owned()),
        (DocumentName::ClassSession { locator } | DocumentName::Attendance { locator, .. }, _) => {
            class_sessions::course_of(tx, tenant, locator)?
        }
        (DocumentName::DeviceBinding { .. }, _) => None,
    };
    let channels = class_sessions::channels(tx, tenant, &row.name, &row.valid.entry, course.as_deref())?;
    let appended: Appended =
        log::append(tx, tenant, &row.name, &row.valid, &row.signed, row.received_at_ms, &channels)?;
    match appended.valid.container {
        Container::Plan | Container::PlanChanges => {
            class_sessions::project(tx, &appended)?;
            match &row.name {
                // Nobody captured for a session that the server planned: its locator was made just then.
                DocumentName::ClassSession { locator } if !(by_server && matches!(row.valid.entry, Entry::Plan(_))) => {
                    attendance::follow_session(tx, tenant, locator, row.received_at_ms)
                }
                _ => Ok(()),
            }
        }
        Container::Submissions | Container::Appeals | Container::Verdicts | Container::Decisions | Container::Marks => {
            unfolded.project(tx, &appended, course.as_deref())
        }
        Container::Requests | Container::Bindings | Container::Resets => {
            devices::project(tx, &appended, row.code_key.as_deref())
        }
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
