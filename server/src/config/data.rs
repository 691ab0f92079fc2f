//! Settings that every command shares: where the data is, where the server runs, what is logged.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{ConfigError, Secret, require};
use crate::limits;

/// Least age at which a connection is opened anew, in seconds: opening one costs more than most reads.
const POOL_RECYCLE_S_MIN: i64 = 10;

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

/// What every command needs to find the data.
#[derive(Debug, Clone, Args)]
pub struct DataConfig {
    /// Folder of the database, the images, the keys and the models.
    #[arg(long, env = "DATA_DIR", default_value = "muster-data")]
    pub data_dir: PathBuf,

    /// `sqlite:///path/to/file` or `postgresql://user:password@host/database`. Default: a file in DATA_DIR. A pooler that
    /// shares sessions, such as PgBouncer with pool_mode=transaction, is refused: give the direct address.
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

    /// How a log line on the console looks. Default: text with ENV=dev, else json.
    #[arg(long, env = "LOG_FORMAT", value_enum)]
    pub log_format: Option<LogFormat>,

    /// A file that gets every log line, too, as JSON.
    #[arg(long, env = "LOG_FILE")]
    pub log_file: Option<PathBuf>,

    /// Size at which that file is put aside and a new one begun, in MB.
    #[arg(long, env = "LOG_FILE_MAX_MB", default_value_t = 10)]
    pub log_file_max_mb: u32,

    /// Files that are kept aside: LOG_FILE.1 is the newest.
    #[arg(long, env = "LOG_FILE_BACKUPS", default_value_t = 10)]
    pub log_file_backups: u32,

    /// A statement that takes longer is logged, in milliseconds; its values are not.
    #[arg(long, env = "DB_SLOW_QUERY_MS", default_value_t = 1000)]
    pub db_slow_query_ms: u64,

    /// Connections to the database that read, beside the one that writes. Default: one per core, 2 to 16.
    #[arg(long, env = "DB_POOL_SIZE")]
    pub db_pool_size: Option<usize>,

    /// Further connections that read, beyond DB_POOL_SIZE.
    #[arg(long, env = "DB_MAX_OVERFLOW", default_value_t = 0)]
    pub db_max_overflow: usize,

    /// Seconds that a request waits for a place in the queue of the database before it is told to come back.
    #[arg(long, env = "DB_POOL_TIMEOUT", default_value_t = 2)]
    pub db_pool_timeout: u32,

    /// Seconds after which a connection to PostgreSQL that reads is opened anew; -1 is never.
    #[arg(long, env = "DB_POOL_RECYCLE", default_value_t = -1, allow_negative_numbers = true)]
    pub db_pool_recycle: i64,
}

/// How many work on a database, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Connections that read.
    pub readers: usize,
    /// How long a request waits for a place in a full queue.
    pub queue_wait: Duration,
    /// After this time a connection that reads is opened anew.
    pub connection_age_max: Option<Duration>,
}

impl Default for Capacity {
    fn default() -> Self {
        Self { readers: limits::readers(), queue_wait: limits::QUEUE_WAIT, connection_age_max: None }
    }
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
    /// Refuses what cannot be right.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let named = self.env != Environment::Prod || self.database_url.is_some();
        ConfigError::all([
            self.database().map(drop),
            self.allowances().map(drop),
            require(named, "DATABASE_URL", "ENV=prod needs to be told where the data is"),
            require(
                is_filter(&self.log_level),
                "LOG_LEVEL",
                "expected error, warn, info, debug or trace, or module=level",
            ),
            require((1..=1024).contains(&self.log_file_max_mb), "LOG_FILE_MAX_MB", "expected 1 to 1024"),
            require(self.log_file_backups <= 100, "LOG_FILE_BACKUPS", "expected 0 to 100"),
            self.check_pool(),
        ])
    }

    fn check_pool(&self) -> Result<(), ConfigError> {
        let size = self.db_pool_size.unwrap_or(1);
        let readers = size.saturating_add(self.db_max_overflow);
        ConfigError::all([
            require((1..=limits::READERS_SET_MAX).contains(&size), "DB_POOL_SIZE", "expected 1 to 64"),
            require(
                readers <= limits::READERS_SET_MAX || size > limits::READERS_SET_MAX,
                "DB_MAX_OVERFLOW",
                "expected at most 64 together with DB_POOL_SIZE",
            ),
            require((1..=60).contains(&self.db_pool_timeout), "DB_POOL_TIMEOUT", "expected 1 to 60 seconds"),
            require(
                self.db_pool_recycle == -1 || self.db_pool_recycle >= POOL_RECYCLE_S_MIN,
                "DB_POOL_RECYCLE",
                "expected at least 10 seconds, or -1 for never",
            ),
        ])
    }

    /// How many work on the database, and how long a request waits for one of them.
    pub fn capacity(&self) -> Capacity {
        let recycle_s = u64::try_from(self.db_pool_recycle).ok();
        Capacity {
            readers: self.db_pool_size.unwrap_or_else(limits::readers) + self.db_max_overflow,
            queue_wait: Duration::from_secs(self.db_pool_timeout.into()),
            connection_age_max: recycle_s.map(Duration::from_secs),
        }
    }

    /// How a log line on the console looks.
    pub fn log_format(&self) -> LogFormat {
        let usual = if self.env == Environment::Dev { LogFormat::Text } else { LogFormat::Json };
        self.log_format.unwrap_or(usual)
    }

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

/// Levels, or levels of modules. A word alone that is no level would silence everything.
fn is_filter(text: &str) -> bool {
    let is_level = |word: &str| ["off", "error", "warn", "info", "debug", "trace"].contains(&word);
    text.split(',').all(|part| is_level(part.rsplit('=').next().unwrap_or_default()))
}
