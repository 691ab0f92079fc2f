//! The chain: each row's hash covers the row before, so that no row can change, go or come without a trace.

use sha2::{Digest, Sha256};

use super::queries::{self, AuditRow};
use crate::db::{DbError, Tx};
use crate::ids::TenantId;

/// Stands in front of what is hashed, so that these hashes mean nothing else.
const CONTEXT: &[u8] = b"muster/audit/v1";
/// What the first row follows.
pub(super) const FIRST: [u8; 32] = [0; 32];
/// Rows that one read checks.
const ROWS_PER_READ: u32 = 1_000;
/// Bad rows of one log that are named.
pub(super) const NAMED_MAX: usize = 100;
/// Hashes that the row behind a run of bad rows may follow: those that stand in it, and those that its rows should have.
const HASHES_MAX: usize = 16;

/// The hash of a row that follows a row with the hash `previous`.
pub(super) fn hash(tenant: &TenantId, previous: &[u8; 32], row: &AuditRow) -> [u8; 32] {
    let mut sha = Sha256::new();
    sha.update(CONTEXT);
    sha.update(previous);
    sha.update(row.number.to_be_bytes());
    sha.update(row.at_ms.to_be_bytes());
    // A reason that is missing differs from an empty one.
    sha.update([u8::from(row.reason.is_some())]);
    let reason = row.reason.as_deref().unwrap_or("");
    let texts = [
        tenant.as_str(),
        &row.actor_id,
        &row.actor_role,
        &row.action,
        &row.object_kind,
        &row.object_id,
        reason,
        &row.request_id,
        &row.result,
    ];
    for text in texts {
        sha.update((text.len() as u64).to_be_bytes());
        sha.update(text.as_bytes());
    }
    sha.finalize().into()
}

/// A chain that is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// How many rows.
    pub rows: i64,
    /// The hash of the newest one; keep it elsewhere, and a chain that was made anew shows.
    pub head: [u8; 32],
}

/// The first place at which a chain is not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken {
    /// The number that is missing, or whose row was changed.
    pub number: i64,
}

/// What a walk along a chain found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Walk {
    /// Rows that were read.
    pub(super) rows: i64,
    /// What the chain comes to, if it is whole.
    pub(super) head: [u8; 32],
    /// The first numbers that are missing, or whose row was changed or put in; at most [`NAMED_MAX`].
    pub(super) bad: Vec<i64>,
    /// How many there are.
    pub(super) bad_count: u64,
}

/// Walks along every row of a tenant to the head, and goes on behind a row that is wrong: the next one still says which
/// hash it follows.
///
/// # Errors
/// When the database fails.
pub(super) fn walk(tx: &Tx<'_>, tenant: &TenantId) -> Result<Walk, DbError> {
    let mut walk = Walk { rows: 0, head: FIRST, bad: Vec::new(), bad_count: 0 };
    let (mut number, mut before) = (0, vec![FIRST]);
    loop {
        let rows = queries::stored_rows(tx, tenant, number, ROWS_PER_READ)?;
        let is_last = rows.len() < ROWS_PER_READ as usize;
        for stored in rows {
            walk.rows += 1;
            if stored.number > number + 1 {
                walk.note(number + 1, stored.number - 1);
                before.clear();
            }
            number = stored.number;
            let expected: Vec<_> = match &stored.row {
                Some(row) => before.iter().map(|before| hash(tenant, before, row)).collect(),
                None => Vec::new(),
            };
            // Nothing is left that this row could be held against; what is missing before it was noted.
            let is_unproven = before.is_empty() && stored.row.is_some();
            match stored.hash {
                Some(hash) if is_unproven || expected.contains(&hash) => before = vec![hash],
                found => {
                    walk.note(number, number);
                    // What follows a row of which nothing can be read is as unproven as what follows a gap.
                    if found.is_none() && expected.is_empty() {
                        before.clear();
                    }
                    before.extend(found.into_iter().chain(expected));
                    let excess = before.len().saturating_sub(HASHES_MAX);
                    before.drain(..excess);
                }
            }
        }
        if is_last {
            break;
        }
    }
    // A head that is further says that rows at the end are gone.
    let (last, head) = queries::head(tx, tenant)?.unwrap_or((0, FIRST));
    walk.head = head;
    if last > number {
        walk.note(number + 1, last);
    } else if walk.bad.is_empty() && (last < number || !before.contains(&head)) {
        walk.note(last + 1, last + 1);
    }
    Ok(walk)
}

impl Walk {
    fn note(&mut self, first: i64, last: i64) {
        let room = NAMED_MAX - self.bad.len();
        self.bad.extend((first..=last).take(room));
        self.bad_count += (last - first + 1).unsigned_abs();
    }
}

/// Checks every row of a tenant and the head.
///
/// # Errors
/// When the database fails. A chain that is broken is no error: it is the answer.
pub fn check(tx: &Tx<'_>, tenant: &TenantId) -> Result<Result<Checked, Broken>, DbError> {
    let walk = walk(tx, tenant)?;
    Ok(match walk.bad.first() {
        Some(number) => Err(Broken { number: *number }),
        None => Ok(Checked { rows: walk.rows, head: walk.head }),
    })
}
