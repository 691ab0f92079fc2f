//! Accounts as the office sees them: creating, finding and changing them. Signing in is in `auth`, which owns the rows.

mod create;
mod find;
mod limits;
mod update;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::audit::{self, Action, Actor, Event};
use crate::auth::{self, NewUser, Person, Status, Updated, UserChange, Voucher};
use crate::db::{DbError, Tx};
use crate::ids::UserId;
use crate::mail::{self, Notice};

pub use crate::auth::{User, find, find_by_email};

/// `/admin/users` and `/students`.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(find::list_users, create::create_user))
        .routes(routes!(find::show_user, update::update_user))
        .routes(routes!(find::list_students, create::create_student))
        .routes(routes!(find::show_student, update::update_student))
}

/// Creates an account and notes who did, who also vouches for the address; false when the e-mail address, the user name or the registry's id is taken.
///
/// # Errors
/// When the database fails.
pub fn create(tx: &Tx<'_>, actor: &Actor, new: &NewUser) -> Result<bool, DbError> {
    if !auth::insert_by(tx, new, Voucher::of(actor))? {
        return Ok(false);
    }
    note(tx, actor, (Action::UserCreate, new.id), (None, new.role.as_str()), new.created_at_ms)?;
    Ok(true)
}

/// Changes an account, notes who did, and tells an address that is not the account's any more. Whoever calls this hands
/// the user to `auth::remember` after the commit.
///
/// # Errors
/// When the database fails.
pub fn change(tx: &Tx<'_>, actor: &Actor, id: UserId, change: &UserChange, now_ms: i64) -> Result<Updated, DbError> {
    let updated = auth::update(tx, &actor.tenant, id, change, Voucher::of(actor), now_ms)?;
    let Updated::Done(users) = &updated else { return Ok(updated) };
    let (before, after) = &**users;
    if before.role != after.role {
        note(tx, actor, (Action::UserRole, id), (Some(before.role.as_str()), after.role.as_str()), now_ms)?;
    }
    if before.status != after.status {
        let action = if after.status == Status::Active { Action::UserEnable } else { Action::UserDisable };
        note(tx, actor, (action, id), (None, "done"), now_ms)?;
    }
    if before.email != after.email {
        note(tx, actor, (Action::UserUpdate, id), (Some("email"), "done"), now_ms)?;
        // Whoever had the address must hear of it, should the change be nobody's wish.
        mail::notify(tx, &actor.tenant, &before.email, Notice::EmailChanged, now_ms)?;
    } else if described(before) != described(after) {
        note(tx, actor, (Action::UserUpdate, id), (None, "done"), now_ms)?;
    }
    let vouched = |user: &User| (user.email_confirmed_at_ms, user.email_confirmed_by);
    if change.email_confirmed.is_some() && vouched(before) != vouched(after) {
        let confirmed = after.email_confirmed_at_ms.is_some();
        let (action, reason) =
            if confirmed { (Action::EmailConfirm, Some("by_hand")) } else { (Action::EmailDoubt, None) };
        note(tx, actor, (action, id), (reason, "done"), now_ms)?;
    }
    Ok(updated)
}

/// The section that every student has comes and goes with the role.
fn described(user: &User) -> (Option<&str>, &str, Person) {
    let section = user.person.section.clone().filter(|section| section != auth::NO_SECTION);
    (user.username.as_deref(), &user.display_name, Person { section, ..user.person.clone() })
}

/// Notes what was done to an account.
///
/// # Errors
/// When the database fails.
pub fn note(
    tx: &Tx<'_>,
    actor: &Actor,
    (action, id): (Action, UserId),
    (reason, result): (Option<&str>, &str),
    now_ms: i64,
) -> Result<(), DbError> {
    audit::record(tx, actor, &Event { action, kind: "user", id: &id.to_string(), reason, result }, now_ms)
}
