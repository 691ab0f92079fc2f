//! What is counted and measured, for `/metrics`. Labels are routes, methods and codes of ours: never an id.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::SecurityEvent;

/// Upper bounds of requests' durations, in seconds.
const LATENCY_BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// The counters of one server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    latencies: Family<RouteLabels, Histogram, fn() -> Histogram>,
    security_events: Family<EventLabels, Counter>,
    sync_fates: Family<FateLabels, Counter>,
    jobs_waiting: Family<KindLabels, Gauge>,
    jobs_dead: Family<KindLabels, Gauge>,
    /// Requests that are being worked on.
    pub requests_in_flight: Gauge,
    /// Open connections.
    pub connections: Gauge,
    /// Loops that work on jobs, one per kind.
    pub job_workers: Gauge,
    /// Writes that wait for the database, as of the last look.
    pub writes_waiting: Gauge,
    /// Reads that wait for the database, as of the last look.
    pub reads_waiting: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    method: &'static str,
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: String,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    event_type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FateLabels {
    fate: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: String,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let latency: fn() -> Histogram = || Histogram::new(LATENCY_BUCKETS);
        let mut metrics = Self {
            registry: Registry::with_prefix("muster"),
            requests: Family::default(),
            latencies: Family::new_with_constructor(latency),
            security_events: Family::default(),
            sync_fates: Family::default(),
            jobs_waiting: Family::default(),
            jobs_dead: Family::default(),
            requests_in_flight: Gauge::default(),
            connections: Gauge::default(),
            job_workers: Gauge::default(),
            writes_waiting: Gauge::default(),
            reads_waiting: Gauge::default(),
        };
        for event in SecurityEvent::ALL {
            let _ = metrics.security_events.get_or_create(&EventLabels { event_type: event.as_str() });
        }
        metrics.register_all();
        metrics
    }

    fn register_all(&mut self) {
        let registry = &mut self.registry;
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The program", build);
        registry.register("http_requests", "Answered requests", self.requests.clone());
        registry.register("http_request_seconds", "From a request's head to its reply's head", self.latencies.clone());
        registry.register("http_requests_in_flight", "Requests being worked on", self.requests_in_flight.clone());
        registry.register("http_connections", "Open connections", self.connections.clone());
        registry.register("security_events", "Sign-ins, refusals, locks", self.security_events.clone());
        registry.register("sync_changes", "Pushed changes by their fate", self.sync_fates.clone());
        registry.register("jobs_waiting", "Jobs that wait or run", self.jobs_waiting.clone());
        registry.register("jobs_dead", "Jobs that were given up", self.jobs_dead.clone());
        registry.register("job_workers", "Loops that work on jobs", self.job_workers.clone());
        registry.register("db_writes_waiting", "Writes that wait for the database", self.writes_waiting.clone());
        registry.register("db_reads_waiting", "Reads that wait for the database", self.reads_waiting.clone());
    }

    /// Adds the meters of the database.
    #[must_use]
    pub fn with_database(mut self, database: &DatabaseMeters) -> Self {
        let registry = &mut self.registry;
        registry.register("db_write_group_requests", "Requests per commit", database.group_requests.clone());
        registry.register("db_write_group_seconds", "Time per commit", database.group_seconds.clone());
        registry.register("db_slow_statements", "Statements over DB_SLOW_QUERY_MS", database.slow_statements.clone());
        self
    }

    /// Counts an answered request. A route is a template such as `/api/v1/courses/{id}`, so that there are few.
    pub fn answered(&self, method: &str, route: Option<&str>, status: u16, took: Duration) {
        let (method, route) = (known_method(method), route.unwrap_or("unmatched").to_owned());
        self.requests.get_or_create(&RequestLabels { method, route: route.clone(), status: class(status) }).inc();
        self.latencies.get_or_create(&RouteLabels { method, route }).observe(took.as_secs_f64());
    }

    /// Counts a security event.
    pub fn security_event(&self, event: SecurityEvent) {
        self.security_events.get_or_create(&EventLabels { event_type: event.as_str() }).inc();
    }

    /// Counts a pushed change by its fate.
    pub fn sync_fate(&self, fate: &'static str) {
        self.sync_fates.get_or_create(&FateLabels { fate }).inc();
    }

    /// Notes how the jobs of one kind stand.
    pub fn jobs(&self, kind: &str, waiting: u64, dead: u64) {
        let labels = KindLabels { kind: kind.to_owned() };
        let as_gauge = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.jobs_waiting.get_or_create(&labels).set(as_gauge(waiting));
        self.jobs_dead.get_or_create(&labels).set(as_gauge(dead));
    }

    /// Everything, in the text format of OpenMetrics, which Prometheus reads.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        if let Err(error) = prometheus_client::encoding::text::encode(&mut text, &self.registry) {
            tracing::error!(%error, "The metrics cannot be written");
        }
        text
    }
}

/// A client chooses the method freely; a label may not.
fn known_method(method: &str) -> &'static str {
    let known = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
    known.into_iter().find(|known| *known == method).unwrap_or("OTHER")
}

fn class(status: u16) -> &'static str {
    match status / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}

/// What the threads of one database measure.
#[derive(Debug)]
pub struct DatabaseMeters {
    group_requests: Histogram,
    group_seconds: Histogram,
    slow_statements: Counter,
}

impl Default for DatabaseMeters {
    fn default() -> Self {
        Self {
            group_requests: Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0]),
            group_seconds: Histogram::new(LATENCY_BUCKETS),
            slow_statements: Counter::default(),
        }
    }
}

impl DatabaseMeters {
    /// Notes a commit.
    pub fn committed(&self, requests: usize, took: Duration) {
        self.group_requests.observe(requests as f64);
        self.group_seconds.observe(took.as_secs_f64());
    }

    /// Counts a slow statement.
    pub fn slow_statement(&self) {
        self.slow_statements.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_in_the_text() {
        let metrics = Metrics::new();
        metrics.answered("GET", Some("/health"), 200, Duration::from_millis(3));
        metrics.answered("BREW", None, 418, Duration::from_millis(3));
        metrics.security_event(SecurityEvent::TokenReuse);
        let text = metrics.encode();
        for line in [
            r#"muster_http_requests_total{method="GET",route="/health",status="2xx"} 1"#,
            r#"muster_http_requests_total{method="OTHER",route="unmatched",status="4xx"} 1"#,
            r#"muster_http_request_seconds_bucket{le="0.005",method="GET",route="/health"} 1"#,
            r#"muster_security_events_total{event_type="token.reuse"} 1"#,
            r#"muster_security_events_total{event_type="mfa.failure"} 0"#,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
