//! `POST /auth/device/token`: a device that is bound gets tokens by its key alone.
//!
//! No password is asked for and none is hashed: ten thousand phones may come back at once, and one whose tokens expired long
//! ago still delivers what it has. Every check that costs the database comes after the signature.
//!
//! Whoever ends every sign-in of the account, or gets a new password, ends this as well, because a lost phone has its key.
//! The phone that its owner still has shows the key once more beside a sign-in by password, and goes on.

use axum::extract::State;
use data_encoding::BASE64;
use muster_sync_core::DeviceKey;
use muster_sync_core::signing::verify_strict;
use muster_sync_core::sync::auth::auth_message;
use serde::Deserialize;
use utoipa::ToSchema;

use super::challenge::{Challenge, parse_key};
use super::owner::DeviceStatus;
use super::queries;
use crate::app::App;
use crate::auth::{self, SignedIn, Tokens, User};
use crate::db::Tx;
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Json, RequestId};
use crate::ids::TenantId;
use crate::log::ServerKey;

/// An answer to a challenge.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    /// The device's public key in hexadecimal.
    device_key: String,
    /// As `POST /auth/device/challenge` gave it.
    challenge: String,
    /// The Ed25519 signature over context, server key and challenge, in base64.
    signature: String,
}

/// Signs the owner of a bound device in, on that device. A bearer token is needed only once after every sign-in of the account
/// was ended: of a sign-in that began by a password or a provider.
#[utoipa::path(
    post, path = "/auth/device/token", tag = "auth", security((), ("bearer" = [])), request_body = Answer,
    responses(
        (status = 200, body = Tokens),
        (status = 401, description = "`CHALLENGE_INVALID`: not made for this key, too old, used before, or wrongly signed; \
            `DEVICE_NOT_BOUND`: the key is the caller's, and binds nobody who may sign in; `SIGN_IN_REQUIRED`: every sign-in \
            was ended since, so sign in once in another way and send that token along", body = ErrorEnvelope),
        (status = 429, description = "too often", body = ErrorEnvelope)
    )
)]
pub(super) async fn token(
    State(app): State<App>,
    request: RequestId,
    signed_in: Result<SignedIn, AppError>,
    Json(answer): Json<Answer>,
) -> AppResult<Json<Tokens>> {
    let key = parse_key(&answer.device_key)?;
    let challenge = open(&app, &answer, &key)?;
    let (tenant, now_ms) = (TenantId::default_tenant(), app.now_ms());
    let asked = tenant.clone();
    // There is one writer, and nobody is counted here: a key that anybody may have made costs a read only.
    let look = move |tx: &Tx<'_>| {
        Ok::<_, AppError>((owner(tx, &asked, &key)?, auth::device_is_signed_out(tx, &asked, &key.0)?))
    };
    // A token that has expired is as good as none.
    let session = signed_in.ok().map(|signed_in| signed_in.session);
    match app.db.read(look).await? {
        (None, _) => return Err(not_bound(&key)),
        (Some(_), true) if session.is_none() => return Err(sign_in_required()),
        _ => {}
    }
    let begun = auth::begin_on_phone(&app, request.clone(), move |tx| {
        let Some(user) = owner(tx, &tenant, &key)? else { return Ok(None) };
        if !queries::use_challenge(tx, &challenge.nonce, challenge.expires_at_ms, now_ms)? {
            return Err(invalid());
        }
        if !auth::device_may_sign_in(tx, &user, &key.0, session)? {
            return Err(sign_in_required());
        }
        Ok(Some(user))
    });
    begun.await?.map(Json).ok_or_else(|| not_bound(&key))
}

fn not_bound(key: &DeviceKey) -> AppError {
    tracing::info!(device.key = %key, "An unbound device asked for tokens");
    AppError::unauthorized("DEVICE_NOT_BOUND", "this device is not bound; sign in and ask for it")
}

fn sign_in_required() -> AppError {
    let text = "every sign-in of this account was ended; sign in with the password once, nothing that waits is lost";
    AppError::unauthorized("SIGN_IN_REQUIRED", text)
}

/// The challenge that was answered, if its signature is that of the key.
fn open(app: &App, answer: &Answer, key: &DeviceKey) -> AppResult<Challenge> {
    let not_base64 = |field| AppError::field(field, "this is not base64");
    let challenge = BASE64.decode(answer.challenge.as_bytes()).map_err(|_| not_base64("challenge"))?;
    let signature = BASE64.decode(answer.signature.as_bytes()).map_err(|_| not_base64("signature"))?;
    let signature = signature.try_into().map_err(|_| AppError::field("signature", "a signature has 64 bytes"))?;
    let opened = Challenge::open(app, &challenge, key)?.ok_or_else(invalid)?;
    let message = auth_message(&ServerKey::of(app)?.public(), &challenge);
    verify_strict(key, &message, &signature).map_err(|refusal| invalid().with_cause(refusal))?;
    Ok(opened)
}

/// Whose device it is now.
fn owner(tx: &Tx<'_>, tenant: &TenantId, key: &DeviceKey) -> AppResult<Option<User>> {
    match queries::owner_of(tx, tenant, key)? {
        Some(owner) if owner.status == DeviceStatus::Bound => Ok(auth::find(tx, tenant, owner.user)?),
        _ => Ok(None),
    }
}

fn invalid() -> AppError {
    AppError::unauthorized("CHALLENGE_INVALID", "ask for another challenge and sign that one")
}
