//! Whether the server lives and whether it can work, what it is, and what it counts.

mod full;
mod images;
mod metrics;
mod parts;
mod ready;
mod redis;
mod storage;

use axum::extract::State;
use axum::routing::get;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::clock::iso_utc;
use crate::http::Json;
use crate::log::HeadFile;

pub use images::ImageStoreHealth;
pub use redis::RedisHealth;
pub use storage::StorageHealth;

/// `GET /health`, `GET /health/full` and `GET /ready`, below any prefix.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(health)).routes(routes!(full::full)).routes(routes!(ready::ready))
}

/// `GET /`.
pub fn root_routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(root))
}

/// `GET /metrics`, which is for a program that knows where it is, and not part of the API.
pub fn metrics_route() -> axum::Router<App> {
    axum::Router::new().route("/metrics", get(metrics::metrics))
}

/// The process lives.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `ok`.
    status: &'static str,
    /// The program's version.
    version: &'static str,
    /// `whole`, or for 30 days after the log lost changes that it had acknowledged: `lost_tail`.
    log: &'static str,
    /// When that was noticed.
    #[serde(skip_serializing_if = "Option::is_none")]
    log_lost_at: Option<String>,
}

/// Says that the process lives, and nothing about what it depends on.
#[utoipa::path(get, path = "/health", tag = "health", security(()), responses((status = 200, body = Health)))]
async fn health(State(app): State<App>) -> Json<Health> {
    let lost_at = app.slice::<HeadFile>().and_then(HeadFile::lost_at_ms);
    Json(Health {
        status: "ok",
        version: env!("CARGO_PKG_VERSION"),
        log: if lost_at.is_some() { "lost_tail" } else { "whole" },
        log_lost_at: lost_at.map(iso_utc),
    })
}

/// What answers here.
#[derive(Debug, Serialize, ToSchema)]
pub struct Root {
    /// `Muster`.
    name: &'static str,
    /// The program's version.
    version: &'static str,
    /// Where the description of every operation is.
    openapi: &'static str,
}

/// Says what answers here.
#[utoipa::path(get, path = "/", tag = "health", security(()), responses((status = 200, body = Root)))]
async fn root() -> Json<Root> {
    Json(Root { name: "Muster", version: env!("CARGO_PKG_VERSION"), openapi: "/openapi.json" })
}
