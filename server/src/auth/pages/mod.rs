//! The pages that links in mail open: set a new password, confirm an address. Plain files without a framework.
//!
//! The token stands behind `#`, which browsers keep to themselves: it reaches no log of ours and of no proxy. Every
//! address in the pages is relative, so that they work below a path too.

use axum::Router;
use axum::http::header::{self, HeaderName};
use axum::response::IntoResponse;
use axum::routing::get;

use crate::app::App;

/// Scripts and styles from here only, requests to here only, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";

/// `/reset-password`, `/confirm-email`, and what they load.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/reset-password", get(|| async { file(HTML, include_str!("reset_password.html")) }))
        .route("/confirm-email", get(|| async { file(HTML, include_str!("confirm_email.html")) }))
        .route("/account.js", get(|| async { file("text/javascript; charset=utf-8", include_str!("account.js")) }))
        .route("/account.css", get(|| async { file("text/css; charset=utf-8", include_str!("account.css")) }))
}

fn file(content_type: &'static str, text: &'static str) -> impl IntoResponse {
    let headers: [(HeaderName, &str); 6] = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text)
}
