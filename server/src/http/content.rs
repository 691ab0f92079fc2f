//! What a body says of itself, looked at before anybody reads it: we unpack nothing, and text is UTF-8.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::body::Body as _;

use crate::error::AppError;

/// The charsets whose every text is UTF-8.
const CHARSETS: [&str; 3] = ["utf-8", "utf8", "us-ascii"];

/// Refuses a body that no handler would understand. A layer of every route, so that none can forget it.
pub async fn check_content(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let headers = request.headers();
    if codings(headers, header::TRANSFER_ENCODING).any(|coding| !coding.eq_ignore_ascii_case("chunked")) {
        let text = "send the body without a transfer coding, or chunked";
        return AppError::new(StatusCode::NOT_IMPLEMENTED, "UNKNOWN_TRANSFER_CODING", text).into_response();
    }
    if codings(headers, header::CONTENT_ENCODING).any(|coding| !coding.eq_ignore_ascii_case("identity")) {
        let mut refused =
            AppError::unsupported_media("send the body as it is, without Content-Encoding").into_response();
        refused.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        return refused;
    }
    if headers.get_all(header::CONTENT_TYPE).iter().count() > 1 {
        return AppError::unsupported_media("send one Content-Type").into_response();
    }
    match charset(headers) {
        Some(charset) if !CHARSETS.iter().any(|known| charset.eq_ignore_ascii_case(known)) => {
            AppError::unsupported_media("send text in UTF-8").into_response()
        }
        _ => next.run(request).await,
    }
}

/// The codings of a header that may come several times, each with a list.
fn codings(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    // What is no text is no coding that we know either.
    let values = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("unreadable"));
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|coding| !coding.is_empty())
}

/// The type of the content in lower case, without its parameters; empty where none is told.
pub fn media_type(headers: &HeaderMap) -> String {
    let sent = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    sent.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether a body says that it is JSON.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let kind = media_type(headers);
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

fn charset(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let found = parameters(value).into_iter().find(|(name, _)| name.eq_ignore_ascii_case("charset"));
    found.map(|(_, value)| value)
}

/// The parameters of a type of content. A semicolon between quotes ends none.
fn parameters(value: &str) -> Vec<(String, String)> {
    let (mut parts, mut quoted, mut escaped) = (vec![String::new()], false, false);
    for c in value.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => {
                escaped = true;
                continue;
            }
            '"' => {
                quoted = !quoted;
                continue;
            }
            ';' if !quoted => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().expect("it begins with one part").push(c);
    }
    let pair = |part: &String| part.split_once('=').map(|(name, value)| (name.trim().into(), value.trim().into()));
    parts.iter().skip(1).filter_map(pair).collect()
}

/// Marks an answer that is written bit by bit, so that no proxy holds it back, packs it or keeps it.
pub fn streamed(answer: impl IntoResponse, cache_control: &'static str) -> Response {
    let mut response = answer.into_response();
    response.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(cache_control));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charset_of(value: &'static str) -> Option<String> {
        charset(&[(header::CONTENT_TYPE, HeaderValue::from_static(value))].into_iter().collect())
    }

    #[test]
    fn a_charset_is_found_wherever_it_stands_and_not_where_it_only_looks_like_one() {
        assert_eq!(charset_of("text/csv; header=present; Charset=\"UTF-8\"").as_deref(), Some("UTF-8"));
        assert_eq!(charset_of("application/json;charset=latin1").as_deref(), Some("latin1"));
        assert_eq!(charset_of("multipart/form-data; boundary=\"a;charset=latin1\""), None);
        assert_eq!(charset_of("application/json"), None);
    }
}
