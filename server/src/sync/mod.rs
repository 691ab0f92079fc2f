//! Sync: phones push what they signed and pull what concerns them.
//!
//! [`exchange`] is the endpoint, [`prepare`] checks what needs no state, [`ingest`] admits inside the transaction,
//! [`budget`] says on whose account, [`quarantine`] keeps and releases what waits, [`pull`] pages the channels, [`live`] says that a channel moved.
//! [`image_uses`] reads the manifests of a database from before images had uses.
//! For admins, [`list`], [`inspect`] and [`settle`] are the doors to quarantine, [`forks`] shows equivocation.

mod answers;
mod budget;
mod contest;
mod entry_view;
mod exchange;
mod forks;
mod image_uses;
mod ingest;
mod inspect;
mod list;
mod live;
mod log_state;
mod people;
mod prepare;
mod pull;
mod quarantine;
mod queries;
mod refusals;
mod settle;
mod share;
mod witness;

use axum::extract::DefaultBodyLimit;
use muster_sync_core::limits;
use tower_http::compression::{CompressionLayer, predicate::SizeAbove};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::app::App;
use crate::error::{AppError, AppResult};
use crate::ids::{TenantId, UserId};
use crate::limits::budgets;
use crate::shares::Lines;

pub use contest::{Settle, Settled, settle};
pub use image_uses::{IMAGE_USES_JOB, read_image_uses};
pub use ingest::{Outcome, Sender};
pub use live::Streams;
pub use prepare::{Incoming, prepare};
pub use quarantine::release_batch;

/// Responses below this many bytes are not worth compressing.
const COMPRESSED_BYTES_MIN: u64 = 1024;

/// `POST /sync`, `GET /sync/live`, `GET /server`, `GET /admin/log`, `/admin/quarantine`, `/admin/forks`,
/// `GET /admin/refusals`.
pub fn routes() -> OpenApiRouter<App> {
    let compression = CompressionLayer::new().compress_when(SizeAbove::new(COMPRESSED_BYTES_MIN));
    let exchange = OpenApiRouter::new()
        .routes(routes!(exchange::exchange))
        .layer(compression)
        .layer(DefaultBodyLimit::max(limits::SYNC_REQUEST_BYTES_MAX));
    OpenApiRouter::new()
        .merge(exchange)
        .routes(routes!(live::live))
        .routes(routes!(exchange::server_facts))
        .routes(routes!(log_state::log_state))
        .routes(routes!(list::list))
        .routes(routes!(inspect::inspect))
        .routes(routes!(contest::answer))
        .routes(routes!(settle::release))
        .routes(routes!(settle::discard))
        .routes(routes!(settle::release_many))
        .routes(routes!(settle::discard_many))
        .routes(routes!(forks::list_forks))
        .routes(routes!(forks::inspect_fork))
        .routes(routes!(refusals::list_refused))
}

/// Whose changes are being admitted: a hundred signatures take a core for a while, and whoever sends many such requests at
/// once is to keep the cores from nobody.
pub struct Pushes(Lines<(TenantId, UserId)>);

impl Default for Pushes {
    fn default() -> Self {
        Self(Lines::new(budgets::REQUESTS_IN_FLIGHT.count(), budgets::PUSHES_PER_PERSON.count()))
    }
}

/// Admits changes of one sender, by the sync endpoint and by those that take one signed change.
///
/// # Errors
/// When the database or the vault fails; a change that is not admitted is an [`Outcome`], not an error.
pub async fn admit(app: &App, sender: Sender, incoming: Vec<Incoming>) -> AppResult<Vec<Outcome>> {
    if incoming.is_empty() {
        return Ok(Vec::new());
    }
    let pushes = app.slice::<Pushes>().ok_or_else(|| AppError::internal("the app was built without Pushes"))?;
    let holder = (sender.tenant.clone(), sender.user);
    let _turn = pushes.0.enter(holder).await.map_err(AppError::internal)?;
    let prepared = prepare(app, &sender, incoming).await?;
    ingest::ingest(app, sender, prepared).await
}
