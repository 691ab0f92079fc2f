//! `GET /admin/quarantine`: what waits, and what waited.

use axum::extract::State;
use muster_sync_core::{ChangeHash, DeviceKey};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::entry_view::DocumentView;
use super::people::Involved;
use super::queries::{self, Filter, KeptRow};
use crate::app::App;
use crate::auth::{Allowed, permission::DevicesApprove};
use crate::clock::iso_utc;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult};
use crate::http::{Json, Query};
use crate::ids::TenantId;
use crate::limits;

/// Which changes.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// `waiting` (if it is left out), `released` or `discarded`.
    state: Option<String>,
    /// Why they wait, such as `device_revoked`.
    reason: Option<String>,
    /// The device's key in hexadecimal.
    writer: Option<String>,
    /// The id of the user who sent them, or whose document they belong to.
    user_id: Option<String>,
    /// Rows, at most 200.
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// A change of the quarantine.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeptChange {
    /// The change, in hexadecimal.
    pub(super) hash: String,
    document: DocumentView,
    /// The device's key, in hexadecimal.
    device: String,
    /// Its place in the device's chain in this document.
    seq: u64,
    /// Why it waits, or waited last.
    reason: String,
    /// `waiting`, `released` or `discarded`.
    state: String,
    /// Who sent it.
    sender_id: String,
    #[serde(flatten)]
    people: Involved,
    /// When it came.
    received_at: String,
    /// When it was settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    settled_at: Option<String>,
    /// Who settled it; missing if the rules did.
    #[serde(skip_serializing_if = "Option::is_none")]
    settled_by: Option<String>,
    /// Why: the person's code, or that of the rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    settle_reason: Option<String>,
}

impl KeptRow {
    /// Who sent it, and whom it is about.
    pub(super) fn people(&self, tx: &Tx<'_>, tenant: &TenantId) -> Result<Involved, DbError> {
        let waiting = &self.waiting;
        Involved::of(tx, tenant, &waiting.sender_id, (waiting.kind, &waiting.key1, &waiting.key2))
    }
}

impl KeptChange {
    pub(super) fn new(row: &KeptRow, people: Involved) -> Self {
        let waiting = &row.waiting;
        Self {
            hash: waiting.hash.to_string(),
            document: DocumentView::new(waiting.kind, &waiting.key1, &waiting.key2),
            device: row.writer.to_string(),
            seq: row.seq,
            reason: row.reason.clone(),
            state: row.state.clone(),
            sender_id: waiting.sender_id.clone(),
            people,
            received_at: iso_utc(row.received_at_ms),
            settled_at: row.settled_at_ms.map(iso_utc),
            settled_by: row.settled_by.clone(),
            settle_reason: row.settle_reason.clone(),
        }
    }
}

/// A page, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeptChanges {
    items: Vec<KeptChange>,
    /// Where the next page begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Lists what waits for a person or a predecessor, or what became of it.
#[utoipa::path(
    get, path = "/admin/quarantine", tag = "sync", params(Wanted),
    responses((status = 200, body = KeptChanges))
)]
pub(super) async fn list(
    State(app): State<App>,
    admin: Allowed<DevicesApprove>,
    Query(wanted): Query<Wanted>,
) -> AppResult<Json<KeptChanges>> {
    let filter = Filter {
        state: parse_state(wanted.state.as_deref())?.to_owned(),
        reason: wanted.reason.unwrap_or_default(),
        writer: parse_writer(wanted.writer.as_deref())?,
        user: wanted.user_id.unwrap_or_default(),
    };
    let limit = wanted.limit.unwrap_or(limits::PAGE_ROWS_DEFAULT).clamp(1, limits::PAGE_ROWS_MAX);
    let (tenant, before) = (admin.tenant.clone(), parse_place(wanted.after.as_deref())?);
    let read = app.db.read(move |tx: &Tx<'_>| {
        let rows = queries::list(tx, &tenant, &filter, before, limit + 1)?;
        let with_people = |row: KeptRow| row.people(tx, &tenant).map(|people| (row, people));
        rows.into_iter().map(with_people).collect::<Result<Vec<_>, DbError>>()
    });
    let mut rows = read.await.map_err(AppError::from)?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let last = rows.last().filter(|_| more);
    let next = last.map(|(row, _)| place(row.received_at_ms, row.waiting.hash));
    Ok(Json(KeptChanges { items: rows.into_iter().map(|(row, people)| KeptChange::new(&row, people)).collect(), next }))
}

fn parse_state(state: Option<&str>) -> AppResult<&str> {
    match state {
        None => Ok("waiting"),
        Some(state @ ("waiting" | "released" | "discarded")) => Ok(state),
        Some(_) => Err(AppError::field("state", "a state is waiting, released or discarded")),
    }
}

/// Reads a device's key.
pub(super) fn parse_writer(writer: Option<&str>) -> AppResult<Option<DeviceKey>> {
    let wrong = || AppError::field("writer", "a device's key is 64 hexadecimal digits");
    writer.map(|text| DeviceKey::from_hex(text).ok_or_else(wrong)).transpose()
}

/// A place in a list that goes from the newest to the oldest.
pub(super) fn place(received_at_ms: i64, hash: ChangeHash) -> String {
    format!("{received_at_ms}.{hash}")
}

/// Reads what [`place`] wrote; without one, the place before everything.
pub(super) fn parse_place(after: Option<&str>) -> AppResult<(i64, ChangeHash)> {
    let Some(text) = after else { return Ok((i64::MAX, ChangeHash([0xff; 32]))) };
    let parsed = text.split_once('.').and_then(|(time, hash)| Some((time.parse().ok()?, ChangeHash::from_hex(hash)?)));
    parsed.ok_or_else(|| AppError::field("after", "this is not the next of a page"))
}
