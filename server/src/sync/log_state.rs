//! What an admin sees of the log itself: where it ends, and what it ever lost.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::{Allowed, permission::SystemAdmin};
use crate::clock::iso_utc;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult};
use crate::http::Json;
use crate::log::{self, Head, Loss};

/// The tenant's log.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LogState {
    /// The newest index; 0 in an empty log.
    log_index: i64,
    /// Which life of the log.
    generation: i64,
    /// The hash chain's value at the newest index, in hexadecimal; missing in an empty log.
    #[serde(skip_serializing_if = "Option::is_none")]
    chain: Option<String>,
    /// The newest first, at most 200.
    losses: Vec<LostTail>,
}

/// A tail that the log lost.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LostTail {
    /// When it was noticed.
    noticed_at: String,
    /// `head_file`: at a start, by the file beside the keys. `phone`: by what a phone brought.
    noticed_by: &'static str,
    /// The newest index that was proven to have been there.
    proven_index: i64,
    /// The newest index that was left.
    kept_index: i64,
    /// The generation that began then.
    generation: i64,
}

/// Where the log ends, and every loss that was noticed.
#[utoipa::path(get, path = "/admin/log", tag = "sync", responses((status = 200, body = LogState)))]
pub(super) async fn log_state(State(app): State<App>, admin: Allowed<SystemAdmin>) -> AppResult<Json<LogState>> {
    let tenant = admin.tenant.clone();
    let read = app.db.read(move |tx: &Tx<'_>| Ok((log::current(tx, &tenant)?, log::losses(tx, Some(&tenant))?))).await;
    let (head, losses): (Option<Head>, Vec<Loss>) = read.map_err(|error: DbError| AppError::from(error))?;
    let lost = losses.into_iter().map(|loss| LostTail {
        noticed_at: iso_utc(loss.noticed_at_ms),
        noticed_by: loss.noticed_by.as_str(),
        proven_index: loss.proven_index,
        kept_index: loss.kept_index,
        generation: loss.generation,
    });
    Ok(Json(LogState {
        log_index: head.as_ref().map_or(0, |head| head.log_index),
        generation: head.as_ref().map_or(0, |head| head.generation),
        chain: head.map(|head| data_encoding::HEXLOWER.encode(&head.chain)),
        losses: lost.collect(),
    }))
}
