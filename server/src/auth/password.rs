//! `POST /auth/change-password`: a new password, which ends every token of the account but the one in the reply.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::auth_session::{self, ClientClass, Tokens};
use super::current_user::CurrentUser;
use super::first_password;
use super::hashing::{self, Verified};
use super::notices::notify;
use super::passwords;
use super::queries;
use super::rates::locks::{self, Account};
use super::sign_in::{Method, SignIn};
use super::users::{self, User, remember};
use crate::app::App;
use crate::audit::{self, Action, Event};
use crate::config::Secret;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Holder, Json, RequestId};
use crate::ids::{TenantId, UserId};
use crate::mail::Notice;
use crate::telemetry::SecurityEvent;

/// The old and the new password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangePassword {
    /// `old_password` is accepted for it.
    #[serde(alias = "old_password")]
    #[schema(value_type = String)]
    current_password: Secret,
    /// At least 8 bytes.
    #[schema(value_type = String)]
    new_password: Secret,
    /// `phone` or `web`, which is the default.
    #[serde(default)]
    client: ClientClass,
}

/// Changes the password and signs in afresh.
#[utoipa::path(
    post, path = "/auth/change-password", tag = "auth", request_body = ChangePassword,
    responses(
        (status = 200, body = Tokens),
        (status = 403, description = "the current password is wrong", body = ErrorEnvelope),
        (status = 429, description = "too many failures", body = ErrorEnvelope)
    )
)]
pub(super) async fn change_password(
    State(app): State<App>,
    current: CurrentUser,
    request: RequestId,
    Json(change): Json<ChangePassword>,
) -> AppResult<Json<Tokens>> {
    let new_password = change.new_password.reveal();
    let (tenant, id) = (current.tenant.clone(), current.id);
    let found = app.db.read(move |tx| stored(tx, &tenant, id)).await?;
    let (user, old_hash) = found.ok_or_else(|| AppError::not_found("the account"))?;
    passwords::check_new("new_password", new_password, &passwords::about(&user))?;
    let wrong = "the current password is wrong";
    prove(&app, &current, (change.current_password, old_hash.clone()), wrong, &request).await?;
    let new_hash = hashing::hash_password(&app, change.new_password, Holder::Person(current.id)).await?;
    let user = replace(&app, &current, old_hash.unwrap_or_default(), new_hash, &request).await?;
    remember(&app, &user)?;
    first_password::forget(&app, &user.email).await;
    app.security_event(SecurityEvent::PasswordChanged, request.as_str(), Some(&user.id.to_string()));
    let sign_in = SignIn { class: change.client, method: Method::Password, request };
    auth_session::begin(&app, &user, &sign_in).await.map(Json)
}

/// Evaluates the password of somebody who is signed in, as often as a sign-in would.
///
/// # Errors
/// 403 with these words when it is wrong, 429 after too many failures or with too many under way, 503 when too many sign in at once.
pub(super) async fn prove(
    app: &App,
    current: &CurrentUser,
    (password, stored): (Secret, Option<String>),
    wrong: &'static str,
    request: &RequestId,
) -> AppResult<()> {
    let place = hashing::place(app, Holder::Person(current.id))?;
    let attempt = locks::attempt_again(app, &current.tenant, current.id).await?;
    if hashing::verify(app, place, password, stored).await? == Verified::Wrong {
        attempt.failed(app, &current.tenant, Account::User(current.id), request).await?;
        return Err(AppError::forbidden("INVALID_CREDENTIALS", wrong));
    }
    attempt.succeeded(app).await
}

fn stored(tx: &Tx<'_>, tenant: &TenantId, id: UserId) -> Result<Option<(User, Option<String>)>, DbError> {
    let Some(user) = users::find(tx, tenant, id)? else { return Ok(None) };
    Ok(Some((user, queries::password_hash(tx, tenant, id)?)))
}

async fn replace(
    app: &App,
    current: &CurrentUser,
    old_hash: String,
    new_hash: String,
    request: &RequestId,
) -> AppResult<User> {
    let (tenant, id, now_ms) = (current.tenant.clone(), current.id, app.now_ms());
    let actor = current.actor(request);
    let replaced = app
        .db
        .write(move |tx| {
            if !queries::replace_password(tx, &tenant, id, &old_hash, &new_hash, now_ms)? {
                return Ok(None);
            }
            let (action, id_text) = (Action::PasswordChange, id.to_string());
            let event = Event { action, kind: "account", id: &id_text, reason: None, result: "changed" };
            audit::record(tx, &actor, &event, now_ms)?;
            notify(tx, &tenant, id, Notice::PasswordChanged, now_ms)?;
            users::find(tx, &tenant, id).map_err(AppError::from)
        })
        .await?;
    replaced.ok_or_else(|| AppError::conflict("CONFLICT", "the password was changed by another request"))
}
