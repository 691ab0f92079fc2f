//! `GET` and `PUT /auth/profile`: how a person is called, and what else stands in their account.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::current_user::CurrentUser;
use super::fields::{DisplayName, NAME_CHARS_MAX, bounded};
use super::queries;
use super::users::{self, User};
use crate::app::App;
use crate::audit::{self, Action, Actor, Event};
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Json, RequestId};
use crate::ids::UserId;

/// An account, with each name under every word that clients know it by.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Profile {
    #[serde(flatten)]
    user: User,
    /// The same as `display_name`.
    full_name: String,
    /// The same as `display_name`.
    name: String,
    /// The same as `given_name`.
    first_name: Option<String>,
    /// The same as `family_name`.
    last_name: Option<String>,
}

impl From<User> for Profile {
    fn from(user: User) -> Self {
        Self {
            full_name: user.display_name.clone(),
            name: user.display_name.clone(),
            first_name: user.person.given_name.clone(),
            last_name: user.person.family_name.clone(),
            user,
        }
    }
}

/// What to change; what is missing stays, and an empty given or family name goes. The role is an admin's to change, the
/// address changes by confirming the new one, and section and external id are the registry's.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UpdateProfile {
    /// As others see it; `full_name` and `name` are accepted for it.
    #[serde(alias = "full_name", alias = "name")]
    display_name: Option<String>,
    /// `first_name` is accepted for it.
    #[serde(alias = "first_name")]
    given_name: Option<String>,
    /// `last_name` is accepted for it.
    #[serde(alias = "last_name")]
    family_name: Option<String>,
}

/// Shows one's own account.
#[utoipa::path(get, path = "/auth/profile", tag = "auth", responses((status = 200, body = Profile)))]
pub(super) async fn profile(State(app): State<App>, current: CurrentUser) -> AppResult<Json<Profile>> {
    let (tenant, id) = (current.tenant, current.id);
    let found = app.db.read(move |tx| users::find(tx, &tenant, id)).await?;
    found.map(|user| Json(user.into())).ok_or_else(|| AppError::not_found("the account"))
}

/// Changes how one is called.
#[utoipa::path(
    put, path = "/auth/profile", tag = "auth", request_body = UpdateProfile,
    responses((status = 200, body = Profile), (status = 422, body = ErrorEnvelope))
)]
pub(super) async fn update_profile(
    State(app): State<App>,
    current: CurrentUser,
    request: RequestId,
    Json(body): Json<UpdateProfile>,
) -> AppResult<Json<Profile>> {
    let name = |field, text: Option<String>| text.map(|text| bounded(field, &text, NAME_CHARS_MAX)).transpose();
    let change = Names {
        display_name: body.display_name.as_deref().map(DisplayName::parse).transpose()?,
        given_name: name("given_name", body.given_name)?,
        family_name: name("family_name", body.family_name)?,
    };
    let (actor, id, now_ms) = (current.actor(&request), current.id, app.now_ms());
    let updated = app.db.write(move |tx| update(tx, &actor, id, &change, now_ms)).await?;
    updated.map(|user| Json(user.into())).ok_or_else(|| AppError::not_found("the account"))
}

struct Names {
    display_name: Option<DisplayName>,
    given_name: Option<String>,
    family_name: Option<String>,
}

fn update(tx: &Tx<'_>, actor: &Actor, id: UserId, change: &Names, now_ms: i64) -> Result<Option<User>, DbError> {
    let tenant = &actor.tenant;
    let Some(before) = users::find(tx, tenant, id)? else { return Ok(None) };
    let display_name = change.display_name.as_ref().map_or(before.display_name.as_str(), DisplayName::as_str);
    let changed =
        |name: &Option<String>, before: Option<String>| name.clone().or(before).filter(|name| !name.is_empty());
    let given_name = changed(&change.given_name, before.person.given_name);
    let family_name = changed(&change.family_name, before.person.family_name);
    queries::set_names(tx, tenant, id, display_name, given_name.as_deref(), family_name.as_deref(), now_ms)?;
    let event =
        Event { action: Action::ProfileUpdate, kind: "account", id: &actor.id, reason: None, result: "changed" };
    audit::record(tx, actor, &event, now_ms)?;
    users::find(tx, tenant, id)
}
