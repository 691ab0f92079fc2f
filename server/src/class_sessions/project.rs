//! From plans and their changes to rows. Rows depend on the log alone, and which plan stands on `sync_core::plan` alone.

use std::collections::BTreeMap;

use muster_sync_core::{
    DeviceKey, DocumentId, DocumentName, Locator,
    change::Valid,
    document::{Entry, Label, PlanAction, PlanChange},
    limits,
    plan::{self, Claim, Settlement, Standing},
};

use super::queries::{self, Planned};
use crate::db::{DbError, Tx};
use crate::devices;
use crate::ids::TenantId;
use crate::log::{self, Appended, Channel};

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

/// Projects a plan or a change of a plan. Says whether another plan or key of its planner stands now, or none any more:
/// then `attendance::follow_session` moves the records.
///
/// # Errors
/// When the database fails.
pub fn project(tx: &Tx<'_>, appended: &Appended) -> Result<bool, DbError> {
    let DocumentName::ClassSession { locator } = &appended.name else { return Ok(false) };
    let (tenant, document) = (&appended.tenant, appended.document());
    match &appended.valid.entry {
        Entry::Plan(plan) => {
            let writer = &appended.valid.writer;
            let planner = person(tx, appended, plan.by.as_ref())?;
            let planned = Planned {
                document,
                hash: appended.hash(),
                planner: &planner,
                writer,
                log_index: appended.log_index,
                received_at_ms: appended.received_at_ms,
            };
            show_rivals(tx, tenant, document, plan.course.as_str())?;
            queries::insert_plan(tx, &planned, plan)?;
            stand(tx, tenant, locator, document)
        }
        Entry::PlanChanges(change) if change.action == PlanAction::Settle => {
            settle(tx, appended, change)?;
            stand(tx, tenant, locator, document)
        }
        Entry::PlanChanges(change) => {
            let course = queries::course(tx, tenant, locator)?;
            let by = person(tx, appended, change.by.as_ref())?;
            queries::insert_change(tx, document, appended.log_index, change, (&by, course.as_deref()))?;
            queries::refresh(tx, document)?;
            Ok(false)
        }
        _ => Ok(false),
    }
}

/// Gives the plans that are there to those who teach a course for which the session had none. `channels` gives them the
/// later ones.
fn show_rivals(tx: &Tx<'_>, tenant: &TenantId, document: DocumentId, course: &str) -> Result<(), DbError> {
    let plans = queries::plans(tx, document)?;
    if plans.iter().any(|plan| plan.course == course) {
        return Ok(());
    }
    let log_indexes: Vec<i64> = plans.iter().map(|plan| plan.log_index).collect();
    log::place_in(tx, tenant, &Channel::CourseStaff(course.to_owned()), &log_indexes)
}

/// Who wrote an entry; the key in hexadecimal while nobody knows whose it is.
fn person(tx: &Tx<'_>, appended: &Appended, by: Option<&Label>) -> Result<String, DbError> {
    if let Some(by) = by {
        return Ok(by.as_str().to_owned());
    }
    let writer = &appended.valid.writer;
    let owner = devices::owner_of(tx, &appended.tenant, writer)?;
    Ok(owner.map_or_else(|| writer.to_string(), |owner| owner.user.to_string()))
}

fn settle(tx: &Tx<'_>, appended: &Appended, change: &PlanChange) -> Result<(), DbError> {
    let Some(plan) = change.plan else { return Ok(()) };
    let settlement = Settlement {
        writer: appended.valid.writer,
        by: person(tx, appended, change.by.as_ref())?,
        place: appended.log_index.unsigned_abs(),
        plan,
        after: change.after().collect(),
    };
    queries::insert_settlement(tx, appended, &settlement)
}

/// Computes anew which plan stands, and what follows from it. Says whether that is something else than before.
fn stand(tx: &Tx<'_>, tenant: &TenantId, locator: &Locator, document: DocumentId) -> Result<bool, DbError> {
    let before = whose(tx, document)?;
    let plans = queries::plans(tx, document)?;
    let claim = |row: &queries::PlanRow| Claim { planner: row.planner.clone(), course: row.course.clone() };
    let claims: BTreeMap<_, _> = plans.iter().map(|row| (row.hash, claim(row))).collect();
    let settlements = queries::settlements(tx, document)?;
    let (shown, contested) = match plan::standing(&claims, &settlements) {
        Standing::Unknown => return Ok(false),
        Standing::Plan(hash) => (plans.iter().find(|row| row.hash == hash), false),
        Standing::Contested => (plans.iter().min_by_key(|row| row.hash), true),
    };
    let Some(shown) = shown else { return Ok(false) };
    let own = plans.iter().filter(|row| claim(row) == claim(shown)).count();
    let rivals = plans.len() - if contested { 1 } else { own };
    let row = queries::Shown { log_index: shown.log_index, contested, course: &shown.course, rivals: rivals as i64 };
    queries::show_plan(tx, tenant, locator, document, &row)?;
    queries::refresh(tx, document)?;
    Ok(whose(tx, document)? != before)
}

/// The plan that the session's row shows, whether that is contested, and the other keys whose codes hold.
fn whose(tx: &Tx<'_>, document: DocumentId) -> Result<Option<(i64, bool, Vec<DeviceKey>)>, DbError> {
    let Some((log_index, contested)) = queries::shown(tx, document)? else { return Ok(None) };
    Ok(Some((log_index, contested, queries::other_keys(tx, document)?)))
}
