//! `GET /students/face`: what the server keeps of one's own face, and whether it is used.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::{engine, queries};
use crate::app::App;
use crate::auth::Allowed;
use crate::auth::permission::FacesEnroll;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult};
use crate::http::Json;
use crate::settings;

/// How one's own face stands.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FaceStatus {
    /// Whether the institution compares faces.
    face_matching: bool,
    /// Whether this server can read faces now.
    available: bool,
    /// Whether a reference is enrolled, which is the consent to compare selfies with it.
    enrolled: bool,
    /// When it was enrolled.
    #[serde(rename = "enrolled_at", serialize_with = "crate::clock::as_iso_or_null")]
    #[schema(value_type = Option<String>, format = DateTime)]
    enrolled_at_ms: Option<i64>,
    /// The version of the models that read it.
    model: Option<String>,
    /// After a withdrawal or for another face: `withdrawn`, `pending` or `approved`.
    reenrolment: Option<String>,
}

/// Shows whether a face is enrolled.
#[utoipa::path(get, path = "/students/face", tag = "faces", responses((status = 200, body = FaceStatus)))]
pub(super) async fn show_face(State(app): State<App>, allowed: Allowed<FacesEnroll>) -> AppResult<Json<FaceStatus>> {
    let available = engine(&app)?.model_version().is_ok();
    let (tenant, user) = (allowed.tenant.clone(), allowed.id.to_string());
    let read = app.db.read(move |tx: &Tx<'_>| {
        let reference = queries::reference(tx, &tenant, &user)?;
        Ok(FaceStatus {
            face_matching: settings::of(tx, &tenant)?.face_matching,
            available,
            enrolled: reference.is_some(),
            enrolled_at_ms: reference.as_ref().map(|reference| reference.enrolled_at_ms),
            model: reference.map(|reference| reference.model),
            reenrolment: queries::reenrolment(tx, &tenant, &user)?,
        })
    });
    read.await.map_err(|error: DbError| AppError::from(error)).map(Json)
}
