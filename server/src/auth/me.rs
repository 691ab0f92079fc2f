//! `GET /auth/me`: who the token belongs to.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::current_user::CurrentUser;
use super::permission;
use super::profile::Profile;
use super::users;
use crate::app::App;
use crate::error::{AppError, AppResult};
use crate::http::Json;

/// The signed-in user.
#[derive(Serialize, ToSchema)]
pub(super) struct Me {
    #[serde(flatten)]
    profile: Profile,
    /// The institution.
    tenant: String,
    /// The names of what the role may do.
    permissions: Vec<&'static str>,
}

/// Says who is signed in.
#[utoipa::path(get, path = "/auth/me", tag = "auth", responses((status = 200, body = Me)))]
pub(super) async fn me(State(app): State<App>, current: CurrentUser) -> AppResult<Json<Me>> {
    let (tenant, id) = (current.tenant.clone(), current.id);
    let found = app.db.read(move |tx| users::find(tx, &tenant, id)).await?;
    let user = found.ok_or_else(|| AppError::not_found("the account"))?;
    Ok(Json(Me {
        profile: user.into(),
        tenant: current.tenant.to_string(),
        permissions: permission::names(current.role),
    }))
}
