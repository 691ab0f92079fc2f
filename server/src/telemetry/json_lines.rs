//! A log line as one JSON object: `timestamp level logger module function message`, what the event says, and what the
//! request is in which it happens.

use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use crate::clock::{Clock, SystemClock, iso_utc};

/// The target of the one line that each request leaves.
pub(crate) const REQUEST_LOG: &str = "muster_server::request";

/// The format; its spans' fields must be formatted as JSON, too.
pub(super) struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        let mut line = Map::new();
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<N>>();
            if let Some(Ok(Value::Object(fields))) = fields.map(|fields| serde_json::from_str(&fields.fields)) {
                line.extend(fields);
            }
        }
        event.record(&mut Fields(&mut line));
        if metadata.target() == REQUEST_LOG {
            copy(&mut line, "method", "request_method");
            copy(&mut line, "path", "request_path");
        }
        let mut put = |name: &str, value: &str| line.insert(name.to_owned(), Value::from(value));
        put("timestamp", &iso_utc(SystemClock.now_ms()));
        put("level", level(*metadata.level()));
        put("logger", metadata.target());
        put("module", metadata.module_path().unwrap_or(metadata.target()));
        // Rust keeps no names of functions; the place says the same.
        put("function", &place(metadata.file(), metadata.line()));
        let text = serde_json::to_string(&line).map_err(|_| fmt::Error)?;
        writeln!(out, "{text}")
    }
}

fn copy(line: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(value) = line.get(from).cloned() {
        line.insert(to.to_owned(), value);
    }
}

/// In the words of those who read logs.
fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        Level::DEBUG => "DEBUG",
        Level::TRACE => "TRACE",
    }
}

fn place(file: Option<&str>, line: Option<u32>) -> String {
    let file = file.and_then(|file| file.rsplit(['/', '\\']).next()).unwrap_or("?");
    format!("{file}:{}", line.unwrap_or(0))
}

/// Collects what an event says.
struct Fields<'a>(&'a mut Map<String, Value>);

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::format::JsonFields;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_has_the_fields_of_the_event_and_of_its_request() {
        let written = Written::default();
        let writer = written.clone();
        let layer = tracing_subscriber::fmt::layer()
            .fmt_fields(JsonFields::new())
            .event_format(JsonLines)
            .with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::error_span!("request", request_id = "r-1");
            let _entered = span.enter();
            tracing::warn!(target: REQUEST_LOG, method = "GET", path = "/x", latency_ms = 1.5, "Answered \"it\"");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: Value = serde_json::from_str(&text).unwrap();
        for (name, value) in [
            ("level", "WARNING"),
            ("logger", REQUEST_LOG),
            ("message", "Answered \"it\""),
            ("request_id", "r-1"),
            ("method", "GET"),
            ("request_method", "GET"),
            ("request_path", "/x"),
        ] {
            assert_eq!(line[name], value, "{name} in {text}");
        }
        assert_eq!(line["latency_ms"], 1.5);
        assert!(line["timestamp"].as_str().is_some_and(|time| time.len() == 24 && time.ends_with('Z')), "{text}");
        assert!(line["module"].as_str().is_some_and(|module| module.starts_with("muster_server::telemetry")));
        assert!(line["function"].as_str().is_some_and(|place| place.starts_with("json_lines.rs:")));
    }
}
