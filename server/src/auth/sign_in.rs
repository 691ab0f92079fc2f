//! The last step of every way to sign in: who somebody is has been proven, and a session may begin.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::auth_session::{self, ClientClass, Tokens};
use super::mfa::{self, MfaRequired};
use super::users::User;
use crate::app::App;
use crate::error::AppResult;
use crate::http::RequestId;

/// How somebody proved who they are. The words stand in the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Method {
    /// By a password.
    Password,
    /// By a second factor, after one of the others.
    Mfa,
    /// By the key of a bound device.
    Device,
    /// By an identity of a provider.
    Oauth,
}

impl Method {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Mfa => "mfa",
            Self::Device => "device",
            Self::Oauth => "oauth",
        }
    }
}

/// A sign-in under way.
#[derive(Debug, Clone)]
pub(crate) struct SignIn {
    pub(crate) class: ClientClass,
    pub(crate) method: Method,
    pub(crate) request: RequestId,
}

/// What the client gets.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum SignInReply {
    /// Somebody is signed in.
    Complete(Tokens),
    /// The second factor is missing; nobody is signed in yet.
    MfaRequired(MfaRequired),
}

/// Signs in a user who proved who they are, as the database has them; or asks for their second factor.
pub(crate) async fn complete(app: &App, user: &User, sign_in: SignIn) -> AppResult<SignInReply> {
    if let Some(required) = mfa::required(app, user, &sign_in).await? {
        return Ok(SignInReply::MfaRequired(required));
    }
    Ok(SignInReply::Complete(auth_session::begin(app, user, &sign_in).await?))
}
