//! `POST /admin/users/{id}/reset-mfa`: for somebody who lost the app and the backup codes.

use axum::extract::State;
use axum::http::StatusCode;

use super::queries::{self, Owner};
use crate::app::App;
use crate::audit::{self, Action, Actor, Event};
use crate::auth::current_user::Allowed;
use crate::auth::notify;
use crate::auth::permission::UsersWrite;
use crate::auth::users;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Path, RequestId};
use crate::ids::UserId;
use crate::mail::Notice;

/// What a reset found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MfaReset {
    /// There is no such user.
    NoSuchUser,
    /// The user had no second factor.
    NotEnabled,
    /// It is gone.
    Done,
}

/// Takes the second factor of a user away, with its backup codes, and notes it.
///
/// # Errors
/// When the database fails.
pub fn reset_mfa(tx: &Tx<'_>, actor: &Actor, user: UserId, now_ms: i64) -> Result<MfaReset, DbError> {
    let owner = Owner { tenant: actor.tenant.clone(), user };
    if users::find(tx, &owner.tenant, user)?.is_none() {
        return Ok(MfaReset::NoSuchUser);
    }
    let was_active = queries::remove(tx, &owner)?;
    let result = if was_active { "ok" } else { "not_enabled" };
    let event = Event { action: Action::MfaReset, kind: "user", id: &user.to_string(), reason: None, result };
    audit::record(tx, actor, &event, now_ms)?;
    Ok(if was_active { MfaReset::Done } else { MfaReset::NotEnabled })
}

/// Takes the second factor of somebody else away, so that they can enrol again. One's own is disabled with the password.
#[utoipa::path(
    post, path = "/admin/users/{id}/reset-mfa", tag = "accounts", params(("id" = UserId, Path)),
    responses(
        (status = 204, description = "there is no second factor now"),
        (status = 404, body = ErrorEnvelope),
        (status = 409, description = "one's own", body = ErrorEnvelope)
    )
)]
pub(super) async fn reset_user_mfa(
    State(app): State<App>,
    allowed: Allowed<UsersWrite>,
    request: RequestId,
    Path(id): Path<UserId>,
) -> AppResult<StatusCode> {
    if id == allowed.id {
        return Err(AppError::conflict(
            "OWN_ACCOUNT",
            "another admin must reset yours; or disable it with your password",
        ));
    }
    let tenant = allowed.tenant.clone();
    let (actor, now_ms) = (allowed.actor(&request), app.now_ms());
    let reset = app.db.write(move |tx| {
        let reset = reset_mfa(tx, &actor, id, now_ms)?;
        if reset == MfaReset::Done {
            notify(tx, &tenant, id, Notice::MfaDisabled, now_ms)?;
        }
        Ok::<_, AppError>(reset)
    });
    if reset.await? == MfaReset::NoSuchUser {
        return Err(AppError::not_found("the account"));
    }
    app.wake_jobs();
    Ok(StatusCode::NO_CONTENT)
}
