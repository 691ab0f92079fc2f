//! Extractors that say who asks, and refuse whoever may not.

use std::marker::PhantomData;
use std::ops::Deref;

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use serde_json::json;

use super::permission::{self, Permission};
use super::role::Role;
use super::state::{AuthState, Principal};
use super::{queries, token};
use crate::app::App;
use crate::audit::Actor;
use crate::error::{AppError, AppResult};
use crate::http::{RequestFacts, RequestId};
use crate::ids::{AuthSessionId, TenantId, UserId};

/// Somebody who is signed in.
#[derive(Debug, Clone)]
pub struct CurrentUser {
    /// Who.
    pub id: UserId,
    /// Where.
    pub tenant: TenantId,
    /// As what.
    pub role: Role,
}

impl CurrentUser {
    /// Whether the role has a permission that the handler's signature does not name.
    pub fn may<P: Permission>(&self) -> bool {
        permission::allows::<P>(self.role)
    }

    /// The user as the audit log names them, in this request.
    pub fn actor(&self, request: &RequestId) -> Actor {
        Actor {
            tenant: self.tenant.clone(),
            id: self.id.to_string(),
            role: self.role.to_string(),
            request_id: request.as_str().to_owned(),
        }
    }
}

/// Somebody who is signed in and has the permission `P`.
#[derive(Debug, Clone)]
pub struct Allowed<P> {
    /// Who.
    pub user: CurrentUser,
    permission: PhantomData<P>,
}

impl<P> Deref for Allowed<P> {
    type Target = CurrentUser;

    fn deref(&self) -> &CurrentUser {
        &self.user
    }
}

/// Somebody who may or may not be signed in. A wrong token is refused all the same.
#[derive(Debug, Clone)]
pub struct MaybeUser(pub Option<CurrentUser>);

/// Somebody who is signed in, and the session in which they are.
#[derive(Debug, Clone)]
pub(crate) struct SignedIn {
    pub(crate) user: CurrentUser,
    pub(crate) session: AuthSessionId,
    pub(super) expires_at_s: i64,
}

impl FromRequestParts<App> for SignedIn {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, AppError> {
        // The limit of traffic has verified the token already.
        if let Some(signed_in) = parts.extensions.get::<Self>() {
            return Ok(signed_in.clone());
        }
        let token = bearer(parts)?.ok_or_else(|| AppError::unauthorized("UNAUTHORIZED", "sign in first"))?;
        let signed_in = authenticate(app, token).await?;
        RequestFacts::note_user(parts, signed_in.user.id);
        Ok(signed_in)
    }
}

impl FromRequestParts<App> for CurrentUser {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, AppError> {
        SignedIn::from_request_parts(parts, app).await.map(|signed_in| signed_in.user)
    }
}

impl FromRequestParts<App> for MaybeUser {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, AppError> {
        if bearer(parts)?.is_none() {
            return Ok(Self(None));
        }
        CurrentUser::from_request_parts(parts, app).await.map(|user| Self(Some(user)))
    }
}

impl<P: Permission> FromRequestParts<App> for Allowed<P> {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, AppError> {
        let user = CurrentUser::from_request_parts(parts, app).await?;
        if user.may::<P>() {
            return Ok(Self { user, permission: PhantomData });
        }
        Err(AppError::forbidden("FORBIDDEN", format!("a {} may not do this", user.role))
            .with_details(json!({ "permission": P::NAME })))
    }
}

pub(super) fn bearer(parts: &Parts) -> AppResult<Option<&str>> {
    let Some(value) = parts.headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let invalid = || AppError::unauthorized("TOKEN_INVALID", "expected Authorization: Bearer and a token");
    let (scheme, token) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(invalid)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(Some(token.trim())) } else { Err(invalid()) }
}

/// The token says who; memory, or else the database, says whether that still holds.
pub(super) async fn authenticate(app: &App, token: &str) -> AppResult<SignedIn> {
    let state = AuthState::of(app)?;
    let verified = state.token_key.verify(token, app.clock.now_s())?;
    let principal = match state.principals.get(&verified.user) {
        Some(principal) if principal.revoked.is_some() => principal,
        _ => load(app, state, verified.user).await?,
    };
    if still_holds(&principal, &verified) {
        let user = CurrentUser { id: verified.user, tenant: principal.tenant, role: principal.role };
        return Ok(SignedIn { user, session: verified.session, expires_at_s: verified.expires_at_s });
    }
    Err(revoked())
}

fn still_holds(principal: &Principal, verified: &token::Verified) -> bool {
    principal.active
        && principal.epoch == verified.epoch
        && principal.role == verified.role
        && principal.tenant.as_str() == verified.tenant
        && principal.revoked.as_ref().is_some_and(|revoked| !revoked.contains(&verified.session))
}

fn revoked() -> AppError {
    AppError::unauthorized("TOKEN_REVOKED", "this sign-in has ended; sign in again")
}

async fn load(app: &App, state: &AuthState, user: UserId) -> AppResult<Principal> {
    let found = app.db.read(move |tx| queries::principal(tx, user)).await?;
    let principal = found.ok_or_else(revoked)?;
    state.remember(user, principal.clone());
    Ok(principal)
}
