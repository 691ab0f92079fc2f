//! `POST /students/device/{key}/end`: the owner ends the binding of a device of their own, because it is lost.

use axum::extract::State;
use muster_sync_core::DeviceKey;
use muster_sync_core::document::Code;
use serde::Deserialize;
use utoipa::ToSchema;

use super::decide::{end_binding, parse_reason};
use super::queries;
use super::view::Device;
use crate::app::App;
use crate::audit::Action;
use crate::auth::permission::DevicesBind;
use crate::auth::{Allowed, Proof};
use crate::config::Secret;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Json, Path, RequestId};

/// Why, when nobody says.
const REASON: &str = "lost";

/// Either the password or a code, and why.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EndDevice {
    /// The account's password; `current_password` is accepted for it.
    #[serde(alias = "current_password")]
    #[schema(value_type = Option<String>)]
    password: Option<Secret>,
    /// The code that the authenticator app shows.
    #[schema(value_type = Option<String>)]
    code: Option<Secret>,
    /// A code of at most 64 letters, digits, `-`, `_` and `.`; `lost` unless it says otherwise.
    reason: Option<String>,
}

/// Ends the binding of one's own device: it gets no tokens any more, and what it sends from now on waits for a person. What it
/// had sent stays. Another device is bound by asking for it, as the first one was.
#[utoipa::path(
    post, path = "/students/device/{key}/end", tag = "devices", request_body = EndDevice,
    params(("key" = String, Path, description = "the device's key, in hexadecimal")),
    responses(
        (status = 200, body = Device),
        (status = 403, description = "`INVALID_CREDENTIALS` or `MFA_CODE_INVALID`", body = ErrorEnvelope),
        (status = 404, description = "no device of one's own has this key", body = ErrorEnvelope),
        (status = 409, description = "`PASSWORD_NOT_SET`: set one by mail first; or `MFA_NOT_ENABLED`", body = ErrorEnvelope),
        (status = 429, description = "too many failures", body = ErrorEnvelope)
    )
)]
pub(super) async fn end_device(
    State(app): State<App>,
    allowed: Allowed<DevicesBind>,
    request: RequestId,
    Path(key): Path<String>,
    Json(body): Json<EndDevice>,
) -> AppResult<Json<Device>> {
    let EndDevice { password, code, reason } = body;
    let reason: Code = parse_reason(reason.as_deref().unwrap_or(REASON))?;
    Proof { password, code }.check(&app, &allowed, &request).await?;
    let missing = || AppError::not_found("the device");
    let key = DeviceKey::from_hex(&key).ok_or_else(missing)?;
    let tenant = allowed.tenant.clone();
    let found = app.db.read(move |tx: &Tx<'_>| queries::device(tx, &tenant, &key)).await;
    let row = found.map_err(|error: DbError| AppError::from(error))?;
    let row = row.filter(|row| row.owner.id == allowed.id).ok_or_else(missing)?;
    let ended = end_binding(&app, &allowed, (&request, Action::DeviceEnd), row, reason).await?;
    Ok(Json(ended.into()))
}
