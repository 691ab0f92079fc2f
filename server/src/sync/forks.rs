//! `/admin/forks`: both changes that claim one place, side by side, and what the evidence says about it.

use axum::extract::State;
use muster_sync_core::{ChangeHash, DeviceKey, DocumentName, evidence::Manifest};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::entry_view::{self, DocumentView, EntryView};
use super::inspect::anchor_time;
use super::list::{parse_place, parse_writer, place};
use super::people::Involved;
use crate::app::App;
use crate::attendance;
use crate::audit::{self, Action, Event};
use crate::auth::{Allowed, permission::DevicesApprove};
use crate::clock::iso_utc;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::evidence;
use crate::forks::{self, Assessed, PhoneFacts, RivalRow, Sighting, Sightings};
use crate::http::{Json, Path, Query, RequestId};
use crate::ids::TenantId;
use crate::limits;
use crate::log::{self, ServerKey, Stored};

/// Captures of one key that an assessment looks at, newest first.
const SIGHTINGS_MAX: u32 = 40;
/// Rivals of one key that an assessment looks at.
const RIVALS_SEEN_MAX: u32 = 10;

/// Which forks.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// The device's key in hexadecimal.
    writer: Option<String>,
    /// Rows, at most 200.
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// A change whose place was taken.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ForkCard {
    /// The change that came second, in hexadecimal; it names the fork.
    hash: String,
    /// The device's key, in hexadecimal.
    device: String,
    document: DocumentView,
    /// The place that both claim.
    seq: u64,
    /// Who sent it.
    sender_id: String,
    #[serde(flatten)]
    people: Involved,
    /// When the server first had it.
    received_at: String,
}

impl ForkCard {
    fn new(row: &RivalRow, people: Involved) -> Self {
        Self {
            people,
            hash: row.hash.to_string(),
            device: row.writer.to_string(),
            document: DocumentView::new(row.kind, &row.key1, &row.key2),
            seq: row.seq,
            sender_id: row.sender_id.clone(),
            received_at: iso_utc(row.received_at_ms),
        }
    }
}

/// A page, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ForkCards {
    items: Vec<ForkCard>,
    /// Where the next page begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A fork: both changes, and how it looks.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ForkView {
    #[serde(flatten)]
    card: ForkCard,
    /// The one in the log.
    accepted: Option<EntryView>,
    /// The one that came second.
    rival: Option<EntryView>,
    /// A restored backup, copies in use, or neither for certain; with the facts that say so.
    assessment: Assessed,
}

/// Lists evidence of equivocation.
#[utoipa::path(get, path = "/admin/forks", tag = "sync", params(Wanted), responses((status = 200, body = ForkCards)))]
pub(super) async fn list_forks(
    State(app): State<App>,
    admin: Allowed<DevicesApprove>,
    Query(wanted): Query<Wanted>,
) -> AppResult<Json<ForkCards>> {
    let writer = parse_writer(wanted.writer.as_deref())?;
    let limit = wanted.limit.unwrap_or(limits::PAGE_ROWS_DEFAULT).clamp(1, limits::PAGE_ROWS_MAX);
    let (tenant, before) = (admin.tenant.clone(), parse_place(wanted.after.as_deref())?);
    let read = app.db.read(move |tx: &Tx<'_>| {
        let rows = forks::list(tx, &tenant, writer.as_ref(), before, limit + 1)?;
        let with_people = |row: RivalRow| people(tx, &tenant, &row).map(|people| (row, people));
        rows.into_iter().map(with_people).collect::<Result<Vec<_>, DbError>>()
    });
    let mut rows = read.await.map_err(AppError::from)?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next = rows.last().filter(|_| more).map(|(row, _)| place(row.received_at_ms, row.hash));
    Ok(Json(ForkCards { items: rows.into_iter().map(|(row, people)| ForkCard::new(&row, people)).collect(), next }))
}

/// Who sent a rival, and whom it is about.
fn people(tx: &Tx<'_>, tenant: &TenantId, row: &RivalRow) -> Result<Involved, DbError> {
    Involved::of(tx, tenant, &row.sender_id, (row.kind, &row.key1, &row.key2))
}

/// Shows both sides of a fork. Looking is noted in the audit log.
#[utoipa::path(
    get, path = "/admin/forks/{hash}", tag = "sync",
    params(("hash" = String, Path, description = "the change that came second, in hexadecimal")),
    responses((status = 200, body = ForkView), (status = 404, body = ErrorEnvelope))
)]
pub(super) async fn inspect_fork(
    State(app): State<App>,
    admin: Allowed<DevicesApprove>,
    request: RequestId,
    Path(hash): Path<String>,
) -> AppResult<Json<ForkView>> {
    let missing = || AppError::not_found("the fork");
    let hash = ChangeHash::from_hex(&hash).ok_or_else(missing)?;
    let view = view_of(&app, &admin.tenant, hash).await?.ok_or_else(missing)?;
    let (actor, now_ms) = (admin.actor(&request), app.now_ms());
    let written = app.db.write(move |tx: &Tx<'_>| {
        let id = hash.to_string();
        let event = Event { action: Action::ForkView, kind: "change", id: &id, reason: None, result: "shown" };
        audit::record(tx, &actor, &event, now_ms)
    });
    written.await.map_err(|error: DbError| AppError::from(error))?;
    Ok(Json(view))
}

/// What rows say about a fork.
struct Rows {
    rival: RivalRow,
    people: Involved,
    twin: Option<Stored>,
    rivals: Vec<RivalRow>,
    captures: Vec<attendance::SubmissionBy>,
}

/// The fork of a change; `None` if it is no rival.
pub(super) async fn view_of(app: &App, tenant: &TenantId, hash: ChangeHash) -> AppResult<Option<ForkView>> {
    let asked = tenant.clone();
    let read = app.db.read(move |tx: &Tx<'_>| rows(tx, &asked, hash)).await;
    let Some(rows) = read.map_err(|error: DbError| AppError::from(error))? else { return Ok(None) };
    let sightings = sightings(app, tenant, &rows).await?;
    let Rows { rival, people, twin, .. } = rows;
    let accepted = twin.and_then(|stored| {
        let signed = muster_sync_core::change::SignedChange { bytes: stored.change, signature: stored.signature };
        EntryView::new(stored.kind, &signed, stored.received_at_ms, Some(stored.log_index))
    });
    Ok(Some(ForkView {
        card: ForkCard::new(&rival, people),
        accepted,
        rival: EntryView::new(rival.kind, &rival.signed, rival.received_at_ms, None),
        assessment: forks::assess(&sightings),
    }))
}

fn rows(tx: &Tx<'_>, tenant: &TenantId, hash: ChangeHash) -> Result<Option<Rows>, DbError> {
    let Some(rival) = forks::find(tx, tenant, hash)? else { return Ok(None) };
    let twin = match log::find(tx, rival.document, &rival.writer, rival.seq)? {
        Some((log_index, ..)) => log::read(tx, tenant, log_index)?,
        None => None,
    };
    let newest = (i64::MAX, ChangeHash([0xff; 32]));
    let rivals = forks::list(tx, tenant, Some(&rival.writer), newest, RIVALS_SEEN_MAX)?;
    let captures = match DocumentName::from_parts(rival.kind, [&rival.key1, &rival.key2]) {
        Ok(DocumentName::Attendance { student, .. } | DocumentName::DeviceBinding { user: student }) => {
            attendance::submissions_by(tx, tenant, &student, &rival.writer, SIGHTINGS_MAX)?
        }
        _ => Vec::new(),
    };
    let people = people(tx, tenant, &rival)?;
    Ok(Some(Rows { rival, people, twin, rivals, captures }))
}

/// Every capture of the key that is known, told apart by when it came.
async fn sightings(app: &App, tenant: &TenantId, rows: &Rows) -> AppResult<Sightings> {
    let student = if rows.rival.kind == 2 { &rows.rival.key2 } else { &rows.rival.key1 };
    let mut sightings = Sightings::default();
    let mut of_rivals = Vec::new();
    let mut first_rival_ms = i64::MAX;
    for rival in &rows.rivals {
        first_rival_ms = first_rival_ms.min(rival.received_at_ms);
        let of = entry_view::commitment_of(rival.kind, [&rival.key1, &rival.key2], &rival.signed);
        let phone = match &of {
            Some((student, commitment)) => {
                let manifest = entry_view::manifest_of(app, tenant, rival.hash, student, *commitment).await?;
                phone_facts(app, manifest, &rows.rival.writer)?
            }
            None => None,
        };
        of_rivals.extend(of.map(|(_, commitment)| commitment));
        sightings.rivals.push(Sighting { received_at_ms: rival.received_at_ms, phone });
    }
    for capture in &rows.captures {
        // What a rival says, signed anew on what the log has, is the same capture once more.
        if of_rivals.contains(&capture.commitment) {
            continue;
        }
        let manifest = evidence::manifest(app, tenant, student, capture.commitment).await?;
        let phone = phone_facts(app, manifest, &rows.rival.writer)?;
        let sighting = Sighting { received_at_ms: capture.received_at_ms, phone };
        let side = if capture.received_at_ms <= first_rival_ms { &mut sightings.before } else { &mut sightings.after };
        side.push(sighting);
    }
    Ok(sightings)
}

fn phone_facts(app: &App, manifest: Option<Manifest>, writer: &DeviceKey) -> AppResult<Option<PhoneFacts>> {
    let Some(manifest) = manifest else { return Ok(None) };
    let (clocks, device) = (&manifest.clocks, &manifest.device);
    let server = ServerKey::of(app)?.public();
    let anchor = clocks.anchor.as_ref().map(|reading| &reading.anchor);
    Ok(Some(PhoneFacts {
        boot_id: clocks.boot_id,
        monotonic_ms: clocks.monotonic_ms,
        claimed_ms: clocks.wall_ms,
        not_before_ms: anchor.and_then(|anchor| anchor_time(anchor, writer, &server)),
        model: format!("{} {}", device.platform, device.model).trim().to_owned(),
    }))
}
