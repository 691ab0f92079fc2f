//! Proof that it is not somebody at an unlocked screen, for what changes who gets in.

use serde::Deserialize;
use utoipa::ToSchema;

use super::factor::{self, Attempt, Given, refused};
use super::{active_enrolment, owner_of, prove_password};
use crate::app::App;
use crate::auth::current_user::CurrentUser;
use crate::config::Secret;
use crate::error::{AppError, AppResult};
use crate::http::RequestId;

/// Either the password or a code.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Proof {
    /// The account's password; `current_password` is accepted for it.
    #[serde(alias = "current_password")]
    #[schema(value_type = Option<String>)]
    pub(crate) password: Option<Secret>,
    /// The code that the authenticator app shows.
    #[schema(value_type = Option<String>)]
    pub(crate) code: Option<Secret>,
}

impl Proof {
    /// Asks for the password or the second factor of somebody who is signed in, as often as a sign-in would.
    ///
    /// # Errors
    /// 403 when it is wrong, 409 when the account has no such thing, 422 when it is not one of the two, 429 after too many
    /// failures.
    pub(crate) async fn check(self, app: &App, current: &CurrentUser, request: &RequestId) -> AppResult<()> {
        match (self.password, self.code) {
            (Some(password), None) => prove_password(app, current, password, request).await,
            (None, Some(code)) => prove_code(app, current, code, request).await,
            _ => Err(AppError::validation("send either password or code")),
        }
    }
}

async fn prove_code(app: &App, current: &CurrentUser, code: Secret, request: &RequestId) -> AppResult<()> {
    let owner = owner_of(current);
    let enrolment = active_enrolment(app, &owner).await?;
    let attempt: Attempt = factor::prepare(app, &owner, &enrolment, &Given::Code(code))?;
    let judged = app.db.write(move |tx| attempt.judge(tx).map_err(AppError::from)).await?;
    judged.tell(app, request.as_str(), &current.id.to_string());
    judged.or(refused)
}
