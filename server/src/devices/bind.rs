//! `POST /students/device/bind`: a phone's signed request, or an older client's identifier.

use axum::extract::State;
use axum::http::StatusCode;
use data_encoding::{BASE64, HEXLOWER};
use muster_sync_core::change::{SignedChange, Valid, validate};
use muster_sync_core::document::{ChainStep, Writer, genesis, may_write};
use muster_sync_core::time::session_code::CodeKey;
use muster_sync_core::{DocumentName, Refusal};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::queries::{self, NewLegacyId, RequestRow};
use super::rules::{Obstacle, Ownership};
use super::view::DeviceRequest;
use super::{legacy, owner, project};
use crate::app::App;
use crate::audit::{self, Action, Actor, Event};
use crate::auth::permission::DevicesBind;
use crate::auth::{Allowed, CurrentUser};
use crate::budgets;
use crate::config::Secret;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::forks::Rival;
use crate::http::{Json, RequestId};
use crate::ids::{TenantId, UserId};
use crate::limits;
use crate::log::{self, ServerKey};
use crate::text;

/// Longest platform or model of an older client.
const LABEL_BYTES_MAX: usize = 64;

/// Either `change` and `signature`, or, from clients without a key, `imei`. Other fields are not looked at.
#[derive(Deserialize, ToSchema)]
pub(super) struct Bind {
    /// The change chunk that holds the request, in base64.
    change: Option<String>,
    /// Its 64 bytes of signature, in base64.
    signature: Option<String>,
    /// The code key that the request commits to, in base64; it is kept sealed.
    #[schema(value_type = Option<String>)]
    code_key: Option<Secret>,
    /// An opaque identifier of a device without a key; only a keyed hash of it is kept.
    imei: Option<String>,
    /// Beside `imei`: the platform.
    platform: Option<String>,
    /// Beside `imei`: the model.
    #[serde(alias = "device_model", alias = "device_name")]
    model: Option<String>,
}

/// The request as it stands now.
#[derive(Serialize, ToSchema)]
pub(super) struct Bound {
    request: DeviceRequest,
    /// The server's signed receipt; an identifier without a key has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<BindReceipt>,
}

/// The server's statement that the request is in its log.
#[derive(Serialize, ToSchema)]
pub(super) struct BindReceipt {
    log_index: i64,
    received_at_ms: i64,
    /// Base64.
    signature: String,
}

/// Asks for a device to be bound; doing so again changes nothing.
#[utoipa::path(
    post, path = "/students/device/bind", tag = "devices", request_body = Bind,
    responses(
        (status = 202, description = "an admin has to decide", body = Bound),
        (status = 200, description = "decided already", body = Bound),
        (status = 409, description = "`KEY_BOUND_ELSEWHERE`, `EQUIVOCATION` or `CHAIN_GAP`", body = ErrorEnvelope),
        (status = 413, description = "a request is larger than it may be", body = ErrorEnvelope),
        (status = 429, description = "`DEVICE_REQUESTS_FULL`", body = ErrorEnvelope),
        (status = 422, description = "`CHANGE_REFUSED`: `details.reason` says why", body = ErrorEnvelope)
    )
)]
pub(super) async fn bind(
    State(app): State<App>,
    allowed: Allowed<DevicesBind>,
    request: RequestId,
    Json(bind): Json<Bind>,
) -> AppResult<(StatusCode, Json<Bound>)> {
    let actor = allowed.actor(&request);
    let bound = match (&bind.change, &bind.signature, &bind.imei) {
        (Some(change), Some(signature), None) => {
            signed(&app, &allowed, actor, (change, signature), bind.code_key.as_ref()).await?
        }
        (None, None, Some(imei)) => identified(&app, &allowed, actor, imei, &bind).await?,
        _ => return Err(AppError::validation("send either change and signature, or imei")),
    };
    let waits = bound.request.status == "pending";
    Ok((if waits { StatusCode::ACCEPTED } else { StatusCode::OK }, Json(bound)))
}

/// What the transaction made of a signed request.
enum Admitted {
    /// In the log: its place, since when, and the request.
    InLog(i64, i64, Box<RequestRow>),
    /// Changes before it are missing.
    Gap,
    /// Another change has its place in the chain.
    Equivocation,
    /// It does not continue the chain.
    Refused(Refusal),
    /// The key belongs to somebody else.
    Elsewhere,
    /// The user has asked as often as anybody may.
    Full,
}

async fn signed(
    app: &App,
    user: &CurrentUser,
    actor: Actor,
    (change, signature): (&str, &str),
    code_key: Option<&Secret>,
) -> AppResult<Bound> {
    let not_base64 = |field| AppError::field(field, "this is not base64");
    let bytes = BASE64.decode(change.as_bytes()).map_err(|_| not_base64("change"))?;
    let signature = BASE64.decode(signature.as_bytes()).map_err(|_| not_base64("signature"))?;
    let signature = signature.try_into().map_err(|_| AppError::field("signature", "a signature has 64 bytes"))?;
    let name = DocumentName::DeviceBinding { user: user.id.to_string() };
    if bytes.len() > limits::BINDING_REQUEST_BYTES_MAX {
        let sentence = format!("a request for a device has at most {} bytes", limits::BINDING_REQUEST_BYTES_MAX);
        return Err(AppError::too_large(sentence).with_details(json!({ "reason": "change_too_large" })));
    }
    let valid = validate(user.tenant.as_str(), &name, &bytes, &signature).map_err(refused)?;
    let applicant = Writer::Applicant { user: &user.id.to_string(), key: valid.writer };
    may_write(&name, &valid.entry, applicant).map_err(refused)?;
    let sealed = seal(app, &user.tenant, &name, &valid, code_key).await?;

    let received_at_ms = app.now_ms();
    let (document, hash) = (valid.document, valid.hash);
    let (signed, channels) = (SignedChange { bytes, signature }, log::channels_of(&name, None));
    let written =
        app.db.write(move |tx: &Tx<'_>| admit(tx, &actor, &name, &valid, &signed, sealed.as_deref(), received_at_ms));
    match written.await.map_err(|error: DbError| AppError::from(error))? {
        Admitted::InLog(log_index, received_at_ms, request) => {
            log::announce(app, &user.tenant, &channels);
            app.wake_jobs();
            let key = ServerKey::of(app)?;
            let receipt = key.receipt(document, hash, log_index, received_at_ms);
            let signature = BASE64.encode(&receipt.signature);
            let receipt = BindReceipt { log_index, received_at_ms, signature };
            Ok(Bound { request: (*request).into(), receipt: Some(receipt) })
        }
        Admitted::Gap => Err(AppError::conflict("CHAIN_GAP", "changes of this key before this one are missing")),
        Admitted::Equivocation => {
            Err(AppError::conflict("EQUIVOCATION", "this key signed another change with the same number"))
        }
        Admitted::Refused(refusal) => Err(refused(refusal)),
        Admitted::Elsewhere => Err(conflict(Obstacle::BoundElsewhere)),
        Admitted::Full => Err(too_many_requests()),
    }
}

async fn seal(
    app: &App,
    tenant: &TenantId,
    name: &DocumentName,
    valid: &Valid,
    code_key: Option<&Secret>,
) -> AppResult<Option<Vec<u8>>> {
    let Some(code_key) = code_key else { return Ok(None) };
    let wrong = || AppError::field("code_key", "a code key is 32 bytes in base64");
    let plain = Zeroizing::new(BASE64.decode(code_key.reveal().as_bytes()).map_err(|_| wrong())?);
    let code_key = CodeKey(plain.as_slice().try_into().map_err(|_| wrong())?);
    owner::seal_code_key(app, tenant, name, valid, &code_key).await
}

/// The admission of `sync`, for the one sort of change that comes from a key which nobody knows.
fn admit(
    tx: &Tx<'_>,
    actor: &Actor,
    name: &DocumentName,
    valid: &Valid,
    signed: &SignedChange,
    sealed_code_key: Option<&[u8]>,
    received_at_ms: i64,
) -> Result<Admitted, DbError> {
    let tenant = &actor.tenant;
    let in_log = |log_index, received_at_ms| {
        let request = queries::request(tx, tenant, &valid.hash.0)?;
        let request = request.ok_or_else(|| DbError::Other("a request in the log was not projected".to_owned()))?;
        Ok(Admitted::InLog(log_index, received_at_ms, Box::new(request)))
    };
    if let Some((log_index, hash, received_at_ms)) = log::find(tx, valid.document, &valid.writer, valid.seq)? {
        if hash == valid.hash {
            return in_log(log_index, received_at_ms);
        }
        let sender = name_of(name.key()[0])?;
        owner::flag_fork(tx, tenant, &Rival { name, valid, signed, sender }, received_at_ms)?;
        return Ok(Admitted::Equivocation);
    }
    let [user, _] = name.key();
    let standing = queries::standing(tx, tenant, user, &valid.writer, None)?;
    if standing.is_some_and(|standing| standing.ownership == Ownership::Another) {
        return Ok(Admitted::Elsewhere);
    }
    let tip = log::tip(tx, valid.document, &valid.writer)?;
    match tip.unwrap_or_else(|| genesis::tip(valid.document, name.kind())).step(valid) {
        Ok(ChainStep::Next) => {}
        Ok(ChainStep::Gap | ChainStep::Behind) => return Ok(Admitted::Gap),
        Err(refusal) => return Ok(Admitted::Refused(refusal)),
    }
    if !owner::has_room_for_request(tx, tenant, name_of(user)?, received_at_ms)? {
        return Ok(Admitted::Full);
    }
    let channels = log::channels_of(name, None);
    let appended = log::append(tx, tenant, name, valid, signed, received_at_ms, &channels)?;
    project::project(tx, &appended, sealed_code_key)?;
    note(tx, actor, &valid.hash.0, received_at_ms)?;
    in_log(appended.log_index, received_at_ms)
}

fn name_of(user: &str) -> Result<UserId, DbError> {
    user.parse().map_err(|_| DbError::Other("a user id is malformed".to_owned()))
}

/// 429: every request stays for ever, so a person has a number of them.
fn too_many_requests() -> AppError {
    let sentence =
        "you have asked for devices as often as one person may; ask the administration, or try again tomorrow";
    AppError::new(StatusCode::TOO_MANY_REQUESTS, "DEVICE_REQUESTS_FULL", sentence)
        .retry_after((budgets::DAY_MS / 1000) as u32)
}

/// Notes that somebody asked.
fn note(tx: &Tx<'_>, actor: &Actor, hash: &[u8; 32], now_ms: i64) -> Result<(), DbError> {
    let (action, id) = (Action::DeviceAsk, HEXLOWER.encode(hash));
    audit::record(tx, actor, &Event { action, kind: "device_request", id: &id, reason: None, result: "asked" }, now_ms)
}

fn refused(refusal: Refusal) -> AppError {
    AppError::new(StatusCode::UNPROCESSABLE_ENTITY, "CHANGE_REFUSED", refusal.to_string())
        .with_details(json!({ "reason": refusal.code() }))
}

/// An obstacle as the caller sees it.
pub(super) fn conflict(obstacle: Obstacle) -> AppError {
    AppError::conflict(obstacle.code(), obstacle.sentence())
}

/// The other form: an identifier without a key.
async fn identified(app: &App, user: &CurrentUser, actor: Actor, imei: &str, bind: &Bind) -> AppResult<Bound> {
    let label = |field, text: &Option<String>| match text.as_deref().map(text::shown) {
        Some(text) if text.len() > LABEL_BYTES_MAX || text::has_controls(&text) => {
            Err(AppError::field(field, "at most 64 bytes, without control characters"))
        }
        text => Ok(text.filter(|text| !text.is_empty())),
    };
    let id_hash = legacy::legacy_hash(app, &user.tenant, imei)?;
    let new = NewLegacyId {
        hash: legacy::request_hash(user.id, &id_hash),
        id_hash,
        user: user.id,
        platform: label("platform", &bind.platform)?.unwrap_or_else(|| "unknown".to_owned()),
        model: label("model", &bind.model)?,
        now_ms: app.now_ms(),
    };
    let written = app.db.write(move |tx: &Tx<'_>| {
        let before = queries::request(tx, &actor.tenant, &new.hash)?;
        if before.is_none() && !owner::has_room_for_request(tx, &actor.tenant, new.user, new.now_ms)? {
            return Err(too_many_requests());
        }
        queries::ask_with_legacy_id(tx, &actor.tenant, &new)?;
        let row = queries::request(tx, &actor.tenant, &new.hash)?;
        let is_news = before.is_none_or(|before| Some(before.status) != row.as_ref().map(|row| row.status));
        if is_news {
            note(tx, &actor, &new.hash, new.now_ms)?;
        }
        Ok::<_, AppError>(row)
    });
    let row: Option<RequestRow> = written.await?;
    let row = row.ok_or_else(|| AppError::internal("a request that was just written is not there"))?;
    tracing::info!(user.id = %user.id, request = HEXLOWER.encode(&row.hash), "Asked for a device without a key");
    Ok(Bound { request: row.into(), receipt: None })
}
