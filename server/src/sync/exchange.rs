//! `POST /sync`: pushes and cursors up; fates, changes, an anchor and new cursors down.

use std::collections::{HashMap, HashSet};

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response as HttpResponse};
use muster_sync_core::{
    ChangeHash,
    change::{self, SignedChange},
    sync::message::{
        self, CONTENT_TYPE, Cursor, Fate, FateKind, PROTOCOL_VERSION, Pulled, Push, Request, RequestError, WireName,
    },
};
use serde::Serialize;
use utoipa::ToSchema;

use super::ingest::{Outcome, Sender};
use super::prepare::Incoming;
use super::{pull, queries};
use crate::app::App;
use crate::auth::CurrentUser;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult};
use crate::http::{Binary, Json, ReplyBytes, media_type};
use crate::log::{self, ServerKey};

/// Changes that one response may have asked again about.
const ASK_AGAIN_MAX: usize = 100;

/// Exchanges changes: a CBOR body both ways, described in `sync-core/PROTOCOL.md`.
#[utoipa::path(
    post, path = "/sync", tag = "sync",
    request_body(content = Binary, content_type = "application/vnd.muster.sync+cbor"),
    responses((status = 200, content_type = "application/vnd.muster.sync+cbor", body = Binary))
)]
pub(super) async fn exchange(
    State(app): State<App>,
    user: CurrentUser,
    headers: HeaderMap,
    body: Bytes,
) -> AppResult<HttpResponse> {
    check_content_type(&headers)?;
    let request = Request::decode(&body).map_err(request_error)?;
    let server = ServerKey::of(&app)?;
    let sender = Sender { tenant: user.tenant.clone(), user: user.id };
    if let Some(proof) = &request.log {
        log::witness(&app, &sender.tenant, proof).await?;
    }
    let incoming = request.pushes.iter().map(incoming).collect();
    let outcomes = super::admit(&app, sender, incoming).await?;
    let fates: Vec<Fate> = outcomes.iter().map(|outcome| fate(server, outcome)).collect();
    fates.iter().for_each(|fate| app.metrics.sync_fate(fate.kind.as_str()));
    let ask_again = ask_again(&app, &user, &request).await?;
    let page = if request.pull { Some(read_page(&app, user, &request).await?) } else { None };
    let anchor = request.device.zip(request.nonce);
    let anchor = anchor.map(|(device, nonce)| server.anchor(app.now_ms(), device, nonce));
    let response = message::Response {
        version: PROTOCOL_VERSION,
        fates,
        changes: page.iter().flat_map(|page| &page.changes).map(pulled).collect(),
        cursors: page.iter().flat_map(|page| &page.cursors).map(cursor).collect(),
        more: page.as_ref().is_some_and(|page| page.more),
        anchor,
        wanted: page.iter().flat_map(|page| &page.wanted).map(|sha256| ChangeHash(*sha256)).collect(),
        ask_again: Some(ask_again).filter(|hashes| !hashes.is_empty()),
        log: page.as_ref().and_then(|page| page.head.as_ref()).map(|head| head.sign(server)),
    };
    let bytes = minicbor::to_vec(&response).map_err(AppError::internal)?;
    let size = ReplyBytes(bytes.len());
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], Extension(size), bytes).into_response())
}

fn check_content_type(headers: &HeaderMap) -> AppResult<()> {
    let given = media_type(headers);
    if given == CONTENT_TYPE || given == "application/cbor" {
        return Ok(());
    }
    Err(AppError::unsupported_media(format!("send the body as Content-Type: {CONTENT_TYPE}")))
}

fn request_error(error: RequestError) -> AppError {
    let status = match error {
        RequestError::TooLarge => axum::http::StatusCode::PAYLOAD_TOO_LARGE,
        RequestError::NotCbor => axum::http::StatusCode::BAD_REQUEST,
        RequestError::Version(_)
        | RequestError::TooManyPushes(_)
        | RequestError::TooManyCursors(_)
        | RequestError::OverLimit => axum::http::StatusCode::UNPROCESSABLE_ENTITY,
    };
    AppError::new(status, error.code(), error.to_string())
}

fn incoming(push: &Push<'_>) -> Incoming {
    Incoming {
        name: push.name.parse(),
        signed: SignedChange { bytes: push.change.to_vec(), signature: push.signature },
        manifest: push.manifest.map(<[u8]>::to_vec),
        sealed_manifest: push.sealed_manifest.map(<[u8]>::to_vec),
        code_key: push.code_key,
        receipt: push.receipt.clone(),
    }
}

fn fate(server: &ServerKey, outcome: &Outcome) -> Fate {
    match outcome {
        &Outcome::Accepted { document, hash, log_index, received_at_ms } => Fate {
            kind: FateKind::Accepted,
            reason: None,
            receipt: Some(server.receipt(document, hash, log_index, received_at_ms)),
        },
        Outcome::Quarantined(reason) => not_accepted(FateKind::Quarantined, reason),
        Outcome::Refused(reason) => not_accepted(FateKind::Refused, reason),
        Outcome::Retry(reason) => not_accepted(FateKind::Retry, reason),
    }
}

fn not_accepted(kind: FateKind, reason: &str) -> Fate {
    Fate { kind, reason: Some(reason.to_owned()), receipt: None }
}

async fn read_page(app: &App, user: CurrentUser, request: &Request<'_>) -> AppResult<pull::Page> {
    let after: HashMap<String, u64> =
        request.cursors.iter().map(|cursor| (cursor.channel.to_owned(), cursor.number)).collect();
    let known = request.log.as_ref().map(|head| head.generation);
    let mut wanted_from = [0; 32];
    wanted_from[..8].copy_from_slice(&app.draw().to_be_bytes());
    let page = app.db.read(move |tx: &Tx<'_>| pull::page(tx, &user, &after, known, &wanted_from)).await;
    page.map_err(|error: DbError| AppError::from(error))
}

/// Changes of the asking device that a person settled, so that it pushes them again and gets their fate. One that it
/// pushes in this very request has been told: until an answer arrives, the device goes on pushing it.
async fn ask_again(app: &App, user: &CurrentUser, request: &Request<'_>) -> AppResult<Vec<ChangeHash>> {
    let Some(device) = request.device.filter(|_| request.pull) else { return Ok(Vec::new()) };
    let (tenant, id) = (user.tenant.clone(), user.id.to_string());
    let read = app.db.read(move |tx: &Tx<'_>| queries::untold(tx, &tenant, &device, &id, ASK_AGAIN_MAX)).await;
    let untold = read.map_err(|error: DbError| AppError::from(error))?;
    if untold.is_empty() {
        return Ok(untold);
    }
    let pushed: HashSet<ChangeHash> =
        request.pushes.iter().filter_map(|push| change::inspect(push.change).ok()).map(|header| header.hash).collect();
    let (told, rest): (Vec<_>, Vec<_>) = untold.into_iter().partition(|hash| pushed.contains(hash));
    if !told.is_empty() {
        let tenant = user.tenant.clone();
        let written =
            app.db.write(move |tx: &Tx<'_>| told.iter().try_for_each(|hash| queries::told(tx, &tenant, *hash)));
        written.await.map_err(|error: DbError| AppError::from(error))?;
    }
    Ok(rest)
}

fn pulled(stored: &crate::log::Stored) -> Pulled<'_> {
    Pulled {
        name: WireName { kind: stored.kind, key: &stored.key1, key2: &stored.key2 },
        change: &stored.change,
        signature: stored.signature,
        log_index: stored.log_index.unsigned_abs(),
        received_at_ms: stored.received_at_ms,
    }
}

fn cursor((channel, number): &(String, u64)) -> Cursor<'_> {
    Cursor { channel, number: *number }
}

/// What a phone pins before its first exchange.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ServerFacts {
    /// The server's Ed25519 public key in hexadecimal: receipts, anchors and verdicts are signed with it.
    server_key: String,
    /// The version of the sync protocol.
    protocol: u16,
    /// The tenant that the caller belongs to.
    tenant: String,
    /// The caller's user id, which stands in the names of documents.
    user_id: String,
    /// The caller's role.
    role: String,
    /// Bytes of the largest image that this server takes.
    image_size_bytes_max: u64,
}

/// Says what a phone has to know about this server and its user.
#[utoipa::path(get, path = "/server", tag = "sync", responses((status = 200, body = ServerFacts)))]
pub(super) async fn server_facts(State(app): State<App>, user: CurrentUser) -> AppResult<Json<ServerFacts>> {
    let server = ServerKey::of(&app)?;
    Ok(Json(ServerFacts {
        server_key: server.public().to_string(),
        protocol: PROTOCOL_VERSION,
        tenant: user.tenant.to_string(),
        user_id: user.id.to_string(),
        role: user.role.to_string(),
        image_size_bytes_max: app.config.image_bytes_max() as u64,
    }))
}
