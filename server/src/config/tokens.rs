//! Settings of tokens and of the pepper under which they are stored.

use clap::Args;

use super::Secret;

/// What tokens are made of and how long they live.
#[derive(Debug, Clone, Args)]
pub struct TokenConfig {
    /// Secret that signs access tokens, at least 32 bytes. Default: made once and kept in DATA_DIR/keys.
    #[arg(long, env = "JWT_SECRET", hide_env_values = true)]
    pub jwt_secret: Option<Secret>,

    /// Secrets that signed access tokens until JWT_SECRET was changed, comma-separated; they verify and sign no more.
    #[arg(long, env = "JWT_PREVIOUS_SECRETS", hide_env_values = true, value_delimiter = ',')]
    pub jwt_previous_secrets: Vec<Secret>,

    /// How access tokens are signed; only HS256.
    #[arg(long, env = "JWT_ALG", default_value = "HS256")]
    pub jwt_alg: String,

    /// Secret under which refresh, reset and confirmation tokens are hashed, at least 32 bytes. Default: made once and
    /// kept in DATA_DIR/keys.
    #[arg(long, env = "TOKEN_PEPPER", hide_env_values = true)]
    pub token_pepper: Option<Secret>,

    /// Minutes that an access token is good for.
    #[arg(long, env = "ACCESS_TOKEN_EXPIRE_MINUTES", default_value_t = 15)]
    pub access_token_expire_minutes: u32,

    /// Days that a refresh token is good for.
    #[arg(long, env = "REFRESH_TOKEN_EXPIRE_DAYS", default_value_t = 14)]
    pub refresh_token_expire_days: u32,

    /// Minutes that a link to set a new password is good for.
    #[arg(long, env = "PASSWORD_RESET_EXPIRE_MINUTES", default_value_t = 30)]
    pub password_reset_expire_minutes: u32,
}
