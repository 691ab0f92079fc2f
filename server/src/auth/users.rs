//! The verbs about users that other slices call.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::fields::{DisplayName, Email, Username, sign_in_name};
use super::limits;
use super::queries;
use super::role::Role;
use super::state::{AuthState, Principal};
use super::voucher::Voucher;
use crate::app::App;
use crate::db::{Cell, DbError, FromCell, Tx};
use crate::error::AppResult;
use crate::ids::{TenantId, UserId};
use crate::mail;
use crate::text;

/// Where a student is taught until somebody says.
pub const NO_SECTION: &str = "_";

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
    /// Since when it is known that the address is theirs. Without it the address is nobody's: anybody may have typed it.
    #[serde(rename = "email_confirmed_at", serialize_with = "crate::clock::as_iso_or_null")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub email_confirmed_at_ms: Option<i64>,
    /// On whose word.
    pub email_confirmed_by: Option<Voucher>,
    /// Since when the address that this account had is somebody else's, who proved that it is theirs; `email` is no address
    /// then, until an admin writes another one.
    #[serde(rename = "email_lost_at", serialize_with = "crate::clock::as_iso_or_null")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub email_lost_at_ms: Option<i64>,
    /// On whose word `external_id` is theirs.
    pub external_id_by: Option<Voucher>,
    /// Whether confirming the address makes a student of this guest.
    #[serde(skip)]
    pub waits_for_confirmation: bool,
    /// Goes up with every change that ends tokens.
    #[serde(skip)]
    pub epoch: i64,
    /// When it was made.
    #[serde(rename = "created_at", serialize_with = "crate::clock::as_iso")]
    #[schema(value_type = String, format = DateTime)]
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

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
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

/// What describes a user, as it is to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// In lower case.
    pub email: String,
    /// In lower case, if there is one.
    pub username: Option<String>,
    /// As others see it.
    pub display_name: String,
    /// What the registry knows.
    pub person: Person,
}

/// What to change about a user; what is missing stays.
#[derive(Debug, Clone, Default)]
pub struct UserChange {
    /// As what.
    pub role: Option<Role>,
    /// Whether signing in works.
    pub status: Option<Status>,
    /// Where mail goes.
    pub email: Option<Email>,
    /// Whether whoever changes it vouches for the address.
    pub email_confirmed: Option<bool>,
    /// `Some(None)` takes the name away.
    pub username: Option<Option<Username>>,
    /// As others see it.
    pub display_name: Option<DisplayName>,
    /// Empty takes it away.
    pub given_name: Option<String>,
    /// Empty takes it away.
    pub family_name: Option<String>,
    /// Empty takes it away.
    pub section: Option<String>,
    /// Empty takes it away.
    pub external_id: Option<String>,
}

/// What became of a change.
#[derive(Debug, Clone)]
pub enum Updated {
    /// How the user was, and how they are now.
    Done(Box<(User, User)>),
    /// There is no such user.
    Unknown,
    /// Nobody could administer the institution any more.
    LastAdmin,
    /// Another account has the address, the user name or the registry's id.
    Taken,
}

/// Which users to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of one role.
    pub role: Option<Role>,
    /// Of one status.
    pub status: Option<Status>,
    /// Texts, each of which stands somewhere in the address, the user name, the name or the registry's id. As a search compares them.
    pub words: Vec<String>,
}

impl Filter {
    /// The words of what somebody typed; more than three are one too many.
    pub fn search(mut self, text: &str) -> Self {
        self.words = text::alike(text).split(' ').take(limits::SEARCH_WORDS_MAX).map(str::to_owned).collect();
        self.words.retain(|word| !word.is_empty());
        self
    }
}

impl NewUser {
    pub(super) fn search_text(&self) -> String {
        let username = self.username.as_ref().map(Username::as_str);
        search_text(self.email.as_str(), username, self.display_name.as_str(), self.person.external_id.as_deref())
    }
}

impl Profile {
    pub(super) fn search_text(&self) -> String {
        search_text(&self.email, self.username.as_deref(), &self.display_name, self.person.external_id.as_deref())
    }

    /// As the user is.
    pub fn of(user: &User) -> Self {
        let User { email, username, display_name, person, .. } = user.clone();
        Self { email, username, display_name, person }
    }

    fn changed(mut self, change: &UserChange) -> Self {
        fn set(field: &mut Option<String>, to: &Option<String>) {
            if let Some(to) = to {
                *field = Some(to.clone()).filter(|text| !text.is_empty());
            }
        }
        if let Some(email) = &change.email {
            self.email = email.as_str().to_owned();
        }
        if let Some(username) = &change.username {
            self.username = username.as_ref().map(|name| name.as_str().to_owned());
        }
        if let Some(name) = &change.display_name {
            self.display_name = name.as_str().to_owned();
        }
        set(&mut self.person.given_name, &change.given_name);
        set(&mut self.person.family_name, &change.family_name);
        set(&mut self.person.section, &change.section);
        set(&mut self.person.external_id, &change.external_id);
        self
    }
}

/// What a search looks through: a line for each, so that no match reaches from one into the next.
fn search_text(email: &str, username: Option<&str>, name: &str, external_id: Option<&str>) -> String {
    let lines = [email, username.unwrap_or(""), name, external_id.unwrap_or("")].map(text::alike);
    let mut text = lines.join("\n");
    let mut end = text.len().min(limits::SEARCH_TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

/// Creates a user; false when the e-mail address or the user name is taken.
pub fn insert(tx: &Tx<'_>, new: &NewUser) -> Result<bool, DbError> {
    queries::insert(tx, new)
}

/// Creates a user, and vouches for the address and for the registry's id; false when one of them or the user name is taken.
pub fn insert_by(tx: &Tx<'_>, new: &NewUser, by: Voucher) -> Result<bool, DbError> {
    queries::insert_by(tx, new, by)
}

/// A user of the tenant.
pub fn find(tx: &Tx<'_>, tenant: &TenantId, id: UserId) -> Result<Option<User>, DbError> {
    queries::by_id(tx, tenant, id)
}

/// A user of the tenant, by e-mail address.
pub fn find_by_email(tx: &Tx<'_>, tenant: &TenantId, email: &Email) -> Result<Option<User>, DbError> {
    queries::by_email(tx, tenant, email.as_str())
}

/// A user of the tenant, by the id in the registry's own system.
pub fn find_by_external_id(tx: &Tx<'_>, tenant: &TenantId, id: &str) -> Result<Option<User>, DbError> {
    queries::by_external_id(tx, tenant, id)
}

/// Notes on whose word the address is the user's.
pub(crate) fn confirm_email(
    tx: &Tx<'_>,
    tenant: &TenantId,
    id: UserId,
    by: Voucher,
    now_ms: i64,
) -> Result<(), DbError> {
    queries::confirm_email(tx, tenant, id, by, now_ms)
}

/// Takes the address of a user away, because it is somebody else's. They keep the account and whatever signs them in, and find
/// `email_lost_at` in their profile.
pub fn take_address(tx: &Tx<'_>, tenant: &TenantId, id: UserId, now_ms: i64) -> Result<(), DbError> {
    let Some(user) = queries::by_id(tx, tenant, id)? else { return Ok(()) };
    let no_address = format!("{id}@{}", mail::NO_ADDRESS);
    let profile = Profile { email: no_address, ..Profile::of(&user) };
    queries::take_address(tx, tenant, id, &profile, now_ms)
}

/// Whether the user can sign in by a password.
pub(crate) fn has_password(tx: &Tx<'_>, tenant: &TenantId, id: UserId) -> Result<bool, DbError> {
    Ok(queries::password_hash(tx, tenant, id)?.is_some())
}

/// A user of the tenant, by id, e-mail address or user name.
pub fn find_by_any_name(tx: &Tx<'_>, tenant: &TenantId, name: &str) -> Result<Option<User>, DbError> {
    let name = sign_in_name(name);
    match name.parse::<UserId>() {
        Ok(id) => queries::by_id(tx, tenant, id),
        Err(_) if name.contains('@') => queries::by_email(tx, tenant, &name),
        Err(_) => queries::by_username(tx, tenant, &name),
    }
}

/// A page of the tenant's users.
pub fn list(
    tx: &Tx<'_>,
    tenant: &TenantId,
    filter: &Filter,
    after: Option<UserId>,
    limit: u32,
) -> Result<Users, DbError> {
    let mut items = queries::page(tx, tenant, filter, after, limit.saturating_add(1))?;
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next = if more { items.last().map(|user| user.id) } else { None };
    Ok(Users { items, next })
}

/// Whether nobody can sign in at all yet.
pub fn none_exists(tx: &Tx<'_>) -> Result<bool, DbError> {
    Ok(!queries::any(tx)?)
}

/// Changes what is given, unless nobody could administer the institution after it. Whoever calls this hands the result
/// to `remember` after the commit.
pub fn update(
    tx: &Tx<'_>,
    tenant: &TenantId,
    id: UserId,
    change: &UserChange,
    by: Voucher,
    now_ms: i64,
) -> Result<Updated, DbError> {
    let Some(before) = queries::by_id(tx, tenant, id)? else { return Ok(Updated::Unknown) };
    let (role, status) = (change.role.unwrap_or(before.role), change.status.unwrap_or(before.status));
    let administers = |role, status| role == Role::Admin && status == Status::Active;
    let steps_down = administers(before.role, before.status) && !administers(role, status);
    if steps_down && !queries::another_admin(tx, tenant, id)? {
        return Ok(Updated::LastAdmin);
    }
    let (old, new) = (Profile::of(&before), Profile::of(&before).changed(change));
    if new != old {
        if queries::is_taken(tx, tenant, id, &new)? {
            return Ok(Updated::Taken);
        }
        queries::set_profile(tx, tenant, id, &new, by, now_ms)?;
    }
    match change.email_confirmed {
        Some(true) => queries::confirm_email(tx, tenant, id, by, now_ms)?,
        Some(false) => queries::doubt_email(tx, tenant, id, now_ms)?,
        None => {}
    }
    if change.role.is_some() {
        // Whom somebody made a guest waits for nothing.
        queries::set_waiting(tx, tenant, id, false)?;
    }
    if (role, status) != (before.role, before.status) {
        queries::set_role_and_status(tx, tenant, id, role, status, now_ms)?;
    }
    let after = queries::by_id(tx, tenant, id)?.ok_or_else(|| DbError::Other("a user vanished".to_owned()))?;
    Ok(Updated::Done(Box::new((before, after))))
}

/// Makes a committed change of a user take effect on the next request.
pub(crate) fn remember(app: &App, user: &User) -> AppResult<()> {
    let principal = Principal {
        tenant: user.tenant.clone(),
        role: user.role,
        epoch: user.epoch,
        active: user.status == Status::Active,
        revoked: None,
    };
    AuthState::of(app)?.remember(user.id, principal);
    Ok(())
}
