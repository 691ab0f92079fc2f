//! `GET` and `PUT /auth/profile`: how a person is called, and what else stands in their account.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
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
use crate::text;

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

/// What to change; what is missing stays, and an empty given or family name goes. Each name may come under any word that
/// the answer has for it. What cannot be changed here may be sent back as it was read.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UpdateProfile {
    /// As others see it.
    display_name: Option<String>,
    /// The same as `display_name`.
    full_name: Option<String>,
    /// The same as `display_name`.
    name: Option<String>,
    /// Such as `Ada`.
    given_name: Option<String>,
    /// The same as `given_name`.
    first_name: Option<String>,
    /// Such as `Lovelace`.
    family_name: Option<String>,
    /// The same as `family_name`.
    last_name: Option<String>,
    #[schema(ignore)]
    id: Option<Value>,
    #[schema(ignore)]
    email: Option<Value>,
    #[schema(ignore)]
    username: Option<Value>,
    #[schema(ignore)]
    role: Option<Value>,
    #[schema(ignore)]
    status: Option<Value>,
    #[schema(ignore)]
    section: Option<Value>,
    #[schema(ignore)]
    external_id: Option<Value>,
    #[schema(ignore)]
    email_confirmed_at: Option<Value>,
    #[schema(ignore)]
    email_confirmed_by: Option<Value>,
    #[schema(ignore)]
    email_lost_at: Option<Value>,
    #[schema(ignore)]
    external_id_by: Option<Value>,
    #[schema(ignore)]
    created_at: Option<Value>,
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
    let (tenant, id) = (current.tenant.clone(), current.id);
    let found = app.db.read(move |tx| users::find(tx, &tenant, id)).await?;
    let before = found.ok_or_else(|| AppError::not_found("the account"))?;
    body.changes_nothing_else(&before)?;
    let change = body.names(&before)?;
    let (actor, now_ms) = (current.actor(&request), app.now_ms());
    let updated = app.db.write(move |tx| update(tx, &actor, id, &change, now_ms)).await?;
    updated.map(|user| Json(user.into())).ok_or_else(|| AppError::not_found("the account"))
}

impl UpdateProfile {
    /// Clients send back what they read: what is as it was is no change.
    fn changes_nothing_else(&self, before: &User) -> AppResult<()> {
        let stored = serde_json::to_value(before).map_err(AppError::internal)?;
        let by_admin = "an admin changes this";
        let sent = [
            ("id", &self.id, "this never changes"),
            ("email", &self.email, by_admin),
            ("username", &self.username, by_admin),
            ("role", &self.role, by_admin),
            ("status", &self.status, by_admin),
            ("section", &self.section, "the university's registry or an admin changes this"),
            ("external_id", &self.external_id, "the university's registry or an admin changes this"),
            ("email_confirmed_at", &self.email_confirmed_at, "the link of POST /auth/confirm-email/request does"),
            ("email_confirmed_by", &self.email_confirmed_by, "the link of POST /auth/confirm-email/request does"),
            ("email_lost_at", &self.email_lost_at, by_admin),
            ("external_id_by", &self.external_id_by, "the university's registry or an admin changes this"),
            ("created_at", &self.created_at, "this never changes"),
        ];
        let changed =
            sent.into_iter().find(|(field, sent, _)| sent.as_ref().is_some_and(|sent| *sent != stored[*field]));
        changed.map_or(Ok(()), |(field, _, who)| {
            Err(AppError::field(field, format!("{field} cannot be changed here: {who}")))
        })
    }

    fn names(&self, before: &User) -> AppResult<Names> {
        let shown = [&self.display_name, &self.full_name, &self.name];
        let given = [&self.given_name, &self.first_name];
        let family = [&self.family_name, &self.last_name];
        let (had_given, had_family) = (before.person.given_name.as_deref(), before.person.family_name.as_deref());
        let display_name = new("display_name", &shown, Some(&before.display_name))?;
        let given_name = new("given_name", &given, had_given)?;
        let family_name = new("family_name", &family, had_family)?;
        Ok(Names {
            display_name: display_name.map(DisplayName::parse).transpose()?,
            given_name: given_name.map(|name| bounded("given_name", name, NAME_CHARS_MAX)).transpose()?,
            family_name: family_name.map(|name| bounded("family_name", name, NAME_CHARS_MAX)).transpose()?,
        })
    }
}

/// The one new name among those that came under different words.
fn new<'a>(field: &'static str, sent: &[&'a Option<String>], before: Option<&str>) -> AppResult<Option<&'a str>> {
    let before = before.unwrap_or_default();
    let mut new = sent.iter().filter_map(|name| name.as_deref()).filter(|name| text::shown(name) != before);
    let first = new.next();
    if new.any(|other| Some(other) != first) {
        return Err(AppError::field(field, "the same name came under two words with different texts"));
    }
    Ok(first)
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
