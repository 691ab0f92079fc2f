//! `GET /health/full`: how each part of the server stands. In production for admins only.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::parts;
use super::ready::Asked;
use crate::app::App;
use crate::auth::{MaybeUser, Role};
use crate::config::Environment;
use crate::http::Json;

/// How the server stands.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FullHealth {
    /// `healthy`, `degraded` or `unhealthy`.
    status: &'static str,
    /// `development`, `staging` or `production`.
    environment: &'static str,
    /// Part by part; in production for admins only.
    #[serde(skip_serializing_if = "Option::is_none")]
    components: Option<Components>,
}

/// The parts.
#[derive(Debug, Serialize, ToSchema)]
struct Components {
    /// `running`, or `stopping`.
    api: &'static str,
    /// `running` or `down`.
    database: &'static str,
    /// The store of images: `running` or `down`.
    images: &'static str,
    /// `running` if a write was kept within the last seconds, else `full`, `failing` or `stuck`.
    storage: &'static str,
    /// `running` or `down` where REDIS_REQUIRED is true, else `unused`.
    redis: &'static str,
    /// `running`, or `failing` since the last message could not leave.
    mail: &'static str,
    /// `running`, or `unavailable` while no models are loaded.
    face_engine: &'static str,
    /// What runs behind the requests: `running`, or `failing` if some of it has ended.
    background: &'static str,
    /// `running`, or `failing` since the last line could not be written into LOG_FILE.
    log_file: &'static str,
    /// The change log: `whole`, or `lost_tail`.
    log: &'static str,
    /// `running`, or `behind` while it says less than when the newest change was taken.
    clock: &'static str,
    /// Threads that serve.
    threads: usize,
    /// What is kept in memory.
    cache: Cache,
    /// Jobs.
    background_tasks: BackgroundTasks,
    /// Jobs whose time comes later.
    scheduler: Scheduler,
}

#[derive(Debug, Serialize, ToSchema)]
struct Cache {
    /// Whether anything is: ENABLE_CACHING.
    enabled: bool,
    /// `memory`, or `none`.
    backend: &'static str,
    /// Accounts, face references and people's keys that are kept now.
    entries: u64,
}

#[derive(Debug, Serialize, ToSchema)]
struct BackgroundTasks {
    /// Whether anything of this server works on them.
    enabled: bool,
    /// Jobs of different kinds that can be worked on at once.
    workers: i64,
    /// Jobs that are due or running.
    pending: u64,
    /// Jobs that were given up.
    dead: u64,
    /// `ok`, `failing`, `stuck` or `off`, as in `/ready`.
    state: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
struct Scheduler {
    /// Whether anything of this server looks at the clock.
    running: bool,
    /// Jobs that wait for their time.
    tasks_count: u64,
}

/// Says how each part stands.
#[utoipa::path(get, path = "/health/full", tag = "health", security((), ("bearer" = [])), responses((status = 200, body = FullHealth)))]
pub(super) async fn full(State(app): State<App>, MaybeUser(user): MaybeUser) -> Json<FullHealth> {
    let asked = Asked::now(&app).await;
    let status = match asked.can_serve() {
        false => "unhealthy",
        true if asked.is_whole() => "healthy",
        true => "degraded",
    };
    let env = app.config.data.env;
    let environment = match env {
        Environment::Dev => "development",
        Environment::Staging => "staging",
        Environment::Prod => "production",
    };
    let told = env != Environment::Prod || user.is_some_and(|user| user.role == Role::Admin);
    Json(FullHealth { status, environment, components: told.then(|| components(&app, &asked)) })
}

fn components(app: &App, asked: &Asked) -> Components {
    let jobs = || asked.answer.iter().flat_map(|answer| &answer.jobs);
    let workers = parts::workers(app);
    let (running, parts) = (workers > 0 && !app.is_stopping(), asked.parts);
    let word = |works: bool, otherwise: &'static str| if works { "running" } else { otherwise };
    let cached = app.config.work.enable_caching;
    Components {
        api: word(!app.is_stopping(), "stopping"),
        database: word(asked.answer.is_some(), "down"),
        images: word(asked.images, "down"),
        storage: asked.storage.word("running"),
        redis: asked.redis_word("running"),
        mail: word(parts.mail, "failing"),
        face_engine: word(parts.faces, "unavailable"),
        background: word(parts.background, "failing"),
        log_file: word(parts.log_file, "failing"),
        log: if parts.log_whole { "whole" } else { "lost_tail" },
        clock: word(!asked.clock_is_behind, "behind"),
        threads: tokio::runtime::Handle::current().metrics().num_workers(),
        cache: Cache { enabled: cached, backend: if cached { "memory" } else { "none" }, entries: parts::cached(app) },
        background_tasks: BackgroundTasks {
            enabled: running,
            workers,
            pending: jobs().map(|kind| kind.due).sum(),
            dead: jobs().map(|kind| kind.dead).sum(),
            state: asked.work.word(),
        },
        scheduler: Scheduler { running, tasks_count: jobs().map(|kind| kind.scheduled).sum() },
    }
}
