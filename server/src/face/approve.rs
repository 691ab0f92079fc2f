//! `/admin/face-reenrolments`: a person who has seen the student allows another face. Nobody allows their own.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::queries;
use crate::app::App;
use crate::audit::{self, Action, Event};
use crate::auth::permission::DevicesApprove;
use crate::auth::{self, Allowed, ShownUser};
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Json, Page, Path, Query, RequestId};
use crate::ids::{TenantId, UserId};

/// A student who wants another face than before.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Reenrolment {
    /// Who.
    user_id: UserId,
    /// The same by name and number; missing if the account is gone.
    user: Option<ShownUser>,
    /// Whether nobody had confirmed that the student's address is theirs when it was asked: approving it takes
    /// `accept_unconfirmed`.
    unconfirmed: bool,
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

impl Reenrolment {
    fn read(tx: &Tx<'_>, tenant: &TenantId, user_id: UserId, asked_at_ms: i64) -> Result<Self, DbError> {
        let user = auth::shown(tx, tenant, &user_id.to_string())?;
        let unconfirmed = user.as_ref().is_none_or(|user| user.was_nobodys(asked_at_ms));
        Ok(Self { user_id, user, unconfirmed, asked_at_ms })
    }
}

/// What somebody knows who approves.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Knowing {
    /// Says that you know who asks, although nobody has confirmed their address.
    #[serde(default)]
    accept_unconfirmed: bool,
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
    let read = app.db.read(move |tx: &Tx<'_>| {
        let rows = queries::pending_reenrolments(tx, &tenant, after, limit + 1)?;
        rows.into_iter().map(|(user, asked_at_ms)| Reenrolment::read(tx, &tenant, user, asked_at_ms)).collect()
    });
    let mut items: Vec<Reenrolment> = read.await.map_err(|error: DbError| AppError::from(error))?;
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next = if more { items.last().map(|item| item.user_id) } else { None };
    Ok(Json(Reenrolments { items, next }))
}

/// Allows a student's next photo, whatever face it shows.
#[utoipa::path(
    post, path = "/admin/face-reenrolments/{user_id}/approve", tag = "faces", params(("user_id" = UserId, Path), Knowing),
    responses(
        (status = 204),
        (status = 403, description = "OWN_REQUEST", body = ErrorEnvelope),
        (status = 404, description = "nobody of this id had a face enrolled or waits", body = ErrorEnvelope),
        (status = 409, description = "`OWNER_UNCONFIRMED`: send `accept_unconfirmed` if you know who asks", body = ErrorEnvelope)
    )
)]
pub(super) async fn approve_reenrolment(
    State(app): State<App>,
    allowed: Allowed<DevicesApprove>,
    request: RequestId,
    Path(student): Path<UserId>,
    Query(knowing): Query<Knowing>,
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
        let asked_at_ms = queries::asked_at(tx, &actor.tenant, &subject)?.unwrap_or(now_ms);
        let user = auth::shown(tx, &actor.tenant, &subject)?;
        let unconfirmed = user.is_none_or(|user| user.was_nobodys(asked_at_ms));
        if unconfirmed && !knowing.accept_unconfirmed {
            return Err(AppError::conflict("OWNER_UNCONFIRMED", auth::OWNER_UNCONFIRMED));
        }
        queries::set_reenrolment(tx, &actor.tenant, &subject, ("approved", Some(&actor.id)), now_ms)?;
        let (action, kind, id) = (Action::FaceApprove, "face", subject.as_str());
        let result = if unconfirmed { "approved_unconfirmed" } else { "approved" };
        audit::record(tx, &actor, &Event { action, kind, id, reason: None, result }, now_ms)?;
        Ok(())
    });
    written.await.map(|()| StatusCode::NO_CONTENT)
}
