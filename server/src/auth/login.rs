//! `POST /auth/login`: a password for an access token.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::auth_session::ClientClass;
use super::sign_in::{self, Method, SignIn, SignInReply};
use super::state::AuthState;
use super::throttle::account_key;
use super::users::Status;
use super::{hashing, limits, queries};
use crate::app::App;
use crate::config::Secret;
use crate::db::DbError;
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Json, RequestId};
use crate::ids::TenantId;

/// Either `email` or `username`, and the password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    /// The e-mail address.
    email: Option<String>,
    /// The user name.
    username: Option<String>,
    /// The password.
    #[schema(value_type = String)]
    password: Secret,
    /// `phone` or `web`, which is the default.
    #[serde(default)]
    client: ClientClass,
}

/// Signs in.
#[utoipa::path(
    post, path = "/auth/login", tag = "auth", security(()), request_body = Login,
    responses(
        (status = 200, body = SignInReply),
        (status = 401, description = "unknown, wrong or disabled: the answer does not say which", body = ErrorEnvelope),
        (status = 429, description = "too many failures", body = ErrorEnvelope)
    )
)]
pub(super) async fn login(
    State(app): State<App>,
    request: RequestId,
    Json(login): Json<Login>,
) -> AppResult<Json<SignInReply>> {
    let name = match (&login.email, &login.username) {
        (Some(name), None) | (None, Some(name)) => name.trim().to_lowercase(),
        _ => return Err(AppError::validation("send either email or username")),
    };
    let tenant = TenantId::default_tenant();
    let (lookup, lookup_tenant) = (name.clone(), tenant.clone());
    let found = app.db.read(move |tx| queries::by_login(tx, &lookup_tenant, &lookup)).await;
    let found = found.map_err(|error: DbError| AppError::from(error))?;

    let state = AuthState::of(&app)?;
    let known = found.as_ref().map(|(user, _)| user.id.to_string());
    let account = account_key(tenant.as_str(), known.as_deref().unwrap_or(&name));
    state.throttle.attempt(account, app.now_ms())?;
    let (user, hash) = found.unzip();
    // No password can be longer, so nothing is evaluated; the answer is that of a wrong one.
    let possible = login.password.reveal().len() <= *limits::PASSWORD_BYTES.end();
    let right = possible && hashing::verify(&app, login.password, hash.flatten()).await?;
    match user.filter(|user| right && user.status == Status::Active) {
        Some(user) => {
            state.throttle.succeeded(account);
            let sign_in = SignIn { class: login.client, method: Method::Password, request };
            sign_in::complete(&app, &user, sign_in).await.map(Json)
        }
        None => Err(wrong_credentials()),
    }
}

fn wrong_credentials() -> AppError {
    AppError::unauthorized("INVALID_CREDENTIALS", "the account or the password is wrong")
}
