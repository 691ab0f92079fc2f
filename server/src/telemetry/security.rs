//! What happens to accounts and tokens, in one form for the log and for the metrics.

/// Something that whoever watches over accounts wants to see. The names are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SecurityEvent {
    /// Somebody signed in.
    SignInSuccess,
    /// A sign-in was refused: unknown, wrong, disabled.
    SignInFailure,
    /// An account must wait after too many failures.
    AccountLocked,
    /// An address must wait after too many failures.
    AddressLocked,
    /// Somebody asks more often than they may.
    RateLimited,
    /// A refresh token was exchanged for its child.
    TokenRefreshed,
    /// A refresh token was used again; its family ended.
    TokenReuse,
    /// A session was ended by its user.
    SignedOut,
    /// A password was changed or set anew.
    PasswordChanged,
    /// A second factor was accepted.
    MfaSuccess,
    /// A second factor was refused.
    MfaFailure,
    /// A sign-in through another provider was refused.
    OauthFailure,
    /// A phone that is not bound asked for tokens.
    DeviceRefused,
    /// Somebody who is signed in asked for what their role may not do.
    PermissionDenied,
}

impl SecurityEvent {
    /// Every event, so that each has its counter from the start.
    pub const ALL: [Self; 14] = [
        Self::SignInSuccess,
        Self::SignInFailure,
        Self::AccountLocked,
        Self::AddressLocked,
        Self::RateLimited,
        Self::TokenRefreshed,
        Self::TokenReuse,
        Self::SignedOut,
        Self::PasswordChanged,
        Self::MfaSuccess,
        Self::MfaFailure,
        Self::OauthFailure,
        Self::DeviceRefused,
        Self::PermissionDenied,
    ];

    /// Its `event_type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SignInSuccess => "sign_in.success",
            Self::SignInFailure => "sign_in.failure",
            Self::AccountLocked => "account.locked",
            Self::AddressLocked => "address.locked",
            Self::RateLimited => "rate.limited",
            Self::TokenRefreshed => "token.refreshed",
            Self::TokenReuse => "token.reuse",
            Self::SignedOut => "signed_out",
            Self::PasswordChanged => "password.changed",
            Self::MfaSuccess => "mfa.success",
            Self::MfaFailure => "mfa.failure",
            Self::OauthFailure => "oauth.failure",
            Self::DeviceRefused => "device.refused",
            Self::PermissionDenied => "permission.denied",
        }
    }

    /// What a refusal with this code is, so that no handler can forget to say it.
    pub(crate) fn of_refusal(code: &str) -> Option<Self> {
        Some(match code {
            "INVALID_CREDENTIALS" => Self::SignInFailure,
            "RATE_LIMITED" => Self::RateLimited,
            "MFA_CODE_INVALID" => Self::MfaFailure,
            "DEVICE_NOT_BOUND" => Self::DeviceRefused,
            "FORBIDDEN" => Self::PermissionDenied,
            code if code.starts_with("OAUTH_") => Self::OauthFailure,
            _ => return None,
        })
    }

    const fn is_a_warning(self) -> bool {
        !matches!(
            self,
            Self::SignInSuccess | Self::TokenRefreshed | Self::SignedOut | Self::PasswordChanged | Self::MfaSuccess
        )
    }

    /// Writes it to the log. Ids only: whoever calls this has no name, address or secret to give away.
    pub(crate) fn log(self, request_id: &str, user_id: Option<&str>) {
        let event_type = self.as_str();
        if self.is_a_warning() {
            tracing::warn!(target: "muster_server::security", event_type, request_id, user_id, "Security event");
        } else {
            tracing::info!(target: "muster_server::security", event_type, request_id, user_id, "Security event");
        }
    }
}
