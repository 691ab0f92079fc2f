//! `GET /ready`: whether requests can be served.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::images;
use super::parts::Parts;
use crate::app::App;
use crate::db::{DbError, Tx};
use crate::http::Json;
use crate::jobs::{self, Standing};
use crate::settings;

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
    /// `ok`, or `full` since nothing could be written, because there was no room or the disk failed.
    storage: &'static str,
    /// `ok`, or `failing` since the last message could not leave. It waits and is tried again.
    mail: &'static str,
    /// `ok`, or `unavailable` while no models are loaded: then faces are not compared, and records say so.
    face_engine: &'static str,
    /// `ok`, or `failing` while some jobs were given up.
    jobs: &'static str,
    /// Writes that wait for the database.
    writes_waiting: usize,
}

/// What the database said.
pub(super) struct Answer {
    /// How the jobs stand.
    pub(super) jobs: Vec<Standing>,
    /// Whether any institution compares faces.
    pub(super) faces_wanted: bool,
}

impl Answer {
    /// Whether some jobs were given up.
    pub(super) fn gave_up(&self) -> bool {
        self.jobs.iter().any(|kind| kind.dead > 0)
    }
}

/// What the database says, if it does.
pub(super) async fn ask(app: &App) -> Option<Answer> {
    let now_ms = app.now_ms();
    let asked = app.db.read(move |tx: &Tx<'_>| {
        tx.query_one("SELECT 1", &[], |row| row.get::<i64>(0))?;
        Ok(Answer { jobs: jobs::standing(tx, now_ms)?, faces_wanted: settings::any_matches_faces(tx)? })
    });
    match tokio::time::timeout(DATABASE_TIMEOUT, asked).await {
        Ok(Ok::<_, DbError>(answer)) => Some(answer),
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
    let (answer, images) = tokio::join!(ask(&app), images::works(&app));
    let parts = Parts::of(&app);
    let gave_up = answer.as_ref().is_some_and(Answer::gave_up);
    let status = match &answer {
        None => "down",
        Some(answer) if images && !gave_up && parts.suffice(answer.faces_wanted) => "ok",
        Some(_) => "degraded",
    };
    let word = |works: bool| if works { "ok" } else { "down" };
    let body = Readiness {
        status,
        database: word(answer.is_some()),
        images: word(images),
        storage: if parts.storage { "ok" } else { "full" },
        mail: if parts.mail { "ok" } else { "failing" },
        face_engine: if parts.faces { "ok" } else { "unavailable" },
        jobs: if gave_up { "failing" } else { "ok" },
        writes_waiting: app.db.writer_waiting(),
    };
    let status = if answer.is_some() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(body)).into_response()
}
