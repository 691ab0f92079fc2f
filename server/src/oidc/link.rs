//! `/auth/oauth/{provider}/link`, `/auth/oauth/link` and `/auth/oauth/links`: the identities of one's own account.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::arrive::{Gift, Linking};
use super::flow::{self, Flow, LinkTo};
use super::limits;
use super::queries::{self, Identity};
use super::refusal::Refusal;
use super::start::{self, Started};
use super::state::OidcState;
use crate::app::App;
use crate::audit::{self, Action, Event};
use crate::auth::{self, ClientClass, CurrentUser, Proof, SignedIn};
use crate::config::Secret;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Json, Path, Query, RequestId};
use crate::ids::{TenantId, UserId};
use crate::mail::Notice;

/// Where the browser goes in the end.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Back {
    /// One of the allowed addresses, byte for byte. Without it the callback itself answers.
    redirect_uri: Option<String>,
}

/// A token of ACCOUNT_LINK_REQUIRED.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkToken {
    /// As it came.
    #[schema(value_type = String)]
    link_token: Secret,
    /// The account's password; `current_password` is accepted for it.
    #[serde(alias = "current_password")]
    #[schema(value_type = Option<String>)]
    password: Option<Secret>,
    /// Instead of the password: the code that the authenticator app shows.
    #[schema(value_type = Option<String>)]
    code: Option<Secret>,
}

/// The ways in which somebody signs in.
#[derive(Serialize, ToSchema)]
pub(super) struct Links {
    /// Whether there is a password.
    has_password: bool,
    /// Identities at providers.
    items: Vec<Link>,
}

/// An identity.
#[derive(Serialize, ToSchema)]
pub(super) struct Link {
    /// At which provider.
    provider: String,
    /// When it was linked.
    #[serde(rename = "linked_at", serialize_with = "crate::clock::as_iso")]
    #[schema(value_type = String, format = DateTime)]
    linked_at_ms: i64,
    /// When somebody last signed in by it.
    #[serde(rename = "used_at", serialize_with = "crate::clock::as_iso")]
    #[schema(value_type = String, format = DateTime)]
    used_at_ms: i64,
}

/// Begins a link: whoever signs in at the provider in this browser gets linked to this account.
#[utoipa::path(
    post, path = "/auth/oauth/{provider}/link", tag = "oauth", request_body = Proof,
    params(("provider" = String, Path, description = "as in `/auth/oauth/providers`"), Back),
    responses(
        (status = 200, body = Started),
        (status = 403, description = "the password or the code is wrong", body = ErrorEnvelope),
        (status = 404, description = "no such provider", body = ErrorEnvelope),
        (status = 409, description = "the account has no password, or no second factor", body = ErrorEnvelope),
        (status = 422, description = "nobody is sent back to that address", body = ErrorEnvelope),
        (status = 429, description = "too many failures", body = ErrorEnvelope),
        (status = 503, description = "the provider does not answer", body = ErrorEnvelope)
    )
)]
pub(super) async fn begin_link(
    State(app): State<App>,
    signed_in: SignedIn,
    request: RequestId,
    Path(name): Path<String>,
    Query(back): Query<Back>,
    Json(proof): Json<Proof>,
) -> AppResult<Response> {
    let state = OidcState::of(&app)?;
    let provider = state.provider(&name)?;
    back.redirect_uri.as_deref().map_or(Ok(()), |uri| state.allowed(uri))?;
    let SignedIn { user: current, session, .. } = signed_in;
    proof.check(&app, &current, &request).await?;
    let (tenant, id) = (current.tenant, current.id);
    let user = app.db.read(move |tx| auth::find(tx, &tenant, id)).await?;
    let user = user.ok_or_else(|| AppError::not_found("the account"))?;
    let link = LinkTo { tenant: user.tenant.to_string(), user: user.id, epoch: user.epoch, session };
    let begun = Flow::begin(provider, ClientClass::default(), app.now_ms(), &*app.entropy);
    let flow = Flow { redirect_uri: back.redirect_uri, link: Some(link), ..begun };
    let (started, cookie) = start::begin(&app, provider, &flow, &request).await?;
    Ok(([(header::SET_COOKIE, cookie)], Json(started)).into_response())
}

/// Links the identity that asked for this account by a token.
#[utoipa::path(
    post, path = "/auth/oauth/link", tag = "oauth", request_body = LinkToken,
    responses(
        (status = 200, body = Links),
        (status = 400, description = "OAUTH_LINK_TOKEN_INVALID: not of this account, used, or too old", body = ErrorEnvelope),
        (status = 403, description = "the password or the code is wrong", body = ErrorEnvelope),
        (status = 409, description = "the identity belongs to another account; or the account has no password, or no second \
            factor", body = ErrorEnvelope),
        (status = 429, description = "too many failures", body = ErrorEnvelope)
    )
)]
pub(super) async fn link(
    State(app): State<App>,
    current: CurrentUser,
    request: RequestId,
    Json(body): Json<LinkToken>,
) -> AppResult<Json<Links>> {
    Proof { password: body.password, code: body.code }.check(&app, &current, &request).await?;
    let (tenant, id, now_ms) = (current.tenant.clone(), current.id, app.now_ms());
    let hash = flow::hash(body.link_token.reveal());
    let taken = app.db.write(move |tx| queries::take_link_token(tx, &tenant, id, &hash)).await;
    let taken = taken.map_err(|error: DbError| AppError::from(error))?;
    let identity = taken.filter(|(_, expires_at_ms)| now_ms < *expires_at_ms).map(|(identity, _)| identity);
    let linked = match identity {
        Some(identity) => give(&app, &current, identity, &request).await?,
        None => None,
    };
    let refusal = match linked {
        Some(Linking::Done) => {
            app.wake_jobs();
            return own_links(&app, &current).await.map(Json);
        }
        Some(Linking::Taken) => Refusal::identity_taken(),
        Some(Linking::TooMany) => Refusal::too_many_identities(),
        Some(Linking::Ended) | None => {
            let message = "this token is not for this account, was used, or is too old";
            let error = AppError::new(StatusCode::BAD_REQUEST, "OAUTH_LINK_TOKEN_INVALID", message);
            Refusal::new("bad_link_token", error)
        }
    };
    refusal.log(&app, "-", &request);
    Err(refusal.error)
}

async fn give(app: &App, current: &CurrentUser, identity: Identity, request: &RequestId) -> AppResult<Option<Linking>> {
    let (tenant, id) = (current.tenant.clone(), current.id);
    let gift = Gift { identity, request_id: request.as_str().to_owned(), now_ms: app.now_ms() };
    let given = app.db.write(move |tx| match auth::find(tx, &tenant, id)? {
        Some(user) => gift.give(tx, &user).map(Some),
        None => Ok(None),
    });
    given.await.map_err(|error: DbError| AppError::from(error))
}

/// Lists the ways in which one signs in.
#[utoipa::path(get, path = "/auth/oauth/links", tag = "oauth", responses((status = 200, body = Links)))]
pub(super) async fn links(State(app): State<App>, current: CurrentUser) -> AppResult<Json<Links>> {
    own_links(&app, &current).await.map(Json)
}

async fn own_links(app: &App, current: &CurrentUser) -> AppResult<Links> {
    let (tenant, id) = (current.tenant.clone(), current.id);
    let read = app.db.read(move |tx| links_of(tx, &tenant, id)).await;
    read.map_err(|error: DbError| AppError::from(error))
}

fn links_of(tx: &Tx<'_>, tenant: &TenantId, id: UserId) -> Result<Links, DbError> {
    let items = queries::linked(tx, tenant, id, limits::IDENTITIES_MAX)?.into_iter().map(|linked| Link {
        provider: linked.provider,
        linked_at_ms: linked.linked_at_ms,
        used_at_ms: linked.used_at_ms,
    });
    Ok(Links { items: items.collect(), has_password: auth::has_password(tx, tenant, id)? })
}

/// How taking identities away ended.
enum Unlinking {
    Done,
    None,
    LastWay,
}

/// Takes the identities of a provider from the account, unless nothing would be left to sign in by.
#[utoipa::path(
    delete, path = "/auth/oauth/{provider}/link", tag = "oauth",
    params(("provider" = String, Path, description = "as in `/auth/oauth/links`")),
    responses(
        (status = 204),
        (status = 404, description = "there is none", body = ErrorEnvelope),
        (status = 409, description = "LAST_WAY_TO_SIGN_IN: set a password first", body = ErrorEnvelope)
    )
)]
pub(super) async fn unlink(
    State(app): State<App>,
    current: CurrentUser,
    request: RequestId,
    Path(name): Path<String>,
) -> AppResult<StatusCode> {
    let (actor, id, now_ms) = (current.actor(&request), current.id, app.now_ms());
    let unlinking = app.db.write(move |tx| {
        let links = links_of(tx, &actor.tenant, id)?;
        if !links.items.iter().any(|link| link.provider == name) {
            return Ok(Unlinking::None);
        }
        if !links.has_password && links.items.iter().all(|link| link.provider == name) {
            return Ok(Unlinking::LastWay);
        }
        queries::unlink(tx, &actor.tenant, id, &name)?;
        let id_text = id.to_string();
        let event =
            Event { action: Action::OauthUnlink, kind: "user", id: &id_text, reason: Some(&name), result: "unlinked" };
        audit::record(tx, &actor, &event, now_ms)?;
        let notice = Notice::ProviderUnlinked { provider: name.clone() };
        auth::notify(tx, &actor.tenant, id, notice, now_ms)?;
        Ok(Unlinking::Done)
    });
    match unlinking.await.map_err(|error: DbError| AppError::from(error))? {
        Unlinking::Done => {
            app.wake_jobs();
            Ok(StatusCode::NO_CONTENT)
        }
        Unlinking::None => Err(AppError::not_found("the identity")),
        Unlinking::LastWay => {
            let message = "nothing would be left to sign in by; set a password first";
            Err(AppError::conflict("LAST_WAY_TO_SIGN_IN", message))
        }
    }
}
