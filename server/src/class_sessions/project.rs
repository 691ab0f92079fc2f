//! From plans and their changes to rows. Rows depend on the log and its order alone.

use muster_sync_core::{DocumentName, change::Valid, document::Entry, limits};

use super::queries::{self, Planned};
use crate::db::{DbError, Tx};
use crate::log::Appended;

/// Whether a pushed change of a class session is further ahead of its epochs than phones that did not hear of each
/// other can be. Nobody could begin an epoch after the highest one: a phone must not jump there.
///
/// # Errors
/// When the database fails.
pub fn out_of_turn(tx: &Tx<'_>, valid: &Valid) -> Result<bool, DbError> {
    let Entry::PlanChanges(change) = &valid.entry else { return Ok(false) };
    let known = queries::newest_epoch(tx, valid.document)?.unwrap_or(0);
    Ok(change.epoch > known.saturating_add(limits::EPOCHS_AHEAD_MAX))
}

/// Projects a plan or a change of a plan. The first plan in the log counts; a later one is only counted, whoever wrote
/// it, so that nobody can move a session under the records that were captured for it.
///
/// # Errors
/// When the database fails.
pub fn project(tx: &Tx<'_>, appended: &Appended) -> Result<(), DbError> {
    let DocumentName::ClassSession { locator } = &appended.name else { return Ok(()) };
    let document = appended.document();
    match &appended.valid.entry {
        Entry::Plan(plan) => {
            let planned = Planned {
                document,
                locator,
                writer: &appended.valid.writer,
                log_index: appended.log_index,
                received_at_ms: appended.received_at_ms,
            };
            match queries::insert_plan(tx, &appended.tenant, &planned, plan)? {
                true => queries::refresh(tx, document),
                false => queries::count_rival(tx, document),
            }
        }
        Entry::PlanChanges(change) => {
            queries::insert_change(tx, document, appended.log_index, change)?;
            queries::refresh(tx, document)
        }
        _ => Ok(()),
    }
}
