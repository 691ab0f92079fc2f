//! From plans and their changes to rows. Rows depend on the log and its order alone.

use muster_sync_core::{DocumentName, document::Entry};

use super::queries::{self, Planned};
use crate::db::{DbError, Tx};
use crate::log::Appended;

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
