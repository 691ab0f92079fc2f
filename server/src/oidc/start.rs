//! `GET /auth/oauth/{provider}/start`: to the provider, with a cookie that binds the sign-in to this browser.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::flow::Flow;
use super::providers::Provider;
use super::state::{self, OidcState};
use super::{limits, verify};
use crate::app::App;
use crate::auth::ClientClass;
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Json, Path, Query, RequestId};

/// Who begins, and where the browser goes in the end.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Start {
    /// Where the browser goes with a code for `POST /auth/oauth/exchange`, after `#`: one of the allowed addresses,
    /// byte for byte. Without it the callback itself answers with tokens.
    redirect_uri: Option<String>,
    /// `phone` or `web`, which is the default.
    #[serde(default)]
    #[param(inline)]
    client: ClientClass,
    /// SHA-256 of a `code_verifier` in base64url, which the exchange then asks for. An app's own scheme needs it, since
    /// another app could claim that scheme.
    code_challenge: Option<String>,
    /// `S256`, which is the only one.
    code_challenge_method: Option<String>,
}

/// Where to go.
#[derive(Serialize, ToSchema)]
pub(super) struct Started {
    /// At the provider. The reply's cookie must be in the same browser.
    authorization_url: String,
    /// Seconds until it is too late to come back.
    expires_in: u32,
}

/// Begins a sign-in.
#[utoipa::path(
    get, path = "/auth/oauth/{provider}/start", tag = "oauth", security(()),
    params(("provider" = String, Path, description = "as in `/auth/oauth/providers`"), Start),
    responses(
        (status = 200, body = Started, description = "with `Accept: application/json`"),
        (status = 302, description = "to the provider", headers(("Location" = String, description = "the provider's page"))),
        (status = 404, description = "no such provider", body = ErrorEnvelope),
        (status = 422, description = "nobody is sent back to that address", body = ErrorEnvelope),
        (status = 503, description = "the provider does not answer", body = ErrorEnvelope)
    )
)]
pub(super) async fn start(
    State(app): State<App>,
    request: RequestId,
    Path(name): Path<String>,
    Query(start): Query<Start>,
    headers: HeaderMap,
) -> AppResult<Response> {
    let state = OidcState::of(&app)?;
    let provider = state.provider(&name)?;
    check(state, &start)?;
    let begun = Flow::begin(provider, start.client, app.now_ms(), &*app.entropy);
    let flow = Flow { redirect_uri: start.redirect_uri, challenge: start.code_challenge, ..begun };
    let (started, cookie) = begin(&app, provider, &flow, &request).await?;
    let mut response = match wants_json(&headers) {
        true => Json(started).into_response(),
        false => to(&started.authorization_url)?,
    };
    response.headers_mut().append(header::SET_COOKIE, cookie);
    Ok(response)
}

fn check(state: &OidcState, start: &Start) -> AppResult<()> {
    if let Some(uri) = &start.redirect_uri {
        state.allowed(uri)?;
        if !uri.starts_with("http") && start.code_challenge.is_none() {
            return Err(AppError::field("code_challenge", "needed where an app takes the sign-in over"));
        }
    }
    if let Some(challenge) = &start.code_challenge {
        let is_digest = data_encoding::BASE64URL_NOPAD.decode(challenge.as_bytes()).is_ok_and(|hash| hash.len() == 32);
        if start.redirect_uri.is_none() || !is_digest {
            return Err(AppError::field("code_challenge", "expected a SHA-256 in base64url, with a redirect_uri"));
        }
    }
    match start.code_challenge_method.as_deref() {
        None | Some("S256") => Ok(()),
        Some(_) => Err(AppError::field("code_challenge_method", "expected S256")),
    }
}

/// The address at the provider, and the cookie.
pub(super) async fn begin(
    app: &App,
    provider: &Provider,
    flow: &Flow,
    request: &RequestId,
) -> AppResult<(Started, HeaderValue)> {
    let url = verify::authorization_url(provider, flow, state::times(app)).await.map_err(|refusal| {
        refusal.log(app, &provider.name, request);
        refusal.error
    })?;
    let expires_in = app.config.oauth.oauth_state_ttl.min(app.config.oauth.oauth_nonce_ttl);
    let cookie = OidcState::of(app)?.flow_key.cookie(provider, flow, expires_in, &*app.entropy)?;
    if cookie.len() > limits::COOKIE_BYTES_MAX {
        return Err(AppError::internal("the cookie is too large"));
    }
    Ok((Started { authorization_url: url.to_string(), expires_in }, cookie))
}

fn wants_json(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepted.contains("application/json") && !accepted.contains("text/html")
}

/// A redirect.
pub(super) fn to(address: &str) -> AppResult<Response> {
    let location = HeaderValue::from_str(address).map_err(AppError::internal)?;
    Ok((StatusCode::FOUND, [(header::LOCATION, location)]).into_response())
}
