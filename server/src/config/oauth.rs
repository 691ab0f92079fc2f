//! Settings of sign-in through other providers.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::Args;

use super::{ConfigError, Environment, Secret, require};

/// Seconds of everything that a sign-in may take.
const TTL_S: RangeInclusive<u32> = 30..=3_600;
/// Seconds that a provider's keys may be kept.
const KEYS_TTL_S: RangeInclusive<u32> = 60..=86_400;

/// OpenID Connect providers.
#[derive(Debug, Clone, Args)]
pub struct OauthConfig {
    /// Client of this server at Google.
    #[arg(long, env = "OAUTH_GOOGLE_CLIENT_ID")]
    pub oauth_google_client_id: Option<String>,

    /// Secret of that client.
    #[arg(long, env = "OAUTH_GOOGLE_CLIENT_SECRET", hide_env_values = true)]
    pub oauth_google_client_secret: Option<Secret>,

    /// Where Google sends people back to. Default: PUBLIC_URL and the callback's path.
    #[arg(long, env = "OAUTH_GOOGLE_REDIRECT_URI")]
    pub oauth_google_redirect_uri: Option<String>,

    /// Client of this server at Microsoft.
    #[arg(long, env = "OAUTH_MICROSOFT_CLIENT_ID")]
    pub oauth_microsoft_client_id: Option<String>,

    /// Secret of that client.
    #[arg(long, env = "OAUTH_MICROSOFT_CLIENT_SECRET", hide_env_values = true)]
    pub oauth_microsoft_client_secret: Option<Secret>,

    /// Where Microsoft sends people back to. Default: PUBLIC_URL and the callback's path.
    #[arg(long, env = "OAUTH_MICROSOFT_REDIRECT_URI")]
    pub oauth_microsoft_redirect_uri: Option<String>,

    /// Directory of one institution at Microsoft, by its id or name: only its people sign in. Default: `organizations`,
    /// which is any but private accounts.
    #[arg(long, env = "OAUTH_MICROSOFT_TENANT")]
    pub oauth_microsoft_tenant: Option<String>,

    /// A TOML file with more providers. Each `[[provider]]` has name, issuer, client_id and client_secret, and perhaps
    /// label, redirect_uri, kind (`standard` or `entra`), email_trusted and sign_up.
    #[arg(long, env = "OAUTH_PROVIDERS_FILE")]
    pub oauth_providers_file: Option<PathBuf>,

    /// Seconds in which a sign-in that began must come back.
    #[arg(long, env = "OAUTH_STATE_TTL", default_value_t = 600)]
    pub oauth_state_ttl: u32,

    /// Seconds that the nonce of a sign-in is good for.
    #[arg(long, env = "OAUTH_NONCE_TTL", default_value_t = 600)]
    pub oauth_nonce_ttl: u32,

    /// Seconds that a token which links an account is good for.
    #[arg(long, env = "OAUTH_LINK_TTL", default_value_t = 600)]
    pub oauth_link_ttl: u32,

    /// Further addresses to which people may be sent back with their sign-in; each must match exactly.
    #[arg(long, env = "OAUTH_ALLOWED_REDIRECT_URIS", default_value = "")]
    pub oauth_allowed_redirect_uris: String,

    /// Seconds that a provider's keys are kept.
    #[arg(long, env = "JWKS_CACHE_TTL_SECONDS", default_value_t = 3600)]
    pub jwks_cache_ttl_seconds: u32,
}

impl OauthConfig {
    /// Whether anybody could sign in through a provider.
    pub(super) fn has_providers(&self) -> bool {
        let clients = [&self.oauth_google_client_id, &self.oauth_microsoft_client_id];
        self.oauth_providers_file.is_some() || clients.iter().any(|client| client.is_some())
    }

    /// The addresses that people may be sent back to, besides the defaults.
    pub fn allowed_redirect_uris(&self) -> impl Iterator<Item = &str> {
        self.oauth_allowed_redirect_uris.split(',').map(str::trim).filter(|uri| !uri.is_empty())
    }

    /// Refuses half a client and times that cannot be meant. What is in OAUTH_PROVIDERS_FILE is read at the start.
    pub(super) fn check(&self, _environment: Environment) -> Result<(), ConfigError> {
        let clients = [
            ("OAUTH_GOOGLE_CLIENT_ID", &self.oauth_google_client_id, &self.oauth_google_client_secret),
            ("OAUTH_MICROSOFT_CLIENT_ID", &self.oauth_microsoft_client_id, &self.oauth_microsoft_client_secret),
        ];
        let times = [
            ("OAUTH_STATE_TTL", self.oauth_state_ttl, TTL_S),
            ("OAUTH_NONCE_TTL", self.oauth_nonce_ttl, TTL_S),
            ("OAUTH_LINK_TTL", self.oauth_link_ttl, TTL_S),
            ("JWKS_CACHE_TTL_SECONDS", self.jwks_cache_ttl_seconds, KEYS_TTL_S),
        ];
        let clients = clients.into_iter().map(|(name, id, secret)| {
            require(id.is_some() == secret.is_some(), name, "needed together with the secret of the client")
        });
        let times = times.into_iter().map(|(name, value, range)| {
            require(range.contains(&value), name, &format!("expected {} to {}", range.start(), range.end()))
        });
        ConfigError::all(clients.chain(times))
    }
}
