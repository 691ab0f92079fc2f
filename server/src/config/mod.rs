//! Every setting, its environment name and its default. A value that cannot be right stops the start.

use std::path::PathBuf;

use clap::{ArgAction, Args, CommandFactory, FromArgMatches, ValueEnum};
use thiserror::Error;

pub mod address;
mod data;
mod dot_env;
mod idle;
mod mail;
mod mfa;
mod names;
mod networks;
mod oauth;
mod rates;
mod redis;
mod report;
mod secret;
mod sign_up;
mod sources;
mod tokens;
mod web;
mod work;

pub use data::{ASYNC_STANDBY_WORDS, Capacity, DataConfig, DatabaseUrl, Environment, LogFormat, UNSAFE_POSTGRES_WORDS};
pub use mail::{MailConfig, MailTransport, SmtpTls};
pub use mfa::{MfaConfig, MfaKey};
pub use oauth::OauthConfig;
pub use rates::RateConfig;
pub use redis::{RedisAddress, RedisConfig};
pub use report::{Ignored, Origin, Report, Row, example};
use secret::DISTINCT_BYTES_MIN;
pub use secret::Secret;
pub use sign_up::SignUp;
pub use sources::{Place, Resolved, Setting, Sources};
pub use tokens::TokenConfig;
pub use web::{Origins, WebConfig};
pub use work::WorkConfig;

/// Most megabytes that UPLOAD_MAX_IMAGE_MB may say: what phones can name and every store takes.
const IMAGE_MB_MAX: u32 = (muster_sync_core::limits::IMAGE_SIZE_BYTES_MAX / (1024 * 1024)) as u32;

/// Where images are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StorageBackend {
    /// A folder in DATA_DIR.
    Local,
    /// A bucket.
    S3,
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

    /// Threads, jobs and memory.
    #[command(flatten)]
    pub work: WorkConfig,

    /// A Redis that others insist on.
    #[command(flatten)]
    pub redis: RedisConfig,

    /// What somebody becomes who signs up without an admin: a student, a guest, a guest who is a student once they have
    /// confirmed their address (confirmed), or nothing (off).
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

    /// Makes the demo accounts of the systems before, admin@example.com, student@example.com, admin, staff1 and student1,
    /// with passwords that everybody knows; with ENV=dev only.
    #[arg(long, env = "SEED_DEMO_ACCOUNTS", default_value_t = false, action = ArgAction::Set)]
    pub seed_demo_accounts: bool,

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

    /// Largest image, in MB, 1 to 20.
    #[arg(long, env = "UPLOAD_MAX_IMAGE_MB", default_value_t = 5)]
    pub upload_max_image_mb: u32,

    /// Types of images that are taken, comma-separated or as a JSON list: image/jpeg, image/png or both. What an image is,
    /// its content says.
    #[arg(long, env = "UPLOAD_ALLOWED_IMAGE_TYPES", default_value = "image/jpeg,image/png")]
    pub upload_allowed_image_types: String,

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
    /// More than one of them, so that nobody starts the server once per mistake.
    #[error("{} settings cannot be right:{}", .0.len(), .0.iter().map(|each| format!("\n  {each}")).collect::<String>())]
    Several(Vec<Self>),
}

impl ConfigError {
    /// The mistakes, one by one.
    pub fn each(&self) -> Vec<&Self> {
        match self {
            Self::Invalid(..) => vec![self],
            Self::Several(errors) => errors.iter().flat_map(Self::each).collect(),
        }
    }

    /// What went wrong in any of several checks.
    fn all(checks: impl IntoIterator<Item = Result<(), Self>>) -> Result<(), Self> {
        let mut errors = Vec::new();
        for error in checks.into_iter().filter_map(Result::err) {
            match error {
                Self::Several(several) => errors.extend(several),
                one @ Self::Invalid(..) => errors.push(one),
            }
        }
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Self::Several(errors)),
        }
    }
}

/// Refuses a setting unless `holds`.
fn require(holds: bool, name: &'static str, text: &str) -> Result<(), ConfigError> {
    if holds { Ok(()) } else { Err(ConfigError::Invalid(name, text.to_owned())) }
}

#[derive(Debug, clap::Parser)]
#[command(name = "muster serve")]
struct Arguments {
    #[command(flatten)]
    config: Config,
}

impl Config {
    /// Reads options as `muster serve` would, with the environment of the process behind them.
    ///
    /// # Errors
    /// The text is what a person at the terminal would have seen.
    pub fn from_arguments(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        Self::from_sources(&Sources::of_process(), arguments)
    }

    /// The same, with another environment behind them.
    ///
    /// # Errors
    /// The text names every value that cannot be read.
    pub fn from_sources(sources: &Sources, arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let command = Arguments::command();
        let resolved = Resolved::new(sources, &command);
        if !resolved.problems.is_empty() || !resolved.refused.is_empty() {
            let lines = resolved.problems.iter().map(|(name, text)| format!("{name}: {text}"));
            let refused = resolved.refused.iter().map(|(name, text)| format!("{name}: {text}"));
            return Err(lines.chain(refused).collect::<Vec<_>>().join("\n"));
        }
        let arguments = std::iter::once("muster serve".to_owned()).chain(arguments);
        let matches = resolved.apply(command).try_get_matches_from(arguments);
        let parsed = matches.and_then(|matches| Arguments::from_arg_matches(&matches));
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

    /// Address of an S3 server that is not Amazon's, without a slash at its end; an empty text is none.
    pub fn s3_endpoint(&self) -> Option<&str> {
        self.s3_endpoint.as_deref().map(address::without_slash).filter(|url| !url.is_empty())
    }

    /// Bytes of the largest image.
    pub fn image_bytes_max(&self) -> usize {
        self.upload_max_image_mb as usize * 1024 * 1024
    }

    /// Whether images of this media type are taken.
    pub fn takes_images_of(&self, media_type: &str) -> bool {
        self.image_types().any(|allowed| allowed == media_type)
    }

    fn image_types(&self) -> impl Iterator<Item = &str> {
        let words = self.upload_allowed_image_types.split(',').map(str::trim).filter(|word| !word.is_empty());
        // Nobody registered this one, and everybody writes it.
        words.map(|word| if word == "image/jpg" { "image/jpeg" } else { word })
    }

    /// Refuses settings that contradict each other or are too weak; all of them at once.
    pub fn check(&self) -> Result<(), ConfigError> {
        let env = self.data.env;
        ConfigError::all([
            self.data.check(),
            self.work.check(matches!(self.data.database(), Ok(DatabaseUrl::Postgres(_)))),
            self.redis.check(),
            self.tokens.check(env),
            self.mfa.check(env),
            self.rates.check(),
            self.oauth.check(env),
            self.mail.check(env),
            self.web.check(env),
            self.check_images(),
            require(
                !self.seed_demo_accounts || env == Environment::Dev,
                "SEED_DEMO_ACCOUNTS",
                "accounts whose passwords everybody knows are made with ENV=dev only",
            ),
        ])
    }

    fn check_images(&self) -> Result<(), ConfigError> {
        let in_bucket = self.storage_backend == StorageBackend::S3;
        let is_set = |value: &Option<String>| value.as_deref().is_some_and(|value| !value.is_empty());
        let has_keys = self.s3_access_key.is_some() && self.s3_secret_key.is_some();
        let keys_needed = "needed with STORAGE_BACKEND=s3, together with S3_SECRET_KEY";
        let known_types = self.image_types().all(|word| matches!(word, "image/jpeg" | "image/png"));
        let endpoint = self.s3_endpoint();
        ConfigError::all([
            require((1..=IMAGE_MB_MAX).contains(&self.upload_max_image_mb), "UPLOAD_MAX_IMAGE_MB", "expected 1 to 20"),
            require(
                known_types && self.image_types().next().is_some(),
                "UPLOAD_ALLOWED_IMAGE_TYPES",
                "expected image/jpeg, image/png or both; no others are understood",
            ),
            require(
                endpoint.is_none_or(mail::is_http_address),
                "S3_ENDPOINT",
                "expected an http or https address such as https://s3.uni.example",
            ),
            require(!in_bucket || is_set(&self.s3_bucket), "S3_BUCKET", "needed with STORAGE_BACKEND=s3"),
            require(!in_bucket || has_keys, "S3_ACCESS_KEY", keys_needed),
        ])
    }
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
