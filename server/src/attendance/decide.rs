//! `POST /lecturers/attendance/{id}/confirm`: a person decides about a record.

use axum::extract::State;
use muster_sync_core::{ChangeHash, document::DecisionAction};
use serde::Deserialize;
use utoipa::ToSchema;

use super::decision_entry::{self, Wish};
use super::views::RecordView;
use super::{access, roster};
use crate::app::App;
use crate::auth::permission::AttendanceReview;
use crate::auth::{Allowed, CurrentUser};
use crate::db::DbError;
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Json, OptionalJson, Path, RequestId};

/// The decision. An empty body confirms.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewDecision {
    /// `confirm` by default.
    action: Option<ActionName>,
    /// Why, as a code; needed to reject.
    reason: Option<String>,
    /// A remark, kept beside the record and erasable; at most 2,000 characters.
    note: Option<String>,
    /// For `undo`: the id of the decision; the newest one that stands, if it is missing.
    of: Option<String>,
    /// The ids of the newest decisions that one has seen (`heads` of the record). If it is missing, one has seen all.
    seen: Option<Vec<String>>,
}

/// What to decide.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ActionName {
    /// Present.
    Confirm,
    /// Present, but late.
    Late,
    /// Absent with good reason.
    Excuse,
    /// Not accepted as present.
    Reject,
    /// Passed on to somebody of higher rank.
    Escalate,
    /// Takes back a decision.
    Undo,
}

/// Decides about a record: confirm, late, excuse, reject, escalate, or undo.
#[utoipa::path(
    post, path = "/lecturers/attendance/{id}/confirm", tag = "attendance",
    params(("id" = String, Path, description = "the record's id")), request_body = Option<NewDecision>,
    responses(
        (status = 200, description = "how the record is now", body = RecordView),
        (status = 403, description = "one's own record, or an appeal against one's own decision", body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope),
        (status = 409, description = "somebody decided meanwhile, or decided above", body = ErrorEnvelope),
        (status = 422, body = ErrorEnvelope)
    )
)]
pub(super) async fn decide(
    State(app): State<App>,
    allowed: Allowed<AttendanceReview>,
    request: RequestId,
    Path(id): Path<String>,
    OptionalJson(body): OptionalJson<NewDecision>,
) -> AppResult<Json<RecordView>> {
    let new = body.unwrap_or_default();
    let action = match new.action.unwrap_or(ActionName::Confirm) {
        ActionName::Confirm => DecisionAction::Confirm,
        ActionName::Late => DecisionAction::Late,
        ActionName::Excuse => DecisionAction::Excuse,
        ActionName::Reject => DecisionAction::Reject,
        ActionName::Escalate => DecisionAction::Escalate,
        ActionName::Undo => DecisionAction::Undo,
    };
    let mut wish = Wish::new(action, new.reason.as_deref(), new.note.as_deref())?;
    wish.of = new.of.as_deref().map(|id| hash("of", id)).transpose()?;
    wish.seen = new.seen.map(|seen| seen.iter().map(|id| hash("seen", id)).collect()).transpose()?;
    carry_out(&app, &allowed.user, &request, id, wish).await.map(Json)
}

fn hash(field: &'static str, id: &str) -> AppResult<ChangeHash> {
    ChangeHash::from_hex(id).ok_or_else(|| AppError::field(field, "is not the id of a decision"))
}

/// Decides about the record that `id` names, for somebody who may review it.
pub(super) async fn carry_out(
    app: &App,
    user: &CurrentUser,
    request: &RequestId,
    id: String,
    wish: Wish,
) -> AppResult<RecordView> {
    let record = access::read_reviewable(app, user, id).await?;
    let (tenant, student) = (user.tenant.clone(), record.student.clone());
    let decided = decision_entry::append(app, user, user.actor(request), record, wish).await?;
    let person = app.db.read(move |tx| roster::person(tx, &tenant, &student)).await;
    Ok(RecordView::new(&decided, &person.map_err(|error: DbError| AppError::from(error))?))
}
