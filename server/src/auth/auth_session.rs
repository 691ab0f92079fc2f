//! A session of somebody who signed in, and the tokens that stand for it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::sign_in::SignIn;
use super::state::AuthState;
use super::users::User;
use crate::app::App;
use crate::error::AppResult;

/// With which class of client somebody signs in. Each class of a user has a session of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ClientClass {
    /// The app on a phone.
    Phone,
    /// A browser, and whatever does not say.
    #[default]
    Web,
}

/// What somebody who signed in gets.
#[derive(Serialize, ToSchema)]
pub(crate) struct Tokens {
    /// Send it as `Authorization: Bearer ...`.
    access_token: String,
    /// Always `bearer`.
    token_type: &'static str,
    /// Seconds.
    expires_in: i64,
}

/// Begins a session for the user as the database has it.
pub(super) async fn begin(app: &App, user: &User, _sign_in: &SignIn) -> AppResult<Tokens> {
    let expires_in = access_token_lifetime_s(app);
    Ok(Tokens { access_token: access_token(app, user)?, token_type: "bearer", expires_in })
}

fn access_token_lifetime_s(app: &App) -> i64 {
    i64::from(app.config.tokens.access_token_expire_minutes) * 60
}

fn access_token(app: &App, user: &User) -> AppResult<String> {
    let key = &AuthState::of(app)?.token_key;
    key.issue(user.id, &user.tenant, user.role, user.epoch, app.clock.now_s(), access_token_lifetime_s(app))
}

/// A token for a user, for programs that run the server in their own process and need no password.
///
/// # Errors
/// When the app was built without its token key.
pub fn issue_token(app: &App, user: &User) -> AppResult<String> {
    access_token(app, user)
}
