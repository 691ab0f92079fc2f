//! Many users at once, as an import from a university's registry needs them: all that is there in one read, and rows that
//! are written without a question each.

mod queries;

pub(super) use queries::{page, set_forms};

use super::limits;
use super::role::Role;
use super::users::{self, NewUser, Profile, Status};
use super::voucher::Voucher;
use crate::db::{DbError, Tx};
use crate::ids::{TenantId, UserId};

/// A user as an import compares them.
#[derive(Debug, Clone)]
pub struct KnownUser {
    /// Who.
    pub id: UserId,
    /// What describes them.
    pub profile: Profile,
    /// As what.
    pub role: Role,
    /// Whether signing in works.
    pub status: Status,
    /// On whose word the address is theirs; without one it is nobody's.
    pub confirmed_by: Option<Voucher>,
    /// On whose word the registry's id is theirs.
    pub external_id_by: Option<Voucher>,
    /// When the row was changed; milliseconds since the Unix epoch.
    pub updated_at_ms: i64,
}

/// A user as they are to be.
#[derive(Debug, Clone)]
pub struct RegistryChange {
    /// Who.
    pub id: UserId,
    /// When the row was changed that this was made from.
    pub seen_at_ms: i64,
    /// What describes them.
    pub profile: Profile,
    /// The e-mail address that is not theirs any more.
    pub former_email: Option<String>,
    /// The role before, and the one from now on.
    pub role: (Role, Role),
    /// Whether signing in ends.
    pub disables: bool,
    /// Whether somebody else takes a name that this user gives up.
    pub makes_room: bool,
    /// Whether the registry names the address, and so vouches for it.
    pub confirms: bool,
    /// Whether the password and the identities of providers end: somebody else may know them.
    pub ends_credentials: bool,
}

/// What an account loses because it is somebody else's, of whom the registry knows.
#[derive(Debug, Clone)]
pub struct Withdrawal {
    /// Whose.
    pub id: UserId,
    /// When the row was changed that this was made from.
    pub seen_at_ms: i64,
    /// The address, when it is that.
    pub email: Option<String>,
    /// Whether the user name goes.
    pub username: bool,
}

/// Every user of the tenant.
pub fn known_users(tx: &Tx<'_>, tenant: &TenantId) -> Result<Vec<KnownUser>, DbError> {
    let mut known: Vec<KnownUser> = Vec::new();
    loop {
        let after = known.last().map(|user| user.id);
        let page = queries::page(tx, tenant, after, limits::KNOWN_USERS_PER_READ)?;
        let is_last = page.len() < limits::KNOWN_USERS_PER_READ as usize;
        known.extend(page);
        if is_last {
            return Ok(known);
        }
    }
}

/// How many users the tenant has.
pub fn count_users(tx: &Tx<'_>, tenant: &TenantId) -> Result<u64, DbError> {
    queries::count(tx, tenant)
}

/// Creates a user; one whose address, user name or registry's id is taken is left out, which only [`count_users`] tells.
pub fn send_user(tx: &Tx<'_>, new: &NewUser) -> Result<(), DbError> {
    super::queries::send_insert(tx, new, Voucher::Registry)
}

/// Takes an address or a user name from an account; false when the row was changed by somebody else meanwhile.
pub fn withdraw(tx: &Tx<'_>, tenant: &TenantId, withdrawal: &Withdrawal, now_ms: i64) -> Result<bool, DbError> {
    let id = withdrawal.id;
    if !queries::is_unchanged(tx, tenant, id, withdrawal.seen_at_ms)? {
        return Ok(false);
    }
    if withdrawal.username {
        super::queries::drop_username(tx, tenant, id, now_ms)?;
    }
    if withdrawal.email.is_some() {
        users::take_address(tx, tenant, id, now_ms)?;
    }
    Ok(true)
}

/// Takes from a user the names that they give up, before others get them: a table is unique after every statement, and not
/// only after the last one. [`change_from_registry`] gives them their own within the same transaction.
pub fn make_room(tx: &Tx<'_>, tenant: &TenantId, change: &RegistryChange) -> Result<(), DbError> {
    queries::make_room(tx, tenant, change.id, &change.profile.email)
}

/// Makes a user as the registry has them; false when the row was changed by somebody else meanwhile.
pub fn change_from_registry(
    tx: &Tx<'_>,
    tenant: &TenantId,
    change: &RegistryChange,
    now_ms: i64,
) -> Result<bool, DbError> {
    if !queries::is_unchanged(tx, tenant, change.id, change.seen_at_ms)? {
        return Ok(false);
    }
    if super::queries::is_taken(tx, tenant, change.id, &change.profile)? {
        return Ok(false);
    }
    super::queries::set_profile(tx, tenant, change.id, &change.profile, Voucher::Registry, now_ms)?;
    if change.confirms {
        super::queries::confirm_email(tx, tenant, change.id, Voucher::Registry, now_ms)?;
    }
    if change.ends_credentials {
        super::queries::forget_credentials(tx, tenant, change.id, now_ms)?;
    }
    let (before, role) = change.role;
    if before != role || change.disables {
        let status = if change.disables { Status::Disabled } else { Status::Active };
        super::queries::set_role_and_status(tx, tenant, change.id, role, status, now_ms)?;
    }
    Ok(true)
}
