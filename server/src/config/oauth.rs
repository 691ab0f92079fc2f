//! Settings of sign-in through other providers.

use std::path::PathBuf;

use clap::Args;

use super::Secret;

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

    /// Directory of one institution at Microsoft: only its people sign in. Default: any.
    #[arg(long, env = "OAUTH_MICROSOFT_TENANT")]
    pub oauth_microsoft_tenant: Option<String>,

    /// A TOML file with more providers: name, issuer, client_id, client_secret, redirect_uri.
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
