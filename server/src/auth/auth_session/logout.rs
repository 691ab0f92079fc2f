//! `POST /auth/logout` and `POST /auth/logout-all`: the end of a session, or of all.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::end::{end_all_and_devices, end_session};
use super::queries;
use super::refresh_token::RefreshToken;
use super::{EndReason, begin};
use crate::app::App;
use crate::audit::{self, Action, Event};
use crate::auth::current_user::{CurrentUser, SignedIn};
use crate::auth::state::AuthState;
use crate::auth::users::{self, User, remember};
use crate::auth::{limits, queries as user_queries};
use crate::config::Secret;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Json, OptionalJson, RequestId};
use crate::ids::{TenantId, UserId};
use crate::mail::{self, Notice};
use crate::telemetry::SecurityEvent;

/// Which session to end; without it, the one of the access token.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::auth) struct Logout {
    /// A refresh token of the session.
    #[schema(value_type = Option<String>)]
    refresh_token: Option<Secret>,
}

/// What came of it.
#[derive(Serialize, ToSchema)]
pub(in crate::auth) struct SignedOut {
    /// Always `signed_out`.
    status: &'static str,
}

const SIGNED_OUT: Json<SignedOut> = Json(SignedOut { status: "signed_out" });

/// Ends the session of a refresh token, of the access token, or of both; one that has ended already stays ended.
#[utoipa::path(
    post, path = "/auth/logout", tag = "auth", security((), ("bearer" = [])), request_body = Option<Logout>,
    responses(
        (status = 200, body = SignedOut),
        (status = 401, description = "neither a refresh token nor a valid access token", body = ErrorEnvelope)
    )
)]
pub(in crate::auth) async fn logout(
    State(app): State<App>,
    request: RequestId,
    signed_in: Result<SignedIn, AppError>,
    OptionalJson(body): OptionalJson<Logout>,
) -> AppResult<Json<SignedOut>> {
    // A missing body is one without a refresh token: two of the sources send none.
    let Logout { refresh_token } = body.unwrap_or_default();
    match (refresh_token, signed_in) {
        (None, Err(refused)) => return Err(refused),
        (None, Ok(signed_in)) => end_by_access_token(&app, &signed_in, &request).await?,
        (Some(token), signed_in) => {
            end_by_refresh_token(&app, &token, &request).await?;
            if let Ok(signed_in) = signed_in {
                end_by_access_token(&app, &signed_in, &request).await?;
            }
        }
    }
    Ok(SIGNED_OUT)
}

async fn end_by_access_token(app: &App, signed_in: &SignedIn, request: &RequestId) -> AppResult<()> {
    let session = signed_in.session;
    let row = app.db.read(move |tx: &Tx<'_>| queries::find(tx, session)).await;
    match row.map_err(|error: DbError| AppError::from(error))? {
        Some(row) => end_session(app, &row, EndReason::SignOut, request).await.map(drop),
        // A token that belongs to no session ends with all others.
        None => sign_out_everywhere(app, &signed_in.user.tenant, signed_in.user.id, request).await,
    }
}

/// A token that nobody made, or whose session is forgotten, has nothing to end.
async fn end_by_refresh_token(app: &App, token: &Secret, request: &RequestId) -> AppResult<()> {
    let Some(token) = RefreshToken::parse(token.reveal()) else { return Ok(()) };
    let session = token.session();
    let row = app.db.read(move |tx: &Tx<'_>| queries::find(tx, session)).await;
    let Some(row) = row.map_err(|error: DbError| AppError::from(error))? else { return Ok(()) };
    let keys = &AuthState::of(app)?.refresh_keys;
    if token.leads_to(&row.token_hash, row.generation, limits::REFRESH_CHAIN_STEPS_MAX, keys) {
        end_session(app, &row, EndReason::SignOut, request).await?;
    }
    Ok(())
}

/// Ends every session and every token of the user.
#[utoipa::path(
    post, path = "/auth/logout-all", tag = "auth", responses((status = 200, body = SignedOut))
)]
pub(in crate::auth) async fn logout_all(
    State(app): State<App>,
    current: CurrentUser,
    request: RequestId,
) -> AppResult<Json<SignedOut>> {
    sign_out_everywhere(&app, &current.tenant, current.id, &request).await?;
    Ok(SIGNED_OUT)
}

async fn sign_out_everywhere(app: &App, tenant: &TenantId, id: UserId, request: &RequestId) -> AppResult<()> {
    let (tenant, request_id, now_ms) = (tenant.clone(), request.as_str().to_owned(), app.now_ms());
    let ended = app.db.write(move |tx: &Tx<'_>| {
        user_queries::raise_epoch(tx, &tenant, id, now_ms)?;
        end_all_and_devices(tx, &tenant, id, now_ms)?;
        let Some(user) = users::find(tx, &tenant, id)? else { return Ok(None) };
        let text = id.to_string();
        let event = Event { action: Action::SignOutEverywhere, kind: "user", id: &text, reason: None, result: "ended" };
        audit::record(tx, &begin::actor(&user, &request_id), &event, now_ms)?;
        mail::notify(tx, &tenant, &user.email, Notice::SignedOutEverywhere, now_ms)?;
        Ok::<Option<User>, DbError>(Some(user))
    });
    if let Some(user) = ended.await.map_err(AppError::from)? {
        remember(app, &user)?;
        app.security_event(SecurityEvent::SignedOut, request.as_str(), Some(&id.to_string()));
    }
    Ok(())
}
