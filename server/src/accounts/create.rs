//! `POST /admin/users` and `POST /students`.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::passwords;
use crate::auth::permission::{StudentsWrite, UsersWrite};
use crate::auth::{self, Allowed, CurrentUser, DisplayName, Email, NewUser, Person, Role, User, Username, optional};
use crate::config::Secret;
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Holder, Json, RequestId};
use crate::ids::UserId;

/// An account to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateUser {
    /// Unique.
    email: String,
    /// Optional and unique; a matriculation number for example.
    username: Option<String>,
    /// As others see it; `full_name` and `name` are accepted for it. Default: given name and family name.
    #[serde(alias = "full_name", alias = "name")]
    display_name: Option<String>,
    /// `first_name` is accepted for it.
    #[serde(alias = "first_name")]
    given_name: Option<String>,
    /// `last_name` is accepted for it.
    #[serde(alias = "last_name")]
    family_name: Option<String>,
    /// The group in which a student is taught. Default: `_`.
    section: Option<String>,
    /// The id in the registry's own system, unique; `student_id` is accepted for it.
    #[serde(alias = "student_id")]
    external_id: Option<String>,
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
    /// As others see it; `full_name` and `name` are accepted for it. Default: given name and family name.
    #[serde(alias = "full_name", alias = "name")]
    display_name: Option<String>,
    /// `first_name` is accepted for it.
    #[serde(alias = "first_name")]
    given_name: Option<String>,
    /// `last_name` is accepted for it.
    #[serde(alias = "last_name")]
    family_name: Option<String>,
    /// The group in which a student is taught. Default: `_`.
    section: Option<String>,
    /// The id in the registry's own system, unique; `student_id` is accepted for it.
    #[serde(alias = "student_id")]
    external_id: Option<String>,
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
        (status = 409, description = "the address, the name or the registry's id is taken", body = ErrorEnvelope)
    )
)]
pub(super) async fn create_user(
    State(app): State<App>,
    allowed: Allowed<UsersWrite>,
    request: RequestId,
    Json(body): Json<CreateUser>,
) -> AppResult<(StatusCode, Json<Created>)> {
    create(&app, &allowed, &request, body).await
}

/// Creates a student.
#[utoipa::path(
    post, path = "/students", tag = "accounts", request_body = CreateStudent,
    responses(
        (status = 201, body = Created),
        (status = 409, description = "the address, the name or the registry's id is taken", body = ErrorEnvelope)
    )
)]
pub(super) async fn create_student(
    State(app): State<App>,
    allowed: Allowed<StudentsWrite>,
    request: RequestId,
    Json(body): Json<CreateStudent>,
) -> AppResult<(StatusCode, Json<Created>)> {
    let CreateStudent { email, username, display_name, given_name, family_name, section, external_id, password } = body;
    let role = Role::Student;
    let body =
        CreateUser { email, username, display_name, given_name, family_name, section, external_id, role, password };
    create(&app, &allowed, &request, body).await
}

async fn create(
    app: &App,
    by: &CurrentUser,
    request: &RequestId,
    body: CreateUser,
) -> AppResult<(StatusCode, Json<Created>)> {
    let (email, display_name) = (Email::parse(&body.email)?, display_name(&body)?);
    let username = body.username.as_deref().map(Username::parse).transpose()?;
    let person = Person {
        given_name: optional("given_name", body.given_name.as_deref(), auth::NAME_CHARS_MAX)?,
        family_name: optional("family_name", body.family_name.as_deref(), auth::NAME_CHARS_MAX)?,
        section: optional("section", body.section.as_deref(), auth::NAME_CHARS_MAX)?,
        external_id: optional("external_id", body.external_id.as_deref(), auth::EXTERNAL_ID_CHARS_MAX)?,
    };
    let (password, initial_password) = match body.password {
        Some(password) => {
            check_password(password.reveal(), &email, username.as_ref(), &display_name)?;
            (password, None)
        }
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
        person,
        password_hash: Some(auth::hash_password(app, password, Holder::Person(by.id)).await?),
        created_at_ms: app.now_ms(),
    };
    let actor = by.actor(request);
    let stored = app.db.write(move |tx| {
        let inserted = super::create(tx, &actor, &new)?;
        if inserted { auth::find(tx, &new.tenant, new.id).map_err(AppError::from) } else { Ok(None) }
    });
    let user = stored.await?.ok_or_else(taken)?;
    Ok((StatusCode::CREATED, Json(Created { user, initial_password })))
}

/// What somebody else chose is guessed as easily as what one chose for oneself.
fn check_password(
    password: &str,
    email: &Email,
    username: Option<&Username>,
    display_name: &DisplayName,
) -> AppResult<()> {
    let mut about = vec![email.as_str(), display_name.as_str()];
    about.extend(username.map(Username::as_str));
    passwords::check_new("password", password, &about)
}

pub(super) fn taken() -> AppError {
    let sentence = "there is an account with this e-mail address, user name or external id";
    AppError::conflict("ACCOUNT_EXISTS", sentence)
}

fn display_name(body: &CreateUser) -> AppResult<DisplayName> {
    if let Some(name) = &body.display_name {
        return DisplayName::parse(name);
    }
    let parts = [body.given_name.as_deref(), body.family_name.as_deref()];
    DisplayName::parse(&parts.into_iter().flatten().map(str::trim).collect::<Vec<_>>().join(" "))
}
