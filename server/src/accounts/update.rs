//! `PATCH /admin/users/{id}`: another role, another name, or no more access.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::permission::UsersWrite;
use crate::auth::{self, Allowed, DisplayName, Role, Status, User, UserChange};
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Json, Path};
use crate::ids::UserId;

/// What to change; what is missing stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UpdateUser {
    /// As what; ends the account's tokens.
    role: Option<Role>,
    /// Whether signing in works; ends the account's tokens.
    status: Option<Status>,
    /// As others see it.
    display_name: Option<String>,
}

/// Changes an account. One's own role and status are for another admin to change.
#[utoipa::path(
    patch, path = "/admin/users/{id}", tag = "accounts", params(("id" = UserId, Path)), request_body = UpdateUser,
    responses(
        (status = 200, body = User),
        (status = 404, body = ErrorEnvelope),
        (status = 409, description = "one's own role or status", body = ErrorEnvelope)
    )
)]
pub(super) async fn update_user(
    State(app): State<App>,
    allowed: Allowed<UsersWrite>,
    Path(id): Path<UserId>,
    Json(body): Json<UpdateUser>,
) -> AppResult<Json<User>> {
    if id == allowed.id && (body.role.is_some() || body.status.is_some()) {
        return Err(AppError::conflict("OWN_ACCOUNT", "another admin must change your role or status"));
    }
    let display_name = body.display_name.as_deref().map(DisplayName::parse).transpose()?;
    let change = UserChange { role: body.role, status: body.status, display_name };
    let (tenant, now_ms) = (allowed.tenant.clone(), app.now_ms());
    let updated =
        app.db.write(move |tx| auth::update(tx, &tenant, id, &change, now_ms).map_err(AppError::from)).await?;
    let user = updated.ok_or_else(|| AppError::not_found("the account"))?;
    auth::remember(&app, &user)?;
    Ok(Json(user))
}
