//! `/admin/face-reenrolments`: a person who has seen the student allows another face. Nobody allows their own.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::queries;
use crate::app::App;
use crate::audit::{self, Action, Event};
use crate::auth::Allowed;
use crate::auth::permission::DevicesApprove;
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Json, Page, Path, Query, RequestId};
use crate::ids::UserId;

/// A student who wants another face than before.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Reenrolment {
    /// Who.
    user_id: UserId,
    /// Since when.
    #[serde(rename = "asked_at", serialize_with = "crate::clock::as_iso")]
    #[schema(value_type = String, format = DateTime)]
    asked_at_ms: i64,
}

/// A page of them.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Reenrolments {
    /// The rows.
    items: Vec<Reenrolment>,
    /// Where the next page begins.
    next: Option<UserId>,
}

/// Lists the students whose new face waits for an approval.
#[utoipa::path(
    get, path = "/admin/face-reenrolments", tag = "faces", params(Page),
    responses((status = 200, body = Reenrolments))
)]
pub(super) async fn list_reenrolments(
    State(app): State<App>,
    allowed: Allowed<DevicesApprove>,
    Query(page): Query<Page>,
) -> AppResult<Json<Reenrolments>> {
    let (tenant, after, limit) = (allowed.tenant.clone(), page.after()?, page.limit());
    let read =
        app.db.read(move |tx| queries::pending_reenrolments(tx, &tenant, after, limit + 1).map_err(AppError::from));
    let mut rows = read.await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let items: Vec<_> = rows.into_iter().map(|(user_id, asked_at_ms)| Reenrolment { user_id, asked_at_ms }).collect();
    let next = if more { items.last().map(|item| item.user_id) } else { None };
    Ok(Json(Reenrolments { items, next }))
}

/// Allows a student's next photo, whatever face it shows.
#[utoipa::path(
    post, path = "/admin/face-reenrolments/{user_id}/approve", tag = "faces", params(("user_id" = UserId, Path)),
    responses(
        (status = 204),
        (status = 403, description = "OWN_REQUEST", body = ErrorEnvelope),
        (status = 404, description = "nobody of this id had a face enrolled or waits", body = ErrorEnvelope)
    )
)]
pub(super) async fn approve_reenrolment(
    State(app): State<App>,
    allowed: Allowed<DevicesApprove>,
    request: RequestId,
    Path(student): Path<UserId>,
) -> AppResult<StatusCode> {
    if student == allowed.id {
        return Err(AppError::forbidden("OWN_REQUEST", "somebody else has to approve your own face"));
    }
    let (actor, now_ms) = (allowed.actor(&request), app.now_ms());
    let written = app.db.write(move |tx| {
        let subject = student.to_string();
        if queries::reenrolment(tx, &actor.tenant, &subject)?.is_none() {
            return Err(AppError::not_found("the request"));
        }
        queries::set_reenrolment(tx, &actor.tenant, &subject, ("approved", Some(&actor.id)), now_ms)?;
        let (action, kind, id) = (Action::FaceApprove, "face", subject.as_str());
        audit::record(tx, &actor, &Event { action, kind, id, reason: None, result: "approved" }, now_ms)?;
        Ok(())
    });
    written.await.map(|()| StatusCode::NO_CONTENT)
}
