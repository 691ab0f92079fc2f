//! Settings of tokens and of the pepper under which they are stored.

use clap::Args;

use super::{ConfigError, Environment, Secret, is_guessable};

/// Fewest bytes of a secret that signs tokens.
pub const JWT_SECRET_BYTES_MIN: usize = 32;
/// Fewest bytes of a secret under which tokens are hashed.
pub const TOKEN_PEPPER_BYTES_MIN: usize = 32;
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
    pub(super) fn check(&self, environment: Environment) -> Result<(), ConfigError> {
        let invalid = |name, text: &str| Err(ConfigError::Invalid(name, text.to_owned()));
        let reveal = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.reveal().as_bytes().to_vec());
        let given = [("JWT_SECRET", reveal(&self.jwt_secret)), ("TOKEN_PEPPER", reveal(&self.token_pepper))];
        for (name, secret) in given {
            if let Some(secret) = secret {
                check_secret(name, &secret, environment)?;
            }
        }
        self.previous_secrets().try_for_each(|secret| check_secret("JWT_PREVIOUS_SECRETS", secret, environment))?;
        if self.token_pepper.is_some() && self.token_pepper == self.jwt_secret {
            return invalid("TOKEN_PEPPER", "it must not be JWT_SECRET; leave it unset and one is made");
        }
        if self.jwt_alg != "HS256" {
            return invalid("JWT_ALG", "access tokens are signed with HS256 only");
        }
        let within = |value: u32, most: u32| (1..=most).contains(&value);
        if !within(self.access_token_expire_minutes, ACCESS_TOKEN_MINUTES_MAX) {
            return invalid("ACCESS_TOKEN_EXPIRE_MINUTES", "expected 1 to 1440");
        }
        if !within(self.refresh_token_expire_days, REFRESH_TOKEN_DAYS_MAX) {
            return invalid("REFRESH_TOKEN_EXPIRE_DAYS", "expected 1 to 366");
        }
        if !within(self.password_reset_expire_minutes, PASSWORD_RESET_MINUTES_MAX) {
            return invalid("PASSWORD_RESET_EXPIRE_MINUTES", "expected 1 to 1440");
        }
        Ok(())
    }
}

fn check_secret(name: &'static str, secret: &[u8], environment: Environment) -> Result<(), ConfigError> {
    let invalid = |text: &str| Err(ConfigError::Invalid(name, text.to_owned()));
    if secret.len() < JWT_SECRET_BYTES_MIN {
        return invalid("at least 32 bytes are needed; leave it unset and one is made");
    }
    if environment == Environment::Prod && std::str::from_utf8(secret).is_ok_and(is_guessable) {
        return invalid("this can be guessed, and ENV=prod refuses it; use random bytes");
    }
    Ok(())
}
