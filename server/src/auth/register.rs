//! `POST /auth/register`: a new account, which is a student's unless an admin says otherwise.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::current_user::MaybeUser;
use super::fields::{DisplayName, Email, Username};
use super::hashing;
use super::permission::UsersWrite;
use super::role::Role;
use super::users::{self, NewUser, Person, User};
use crate::app::App;
use crate::config::Secret;
use crate::db::DbError;
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::Json;
use crate::ids::{TenantId, UserId};

/// The new account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Register {
    /// The e-mail address.
    email: String,
    /// At least 8 bytes.
    #[schema(value_type = String)]
    password: Secret,
    /// Optional; another name to sign in with.
    username: Option<String>,
    /// The name as others see it; `full_name` and `name` are accepted for it.
    #[serde(alias = "full_name", alias = "name")]
    display_name: Option<String>,
    /// Used with `last_name` when there is no `display_name`.
    first_name: Option<String>,
    /// Used with `first_name` when there is no `display_name`.
    last_name: Option<String>,
    /// `student`, unless an admin registers somebody.
    role: Option<Role>,
}

/// Creates an account.
#[utoipa::path(
    post, path = "/auth/register", tag = "auth", security((), ("bearer" = [])), request_body = Register,
    responses(
        (status = 201, body = User),
        (status = 403, description = "only admins choose a role", body = ErrorEnvelope),
        (status = 409, description = "the address or the name is taken", body = ErrorEnvelope)
    )
)]
pub(super) async fn register(
    State(app): State<App>,
    MaybeUser(admin): MaybeUser,
    Json(register): Json<Register>,
) -> AppResult<(StatusCode, Json<User>)> {
    let role = register.role.unwrap_or(Role::Student);
    let may_choose = admin.as_ref().is_some_and(|admin| admin.may::<UsersWrite>());
    if role != Role::Student && !may_choose {
        return Err(AppError::forbidden("ROLE_NOT_SELF_ASSIGNABLE", "only an admin gives this role"));
    }
    let tenant = admin.map_or_else(TenantId::default_tenant, |admin| admin.tenant);
    let email = Email::parse(&register.email)?;
    let username = register.username.as_deref().map(Username::parse).transpose()?;
    let display_name = DisplayName::parse(&given_name(&register, &email))?;
    let new = NewUser {
        id: UserId::generate(&*app.clock, &*app.entropy),
        tenant,
        email,
        username,
        display_name,
        role,
        person: Person { given_name: register.first_name, family_name: register.last_name, ..Person::default() },
        password_hash: Some(hashing::hash_password(&app, register.password).await?),
        created_at_ms: app.now_ms(),
    };
    let user = create(&app, new).await?;
    Ok((StatusCode::CREATED, Json(user)))
}

fn given_name(register: &Register, email: &Email) -> String {
    if let Some(name) = &register.display_name {
        return name.clone();
    }
    let parts = [register.first_name.as_deref(), register.last_name.as_deref()];
    let joined = parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
    let local = email.as_str().split('@').next().unwrap_or_default();
    if joined.trim().is_empty() { local.to_owned() } else { joined }
}

/// Stores a new user.
async fn create(app: &App, new: NewUser) -> AppResult<User> {
    let stored = app
        .db
        .write(move |tx| {
            if !users::insert(tx, &new)? {
                return Ok(None);
            }
            users::find(tx, &new.tenant, new.id)
        })
        .await;
    stored.map_err(|error: DbError| AppError::from(error))?.ok_or_else(taken)
}

fn taken() -> AppError {
    AppError::conflict("ACCOUNT_EXISTS", "there is an account with this e-mail address or user name")
}
