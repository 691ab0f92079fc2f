//! `GET /auth/oauth/{provider}/callback`: the browser comes back from the provider.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use openidconnect::url::form_urlencoded;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::arrive::{self, Arrived};
use super::fetch::Asking;
use super::flow::{self, Flow};
use super::providers::Provider;
use super::refusal::Refusal;
use super::state::{self, OidcState};
use super::{limits, queries, start, verify};
use crate::app::App;
use crate::auth::rates::{self, Key, Rate};
use crate::auth::{Method, SignIn, SignInReply, complete_sign_in};
use crate::db::DbError;
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{ClientIp, Json, Path, Query, RequestId};

/// What the provider sends back with the browser; it may add more.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Returned {
    /// The same as it was sent.
    state: Option<String>,
    /// For the ID token.
    code: Option<String>,
    /// Instead of the code.
    error: Option<String>,
    /// Who sends it (RFC 9207).
    iss: Option<String>,
}

/// What came of a sign-in that began without an address to go back to.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum Ended {
    /// The identity opens an account.
    SignedIn(SignInReply),
    /// It was linked to the account of whoever asked for that.
    Linked(Linked),
}

/// An account has one more way in.
#[derive(Serialize, ToSchema)]
struct Linked {
    /// The provider's name.
    linked: String,
}

/// Ends a sign-in: with tokens, or on the way to the address that was given at its start.
#[utoipa::path(
    get, path = "/auth/oauth/{provider}/callback", tag = "oauth", security(()),
    params(("provider" = String, Path, description = "as in `/auth/oauth/providers`"), Returned),
    responses(
        (status = 200, body = Ended, description = "`linked` where a link was asked for"),
        (status = 302, description = "to the given address, after `#`: `code`, or `linked`, or `error` with the code of the \
            refusal, and with ACCOUNT_LINK_REQUIRED also `link_token`",
            headers(("Location" = String, description = "the given address"))),
        (status = 400, description = "OAUTH_STATE_INVALID: not begun in this browser, or used, or too old", body = ErrorEnvelope),
        (status = 401, description = "OAUTH_TOKEN_INVALID: the provider's answer proves nothing", body = ErrorEnvelope),
        (status = 403, description = "OAUTH_DENIED, OAUTH_EMAIL_UNPROVEN, OAUTH_SIGN_UP_CLOSED or ACCOUNT_DISABLED",
            body = ErrorEnvelope),
        (status = 409, description = "ACCOUNT_LINK_REQUIRED: its `details.link_token` is for `POST /auth/oauth/link`; or \
            OAUTH_IDENTITY_TAKEN", body = ErrorEnvelope),
        (status = 429, description = "too many failures of this address", body = ErrorEnvelope),
        (status = 503, description = "the provider does not answer", body = ErrorEnvelope)
    )
)]
pub(super) async fn callback(
    State(app): State<App>,
    request: RequestId,
    Path(name): Path<String>,
    Query(returned): Query<Returned>,
    client: ClientIp,
    headers: HeaderMap,
) -> AppResult<Response> {
    let provider = OidcState::of(&app)?.provider(&name)?;
    // Each way back costs a question to the provider, and a failure costs a row.
    let tries = [(Rate::OauthFailures, Key::Address(client))];
    // Before this succeeded, nothing that came may decide where the browser goes, or leave a row.
    let begun = begun(&app, provider, &headers, returned.state.as_deref(), &tries).await;
    let flow = begun.map_err(|refusal| {
        refusal.log(&app, &provider.name, &request);
        refusal.error
    })?;
    let result = match finish(&app, provider, &flow, returned, (client, &request)).await {
        Ok(response) => rates::forget(&app, &tries).await.map(|()| response),
        Err(refusal) => refused(&app, provider, &flow, refusal, &request).await,
    };
    let mut response = result.unwrap_or_else(IntoResponse::into_response);
    response.headers_mut().append(header::SET_COOKIE, flow::gone(provider, &flow)?);
    Ok(response)
}

/// The sign-in that this browser began, which from now on is used up.
async fn begun(
    app: &App,
    provider: &Provider,
    headers: &HeaderMap,
    state: Option<&str>,
    tries: &[(Rate, Key<'_>)],
) -> Result<Flow, Refusal> {
    let state = state.filter(|state| state.len() <= limits::STATE_BYTES_MAX).ok_or(Refusal::state("no_state"))?;
    let flow = OidcState::of(app)?.flow_key.open(headers, provider, state).ok_or(Refusal::state("other_browser"))?;
    if flow.provider != provider.name {
        return Err(Refusal::state("other_provider"));
    }
    let (now_ms, oauth) = (app.now_ms(), &app.config.oauth);
    let ttl_ms = i64::from(oauth.oauth_state_ttl.min(oauth.oauth_nonce_ttl)) * 1000;
    if now_ms >= flow.began_at_ms.saturating_add(ttl_ms) {
        return Err(Refusal::state("state_expired"));
    }
    rates::take(app, tries).await?;
    // The row outlives the cookie, whatever becomes of the clock in between.
    let (hash, keep_until_ms) = (flow.state_hash(), flow.began_at_ms.max(now_ms).saturating_add(2 * ttl_ms));
    let used = app.db.write(move |tx| queries::use_state(tx, &hash, keep_until_ms, now_ms)).await;
    match used.map_err(|error: DbError| AppError::from(error))? {
        true => Ok(flow),
        false => Err(Refusal::state("state_replayed")),
    }
}

async fn finish(
    app: &App,
    provider: &Provider,
    flow: &Flow,
    returned: Returned,
    (client, request): (ClientIp, &RequestId),
) -> Result<Response, Refusal> {
    if returned.error.is_some() {
        return Err(Refusal::denied());
    }
    let code = returned.code.filter(|code| (1..=limits::CODE_BYTES_MAX).contains(&code.len()));
    let code = code.ok_or(Refusal::token("no_code"))?;
    let asking = (state::times(app), Asking::of(app, client));
    let proven = verify::identity(provider, flow, code, returned.iss.as_deref(), asking).await?;
    let arrived = match &flow.link {
        Some(to) => arrive::linked(app, provider, to, proven, request).await?,
        None => arrive::signed_in(app, provider, flow, proven, request).await?,
    };
    tracing::info!(
        event_type = arrived.event(),
        request_id = request.as_str(),
        provider = provider.name.as_str(),
        "An identity was proven"
    );
    reply(app, provider, flow, arrived, request).await
}

async fn reply(
    app: &App,
    provider: &Provider,
    flow: &Flow,
    arrived: Arrived,
    request: &RequestId,
) -> Result<Response, Refusal> {
    let linked = provider.name.as_str();
    Ok(match (arrived, &flow.redirect_uri) {
        (Arrived::Linked, Some(uri)) => send_back(uri, &[("linked", linked)])?,
        (Arrived::Linked, None) => Json(Ended::Linked(Linked { linked: linked.to_owned() })).into_response(),
        (Arrived::SignedIn { code, .. }, Some(uri)) => send_back(uri, &[("code", &code)])?,
        (Arrived::SignedIn { user, .. }, None) => {
            let sign_in = SignIn { class: flow.client, method: Method::Oauth, request: request.clone() };
            Json(Ended::SignedIn(complete_sign_in(app, &user, sign_in).await?)).into_response()
        }
    })
}

/// Notes a refusal and tells of it where the browser is expected.
async fn refused(
    app: &App,
    provider: &Provider,
    flow: &Flow,
    refusal: Refusal,
    request: &RequestId,
) -> AppResult<Response> {
    refusal.log(app, &provider.name, request);
    arrive::note_refusal(app, provider, refusal.reason, request).await?;
    let Some(uri) = &flow.redirect_uri else { return Err(refusal.error) };
    let mut pairs = vec![("error", refusal.error.code()), ("request_id", request.as_str())];
    if let Some(token) = refusal.error.details().get("link_token").and_then(Value::as_str) {
        pairs.push(("link_token", token));
    }
    send_back(uri, &pairs)
}

/// What follows `#` stays in the browser: no server and no log sees it.
fn send_back(redirect_uri: &str, pairs: &[(&str, &str)]) -> AppResult<Response> {
    let fragment = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    start::to(&format!("{redirect_uri}#{fragment}"))
}
