//! `POST /auth/mfa/required/enroll` and `.../confirm`: who needs a second factor sets it up to complete the sign-in.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::actor_of;
use super::complete::{ended, holder, owner_of_half, wrong_code};
use super::enrol::{self, Enrolling};
use super::pending::{Claims, Kind};
use super::queries::Owner;
use crate::app::App;
use crate::auth::auth_session::{self, Tokens};
use crate::auth::sign_in::{Method, SignIn};
use crate::auth::state::AuthState;
use crate::auth::users::User;
use crate::config::Secret;
use crate::error::{AppResult, ErrorEnvelope};
use crate::http::{Json, RequestId};

/// The token of a sign-in under way.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EnrollRequired {
    /// As the sign-in handed it out.
    #[schema(value_type = String)]
    mfa_token: Secret,
}

/// The token of a sign-in under way, and the first code.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfirmRequired {
    /// As the sign-in handed it out.
    #[schema(value_type = String)]
    mfa_token: Secret,
    /// The code that the authenticator app shows.
    #[schema(value_type = String)]
    code: Secret,
}

/// Somebody is signed in, and has backup codes that are shown once.
#[derive(Serialize, ToSchema)]
pub(super) struct EnrolledTokens {
    #[serde(flatten)]
    tokens: Tokens,
    /// Each completes one sign-in without the app.
    backup_codes: Vec<String>,
}

/// Begins to set up the authenticator app that the role needs.
#[utoipa::path(
    post, path = "/auth/mfa/required/enroll", tag = "auth", security(()), request_body = EnrollRequired,
    responses(
        (status = 200, body = Enrolling),
        (status = 401, description = "the token has ended", body = ErrorEnvelope),
        (status = 409, description = "an app is active already", body = ErrorEnvelope)
    )
)]
pub(super) async fn enroll_required(
    State(app): State<App>,
    request: RequestId,
    Json(body): Json<EnrollRequired>,
) -> AppResult<Json<Enrolling>> {
    let (_, owner, user) = half(&app, &body.mfa_token).await?;
    enrol::begin(&app, &owner, actor_of(&user, request.as_str())).await.map(Json)
}

/// Turns the second factor on, and completes the sign-in with it.
#[utoipa::path(
    post, path = "/auth/mfa/required/confirm", tag = "auth", security(()), request_body = ConfirmRequired,
    responses(
        (status = 200, body = EnrolledTokens),
        (status = 401, description = "the token has ended or the code is wrong", body = ErrorEnvelope),
        (status = 409, description = "nothing waits for a code, or an app is active already", body = ErrorEnvelope),
        (status = 429, description = "too many wrong codes", body = ErrorEnvelope)
    )
)]
pub(super) async fn confirm_required(
    State(app): State<App>,
    request: RequestId,
    Json(body): Json<ConfirmRequired>,
) -> AppResult<Json<EnrolledTokens>> {
    let (claims, owner, user) = half(&app, &body.mfa_token).await?;
    let sign_in = SignIn { class: claims.cls, method: Method::Mfa, request };
    let actor = actor_of(&user, sign_in.request.as_str());
    let activated = enrol::activate(&app, &owner, actor, body.code, Some(claims)).await?;
    let backup_codes = activated.codes(wrong_code)?.backup_codes;
    let tokens = auth_session::begin(&app, &user, &sign_in).await?;
    Ok(Json(EnrolledTokens { tokens, backup_codes }))
}

/// Who is half signed in and must enrol.
async fn half(app: &App, token: &Secret) -> AppResult<(Claims, Owner, User)> {
    let claims = AuthState::of(app)?.mfa.pending.verify(token.reveal(), Kind::MfaEnroll, app.clock.now_s())?;
    let owner = owner_of_half(&claims)?;
    let (asked, whose) = (claims.clone(), owner.clone());
    let user = app.db.read(move |tx| holder(tx, &asked, &whose)).await?;
    Ok((claims, owner, user.ok_or_else(ended)?))
}
