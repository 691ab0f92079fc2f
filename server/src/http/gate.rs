//! Around every request: a place among those in flight, a request id, the error envelope, headers, one log line.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, DefaultBodyLimit};
use axum::http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use axum::response::IntoResponse;
use futures_util::FutureExt;
use hyper::body::{Body as HttpBody, Incoming};
use tower::Service;

use super::activity::Activity;
use super::body::{Reply, Timed};
use super::in_flight::InFlight;
use crate::clock::{Stopwatch, mix};
use crate::error::{AppError, Pending, jittered_retry_after};
use crate::limits;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id under which a request appears in headers, errors and logs. An extension of every request.
#[derive(Debug, Clone)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// Of a request that did not come through the gate.
    pub(super) fn none() -> Self {
        Self(HeaderValue::from_static("-"))
    }

    /// Its characters.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// What all connections share.
pub(super) struct Gate {
    router: Router,
    in_flight: InFlight,
    in_flight_max: usize,
    request_ids: AtomicU64,
}

impl Gate {
    /// `draw` makes the request ids of this process differ from those of any other.
    pub(super) fn new(router: Router, in_flight_max: usize, draw: u64) -> Self {
        Self { router, in_flight: InFlight::default(), in_flight_max, request_ids: AtomicU64::new(draw) }
    }

    /// Answers one request.
    pub(super) async fn handle(
        &self,
        peer: SocketAddr,
        activity: Arc<Activity>,
        request: Request<Incoming>,
    ) -> Response<Reply> {
        activity.serving();
        let log = tracing::enabled!(tracing::Level::INFO)
            .then(|| (Stopwatch::start(), request.method().clone(), request.uri().clone()));
        let id = self.request_id(&request);
        let response = match self.in_flight.enter(self.in_flight_max) {
            Some(_place) => self.call(peer, &activity, &id, request).await,
            None => self.overloaded(),
        };
        let mut response = enveloped(response, &id);
        add_headers(&mut response, &id, &activity);
        if let Some((watch, method, uri)) = log {
            let micros = watch.elapsed().as_micros() as u64;
            // The path only: a query may carry what nobody should find in a log.
            tracing::info!(
                request_id = id.as_str(), %method, path = uri.path(), status = response.status().as_u16(), micros,
                "Answered"
            );
        }
        response.map(|inner| Reply { inner, activity })
    }

    async fn call(
        &self,
        peer: SocketAddr,
        activity: &Arc<Activity>,
        id: &RequestId,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let mut request = request.map(|body| match body.is_end_stream() {
            true => Body::empty(),
            false => Body::new(Timed::new(body, Arc::clone(activity), self.in_flight.clone())),
        });
        request.extensions_mut().insert(id.clone());
        request.extensions_mut().insert(ConnectInfo(peer));
        DefaultBodyLimit::max(limits::BODY_BYTES_MAX).apply(&mut request);
        let mut router = self.router.clone();
        let answered = AssertUnwindSafe(router.call(request)).catch_unwind().await;
        let response = answered.map_or_else(
            |_panic| AppError::internal("a handler panicked").into_response(),
            |infallible| infallible.unwrap_or_else(|never| match never {}),
        );
        if activity.was_body_late() {
            let message = "the body did not arrive in time";
            return AppError::new(StatusCode::REQUEST_TIMEOUT, "REQUEST_TIMEOUT", message).into_response();
        }
        response
    }

    fn overloaded(&self) -> Response<Body> {
        let retry_after_s = jittered_retry_after(self.request_ids.fetch_add(1, Ordering::Relaxed));
        let message = "the server has more to do than it can; try again";
        AppError::unavailable("BUSY", message, retry_after_s).into_response()
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

/// Puts every failure into the envelope, also those that axum made.
fn enveloped(mut response: Response<Body>, id: &RequestId) -> Response<Body> {
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
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if status == StatusCode::REQUEST_TIMEOUT {
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Response::from_parts(parts, Body::from(error.envelope(id.as_str())))
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
        status => AppError::new(status, "INTERNAL", "the server failed; the request id finds the reason"),
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

fn add_headers(response: &mut Response<Body>, id: &RequestId, activity: &Activity) {
    let headers = response.headers_mut();
    headers.insert(X_REQUEST_ID, id.0.clone());
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
    headers.insert(
        PERMISSIONS_POLICY,
        HeaderValue::from_static("camera=(), microphone=(), geolocation=(), payment=(), usb=()"),
    );
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if activity.was_body_late() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}
