//! The verbs about users that other slices call.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::fields::{DisplayName, Email, Username};
use super::queries;
use super::role::Role;
use super::state::{AuthState, Principal};
use crate::app::App;
use crate::db::{Cell, DbError, FromCell, Tx};
use crate::error::AppResult;
use crate::ids::{TenantId, UserId};

/// What a university's registry knows of a person.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Person {
    /// Such as `Ada`.
    pub given_name: Option<String>,
    /// Such as `Lovelace`.
    pub family_name: Option<String>,
    /// The group in which a student is taught.
    pub section: Option<String>,
    /// The id in the registry's own system, unique in the tenant.
    pub external_id: Option<String>,
}

/// A person who can sign in.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct User {
    /// Who.
    pub id: UserId,
    /// Where.
    #[serde(skip)]
    pub tenant: TenantId,
    /// In lower case.
    pub email: String,
    /// In lower case, if there is one.
    pub username: Option<String>,
    /// As others see it.
    pub display_name: String,
    /// As what.
    pub role: Role,
    /// Whether signing in works.
    pub status: Status,
    /// What the registry knows.
    #[serde(flatten)]
    pub person: Person,
    /// When somebody proved that they read mail at the address, milliseconds since the Unix epoch.
    pub email_confirmed_at_ms: Option<i64>,
    /// Goes up with every change that ends tokens.
    #[serde(skip)]
    pub epoch: i64,
    /// Milliseconds since the Unix epoch.
    pub created_at_ms: i64,
}

/// A page of users.
#[derive(Debug, Serialize, ToSchema)]
pub struct Users {
    /// In the order of their ids.
    pub items: Vec<User>,
    /// Send it as `after` for the next page; missing on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<UserId>,
}

/// Whether signing in works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It does.
    Active,
    /// It does not, and tokens have ended.
    Disabled,
}

impl Status {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
        }
    }
}

impl FromCell for Status {
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        match cell {
            Cell::Text("active") => Some(Self::Active),
            Cell::Text("disabled") => Some(Self::Disabled),
            _ => None,
        }
    }
}

/// A user to create.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// Who.
    pub id: UserId,
    /// Where.
    pub tenant: TenantId,
    /// Unique in the tenant.
    pub email: Email,
    /// Unique in the tenant, if there is one.
    pub username: Option<Username>,
    /// As others see it.
    pub display_name: DisplayName,
    /// As what.
    pub role: Role,
    /// Never the password itself; `None` for somebody who has none.
    pub password_hash: Option<String>,
    /// What the registry knows.
    pub person: Person,
    /// Milliseconds since the Unix epoch.
    pub created_at_ms: i64,
}

/// What to change about a user; what is missing stays.
#[derive(Debug, Clone, Default)]
pub struct UserChange {
    /// As what.
    pub role: Option<Role>,
    /// Whether signing in works.
    pub status: Option<Status>,
    /// As others see it.
    pub display_name: Option<DisplayName>,
}

/// Creates a user; false when the e-mail address or the user name is taken.
pub fn insert(tx: &Tx<'_>, new: &NewUser) -> Result<bool, DbError> {
    queries::insert(tx, new)
}

/// A user of the tenant.
pub fn find(tx: &Tx<'_>, tenant: &TenantId, id: UserId) -> Result<Option<User>, DbError> {
    queries::by_id(tx, tenant, id)
}

/// A user of the tenant, by e-mail address.
pub fn find_by_email(tx: &Tx<'_>, tenant: &TenantId, email: &Email) -> Result<Option<User>, DbError> {
    queries::by_email(tx, tenant, email.as_str())
}

/// Whether the user can sign in by a password.
pub(crate) fn has_password(tx: &Tx<'_>, tenant: &TenantId, id: UserId) -> Result<bool, DbError> {
    Ok(queries::password_hash(tx, tenant, id)?.is_some())
}

/// A page of the tenant's users, of one role or of all.
pub fn list(
    tx: &Tx<'_>,
    tenant: &TenantId,
    role: Option<Role>,
    after: Option<UserId>,
    limit: u32,
) -> Result<Users, DbError> {
    let mut items = queries::page(tx, tenant, role, after, limit.saturating_add(1))?;
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next = if more { items.last().map(|user| user.id) } else { None };
    Ok(Users { items, next })
}

/// Whether nobody can sign in at all yet.
pub fn none_exists(tx: &Tx<'_>) -> Result<bool, DbError> {
    Ok(!queries::any(tx)?)
}

/// Changes what is given and says how the user is now; `None` when there is no such user. Whoever calls this hands the
/// result to `remember` after the commit.
pub fn update(
    tx: &Tx<'_>,
    tenant: &TenantId,
    id: UserId,
    change: &UserChange,
    now_ms: i64,
) -> Result<Option<User>, DbError> {
    let Some(before) = queries::by_id(tx, tenant, id)? else { return Ok(None) };
    let (role, status) = (change.role.unwrap_or(before.role), change.status.unwrap_or(before.status));
    if (role, status) != (before.role, before.status) {
        queries::set_role_and_status(tx, tenant, id, role, status, now_ms)?;
    }
    if let Some(display_name) = &change.display_name {
        queries::set_display_name(tx, tenant, id, display_name.as_str(), now_ms)?;
    }
    queries::by_id(tx, tenant, id)
}

/// Makes a committed change of a user take effect on the next request.
pub(crate) fn remember(app: &App, user: &User) -> AppResult<()> {
    let principal = Principal {
        tenant: user.tenant.clone(),
        role: user.role,
        epoch: user.epoch,
        active: user.status == Status::Active,
    };
    AuthState::of(app)?.remember(user.id, principal);
    Ok(())
}
