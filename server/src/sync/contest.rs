//! Contested sessions: who contested is named, and by `POST /admin/sessions/{id}/settle` an admin decides whose plan stands.

use axum::extract::State;
use muster_sync_core::{
    ChangeHash, DocumentName, Locator,
    document::{Code, Entry, Label, PlanAction, PlanChange, join_hashes},
    limits::DECISION_AFTER_MAX,
    plan,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ingest::{Admission, Sender};
use super::quarantine::{self, Which};
use crate::app::App;
use crate::audit::{self, Action, Actor, Event};
use crate::auth::permission::SystemAdmin;
use crate::auth::{Allowed, CurrentUser};
use crate::db::DbError;
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Json, Path, RequestId};
use crate::log::{self, Appended, ServerKey};
use crate::{attendance, class_sessions};

/// The plan that stands.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Settle {
    /// Its id, from the session's `plans`.
    pub plan: String,
    /// Why: a code of 1 to 64 letters, digits, `-`, `_` and `.`.
    pub reason: String,
}

/// How the session is now.
#[derive(Debug, Serialize, ToSchema)]
pub struct Settled {
    /// Its locator.
    pub locator: String,
    /// The course that has its records; missing if admins contradict each other.
    pub course_id: Option<String>,
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
pub(super) async fn answer(
    State(app): State<App>,
    allowed: Allowed<SystemAdmin>,
    request: RequestId,
    Path(id): Path<String>,
    Json(body): Json<Settle>,
) -> AppResult<Json<Settled>> {
    let actor = allowed.actor(&request);
    settle(&app, &allowed.user, actor, id, &body).await.map(Json)
}

/// Appends the word of `user`, an admin, whose plan of a session stands; what waited for it is judged again.
///
/// # Errors
/// When there is no such session or plan, the admin said too much about it already, or the database fails.
pub async fn settle(app: &App, user: &CurrentUser, actor: Actor, id: String, body: &Settle) -> AppResult<Settled> {
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
    let server = ServerKey::of(app)?.public();
    let (of, said, told) = (name.clone(), entry.clone(), channels.clone());
    let settled = log::append_as_server(app, &user.tenant, vec![(name, channels, entry)], move |tx, appended| {
        if class_sessions::channels(tx, &sender.tenant, &of, &said, None)? != told {
            let sentence = "somebody else planned this class session meanwhile; look at it again";
            return Err(AppError::conflict("SESSION_CHANGED", sentence));
        }
        let mut moved = Vec::new();
        for one in appended {
            if class_sessions::project(tx, one)? {
                moved.extend(attendance::follow_session(tx, &sender.tenant, &locator, now_ms)?);
            }
        }
        let admission = Admission::new(tx, &sender, server, now_ms);
        quarantine::note(&admission, Which::Session(&locator))?;
        quarantine::judge_again(&admission)?;
        moved.extend(admission.finish()?);
        let event = Event {
            action: Action::ClassSessionSettle,
            kind: "class_session",
            id: locator.as_str(),
            reason: Some(reason.as_str()),
            result: "settled",
        };
        audit::record(tx, &actor, &event, now_ms)?;
        Ok((class_sessions::course_of(tx, &sender.tenant, &locator)?, moved))
    });
    let (course_id, moved) = settled.await?;
    log::announce(app, &user.tenant, &moved);
    Ok(Settled { locator: locator.to_string(), course_id })
}

/// Whoever makes a session contested is named: anybody who teaches can, and an admin has to look.
pub(super) fn note(admission: &Admission<'_>, appended: &Appended, locator: &Locator) -> Result<(), DbError> {
    let Some(owner) = admission.owner_of(&appended.valid.writer)? else { return Ok(()) };
    let id = owner.user.to_string();
    let (tenant, role) = (admission.sender.tenant.clone(), owner.role.as_str().to_owned());
    // A request carries many changes of many people; the log names this one.
    let actor = Actor { tenant, id, role, request_id: appended.hash().to_string() };
    let (action, kind) = (Action::ClassSessionContest, "class_session");
    let event = Event { action, kind, id: locator.as_str(), reason: None, result: "contested" };
    audit::record(admission.tx, &actor, &event, admission.now_ms)
}
