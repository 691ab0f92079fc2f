//! The admins' door to the audit log: `GET /admin/audit` searches, `GET /admin/audit/export` gives a file.
//!
//! Both leave a row themselves. What is recorded, and how, is in `audit`.

mod export;
mod queries;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::audit::{self, Action, Actor, AuditRow, Event};
use crate::auth::Allowed;
use crate::auth::permission::SystemAdmin;
use crate::clock::{iso_utc, parse_iso};
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Json, Query, RequestId};
use crate::ids::TenantId;
use crate::limits;
use queries::{Place, Wanted};

/// `/admin/audit` and `/admin/audit/export`.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(search_audit)).routes(routes!(export::export_audit))
}

/// Which rows. What is left out stands for anything.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Who acted: a user's id.
    actor: Option<String>,
    /// What was done, or how its name begins: `device.revoke`, `device.`.
    action: Option<String>,
    /// To what kind of thing, such as `device`.
    kind: Option<String>,
    /// To which one.
    id: Option<String>,
    /// Not before this, ISO 8601.
    from: Option<String>,
    /// Before this, ISO 8601.
    to: Option<String>,
    /// In which request.
    request_id: Option<String>,
    /// With which result.
    result: Option<String>,
    /// Rows: at most 200, or 1,000,000 in a file.
    limit: Option<u32>,
    /// The number of the row behind which the page begins: the `next` of the page before.
    after: Option<i64>,
}

/// A row of the audit log.
#[derive(Debug, Serialize, ToSchema)]
struct AuditEntry {
    /// Its number, without gaps.
    number: i64,
    /// When, ISO 8601.
    at: String,
    /// Who.
    actor_id: String,
    /// As what.
    actor_role: String,
    /// What was done.
    action: String,
    /// To what kind of thing.
    object_kind: String,
    /// To which one.
    object_id: String,
    /// Why, as a code.
    reason: Option<String>,
    /// In which request.
    request_id: String,
    /// What came of it, as a code or an id.
    result: String,
    /// SHA-256 over the row before and this one, in hexadecimal.
    hash: String,
}

/// A page of the audit log.
#[derive(Debug, Serialize, ToSchema)]
struct AuditPage {
    /// The newest first.
    items: Vec<AuditEntry>,
    /// Send it as `after` for the next page; missing on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<i64>,
}

impl AuditEntry {
    fn new(row: AuditRow) -> Self {
        Self {
            number: row.number,
            at: iso_utc(row.at_ms),
            actor_id: row.actor_id,
            actor_role: row.actor_role,
            action: row.action,
            object_kind: row.object_kind,
            object_id: row.object_id,
            reason: row.reason,
            request_id: row.request_id,
            result: row.result,
            hash: data_encoding::HEXLOWER.encode(&row.hash),
        }
    }
}

impl Filter {
    fn wanted(&self) -> AppResult<Wanted> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let begins = |prefix: &String| {
            let names = Action::ALL.iter().map(|action| action.as_str());
            names.filter(|name| name.starts_with(prefix.as_str())).collect()
        };
        Ok(Wanted {
            actor: text(&self.actor),
            actions: self.action.as_ref().filter(|prefix| !prefix.is_empty()).map(begins),
            kind: text(&self.kind),
            id: text(&self.id),
            request_id: text(&self.request_id),
            result: text(&self.result),
            from_ms: self.from.as_deref().map_or(Ok(i64::MIN), |from| time("from", from))?,
        })
    }

    /// The place before which the first row is, but for `after`.
    fn before(&self) -> AppResult<Place> {
        Ok((self.to.as_deref().map_or(Ok(i64::MAX), |to| time("to", to))?, 0))
    }

    /// What was asked for, in words that hold no value: ids of others are no business of every later reader.
    fn summary(&self) -> String {
        let given = [
            ("actor", self.actor.is_some()),
            ("action", self.action.is_some()),
            ("kind", self.kind.is_some()),
            ("id", self.id.is_some()),
            ("from", self.from.is_some()),
            ("to", self.to.is_some()),
            ("request_id", self.request_id.is_some()),
            ("result", self.result.is_some()),
        ];
        let names: Vec<_> = given.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect();
        if names.is_empty() { "all".to_owned() } else { names.join("+") }
    }
}

fn time(field: &'static str, text: &str) -> AppResult<i64> {
    let wrong = || AppError::field(field, "expected a time with its offset, such as 2026-11-20T15:00:00Z");
    parse_iso(text).ok_or_else(wrong)
}

/// Searches the audit log, the newest rows first. The first page of a search leaves a row itself.
#[utoipa::path(
    get, path = "/admin/audit", tag = "audit", params(Filter),
    responses((status = 200, body = AuditPage), (status = 403, body = ErrorEnvelope), (status = 422, body = ErrorEnvelope))
)]
async fn search_audit(
    State(app): State<App>,
    allowed: Allowed<SystemAdmin>,
    request: RequestId,
    Query(filter): Query<Filter>,
) -> AppResult<Json<AuditPage>> {
    let (wanted, before, after) = (filter.wanted()?, filter.before()?, filter.after);
    let limit = filter.limit.unwrap_or(limits::PAGE_ROWS_DEFAULT).clamp(1, limits::PAGE_ROWS_MAX);
    let tenant = allowed.tenant.clone();
    let read = app.db.read(move |tx: &Tx<'_>| {
        let before = start(tx, &tenant, before, after)?;
        queries::search(tx, &tenant, &wanted, before, limit + 1).map_err(AppError::from)
    });
    let mut rows = read.await?;
    if after.is_none() {
        note(&app, allowed.actor(&request), Action::AuditSearch, &filter).await?;
    }
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next = rows.last().filter(|_| more).map(|row| row.number);
    Ok(Json(AuditPage { items: rows.into_iter().map(AuditEntry::new).collect(), next }))
}

/// Where a page begins.
fn start(tx: &Tx<'_>, tenant: &TenantId, before: Place, after: Option<i64>) -> AppResult<Place> {
    let Some(number) = after else { return Ok(before) };
    let place = queries::place_of(tx, tenant, number)?;
    place.ok_or_else(|| AppError::field("after", "this is not the next of a page"))
}

/// Notes that somebody looks at the audit log: what cannot be noted is not shown.
async fn note(app: &App, actor: Actor, action: Action, filter: &Filter) -> AppResult<()> {
    let (id, now_ms) = (filter.summary(), app.now_ms());
    let written = app.db.write(move |tx: &Tx<'_>| {
        audit::record(tx, &actor, &Event { action, kind: "audit", id: &id, reason: None, result: "shown" }, now_ms)
    });
    written.await.map_err(|error: DbError| AppError::from(error))
}
