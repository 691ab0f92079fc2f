//! Beginning a session: the newest of its class ends, and the tokens of the new one go out.

use std::sync::Arc;

use super::queries::{self, NewSession};
use super::refresh_token::RefreshToken;
use super::{ClientClass, Tokens, access_token, access_token_lifetime_s, refresh_token_lifetime_ms};
use crate::app::App;
use crate::audit::{self, Action, Actor, Event};
use crate::auth::rates::{Counters, Key, Rate, seconds_after};
use crate::auth::sign_in::{Method, SignIn};
use crate::auth::state::AuthState;
use crate::auth::users::{self, Status, User};
use crate::config::Secret;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult};
use crate::http::RequestId;
use crate::ids::AuthSessionId;
use crate::telemetry::SecurityEvent;

/// A session that is about to begin: whatever of it needs randomness.
struct Draft {
    session: AuthSessionId,
    token: Secret,
    token_hash: [u8; 32],
    class: ClientClass,
    method: Method,
    request_id: String,
    now_ms: i64,
    expires_at_ms: i64,
}

impl Draft {
    fn new(app: &App, sign_in: &SignIn) -> AppResult<Self> {
        let session = AuthSessionId::from_bytes(app.new_uuid());
        let token = RefreshToken::first(session, &*app.entropy);
        let now_ms = app.now_ms();
        Ok(Self {
            session,
            token_hash: token.hash(&AuthState::of(app)?.refresh_keys),
            token: token.to_text(),
            class: sign_in.class,
            method: sign_in.method,
            request_id: sign_in.request.as_str().to_owned(),
            now_ms,
            expires_at_ms: now_ms + refresh_token_lifetime_ms(app),
        })
    }

    /// Stores it, in the place of the one that the user had with this class of client.
    fn insert(&self, tx: &Tx<'_>, user: &User) -> Result<(), DbError> {
        queries::supersede(tx, &user.tenant, user.id, self.class, self.now_ms)?;
        let new = NewSession {
            id: self.session,
            class: self.class,
            method: self.method.as_str(),
            token_hash: &self.token_hash,
            expires_at_ms: self.expires_at_ms,
            now_ms: self.now_ms,
        };
        queries::insert(tx, user, &new)?;
        let actor = actor(user, &self.request_id);
        let (id, reason) = (self.session.to_string(), Some(self.method.as_str()));
        let event =
            Event { action: Action::SignIn, kind: "auth_session", id: &id, reason, result: self.class.as_str() };
        audit::record(tx, &actor, &event, self.now_ms)
    }

    fn tokens(&self, app: &App, user: &User) -> AppResult<Tokens> {
        app.security_event(SecurityEvent::SignInSuccess, &self.request_id, Some(&user.id.to_string()));
        Ok(Tokens {
            access_token: access_token(app, user, self.session)?,
            refresh_token: self.token.clone(),
            token_type: "bearer",
            expires_in: access_token_lifetime_s(app),
        })
    }
}

/// The user as the audit log names them when they act for themselves.
pub(super) fn actor(user: &User, request_id: &str) -> Actor {
    Actor {
        tenant: user.tenant.clone(),
        id: user.id.to_string(),
        role: user.role.to_string(),
        request_id: request_id.to_owned(),
    }
}

/// Begins a session for a user who proved who they are, as the database had them then.
///
/// # Errors
/// 401 when the account changed since: what was proven, such as the old password, may not hold any more.
pub(in crate::auth) async fn begin(app: &App, user: &User, sign_in: &SignIn) -> AppResult<Tokens> {
    let draft = Arc::new(Draft::new(app, sign_in)?);
    let (stored, user_then) = (Arc::clone(&draft), user.clone());
    let begun = app.db.write(move |tx: &Tx<'_>| {
        let now = users::find(tx, &user_then.tenant, user_then.id)?;
        match now.filter(|now| now.epoch == user_then.epoch && now.status == Status::Active) {
            Some(now) => stored.insert(tx, &now).map(|()| true),
            None => Ok(false),
        }
    });
    if !begun.await.map_err(|error: DbError| AppError::from(error))? {
        return Err(AppError::unauthorized("TOKEN_REVOKED", "the account has just changed; sign in again"));
    }
    draft.tokens(app, user)
}

/// Begins a session on a phone for whom `prove` finds, in one transaction with it; `None` when it finds nobody who may
/// sign in. No password is involved, so that many phones may come back at once.
///
/// # Errors
/// Those of `prove`, 429 when the user renews tokens too often, and 500 when the database fails.
pub(crate) async fn begin_on_phone<F>(app: &App, request: RequestId, prove: F) -> AppResult<Option<Tokens>>
where
    F: Fn(&Tx<'_>) -> Result<Option<User>, AppError> + Send + 'static,
{
    let sign_in = SignIn { class: ClientClass::Phone, method: Method::Device, request };
    let draft = Arc::new(Draft::new(app, &sign_in)?);
    let (stored, renewals) = (Arc::clone(&draft), Counters::of(app, Rate::Renewals)?);
    let begun = app.db.write(move |tx: &Tx<'_>| {
        let Some(user) = prove(tx)?.filter(|user| user.status == Status::Active) else { return Ok(None) };
        let wait_ms = renewals.counter(Key::User(user.id)).take(tx, stored.now_ms)?;
        if wait_ms > 0 {
            return Err(AppError::too_many("tokens were renewed too often", seconds_after(wait_ms)));
        }
        stored.insert(tx, &user)?;
        Ok::<_, AppError>(Some(user))
    });
    begun.await?.map(|user| draft.tokens(app, &user)).transpose()
}
