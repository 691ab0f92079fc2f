//! Which pages of other origins may call us, by CORS_ORIGINS.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::config::{ConfigError, Origins, WebConfig};

/// How long a browser remembers that it may ask.
const MAX_AGE: Duration = Duration::from_secs(600);

/// What a page may send beside the headers that every page may.
const REQUEST_HEADERS: [HeaderName; 13] = [
    header::ACCEPT,
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    HeaderName::from_static("last-event-id"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("tus-resumable"),
    HeaderName::from_static("upload-checksum"),
    HeaderName::from_static("upload-length"),
    HeaderName::from_static("upload-metadata"),
    HeaderName::from_static("upload-offset"),
    HeaderName::from_static("upload-defer-length"),
];

/// What a page may read of a reply beside the headers that every page may.
const REPLY_HEADERS: [HeaderName; 12] = [
    header::CONTENT_DISPOSITION,
    header::ETAG,
    header::LOCATION,
    header::RETRY_AFTER,
    header::WWW_AUTHENTICATE,
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("tus-resumable"),
    HeaderName::from_static("tus-version"),
    HeaderName::from_static("tus-extension"),
    HeaderName::from_static("tus-max-size"),
    HeaderName::from_static("upload-offset"),
    HeaderName::from_static("upload-expires"),
];

/// The layer, or `None` where no other origin may call.
///
/// # Errors
/// When CORS_ORIGINS cannot be read.
pub fn cors(web: &WebConfig) -> Result<Option<CorsLayer>, ConfigError> {
    let origin = match web.origins()? {
        Origins::None => return Ok(None),
        Origins::Any => AllowOrigin::any(),
        Origins::Exactly(origins) => AllowOrigin::list(origins.iter().filter_map(|origin| {
            // Checked already: these are printable.
            HeaderValue::from_str(origin).ok()
        })),
    };
    let methods = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    Ok(Some(
        CorsLayer::new()
            .allow_origin(origin)
            .allow_credentials(web.cors_allow_credentials)
            .allow_methods(methods)
            .allow_headers(REQUEST_HEADERS)
            .expose_headers(REPLY_HEADERS)
            .max_age(MAX_AGE),
    ))
}
