//! `GET /admin/quarantine/{hash}`: everything about one change that waits, or waited.

use axum::extract::State;
use muster_sync_core::{ChangeHash, DeviceKey, change};
use serde::Serialize;
use utoipa::ToSchema;

use super::entry_view::{self, EntryView};
use super::forks::{self, ForkView};
use super::list::KeptChange;
use super::people::Involved;
use super::queries::{self, KeptRow};
use crate::app::App;
use crate::audit::{self, Action, Event};
use crate::auth::{Allowed, permission::DevicesApprove};
use crate::clock::iso_utc;
use crate::db::{DbError, Tx};
use crate::devices;
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Json, Path, RequestId};
use crate::ids::TenantId;
use crate::log::{self, ServerKey};

/// A change of the quarantine with everything that helps to settle it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Inspected {
    #[serde(flatten)]
    change: KeptChange,
    /// Why it waits, in words.
    why: &'static str,
    /// What it says; missing if its bytes no longer read.
    entry: Option<EntryView>,
    device_standing: DeviceStanding,
    chain: ChainPosition,
    time: TimeFacts,
    /// What else of this device waits, by reason, this change included.
    waiting_of_device: Vec<WaitingCount>,
    /// For a change whose place another one has: both, side by side.
    #[serde(skip_serializing_if = "Option::is_none")]
    fork: Option<ForkView>,
}

/// Whose key signed it.
#[derive(Debug, Serialize, ToSchema)]
struct DeviceStanding {
    /// The owner; missing if nobody has bound it.
    user_id: Option<String>,
    /// `bound`, `revoked` or `unbound`.
    status: &'static str,
    /// Since when it is revoked.
    revoked_at: Option<String>,
    /// Whether it signed two changes for one place.
    chain_fork: bool,
}

/// Where it stands in its writer's chain in this document.
#[derive(Debug, Serialize, ToSchema)]
struct ChainPosition {
    /// Its own place.
    seq: u64,
    /// The place of the newest change of this chain that is in the log; 0 if none is.
    newest_in_log: u64,
    /// `next`, `gap`, `taken` or `in_log`.
    position: &'static str,
}

/// What is known about when it was made. None of it decides by itself.
#[derive(Debug, Serialize, ToSchema)]
struct TimeFacts {
    /// The phone's own claim.
    claimed_at: Option<String>,
    /// It was not made before this: the server's time in the anchor that its evidence carries.
    not_before: Option<String>,
    /// It existed by then: the server had it.
    existed_by: String,
    /// What that says about a revocation.
    revocation: &'static str,
}

/// How many changes wait for one reason.
#[derive(Debug, Serialize, ToSchema)]
struct WaitingCount {
    reason: String,
    count: i64,
}

struct Rows {
    kept: KeptRow,
    people: Involved,
    owner: Option<devices::Owner>,
    binding: Option<devices::BindingFacts>,
    newest_in_log: u64,
    in_place: Option<ChangeHash>,
    waiting: Vec<(String, i64)>,
}

/// Shows one change of the quarantine. Looking is noted in the audit log.
#[utoipa::path(
    get, path = "/admin/quarantine/{hash}", tag = "sync",
    params(("hash" = String, Path, description = "the change, in hexadecimal")),
    responses((status = 200, body = Inspected), (status = 404, body = ErrorEnvelope))
)]
pub(super) async fn inspect(
    State(app): State<App>,
    admin: Allowed<DevicesApprove>,
    request: RequestId,
    Path(hash): Path<String>,
) -> AppResult<Json<Inspected>> {
    let missing = || AppError::not_found("the change");
    let hash = ChangeHash::from_hex(&hash).ok_or_else(missing)?;
    let (actor, now_ms) = (admin.actor(&request), app.now_ms());
    let written = app.db.write(move |tx: &Tx<'_>| {
        let Some(rows) = read(tx, &actor.tenant, hash)? else { return Ok(None) };
        let (id, result) = (hash.to_string(), rows.kept.state.as_str());
        let event = Event { action: Action::QuarantineView, kind: "change", id: &id, reason: None, result };
        audit::record(tx, &actor, &event, now_ms)?;
        Ok::<_, DbError>(Some(rows))
    });
    let rows = written.await.map_err(AppError::from)?.ok_or_else(missing)?;
    let fork = forks::view_of(&app, &admin.tenant, hash).await?;
    let time = time_facts(&app, &admin.tenant, &rows).await?;
    Ok(Json(view(rows, time, fork)))
}

fn read(tx: &Tx<'_>, tenant: &TenantId, hash: ChangeHash) -> Result<Option<Rows>, DbError> {
    let Some(kept) = queries::one(tx, tenant, hash)? else { return Ok(None) };
    let newest = log::tip(tx, kept.document, &kept.writer)?;
    let in_place = log::find(tx, kept.document, &kept.writer, kept.seq)?;
    Ok(Some(Rows {
        owner: devices::owner_of(tx, tenant, &kept.writer)?,
        binding: devices::binding_at(tx, tenant, &kept.writer)?,
        newest_in_log: newest.map_or(0, |tip| tip.seq),
        in_place: in_place.map(|(_, hash, _)| hash),
        waiting: queries::waiting_by_reason(tx, tenant, &kept.writer)?,
        people: kept.people(tx, tenant)?,
        kept,
    }))
}

fn view(rows: Rows, time: TimeFacts, fork: Option<ForkView>) -> Inspected {
    let kept = &rows.kept;
    let position = match rows.in_place {
        Some(hash) if hash == kept.waiting.hash => "in_log",
        Some(_) => "taken",
        None if kept.seq == rows.newest_in_log + 1 => "next",
        None => "gap",
    };
    let status = match &rows.owner {
        None => "unbound",
        Some(owner) if owner.status == devices::DeviceStatus::Bound => "bound",
        Some(_) => "revoked",
    };
    Inspected {
        change: KeptChange::new(kept, rows.people.clone()),
        why: in_words(&kept.reason),
        entry: EntryView::new(kept.waiting.kind, &kept.waiting.signed, kept.received_at_ms, None),
        device_standing: DeviceStanding {
            user_id: rows.owner.as_ref().map(|owner| owner.user.to_string()),
            status,
            revoked_at: rows.binding.and_then(|binding| binding.revoked_at_ms).map(iso_utc),
            chain_fork: rows.binding.is_some_and(|binding| binding.forked_at_ms.is_some()),
        },
        chain: ChainPosition { seq: kept.seq, newest_in_log: rows.newest_in_log, position },
        time,
        waiting_of_device: rows.waiting.iter().map(|(reason, count)| waiting_count(reason, *count)).collect(),
        fork,
    }
}

fn waiting_count(reason: &str, count: i64) -> WaitingCount {
    WaitingCount { reason: reason.to_owned(), count }
}

async fn time_facts(app: &App, tenant: &TenantId, rows: &Rows) -> AppResult<TimeFacts> {
    let (kept, waiting) = (&rows.kept, &rows.kept.waiting);
    let claimed_ms = change::inspect(&waiting.signed.bytes).ok().map(|header| header.time_s.saturating_mul(1000));
    let not_before_ms = not_before(app, tenant, kept).await?;
    let revoked_at_ms = rows.binding.and_then(|binding| binding.revoked_at_ms);
    Ok(TimeFacts {
        claimed_at: claimed_ms.map(iso_utc),
        not_before: not_before_ms.map(iso_utc),
        existed_by: iso_utc(kept.received_at_ms),
        revocation: about_revocation(revoked_at_ms, not_before_ms, kept.received_at_ms),
    })
}

/// The time of the anchor in the evidence, if it is the server's own, for this very device.
async fn not_before(app: &App, tenant: &TenantId, kept: &KeptRow) -> AppResult<Option<i64>> {
    let waiting = &kept.waiting;
    let of = entry_view::commitment_of(waiting.kind, [&waiting.key1, &waiting.key2], &waiting.signed);
    let Some((student, commitment)) = of else { return Ok(None) };
    let manifest = entry_view::manifest_of(app, tenant, waiting.hash, &student, commitment).await?;
    let reading = manifest.and_then(|manifest| manifest.clocks.anchor);
    let server = ServerKey::of(app)?.public();
    Ok(reading.and_then(|reading| anchor_time(&reading.anchor, &kept.writer, &server)))
}

/// The time of an anchor that says something.
pub(super) fn anchor_time(
    anchor: &muster_sync_core::time::Anchor,
    device: &DeviceKey,
    server: &DeviceKey,
) -> Option<i64> {
    (anchor.device == *device && anchor.verify(server).is_ok()).then_some(anchor.time_ms)
}

fn about_revocation(revoked_at_ms: Option<i64>, not_before_ms: Option<i64>, existed_by_ms: i64) -> &'static str {
    match revoked_at_ms {
        None => "the key is not revoked",
        Some(revoked_ms) if existed_by_ms < revoked_ms => "the server had it before the key was revoked",
        Some(revoked_ms) if not_before_ms.is_some_and(|time_ms| time_ms >= revoked_ms) => {
            "it was made after the key was revoked: it carries the server's time from after that"
        }
        Some(_) => "nothing proves that it existed before the key was revoked, and nothing disproves it",
    }
}

fn in_words(reason: &str) -> &'static str {
    match reason {
        "device_unbound" => "nobody has bound this device yet; approving its binding releases what waits for it",
        "device_revoked" => "this device is not bound any more; only a person who vouches for the change can admit it",
        "device_of_other_user" => "the device belongs to somebody else than the student; a mark by hand is the way",
        "session_unknown" => "the plan of the class session has not arrived; its arrival releases what waits for it",
        "chain_gap" => "a change before it has not been admitted; that one's arrival releases it",
        "chain_fork" => "another change of the same device has its place, so it can never be admitted",
        _ => "the rules do not admit it",
    }
}
