//! `DELETE /students/face`: the consent ends. Photo and template go (but for a photo that is evidence of a record too); that there was one stays known, so that another
//! face cannot take its place unseen.

use axum::extract::State;
use axum::http::StatusCode;

use super::{Faces, queries};
use crate::app::App;
use crate::audit::{self, Action, Event};
use crate::auth::Allowed;
use crate::auth::permission::FacesEnroll;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult};
use crate::evidence::{self, Use};
use crate::http::RequestId;

/// Erases one's own reference. Works also while faces are off, and when nothing is enrolled.
#[utoipa::path(delete, path = "/students/face", tag = "faces", responses((status = 204)))]
pub(super) async fn withdraw_face(
    State(app): State<App>,
    allowed: Allowed<FacesEnroll>,
    request: RequestId,
) -> AppResult<StatusCode> {
    let (tenant, user, now_ms) = (allowed.tenant.clone(), allowed.id.to_string(), app.now_ms());
    let actor = allowed.actor(&request);
    let written = app.db.write(move |tx: &Tx<'_>| {
        let Some(row) = queries::reference(tx, &tenant, &user)? else { return Ok(None) };
        queries::delete_reference(tx, &tenant, &user)?;
        // A photo goes with its last use: one that a submission named is evidence of its record, and stays as that.
        for sha256 in &row.images {
            evidence::end(tx, &tenant, &user, sha256, Use::Reference, now_ms)?;
        }
        queries::set_reenrolment(tx, &tenant, &user, ("withdrawn", None), now_ms)?;
        let (action, kind, id) = (Action::FaceWithdraw, "face", user.as_str());
        audit::record(tx, &actor, &Event { action, kind, id, reason: None, result: "withdrawn" }, now_ms)?;
        Ok(Some(row.id))
    });
    if let Some(reference) = written.await.map_err(|error: DbError| AppError::from(error))? {
        Faces::of(&app)?.references.invalidate(&reference);
        app.wake_jobs();
    }
    Ok(StatusCode::NO_CONTENT)
}
