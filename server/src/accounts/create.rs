//! `POST /admin/users` and `POST /students`.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::permission::{StudentsWrite, UsersWrite};
use crate::auth::{self, Allowed, CurrentUser, DisplayName, Email, NewUser, Person, Role, User, Username};
use crate::config::Secret;
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::Json;
use crate::ids::UserId;

/// An account to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateUser {
    /// Unique.
    email: String,
    /// Optional and unique; a matriculation number for example.
    username: Option<String>,
    /// As others see it; `full_name` and `name` are accepted for it.
    #[serde(alias = "full_name", alias = "name")]
    display_name: String,
    /// As what.
    role: Role,
    /// Without one, a password is generated and returned once.
    #[schema(value_type = Option<String>)]
    password: Option<Secret>,
}

/// A student to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateStudent {
    /// Unique.
    email: String,
    /// Optional and unique; a matriculation number for example.
    username: Option<String>,
    /// As others see it; `full_name` and `name` are accepted for it.
    #[serde(alias = "full_name", alias = "name")]
    display_name: String,
    /// Without one, a password is generated and returned once.
    #[schema(value_type = Option<String>)]
    password: Option<Secret>,
}

/// A created account.
#[derive(Serialize, ToSchema)]
pub(super) struct Created {
    #[serde(flatten)]
    user: User,
    /// Only here, and only when no password was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    initial_password: Option<String>,
}

/// Creates an account with any role.
#[utoipa::path(
    post, path = "/admin/users", tag = "accounts", request_body = CreateUser,
    responses(
        (status = 201, body = Created),
        (status = 409, description = "the address or the name is taken", body = ErrorEnvelope)
    )
)]
pub(super) async fn create_user(
    State(app): State<App>,
    allowed: Allowed<UsersWrite>,
    Json(body): Json<CreateUser>,
) -> AppResult<(StatusCode, Json<Created>)> {
    create(&app, &allowed, body).await
}

/// Creates a student.
#[utoipa::path(
    post, path = "/students", tag = "accounts", request_body = CreateStudent,
    responses(
        (status = 201, body = Created),
        (status = 409, description = "the address or the name is taken", body = ErrorEnvelope)
    )
)]
pub(super) async fn create_student(
    State(app): State<App>,
    allowed: Allowed<StudentsWrite>,
    Json(body): Json<CreateStudent>,
) -> AppResult<(StatusCode, Json<Created>)> {
    let CreateStudent { email, username, display_name, password } = body;
    create(&app, &allowed, CreateUser { email, username, display_name, role: Role::Student, password }).await
}

async fn create(app: &App, by: &CurrentUser, body: CreateUser) -> AppResult<(StatusCode, Json<Created>)> {
    let (email, display_name) = (Email::parse(&body.email)?, DisplayName::parse(&body.display_name)?);
    let username = body.username.as_deref().map(Username::parse).transpose()?;
    let (password, initial_password) = match body.password {
        Some(password) => (password, None),
        None => {
            let generated = auth::generate_password(&*app.entropy);
            let shown = generated.reveal().to_owned();
            (generated, Some(shown))
        }
    };
    let new = NewUser {
        id: UserId::generate(&*app.clock, &*app.entropy),
        tenant: by.tenant.clone(),
        email,
        username,
        display_name,
        role: body.role,
        person: Person::default(),
        password_hash: Some(auth::hash_password(app, password).await?),
        created_at_ms: app.now_ms(),
    };
    let stored = app.db.write(move |tx| {
        let inserted = auth::insert(tx, &new)?;
        if inserted { auth::find(tx, &new.tenant, new.id).map_err(AppError::from) } else { Ok(None) }
    });
    let taken = || AppError::conflict("ACCOUNT_EXISTS", "there is an account with this e-mail address or user name");
    let user = stored.await?.ok_or_else(taken)?;
    Ok((StatusCode::CREATED, Json(Created { user, initial_password })))
}
