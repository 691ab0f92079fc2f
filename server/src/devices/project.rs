//! What an entry of a device-binding document changes in `devices` and `device_requests`.
//!
//! The rules stand here, not in the handlers: a binding that an admin's phone signed offline has the effect of one that
//! was made over HTTP. An entry that may have no effect is noted on the request that it is about.

use muster_sync_core::document::{Binding, BindingAction, Entry, Request, RequestPurpose, Reset, ResetAction};
use muster_sync_core::{DeviceKey, DocumentName};

use super::queries::{self, Decided, NewBinding, NewRequest, Revoked};
use super::rules::{Obstacle, Ownership, RequestStatus, Standing, requests_max};
use crate::auth;
use crate::db::{DbError, Tx};
use crate::ids::TenantId;
use crate::jobs;
use crate::log::Appended;
use crate::mail::Notice;

/// The request commits to a code key that did not come with it, or another one came.
const NOTE_CODE_KEY_MISSING: &str = "CODE_KEY_MISSING";

/// Where an entry stands: the tenant, the user whose document it is, and when the server had it.
struct Place<'a> {
    tenant: &'a TenantId,
    user: &'a str,
    now_ms: i64,
}

/// Projects an entry of `requests`, `bindings` or `resets`; any other entry changes nothing here.
///
/// `code_key` is what [`super::seal_code_key`] made of the key that came beside a request.
///
/// # Errors
/// When the database fails.
pub fn project(tx: &Tx<'_>, appended: &Appended, code_key: Option<&[u8]>) -> Result<(), DbError> {
    let DocumentName::DeviceBinding { user } = &appended.name else { return Ok(()) };
    let place = Place { tenant: &appended.tenant, user, now_ms: appended.received_at_ms };
    match &appended.valid.entry {
        Entry::Requests(request) => requested(tx, &place, &appended.hash().0, request, code_key),
        Entry::Bindings(binding) => match binding.action {
            BindingAction::Bind => bound(tx, &place, binding),
            BindingAction::Revoke => {
                let revoked = Revoked { by: binding.by.as_str(), reason: reason(binding), now_ms: place.now_ms };
                if queries::revoke(tx, place.tenant, place.user, &binding.key, &revoked)? {
                    tell(tx, &place, Notice::DeviceEnded)?;
                }
                sign_out(tx, &place)
            }
            BindingAction::Deny => denied(tx, &place, binding),
        },
        Entry::Resets(reset) => answered(tx, &place, reset),
        _ => Ok(()),
    }
}

fn reason(binding: &Binding) -> Option<&str> {
    binding.reason.as_ref().map(|reason| reason.as_str())
}

fn requested(
    tx: &Tx<'_>,
    place: &Place<'_>,
    hash: &[u8; 32],
    request: &Request,
    code_key: Option<&[u8]>,
) -> Result<(), DbError> {
    let Some(standing) = queries::standing(tx, place.tenant, place.user, &request.key, None)? else {
        return without_user(place, &request.key);
    };
    let bound = standing.ownership == Ownership::Same { bound: true };
    let note = match standing.ownership {
        Ownership::Another => Some(Obstacle::BoundElsewhere.code()),
        _ if request.code_key_hash.is_some() && code_key.is_none() => Some(NOTE_CODE_KEY_MISSING),
        _ => None,
    };
    let new = NewRequest {
        hash,
        user: place.user,
        request,
        // Whatever the phone calls it: a second device of a student replaces the first one, or nothing.
        purpose: if standing.needs_reset() { RequestPurpose::Reset } else { request.purpose },
        sealed_code_key: code_key,
        status: if bound { RequestStatus::Approved } else { RequestStatus::Pending },
        note,
        now_ms: place.now_ms,
    };
    queries::insert_request(tx, place.tenant, &new)?;
    if bound {
        return queries::complete_device(tx, place.tenant, &new);
    }
    queries::supersede_older(tx, place.tenant, &new, requests_max(standing.role))
}

fn bound(tx: &Tx<'_>, place: &Place<'_>, binding: &Binding) -> Result<(), DbError> {
    let of = binding.of.as_ref().map(|hash| &hash.0);
    let Some(standing) = queries::standing(tx, place.tenant, place.user, &binding.key, of)? else {
        return without_user(place, &binding.key);
    };
    match standing.bind() {
        Ok(()) => bind(tx, place, (&binding.key, &standing), binding.by.as_str(), reason(binding)),
        Err(obstacle) => without_effect(tx, place, &binding.key, obstacle),
    }
}

/// Binds the key, approves what asked for it, has looked at what waited for it, and tells its user.
fn bind(
    tx: &Tx<'_>,
    place: &Place<'_>,
    (key, before): (&DeviceKey, &Standing),
    by: &str,
    reason: Option<&str>,
) -> Result<(), DbError> {
    let new = NewBinding { key, user: place.user, by, now_ms: place.now_ms };
    queries::bind(tx, place.tenant, &new)?;
    let decided = Decided { status: RequestStatus::Approved, by, reason, now_ms: place.now_ms };
    queries::decide_by_key(tx, place.tenant, place.user, key, &decided)?;
    jobs::enqueue(tx, place.tenant, super::RELEASE_JOB, &key.0, place.now_ms)?;
    if before.ownership == (Ownership::Same { bound: true }) {
        return Ok(());
    }
    tell(tx, place, Notice::DeviceBound)
}

/// Tells the user, if the document is one of somebody who has an account.
fn tell(tx: &Tx<'_>, place: &Place<'_>, event: Notice) -> Result<(), DbError> {
    place.user.parse().map_or(Ok(()), |user| auth::notify(tx, place.tenant, user, event, place.now_ms))
}

fn denied(tx: &Tx<'_>, place: &Place<'_>, binding: &Binding) -> Result<(), DbError> {
    let decided = Decided {
        status: RequestStatus::Denied,
        by: binding.by.as_str(),
        reason: reason(binding),
        now_ms: place.now_ms,
    };
    match &binding.of {
        Some(of) => queries::decide_by_hash(tx, place.tenant, place.user, &of.0, &decided),
        None => queries::decide_by_key(tx, place.tenant, place.user, &binding.key, &decided),
    }
}

/// An approved reset replaces every device of the user by the one that asked; the bindings written beside it say the
/// same once more, key by key, for whoever reads only those.
fn answered(tx: &Tx<'_>, place: &Place<'_>, reset: &Reset) -> Result<(), DbError> {
    let (by, reason) = (reset.by.as_str(), reset.reason.as_ref().map(|reason| reason.as_str()));
    if reset.action == ResetAction::Deny {
        let decided = Decided { status: RequestStatus::Denied, by, reason, now_ms: place.now_ms };
        return queries::decide_by_hash(tx, place.tenant, place.user, &reset.of.0, &decided);
    }
    let Some(key) = queries::key_of_request(tx, place.tenant, place.user, &reset.of.0)? else {
        tracing::warn!(user.id = place.user, request = %reset.of, "A reset names no known request and had no effect");
        return Ok(());
    };
    let Some(standing) = queries::standing(tx, place.tenant, place.user, &key, Some(&reset.of.0))? else {
        return without_user(place, &key);
    };
    // What came after the first answer, such as a second phone of a lecturer, stays.
    if standing.request == Some(RequestStatus::Approved) {
        return Ok(());
    }
    match standing.reset() {
        Ok(()) => {
            let revoked = Revoked { by, reason: Some("reset"), now_ms: place.now_ms };
            queries::revoke_others(tx, place.tenant, place.user, &key, &revoked)?;
            sign_out(tx, place)?;
            bind(tx, place, (&key, &standing), by, reason)
        }
        Err(obstacle) => without_effect(tx, place, &key, obstacle),
    }
}

/// A phone that is not the user's any more loses its tokens with the binding; another one gets new ones by its key.
fn sign_out(tx: &Tx<'_>, place: &Place<'_>) -> Result<(), DbError> {
    match place.user.parse() {
        Ok(user) => auth::end_on_phones(tx, place.tenant, user, place.now_ms),
        // Such a user has no account, and nobody has tokens of it.
        Err(_) => Ok(()),
    }
}

fn without_effect(tx: &Tx<'_>, place: &Place<'_>, key: &DeviceKey, obstacle: Obstacle) -> Result<(), DbError> {
    let why = obstacle.sentence();
    tracing::warn!(user.id = place.user, device.key = %key, reason = obstacle.code(), "A binding had no effect: {why}");
    queries::note(tx, place.tenant, place.user, key, obstacle.code())
}

fn without_user(place: &Place<'_>, key: &DeviceKey) -> Result<(), DbError> {
    tracing::warn!(user.id = place.user, device.key = %key, "A device-binding document of nobody had no effect");
    Ok(())
}
