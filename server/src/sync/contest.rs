//! `POST /admin/sessions/{id}/settle`: an admin decides whose plan of a contested session stands.

use axum::extract::State;
use muster_sync_core::{
    ChangeHash, DocumentName,
    document::{Code, Entry, Label, PlanAction, PlanChange, join_hashes},
    limits::DECISION_AFTER_MAX,
    plan,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ingest::{Admission, Sender};
use super::quarantine::{self, Which};
use crate::app::App;
use crate::audit::{self, Action, Event};
use crate::auth::Allowed;
use crate::auth::permission::SystemAdmin;
use crate::db::DbError;
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Json, Path, RequestId};
use crate::log::{self, ServerKey};
use crate::{attendance, class_sessions};

/// The plan that stands.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Settle {
    /// Its id, from the session's `plans`.
    plan: String,
    /// Why: a code of 1 to 64 letters, digits, `-`, `_` and `.`.
    reason: String,
}

/// How the session is now.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Settled {
    /// Its locator.
    locator: String,
    /// The course that has its records; missing if admins contradict each other.
    course_id: Option<String>,
}

/// Decides whose plan stands. Records get that plan's course and are judged by its code; another call changes it.
#[utoipa::path(
    post, path = "/admin/sessions/{id}/settle", tag = "sessions", request_body = Settle,
    params(("id" = String, Path, description = "the locator, or the document's id in hexadecimal")),
    responses(
        (status = 200, body = Settled),
        (status = 403, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope),
        (status = 409, description = "one person may write only so much about a session", body = ErrorEnvelope),
        (status = 422, body = ErrorEnvelope)
    )
)]
pub(super) async fn settle(
    State(app): State<App>,
    allowed: Allowed<SystemAdmin>,
    request: RequestId,
    Path(id): Path<String>,
    Json(body): Json<Settle>,
) -> AppResult<Json<Settled>> {
    let (actor, user) = (allowed.actor(&request), allowed.user);
    let reason = Code::new(&body.reason).ok_or_else(|| AppError::field("reason", "1 to 64 of A-Z a-z 0-9 - _ ."))?;
    let plan = ChangeHash::from_hex(&body.plan).ok_or_else(|| AppError::field("plan", "is not the id of a plan"))?;
    let asking = user.clone();
    let read = app.db.read(move |tx| {
        let session = class_sessions::find_named(tx, &asking, &id)?;
        let session = session.ok_or_else(|| AppError::not_found("the class session"))?;
        if !class_sessions::claims(tx, session.document)?.contains_key(&plan) {
            return Err(AppError::field("plan", "is not a plan of this session"));
        }
        class_sessions::check_share(tx, session.document, &asking, 1)?;
        Ok::<_, AppError>((session.locator, class_sessions::settlements(tx, session.document)?))
    });
    let (locator, settlements) = read.await?;
    let seen = plan::heads(&settlements);
    let entry = PlanChange {
        action: PlanAction::Settle,
        at_ms: app.now_ms(),
        epoch: 0,
        by: Some(Label::new(&user.id.to_string()).ok_or_else(|| AppError::internal("an id is not a label"))?),
        plan: Some(plan),
        after: Some(join_hashes(seen.iter().take(DECISION_AFTER_MAX))),
        reason: Some(reason.clone()),
    };
    let name = DocumentName::ClassSession { locator };
    let (tenant, entry) = (user.tenant.clone(), Entry::from(entry));
    let (of, said) = (name.clone(), entry.clone());
    let read = app.db.read(move |tx| class_sessions::channels(tx, &tenant, &of, &said, None)).await;
    let channels = read.map_err(|error: DbError| AppError::from(error))?;
    let (sender, now_ms) = (Sender { tenant: user.tenant.clone(), user: user.id }, app.now_ms());
    let server = ServerKey::of(&app)?.public();
    let (of, said, told) = (name.clone(), entry.clone(), channels.clone());
    let settled = log::append_as_server(&app, &user.tenant, vec![(name, channels, entry)], move |tx, appended| {
        if class_sessions::channels(tx, &sender.tenant, &of, &said, None)? != told {
            let sentence = "somebody else planned this class session meanwhile; look at it again";
            return Err(AppError::conflict("SESSION_CHANGED", sentence));
        }
        for one in appended {
            if class_sessions::project(tx, one)? {
                attendance::follow_session(tx, &sender.tenant, &locator, now_ms)?;
            }
        }
        let admission = Admission::new(tx, &sender, server, now_ms);
        quarantine::note(&admission, Which::Session(&locator))?;
        quarantine::judge_again(&admission)?;
        admission.finish()?;
        let event = Event {
            action: Action::ClassSessionSettle,
            kind: "class_session",
            id: locator.as_str(),
            reason: Some(reason.as_str()),
            result: "settled",
        };
        audit::record(tx, &actor, &event, now_ms)?;
        Ok(class_sessions::course_of(tx, &sender.tenant, &locator)?)
    });
    Ok(Json(Settled { locator: locator.to_string(), course_id: settled.await? }))
}
