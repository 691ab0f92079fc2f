//! All SQL of searching the audit log. Each statement is driven by the filter that leaves the fewest rows.

use crate::audit::{self, AuditRow};
use crate::db::{DbError, Tx};
use crate::ids::TenantId;
use crate::params;

/// What to look for; an empty text stands for anything.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    pub(super) actor: String,
    /// The actions that the wanted beginning stands for; `None` for any.
    pub(super) actions: Option<Vec<&'static str>>,
    pub(super) kind: String,
    pub(super) id: String,
    pub(super) request_id: String,
    pub(super) result: String,
    /// Not before, Unix milliseconds.
    pub(super) from_ms: i64,
}

/// The place of a row in the order of the answer: when, and its number.
pub(super) type Place = (i64, i64);

// The plus keeps the index of times out of the choice: SQLite took it where the driving column leaves far fewer rows.
macro_rules! select_rows {
    ($rest:literal) => {
        concat!(
            "SELECT number, at, actor_id, actor_role, action, object_kind, object_id, reason, request_id, result, hash
             FROM audit_log
             WHERE tenant_id = ?1 AND (+at, number) < (?2, ?3) AND +at >= ?4
                 AND (?5 = '' OR actor_id = ?5) AND (?6 = '' OR action = ?6) AND (?7 = '' OR object_kind = ?7)
                 AND (?8 = '' OR object_id = ?8) AND (?9 = '' OR request_id = ?9) AND (?10 = '' OR result = ?10) ",
            $rest
        )
    };
}

/// The newest rows before a place.
pub(super) fn search(
    tx: &Tx<'_>,
    tenant: &TenantId,
    wanted: &Wanted,
    before: Place,
    limit: u32,
) -> Result<Vec<AuditRow>, DbError> {
    let Some(actions) = &wanted.actions else { return of_action(tx, tenant, wanted, "", before, limit) };
    // Every action is one walk along its index, and there are few of them.
    let mut rows = Vec::new();
    for action in actions {
        rows.extend(of_action(tx, tenant, wanted, action, before, limit)?);
    }
    rows.sort_by_key(|row| std::cmp::Reverse((row.at_ms, row.number)));
    rows.truncate(limit as usize);
    Ok(rows)
}

fn of_action(
    tx: &Tx<'_>,
    tenant: &TenantId,
    wanted: &Wanted,
    action: &str,
    (at_ms, number): Place,
    limit: u32,
) -> Result<Vec<AuditRow>, DbError> {
    let Wanted { actor, kind, id, request_id, result, from_ms, .. } = wanted;
    let sql = if !request_id.is_empty() {
        select_rows!("AND request_id = ?9 ORDER BY at DESC, number DESC LIMIT ?11")
    } else if !id.is_empty() {
        select_rows!("AND object_id = ?8 ORDER BY at DESC, number DESC LIMIT ?11")
    } else if !actor.is_empty() {
        select_rows!("AND actor_id = ?5 ORDER BY at DESC, number DESC LIMIT ?11")
    } else if !action.is_empty() {
        select_rows!("AND action = ?6 ORDER BY at DESC, number DESC LIMIT ?11")
    } else if !result.is_empty() {
        select_rows!("AND result = ?10 ORDER BY at DESC, number DESC LIMIT ?11")
    } else {
        select_rows!("AND (at, number) < (?2, ?3) AND at >= ?4 ORDER BY at DESC, number DESC LIMIT ?11")
    };
    let params = params![tenant.as_str(), at_ms, number, *from_ms, actor, action, kind, id, request_id, result, limit];
    tx.query(sql, params, audit::row)
}

/// When the row with a number was written.
pub(super) fn place_of(tx: &Tx<'_>, tenant: &TenantId, number: i64) -> Result<Option<Place>, DbError> {
    tx.query_one(
        "SELECT at, number
         FROM audit_log
         WHERE tenant_id = ?1 AND number = ?2",
        params![tenant.as_str(), number],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}
