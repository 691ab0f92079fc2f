//! Why somebody was not signed in: a word for us, and what they may know.

use serde_json::json;

use super::jwks::ProviderError;
use crate::app::App;
use crate::error::AppError;
use crate::http::RequestId;
use crate::telemetry::SecurityEvent;

/// A sign-in that comes to nothing.
#[derive(Debug)]
pub(super) struct Refusal {
    /// For the audit log and the security log; stable, and of nobody's making but ours.
    pub(super) reason: &'static str,
    /// For the client.
    pub(super) error: AppError,
}

impl Refusal {
    pub(super) fn new(reason: &'static str, error: AppError) -> Self {
        Self { reason, error }
    }

    /// The way back does not belong to a sign-in that this browser began here, or not any more.
    pub(super) fn state(reason: &'static str) -> Self {
        let message = "this sign-in was not begun in this browser, came back before, or is too old; begin again";
        Self::new(reason, AppError::new(axum::http::StatusCode::BAD_REQUEST, "OAUTH_STATE_INVALID", message))
    }

    /// What the provider sent proves nothing. Everybody gets the same answer.
    pub(super) fn token(reason: &'static str) -> Self {
        Self::new(reason, AppError::unauthorized("OAUTH_TOKEN_INVALID", "the provider's answer proves nothing"))
    }

    pub(super) fn denied() -> Self {
        Self::new("denied", AppError::forbidden("OAUTH_DENIED", "the provider did not let this person sign in"))
    }

    pub(super) fn email_unproven() -> Self {
        let message = "the provider does not vouch for an e-mail address; sign in in another way and link it";
        Self::new("email_unproven", AppError::forbidden("OAUTH_EMAIL_UNPROVEN", message))
    }

    pub(super) fn sign_up_closed() -> Self {
        let message = "nobody here has this identity, and no accounts are made for this provider";
        Self::new("sign_up_closed", AppError::forbidden("OAUTH_SIGN_UP_CLOSED", message))
    }

    pub(super) fn disabled() -> Self {
        Self::new("account_disabled", AppError::forbidden("ACCOUNT_DISABLED", "this account is disabled"))
    }

    pub(super) fn link_required(link_token: &str, expires_in_s: u32, confirmed: bool) -> Self {
        let message = match confirmed {
            true => "an account has this e-mail address; sign in to it in another way and link it with the token",
            false => {
                "an account has this e-mail address, and nobody confirmed that it is theirs; if you made it, sign in to it and \
                 link it with the token; if not, ask for a new password by mail, which ends whatever its maker had"
            }
        };
        let details = json!({ "link_token": link_token, "expires_in": expires_in_s });
        Self::new("link_required", AppError::conflict("ACCOUNT_LINK_REQUIRED", message).with_details(details))
    }

    pub(super) fn identity_taken() -> Self {
        let message = "this identity belongs to another account";
        Self::new("identity_taken", AppError::conflict("OAUTH_IDENTITY_TAKEN", message))
    }

    pub(super) fn too_many_identities() -> Self {
        let message = "this account has as many identities as it may have";
        Self::new("too_many_identities", AppError::conflict("OAUTH_TOO_MANY_IDENTITIES", message))
    }

    pub(super) fn session_ended() -> Self {
        let message = "the session that asked for the link has ended; sign in and begin again";
        Self::new("session_ended", AppError::unauthorized("TOKEN_REVOKED", message))
    }

    pub(super) fn is(&self, reason: &str) -> bool {
        self.reason == reason
    }

    /// Counts it, and tells the security log.
    pub(super) fn log(&self, app: &App, provider: &str, request: &RequestId) {
        let (request_id, reason) = (request.as_str(), self.reason);
        app.security_event(SecurityEvent::OauthFailure, request_id, None);
        tracing::info!(request_id, provider, reason, "Refused a sign-in by a provider");
    }
}

impl From<ProviderError> for Refusal {
    fn from(error: ProviderError) -> Self {
        let message = "the provider does not answer as it should; try again later";
        let unavailable = AppError::unavailable("OAUTH_PROVIDER_UNAVAILABLE", message, 5).with_cause(error);
        Self::new("provider_unavailable", unavailable)
    }
}

impl From<AppError> for Refusal {
    fn from(error: AppError) -> Self {
        Self::new("failed", error)
    }
}
