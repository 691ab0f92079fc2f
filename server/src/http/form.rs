//! Bodies that come as JSON or as a form: clients of OAuth 2 send a name and a password as a form.

use axum::extract::rejection::FormRejection;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;

use super::content::media_type;
use super::extract::{Json, without_values};
use crate::app::App;
use crate::config::Origins;
use crate::error::AppError;

const FORM: &str = "application/x-www-form-urlencoded";

/// A JSON body, or a form with the same fields.
#[derive(Debug, Clone, Copy)]
pub struct JsonOrForm<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for JsonOrForm<T> {
    type Rejection = AppError;

    async fn from_request(request: Request, app: &App) -> Result<Self, AppError> {
        if media_type(request.headers()) != FORM {
            return Json::<T>::from_request(request, app).await.map(|Json(value)| Self(value));
        }
        if is_from_a_foreign_page(app, request.headers()) {
            let text = "pages of other origins send no forms; CORS_ORIGINS lists those that may";
            return Err(AppError::forbidden("FOREIGN_ORIGIN", text));
        }
        match axum::Form::from_request(request, app).await {
            Ok(axum::Form(value)) => Ok(Self(value)),
            Err(rejection) => Err(form_error(rejection)),
        }
    }
}

/// A browser asks us before a page of another origin sends JSON, and does not ask for a form: without this, any page could
/// let its visitors guess passwords until the address of their campus is locked.
fn is_from_a_foreign_page(app: &App, headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    let text = |value: &axum::http::HeaderValue| value.to_str().unwrap_or_default().to_lowercase();
    let origin = text(origin);
    let own = headers.get(header::HOST).map(text).unwrap_or_default();
    let public = app.config.mail.public_url().unwrap_or_default().to_lowercase();
    let is_public =
        !origin.is_empty() && public.strip_prefix(&origin).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if is_public || origin.split_once("://").is_some_and(|(_, authority)| authority == own) {
        return false;
    }
    match app.config.web.origins() {
        Ok(Origins::Any) => false,
        Ok(Origins::Exactly(listed)) => !listed.iter().any(|known| known.eq_ignore_ascii_case(&origin)),
        Ok(Origins::None) | Err(_) => true,
    }
}

fn form_error(rejection: FormRejection) -> AppError {
    let text = rejection.body_text();
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => AppError::too_large("the body is larger than this address takes"),
        StatusCode::UNPROCESSABLE_ENTITY => AppError::validation(without_values(&text)),
        _ => AppError::new(StatusCode::BAD_REQUEST, "MALFORMED_FORM", without_values(&text)),
    }
}
