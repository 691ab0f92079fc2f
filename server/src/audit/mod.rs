//! The audit log: who did what to what, why and with which result; written in the transaction of the action itself.
//!
//! Rows are numbered per tenant without gaps and chained by SHA-256, so that a row that was edited, removed, put in or
//! moved shows. They hold ids and codes only: no secret, no position, no picture, no free text. This module records and
//! checks; it has no endpoints.

mod chain;
mod queries;

use crate::db::{DbError, Tx};
use crate::ids::TenantId;

pub use chain::{Broken, Checked, check};
pub use queries::{AuditRow, rows};

/// Who acts, in which request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// Where.
    pub tenant: TenantId,
    /// The user's id.
    pub id: String,
    /// The role in which the user acts.
    pub role: String,
    /// The request, as it stands in the reply's `X-Request-ID` and in the server's own log.
    pub request_id: String,
}

macro_rules! actions {
    ($($(#[$doc:meta])+ $variant:ident = $name:literal),+ $(,)?) => {
        /// What somebody did. The names are stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Action { $($(#[$doc])+ $variant),+ }

        impl Action {
            /// Its name in the log.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

actions! {
    /// A request for a device was approved.
    DeviceApprove = "device.approve",
    /// A request for a device was denied.
    DeviceDeny = "device.deny",
    /// A device took the place of another one.
    DeviceReset = "device.reset",
    /// The binding of a device was ended.
    DeviceRevoke = "device.revoke",
    /// What a capture saw was shown: its manifest.
    EvidenceView = "evidence.view",
    /// A picture of a capture was shown.
    ImageView = "image.view",
    /// A change that waits was shown, with what it says.
    QuarantineView = "quarantine.view",
    /// A change that waits was judged again.
    QuarantineRelease = "quarantine.release",
    /// A change that waits was discarded.
    QuarantineDiscard = "quarantine.discard",
    /// Both sides of a fork were shown.
    ForkView = "fork.view",
    /// Somebody proved an identity of a provider, and is signed in or goes on to the second factor.
    OauthSignIn = "oauth.sign_in",
    /// An account was made for an identity of a provider.
    OauthSignUp = "oauth.sign_up",
    /// A sign-in or a link by a provider came to nothing.
    OauthRefuse = "oauth.refuse",
    /// An identity of a provider was linked to an account.
    OauthLink = "oauth.link",
    /// The identities of a provider were taken from an account.
    OauthUnlink = "oauth.unlink",
}

/// One action.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// What was done.
    pub action: Action,
    /// To what kind of thing: `device`, `change`, `record`, `image`.
    pub kind: &'static str,
    /// To which one.
    pub id: &'a str,
    /// Why, as a code.
    pub reason: Option<&'a str>,
    /// With which result, as a code.
    pub result: &'a str,
}

/// Notes an action. Call it in the transaction that carries the action out: both are there, or neither.
///
/// # Errors
/// When the database fails; the action must fail with it.
pub fn record(tx: &Tx<'_>, actor: &Actor, event: &Event<'_>, now_ms: i64) -> Result<(), DbError> {
    let tenant = &actor.tenant;
    let (number, previous) = queries::take_number(tx, tenant)?;
    let row = AuditRow {
        number,
        at_ms: now_ms,
        actor_id: actor.id.clone(),
        actor_role: actor.role.clone(),
        action: event.action.as_str().to_owned(),
        object_kind: event.kind.to_owned(),
        object_id: event.id.to_owned(),
        reason: event.reason.map(str::to_owned),
        request_id: actor.request_id.clone(),
        result: event.result.to_owned(),
        hash: [0; 32],
    };
    let hash = chain::hash(tenant, &previous, &row);
    queries::insert(tx, tenant, &row, &hash)?;
    queries::set_head(tx, tenant, &hash)
}
