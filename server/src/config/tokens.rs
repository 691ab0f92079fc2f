//! Settings of tokens and of the pepper under which they are stored.

use clap::Args;

use super::secret::is_guessable;
use super::{ConfigError, Environment, Secret, require};

/// Fewest bytes of a secret that signs tokens, or under which they are hashed.
const JWT_SECRET_BYTES_MIN: usize = 32;
/// Longest life of an access token.
const ACCESS_TOKEN_MINUTES_MAX: u32 = 1_440;
/// Longest life of a refresh token.
const REFRESH_TOKEN_DAYS_MAX: u32 = 366;
/// Longest life of a link to set a new password.
const PASSWORD_RESET_MINUTES_MAX: u32 = 1_440;

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

impl TokenConfig {
    /// What signed access tokens before.
    pub fn previous_secrets(&self) -> impl Iterator<Item = &[u8]> {
        self.jwt_previous_secrets
            .iter()
            .map(|secret| secret.reveal().trim().as_bytes())
            .filter(|secret| !secret.is_empty())
    }

    /// Refuses secrets that are too weak, and lives that make no sense.
    pub(super) fn check(&self, env: Environment) -> Result<(), ConfigError> {
        let given = self.jwt_previous_secrets.iter().filter(|old| !old.reveal().trim().is_empty());
        let previous = given.map(|old| strong("JWT_PREVIOUS_SECRETS", Some(old), env));
        let same = self.token_pepper.is_some() && self.token_pepper == self.jwt_secret;
        let within = |value: u32, most: u32| (1..=most).contains(&value);
        ConfigError::all(previous.chain([
            strong("JWT_SECRET", self.jwt_secret.as_ref(), env),
            strong("TOKEN_PEPPER", self.token_pepper.as_ref(), env),
            require(!same, "TOKEN_PEPPER", "it must not be JWT_SECRET"),
            require(self.jwt_alg == "HS256", "JWT_ALG", "access tokens are signed with HS256 only"),
            require(
                within(self.access_token_expire_minutes, ACCESS_TOKEN_MINUTES_MAX),
                "ACCESS_TOKEN_EXPIRE_MINUTES",
                "expected 1 to 1440",
            ),
            require(
                within(self.refresh_token_expire_days, REFRESH_TOKEN_DAYS_MAX),
                "REFRESH_TOKEN_EXPIRE_DAYS",
                "expected 1 to 366",
            ),
            require(
                within(self.password_reset_expire_minutes, PASSWORD_RESET_MINUTES_MAX),
                "PASSWORD_RESET_EXPIRE_MINUTES",
                "expected 1 to 1440",
            ),
        ]))
    }
}

/// A secret that is long enough and, where it matters, neither missing nor typed.
fn strong(name: &'static str, secret: Option<&Secret>, env: Environment) -> Result<(), ConfigError> {
    let Some(secret) = secret.map(Secret::reveal) else {
        return require(env != Environment::Prod, name, "ENV=prod needs it: 32 random bytes or more");
    };
    if secret.len() < JWT_SECRET_BYTES_MIN {
        let text = "at least 32 bytes are needed; leave it unset outside of production and one is made";
        return require(false, name, text);
    }
    require(
        env != Environment::Prod || !is_guessable(secret),
        name,
        "this can be guessed, and ENV=prod refuses it; use random bytes",
    )
}
