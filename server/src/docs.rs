//! `/openapi.json`, and the two pages that show it: Swagger UI at `/docs` and ReDoc at `/redoc`.
//!
//! The pages are whole files inside the program and ask nobody else for anything; their policy allows exactly their own
//! scripts, by hash. In production they are there with DOCS_ENABLED=true, for admins.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::Bytes;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use data_encoding::BASE64;
use sha2::{Digest, Sha256};
use utoipa::openapi::OpenApi;

use crate::app::App;
use crate::auth::{MaybeUser, Role};
use crate::config::Environment;
use crate::error::AppError;

/// Relative, so that the pages also work below the path of a proxy.
const DESCRIPTION: &str = "openapi.json";

static SWAGGER: LazyLock<Page> = LazyLock::new(|| {
    let page = aide::swagger::Swagger::new(DESCRIPTION).with_title("Muster: the API");
    Page::new(page.html())
});
static REDOC: LazyLock<Page> = LazyLock::new(|| {
    let page = aide::redoc::Redoc::new(DESCRIPTION).with_title("Muster: the API");
    Page::new(page.html())
});

/// The description of every operation, made when somebody first asks: hundreds of kilobytes that a start need not wait for.
pub type Description = LazyLock<OpenApi, Box<dyn FnOnce() -> OpenApi + Send>>;

/// The pages and the description that they show.
pub fn routes(openapi: Arc<Description>) -> Router<App> {
    let written = Arc::new(LazyLock::new(move || json(&openapi)));
    let describe = move |_: Reader| {
        let description = Bytes::clone(&written);
        async move { ([(header::CONTENT_TYPE, "application/json")], description) }
    };
    Router::new()
        .route("/openapi.json", get(describe))
        .route("/docs", get(|_: Reader| async { SWAGGER.reply() }))
        .route("/redoc", get(|_: Reader| async { REDOC.reply() }))
}

fn json(openapi: &OpenApi) -> Bytes {
    let text = openapi.to_json().unwrap_or_else(|error| {
        tracing::error!(%error, "The OpenAPI description cannot be written");
        "{}".to_owned()
    });
    Bytes::from(text)
}

/// Somebody who may read the documentation. For everybody else there is none.
struct Reader;

impl FromRequestParts<App> for Reader {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, AppError> {
        if app.config.data.env != Environment::Prod {
            return Ok(Self);
        }
        let nothing = || AppError::new(StatusCode::NOT_FOUND, "NOT_FOUND", "there is nothing at this address");
        if !app.config.web.docs_enabled {
            return Err(nothing());
        }
        match MaybeUser::from_request_parts(parts, app).await {
            Ok(MaybeUser(Some(user))) if user.role == Role::Admin => Ok(Self),
            _ => Err(nothing()),
        }
    }
}

/// A page with its policy.
struct Page {
    html: Bytes,
    policy: Arc<HeaderValue>,
}

impl Page {
    fn new(html: String) -> Self {
        let policy = policy(&html);
        let policy = HeaderValue::from_str(&policy).expect("hashes in base64 are printable");
        Self { html: Bytes::from(html), policy: Arc::new(policy) }
    }

    fn reply(&self) -> Response {
        let content_type = HeaderValue::from_static("text/html; charset=utf-8");
        let headers = [(header::CONTENT_TYPE, content_type), (header::CONTENT_SECURITY_POLICY, (*self.policy).clone())];
        (headers, self.html.clone()).into_response()
    }
}

/// The scripts of the page and no others. Both programs style what they draw, and ReDoc searches in a worker.
fn policy(html: &str) -> String {
    let hashes: Vec<String> =
        scripts(html).map(|script| format!("'sha256-{}'", BASE64.encode(&Sha256::digest(script)))).collect();
    format!(
        "default-src 'none'; script-src {}; style-src 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; \
         connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hashes.join(" ")
    )
}

/// The scripts in a page, as a browser finds them.
fn scripts(html: &str) -> impl Iterator<Item = &str> {
    let mut rest = html;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once("<script>")?;
        let (script, after) = after.split_once("</script>")?;
        rest = after;
        Some(script)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_names_the_scripts_of_the_page() {
        let page = "<p></p><script>one</script>\n<script>two</script>";
        assert_eq!(scripts(page).collect::<Vec<_>>(), ["one", "two"]);
        let one = BASE64.encode(&Sha256::digest("one"));
        assert!(policy(page).contains(&format!("script-src 'sha256-{one}' 'sha256-")));
    }
}
