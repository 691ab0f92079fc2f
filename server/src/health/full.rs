//! `GET /health/full`: how each part of the server stands. In production for admins only.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::parts::Parts;
use super::{images, ready};
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
    /// Room to write: `running`, or `full` since nothing could be written.
    storage: &'static str,
    /// `running`, or `failing` since the last message could not leave.
    mail: &'static str,
    /// `running`, or `unavailable` while no models are loaded.
    face_engine: &'static str,
    /// What is kept in memory.
    cache: Cache,
    /// Jobs.
    background_tasks: BackgroundTasks,
    /// Jobs whose time comes later.
    scheduler: Scheduler,
}

#[derive(Debug, Serialize, ToSchema)]
struct Cache {
    /// It cannot be switched off.
    enabled: bool,
    /// `memory`.
    backend: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
struct BackgroundTasks {
    /// Whether anything works on them.
    enabled: bool,
    /// Loops, one per kind of job.
    workers: i64,
    /// Jobs that are due or running.
    pending: u64,
    /// Jobs that were given up.
    dead: u64,
}

#[derive(Debug, Serialize, ToSchema)]
struct Scheduler {
    /// Whether anything looks at the clock.
    running: bool,
    /// Jobs that wait for their time.
    tasks_count: u64,
}

/// Says how each part stands.
#[utoipa::path(get, path = "/health/full", tag = "health", security((), ("bearer" = [])), responses((status = 200, body = FullHealth)))]
pub(super) async fn full(State(app): State<App>, MaybeUser(user): MaybeUser) -> Json<FullHealth> {
    let (answer, images) = tokio::join!(ready::ask(&app), images::works(&app));
    let (parts, jobs) = (Parts::of(&app), answer.iter().flat_map(|answer| &answer.jobs));
    let (mut pending, mut scheduled, mut dead) = (0, 0, 0);
    jobs.for_each(|kind| {
        pending += kind.due;
        scheduled += kind.scheduled;
        dead += kind.dead;
    });
    let workers = app.metrics.job_workers.get();
    let word = |works: bool| if works { "running" } else { "down" };
    let components = Components {
        api: if app.is_stopping() { "stopping" } else { "running" },
        database: word(answer.is_some()),
        images: word(images),
        storage: if parts.storage { "running" } else { "full" },
        mail: if parts.mail { "running" } else { "failing" },
        face_engine: if parts.faces { "running" } else { "unavailable" },
        cache: Cache { enabled: true, backend: "memory" },
        background_tasks: BackgroundTasks { enabled: workers > 0, workers, pending, dead },
        scheduler: Scheduler { running: workers > 0, tasks_count: scheduled },
    };
    let status = match &answer {
        None => "unhealthy",
        Some(answer) if images && dead == 0 && parts.suffice(answer.faces_wanted) => "healthy",
        Some(_) => "degraded",
    };
    let env = app.config.data.env;
    let environment = match env {
        Environment::Dev => "development",
        Environment::Staging => "staging",
        Environment::Prod => "production",
    };
    let told = env != Environment::Prod || user.is_some_and(|user| user.role == Role::Admin);
    Json(FullHealth { status, environment, components: told.then_some(components) })
}
