//! Every setting, its environment name and its default. A value that cannot be right stops the start.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use thiserror::Error;
use zeroize::Zeroizing;

mod mail;
mod mfa;
mod networks;
mod oauth;
mod rates;
mod sign_up;
mod tokens;
mod web;

pub use mail::{MailConfig, MailTransport, SmtpTls};
pub use mfa::{MfaConfig, MfaKey};
pub use oauth::OauthConfig;
pub use rates::RateConfig;
pub use sign_up::SignUp;
pub use tokens::{JWT_SECRET_BYTES_MIN, TOKEN_PEPPER_BYTES_MIN, TokenConfig};
pub use web::WebConfig;

/// What ALLOW_UNSAFE_POSTGRES must say.
pub const UNSAFE_POSTGRES_WORDS: &str = "yes, acknowledged records may be lost on a crash";
/// What ALLOW_ASYNC_STANDBY must say.
pub const ASYNC_STANDBY_WORDS: &str = "yes, acknowledged records may be lost on failover";

/// Where the server runs, which decides what it tolerates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Environment {
    /// A developer's machine: accounts may be generated and printed.
    Dev,
    /// Like production, for trying.
    Staging,
    /// Refuses weak secrets and demo data.
    Prod,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Where images are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StorageBackend {
    /// A folder in DATA_DIR.
    Local,
    /// A bucket.
    S3,
}

/// A value that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Keeps a value to itself, and wipes it at the end.
    pub fn new(value: String) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The value, for the code that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::new(text.to_owned()))
    }
}

impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// What every command needs to find the data.
#[derive(Debug, Clone, Args)]
pub struct DataConfig {
    /// Folder of the database, the images, the keys and the models.
    #[arg(long, env = "DATA_DIR", default_value = "muster-data")]
    pub data_dir: PathBuf,

    /// `sqlite:///path/to/file` or `postgresql://user:password@host/database`. Default: a file in DATA_DIR.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<Secret>,

    /// Runs on a PostgreSQL with fsync=off or full_page_writes=off, if it says "yes, acknowledged records may be lost on
    /// a crash".
    #[arg(long, env = "ALLOW_UNSAFE_POSTGRES")]
    pub allow_unsafe_postgres: Option<String>,

    /// Lets several servers rely on an asynchronous standby, if it says "yes, acknowledged records may be lost on
    /// failover".
    #[arg(long, env = "ALLOW_ASYNC_STANDBY")]
    pub allow_async_standby: Option<String>,

    /// Where the server runs.
    #[arg(long, env = "ENV", value_enum, default_value = "dev")]
    pub env: Environment,

    /// What is logged: error, warn, info, debug, trace, or a filter per module.
    #[arg(long, env = "LOG_LEVEL", default_value = "info")]
    pub log_level: String,

    /// How a log line looks.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
}

/// Every setting of `muster serve`.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// The data.
    #[command(flatten)]
    pub data: DataConfig,

    /// Address to listen on.
    #[arg(long, env = "HOST", default_value = "127.0.0.1")]
    pub host: String,

    /// Port to listen on; 0 takes a free one.
    #[arg(long, env = "PORT", default_value_t = 8000)]
    pub port: u16,

    /// What somebody becomes who signs up without an admin: student, guest, or nothing.
    #[arg(long, env = "SIGN_UP", value_enum, default_value = "student")]
    pub sign_up: SignUp,

    /// Tokens.
    #[command(flatten)]
    pub tokens: TokenConfig,

    /// The second factor.
    #[command(flatten)]
    pub mfa: MfaConfig,

    /// Sign-in through other providers.
    #[command(flatten)]
    pub oauth: OauthConfig,

    /// Rates and locks.
    #[command(flatten)]
    pub rates: RateConfig,

    /// Mail.
    #[command(flatten)]
    pub mail: MailConfig,

    /// Browsers and proxies.
    #[command(flatten)]
    pub web: WebConfig,

    /// Key that wraps the keys of people's evidence, 32 bytes in base64. Default: made once and kept in DATA_DIR/keys.
    #[arg(long, env = "MASTER_KEY", hide_env_values = true)]
    pub master_key: Option<Secret>,

    /// Where images are kept.
    #[arg(long, env = "STORAGE_BACKEND", value_enum, default_value = "local")]
    pub storage_backend: StorageBackend,

    /// Bucket for images, with STORAGE_BACKEND=s3.
    #[arg(long, env = "S3_BUCKET")]
    pub s3_bucket: Option<String>,

    /// Region of the bucket.
    #[arg(long, env = "S3_REGION", default_value = "us-east-1")]
    pub s3_region: String,

    /// Address of an S3 server that is not Amazon's.
    #[arg(long, env = "S3_ENDPOINT")]
    pub s3_endpoint: Option<String>,

    /// Access key of the bucket.
    #[arg(long, env = "S3_ACCESS_KEY", hide_env_values = true)]
    pub s3_access_key: Option<Secret>,

    /// Secret key of the bucket.
    #[arg(long, env = "S3_SECRET_KEY", hide_env_values = true)]
    pub s3_secret_key: Option<Secret>,

    /// Largest image, in MB.
    #[arg(long, env = "UPLOAD_MAX_IMAGE_MB", default_value_t = 5)]
    pub upload_max_image_mb: u32,

    /// Folder of the face models. Default: DATA_DIR/models.
    #[arg(long, env = "MODELS_DIR")]
    pub models_dir: Option<PathBuf>,

    /// Hours that a record waits for its image before it is flagged.
    #[arg(long, env = "MEDIA_TIMEOUT_HOURS", default_value_t = 24)]
    pub media_timeout_hours: u32,
}

/// A setting that cannot be right.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ConfigError {
    /// The text after the colon says what to do.
    #[error("{0}: {1}")]
    Invalid(&'static str, String),
}

/// Which database to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// A file.
    Sqlite(PathBuf),
    /// A database of a PostgreSQL server. The address may hold a password.
    Postgres(Secret),
}

impl DataConfig {
    /// Reads DATABASE_URL.
    pub fn database(&self) -> Result<DatabaseUrl, ConfigError> {
        let invalid = |text: &str| Err(ConfigError::Invalid("DATABASE_URL", text.to_owned()));
        let Some(secret) = &self.database_url else {
            return Ok(DatabaseUrl::Sqlite(self.data_dir.join("muster.db")));
        };
        let url = secret.reveal();
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(DatabaseUrl::Postgres(secret.clone()));
        }
        match url.strip_prefix("sqlite://") {
            Some("" | "/") | None => {
                invalid("expected sqlite:///path/to/file or postgresql://user:password@host/database")
            }
            Some(path) => Ok(DatabaseUrl::Sqlite(PathBuf::from(path))),
        }
    }

    /// Dangers that were taken in words.
    pub fn allowances(&self) -> Result<(bool, bool), ConfigError> {
        let said = |name, given: &Option<String>, words: &str| match given.as_deref() {
            None | Some("") => Ok(false),
            Some(text) if text == words => Ok(true),
            Some(_) => Err(ConfigError::Invalid(name, format!("to take the risk, it must say \"{words}\""))),
        };
        Ok((
            said("ALLOW_UNSAFE_POSTGRES", &self.allow_unsafe_postgres, UNSAFE_POSTGRES_WORDS)?,
            said("ALLOW_ASYNC_STANDBY", &self.allow_async_standby, ASYNC_STANDBY_WORDS)?,
        ))
    }

    /// Folder of the keys.
    pub fn keys_dir(&self) -> PathBuf {
        self.data_dir.join("keys")
    }
}

#[derive(Debug, clap::Parser)]
struct Arguments {
    #[command(flatten)]
    config: Config,
}

impl Config {
    /// Reads options as `muster serve` would, with the environment behind them.
    ///
    /// # Errors
    /// The text is what a person at the terminal would have seen.
    pub fn from_arguments(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let arguments = std::iter::once("muster serve".to_owned()).chain(arguments);
        let parsed = <Arguments as clap::Parser>::try_parse_from(arguments);
        parsed.map(|parsed| parsed.config).map_err(|error| error.to_string())
    }

    /// Folder of the face models.
    pub fn models_dir(&self) -> PathBuf {
        self.models_dir.clone().unwrap_or_else(|| self.data.data_dir.join("models"))
    }

    /// The address under which people reach this server, without a slash at its end. It is configured, and never taken
    /// from a request: whoever makes a request also chooses what its header fields say.
    pub fn public_url(&self) -> String {
        if let Some(url) = self.mail.public_url() {
            return url.to_owned();
        }
        let port = self.port;
        match self.host.as_str() {
            "0.0.0.0" | "::" => format!("http://localhost:{port}"),
            host if host.contains(':') => format!("http://[{host}]:{port}"),
            host => format!("http://{host}:{port}"),
        }
    }

    /// Bytes of the largest image.
    pub fn image_bytes_max(&self) -> usize {
        self.upload_max_image_mb as usize * 1024 * 1024
    }

    /// Refuses settings that contradict each other or are too weak.
    pub fn check(&self) -> Result<(), ConfigError> {
        let invalid = |name, text: &str| Err(ConfigError::Invalid(name, text.to_owned()));
        self.data.database()?;
        self.data.allowances()?;
        self.tokens.check(self.data.env)?;
        self.rates.check()?;
        self.web.trusted_proxies()?;
        self.web.campus_networks()?;
        self.mfa.check(self.data.env)?;
        self.oauth.check(self.data.env)?;
        if !(1..=50).contains(&self.upload_max_image_mb) {
            return invalid("UPLOAD_MAX_IMAGE_MB", "expected 1 to 50");
        }
        if self.storage_backend == StorageBackend::S3 {
            if self.s3_bucket.as_deref().unwrap_or("").is_empty() {
                return invalid("S3_BUCKET", "needed with STORAGE_BACKEND=s3");
            }
            if self.s3_access_key.is_none() || self.s3_secret_key.is_none() {
                return invalid("S3_ACCESS_KEY", "needed with STORAGE_BACKEND=s3, together with S3_SECRET_KEY");
            }
        }
        self.mail.check(self.data.env)
    }
}

/// Fewest different bytes of a secret that somebody did not just type.
const DISTINCT_BYTES_MIN: usize = 10;

fn is_guessable(secret: &str) -> bool {
    let lower = secret.to_lowercase();
    let distinct = secret.bytes().collect::<std::collections::BTreeSet<_>>().len();
    let words = ["secret", "change", "password", "example", "default", "your-", "your_", "test", "muster"];
    distinct < DISTINCT_BYTES_MIN || words.iter().any(|word| lower.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(arguments: &[&str]) -> Config {
        Config::from_arguments(arguments.iter().map(|argument| (*argument).to_owned())).unwrap()
    }

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(config(&[]).check(), Ok(()));
    }

    #[test]
    fn a_weak_secret_is_refused_and_a_strong_one_is_not() {
        assert!(config(&["--jwt-secret", "short"]).check().is_err());
        let typed = "change-me-change-me-change-me-change-me";
        assert!(config(&["--jwt-secret", typed]).check().is_ok());
        assert!(config(&["--env", "prod", "--jwt-secret", typed]).check().is_err());
        assert!(config(&["--env", "prod", "--jwt-secret", &"a".repeat(64)]).check().is_err());
        let random = "8f0aa1c6d2b94e57931c60d7be2f4a85";
        let prod = [
            ["--env", "prod"],
            ["--public-url", "https://muster.uni.example"],
            ["--smtp-host", "mail.uni.example"],
            ["--mfa-encryption-key", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="],
        ]
        .concat();
        assert!(config(&[&prod[..], &["--jwt-secret", random]].concat()).check().is_ok());
    }

    #[test]
    fn the_address_says_which_database_it_is() {
        let database = |url: &str| config(&["--database-url", url]).data.database();
        let url = "postgresql://u:p@h/db";
        assert_eq!(database(url), Ok(DatabaseUrl::Postgres(Secret::new(url.to_owned()))));
        assert_eq!(database("sqlite:///var/lib/m.db"), Ok(DatabaseUrl::Sqlite(PathBuf::from("/var/lib/m.db"))));
        assert!(database("mysql://h/db").is_err());
    }

    #[test]
    fn a_danger_is_taken_in_the_right_words_only() {
        assert!(config(&["--allow-async-standby", "yes"]).check().is_err());
        let said = config(&["--allow-async-standby", ASYNC_STANDBY_WORDS]);
        assert_eq!(said.check(), Ok(()));
        assert_eq!(said.data.allowances(), Ok((false, true)));
    }

    #[test]
    fn s3_needs_its_bucket_and_keys() {
        assert!(config(&["--storage-backend", "s3"]).check().is_err());
        let complete = ["--storage-backend", "s3", "--s3-bucket", "b", "--s3-access-key", "k", "--s3-secret-key", "s"];
        assert!(config(&complete).check().is_ok());
    }

    #[test]
    fn secrets_are_not_printed() {
        let printed = format!("{:?}", config(&["--jwt-secret", "a-value-nobody-should-ever-see-here"]));
        assert!(!printed.contains("nobody"), "{printed}");
    }
}
