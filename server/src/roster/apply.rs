//! Writes a plan in one transaction, or not at all.

use super::error::RosterError;
use super::plan::Plan;
use super::progress::{Progress, Stage};
use super::report::Report;
use crate::audit::{self, Action, Actor, Event};
use crate::auth::Withdrawal;
use crate::db::{DbError, Tx};
use crate::ids::UserId;
use crate::mail::{self, Notice};
use crate::{auth, courses};

/// Why nothing was written.
#[derive(Debug)]
pub(super) enum Refused {
    /// Somebody changed an account or a course after the plan was made: it must be made again.
    Stale,
    /// The database failed.
    Db(DbError),
}

impl From<DbError> for Refused {
    fn from(error: DbError) -> Self {
        Self::Db(error)
    }
}

impl From<Refused> for RosterError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Stale => Self::Contended,
            Refused::Db(error) => Self::Db(error),
        }
    }
}

/// Members that are handed on at once.
const MEMBERS_AT_ONCE: usize = 1_000;

/// Writes everything, with one row in the audit log for the import and one for each role that changes or access that ends.
pub(super) fn apply(
    tx: &Tx<'_>,
    actor: &Actor,
    created_by: UserId,
    (plan, report): (&Plan, &Report),
    progress: &Progress,
) -> Result<(), Refused> {
    let (tenant, now_ms, total) = (&actor.tenant, plan.now_ms, plan.len());
    let mut done = 0;
    let mut step = |rows: u64| {
        done += rows;
        progress.tell(Stage::Write, done, total);
    };
    for withdrawal in &plan.withdrawn {
        if !auth::withdraw(tx, tenant, withdrawal, now_ms)? {
            return Err(Refused::Stale);
        }
        note_withdrawal(tx, actor, withdrawal, now_ms)?;
        step(1);
    }
    for change in plan.changed_users.iter().filter(|change| change.makes_room) {
        auth::make_room(tx, tenant, change)?;
    }
    for change in &plan.changed_users {
        if !auth::change_from_registry(tx, tenant, change, now_ms)? {
            return Err(Refused::Stale);
        }
        if let Some(address) = &change.former_email {
            mail::notify(tx, tenant, address, Notice::EmailChanged, now_ms)?;
        }
        if change.ends_credentials {
            mail::notify(tx, tenant, &change.profile.email, Notice::RoleGiven, now_ms)?;
        }
        step(1);
    }
    for new in &plan.new_users {
        auth::send_user(tx, new)?;
        step(1);
    }
    if auth::count_users(tx, tenant)? != plan.users_before + plan.new_users.len() as u64 {
        return Err(Refused::Stale);
    }
    for course in &plan.new_courses {
        if !courses::insert_known(tx, tenant, course, created_by, now_ms)? {
            return Err(Refused::Stale);
        }
        step(1);
    }
    for course in &plan.changed_courses {
        if !courses::change_known(tx, tenant, course, now_ms)? {
            return Err(Refused::Stale);
        }
        step(1);
    }
    for members in plan.added.chunks(MEMBERS_AT_ONCE) {
        courses::add_members(tx, tenant, members, now_ms)?;
        step(members.len() as u64);
    }
    for (member, begins_at_ms) in &plan.begins {
        courses::begin_at(tx, tenant, member, *begins_at_ms)?;
        step(1);
    }
    for member in &plan.removed {
        courses::remove_member(tx, tenant, member, now_ms)?;
        step(1);
    }
    note(tx, actor, plan, report)?;
    Ok(())
}

/// Ends the places of whoever lost an address, tells whoever reads mail there, and notes it.
fn note_withdrawal(tx: &Tx<'_>, actor: &Actor, withdrawal: &Withdrawal, now_ms: i64) -> Result<(), DbError> {
    let mut reason = "username";
    if let Some(address) = &withdrawal.email {
        reason = "email";
        courses::leave_all(tx, &actor.tenant, withdrawal.id, now_ms)?;
        mail::notify(tx, &actor.tenant, address, Notice::AddressClaimed, now_ms)?;
    }
    let (action, id) = (Action::EmailWithdraw, withdrawal.id.to_string());
    audit::record(tx, actor, &Event { action, kind: "user", id: &id, reason: Some(reason), result: "roster" }, now_ms)
}

fn note(tx: &Tx<'_>, actor: &Actor, plan: &Plan, report: &Report) -> Result<(), DbError> {
    let people = |tx: &Tx<'_>, action, id: UserId, reason: Option<&str>, result: &str| {
        let event = Event { action, kind: "user", id: &id.to_string(), reason, result };
        audit::record(tx, actor, &event, plan.now_ms)
    };
    for change in &plan.changed_users {
        let (before, role) = change.role;
        if before != role {
            people(tx, Action::UserRole, change.id, Some(before.as_str()), role.as_str())?;
        } else if change.disables {
            people(tx, Action::UserDisable, change.id, Some("roster"), "done")?;
        }
    }
    for new in plan.new_users.iter().filter(|new| new.role > auth::Role::Student) {
        people(tx, Action::UserRole, new.id, None, new.role.as_str())?;
    }
    let counts = format!(
        "users +{} ~{} -{}, courses +{} ~{}, lecturers +{} -{}, enrolments +{} -{}, bad {}",
        report.users.created,
        report.users.updated,
        report.users.disabled,
        report.courses.created,
        report.courses.updated,
        report.lecturers.added,
        report.lecturers.removed,
        report.enrolments.added,
        report.enrolments.removed,
        report.bad_rows
    );
    let event =
        Event { action: Action::RosterImport, kind: "roster", id: &report.format, reason: None, result: &counts };
    audit::record(tx, actor, &event, plan.now_ms)
}
