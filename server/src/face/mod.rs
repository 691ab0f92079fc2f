//! Faces of people: the one reference that a student enrols, and how a selfie compares with it.
//!
//! Enrolling is the consent: without a reference nobody looks at a student's selfies. What a comparison means for a
//! record is for `attendance`; how faces are found and read is for `face_engine`.

mod approve;
mod enrol;
mod limits;
mod queries;
mod reference;
mod status;
mod verify;
mod withdraw;

use std::sync::Arc;
use std::time::Duration;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::error::{AppError, AppResult};
use crate::face_engine::FaceEngine;
use crate::ids::TenantId;
use crate::limits::budgets;
use crate::shares::Lines;
use reference::Reference;

pub use verify::{Comparison, FaceFacts, Selfie, verify};

/// The job that looks again at records that had no reference to compare with; its subject is the student's id as text.
pub const REFERENCE_JOB: &str = "face-reference";

/// `/students/enroll-face`, `/students/face` and `/admin/face-reenrolments/...`.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(enrol::enroll_face))
        .layer(axum::extract::DefaultBodyLimit::max(limits::ENROL_BODY_BYTES_MAX))
        .routes(routes!(status::show_face, withdraw::withdraw_face))
        .routes(routes!(approve::list_reenrolments))
        .routes(routes!(approve::approve_reenrolment))
}

/// What this slice keeps in memory: references that were opened lately, and how many pictures are read at once.
pub struct Faces {
    references: moka::sync::Cache<String, Arc<Reference>>,
    reading: Lines<(TenantId, String)>,
}

impl Faces {
    /// With room for as many pictures at once as there are cores; opened references are kept so long.
    #[must_use]
    pub fn new(references_kept_for: Duration) -> Self {
        let builder = moka::sync::Cache::builder();
        let references = builder.max_capacity(limits::REFERENCES_CACHED_MAX).time_to_live(references_kept_for).build();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let reading = Lines::new(cores.min(budgets::FACES_READ.count()), budgets::FACES_READ_PER_PERSON.count());
        Self { references, reading }
    }

    /// References that are kept in memory now.
    pub fn cached(&self) -> u64 {
        self.references.run_pending_tasks();
        self.references.entry_count()
    }

    fn of(app: &App) -> AppResult<&Self> {
        app.slice::<Self>().ok_or_else(|| AppError::internal("the server keeps no faces"))
    }
}

/// The engine of this server; without models it is one that says so.
fn engine(app: &App) -> AppResult<Arc<dyn FaceEngine>> {
    let engine = app.slice::<Arc<dyn FaceEngine>>().cloned();
    engine.ok_or_else(|| AppError::internal("the server has no face engine"))
}
