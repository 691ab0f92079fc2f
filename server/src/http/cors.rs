//! Which pages of other origins may call us, by CORS_ORIGINS, and what they may send and read: what the description of the
//! operations names, and nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{OpenApi, RefOr};

use crate::config::{ConfigError, Origins, WebConfig};

/// How long a browser remembers that it may ask.
const MAX_AGE: Duration = Duration::from_secs(600);

/// What the operations take and give, as a browser must be told.
#[derive(Debug, Clone, Default)]
pub struct CrossOrigin {
    methods: Vec<Method>,
    request_headers: BTreeSet<String>,
    reply_headers: BTreeSet<String>,
}

impl CrossOrigin {
    /// Of every operation that is described.
    pub fn of(openapi: &OpenApi) -> Self {
        let mut found = Self::default();
        for item in openapi.paths.paths.values() {
            let operations = [
                (Method::GET, &item.get),
                (Method::POST, &item.post),
                (Method::PUT, &item.put),
                (Method::PATCH, &item.patch),
                (Method::DELETE, &item.delete),
            ];
            for (method, operation) in operations {
                let Some(operation) = operation else { continue };
                // Whatever answers GET answers HEAD.
                let head = (method == Method::GET).then_some(Method::HEAD);
                for method in [Some(method), head].into_iter().flatten() {
                    if !found.methods.contains(&method) {
                        found.methods.push(method);
                    }
                }
                found.add(operation, openapi.security.as_deref());
            }
        }
        found
    }

    fn add(&mut self, operation: &Operation, usual: Option<&[SecurityRequirement]>) {
        for parameter in operation.parameters.iter().flatten() {
            if let RefOr::T(parameter) = parameter
                && parameter.parameter_in == ParameterIn::Header
            {
                self.request_headers.insert(parameter.name.to_ascii_lowercase());
            }
        }
        if operation.request_body.is_some() {
            self.request_headers.insert(header::CONTENT_TYPE.to_string());
        }
        if operation.security.as_deref().or(usual).is_some_and(|schemes| !schemes.is_empty()) {
            self.request_headers.insert(header::AUTHORIZATION.to_string());
        }
        for response in operation.responses.responses.values() {
            if let RefOr::T(response) = response {
                self.reply_headers.extend(response.headers.keys().map(|name| name.to_ascii_lowercase()));
            }
        }
    }
}

/// The layer, or `None` where no other origin may call. Only where one may are the operations looked at.
///
/// # Errors
/// When CORS_ORIGINS cannot be read.
pub fn cors(web: &WebConfig, operations: impl FnOnce() -> CrossOrigin) -> Result<Option<CorsLayer>, ConfigError> {
    let origin = match web.origins()? {
        Origins::None => return Ok(None),
        Origins::Any => AllowOrigin::any(),
        Origins::Exactly(origins) => AllowOrigin::list(origins.iter().filter_map(|origin| {
            // Checked already: these are printable.
            HeaderValue::from_str(origin).ok()
        })),
    };
    let operations = operations();
    Ok(Some(
        CorsLayer::new()
            .allow_origin(origin)
            .allow_credentials(web.cors_allow_credentials)
            .allow_methods(operations.methods.clone())
            .allow_headers(names(&operations.request_headers))
            .expose_headers(names(&operations.reply_headers))
            .max_age(MAX_AGE),
    ))
}

fn names(described: &BTreeSet<String>) -> Vec<HeaderName> {
    described.iter().filter_map(|name| name.parse().ok()).collect()
}
