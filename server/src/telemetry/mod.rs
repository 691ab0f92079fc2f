//! Where log lines go, and how they look.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::config::{DataConfig, LogFormat};

mod metrics;
mod security;

pub use metrics::{DatabaseMeters, Metrics};
pub use security::SecurityEvent;

/// Starts logging to standard error. A second call changes nothing.
///
/// # Errors
/// When LOG_LEVEL is not a filter.
pub fn start(config: &DataConfig) -> Result<(), String> {
    let filter = EnvFilter::try_new(&config.log_level).map_err(|error| format!("LOG_LEVEL: {error}"))?;
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    // Somebody else, a test for example, may have set up logging already; that is theirs to decide.
    let _ = match config.log_format {
        LogFormat::Text => subscriber.with_target(false).try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    };
    Ok(())
}
