//! Reading the fields of forms within bounds, with one wording of what may be wrong.

use axum::extract::multipart::{Field, Multipart, MultipartError};
use axum::http::StatusCode;

use crate::error::{AppError, AppResult};
use crate::limits;

/// A form whose parts are bounded in number, and their names in length.
pub struct Form {
    parts: Multipart,
    left: usize,
}

impl Form {
    /// A form of at most `parts_max` parts.
    pub fn new(parts: Multipart, parts_max: usize) -> Self {
        Self { parts, left: parts_max }
    }

    /// The next part, or `None` after the last one.
    ///
    /// # Errors
    /// 422 when there are too many, or when a name is too long; 400 when the form cannot be read.
    pub async fn next(&mut self) -> AppResult<Option<Field<'_>>> {
        let Some(field) = self.parts.next_field().await.map_err(|error| broken(&error))? else { return Ok(None) };
        if self.left == 0 {
            return Err(AppError::validation("the form has too many parts"));
        }
        self.left -= 1;
        let too_long = |name: Option<&str>| name.is_some_and(|name| name.len() > limits::FORM_NAME_BYTES_MAX);
        if too_long(field.name()) || too_long(field.file_name()) {
            let sentence = format!("the name of a part or file has at most {} bytes", limits::FORM_NAME_BYTES_MAX);
            return Err(AppError::validation(sentence));
        }
        Ok(Some(field))
    }
}

/// The bytes of a part, at most `bytes_max`; `too_large` says what is wrong when there are more.
///
/// # Errors
/// 413, or 400 when the form cannot be read.
pub async fn field_bytes(
    mut field: Field<'_>,
    bytes_max: usize,
    too_large: impl FnOnce() -> AppError,
) -> AppResult<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(|error| broken(&error))? {
        if bytes.len() + chunk.len() > bytes_max {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// What is wrong with a form that cannot be read.
fn broken(error: &MultipartError) -> AppError {
    match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => AppError::too_large("the form is larger than this address takes"),
        status if status.is_client_error() => {
            AppError::new(StatusCode::BAD_REQUEST, "MALFORMED_FORM", "the form cannot be read").with_cause(error)
        }
        _ => AppError::internal(error),
    }
}
