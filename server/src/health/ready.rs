//! `GET /ready`: whether requests can be served.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::parts::{Parts, Work, clock_is_behind};
use super::storage::{self, Storage};
use super::{images, redis};
use crate::app::App;
use crate::db::{DbError, Tx};
use crate::http::Json;
use crate::jobs::{self, Standing};
use crate::{log, settings};

/// How long the database may take to answer.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(3);

/// Whether requests can be served.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Readiness {
    /// `ok`; `degraded` if something that can be done without does not work; `down`, and then the status is 503, if
    /// nothing can be read, nothing can be stored, or a Redis is required that does not answer.
    status: &'static str,
    /// The database answers: `ok` or `down`.
    database: &'static str,
    /// The store of images answers: `ok` or `down`. Records are taken without it.
    images: &'static str,
    /// `ok` if a write was kept within the last seconds; `full` if there is no room, the disk fails or nothing may be
    /// written; `failing` if it failed otherwise; `stuck` if the writer does not answer.
    storage: &'static str,
    /// `ok` or `down` where REDIS_REQUIRED is true, else `unused`: nothing is kept in a Redis.
    redis: &'static str,
    /// `ok`, or `failing` since the last message could not leave. It waits and is tried again.
    mail: &'static str,
    /// `ok`, or `unavailable` while no models are loaded: then faces are not compared, and records say so.
    face_engine: &'static str,
    /// `ok`; `failing` while some jobs were given up; `stuck` while some are long overdue or nothing works on them; `off`
    /// if this server leaves them to others.
    jobs: &'static str,
    /// `ok`, or `failing` if something that runs behind the requests has ended: an error in the server's log names it.
    background: &'static str,
    /// `ok`, or `failing` since the last line could not be written into LOG_FILE.
    log_file: &'static str,
    /// `whole`, or for 30 days after the log lost changes that it had acknowledged: `lost_tail`.
    log: &'static str,
    /// `ok`, or `behind` while the clock says less than when the newest change was taken.
    clock: &'static str,
    /// Writes that wait for the database.
    writes_waiting: usize,
}

/// What the database said.
pub(super) struct Answer {
    /// How the jobs stand.
    pub(super) jobs: Vec<Standing>,
    /// Whether any institution compares faces.
    pub(super) faces_wanted: bool,
    /// When the newest change was taken.
    pub(super) newest_change_ms: Option<i64>,
}

/// Everything that is asked before anything is said.
pub(super) struct Asked {
    pub(super) answer: Option<Answer>,
    pub(super) storage: Storage,
    pub(super) images: bool,
    /// Whether the Redis answers, if one is required.
    pub(super) redis: Option<bool>,
    pub(super) parts: Parts,
    pub(super) work: Work,
    pub(super) clock_is_behind: bool,
}

impl Asked {
    /// Asks the database, its writer and the store of images.
    pub(super) async fn now(app: &App) -> Self {
        let (answer, storage, images, redis) =
            tokio::join!(ask(app), storage::look(app), images::works(app), redis::works(app));
        let work = Work::of(app, answer.as_ref());
        let clock_is_behind = clock_is_behind(app, answer.as_ref());
        Self { answer, storage, images, redis, parts: Parts::of(app), work, clock_is_behind }
    }

    /// Whether requests can be served: read, and stored, with whatever the settings require.
    pub(super) fn can_serve(&self) -> bool {
        self.answer.is_some() && self.storage == Storage::Writable && self.redis != Some(false)
    }

    /// How the Redis stands, with this word for one that works.
    pub(super) fn redis_word(&self, good: &'static str) -> &'static str {
        match self.redis {
            None => "unused",
            Some(true) => good,
            Some(false) => "down",
        }
    }

    /// Whether everything works that somebody relies on.
    pub(super) fn is_whole(&self) -> bool {
        let wanted = self.answer.as_ref().is_some_and(|answer| answer.faces_wanted);
        let works = self.images && self.work.suffices() && !self.clock_is_behind;
        self.can_serve() && works && self.parts.suffice(wanted)
    }
}

/// What the database says, if it does.
pub(super) async fn ask(app: &App) -> Option<Answer> {
    let now_ms = app.now_ms();
    let asked = app.db.read(move |tx: &Tx<'_>| {
        tx.query_one("SELECT 1", &[], |row| row.get::<i64>(0))?;
        Ok(Answer {
            jobs: jobs::standing(tx, now_ms)?,
            faces_wanted: settings::any_matches_faces(tx)?,
            newest_change_ms: log::newest_received_ms(tx)?,
        })
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

/// Asks the database, whether it can be written, and the store of images.
#[utoipa::path(
    get, path = "/ready", tag = "health", security(()),
    responses((status = 200, body = Readiness), (status = 503, body = Readiness))
)]
pub(super) async fn ready(State(app): State<App>) -> Response {
    let asked = Asked::now(&app).await;
    let (can_serve, parts) = (asked.can_serve(), asked.parts);
    let status = match can_serve {
        false => "down",
        true if asked.is_whole() => "ok",
        true => "degraded",
    };
    let word = |works: bool, otherwise: &'static str| if works { "ok" } else { otherwise };
    let body = Readiness {
        status,
        database: word(asked.answer.is_some(), "down"),
        images: word(asked.images, "down"),
        storage: asked.storage.word("ok"),
        redis: asked.redis_word("ok"),
        mail: word(parts.mail, "failing"),
        face_engine: word(parts.faces, "unavailable"),
        jobs: asked.work.word(),
        background: word(parts.background, "failing"),
        log_file: word(parts.log_file, "failing"),
        log: if parts.log_whole { "whole" } else { "lost_tail" },
        clock: word(!asked.clock_is_behind, "behind"),
        writes_waiting: app.db.writer_waiting(),
    };
    let status = if can_serve { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(body)).into_response()
}
