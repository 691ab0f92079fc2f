//! `POST /auth/mfa/disable`: back to one factor, for who has the password or the app.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::factor::{self, Attempt, Given, Judgement, refused};
use super::{active_enrolment, owner_of, prove_password, queries};
use crate::app::App;
use crate::audit::{self, Action, Actor, Event};
use crate::auth::current_user::CurrentUser;
use crate::auth::notify;
use crate::auth::state::AuthState;
use crate::config::Secret;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Json, RequestId};
use crate::mail::Notice;

/// Either the password or a code.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Disable {
    /// The account's password; `current_password` is accepted for it.
    #[serde(alias = "current_password")]
    #[schema(value_type = Option<String>)]
    password: Option<Secret>,
    /// The code that the authenticator app shows.
    #[schema(value_type = Option<String>)]
    code: Option<Secret>,
}

/// Switches the second factor off; the secret and the backup codes are deleted.
#[utoipa::path(
    post, path = "/auth/mfa/disable", tag = "auth", request_body = Disable,
    responses(
        (status = 204),
        (status = 403, description = "the password or the code is wrong", body = ErrorEnvelope),
        (status = 409, description = "there is no second factor, or the role needs it", body = ErrorEnvelope),
        (status = 429, description = "too many failures", body = ErrorEnvelope)
    )
)]
pub(super) async fn disable(
    State(app): State<App>,
    current: CurrentUser,
    request: RequestId,
    Json(body): Json<Disable>,
) -> AppResult<StatusCode> {
    if AuthState::of(&app)?.mfa.is_required_of(current.role) {
        let text = format!("a {} needs a second factor; an admin can reset it if the app is lost", current.role);
        return Err(AppError::conflict("MFA_REQUIRED", text));
    }
    let owner = owner_of(&current);
    let enrolment = active_enrolment(&app, &owner).await?;
    let attempt = match (body.password, body.code) {
        (Some(password), None) => {
            prove_password(&app, &current, password, &request).await?;
            None
        }
        (None, Some(code)) => Some(factor::prepare(&app, &owner, &enrolment, &Given::Code(code))?),
        _ => return Err(AppError::validation("send either password or code")),
    };
    let by_password = attempt.is_none();
    let (actor, now_ms) = (current.actor(&request), app.now_ms());
    let judged = app.db.write(move |tx| {
        let judged = attempt.as_ref().map_or(Ok(Judgement::Right), |attempt: &Attempt| attempt.judge(tx))?;
        if judged == Judgement::Right {
            queries::remove(tx, &owner)?;
            notify(tx, &owner.tenant, owner.user, Notice::MfaDisabled, now_ms)?;
        }
        note(tx, &actor, by_password, judged, now_ms)?;
        Ok::<_, AppError>(judged)
    });
    let judged = judged.await?;
    if !by_password {
        judged.tell(&app, request.as_str(), &current.id.to_string());
    }
    judged.or(refused)?;
    app.wake_jobs();
    Ok(StatusCode::NO_CONTENT)
}

fn note(tx: &Tx<'_>, actor: &Actor, by_password: bool, judged: Judgement, now_ms: i64) -> Result<(), DbError> {
    let result = match judged {
        Judgement::Right => "ok",
        Judgement::Wrong => "wrong_code",
        Judgement::TooMany { .. } => return Ok(()),
    };
    let reason = Some(if by_password { "password" } else { "totp" });
    let event = Event { action: Action::MfaDisable, kind: "user", id: &actor.id, reason, result };
    audit::record(tx, actor, &event, now_ms)
}
