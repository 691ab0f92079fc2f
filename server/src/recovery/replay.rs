//! Projects a log into a fresh database, row by row as it came, and sets aside what no projection can be made from.

use muster_sync_core::{
    ChangeHash, DeviceKey, DocumentName,
    change::{self, SignedChange, Valid},
    document::{Container, Entry},
};

use super::queries::{self, StoredRow};
use super::rebuild::{SET_ASIDE_NAMED_MAX, SetAside};
use crate::db::{Db, DbError, Tx};
use crate::ids::TenantId;
use crate::log::{self, Appended, Channel, ChannelPlace, Head, Loss};
use crate::{attendance, class_sessions, devices};

/// Rows of the log that are projected in one transaction.
const REPLAYED_AT_ONCE: i64 = 500;
/// Channels that one change may be in when it is appended.
const CHANNELS_MAX: i64 = 2;

/// A replay under way.
pub(super) struct Replay<'a> {
    db: &'a Db,
    server: DeviceKey,
    made: &'a Db,
    /// Whether every entry of a channel is of the one tenant that there is.
    is_alone: bool,
    /// Whether a row was set aside of which nobody knows how many numbers of channels it took.
    lost_count: bool,
    /// Rows that were looked at.
    pub(super) rows: u64,
    /// Rows that were set aside.
    pub(super) set_aside_rows: u64,
    /// The first of them.
    pub(super) set_aside: Vec<SetAside>,
}

/// A row of the log, or why it cannot be projected.
type Step = (i64, Result<Replayed, String>);

/// A row of the log, checked.
#[derive(Clone)]
struct Replayed {
    log_index: i64,
    name: DocumentName,
    valid: Valid,
    signed: SignedChange,
    received_at_ms: i64,
    code_key: Option<Vec<u8>>,
}

impl<'a> Replay<'a> {
    pub(super) fn new(db: &'a Db, server: DeviceKey, made: &'a Db, is_alone: bool) -> Self {
        let (rows, set_aside_rows, set_aside) = (0, 0, Vec::new());
        Self { db, server, made, is_alone, lost_count: false, rows, set_aside_rows, set_aside }
    }

    /// Projects one tenant's log into the fresh database, page by page.
    pub(super) fn tenant(&mut self, head: &Head, tell: &dyn Fn(u64)) -> Result<(), DbError> {
        let (tenant, asked) = (&head.tenant, head.tenant.clone());
        let mut losses: Vec<Loss> = self.db.read_blocking(move |tx: &Tx<'_>| log::losses(tx, Some(&asked)))?;
        losses.sort_by_key(|loss| loss.generation);
        self.lost_count = false;
        let mut first = 1;
        while first <= head.log_index {
            let last = head.log_index.min(first + REPLAYED_AT_ONCE - 1);
            let page = self.page(tenant, first, last)?;
            self.rows += page.len() as u64;
            let is_whole = !self.lost_count && page.iter().all(|(_, row)| row.is_ok());
            if !(is_whole && self.at_once(tenant, &page, &losses)?) {
                page.into_iter().try_for_each(|step| self.one(tenant, step, &losses))?;
            }
            tell(self.rows);
            first = last + 1;
        }
        Ok(())
    }

    fn page(&self, tenant: &TenantId, first: i64, last: i64) -> Result<Vec<Step>, DbError> {
        let asked = tenant.clone();
        let rows: Vec<_> = self.db.read_blocking(move |tx: &Tx<'_>| queries::stored_rows(tx, &asked, first, last))?;
        let mut rows = rows.into_iter().peekable();
        let step = |log_index| match rows.next_if(|(found, _)| *found == log_index) {
            Some((_, row)) => (log_index, row.and_then(|row| read(tenant, row))),
            None => (log_index, Err("the row is missing".to_owned())),
        };
        Ok((first..=last).map(step).collect())
    }

    /// Projects a page in one transaction; `false` if a row of it cannot be projected, and nothing was kept then.
    fn at_once(&self, tenant: &TenantId, page: &[Step], losses: &[Loss]) -> Result<bool, DbError> {
        let rows: Vec<Replayed> = page.iter().filter_map(|(_, row)| row.as_ref().ok().cloned()).collect();
        let (tenant, server, losses) = (tenant.clone(), self.server, losses.to_vec());
        let written = self.made.write_blocking(move |tx: &Tx<'_>| {
            let mut unfolded = attendance::Unfolded::default();
            for row in &rows {
                repeat_losses(tx, &losses, row.log_index)?;
                project(tx, &tenant, row, row.valid.writer == server, &mut unfolded)?;
            }
            unfolded.fold(tx)
        });
        is_projected(written).map(|failed| failed.is_none())
    }

    /// One row in a transaction of its own.
    fn one(&mut self, tenant: &TenantId, (log_index, row): Step, losses: &[Loss]) -> Result<(), DbError> {
        let of = losses.to_vec();
        self.made.write_blocking(move |tx: &Tx<'_>| repeat_losses(tx, &of, log_index))?;
        let what = match row {
            Ok(row) => {
                self.count_again(tenant, &row)?;
                let (of, server) = (tenant.clone(), self.server);
                let written = self.made.write_blocking(move |tx: &Tx<'_>| {
                    let mut unfolded = attendance::Unfolded::default();
                    project(tx, &of, &row, row.valid.writer == server, &mut unfolded)?;
                    unfolded.fold(tx)
                });
                match is_projected(written)? {
                    None => return Ok(()),
                    Some(what) => what,
                }
            }
            Err(what) => what,
        };
        self.set_aside(tenant, log_index, what)
    }

    /// Leaves a row out. It keeps its place, and its entries in channels where these are known to be its own: phones have
    /// been given it, and skip it.
    fn set_aside(&mut self, tenant: &TenantId, log_index: i64, what: String) -> Result<(), DbError> {
        let mut places: Vec<ChannelPlace> = Vec::new();
        if self.is_alone {
            let heads: Vec<Head> = self.made.read_blocking(log::heads)?;
            let last = heads.iter().find(|head| head.tenant == *tenant).map_or(0, |head| head.last_number);
            places = self
                .db
                .read_blocking(move |tx: &Tx<'_>| queries::places_of(tx, log_index, (last, last + CHANNELS_MAX)))?;
        }
        let of = tenant.clone();
        self.made.write_blocking(move |tx: &Tx<'_>| log::leave_out(tx, &of, &places))?;
        self.lost_count = true;
        self.set_aside_rows += 1;
        if self.set_aside.len() < SET_ASIDE_NAMED_MAX {
            self.set_aside.push(SetAside { tenant: tenant.to_string(), log_index, what });
        }
        Ok(())
    }

    /// After a row that was set aside, the numbers of channels go on where the next row has its own: phones hold cursors
    /// into them.
    fn count_again(&mut self, tenant: &TenantId, row: &Replayed) -> Result<(), DbError> {
        if !self.lost_count {
            return Ok(());
        }
        let (of, asked) = (tenant.clone(), row.clone());
        let channels: Vec<Channel> = self.made.read_blocking::<_, DbError, _>(move |tx: &Tx<'_>| {
            let course = course_of(tx, &of, &asked)?;
            class_sessions::channels(tx, &of, &asked.name, &asked.valid.entry, course.as_deref())
        })?;
        let Some(first) = channels.first() else { return Ok(()) };
        let (key, log_index) = (first.key(tenant), row.log_index);
        let number: Option<i64> = self.db.read_blocking(move |tx: &Tx<'_>| queries::number_in(tx, key, log_index))?;
        if let Some(number) = number {
            let of = tenant.clone();
            self.made.write_blocking(move |tx: &Tx<'_>| log::number_from(tx, &of, number))?;
            self.lost_count = false;
        }
        Ok(())
    }
}

/// Why a row was not projected, if that is the row's fault and not the database's.
fn is_projected(written: Result<(), DbError>) -> Result<Option<String>, DbError> {
    match written {
        Ok(()) => Ok(None),
        Err(error @ (DbError::Constraint { .. } | DbError::Other(_))) => Ok(Some(error.to_string())),
        Err(error) => Err(error),
    }
}

/// Begins the generations that began before a row.
fn repeat_losses(tx: &Tx<'_>, losses: &[Loss], log_index: i64) -> Result<(), DbError> {
    losses.iter().filter(|loss| loss.kept_index + 1 == log_index).try_for_each(|loss| log::repeat_loss(tx, loss))
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

/// The course that a row belongs to, as far as the rows before it say.
fn course_of(tx: &Tx<'_>, tenant: &TenantId, row: &Replayed) -> Result<Option<String>, DbError> {
    match (&row.name, &row.valid.entry) {
        (DocumentName::ClassSession { .. }, Entry::Plan(plan)) => Ok(Some(plan.course.as_str().to_owned())),
        (DocumentName::ClassSession { locator } | DocumentName::Attendance { locator, .. }, _) => {
            class_sessions::course_of(tx, tenant, locator)
        }
        (DocumentName::DeviceBinding { .. }, _) => Ok(None),
    }
}

/// As admission and the server's own writing do it, without judging again.
fn project(
    tx: &Tx<'_>,
    tenant: &TenantId,
    row: &Replayed,
    by_server: bool,
    unfolded: &mut attendance::Unfolded,
) -> Result<(), DbError> {
    let course = course_of(tx, tenant, row)?;
    let channels = class_sessions::channels(tx, tenant, &row.name, &row.valid.entry, course.as_deref())?;
    let appended: Appended =
        log::append(tx, tenant, &row.name, &row.valid, &row.signed, row.received_at_ms, &channels)?;
    match appended.valid.container {
        Container::Plan | Container::PlanChanges => {
            let is_of_others = class_sessions::project(tx, &appended)?;
            // Nobody captured for a session that the server planned: its locator was made just then.
            let is_fresh = by_server && matches!(row.valid.entry, Entry::Plan(_));
            match &row.name {
                DocumentName::ClassSession { locator } if is_of_others && !is_fresh => {
                    attendance::follow_session(tx, tenant, locator, row.received_at_ms).map(drop)
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
