//! Whether the server lives and whether it can work, and what it is.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::clock::iso_utc;
use crate::db::{DbError, Tx};
use crate::http::Json;
use crate::log::HeadFile;

/// `GET /health` and `GET /ready`, below any prefix.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(health)).routes(routes!(ready))
}

/// `GET /`.
pub fn root_routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(root))
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

/// Whether requests can be served.
#[derive(Debug, Serialize, ToSchema)]
pub struct Readiness {
    /// `ok` or `down`.
    status: &'static str,
    /// The database answers.
    database: &'static str,
    /// Writes that wait for the database.
    writes_waiting: usize,
}

/// Asks the database one question.
#[utoipa::path(
    get, path = "/ready", tag = "health", security(()),
    responses((status = 200, body = Readiness), (status = 503, body = Readiness))
)]
async fn ready(State(app): State<App>) -> Response {
    let answered = app.db.read(|tx: &Tx<'_>| tx.query_one("SELECT 1", &[], |row| row.get::<i64>(0))).await;
    let works = matches!(answered, Ok::<_, DbError>(Some(1)));
    let word = if works { "ok" } else { "down" };
    let body = Readiness { status: word, database: word, writes_waiting: app.db.writer_waiting() };
    let status = if works { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(body)).into_response()
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
