//! Extractors whose refusals come in the error envelope and say what is wrong.

use axum::body::Bytes;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use utoipa::ToSchema;

use super::content::is_json;
use super::gate::RequestId;
use crate::error::AppError;
use crate::limits::JSON_DEPTH_MAX;

/// A JSON body, in or out.
#[derive(Debug, Clone, Copy)]
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = AppError;

    async fn from_request(request: Request, state: &S) -> Result<Self, AppError> {
        if !is_json(request.headers()) {
            return Err(no_json());
        }
        parse(&whole(request, state).await?).map(Self)
    }
}

/// A JSON body that may be missing altogether: clients of the systems that Muster replaces send none.
#[derive(Debug, Clone, Copy)]
pub struct OptionalJson<T>(pub Option<T>);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for OptionalJson<T> {
    type Rejection = AppError;

    async fn from_request(request: Request, state: &S) -> Result<Self, AppError> {
        // Who says nothing of a body that may be missing can mean nothing else by it.
        let is_json = is_json(request.headers()) || !request.headers().contains_key(header::CONTENT_TYPE);
        let body = whole(request, state).await?;
        if body.trim_ascii().is_empty() {
            return Ok(Self(None));
        }
        if !is_json {
            return Err(no_json());
        }
        parse(&body).map(|value| Self(Some(value)))
    }
}

async fn whole<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, AppError> {
    Bytes::from_request(request, state).await.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => too_large(),
        status => AppError::new(status, "BAD_REQUEST", rejection.body_text()),
    })
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, AppError> {
    if is_too_deep(body) {
        let text = format!("the lists and objects of a body stand in each other {JSON_DEPTH_MAX} deep at most");
        return Err(AppError::new(StatusCode::BAD_REQUEST, "JSON_TOO_DEEP", text));
    }
    axum::Json::from_bytes(body).map(|axum::Json(value)| value).map_err(|rejection| json_error(&rejection))
}

/// Looked at before anything is parsed: fields that nobody knows may stand as deep, and parsers differ in what they bear.
fn is_too_deep(body: &[u8]) -> bool {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => depth += 1,
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > JSON_DEPTH_MAX {
            return true;
        }
    }
    false
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

fn json_error(rejection: &JsonRejection) -> AppError {
    let text = rejection.body_text();
    match rejection {
        JsonRejection::JsonSyntaxError(_) => {
            AppError::new(StatusCode::BAD_REQUEST, "MALFORMED_JSON", without_values(&text))
        }
        JsonRejection::MissingJsonContentType(_) => no_json(),
        JsonRejection::JsonDataError(_) => wrong_field(without_values(&text)),
        other if other.status() == StatusCode::PAYLOAD_TOO_LARGE => too_large(),
        _ => AppError::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", text),
    }
}

fn no_json() -> AppError {
    AppError::unsupported_media("send the body as Content-Type: application/json")
}

fn too_large() -> AppError {
    AppError::too_large("the body is larger than this address takes")
}

/// 422 that names the field where the parser's sentence does.
fn wrong_field(text: String) -> AppError {
    let field = field_of(&text);
    let error = AppError::validation(text);
    match field {
        Some(field) => error.with_details(json!({ "field": field })),
        None => error,
    }
}

/// The field that the parser's sentence is about, such as `people[3].email`.
fn field_of(text: &str) -> Option<String> {
    let (_, reason) = text.split_once("target type: ").or_else(|| text.split_once("query string: "))?;
    let path = reason.split_once(": ").map(|(path, _)| path).filter(|path| is_path(path));
    let missing = reason.split_once("missing field `").and_then(|(_, rest)| rest.split_once('`'));
    let missing = missing.map(|(name, _)| name).filter(|name| is_name(name));
    match (path, missing) {
        (Some(path), Some(missing)) if path != missing => Some(format!("{path}.{missing}")),
        (path, missing) => path.or(missing).map(str::to_owned),
    }
}

fn is_path(path: &str) -> bool {
    path.split(['.', '[', ']']).all(|word| is_name(word) || word.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Longest word of a client that is told back.
const WORD_CHARS_MAX: usize = 32;

/// Behind which the path of a field stands, in JSON and in a form.
const PATHS_BEGIN: [&str; 2] = ["target type: ", "form body: "];

/// The sentence of the parser without what the client sent: it may be a password in the wrong field. Names of fields
/// and variants stay, as far as they look like such; the column says where the rest is.
pub(super) fn without_values(text: &str) -> String {
    let mut told = String::with_capacity(text.len());
    let mut rest = text;
    // The path of the field comes first, and it may hold the name of one that nobody knows.
    if let Some((before, begin, after)) =
        PATHS_BEGIN.iter().find_map(|begin| text.split_once(begin).map(|(before, after)| (before, *begin, after)))
        && let Some((path, reason)) = after.split_once(": ")
        && !is_path(path)
    {
        told.push_str(before);
        told.push_str(begin);
        told.push_str("…: ");
        rest = reason;
    }
    while let Some(at) = rest.find(['"', '`']) {
        let quote = rest[at..].chars().next().unwrap_or('"');
        let (before, quoted) = (&rest[..at], &rest[at + 1..]);
        let end = closing(quoted, quote);
        let word = &quoted[..end];
        told.push_str(before);
        told.push(quote);
        told.push_str(if quote == '`' && is_name(word) { word } else { "…" });
        told.push(quote);
        rest = quoted.get(end + 1..).unwrap_or("");
    }
    told.push_str(rest);
    told
}

fn is_name(word: &str) -> bool {
    word.len() <= WORD_CHARS_MAX && word.chars().all(|c| c.is_ascii_alphabetic() || c == '_')
}

/// Where a quoted text ends; a backslash takes the next character's meaning away.
fn closing(quoted: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in quoted.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at,
            _ => {}
        }
    }
    quoted.len()
}

/// Bytes as they are: what the description says of a body that is no text.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
pub struct Binary(#[expect(dead_code, reason = "only its type is looked at")] Vec<u8>);

/// The variable parts of the path.
#[derive(Debug, Clone, Copy)]
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(PathRejection::FailedToDeserializePathParams(error)) => Err(AppError::validation(error.body_text())),
            Err(error) => Err(AppError::internal(error)),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RequestId {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, AppError> {
        Ok(Self::of(parts))
    }
}

/// What follows the question mark.
#[derive(Debug, Clone, Copy)]
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(QueryRejection::FailedToDeserializeQueryString(error)) => Err(wrong_field(error.body_text())),
            Err(error) => Err(AppError::validation(error.body_text())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_in_each_other_is_deep() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(!is_too_deep(nested(JSON_DEPTH_MAX).as_bytes()));
        assert!(is_too_deep(nested(JSON_DEPTH_MAX + 1).as_bytes()));
        assert!(is_too_deep("{\"a\":".repeat(JSON_DEPTH_MAX + 1).as_bytes()));
        assert!(!is_too_deep(format!("[{}]", "[],".repeat(1_000)).as_bytes()));
        assert!(!is_too_deep(format!("[\"{}\\\"{}\"]", "[".repeat(99), "{".repeat(99)).as_bytes()));
    }

    #[test]
    fn what_a_client_sent_is_not_told_back_and_names_are() {
        let told = without_values("invalid type: string \"se\\\"cret\", expected u32 at line 1 column 20");
        assert_eq!(told, "invalid type: string \"…\", expected u32 at line 1 column 20");
        let told = without_values("unknown field `emial`, expected one of `email`, `new_password`");
        assert_eq!(told, "unknown field `emial`, expected one of `email`, `new_password`");
        assert_eq!(without_values("unknown field `s3cret-1`, expected `email`"), "unknown field `…`, expected `email`");
        let told =
            without_values("Failed to deserialize form body: s3cret-1: unknown field `s3cret-1`, expected `email`");
        assert_eq!(told, "Failed to deserialize form body: …: unknown field `…`, expected `email`");
        for broken in ["\"", "`", "a \"b", "a `\\", "ü\"ü"] {
            assert!(!without_values(broken).is_empty());
        }
    }
}
