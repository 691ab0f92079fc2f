//! The token between password and code. It completes one sign-in and opens nothing.
//!
//! It is signed with a key of its own, derived from MFA_ENCRYPTION_KEY, for an audience of its own, and says its type: it
//! can never pass as an access token, nor an access token as one of these.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::secret::SecretKeys;
use crate::auth::auth_session::ClientClass;
use crate::auth::limits::{TOKEN_BYTES_MAX, TOKEN_LEEWAY_S};
use crate::auth::sign_in::Method;
use crate::blobs::crypt::MasterKey;
use crate::error::{AppError, AppResult};
use crate::ids::UserId;

const ISSUER: &str = "muster";
const AUDIENCE: &str = "muster-mfa";
/// What the signing key is derived for.
const KEY_USAGE: &[u8] = b"muster/mfa-pending-token/v1";

/// What such a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// Completing a sign-in with a code.
    MfaPending,
    /// Completing a sign-in by setting up an authenticator app, which the role needs.
    MfaEnroll,
}

impl Kind {
    /// Its name, in the token and in replies.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::MfaPending => "mfa_pending",
            Self::MfaEnroll => "mfa_enroll",
        }
    }
}

/// The claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Claims {
    #[serde(rename = "type")]
    pub(super) kind: Kind,
    pub(super) sub: UserId,
    pub(super) tid: String,
    /// The user's epoch: a change of password, role or status ends the token.
    pub(super) ep: i64,
    pub(super) iat: i64,
    pub(super) exp: i64,
    pub(super) jti: String,
    /// The class of client that signs in.
    pub(super) cls: ClientClass,
    /// How it proved the first factor.
    pub(super) mth: Method,
    pub(super) iss: Issuer,
    pub(super) aud: String,
}

/// The one issuer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Issuer {
    /// This system.
    #[default]
    #[serde(rename = "muster")]
    Muster,
}

/// The keys, prepared for both directions.
pub(super) struct PendingTokens {
    encoding: EncodingKey,
    decoding: Vec<DecodingKey>,
    validation: Validation,
}

impl PendingTokens {
    pub(super) fn new(keys: &SecretKeys) -> Self {
        let derived: Vec<_> = keys.all().map(|key: &MasterKey| key.derive(KEY_USAGE)).collect();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // The library would ask the system clock; `verify` checks both times against ours.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        Self {
            encoding: EncodingKey::from_secret(derived[0].as_slice()),
            decoding: derived.iter().map(|key| DecodingKey::from_secret(key.as_slice())).collect(),
            validation,
        }
    }

    pub(super) fn issue(&self, claims: &Claims) -> AppResult<String> {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &self.encoding).map_err(AppError::internal)
    }

    /// What a token says that is good at this time for this use.
    pub(super) fn verify(&self, token: &str, kind: Kind, now_s: i64) -> AppResult<Claims> {
        let invalid =
            || AppError::unauthorized("TOKEN_INVALID", "the token of this sign-in is not valid; sign in again");
        if token.len() > TOKEN_BYTES_MAX {
            return Err(invalid());
        }
        let decode = |key| jsonwebtoken::decode::<Claims>(token, key, &self.validation).ok();
        let claims = self.decoding.iter().find_map(decode).ok_or_else(invalid)?.claims;
        if claims.kind != kind || claims.iat > now_s.saturating_add(TOKEN_LEEWAY_S) {
            return Err(invalid());
        }
        if claims.exp.saturating_add(TOKEN_LEEWAY_S) <= now_s {
            return Err(AppError::unauthorized("TOKEN_EXPIRED", "the code came too late; sign in again"));
        }
        Ok(claims)
    }
}

/// For whom it is.
pub(super) fn audience() -> String {
    AUDIENCE.to_owned()
}
