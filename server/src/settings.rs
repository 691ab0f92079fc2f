//! What an admin decides for the whole institution while the server runs. Every setting has a default that is safe.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::audit::{self, Action, Event};
use crate::auth::Allowed;
use crate::auth::permission::SystemAdmin;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Json, RequestId};
use crate::ids::TenantId;
use crate::params;

const FACE_MATCHING: &str = "face_matching";
const ON: &str = "on";
const OFF: &str = "off";

/// `/admin/settings`
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(show_settings, change_settings))
}

/// The institution's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Settings {
    /// Whether selfies are compared with enrolled faces. Off by default.
    pub face_matching: bool,
}

/// What to change; what is left out stays.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SettingsChange {
    /// Whether selfies are compared with enrolled faces.
    face_matching: Option<bool>,
}

/// The settings of a tenant.
///
/// # Errors
/// When the database fails.
pub fn of(tx: &Tx<'_>, tenant: &TenantId) -> Result<Settings, DbError> {
    let value = tx.query_one(
        "SELECT value
         FROM tenant_settings
         WHERE tenant_id = ?1 AND name = ?2",
        params![tenant.as_str(), FACE_MATCHING],
        |row| row.get::<String>(0),
    )?;
    Ok(Settings { face_matching: value.as_deref() == Some(ON) })
}

/// Whether any institution compares faces.
///
/// # Errors
/// When the database fails.
pub fn any_matches_faces(tx: &Tx<'_>) -> Result<bool, DbError> {
    let found = tx.query_one(
        "SELECT 1
         FROM tenant_settings
         WHERE name = ?1 AND value = ?2
         LIMIT 1",
        params![FACE_MATCHING, ON],
        |row| row.get::<i64>(0),
    )?;
    Ok(found.is_some())
}

/// Shows the settings.
#[utoipa::path(
    get, path = "/admin/settings", tag = "settings",
    responses((status = 200, body = Settings), (status = 403, body = ErrorEnvelope))
)]
async fn show_settings(State(app): State<App>, allowed: Allowed<SystemAdmin>) -> AppResult<Json<Settings>> {
    let tenant = allowed.tenant.clone();
    app.db.read(move |tx| of(tx, &tenant).map_err(AppError::from)).await.map(Json)
}

/// Changes settings. Records that have their verdict keep it.
#[utoipa::path(
    put, path = "/admin/settings", tag = "settings", request_body = SettingsChange,
    responses((status = 200, body = Settings), (status = 403, body = ErrorEnvelope))
)]
async fn change_settings(
    State(app): State<App>,
    allowed: Allowed<SystemAdmin>,
    request: RequestId,
    Json(change): Json<SettingsChange>,
) -> AppResult<Json<Settings>> {
    let (actor, now_ms) = (allowed.actor(&request), app.now_ms());
    let written = app.db.write(move |tx| {
        if let Some(on) = change.face_matching {
            let value = if on { ON } else { OFF };
            set(tx, &actor.tenant, FACE_MATCHING, value, (&actor.id, now_ms))?;
            let (action, kind, id) = (Action::SettingsChange, "settings", FACE_MATCHING);
            audit::record(tx, &actor, &Event { action, kind, id, reason: None, result: value }, now_ms)?;
        }
        of(tx, &actor.tenant).map_err(AppError::from)
    });
    written.await.map(Json)
}

fn set(tx: &Tx<'_>, tenant: &TenantId, name: &str, value: &str, (by, at_ms): (&str, i64)) -> Result<(), DbError> {
    tx.send(
        "INSERT INTO tenant_settings (tenant_id, name, value, changed_at, changed_by)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (tenant_id, name) DO UPDATE
         SET value = excluded.value, changed_at = excluded.changed_at, changed_by = excluded.changed_by",
        params![tenant.as_str(), name, value, at_ms, by],
    )
}
