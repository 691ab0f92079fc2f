//! What a client may know about a failure, and the one envelope in which it is told.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::limits;

/// The result of a handler.
pub type AppResult<T> = Result<T, AppError>;

/// A failure as a client sees it. Its cause, if any, is only logged.
#[derive(Debug, Clone)]
pub struct AppError {
    status: StatusCode,
    code: &'static str,
    message: Cow<'static, str>,
    details: Value,
    retry_after_s: Option<u32>,
    cause: Option<Box<str>>,
}

impl AppError {
    /// A failure with a stable code and a sentence.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, message: message.into(), details: Value::Null, retry_after_s: None, cause: None }
    }

    /// 422: the request is understood and its content is wrong.
    pub fn validation(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "VALIDATION_ERROR", message)
    }

    /// 422 that names the field.
    pub fn field(field: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::validation(message).with_details(json!({ "field": field }))
    }

    /// 401: nobody is signed in, or no longer.
    pub fn unauthorized(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code, message)
    }

    /// 403: signed in, and not allowed.
    pub fn forbidden(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, message)
    }

    /// 404: `what` is not there, or is not for this user to know about.
    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", format!("{what} was not found"))
    }

    /// 409: what is stored does not allow it.
    pub fn conflict(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// 413: more bytes than the route takes.
    pub fn too_large(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", message)
    }

    /// 415: a type of content that the route does not take.
    pub fn unsupported_media(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", message)
    }

    /// 429: too often; come back after `retry_after_s`.
    pub fn too_many(message: impl Into<Cow<'static, str>>, retry_after_s: u32) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", message).retry_after(retry_after_s)
    }

    /// 503: not now; come back after `retry_after_s`.
    pub fn unavailable(code: &'static str, message: impl Into<Cow<'static, str>>, retry_after_s: u32) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message).retry_after(retry_after_s)
    }

    /// 500: a defect of ours. The cause goes to the log, once, and not to the client.
    pub fn internal(cause: impl fmt::Display) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "INTERNAL_ERROR",
            "the server failed; the request id finds the reason",
        )
        .with_cause(cause)
    }

    /// Adds a JSON object for machines.
    pub fn with_details(mut self, details: Value) -> Self {
        self.details = details;
        self
    }

    /// Adds one detail to those that are there.
    pub fn with_detail(mut self, name: &str, value: impl Into<Value>) -> Self {
        if !self.details.is_object() {
            self.details = json!({});
        }
        self.details[name] = value.into();
        self
    }

    /// Adds a cause for the log.
    pub fn with_cause(mut self, cause: impl fmt::Display) -> Self {
        self.cause = Some(cause.to_string().into_boxed_str());
        self
    }

    /// Adds `Retry-After`.
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// The sentence.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// After how many seconds to come back, if it is worth it.
    pub(crate) fn retry_after_s(&self) -> Option<u32> {
        self.retry_after_s
    }

    /// What machines are told; null if nothing.
    pub(crate) fn details(&self) -> &Value {
        &self.details
    }

    /// What is logged and not told.
    pub(crate) fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// The envelope's bytes.
    pub(crate) fn envelope(&self, request_id: &str) -> Vec<u8> {
        let details = if self.details.is_null() { &EMPTY } else { &self.details };
        let body = Borrowed { error: Fields { code: self.code, message: &self.message, details, request_id } };
        serde_json::to_vec(&body).unwrap_or_else(|_| b"{}".to_vec())
    }
}

static EMPTY: std::sync::LazyLock<Value> = std::sync::LazyLock::new(|| json!({}));

#[derive(Serialize)]
struct Borrowed<'a> {
    error: Fields<'a>,
}

#[derive(Serialize)]
struct Fields<'a> {
    code: &'a str,
    message: &'a str,
    details: &'a Value,
    request_id: &'a str,
}

/// The body of every reply that is not a success.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorEnvelope {
    /// What went wrong.
    pub error: ErrorFields,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorFields {
    /// Stable, for programs.
    #[schema(example = "VALIDATION_ERROR")]
    pub code: String,
    /// A sentence, for people.
    pub message: String,
    /// More, per code.
    #[schema(value_type = Object)]
    pub details: Value,
    /// The same as in the `X-Request-ID` header and in the server's log.
    pub request_id: String,
}

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        self.cause.as_ref().map_or(Ok(()), |cause| write!(f, " ({cause})"))
    }
}

impl std::error::Error for AppError {}

/// An error on its way out: `http` turns it into the envelope, where the request id is known.
#[derive(Clone)]
pub(crate) struct Pending(pub(crate) Arc<AppError>);

impl IntoResponse for AppError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(Pending(Arc::new(self)));
        response
    }
}

/// A `Retry-After` that differs from client to client, so that they do not all come back at once.
pub(crate) fn jittered_retry_after(draw: u64) -> u32 {
    let (least, most) = (*limits::RETRY_AFTER_S.start(), *limits::RETRY_AFTER_S.end());
    least + (crate::clock::mix(draw) % u64::from(most - least + 1)) as u32
}
