//! `GET /health/full`: how each part of the server stands. In production for admins only.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

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
    let (standing, images) = tokio::join!(ready::jobs_standing(&app), images::works(&app));
    let total = |count: fn(&crate::jobs::Standing) -> u64| standing.iter().flatten().map(count).sum::<u64>();
    let (pending, scheduled, dead) = (total(|kind| kind.due), total(|kind| kind.scheduled), total(|kind| kind.dead));
    let workers = app.metrics.job_workers.get();
    let word = |works: bool| if works { "running" } else { "down" };
    let components = Components {
        api: if app.is_stopping() { "stopping" } else { "running" },
        database: word(standing.is_some()),
        images: word(images),
        cache: Cache { enabled: true, backend: "memory" },
        background_tasks: BackgroundTasks { enabled: workers > 0, workers, pending, dead },
        scheduler: Scheduler { running: workers > 0, tasks_count: scheduled },
    };
    let status = match (standing.is_some(), images && dead == 0) {
        (false, _) => "unhealthy",
        (true, true) => "healthy",
        (true, false) => "degraded",
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
