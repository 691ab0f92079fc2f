//! Settings of the second factor.

use clap::Args;

use super::Secret;

/// One-time passwords (RFC 6238) and backup codes.
#[derive(Debug, Clone, Args)]
pub struct MfaConfig {
    /// Key that encrypts the secrets of authenticator apps, 32 bytes in base64. Needed with ENV=prod. Default: made once
    /// and kept in DATA_DIR/keys.
    #[arg(long, env = "MFA_ENCRYPTION_KEY", hide_env_values = true)]
    pub mfa_encryption_key: Option<Secret>,

    /// Minutes in which a sign-in is completed with a code.
    #[arg(long, env = "MFA_TOKEN_EXPIRE_MINUTES", default_value_t = 5)]
    pub mfa_token_expire_minutes: u32,

    /// Seconds that one code stands.
    #[arg(long, env = "MFA_TOTP_PERIOD", default_value_t = 30)]
    pub mfa_totp_period: u32,

    /// Digits of a code.
    #[arg(long, env = "MFA_TOTP_DIGITS", default_value_t = 6)]
    pub mfa_totp_digits: u32,

    /// The name under which an authenticator app lists the account.
    #[arg(long, env = "MFA_TOTP_ISSUER", default_value = "Muster")]
    pub mfa_totp_issuer: String,

    /// Backup codes that are handed out at once.
    #[arg(long, env = "MFA_BACKUP_CODES_COUNT", default_value_t = 10)]
    pub mfa_backup_codes_count: u32,
}
