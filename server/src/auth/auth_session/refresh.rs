//! `POST /auth/refresh`: a refresh token for its successor and a fresh access token.
//!
//! The newest token of a session makes its successor, once. The one before it gives the same successor again, because its
//! answer may have been lost. Anything older was copied: the session ends.

use std::sync::Arc;

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::end::end_session;
use super::queries::{self, Rotation, SessionRow};
use super::refresh_token::RefreshToken;
use super::{EndReason, Tokens, access_token, access_token_lifetime_s, begin, refresh_token_lifetime_ms};
use crate::app::App;
use crate::audit::{self, Action, Event};
use crate::auth::limits;
use crate::auth::rates::{Counters, Key, Rate, seconds_after};
use crate::auth::state::AuthState;
use crate::auth::users::{self, Status, User};
use crate::config::Secret;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Json, JsonOrForm, RequestId};
use crate::telemetry::SecurityEvent;

/// The token to replace.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::auth) struct Refresh {
    /// As the last answer gave it.
    #[schema(value_type = String)]
    refresh_token: Secret,
    /// `refresh_token`, from clients of OAuth 2. Their other fields are taken and say nothing here.
    grant_type: Option<String>,
    #[serde(rename = "scope")]
    _scope: Option<String>,
    #[serde(rename = "client_id")]
    _client_id: Option<String>,
    #[schema(value_type = Option<String>)]
    #[serde(rename = "client_secret")]
    _client_secret: Option<Secret>,
}

/// Replaces a refresh token. Asking again with the same one gives the same successor until that was used.
#[utoipa::path(
    post, path = "/auth/refresh", tag = "auth", security(()),
    request_body(content((Refresh = "application/json"), (Refresh = "application/x-www-form-urlencoded"))),
    responses(
        (status = 200, body = Tokens),
        (status = 401, description = "`REFRESH_TOKEN_INVALID`, `REFRESH_TOKEN_EXPIRED`, `REFRESH_TOKEN_REVOKED`, or \
            `REFRESH_TOKEN_REUSED`, which ends the session", body = ErrorEnvelope),
        (status = 429, description = "too often", body = ErrorEnvelope)
    )
)]
pub(in crate::auth) async fn refresh(
    State(app): State<App>,
    request: RequestId,
    JsonOrForm(body): JsonOrForm<Refresh>,
) -> AppResult<Json<Tokens>> {
    if body.grant_type.as_deref().is_some_and(|grant| !matches!(grant, "" | "refresh_token")) {
        return Err(AppError::field("grant_type", "expected refresh_token; POST /auth/login takes a password"));
    }
    let token = RefreshToken::parse(body.refresh_token.reveal()).ok_or_else(invalid)?;
    let keys = &AuthState::of(&app)?.refresh_keys;
    let child = token.child(keys);
    let now_ms = app.now_ms();
    let attempt = Arc::new(Attempt {
        hash: token.hash(keys),
        child_hash: child.hash(keys),
        expires_at_ms: now_ms + refresh_token_lifetime_ms(&app),
        renewals: Counters::of(&app, Rate::Renewals)?,
        request_id: request.as_str().to_owned(),
        now_ms,
    });
    let session = token.session();
    // There is one writer, and nobody is counted here before it is known whose token it is: strangers cost a read only.
    let known = app.db.read(move |tx: &Tx<'_>| Ok(queries::find(tx, session)?.is_some())).await;
    if !known.map_err(|error: DbError| AppError::from(error))? {
        return Err(invalid());
    }
    let renewed = app.db.write(move |tx: &Tx<'_>| match queries::find(tx, session)? {
        Some(row) => attempt.renew(tx, row),
        None => Ok(Outcome::Unknown),
    });
    match renewed.await.map_err(|error: DbError| AppError::from(error))? {
        Outcome::Renewed(user) => {
            app.security_event(SecurityEvent::TokenRefreshed, request.as_str(), Some(&user.id.to_string()));
            Ok(Json(Tokens {
                access_token: access_token(&app, &user, session)?,
                refresh_token: child.to_text(),
                token_type: "bearer",
                expires_in: access_token_lifetime_s(&app),
            }))
        }
        Outcome::Expired => {
            Err(AppError::unauthorized("REFRESH_TOKEN_EXPIRED", "this sign-in is too old; sign in again"))
        }
        Outcome::Ended => Err(revoked()),
        Outcome::TooOften(after_s) => Err(AppError::too_many("tokens were renewed too often", after_s)),
        Outcome::Unknown => Err(invalid()),
        Outcome::Other(row) => Err(reused(&app, &token, *row, &request).await?),
    }
}

/// A request to renew, and what it would store.
struct Attempt {
    hash: [u8; 32],
    child_hash: [u8; 32],
    expires_at_ms: i64,
    renewals: Counters,
    request_id: String,
    now_ms: i64,
}

/// What the transaction made of it. Each is committed: a refusal must not undo what was counted.
enum Outcome {
    Renewed(Box<User>),
    Expired,
    Ended,
    TooOften(u32),
    Unknown,
    /// Neither the newest token of this session nor the one before.
    Other(Box<SessionRow>),
}

impl Attempt {
    fn renew(&self, tx: &Tx<'_>, row: SessionRow) -> Result<Outcome, DbError> {
        let is_newest = row.token_hash == self.hash;
        if !is_newest && row.token_hash != self.child_hash {
            return Ok(Outcome::Other(Box::new(row)));
        }
        let expires_at_ms = if is_newest { Some(row.expires_at_ms) } else { row.parent_expires_at_ms };
        if row.ended {
            return Ok(Outcome::Ended);
        }
        if expires_at_ms.is_none_or(|expires_at_ms| expires_at_ms <= self.now_ms) {
            return Ok(Outcome::Expired);
        }
        let user = users::find(tx, &row.tenant, row.user)?;
        let Some(user) = user.filter(|user| user.status == Status::Active && user.epoch == row.epoch) else {
            return Ok(Outcome::Ended);
        };
        let wait_ms = self.renewals.counter(Key::User(user.id)).take(tx, self.now_ms)?;
        if wait_ms > 0 {
            return Ok(Outcome::TooOften(seconds_after(wait_ms)));
        }
        if is_newest {
            self.rotate(tx, &row, &user)?;
        } else {
            queries::note_access(tx, row.id, self.now_ms)?;
        }
        Ok(Outcome::Renewed(Box::new(user)))
    }

    fn rotate(&self, tx: &Tx<'_>, row: &SessionRow, user: &User) -> Result<(), DbError> {
        let rotation = Rotation { child: &self.child_hash, expires_at_ms: self.expires_at_ms, now_ms: self.now_ms };
        queries::rotate(tx, row.id, &rotation)?;
        let id = row.id.to_string();
        let event =
            Event { action: Action::TokenRefresh, kind: "auth_session", id: &id, reason: None, result: "rotated" };
        audit::record(tx, &begin::actor(user, &self.request_id), &event, self.now_ms)
    }
}

/// Ends the session of a token that was replaced before the last one. A token that nobody made changes nothing.
async fn reused(app: &App, token: &RefreshToken, row: SessionRow, request: &RequestId) -> AppResult<AppError> {
    let keys = &AuthState::of(app)?.refresh_keys;
    if !token.leads_to(&row.token_hash, row.generation, limits::REFRESH_CHAIN_STEPS_MAX, keys) {
        return Ok(invalid());
    }
    if !end_session(app, &row, EndReason::Reuse, request).await? {
        return Ok(revoked());
    }
    app.security_event(SecurityEvent::TokenReuse, request.as_str(), Some(&row.user.to_string()));
    Ok(AppError::unauthorized("REFRESH_TOKEN_REUSED", "this token was used before; the sign-in was ended for safety"))
}

fn invalid() -> AppError {
    AppError::unauthorized("REFRESH_TOKEN_INVALID", "the refresh token is not valid; sign in again")
}

fn revoked() -> AppError {
    AppError::unauthorized("REFRESH_TOKEN_REVOKED", "this sign-in has ended; sign in again")
}
