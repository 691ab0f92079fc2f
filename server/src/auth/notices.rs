//! What the owner of an account must know at once, by mail and in the transaction in which it happens.

use super::users;
use crate::db::{DbError, Tx};
use crate::ids::{TenantId, UserId};
use crate::mail::{self, Notice};

/// Tells a user that something happened to the account. Waking the jobs after the commit makes it quick; they look
/// twice a second anyway.
///
/// # Errors
/// When the database fails.
pub(crate) fn notify(tx: &Tx<'_>, tenant: &TenantId, user: UserId, event: Notice, now_ms: i64) -> Result<(), DbError> {
    match users::find(tx, tenant, user)? {
        Some(user) => mail::notify(tx, tenant, &user.email, event, now_ms),
        None => Ok(()),
    }
}
