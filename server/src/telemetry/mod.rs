//! What the server says about itself: log lines, security events, metrics.

mod json_lines;
mod metrics;
mod rotation;
mod security;

use std::io::{self, IsTerminal};
use std::sync::Mutex;

use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::clock::{Clock, SystemClock, iso_utc};
use crate::config::{DataConfig, LogFormat};
use json_lines::JsonLines;
use rotation::RotatingFile;

pub(crate) use json_lines::REQUEST_LOG;
pub use metrics::{DatabaseMeters, Metrics};
pub use rotation::log_file_fails;
pub use security::SecurityEvent;

/// Starts logging to standard error and, if one is named, to a file. A second call changes nothing.
///
/// # Errors
/// When LOG_LEVEL is not a filter, or LOG_FILE cannot be opened.
pub fn start(config: &DataConfig) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter(&config.log_level)).map_err(|error| format!("LOG_LEVEL: {error}"))?;
    let console = match config.log_format() {
        LogFormat::Text => fmt::layer()
            .with_writer(io::stderr)
            .with_ansi(io::stderr().is_terminal())
            .with_target(false)
            .with_timer(UtcMs)
            .boxed(),
        LogFormat::Json => json_layer(io::stderr),
    };
    let file = match &config.log_file {
        None => None,
        Some(path) => {
            let bytes_max = u64::from(config.log_file_max_mb) * 1024 * 1024;
            let opened = RotatingFile::open(path, bytes_max, config.log_file_backups);
            let file = opened.map_err(|error| format!("LOG_FILE: {}: {error}", path.display()))?;
            Some(json_layer(Mutex::new(file)))
        }
    };
    // Somebody else, a test for example, may have set up logging already; that is theirs to decide.
    let _ = tracing_subscriber::registry().with(console).with(file).with(filter).try_init();
    Ok(())
}

/// Times in lines for people have the form that they have everywhere.
struct UtcMs;

impl FormatTime for UtcMs {
    fn format_time(&self, out: &mut Writer<'_>) -> std::fmt::Result {
        out.write_str(&iso_utc(SystemClock.now_ms()))
    }
}

/// Whether LOG_FILE could be opened, without opening it.
///
/// # Errors
/// When a folder is where the file should be, or a file where its folder should be.
pub fn check(config: &DataConfig) -> Result<(), String> {
    let Some(path) = &config.log_file else { return Ok(()) };
    let in_the_way = path.ancestors().skip(1).find(|above| above.exists() && !above.is_dir());
    match (path.is_dir(), in_the_way) {
        (true, _) => Err(format!("{} is a folder; name a file in it", path.display())),
        (_, Some(above)) => Err(format!("{} is no folder", above.display())),
        _ => Ok(()),
    }
}

fn json_layer<S, W>(writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    fmt::layer().fmt_fields(JsonFields::new()).event_format(JsonLines).with_writer(writer).boxed()
}

/// A level alone is ours: what libraries say below `info` is theirs to read, and may quote what they carry.
fn filter(log_level: &str) -> String {
    match log_level {
        "debug" | "trace" => ["muster_server", "muster_sync_core", "muster_models"]
            .iter()
            .fold("info".to_owned(), |filter, module| format!("{filter},{module}={log_level}")),
        other => other.to_owned(),
    }
}
