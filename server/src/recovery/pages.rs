//! Checks the rows of one log on all cores, page by page, and goes on behind a bad one: a row is judged by its own bytes
//! and by what its neighbours say about its place, so that the next one that is wrong is found too.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::queries::{self, LogRow, Read};
use super::row::{self, Facts, Fault, Place};
use super::verify::NAMED_MAX;
use crate::db::{Db, DbError, Tx};
use crate::log::chain;

/// Rows that one worker holds at a time: about 1 MB.
const ROWS_AT_ONCE: i64 = 1_000;
/// Faults that are kept with their words until it is known which of them follow from others; more are counted.
const FAULTS_KEPT_MAX: usize = 100_000;
/// Values of the hash chain that the row behind a run of bad rows may continue: those that were stored in it and those
/// that its rows should have.
const VALUES_MAX: usize = 16;

/// What is wrong with the rows of a log.
#[derive(Debug, Default)]
pub(super) struct Bad {
    /// How many.
    pub(super) count: u64,
    /// The first of them, and what is wrong.
    pub(super) named: Vec<(i64, String)>,
    /// Rows that are right in themselves, and before which nothing is left that proves their place.
    pub(super) unproven: Vec<i64>,
    /// Rows whose writer a row that cannot be read may have bound.
    pub(super) unknown_writers: u64,
}

/// What the workers found, before it is known which fault follows from which.
#[derive(Default)]
struct Found {
    faults: BTreeMap<i64, Fault>,
    dropped: u64,
    unproven: Vec<i64>,
}

/// Checks rows 1 to `last` on every core.
///
/// # Errors
/// When the database fails.
pub(super) fn check(
    db: &Db,
    facts: &Facts,
    last: i64,
    workers: usize,
    tell: &(dyn Fn(u64) + Sync),
) -> Result<Bad, DbError> {
    let (next, stopped) = (AtomicI64::new(1), AtomicBool::new(false));
    let found: Mutex<Found> = Mutex::default();
    let failed: Mutex<Option<DbError>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while !stopped.load(Ordering::Relaxed) {
                    let first = next.fetch_add(ROWS_AT_ONCE, Ordering::Relaxed);
                    if first > last {
                        return;
                    }
                    let end = last.min(first + ROWS_AT_ONCE - 1);
                    match check_page(db, facts, first, end) {
                        Ok(page) => {
                            found.lock().unwrap_or_else(PoisonError::into_inner).take(page);
                            tell((end - first + 1).unsigned_abs());
                        }
                        Err(error) => {
                            stopped.store(true, Ordering::Relaxed);
                            *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                        }
                    }
                }
            });
        }
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner).sorted_out()),
    }
}

impl Found {
    fn take(&mut self, page: Self) {
        self.faults.extend(page.faults);
        self.unproven.extend(page.unproven);
        while self.faults.len() > FAULTS_KEPT_MAX {
            self.faults.pop_last();
            self.dropped += 1;
        }
    }

    /// A row that only continues a bad one is not bad itself: what is wrong is said once, where it is wrong.
    fn sorted_out(mut self) -> Bad {
        let rows_missing = self.faults.values().any(|fault| fault.places.is_empty());
        let bad_places: HashSet<Place> = self.faults.values().flat_map(|fault| fault.places.iter().copied()).collect();
        let devices_unreadable = self.faults.values().any(|fault| fault.hides_devices);
        let mut bad = Bad { count: self.dropped, ..Bad::default() };
        for (log_index, fault) in self.faults {
            if fault.follows.is_some_and(|place| rows_missing || bad_places.contains(&place)) {
                continue;
            }
            if fault.is_unknown_writer && devices_unreadable {
                bad.unknown_writers += 1;
                continue;
            }
            bad.count += 1;
            if bad.named.len() < NAMED_MAX {
                bad.named.push((log_index, fault.what));
            }
        }
        self.unproven.sort_unstable();
        bad.unproven = self.unproven;
        bad
    }
}

/// The values of the hash chain that the next row may continue.
#[derive(Default)]
struct Before(Vec<[u8; 32]>);

impl Before {
    fn good(value: Option<[u8; 32]>) -> Self {
        Self(value.into_iter().collect())
    }

    /// A bad row leaves the value that it holds, and the ones that it should hold; those before it stay, because rows may
    /// have changed places.
    fn bad(&mut self, log_index: i64, row: Option<&LogRow>, stored: Option<[u8; 32]>) {
        let link = row.and_then(|row| row::link(log_index, row).ok());
        let expected: Vec<_> =
            link.iter().flat_map(|link| self.0.iter().map(|value| chain::next(value, link))).collect();
        self.0.extend(stored.into_iter().chain(expected));
        let excess = self.0.len().saturating_sub(VALUES_MAX);
        self.0.drain(..excess);
    }
}

fn check_page(db: &Db, facts: &Facts, first: i64, last: i64) -> Result<Found, DbError> {
    let tenant = facts.tenant.clone();
    // Two rows more in front: the first one continues the second, which may be bad in its own page.
    let rows: Vec<Read> = db.read_blocking(move |tx: &Tx<'_>| queries::rows(tx, &tenant, first - 2, last))?;
    let mut rows = rows.into_iter().peekable();
    let mut before = match first {
        1 => Before::good(Some(chain::first(&facts.tenant))),
        _ => Before::good(rows.next_if(|read| read.log_index == first - 2).and_then(|read| read.chain)),
    };
    match rows.next_if(|read| read.log_index == first - 1) {
        Some(read) => before.bad(first - 1, read.row.as_ref().ok(), read.chain),
        None if first > 1 => before = Before::default(),
        None => {}
    }
    let mut found = Found::default();
    for expected in first..=last {
        let Some(read) = rows.next_if(|read| read.log_index == expected) else {
            found.faults.insert(expected, Fault::unreadable("the row is missing".to_owned()));
            before = Before::default();
            continue;
        };
        let stored = read.chain;
        let checked = match &read.row {
            Ok(row) => row::check(facts, expected, row, &before.0),
            Err(what) => Err(Fault::unreadable(what.clone())),
        };
        match checked {
            Ok(()) => {
                if before.0.is_empty() {
                    found.unproven.push(expected);
                }
                before = Before::good(stored);
            }
            Err(fault) => {
                found.faults.insert(expected, fault);
                before.bad(expected, read.row.as_ref().ok(), stored);
            }
        }
    }
    Ok(found)
}
