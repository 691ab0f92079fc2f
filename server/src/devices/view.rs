//! Devices and requests as people see them, with their state in words.

use data_encoding::HEXLOWER;
use serde::Serialize;
use utoipa::ToSchema;

use super::queries::{DeviceRow, RequestRow};
use super::rules::{RequestStatus, STUDENT_DEVICES_MAX, devices_max};
use crate::auth::ShownUser;
use crate::text;

/// A request to be bound.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeviceRequest {
    /// Names the request, in hexadecimal.
    pub(super) hash: String,
    /// `key`, or `legacy` for an identifier such as an IMEI that no key stands behind.
    kind: &'static str,
    user: ShownUser,
    /// The key that asks, in hexadecimal.
    key: Option<String>,
    /// `bind`, or `reset` when it would replace the device that the user has.
    purpose: &'static str,
    /// Where the phone says that its key is: `software` or `hardware`.
    level: Option<String>,
    platform: String,
    model: Option<String>,
    /// `pending`, `approved`, `denied` or `superseded`.
    pub(super) status: &'static str,
    /// The status in words.
    state: &'static str,
    /// What to know before deciding, or why a decision had no effect: a code.
    note: Option<String>,
    /// Whether two different changes of this key claimed one place in a chain: a copied key.
    chain_fork: bool,
    /// Whether nobody had confirmed that the owner's address is theirs when it was asked: approving it takes
    /// `accept_unconfirmed`.
    unconfirmed: bool,
    /// How many bound devices of the user it would stand beside, or replace.
    other_devices: u64,
    /// How many devices of the user are no longer bound.
    earlier_devices: u64,
    /// When it was asked.
    #[serde(rename = "requested_at", serialize_with = "crate::clock::as_iso")]
    #[schema(value_type = String, format = DateTime)]
    requested_at_ms: i64,
    /// When an admin decided.
    #[serde(rename = "decided_at", serialize_with = "crate::clock::as_iso_or_null")]
    #[schema(value_type = Option<String>, format = DateTime)]
    decided_at_ms: Option<i64>,
    /// The admin.
    decided_by: Option<String>,
    /// A code.
    reason: Option<String>,
}

impl RequestRow {
    /// Whether it takes a reset to approve it.
    pub(super) fn needs_reset(&self) -> bool {
        self.others_bound > 0 && (self.key.is_none() || devices_max(self.role) == STUDENT_DEVICES_MAX)
    }

    /// Whether nobody stood for whoever asked.
    pub(super) fn is_unconfirmed(&self) -> bool {
        self.owner.was_nobodys(self.created_at_ms)
    }

    /// Whether a reset is what it asks for.
    pub(super) fn is_reset(&self) -> bool {
        self.asks_reset || self.needs_reset()
    }
}

impl From<RequestRow> for DeviceRequest {
    fn from(row: RequestRow) -> Self {
        let waits = row.status == RequestStatus::Pending;
        let state = match row.status {
            RequestStatus::Pending if row.needs_reset() => "waits until an admin lets it replace the present device",
            RequestStatus::Pending => "waits for an admin",
            RequestStatus::Approved => "approved",
            RequestStatus::Denied => "an admin said no",
            RequestStatus::Superseded => "a newer request or device took its place",
        };
        let unconfirmed = row.is_unconfirmed();
        let resets = if waits { row.is_reset() } else { row.asks_reset };
        Self {
            hash: HEXLOWER.encode(&row.hash),
            kind: if row.key.is_some() { "key" } else { "legacy" },
            key: row.key.map(|key| key.to_string()),
            purpose: if resets { "reset" } else { "bind" },
            user: row.owner,
            level: row.level,
            // Signed as bytes, and shown as people may see them.
            platform: text::shown(&row.platform),
            model: row.model.as_deref().map(text::shown),
            status: row.status.as_str(),
            state,
            note: row.note,
            chain_fork: row.forked_at_ms.is_some(),
            unconfirmed,
            other_devices: row.others_bound,
            earlier_devices: row.earlier_devices,
            requested_at_ms: row.created_at_ms,
            decided_at_ms: row.decided_at_ms,
            decided_by: row.decided_by,
            reason: row.reason,
        }
    }
}

/// A device that is, or was, bound.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Device {
    /// The key in hexadecimal.
    key: String,
    user: ShownUser,
    /// `bound` or `revoked`.
    status: &'static str,
    /// The status in words.
    state: &'static str,
    /// Where the phone says that its key is: `software` or `hardware`.
    level: String,
    platform: String,
    model: Option<String>,
    /// Whether the server can compute the codes of sessions that this phone opens.
    has_code_key: bool,
    /// Whether two different changes of this key claimed one place in a chain: a copied key.
    chain_fork: bool,
    /// Since when it is bound.
    #[serde(rename = "bound_at", serialize_with = "crate::clock::as_iso")]
    #[schema(value_type = String, format = DateTime)]
    bound_at_ms: i64,
    /// The admin.
    bound_by: String,
    /// Since when it is no longer bound.
    #[serde(rename = "revoked_at", serialize_with = "crate::clock::as_iso_or_null")]
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at_ms: Option<i64>,
    /// The admin.
    revoked_by: Option<String>,
    /// A code.
    reason: Option<String>,
}

impl From<DeviceRow> for Device {
    fn from(row: DeviceRow) -> Self {
        let state = match (row.bound, row.forked_at_ms.is_some()) {
            (true, false) => "belongs to this account",
            (true, true) => "belongs to this account; its key may have been copied",
            (false, _) => "no longer belongs to this account; what it sends waits for a person",
        };
        Self {
            key: row.key.to_string(),
            user: row.owner,
            status: if row.bound { "bound" } else { "revoked" },
            state,
            level: row.level,
            // Signed as bytes, and shown as people may see them.
            platform: text::shown(&row.platform),
            model: row.model.as_deref().map(text::shown),
            has_code_key: row.has_code_key,
            chain_fork: row.forked_at_ms.is_some(),
            bound_at_ms: row.bound_at_ms,
            bound_by: row.bound_by,
            revoked_at_ms: row.revoked_at_ms,
            revoked_by: row.revoked_by,
            reason: row.revoke_reason,
        }
    }
}
