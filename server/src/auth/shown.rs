//! A person as lists show one to whoever decides about them.

use serde::Serialize;
use utoipa::ToSchema;

use super::users::{self, User};
use super::voucher::Voucher;
use crate::db::{DbError, Tx};
use crate::ids::{TenantId, UserId};

/// A person in a list.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ShownUser {
    /// The account.
    pub id: UserId,
    /// The address.
    pub email: String,
    /// Since when it is known that the address is theirs. Without it anybody may have typed it: ask them who they are before
    /// you approve.
    #[serde(rename = "email_confirmed_at", serialize_with = "crate::clock::as_iso_or_null")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub email_confirmed_at_ms: Option<i64>,
    /// On whose word.
    pub email_confirmed_by: Option<Voucher>,
    /// The name.
    pub display_name: String,
    /// The id in the university's registry.
    pub external_id: Option<String>,
}

impl From<User> for ShownUser {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            email: user.email,
            email_confirmed_at_ms: user.email_confirmed_at_ms,
            email_confirmed_by: user.email_confirmed_by,
            display_name: user.display_name,
            external_id: user.person.external_id,
        }
    }
}

impl ShownUser {
    /// Whether nobody stood for whoever used the account at a time: no one has confirmed its address, or its owner did so
    /// later, by a new password that was set by mail. Then somebody else may have typed the address, and must not inherit its
    /// owner's good name. Whoever confirms by hand, or imports, stands for the person as they are.
    pub fn was_nobodys(&self, at_ms: i64) -> bool {
        match (self.email_confirmed_at_ms, self.email_confirmed_by) {
            (Some(confirmed_at_ms), Some(Voucher::Mail)) => at_ms < confirmed_at_ms,
            (confirmed, _) => confirmed.is_none(),
        }
    }
}

/// What somebody is told who approves something for such an account.
pub const OWNER_UNCONFIRMED: &str = "nobody has confirmed that the address of this account is its owner's, so anybody may \
     have typed it: confirm it by hand (email_confirmed), or send accept_unconfirmed if you know who asks";

/// The person of an id as documents and rows have it; `None` if nobody has it any more, or it never was one.
///
/// # Errors
/// When the database fails.
pub fn shown(tx: &Tx<'_>, tenant: &TenantId, id: &str) -> Result<Option<ShownUser>, DbError> {
    let Ok(id) = id.parse() else { return Ok(None) };
    Ok(users::find(tx, tenant, id)?.map(ShownUser::from))
}
