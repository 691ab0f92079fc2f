//! `GET /admin/refusals`: what was refused, as bounded copies.

use axum::extract::State;
use muster_sync_core::ChangeHash;
use serde::Serialize;
use utoipa::ToSchema;

use super::queries;
use crate::app::App;
use crate::auth::{self, Allowed, ShownUser, permission::DevicesApprove};
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult};
use crate::http::Json;

/// Rows that an admin sees at once.
const LISTED_MAX: i64 = 200;

/// A change that was refused.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RefusedChange {
    /// SHA-256 of the bytes as they came.
    bytes_sha256: String,
    /// Size of the bytes that are kept.
    size_bytes: i64,
    /// Why.
    reason: String,
    /// Why, in words.
    detail: String,
    /// Who sent it.
    sender_id: String,
    /// The same by name and number; missing if the account is gone.
    sender: Option<ShownUser>,
    /// How often.
    times: i64,
    /// The last time.
    last_at: String,
}

/// The newest refused changes, at most 200.
#[utoipa::path(get, path = "/admin/refusals", tag = "sync", responses((status = 200, body = Vec<RefusedChange>)))]
pub(super) async fn list_refused(
    State(app): State<App>,
    admin: Allowed<DevicesApprove>,
) -> AppResult<Json<Vec<RefusedChange>>> {
    let tenant = admin.tenant.clone();
    let rows = app.db.read(move |tx: &Tx<'_>| {
        let rows = queries::list_refused(tx, &tenant, LISTED_MAX)?;
        let with_sender = |row: queries::RefusedRow| Ok((auth::shown(tx, &tenant, &row.sender_id)?, row));
        rows.into_iter().map(with_sender).collect::<Result<Vec<_>, DbError>>()
    });
    let rows = rows.await.map_err(AppError::from)?;
    let shown = rows.into_iter().map(|(sender, row)| RefusedChange {
        sender,
        bytes_sha256: ChangeHash(row.bytes_sha256).to_string(),
        size_bytes: row.size_bytes,
        reason: row.reason,
        detail: row.detail,
        sender_id: row.sender_id,
        times: row.times,
        last_at: crate::clock::iso_utc(row.last_at_ms),
    });
    Ok(Json(shown.collect()))
}
