//! Around every request: a place among those in flight, a request id, the error envelope, headers, one log line.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, DefaultBodyLimit};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use axum::response::IntoResponse;
use futures_util::FutureExt;
use hyper::body::{Body as HttpBody, Incoming};
use prometheus_client::metrics::gauge::Gauge;
use tower::Service;
use tracing::Instrument;

use super::activity::Activity;
use super::body::{BodyFault, Reply, Timed};
use super::client_ip::{ClientIp, ClientNetworks};
use super::facts::RequestFacts;
use super::headers::{self, Security};
use super::holder::Holder;
use super::in_flight::InFlight;
use super::meter::{Memory, ReplyBytes};
use super::well_formed;
use crate::app::App;
use crate::clock::{Stopwatch, mix};
use crate::error::{AppError, Pending, jittered_retry_after};
use crate::limits;
use crate::shares::{Held, UsedUp};
use crate::telemetry::{REQUEST_LOG, SecurityEvent};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id under which a request appears in headers, errors and logs. An extension of every request.
#[derive(Debug, Clone)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// Of this request. The gate gives every request its id; one that came without sockets has none.
    pub fn of(parts: &Parts) -> Self {
        parts.extensions.get::<Self>().cloned().unwrap_or(Self(HeaderValue::from_static("-")))
    }

    /// Its characters.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// What all connections share.
pub(super) struct Gate {
    app: App,
    router: Router,
    security: Security,
    networks: ClientNetworks,
    memory: Memory,
    in_flight: InFlight,
    in_flight_max: usize,
    request_ids: AtomicU64,
}

impl Gate {
    /// Request ids begin at random, so that those of this process differ from those of any other.
    pub(super) fn new(app: App, router: Router) -> Self {
        Self {
            router,
            security: Security::new(&app.config),
            networks: app.slice::<ClientNetworks>().cloned().unwrap_or_default(),
            memory: Memory::new(&app.config, app.connection_limits.memory),
            in_flight: InFlight::default(),
            in_flight_max: app.connection_limits.requests_in_flight_max,
            request_ids: AtomicU64::new(app.draw()),
            app,
        }
    }

    /// Answers one request.
    pub(super) async fn handle(
        &self,
        peer: SocketAddr,
        activity: Arc<Activity>,
        request: Request<Incoming>,
    ) -> Response<Reply> {
        activity.serving();
        let watch = Stopwatch::start();
        let log = tracing::enabled!(target: REQUEST_LOG, tracing::Level::INFO).then(|| request.uri().clone());
        let (method, id, facts) = (request.method().clone(), self.request_id(&request), RequestFacts::default());
        let client = ClientIp(self.networks.client(peer.ip().to_canonical(), request.headers()));
        let https_only = self.security.is_for_https_only(peer, request.headers());
        // At this level, so that every line of a request names it, however little is logged.
        let span = tracing::error_span!(target: REQUEST_LOG, "request", request_id = id.as_str());
        let response = match (well_formed::check(&request), self.in_flight.enter(self.in_flight_max)) {
            (Err(error), _) => error.into_response(),
            (Ok(()), Some(_place)) => {
                let _counted = Counted::one_more(&self.app.metrics.requests_in_flight);
                self.call((peer, client), &activity, &id, &facts, request).instrument(span).await
            }
            (Ok(()), None) => self.overloaded(),
        };
        let (response, held) = self.metered(response, client, &facts);
        let mut response = self.enveloped(response, &id, &facts);
        response.headers_mut().insert(X_REQUEST_ID, id.0.clone());
        headers::add(response.headers_mut(), https_only);
        // Nobody reads what is left of a body that is too large: the connection ends with it, and its client should know.
        let has_left_some = activity.body_fault().is_some() || response.status() == StatusCode::PAYLOAD_TOO_LARGE;
        if has_left_some || activity.is_leaving() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let (took, status) = (watch.elapsed(), response.status().as_u16());
        self.app.metrics.answered(method.as_str(), facts.route(), status, took);
        if let Some(uri) = log {
            log_answered(&id, &method, &uri, &facts, status, took);
        }
        response.map(|inner| Reply::new(inner, activity, held))
    }

    async fn call(
        &self,
        (peer, client): (SocketAddr, ClientIp),
        activity: &Arc<Activity>,
        id: &RequestId,
        facts: &RequestFacts,
        request: Request<Incoming>,
    ) -> Response<Body> {
        // The bytes count until there is an answer, also those that the handler keeps when it has read the body.
        let meter = (!request.body().is_end_stream()).then(|| self.memory.body(&self.app, client, facts));
        let mut request = request.map(|body| match &meter {
            None => Body::empty(),
            Some(meter) => Body::new(Timed::new(body, Arc::clone(activity), self.in_flight.clone(), meter.clone())),
        });
        if let Some(meter) = &meter {
            request.extensions_mut().insert(meter.clone());
        }
        request.extensions_mut().insert(self.in_flight.clone());
        request.extensions_mut().insert(id.clone());
        request.extensions_mut().insert(facts.clone());
        request.extensions_mut().insert(ConnectInfo(peer));
        DefaultBodyLimit::max(limits::BODY_BYTES_MAX).apply(&mut request);
        let mut router = self.router.clone();
        let answered = AssertUnwindSafe(router.call(request)).catch_unwind().await;
        let response = answered.map_or_else(
            |_panic| AppError::internal("a handler panicked").into_response(),
            |infallible| infallible.unwrap_or_else(|never| match never {}),
        );
        match activity.body_fault() {
            Some(fault) => self.body_error(fault).into_response(),
            None => response,
        }
    }

    fn body_error(&self, fault: BodyFault) -> AppError {
        match fault {
            BodyFault::Late => {
                let message = "the body did not arrive in time";
                AppError::new(StatusCode::REQUEST_TIMEOUT, "REQUEST_TIMEOUT", message)
            }
            BodyFault::OwnShare => {
                let message = "too much is being sent by you at once; send one after the other";
                AppError::too_many(message, self.retry_after_s())
            }
            BodyFault::Memory => self.no_memory(),
        }
    }

    fn no_memory(&self) -> AppError {
        AppError::unavailable("BUSY", "the server moves as many bytes as it can; try again", self.retry_after_s())
    }

    /// Counts the reply's bytes for whoever gets them, until they have them.
    fn metered(
        &self,
        response: Response<Body>,
        client: ClientIp,
        facts: &RequestFacts,
    ) -> (Response<Body>, Option<Held<Holder>>) {
        let said = response.extensions().get().map(|ReplyBytes(bytes)| *bytes as u64);
        let bytes = said.or_else(|| response.body().size_hint().exact()).unwrap_or(0);
        if bytes == 0 {
            return (response, None);
        }
        let holder = facts.user().map_or(Holder::Address(client.key()), Holder::Person);
        let error = match self.memory.reply(holder, bytes) {
            Ok(held) => return (response, Some(held)),
            Err(UsedUp::Own) => {
                let message = "too many answers are on their way to you; read them before you ask for more";
                AppError::too_many(message, self.retry_after_s())
            }
            Err(UsedUp::All) => self.no_memory(),
        };
        (error.into_response(), None)
    }

    /// Puts every failure into the envelope, also those that axum made.
    fn enveloped(&self, mut response: Response<Body>, id: &RequestId, facts: &RequestFacts) -> Response<Body> {
        let status = response.status();
        if !status.is_client_error() && !status.is_server_error() {
            return response;
        }
        let pending = response.extensions_mut().remove::<Pending>();
        let error = match pending {
            Some(Pending(error)) => error,
            None if is_plain(&response) => Arc::new(plain_error(status)),
            None => return response,
        };
        log_cause(&error, id);
        if let Some(event) = SecurityEvent::of_refusal(error.code()) {
            let user_id = facts.user().map(|user| user.to_string());
            self.app.security_event(event, id.as_str(), user_id.as_deref());
        }
        let (mut parts, _) = response.into_parts();
        parts.headers.remove(header::CONTENT_LENGTH);
        parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if status == StatusCode::REQUEST_TIMEOUT {
            parts.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Response::from_parts(parts, Body::from(error.envelope(id.as_str())))
    }

    fn overloaded(&self) -> Response<Body> {
        let message = "the server has more to do than it can; try again";
        AppError::unavailable("BUSY", message, self.retry_after_s()).into_response()
    }

    fn retry_after_s(&self) -> u32 {
        jittered_retry_after(self.request_ids.fetch_add(1, Ordering::Relaxed))
    }

    fn request_id<B>(&self, request: &Request<B>) -> RequestId {
        if let Some(sent) = request.headers().get(X_REQUEST_ID).filter(|sent| is_sane(sent.as_bytes())) {
            return RequestId(sent.clone());
        }
        let number = mix(self.request_ids.fetch_add(1, Ordering::Relaxed));
        let mut text = [0; 16];
        for (index, digit) in text.iter_mut().enumerate() {
            *digit = b"0123456789abcdef"[(number >> (60 - 4 * index)) as usize & 15];
        }
        RequestId(HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("-")))
    }
}

fn is_sane(id: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=limits::REQUEST_ID_CHARS_MAX).contains(&id.len()) && id.iter().all(allowed)
}

fn is_plain(response: &Response<Body>) -> bool {
    let content_type = response.headers().get(header::CONTENT_TYPE);
    content_type.is_none_or(|value| value.as_bytes().starts_with(b"text/plain"))
}

fn plain_error(status: StatusCode) -> AppError {
    match status {
        StatusCode::NOT_FOUND => AppError::new(status, "NOT_FOUND", "there is nothing at this address"),
        StatusCode::METHOD_NOT_ALLOWED => {
            AppError::new(status, "METHOD_NOT_ALLOWED", "this address does not take that method")
        }
        StatusCode::PAYLOAD_TOO_LARGE => AppError::too_large("the body is larger than this address takes"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            AppError::unsupported_media("this address does not take that type of content")
        }
        StatusCode::UNPROCESSABLE_ENTITY => AppError::validation("the content of the request is wrong"),
        StatusCode::UNAUTHORIZED => AppError::unauthorized("UNAUTHORIZED", "sign in first"),
        StatusCode::FORBIDDEN => AppError::forbidden("FORBIDDEN", "this is not allowed"),
        status if status.is_client_error() => AppError::new(status, "BAD_REQUEST", "the request is malformed"),
        status => AppError::new(status, "INTERNAL_ERROR", "the server failed; the request id finds the reason"),
    }
}

fn log_cause(error: &AppError, id: &RequestId) {
    let Some(cause) = error.cause() else { return };
    let (request_id, code) = (id.as_str(), error.code());
    match error.status() {
        StatusCode::INTERNAL_SERVER_ERROR => tracing::error!(request_id, code, cause, "A request failed"),
        StatusCode::SERVICE_UNAVAILABLE => tracing::warn!(request_id, code, cause, "A request was put off"),
        _ => tracing::debug!(request_id, code, cause, "A request was refused"),
    }
}

/// The route's template where there is one: neither it nor a path holds what stands in a query, and a template holds
/// nothing of the client's at all.
fn log_answered(id: &RequestId, method: &Method, uri: &Uri, facts: &RequestFacts, status: u16, took: Duration) {
    let (request_id, user_id) = (id.as_str(), facts.user().map(|user| user.to_string()));
    let path = facts.route().unwrap_or_else(|| shortened(uri.path()));
    let latency_ms = took.as_micros() as f64 / 1e3;
    tracing::info!(
        target: REQUEST_LOG,
        request_id, %method, path, status_code = status, latency_ms, user_id,
        "{method} {path} - {status}"
    );
}

/// Enough of a path that leads nowhere.
fn shortened(path: &str) -> &str {
    let end = (0..=limits::LOGGED_PATH_BYTES_MAX.min(path.len())).rev().find(|end| path.is_char_boundary(*end));
    &path[..end.unwrap_or(0)]
}

/// One more for as long as it lives.
pub(super) struct Counted<'a>(&'a Gauge);

impl<'a> Counted<'a> {
    pub(super) fn one_more(gauge: &'a Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}
