//! A class session as the API shows it, with the code of the moment.

use muster_sync_core::time::session_code::{CodeClaim, SessionSecret};
use serde::Serialize;
use utoipa::ToSchema;

use super::queries;
use super::secret::secrets_of;
use super::session::{ClassSession, SessionStatus};
use crate::app::App;
use crate::clock::iso_utc;
use crate::db::DbError;
use crate::error::{AppError, AppResult};
use crate::ids::TenantId;

/// A class session.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionView {
    /// The id of its document, in hexadecimal.
    id: String,
    /// The 6 characters that people type before the code.
    #[schema(example = "K7M2QX")]
    locator: String,
    /// The course.
    course_id: Option<String>,
    /// What people call it.
    title: Option<String>,
    /// Where it is in its life.
    status: SessionStatus,
    /// Start.
    opens_at: String,
    /// Planned end.
    closes_at: String,
    /// When captures stop being in time: the planned end, or an earlier declared one.
    ends_at: String,
    /// From when a capture counts as late.
    late_after: Option<String>,
    /// `rotating` or `static`.
    code_mode: &'static str,
    /// How long one code lasts when it rotates.
    step_seconds: u64,
    /// How often the code was regenerated.
    epoch: u64,
    /// Where it takes place.
    geofence: Option<GeofenceView>,
    /// The user for whom the server planned it; missing when a lecturer's phone did.
    planned_for: Option<String>,
    /// Plans of others for the same locator. They do not count; somebody should ask why they exist.
    rival_plans: u64,
    /// Whether several people say that the session is theirs: its records are shown to nobody who teaches until an admin
    /// settles whose plan stands, by `POST /admin/sessions/{id}/settle`.
    contested: bool,
    /// While it is contested, and for one who asks for this session alone: every plan of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    plans: Vec<PlanView>,
    #[serde(flatten)]
    code: CodeView,
}

/// One of several plans of a contested session.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PlanView {
    /// Its id.
    id: String,
    /// The user who planned it.
    planner: String,
    /// For which course.
    course_id: String,
    /// When the server had it.
    received_at: String,
}

/// A circle on the ground.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct GeofenceView {
    /// Degrees.
    latitude: f64,
    /// Degrees.
    longitude: f64,
    /// Metres.
    radius_m: u64,
}

/// The code of the moment: all of it while the session has not ended, nothing of it afterwards.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct CodeView {
    /// What a student types.
    #[schema(example = "K7M2QX-123456")]
    #[serde(skip_serializing_if = "Option::is_none")]
    session_code: Option<String>,
    /// What the QR code says.
    #[schema(example = "MUSTER:1:K7M2QX:118239401:123456")]
    #[serde(skip_serializing_if = "Option::is_none")]
    qr_payload: Option<String>,
    /// When the next code begins, or the session ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    code_valid_until: Option<String>,
    /// The server's time, against which to count down.
    #[serde(skip_serializing_if = "Option::is_none")]
    server_time: Option<String>,
}

impl SessionView {
    pub(super) fn new(session: &ClassSession, now_ms: i64) -> Self {
        let degrees = |e7: i64| e7 as f64 / 1e7;
        Self {
            id: session.document.to_string(),
            locator: session.locator.to_string(),
            course_id: Some(session.course.clone()).filter(|course| !course.is_empty()),
            title: session.title.clone(),
            status: session.status_at(now_ms),
            opens_at: iso_utc(session.opens_at_ms),
            closes_at: iso_utc(session.closes_at_ms),
            ends_at: iso_utc(session.ends_at_ms()),
            late_after: session.late_after_ms.map(iso_utc),
            code_mode: session.code_mode.as_str(),
            step_seconds: session.step_s,
            epoch: session.epoch,
            geofence: session.geofence.map(|fence| GeofenceView {
                latitude: degrees(fence.latitude_e7),
                longitude: degrees(fence.longitude_e7),
                radius_m: fence.radius_m,
            }),
            planned_for: session.by_user.clone(),
            rival_plans: session.rival_plans,
            contested: session.contested,
            plans: Vec::new(),
            code: CodeView::default(),
        }
    }

    /// With the code of the moment, for those who may show it.
    pub(super) async fn with_code(app: &App, tenant: &TenantId, session: &ClassSession) -> AppResult<Self> {
        let now_ms = app.now_ms();
        let mut view = Self::new(session, now_ms);
        if session.contested {
            let document = session.document;
            let read = app.db.read(move |tx| queries::plans(tx, document)).await;
            let plans = read.map_err(|error: DbError| AppError::from(error))?;
            view.plans = plans.iter().map(PlanView::new).collect();
        }
        // Of several plans an admin sees none as the right one, so none has a code; planners see that of their own.
        let is_nobodys = session.contested && session.course.is_empty();
        if !is_nobodys && matches!(view.status, SessionStatus::Planned | SessionStatus::Open) {
            let secrets = secrets_of(app, tenant, session, &session.planned_by).await?;
            let secret = secrets.map(|derive| derive(session.epoch_at(now_ms)));
            view.code = secret.map(|secret| CodeView::new(session, &secret, now_ms)).unwrap_or_default();
        }
        Ok(view)
    }
}

impl PlanView {
    fn new(row: &queries::PlanRow) -> Self {
        Self {
            id: row.hash.to_string(),
            planner: row.planner.clone(),
            course_id: row.course.clone(),
            received_at: iso_utc(row.planned_at_ms),
        }
    }
}

impl CodeView {
    fn new(session: &ClassSession, secret: &SessionSecret, now_ms: i64) -> Self {
        let step = secret.step_at(now_ms);
        let claim = CodeClaim { locator: session.locator, step: Some(step), code: secret.code(step) };
        let step_ends_ms = secret.step_span_ms(step).map_or(i64::MAX, |(_, last)| last + 1);
        Self {
            session_code: Some(format!("{}-{}", claim.locator, claim.code)),
            qr_payload: Some(claim.to_qr()),
            code_valid_until: Some(iso_utc(step_ends_ms.min(session.ends_at_ms()))),
            server_time: Some(iso_utc(now_ms)),
        }
    }
}
