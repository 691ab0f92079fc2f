//! `PATCH /admin/users/{id}` and `PATCH /students/{id}`: another role, name or address, or no more access.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::create::taken;
use crate::app::App;
use crate::auth::permission::{StudentsWrite, UsersWrite};
use crate::auth::{
    self, Allowed, CurrentUser, DisplayName, EXTERNAL_ID_CHARS_MAX, Email, NAME_CHARS_MAX, Role, Status, Updated, User,
    UserChange, Username,
};
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Json, Path, RequestId};
use crate::ids::UserId;

/// What to change; what is missing stays, and an empty text takes away what may be missing.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UpdateUser {
    /// As what; ends the account's tokens.
    role: Option<Role>,
    /// Whether signing in works; ends the account's tokens.
    status: Option<Status>,
    /// Unique. A new one is nobody's until it is confirmed.
    email: Option<String>,
    /// `true`: you know that the address is theirs. `false`: it is nobody's from now on.
    email_confirmed: Option<bool>,
    /// Unique.
    username: Option<String>,
    /// As others see it; `full_name` and `name` are accepted for it.
    #[serde(alias = "full_name", alias = "name")]
    display_name: Option<String>,
    /// `first_name` is accepted for it.
    #[serde(alias = "first_name")]
    given_name: Option<String>,
    /// `last_name` is accepted for it.
    #[serde(alias = "last_name")]
    family_name: Option<String>,
    /// The group in which a student is taught.
    section: Option<String>,
    /// The id in the registry's own system, unique; `student_id` is accepted for it.
    #[serde(alias = "student_id")]
    external_id: Option<String>,
}

/// What to change about a student; what is missing stays, and an empty text takes away what may be missing.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UpdateStudent {
    /// `true`: you know that the address is theirs. `false`: it is nobody's from now on.
    email_confirmed: Option<bool>,
    /// Unique.
    username: Option<String>,
    /// As others see it; `full_name` and `name` are accepted for it.
    #[serde(alias = "full_name", alias = "name")]
    display_name: Option<String>,
    /// `first_name` is accepted for it.
    #[serde(alias = "first_name")]
    given_name: Option<String>,
    /// `last_name` is accepted for it.
    #[serde(alias = "last_name")]
    family_name: Option<String>,
    /// The group in which a student is taught.
    section: Option<String>,
    /// The id in the registry's own system, unique; `student_id` is accepted for it.
    #[serde(alias = "student_id")]
    external_id: Option<String>,
}

/// Changes an account. One's own role and status are for another admin to change, and the last admin stays one.
#[utoipa::path(
    patch, path = "/admin/users/{id}", tag = "accounts", params(("id" = UserId, Path)), request_body = UpdateUser,
    responses(
        (status = 200, body = User),
        (status = 404, body = ErrorEnvelope),
        (status = 409, description = "OWN_ACCOUNT, LAST_ADMIN or ACCOUNT_EXISTS", body = ErrorEnvelope)
    )
)]
pub(super) async fn update_user(
    State(app): State<App>,
    allowed: Allowed<UsersWrite>,
    request: RequestId,
    Path(id): Path<UserId>,
    Json(body): Json<UpdateUser>,
) -> AppResult<Json<User>> {
    if id == allowed.id && (body.role.is_some() || body.status.is_some()) {
        return Err(AppError::conflict("OWN_ACCOUNT", "another admin must change your role or status"));
    }
    let email = body.email.as_deref().map(Email::parse).transpose()?;
    let UpdateUser { role, status, email_confirmed, username, display_name, given_name, .. } = body;
    let UpdateUser { family_name, section, external_id, .. } = body;
    let described =
        UpdateStudent { email_confirmed, username, display_name, given_name, family_name, section, external_id };
    let change = UserChange { role, status, email, ..described.change()? };
    apply(&app, &allowed, &request, (id, None), change).await
}

/// Changes what describes a student.
#[utoipa::path(
    patch, path = "/students/{id}", tag = "accounts", params(("id" = UserId, Path)), request_body = UpdateStudent,
    responses(
        (status = 200, body = User),
        (status = 404, description = "no student has this id", body = ErrorEnvelope),
        (status = 409, description = "ACCOUNT_EXISTS", body = ErrorEnvelope)
    )
)]
pub(super) async fn update_student(
    State(app): State<App>,
    allowed: Allowed<StudentsWrite>,
    request: RequestId,
    Path(id): Path<UserId>,
    Json(body): Json<UpdateStudent>,
) -> AppResult<Json<User>> {
    let change = body.change()?;
    apply(&app, &allowed, &request, (id, Some(Role::Student)), change).await
}

/// Changes the account, if it has the role that the caller may change.
async fn apply(
    app: &App,
    by: &CurrentUser,
    request: &RequestId,
    (id, only): (UserId, Option<Role>),
    change: UserChange,
) -> AppResult<Json<User>> {
    let (actor, now_ms) = (by.actor(request), app.now_ms());
    let written = app.db.write(move |tx| {
        let found = auth::find(tx, &actor.tenant, id)?;
        if found.is_none_or(|user| only.is_some_and(|role| role != user.role)) {
            return Ok(Updated::Unknown);
        }
        super::change(tx, &actor, id, &change, now_ms).map_err(AppError::from)
    });
    let user = match written.await? {
        Updated::Done(users) => users.1,
        Updated::Unknown => return Err(AppError::not_found("the account")),
        Updated::LastAdmin => return Err(last_admin()),
        Updated::Taken => return Err(taken()),
    };
    auth::remember(app, &user)?;
    app.wake_jobs();
    Ok(Json(user))
}

fn last_admin() -> AppError {
    AppError::conflict("LAST_ADMIN", "this is the last active admin; make another one first")
}

impl UpdateStudent {
    fn change(&self) -> AppResult<UserChange> {
        let text = |field, text: &Option<String>, chars_max| {
            text.as_deref().map(|text| auth::bounded(field, text, chars_max)).transpose()
        };
        Ok(UserChange {
            email_confirmed: self.email_confirmed,
            username: self.username.as_deref().map(username).transpose()?,
            display_name: self.display_name.as_deref().map(DisplayName::parse).transpose()?,
            given_name: text("given_name", &self.given_name, NAME_CHARS_MAX)?,
            family_name: text("family_name", &self.family_name, NAME_CHARS_MAX)?,
            section: text("section", &self.section, NAME_CHARS_MAX)?,
            external_id: text("external_id", &self.external_id, EXTERNAL_ID_CHARS_MAX)?,
            ..UserChange::default()
        })
    }
}

fn username(text: &str) -> AppResult<Option<Username>> {
    if text.trim().is_empty() { Ok(None) } else { Username::parse(text).map(Some) }
}
