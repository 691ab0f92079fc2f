//! `POST /lecturers/sessions/{id}/close`, `/expire` and `/regenerate`.

use axum::extract::State;
use muster_sync_core::{
    DocumentName,
    document::{Label, PlanAction, PlanChange},
    limits,
};

use super::session::{ClassSession, SessionStatus};
use super::view::SessionView;
use super::{access, project};
use crate::app::App;
use crate::audit::{self, Action, Event};
use crate::auth::permission::SessionsManage;
use crate::auth::{Allowed, CurrentUser};
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Json, Path, RequestId};
use crate::log;

/// Closes a session: captures from now on are not in time. Closing a closed session changes nothing.
#[utoipa::path(
    post, path = "/lecturers/sessions/{id}/close", tag = "sessions",
    params(("id" = String, Path, description = "the locator, or the document's id in hexadecimal")),
    responses(
        (status = 200, body = SessionView),
        (status = 404, body = ErrorEnvelope),
        (status = 409, description = "it has ended otherwise", body = ErrorEnvelope)
    )
)]
pub(super) async fn close(
    State(app): State<App>,
    allowed: Allowed<SessionsManage>,
    request: RequestId,
    Path(id): Path<String>,
) -> AppResult<Json<SessionView>> {
    change(&app, &allowed.user, &request, id, PlanAction::Close).await
}

/// Declares a session expired. Expiring an expired session changes nothing.
#[utoipa::path(
    post, path = "/lecturers/sessions/{id}/expire", tag = "sessions",
    params(("id" = String, Path, description = "the locator, or the document's id in hexadecimal")),
    responses(
        (status = 200, body = SessionView),
        (status = 404, body = ErrorEnvelope),
        (status = 409, description = "it has ended otherwise", body = ErrorEnvelope)
    )
)]
pub(super) async fn expire(
    State(app): State<App>,
    allowed: Allowed<SessionsManage>,
    request: RequestId,
    Path(id): Path<String>,
) -> AppResult<Json<SessionView>> {
    change(&app, &allowed.user, &request, id, PlanAction::Expire).await
}

/// Begins a new epoch of the code: every code shown so far is worth nothing for captures from now on.
#[utoipa::path(
    post, path = "/lecturers/sessions/{id}/regenerate", tag = "sessions",
    params(("id" = String, Path, description = "the locator, or the document's id in hexadecimal")),
    responses(
        (status = 200, body = SessionView),
        (status = 404, body = ErrorEnvelope),
        (status = 409, description = "`SESSION_ENDED`, or `EPOCHS_USED_UP`", body = ErrorEnvelope)
    )
)]
pub(super) async fn regenerate(
    State(app): State<App>,
    allowed: Allowed<SessionsManage>,
    request: RequestId,
    Path(id): Path<String>,
) -> AppResult<Json<SessionView>> {
    change(&app, &allowed.user, &request, id, PlanAction::Regenerate).await
}

async fn change(
    app: &App,
    user: &CurrentUser,
    request: &RequestId,
    id: String,
    action: PlanAction,
) -> AppResult<Json<SessionView>> {
    let session = access::steerable(app, user, id.clone()).await?;
    if session.contested {
        let sentence = "somebody else planned this session too; an admin has to settle whose it is";
        return Err(AppError::conflict("SESSION_CONTESTED", sentence));
    }
    if !is_done(&session, action, app.now_ms())? {
        append(app, user, request, &session, action).await?;
    }
    let session = access::steerable(app, user, id).await?;
    SessionView::with_code(app, &user.tenant, &session).await.map(Json)
}

/// Whether nothing is left to do; an error if the session's end forbids it.
fn is_done(session: &ClassSession, action: PlanAction, now_ms: i64) -> AppResult<bool> {
    match (session.status_at(now_ms), action) {
        (SessionStatus::Planned | SessionStatus::Open, _) => Ok(false),
        (SessionStatus::Closed, PlanAction::Close) | (SessionStatus::Expired, PlanAction::Expire) => Ok(true),
        (SessionStatus::Closed | SessionStatus::Expired, _) => {
            Err(AppError::conflict("SESSION_ENDED", "the class session has ended"))
        }
    }
}

async fn append(
    app: &App,
    user: &CurrentUser,
    request: &RequestId,
    session: &ClassSession,
    action: PlanAction,
) -> AppResult<()> {
    let (actor, now_ms, locator) = (user.actor(request), app.now_ms(), session.locator);
    let (user_of_share, document) = (user.clone(), session.document);
    let (noted, result) = match action {
        PlanAction::Close => (Action::ClassSessionClose, "closed"),
        PlanAction::Expire => (Action::ClassSessionExpire, "expired"),
        PlanAction::Regenerate => (Action::ClassSessionRegenerate, "new_code"),
        PlanAction::Settle => return Err(AppError::internal("nobody settles a session here")),
    };
    let by = Label::new(&user.id.to_string()).ok_or_else(|| AppError::internal("an id is not a label"))?;
    let epoch = session.epoch.saturating_add(u64::from(action == PlanAction::Regenerate));
    if epoch > limits::EPOCH_MAX {
        let sentence = "the code of this class session cannot be renewed any more; close it and plan another session";
        return Err(AppError::conflict("EPOCHS_USED_UP", sentence));
    }
    let entry = PlanChange::new(action, now_ms, epoch, Some(by));
    let name = DocumentName::ClassSession { locator: session.locator };
    let course = session.course.clone();
    let channels = log::channels_of(&name, Some(&course));
    log::append_as_server(app, &user.tenant, vec![(name, channels, entry.into())], move |tx, appended| {
        super::check_course(tx, &user_of_share.tenant, &locator, Some(&course))?;
        super::check_share(tx, document, &user_of_share, appended.len() as u64)?;
        for change in appended {
            project(tx, change)?;
        }
        let event = Event { action: noted, kind: "class_session", id: locator.as_str(), reason: None, result };
        audit::record(tx, &actor, &event, now_ms)?;
        Ok(())
    })
    .await
}
