//! An admin's answers: approve, deny, approve a reset, revoke.
//!
//! Over HTTP the server signs in the admin's name. The rules are asked before anything is written, and once more in the
//! transaction that holds the answer.

use axum::extract::State;
use data_encoding::HEXLOWER;
use muster_sync_core::document::{Binding, BindingAction, Code, Entry, Label, Reset, ResetAction};
use muster_sync_core::{ChangeHash, DeviceKey, DocumentName};
use serde::Deserialize;
use utoipa::ToSchema;

use super::bind::conflict;
use super::project::project;
use super::queries::{self, Decided, DeviceRow, RequestRow};
use super::rules::{Obstacle, RequestStatus, STAFF_DEVICES_MAX};
use super::view::{Device, DeviceRequest};
use crate::app::App;
use crate::audit::{self, Action, Actor, Event};
use crate::auth::permission::DevicesApprove;
use crate::auth::{self, Allowed, CurrentUser};
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Json, Path, RequestId};
use crate::ids::TenantId;
use crate::log;
use crate::mail::Notice;

/// Why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Approval {
    /// A code of at most 64 letters, digits, `-`, `_` and `.`.
    reason: Option<String>,
    /// Says that you know who asks, although nobody has confirmed their address.
    #[serde(default)]
    accept_unconfirmed: bool,
}

/// Why not.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Refused {
    /// A code of at most 64 letters, digits, `-`, `_` and `.`.
    reason: String,
}

/// Binds the device that asked; the same answer again changes nothing.
#[utoipa::path(
    post, path = "/admin/device-requests/{hash}/approve", tag = "devices", request_body = Approval,
    params(("hash" = String, Path, description = "the request, in hexadecimal")),
    responses(
        (status = 200, body = DeviceRequest),
        (status = 403, description = "`OWN_REQUEST`", body = ErrorEnvelope),
        (status = 409, description = "`OWNER_UNCONFIRMED`: send `accept_unconfirmed` if you know who asks; \
            `RESET_REQUIRED`, `ALREADY_DECIDED`, `REQUEST_SUPERSEDED`, `KEY_BOUND_ELSEWHERE` or `DEVICE_LIMIT`",
            body = ErrorEnvelope)
    )
)]
pub(super) async fn approve(
    State(app): State<App>,
    allowed: Allowed<DevicesApprove>,
    request: RequestId,
    Path(hash): Path<String>,
    Json(approval): Json<Approval>,
) -> AppResult<Json<DeviceRequest>> {
    let reason = approval.reason.as_deref().map(parse_reason).transpose()?;
    let said = Said { answer: Answer::Approve, accepts_unconfirmed: approval.accept_unconfirmed, reason };
    decide(&app, &allowed.actor(&request), &allowed, parse_hash(&hash)?, said).await.map(Json)
}

/// Refuses a device; the same answer again changes nothing.
#[utoipa::path(
    post, path = "/admin/device-requests/{hash}/deny", tag = "devices", request_body = Refused,
    params(("hash" = String, Path, description = "the request, in hexadecimal")),
    responses(
        (status = 200, body = DeviceRequest),
        (status = 403, description = "`OWN_REQUEST`", body = ErrorEnvelope),
        (status = 409, description = "`ALREADY_DECIDED` or `REQUEST_SUPERSEDED`", body = ErrorEnvelope)
    )
)]
pub(super) async fn deny(
    State(app): State<App>,
    allowed: Allowed<DevicesApprove>,
    request: RequestId,
    Path(hash): Path<String>,
    Json(refused): Json<Refused>,
) -> AppResult<Json<DeviceRequest>> {
    let reason = Some(parse_reason(&refused.reason)?);
    let said = Said { answer: Answer::Deny, accepts_unconfirmed: false, reason };
    decide(&app, &allowed.actor(&request), &allowed, parse_hash(&hash)?, said).await.map(Json)
}

/// Ends the binding of a device; what it sends from now on waits for a person.
#[utoipa::path(
    post, path = "/admin/devices/{key}/revoke", tag = "devices", request_body = Refused,
    params(("key" = String, Path, description = "the device's key, in hexadecimal")),
    responses((status = 200, body = Device), (status = 403, description = "`OWN_DEVICE`", body = ErrorEnvelope))
)]
pub(super) async fn revoke(
    State(app): State<App>,
    allowed: Allowed<DevicesApprove>,
    request: RequestId,
    Path(key): Path<String>,
    Json(refused): Json<Refused>,
) -> AppResult<Json<Device>> {
    let reason = parse_reason(&refused.reason)?;
    let missing = || AppError::not_found("the device");
    let key = DeviceKey::from_hex(&key).ok_or_else(missing)?;
    let tenant = allowed.tenant.clone();
    let found = app.db.read(move |tx: &Tx<'_>| queries::device(tx, &tenant, &key)).await;
    let row: DeviceRow = found.map_err(|error: DbError| AppError::from(error))?.ok_or_else(missing)?;
    if row.owner.id == allowed.id {
        return Err(AppError::forbidden("OWN_DEVICE", "another admin has to end the binding of your device"));
    }
    end_binding(&app, &allowed, (&request, Action::DeviceRevoke), row, reason).await.map(|row| Json(row.into()))
}

/// Ends the binding of a device in somebody's name, if it is bound: a signed entry, a row in the audit log, and a letter.
pub(super) async fn end_binding(
    app: &App,
    by: &CurrentUser,
    (request, action): (&RequestId, Action),
    row: DeviceRow,
    reason: Code,
) -> AppResult<DeviceRow> {
    if !row.bound {
        return Ok(row);
    }
    let (key, name) = (row.key, DocumentName::DeviceBinding { user: row.owner.id.to_string() });
    let given = Some(reason.clone());
    let binding = Binding { key, action: BindingAction::Revoke, of: None, reason: given, by: label(by)? };
    let entries = vec![(name.clone(), log::channels_of(&name, None), Entry::from(binding))];
    let (tenant, actor, now_ms) = (by.tenant.clone(), by.actor(request), app.now_ms());
    let ended = log::append_as_server(app, &by.tenant, entries, move |tx, appended| {
        appended.iter().try_for_each(|entry| project(tx, entry, None))?;
        let (id, reason) = (key.to_string(), Some(reason.as_str()));
        let event = Event { action, kind: "device", id: &id, reason, result: "revoked" };
        audit::record(tx, &actor, &event, now_ms)?;
        Ok(queries::device(tx, &tenant, &key)?)
    });
    let row = ended.await?.ok_or_else(|| AppError::not_found("the device"))?;
    app.wake_jobs();
    auth::look_again(app, row.owner.id).await?;
    tracing::info!(device.key = %key, user.id = %row.owner.id, by = %by.id, "Ended the binding of a device");
    Ok(row)
}

/// What an admin may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Bind it beside what the user has.
    Approve,
    /// Bind it instead of what the user has.
    Reset,
    /// Neither.
    Deny,
}

/// An answer as it was given.
pub(super) struct Said {
    pub(super) answer: Answer,
    /// Whether the admin knows who asks although nobody confirmed the address.
    pub(super) accepts_unconfirmed: bool,
    pub(super) reason: Option<Code>,
}

/// Answers a request, and says how it stands now.
pub(super) async fn decide(
    app: &App,
    actor: &Actor,
    admin: &CurrentUser,
    hash: [u8; 32],
    said: Said,
) -> AppResult<DeviceRequest> {
    let Said { answer, accepts_unconfirmed, reason } = said;
    let answer = (answer, accepts_unconfirmed);
    let tenant = admin.tenant.clone();
    let read = app.db.read(move |tx: &Tx<'_>| {
        let Some(row) = queries::request(tx, &tenant, &hash)? else { return Ok(None) };
        let others = queries::devices_of(tx, &tenant, row.owner.id, STAFF_DEVICES_MAX as u32)?;
        let verdict = judge(tx, &tenant, &row, answer)?;
        Ok::<_, DbError>(Some((row, others, verdict)))
    });
    let found = read.await.map_err(AppError::from)?;
    let (row, others, verdict) = found.ok_or_else(|| AppError::not_found("the request"))?;
    if row.owner.id == admin.id {
        return Err(own_request());
    }
    if verdict.map_err(refusal)? == Step::Nothing {
        return Ok(row.into());
    }
    let (answer, now_ms) = (answer.0, app.now_ms());
    let given = Given { actor: actor.clone(), now_ms, answer, accepts_unconfirmed, reason, by: label(admin)? };
    let decided = match row.key {
        None => decide_legacy(app, &row, given).await?,
        Some(key) => {
            let others = others.into_iter().filter(|other| other.bound && other.key != key).map(|other| other.key);
            decide_key(app, &row, key, others.collect(), given).await?
        }
    };
    app.wake_jobs();
    auth::look_again(app, row.owner.id).await?;
    tracing::info!(
        user.id = %row.owner.id, request = HEXLOWER.encode(&hash), by = %admin.id, status = decided.status.as_str(),
        "Answered a device request"
    );
    Ok(decided.into())
}

/// Whether there is anything to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The answer is new.
    Write,
    /// The same answer was given already.
    Nothing,
}

/// Why an answer is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// The rules say so.
    Obstacle(Obstacle),
    /// A reset was approved for what needs none.
    NotAReset,
    /// Nobody stands for whoever asked.
    Unconfirmed,
    /// The user is gone.
    NoUser,
}

fn judge(
    tx: &Tx<'_>,
    tenant: &TenantId,
    row: &RequestRow,
    (answer, accepts_unconfirmed): (Answer, bool),
) -> Result<Result<Step, Refusal>, DbError> {
    let standing = match &row.key {
        Some(key) => queries::standing(tx, tenant, &row.owner.id.to_string(), key, Some(&row.hash))?,
        None => queries::legacy_standing(tx, tenant, row)?,
    };
    let Some(standing) = standing else { return Ok(Err(Refusal::NoUser)) };
    let may = match (answer, row.status) {
        (Answer::Approve | Answer::Reset, RequestStatus::Approved) | (Answer::Deny, RequestStatus::Denied) => {
            return Ok(Ok(Step::Nothing));
        }
        (_, RequestStatus::Superseded) => Err(Obstacle::Superseded),
        (Answer::Deny, RequestStatus::Approved) => Err(Obstacle::DecidedOtherwise),
        (Answer::Deny, RequestStatus::Pending) => Ok(()),
        // A legacy identifier is one per user whatever the role: nothing tells two of them apart when they are used.
        (Answer::Approve, _) if row.key.is_none() && row.needs_reset() => Err(Obstacle::ResetRequired),
        (Answer::Approve, _) => standing.bind(),
        (Answer::Reset, RequestStatus::Pending) if !row.is_reset() => return Ok(Err(Refusal::NotAReset)),
        (Answer::Reset, _) => standing.reset(),
    };
    if may.is_ok() && answer != Answer::Deny && row.is_unconfirmed() && !accepts_unconfirmed {
        return Ok(Err(Refusal::Unconfirmed));
    }
    Ok(may.map(|()| Step::Write).map_err(Refusal::Obstacle))
}

fn refusal(refusal: Refusal) -> AppError {
    match refusal {
        Refusal::Obstacle(obstacle) => conflict(obstacle),
        Refusal::NotAReset => AppError::conflict("NOT_A_RESET", "there is no device to replace: approve the request"),
        Refusal::Unconfirmed => AppError::conflict("OWNER_UNCONFIRMED", auth::OWNER_UNCONFIRMED),
        Refusal::NoUser => AppError::not_found("the user"),
    }
}

/// Nobody answers for themselves.
pub(super) fn own_request() -> AppError {
    AppError::forbidden("OWN_REQUEST", "another admin has to answer your request")
}

/// An answer that will be written.
#[derive(Clone)]
struct Given {
    actor: Actor,
    now_ms: i64,
    answer: Answer,
    accepts_unconfirmed: bool,
    reason: Option<Code>,
    by: Label,
}

impl Given {
    /// Notes the answer in the audit log.
    fn record(&self, tx: &Tx<'_>, row: &RequestRow) -> Result<(), DbError> {
        let action = match self.answer {
            Answer::Approve => Action::DeviceApprove,
            Answer::Reset => Action::DeviceReset,
            Answer::Deny => Action::DeviceDeny,
        };
        let id = HEXLOWER.encode(&row.hash);
        let reason = self.reason.as_ref().map(Code::as_str);
        let result = match self.answer {
            Answer::Approve | Answer::Reset if row.is_unconfirmed() => "approved_unconfirmed",
            _ => row.status.as_str(),
        };
        let event = Event { action, kind: "device_request", id: &id, reason, result };
        audit::record(tx, &self.actor, &event, self.now_ms)
    }
}

/// Signs the answer into the user's document and projects it, in one transaction.
async fn decide_key(
    app: &App,
    row: &RequestRow,
    key: DeviceKey,
    others: Vec<DeviceKey>,
    given: Given,
) -> AppResult<RequestRow> {
    let name = DocumentName::DeviceBinding { user: row.owner.id.to_string() };
    let entries = entries(row, key, &others, &given);
    let entries = entries.into_iter().map(|entry| (name.clone(), log::channels_of(&name, None), entry)).collect();
    let (tenant, answer, hash) = (given.actor.tenant.clone(), given.answer, row.hash);
    let asked = (answer, given.accepts_unconfirmed);
    log::append_as_server(app, &tenant.clone(), entries, move |tx, appended| {
        let gone = || AppError::not_found("the request");
        let row = queries::request(tx, &tenant, &hash)?.ok_or_else(gone)?;
        judge(tx, &tenant, &row, asked)?.map_err(refusal)?;
        if answer == Answer::Reset && row.others_bound != others.len() as u64 {
            return Err(AppError::unavailable("BUSY", "the user's devices changed meanwhile; try again", 1));
        }
        appended.iter().try_for_each(|entry| project(tx, entry, None))?;
        let row = queries::request(tx, &tenant, &hash)?.ok_or_else(gone)?;
        given.record(tx, &row)?;
        Ok(row)
    })
    .await
}

/// What the document will say. A reset also says, key by key, which binding begins and which ends.
fn entries(row: &RequestRow, key: DeviceKey, others: &[DeviceKey], given: &Given) -> Vec<Entry> {
    let Given { answer, reason, by, .. } = given;
    let of = ChangeHash(row.hash);
    let binding = |key, action, of| Entry::from(Binding { key, action, of, reason: reason.clone(), by: by.clone() });
    let reset = |action| Entry::from(Reset { of, action, reason: reason.clone(), by: by.clone() });
    match answer {
        Answer::Approve => vec![binding(key, BindingAction::Bind, Some(of))],
        Answer::Deny if row.is_reset() => vec![reset(ResetAction::Deny)],
        Answer::Deny => vec![binding(key, BindingAction::Deny, Some(of))],
        Answer::Reset => {
            let revoked = others.iter().map(|other| binding(*other, BindingAction::Revoke, None));
            let ends = revoked.collect::<Vec<_>>();
            [vec![reset(ResetAction::Approve)], ends, vec![binding(key, BindingAction::Bind, Some(of))]].concat()
        }
    }
}

/// Answers for an identifier without a key: rows only, there is no document to sign.
async fn decide_legacy(app: &App, row: &RequestRow, given: Given) -> AppResult<RequestRow> {
    let hash = row.hash;
    let written = app.db.write(move |tx: &Tx<'_>| {
        let Given { actor, now_ms, answer, accepts_unconfirmed, reason, by } = &given;
        let (tenant, answer, now_ms) = (&actor.tenant, *answer, *now_ms);
        let gone = || AppError::not_found("the request");
        let row = queries::request(tx, tenant, &hash)?.ok_or_else(gone)?;
        judge(tx, tenant, &row, (answer, *accepts_unconfirmed))?.map_err(refusal)?;
        if answer == Answer::Reset {
            queries::supersede_legacy_ids(tx, tenant, row.owner.id, &hash, now_ms)?;
        }
        let status = if answer == Answer::Deny { RequestStatus::Denied } else { RequestStatus::Approved };
        let reason = reason.as_ref().map(Code::as_str);
        let decided = Decided { status, by: by.as_str(), reason, now_ms };
        queries::decide_by_hash(tx, tenant, &row.owner.id.to_string(), &hash, &decided)?;
        if answer != Answer::Deny {
            auth::notify(tx, tenant, row.owner.id, Notice::DeviceBound, now_ms)?;
        }
        let row = queries::request(tx, tenant, &hash)?.ok_or_else(gone)?;
        given.record(tx, &row)?;
        Ok(row)
    });
    written.await
}

fn label(admin: &CurrentUser) -> AppResult<Label> {
    Label::new(&admin.id.to_string()).ok_or_else(|| AppError::internal("a user id is no label"))
}

/// Reads a request's name.
pub(super) fn parse_hash(hash: &str) -> AppResult<[u8; 32]> {
    let bytes = HEXLOWER.decode(hash.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| AppError::not_found("the request"))
}

/// Reads a reason code.
pub(super) fn parse_reason(reason: &str) -> AppResult<Code> {
    Code::new(reason)
        .ok_or_else(|| AppError::field("reason", "a reason is a code of 1 to 64 letters, digits, - _ and ."))
}
