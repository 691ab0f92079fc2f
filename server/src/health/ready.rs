//! `GET /ready`: whether requests can be served.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::images;
use crate::app::App;
use crate::db::{DbError, Tx};
use crate::http::Json;
use crate::jobs::{self, Standing};

/// How long the database may take to answer.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(3);

/// Whether requests can be served.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Readiness {
    /// `ok`; `degraded` if something that can be done without does not work; `down`.
    status: &'static str,
    /// The database answers: `ok` or `down`.
    database: &'static str,
    /// The store of images answers: `ok` or `down`. Records are taken without it.
    images: &'static str,
    /// `ok`, or `failing` while some jobs were given up.
    jobs: &'static str,
    /// Writes that wait for the database.
    writes_waiting: usize,
}

/// What was asked of the database, if it answered.
pub(super) async fn jobs_standing(app: &App) -> Option<Vec<Standing>> {
    let now_ms = app.now_ms();
    let asked = app.db.read(move |tx: &Tx<'_>| {
        tx.query_one("SELECT 1", &[], |row| row.get::<i64>(0))?;
        jobs::standing(tx, now_ms)
    });
    match tokio::time::timeout(DATABASE_TIMEOUT, asked).await {
        Ok(Ok::<_, DbError>(standing)) => Some(standing),
        Ok(Err(error)) => {
            tracing::warn!(%error, "The database cannot be used");
            None
        }
        Err(_) => {
            tracing::warn!("The database does not answer");
            None
        }
    }
}

/// Asks the database and the store of images.
#[utoipa::path(
    get, path = "/ready", tag = "health", security(()),
    responses((status = 200, body = Readiness), (status = 503, body = Readiness))
)]
pub(super) async fn ready(State(app): State<App>) -> Response {
    let (standing, images) = tokio::join!(jobs_standing(&app), images::works(&app));
    let given_up = standing.iter().flatten().any(|kind| kind.dead > 0);
    let status = match (&standing, images && !given_up) {
        (None, _) => "down",
        (Some(_), true) => "ok",
        (Some(_), false) => "degraded",
    };
    let word = |works: bool| if works { "ok" } else { "down" };
    let body = Readiness {
        status,
        database: word(standing.is_some()),
        images: word(images),
        jobs: if given_up { "failing" } else { "ok" },
        writes_waiting: app.db.writer_waiting(),
    };
    let status = if standing.is_some() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(body)).into_response()
}
