//! `GET /auth/verify`: whether an access token is good, and for how long.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::current_user::SignedIn;
use crate::auth::role::Role;
use crate::clock::iso_utc;
use crate::error::ErrorEnvelope;
use crate::http::Json;
use crate::ids::{AuthSessionId, UserId};

/// A token that is good.
#[derive(Serialize, ToSchema)]
pub(in crate::auth) struct VerifiedToken {
    /// Always true; a token that is not gets 401.
    valid: bool,
    /// Whose it is.
    user_id: UserId,
    /// As what.
    role: Role,
    /// In which session.
    session_id: AuthSessionId,
    /// ISO 8601, UTC.
    expires_at: String,
    /// Seconds from now on.
    expires_in: i64,
}

/// Says whose an access token is.
#[utoipa::path(
    get, path = "/auth/verify", tag = "auth",
    responses((status = 200, body = VerifiedToken), (status = 401, body = ErrorEnvelope))
)]
pub(in crate::auth) async fn verify(State(app): State<App>, signed_in: SignedIn) -> Json<VerifiedToken> {
    Json(VerifiedToken {
        valid: true,
        user_id: signed_in.user.id,
        role: signed_in.user.role,
        session_id: signed_in.session,
        expires_at: iso_utc(signed_in.expires_at_s.saturating_mul(1_000)),
        expires_in: (signed_in.expires_at_s - app.clock.now_s()).max(0),
    })
}
