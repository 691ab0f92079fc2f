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

/// Checks every row of a tenant and the head.
///
/// # Errors
/// When the database fails. A chain that is broken is no error: it is the answer.
pub fn check(tx: &Tx<'_>, tenant: &TenantId) -> Result<Result<Checked, Broken>, DbError> {
    let mut checked = Checked { rows: 0, head: FIRST };
    loop {
        let rows = queries::rows(tx, tenant, checked.rows, ROWS_PER_READ)?;
        let is_last = rows.len() < ROWS_PER_READ as usize;
        for row in rows {
            let number = checked.rows + 1;
            if row.number != number || row.hash != hash(tenant, &checked.head, &row) {
                return Ok(Err(Broken { number }));
            }
            checked = Checked { rows: number, head: row.hash };
        }
        if is_last {
            break;
        }
    }
    let head = queries::head(tx, tenant)?.unwrap_or((0, FIRST));
    // A head that is further says that rows at the end are gone.
    Ok(if head == (checked.rows, checked.head) { Ok(checked) } else { Err(Broken { number: checked.rows + 1 }) })
}
