//! What a request must be before anybody looks at what it asks for.

use axum::http::uri::Authority;
use axum::http::{Request, StatusCode, Version, header};

use crate::error::{AppError, AppResult};
use crate::limits;

/// Refuses requests that do not say for which host they are, and addresses that are too long.
pub(super) fn check<B>(request: &Request<B>) -> AppResult<()> {
    check_host(request)?;
    let uri = request.uri();
    let too_long = |part: &str, bytes_max: usize| {
        let sentence = format!("the {part} of an address has at most {bytes_max} bytes");
        Err(AppError::new(StatusCode::URI_TOO_LONG, "URI_TOO_LONG", sentence))
    };
    if uri.path().len() > limits::PATH_BYTES_MAX {
        return too_long("path", limits::PATH_BYTES_MAX);
    }
    if uri.query().is_some_and(|query| query.len() > limits::QUERY_BYTES_MAX) {
        return too_long("query", limits::QUERY_BYTES_MAX);
    }
    Ok(())
}

/// RFC 9112, 3.2: a request of HTTP/1.1 has one `Host`, whose value is that of a host, or empty.
fn check_host<B>(request: &Request<B>) -> AppResult<()> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let is_one = |host: &axum::http::HeaderValue| {
        let text = host.as_bytes();
        text.is_empty() || (!text.contains(&b'@') && Authority::try_from(text).is_ok())
    };
    match (hosts.next(), hosts.next()) {
        (None, _) if request.version() < Version::HTTP_11 => Ok(()),
        (Some(host), None) if is_one(host) => Ok(()),
        _ => {
            let sentence = "send one Host header that names the server";
            Err(AppError::new(StatusCode::BAD_REQUEST, "HOST_INVALID", sentence))
        }
    }
}
