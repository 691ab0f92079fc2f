//! `DELETE /students/face`: the consent ends. Photo and template go; that there was one stays known, so that another
//! face cannot take its place unseen.

use axum::extract::State;
use axum::http::StatusCode;

use super::{Faces, queries, reference};
use crate::app::App;
use crate::audit::{self, Action, Event};
use crate::auth::Allowed;
use crate::auth::permission::FacesEnroll;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult};
use crate::evidence;
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
    let Some(row) = reference::row(&app, &tenant, &user).await? else { return Ok(StatusCode::NO_CONTENT) };
    // The photo first: if this is cut off, the row is still there to ask for it again.
    evidence::erase_reference(&app, &tenant, &user, row.image_sha256).await?;
    let written = app.db.write(move |tx: &Tx<'_>| {
        if queries::delete_reference(tx, &tenant, &user)? {
            queries::set_reenrolment(tx, &tenant, &user, ("withdrawn", None), now_ms)?;
            let (action, kind, id) = (Action::FaceWithdraw, "face", user.as_str());
            audit::record(tx, &actor, &Event { action, kind, id, reason: None, result: "withdrawn" }, now_ms)?;
        }
        Ok(())
    });
    written.await.map_err(|error: DbError| AppError::from(error))?;
    Faces::of(&app)?.references.invalidate(&row.id);
    Ok(StatusCode::NO_CONTENT)
}
