//! Settings of the second factor.

use clap::Args;
use data_encoding::BASE64_NOPAD;
use zeroize::Zeroizing;

use super::{ConfigError, Environment, Secret, require};

/// Bytes of a key that encrypts secrets.
const KEY_BYTES: usize = 32;
/// Seconds that one code may stand. Below, nobody types it in time; above, it is worth stealing.
const PERIOD_S: std::ops::RangeInclusive<u32> = 15..=120;
/// Digits that authenticator apps show.
const DIGITS: std::ops::RangeInclusive<u32> = 6..=8;
/// Minutes in which a sign-in may be completed.
const TOKEN_MINUTES: std::ops::RangeInclusive<u32> = 1..=60;
/// Backup codes that may be handed out at once.
const BACKUP_CODES: std::ops::RangeInclusive<u32> = 1..=50;
/// Roles, by every name that they have.
const ROLES: [&str; 7] = ["guest", "student", "lecturer", "teacher", "reviewer", "staff", "admin"];
/// Longest name of the issuer.
const ISSUER_CHARS_MAX: usize = 64;

/// One-time passwords (RFC 6238) and backup codes.
#[derive(Debug, Clone, Args)]
pub struct MfaConfig {
    /// Key that encrypts the secrets of authenticator apps, 32 bytes in base64. Needed with ENV=prod. Default: made once
    /// and kept in DATA_DIR/keys.
    #[arg(long, env = "MFA_ENCRYPTION_KEY", hide_env_values = true)]
    pub mfa_encryption_key: Option<Secret>,

    /// Keys that encrypted until MFA_ENCRYPTION_KEY was changed, comma-separated; they open and encrypt no more.
    #[arg(long, env = "MFA_PREVIOUS_ENCRYPTION_KEYS", hide_env_values = true, value_delimiter = ',')]
    pub mfa_previous_encryption_keys: Vec<Secret>,

    /// Minutes in which a sign-in is completed with a code.
    #[arg(long, env = "MFA_TOKEN_EXPIRE_MINUTES", default_value_t = 5)]
    pub mfa_token_expire_minutes: u32,

    /// Seconds that one code stands. Apps that are enrolled already keep theirs.
    #[arg(long, env = "MFA_TOTP_PERIOD", default_value_t = 30)]
    pub mfa_totp_period: u32,

    /// Digits of a code. Apps that are enrolled already keep theirs.
    #[arg(long, env = "MFA_TOTP_DIGITS", default_value_t = 6)]
    pub mfa_totp_digits: u32,

    /// The name under which an authenticator app lists the account.
    #[arg(long, env = "MFA_TOTP_ISSUER", default_value = "Muster")]
    pub mfa_totp_issuer: String,

    /// Backup codes that are handed out at once.
    #[arg(long, env = "MFA_BACKUP_CODES_COUNT", default_value_t = 10)]
    pub mfa_backup_codes_count: u32,

    /// Roles whose members sign in with a second factor only, comma-separated; who has none yet sets one up to sign in.
    #[arg(long, env = "MFA_REQUIRED_ROLES", value_delimiter = ',')]
    pub mfa_required_roles: Vec<String>,
}

/// A key that encrypts secrets.
pub type MfaKey = Zeroizing<[u8; KEY_BYTES]>;

impl MfaConfig {
    /// Refuses what no authenticator app takes, and a server without a key of its own with ENV=prod.
    pub(super) fn check(&self, env: Environment) -> Result<(), ConfigError> {
        let issuer = &self.mfa_totp_issuer;
        let chars = issuer.chars().count();
        // Authenticator apps take the colon for the end of the name.
        let is_name =
            (1..=ISSUER_CHARS_MAX).contains(&chars) && !issuer.contains(':') && !issuer.chars().any(char::is_control);
        let has_key = env != Environment::Prod || self.mfa_encryption_key.is_some();
        ConfigError::all([
            require(has_key, "MFA_ENCRYPTION_KEY", "needed with ENV=prod: 32 random bytes in base64"),
            self.encryption_key().map(drop),
            self.previous_encryption_keys().map(drop),
            require(PERIOD_S.contains(&self.mfa_totp_period), "MFA_TOTP_PERIOD", "expected 15 to 120"),
            require(DIGITS.contains(&self.mfa_totp_digits), "MFA_TOTP_DIGITS", "expected 6 to 8"),
            require(
                TOKEN_MINUTES.contains(&self.mfa_token_expire_minutes),
                "MFA_TOKEN_EXPIRE_MINUTES",
                "expected 1 to 60",
            ),
            require(BACKUP_CODES.contains(&self.mfa_backup_codes_count), "MFA_BACKUP_CODES_COUNT", "expected 1 to 50"),
            require(
                self.required_roles().all(|role| ROLES.iter().any(|known| known.eq_ignore_ascii_case(role))),
                "MFA_REQUIRED_ROLES",
                "expected guest, student, lecturer, reviewer, staff or admin",
            ),
            require(is_name, "MFA_TOTP_ISSUER", "expected 1 to 64 characters without a colon"),
        ])
    }

    /// MFA_REQUIRED_ROLES.
    pub fn required_roles(&self) -> impl Iterator<Item = &str> {
        self.mfa_required_roles.iter().map(|role| role.trim()).filter(|role| !role.is_empty())
    }

    /// MFA_ENCRYPTION_KEY.
    ///
    /// # Errors
    /// When it is not the base64 of 32 random bytes.
    pub fn encryption_key(&self) -> Result<Option<MfaKey>, ConfigError> {
        self.mfa_encryption_key.as_ref().map(|secret| key("MFA_ENCRYPTION_KEY", secret)).transpose()
    }

    /// MFA_PREVIOUS_ENCRYPTION_KEYS.
    ///
    /// # Errors
    /// When one is not the base64 of 32 random bytes.
    pub fn previous_encryption_keys(&self) -> Result<Vec<MfaKey>, ConfigError> {
        let given = self.mfa_previous_encryption_keys.iter().filter(|secret| !secret.reveal().trim().is_empty());
        given.map(|secret| key("MFA_PREVIOUS_ENCRYPTION_KEYS", secret)).collect()
    }
}

/// Base64 of either alphabet, padded or not: the keys of Fernet are written with the one for addresses.
fn key(name: &'static str, secret: &Secret) -> Result<MfaKey, ConfigError> {
    let invalid = |text: &str| ConfigError::Invalid(name, text.to_owned());
    let usual = |c| match c {
        '-' => '+',
        '_' => '/',
        other => other,
    };
    let text: Zeroizing<String> =
        Zeroizing::new(secret.reveal().trim().trim_end_matches('=').chars().map(usual).collect());
    let bytes = BASE64_NOPAD.decode(text.as_bytes()).map(Zeroizing::new);
    let bytes = bytes.ok().and_then(|bytes| <[u8; KEY_BYTES]>::try_from(bytes.as_slice()).ok()).map(Zeroizing::new);
    let bytes = bytes.ok_or_else(|| invalid("expected 32 random bytes in base64"))?;
    let distinct = bytes.iter().collect::<std::collections::BTreeSet<_>>().len();
    // Of 32 random bytes about 30 differ; fewer than 10 do less than once in 10^20 keys.
    if distinct < super::DISTINCT_BYTES_MIN {
        return Err(invalid("this is not random; use 32 random bytes in base64"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn check(arguments: &[&str]) -> Result<(), ConfigError> {
        let config = Config::from_arguments(arguments.iter().map(|argument| (*argument).to_owned())).unwrap();
        config.mfa.check(config.data.env)
    }

    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd/v8=";

    #[test]
    fn a_key_is_read_in_both_alphabets_and_with_or_without_padding() {
        let urlsafe = KEY.replace('/', "_").replace('+', "-");
        let read = |text: &str| key("MFA_ENCRYPTION_KEY", &Secret::new(text.to_owned())).unwrap();
        for text in [&urlsafe, KEY.trim_end_matches('='), &format!("{KEY}\n")] {
            assert_eq!(read(text), read(KEY), "{text}");
        }
        assert_eq!(read(KEY)[30..], [0xFE, 0xFF]);
    }

    #[test]
    fn only_prod_asks_for_a_key_and_nobody_takes_a_weak_one() {
        assert!(check(&[]).is_ok());
        assert!(check(&["--env", "staging"]).is_ok());
        assert!(check(&["--env", "prod"]).is_err());
        assert!(check(&["--env", "prod", "--mfa-encryption-key", KEY]).is_ok());
        let zeros = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        for weak in [zeros, "", "secret", &KEY[..40], &format!("{KEY}{KEY}")] {
            assert!(check(&["--mfa-encryption-key", weak]).is_err(), "{weak}");
            if !weak.is_empty() {
                assert!(check(&["--mfa-previous-encryption-keys", weak]).is_err(), "{weak}");
            }
        }
    }

    #[test]
    fn what_no_app_takes_is_refused() {
        for (name, low, high) in [
            ("--mfa-totp-period", "14", "121"),
            ("--mfa-totp-digits", "5", "9"),
            ("--mfa-token-expire-minutes", "0", "61"),
            ("--mfa-backup-codes-count", "0", "51"),
        ] {
            assert!(check(&[name, low]).is_err(), "{name} {low}");
            assert!(check(&[name, high]).is_err(), "{name} {high}");
        }
        for issuer in ["", "a:b", &"x".repeat(65)] {
            assert!(check(&["--mfa-totp-issuer", issuer]).is_err(), "{issuer}");
        }
        assert!(check(&["--mfa-required-roles", "staff,root"]).is_err());
        assert!(check(&["--mfa-required-roles", "teacher, staff,"]).is_ok());
        assert!(check(&["--mfa-totp-period", "60", "--mfa-totp-digits", "8", "--mfa-totp-issuer", "Uni Bonn"]).is_ok());
    }
}
