//! Ending sessions, in the transaction of whatever ends them.

use super::queries::{self, Ended};
use super::{ClientClass, EndReason};
use crate::db::{DbError, Tx};
use crate::ids::{AuthSessionId, TenantId, UserId};

/// Ends every session of a user, and with them every refresh token. The user's epoch must go up in the same transaction:
/// that ends the access tokens, and sessions that this does not know of.
pub(crate) fn end_all(tx: &Tx<'_>, tenant: &TenantId, user: UserId, now_ms: i64) -> Result<(), DbError> {
    let ended = Ended { reason: EndReason::Account, now_ms };
    queries::end_of_user(tx, tenant, user, None, &ended)
}

/// Ends the user's sessions on phones: the phone is not theirs any more.
pub(crate) fn end_on_phones(tx: &Tx<'_>, tenant: &TenantId, user: UserId, now_ms: i64) -> Result<(), DbError> {
    let ended = Ended { reason: EndReason::Device, now_ms };
    queries::end_of_user(tx, tenant, user, Some(ClientClass::Phone), &ended)
}

/// Ends one session; false when there is none.
pub(super) fn end_one(
    tx: &Tx<'_>,
    tenant: &TenantId,
    session: AuthSessionId,
    reason: EndReason,
    now_ms: i64,
) -> Result<bool, DbError> {
    queries::end(tx, tenant, session, &Ended { reason, now_ms })
}
