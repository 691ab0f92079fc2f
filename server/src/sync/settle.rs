//! A person settles what waits: `POST /admin/quarantine/{hash}/release` and `/discard`, and both for many at once.
//!
//! Releasing is judging again, by the pipeline that judged before, with the state of today; the reply says the new fate.
//! A person may vouch for a change of a revoked key; everything else that the rules forbid stays forbidden.

use axum::extract::State;
use data_encoding::BASE64;
use muster_sync_core::{ChangeHash, document::Code};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ingest::{Admission, Outcome, Sender};
use super::list::parse_writer;
use super::quarantine;
use super::queries::{self, Filter, KeptRow, Settled};
use crate::app::App;
use crate::audit::{self, Action, Actor, Event};
use crate::auth::{Allowed, CurrentUser, permission::DevicesApprove};
use crate::db::{DbError, Tx};
use crate::devices;
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Json, Path, RequestId};
use crate::ids::UserId;
use crate::log::{self, ServerKey};

/// Longest reason in characters: the phone gets it as `discarded.REASON`, in 64.
const REASON_CHARS_MAX: usize = 54;
/// Changes that one request settles.
const SETTLED_AT_ONCE_MAX: u32 = 100;

/// Why a change is judged again, and whether somebody vouches for it.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Release {
    /// A code of at most 54 letters, digits, `-`, `_` and `.`; needed to vouch.
    reason: Option<String>,
    /// Admit it although its key is revoked: one vouches that it was made by the owner, before.
    #[serde(default)]
    despite_revocation: bool,
}

/// Why a change is discarded.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Discard {
    /// A code of at most 54 letters, digits, `-`, `_` and `.`; the phone shows it.
    reason: String,
}

/// Which waiting changes: at least one of the first three.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Many {
    /// Why they wait, such as `device_revoked`.
    waits_for: Option<String>,
    /// The device's key in hexadecimal.
    writer: Option<String>,
    /// The id of the user who sent them, or whose document they belong to.
    user_id: Option<String>,
    /// At most 100, which is also what is taken if it is left out.
    limit: Option<u32>,
    /// As for one.
    reason: Option<String>,
    /// As for one; for releases only.
    #[serde(default)]
    despite_revocation: bool,
}

/// What became of a change.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NewFate {
    /// The change, in hexadecimal.
    hash: String,
    /// `accepted`, `quarantined`, `refused`, or `retry` if a budget is used up.
    fate: &'static str,
    /// Why, unless it was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The server's receipt, if it was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<FateReceipt>,
}

/// The server's statement that the change is in its log.
#[derive(Debug, Serialize, ToSchema)]
struct FateReceipt {
    log_index: i64,
    received_at_ms: i64,
    /// Base64.
    signature: String,
}

/// What became of many.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NewFates {
    items: Vec<NewFate>,
    /// Changes of one's own devices, which another admin has to settle.
    skipped_own: usize,
    /// Whether as many were looked at as one request may: there may be more.
    more: bool,
}

/// What a person wants, checked.
#[derive(Debug, Clone)]
enum Wish {
    Release { reason: Option<Code>, despite_revocation: bool },
    Discard { reason: Code },
}

impl Wish {
    fn release(reason: Option<&str>, despite_revocation: bool) -> AppResult<Self> {
        if despite_revocation && reason.is_none() {
            return Err(AppError::field("reason", "to vouch for a change, say why"));
        }
        Ok(Self::Release { reason: reason.map(parse_reason).transpose()?, despite_revocation })
    }
}

fn parse_reason(reason: &str) -> AppResult<Code> {
    let fits = reason.chars().count() <= REASON_CHARS_MAX;
    Code::new(reason)
        .filter(|_| fits)
        .ok_or_else(|| AppError::field("reason", "a reason is a code of 1 to 54 letters, digits, - _ and ."))
}

/// Judges a waiting change again; the same call again changes nothing.
#[utoipa::path(
    post, path = "/admin/quarantine/{hash}/release", tag = "sync", request_body = Release,
    params(("hash" = String, Path, description = "the change, in hexadecimal")),
    responses(
        (status = 200, description = "its new fate", body = NewFate),
        (status = 403, description = "`OWN_CHANGE`", body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope),
        (status = 409, description = "`ALREADY_DISCARDED`, or `CHANGE_DAMAGED`", body = ErrorEnvelope)
    )
)]
pub(super) async fn release(
    State(app): State<App>,
    admin: Allowed<DevicesApprove>,
    request: RequestId,
    Path(hash): Path<String>,
    Json(body): Json<Release>,
) -> AppResult<Json<NewFate>> {
    let wish = Wish::release(body.reason.as_deref(), body.despite_revocation)?;
    one(&app, &admin, admin.actor(&request), &hash, wish).await.map(Json)
}

/// Discards a waiting change; the same call again changes nothing. Its device is told why.
#[utoipa::path(
    post, path = "/admin/quarantine/{hash}/discard", tag = "sync", request_body = Discard,
    params(("hash" = String, Path, description = "the change, in hexadecimal")),
    responses(
        (status = 200, description = "its new fate", body = NewFate),
        (status = 403, description = "`OWN_CHANGE`", body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope),
        (status = 409, description = "`ALREADY_RELEASED`", body = ErrorEnvelope)
    )
)]
pub(super) async fn discard(
    State(app): State<App>,
    admin: Allowed<DevicesApprove>,
    request: RequestId,
    Path(hash): Path<String>,
    Json(body): Json<Discard>,
) -> AppResult<Json<NewFate>> {
    let wish = Wish::Discard { reason: parse_reason(&body.reason)? };
    one(&app, &admin, admin.actor(&request), &hash, wish).await.map(Json)
}

/// Judges many waiting changes again, in the order of their chains.
#[utoipa::path(
    post, path = "/admin/quarantine/release", tag = "sync", request_body = Many,
    responses((status = 200, body = NewFates), (status = 422, body = ErrorEnvelope))
)]
pub(super) async fn release_many(
    State(app): State<App>,
    admin: Allowed<DevicesApprove>,
    request: RequestId,
    Json(many): Json<Many>,
) -> AppResult<Json<NewFates>> {
    let wish = Wish::release(many.reason.as_deref(), many.despite_revocation)?;
    several(&app, &admin, admin.actor(&request), many, wish).await.map(Json)
}

/// Discards many waiting changes.
#[utoipa::path(
    post, path = "/admin/quarantine/discard", tag = "sync", request_body = Many,
    responses((status = 200, body = NewFates), (status = 422, body = ErrorEnvelope))
)]
pub(super) async fn discard_many(
    State(app): State<App>,
    admin: Allowed<DevicesApprove>,
    request: RequestId,
    Json(many): Json<Many>,
) -> AppResult<Json<NewFates>> {
    if many.despite_revocation {
        return Err(AppError::field("despite_revocation", "only a release can stand despite a revocation"));
    }
    let reason = many.reason.as_deref().ok_or_else(|| AppError::field("reason", "say why they are discarded"))?;
    let wish = Wish::Discard { reason: parse_reason(reason)? };
    several(&app, &admin, admin.actor(&request), many, wish).await.map(Json)
}

async fn one(app: &App, admin: &CurrentUser, actor: Actor, hash: &str, wish: Wish) -> AppResult<NewFate> {
    let missing = || AppError::not_found("the change");
    let hash = ChangeHash::from_hex(hash).ok_or_else(missing)?;
    let settling = Settling::new(app, admin, actor, wish)?;
    let written = app.db.write(move |tx: &Tx<'_>| {
        let row = queries::one(tx, &settling.actor.tenant, hash)?.ok_or_else(missing)?;
        if settling.is_own(tx, &row)? {
            return Err(AppError::forbidden("OWN_CHANGE", "another admin has to settle the changes of your devices"));
        }
        let admission = Admission::new(tx, &settling.sender, settling.server, settling.now_ms);
        let outcome = settling.settle(&admission, &row)??;
        Ok::<_, AppError>((hash, outcome, admission.finish()?))
    });
    let (hash, outcome, moved) = written.await?;
    log::announce(app, &admin.tenant, &moved);
    app.wake_jobs();
    new_fate(app, hash, &outcome)
}

async fn several(app: &App, admin: &CurrentUser, actor: Actor, many: Many, wish: Wish) -> AppResult<NewFates> {
    let limit = many.limit.unwrap_or(SETTLED_AT_ONCE_MAX).clamp(1, SETTLED_AT_ONCE_MAX);
    let filter = Filter {
        state: "waiting".to_owned(),
        reason: many.waits_for.unwrap_or_default(),
        writer: parse_writer(many.writer.as_deref())?,
        user: many.user_id.unwrap_or_default(),
    };
    if filter.reason.is_empty() && filter.writer.is_none() && filter.user.is_empty() {
        return Err(AppError::validation("say which: waits_for, writer or user_id"));
    }
    let settling = Settling::new(app, admin, actor, wish)?;
    let written = app.db.write(move |tx: &Tx<'_>| {
        let rows = queries::chosen(tx, &settling.actor.tenant, &filter, limit)?;
        let more = rows.len() == limit as usize;
        let admission = Admission::new(tx, &settling.sender, settling.server, settling.now_ms);
        let (mut outcomes, mut skipped_own) = (Vec::with_capacity(rows.len()), 0);
        for row in rows {
            if settling.is_own(tx, &row)? {
                skipped_own += 1;
                continue;
            }
            // One before it may have released or settled it; what is damaged stays for the admin to see.
            let Some(row) = queries::one(tx, &settling.actor.tenant, row.waiting.hash)? else { continue };
            if let Ok(outcome) = settling.settle(&admission, &row)? {
                outcomes.push((row.waiting.hash, outcome));
            }
        }
        Ok::<_, AppError>((outcomes, skipped_own, more, admission.finish()?))
    });
    let (outcomes, skipped_own, more, moved) = written.await?;
    log::announce(app, &admin.tenant, &moved);
    app.wake_jobs();
    let items = outcomes.iter().map(|(hash, outcome)| new_fate(app, *hash, outcome));
    Ok(NewFates { items: items.collect::<AppResult<_>>()?, skipped_own, more })
}

/// Who settles, and how.
struct Settling {
    actor: Actor,
    admin: UserId,
    sender: Sender,
    server: muster_sync_core::DeviceKey,
    now_ms: i64,
    wish: Wish,
}

impl Settling {
    fn new(app: &App, admin: &CurrentUser, actor: Actor, wish: Wish) -> AppResult<Self> {
        let sender = Sender { tenant: admin.tenant.clone(), user: admin.id };
        let server = ServerKey::of(app)?.public();
        Ok(Self { actor, admin: admin.id, sender, server, now_ms: app.now_ms(), wish })
    }

    /// Nobody settles what their own device wrote, or what they sent for a device that nobody owns.
    fn is_own(&self, tx: &Tx<'_>, row: &KeptRow) -> Result<bool, DbError> {
        Ok(match devices::owner_of(tx, &self.actor.tenant, &row.writer)? {
            Some(owner) => owner.user == self.admin,
            None => row.waiting.sender_id == self.actor.id,
        })
    }

    /// The new fate; the inner error is one that the row itself causes.
    fn settle(&self, admission: &Admission<'_>, row: &KeptRow) -> Result<Result<Outcome, AppError>, DbError> {
        match &self.wish {
            Wish::Release { reason, despite_revocation } => {
                self.release(admission, row, reason.as_ref().map(Code::as_str), *despite_revocation)
            }
            Wish::Discard { reason } => self.discard(admission, row, reason.as_str()),
        }
    }

    fn release(
        &self,
        admission: &Admission<'_>,
        row: &KeptRow,
        reason: Option<&str>,
        despite_revocation: bool,
    ) -> Result<Result<Outcome, AppError>, DbError> {
        let (tx, tenant, hash) = (admission.tx, &self.actor.tenant, row.waiting.hash);
        if row.state == "discarded" && row.settled_by.is_some() {
            let sentence = "somebody discarded this change; it stays discarded";
            return Ok(Err(AppError::conflict("ALREADY_DISCARDED", sentence)));
        }
        admission.pardoned.set(despite_revocation.then_some(hash));
        let outcome = quarantine::rejudge(admission, &row.waiting)?;
        admission.pardoned.set(None);
        let Some(outcome) = outcome else {
            return Ok(Err(AppError::conflict("CHANGE_DAMAGED", "the bytes of this change no longer read")));
        };
        quarantine::judge_again(admission)?;
        if row.state == "released" {
            return Ok(Ok(outcome));
        }
        let result = match &outcome {
            Outcome::Accepted { .. } => {
                queries::name_releaser(tx, tenant, hash, &self.actor.id, reason, self.now_ms)?;
                if despite_revocation { "accepted_despite_revocation" } else { "accepted" }
            }
            Outcome::Quarantined(reason) => reason,
            Outcome::Refused(reason) => reason,
            Outcome::Retry(reason) => reason,
        };
        self.record(tx, Action::QuarantineRelease, hash, reason, result)?;
        Ok(Ok(outcome))
    }

    fn discard(
        &self,
        admission: &Admission<'_>,
        row: &KeptRow,
        reason: &str,
    ) -> Result<Result<Outcome, AppError>, DbError> {
        let (tx, hash) = (admission.tx, row.waiting.hash);
        match row.state.as_str() {
            "released" => {
                let sentence = "this change is in the log already, where nothing is removed";
                return Ok(Err(AppError::conflict("ALREADY_RELEASED", sentence)));
            }
            "discarded" => {
                let reason = row.settle_reason.as_deref().unwrap_or_default();
                return Ok(Ok(Outcome::Refused(quarantine::discarded(reason))));
            }
            _ => {}
        }
        let settled = Settled { state: "discarded", by: Some(&self.actor.id), reason: Some(reason), tell: true };
        queries::settle(tx, &self.actor.tenant, hash, &settled, self.now_ms)?;
        self.record(tx, Action::QuarantineDiscard, hash, Some(reason), "discarded")?;
        Ok(Ok(Outcome::Refused(quarantine::discarded(reason))))
    }

    fn record(
        &self,
        tx: &Tx<'_>,
        action: Action,
        hash: ChangeHash,
        reason: Option<&str>,
        result: &str,
    ) -> Result<(), DbError> {
        let id = hash.to_string();
        audit::record(tx, &self.actor, &Event { action, kind: "change", id: &id, reason, result }, self.now_ms)
    }
}

fn new_fate(app: &App, hash: ChangeHash, outcome: &Outcome) -> AppResult<NewFate> {
    let (fate, reason, receipt) = match outcome {
        &Outcome::Accepted { document, hash, log_index, received_at_ms } => {
            let receipt = ServerKey::of(app)?.receipt(document, hash, log_index, received_at_ms);
            let signature = BASE64.encode(&receipt.signature);
            ("accepted", None, Some(FateReceipt { log_index, received_at_ms, signature }))
        }
        Outcome::Quarantined(reason) => ("quarantined", Some((*reason).to_owned()), None),
        Outcome::Refused(reason) => ("refused", Some(reason.to_string()), None),
        Outcome::Retry(reason) => ("retry", Some((*reason).to_owned()), None),
    };
    Ok(NewFate { hash: hash.to_string(), fate, reason, receipt })
}
