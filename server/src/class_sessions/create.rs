//! `POST /lecturers/sessions`: the server plans a session for a lecturer who has no phone at hand.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use muster_sync_core::{
    DocumentName, Locator, Refusal,
    document::{CodeMode, Container, Entry, Label, Plan},
};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::view::SessionView;
use super::{access, limits, project, queries};
use crate::app::App;
use crate::audit::{self, Action, Actor, Event};
use crate::auth::permission::SessionsManage;
use crate::auth::{Allowed, CurrentUser, Role};
use crate::courses;
use crate::db::DbError;
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Json, RequestId};
use crate::ids::CourseId;
use crate::{clock, log, text};

const MINUTE_MS: i64 = 60_000;
/// Told to the loop that draws locators, and to nobody else.
const LOCATOR_TAKEN: &str = "LOCATOR_TAKEN";

/// The session to plan. It lasts from `opens_at` (now) to `closes_at`, or for `duration_minutes` (90).
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewSession {
    /// The course; one must teach it.
    course_id: CourseId,
    /// What people call it; at most 200 characters.
    title: Option<String>,
    /// Start, ISO 8601.
    opens_at: Option<String>,
    /// End, ISO 8601, at most 24 hours after the start.
    closes_at: Option<String>,
    /// Instead of `closes_at`.
    duration_minutes: Option<u32>,
    /// A capture counts as late this long after the start.
    late_after_minutes: Option<u32>,
    /// Where it takes place.
    geofence: Option<NewGeofence>,
    /// `rotating` (the default) or `static`.
    code_mode: Option<CodeModeName>,
    /// How long one code lasts when it rotates: 5 to 300, 15 by default.
    step_seconds: Option<u32>,
}

/// A circle on the ground.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewGeofence {
    /// Degrees, -90 to 90.
    #[serde(alias = "lat")]
    latitude: f64,
    /// Degrees, -180 to 180.
    #[serde(alias = "lng", alias = "lon")]
    longitude: f64,
    /// Metres, 1 to 10,000.
    #[serde(alias = "radius")]
    radius_m: u32,
}

/// How the code behaves.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum CodeModeName {
    /// A new code with every step.
    Rotating,
    /// One code until it is regenerated.
    Static,
}

/// Plans a class session and shows its code.
#[utoipa::path(
    post, path = "/lecturers/sessions", tag = "sessions", request_body = NewSession,
    responses(
        (status = 201, body = SessionView, headers(("Location" = String, description = "where it is shown"))),
        (status = 404, description = "no such course, or not one's own", body = ErrorEnvelope),
        (status = 422, body = ErrorEnvelope)
    )
)]
pub(super) async fn create(
    State(app): State<App>,
    allowed: Allowed<SessionsManage>,
    request: RequestId,
    Json(new): Json<NewSession>,
) -> AppResult<Response> {
    let (actor, user) = (allowed.actor(&request), allowed.user);
    let title = title(new.title.as_deref())?;
    let plan = plan(&new, &user, app.now_ms())?;
    check_course(&app, &user, new.course_id).await?;
    let locator = append(&app, &actor, plan, title).await?;
    let session = access::steerable(&app, &user, locator.to_string()).await?;
    let view = SessionView::with_code(&app, &user.tenant, &session).await?;
    let mut response = (StatusCode::CREATED, Json(view)).into_response();
    if let Ok(location) = HeaderValue::from_str(&format!("/api/v1/lecturers/sessions/{locator}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

fn title(given: Option<&str>) -> AppResult<Option<String>> {
    let title = given.map(text::shown).filter(|title| !title.is_empty());
    let fits = |title: &String| title.chars().count() <= limits::TITLE_CHARS_MAX && !text::has_controls(title);
    if title.as_ref().is_none_or(fits) {
        return Ok(title);
    }
    Err(AppError::field("title", "at most 200 characters, and no control characters"))
}

/// The plan, checked against the schema that every phone obeys.
fn plan(new: &NewSession, user: &CurrentUser, now_ms: i64) -> AppResult<Plan> {
    let parse = |field, text: &Option<String>| text.as_deref().map(|text| time(field, text)).transpose();
    let opens_at_ms = parse("opens_at", &new.opens_at)?.unwrap_or(now_ms);
    let closes_at_ms = match (parse("closes_at", &new.closes_at)?, new.duration_minutes) {
        (Some(_), Some(_)) => return Err(AppError::field("duration_minutes", "stands instead of closes_at")),
        (Some(closes_at_ms), None) => closes_at_ms,
        (None, minutes) => {
            let minutes = minutes.map_or(limits::DURATION_MINUTES_DEFAULT, i64::from);
            opens_at_ms.saturating_add(minutes * MINUTE_MS)
        }
    };
    let late = |minutes: u32| opens_at_ms.saturating_add(i64::from(minutes) * MINUTE_MS);
    let fence = new.geofence.as_ref().map(position).transpose()?;
    let label = |text: String| Label::new(&text).ok_or_else(|| AppError::internal("an id is not a label"));
    let plan = Plan {
        course: label(new.course_id.to_string())?,
        opens_at_ms,
        closes_at_ms,
        late_after_ms: new.late_after_minutes.map(late),
        code_mode: match new.code_mode.unwrap_or(CodeModeName::Rotating) {
            CodeModeName::Rotating => CodeMode::Rotating,
            CodeModeName::Static => CodeMode::Static,
        },
        step_s: new.step_seconds.map_or(limits::STEP_S_DEFAULT, u64::from),
        latitude_e7: fence.map(|(latitude, _)| latitude),
        longitude_e7: fence.map(|(_, longitude)| longitude),
        radius_m: new.geofence.as_ref().map(|fence| u64::from(fence.radius_m)),
        by: Some(label(user.id.to_string())?),
    };
    let entry = Entry::Plan(plan.clone());
    Entry::read(Container::Plan, &entry.fields()).map_err(|refusal| refused(&refusal))?;
    Ok(plan)
}

fn time(field: &'static str, text: &str) -> AppResult<i64> {
    let wrong = || AppError::field(field, "expected a time with its offset, such as 2026-11-20T15:00:00Z");
    clock::parse_iso(text).ok_or_else(wrong)
}

fn position(fence: &NewGeofence) -> AppResult<(i64, i64)> {
    let e7 = |field, degrees: f64, most: f64| {
        let sane = degrees.is_finite() && degrees.abs() <= most;
        sane.then_some((degrees * 1e7).round() as i64).ok_or_else(|| AppError::field(field, "is not on earth"))
    };
    Ok((e7("geofence.latitude", fence.latitude, 90.0)?, e7("geofence.longitude", fence.longitude, 180.0)?))
}

/// The schema's refusal, under the name that the field has in the API.
fn refused(refusal: &Refusal) -> AppError {
    let Refusal::Field { field, what } = refusal else { return AppError::validation(refusal.to_string()) };
    let field = match *field {
        "late_after_ms" => "late_after_minutes",
        "opens_at_ms" => "opens_at",
        "closes_at_ms" => "closes_at",
        "step_s" => "step_seconds",
        "radius_m" => "geofence.radius_m",
        other => other,
    };
    AppError::validation(format!("{field} {what}")).with_details(json!({ "field": field }))
}

async fn check_course(app: &App, user: &CurrentUser, course: CourseId) -> AppResult<()> {
    let user = user.clone();
    let read = app.db.read(move |tx| match user.role {
        Role::Admin => Ok(courses::find(tx, &user.tenant, course)?.is_some()),
        _ => courses::teaches(tx, &user.tenant, course, user.id),
    });
    let may = read.await.map_err(|error: DbError| AppError::from(error))?;
    if may { Ok(()) } else { Err(AppError::not_found("the course")) }
}

/// Draws locators until one is free: 30 bits are plenty, and a collision is noticed in the transaction.
async fn append(app: &App, actor: &Actor, plan: Plan, title: Option<String>) -> AppResult<Locator> {
    for _ in 0..limits::LOCATORS_DRAWN_MAX {
        let mut random = [0; 4];
        app.entropy.fill(&mut random);
        let locator = Locator::from_random(random);
        let name = DocumentName::ClassSession { locator };
        let channels = log::channels_of(&name, Some(plan.course.as_str()));
        let (title, actor_of_plan, now_ms) = (title.clone(), actor.clone(), app.now_ms());
        let written = log::append_as_server(
            app,
            &actor.tenant,
            vec![(name, channels, plan.clone().into())],
            move |tx, appended| {
                for planned in appended {
                    if queries::by_locator(tx, &planned.tenant, &locator)?.is_some() {
                        return Err(AppError::conflict(LOCATOR_TAKEN, "the locator is taken"));
                    }
                    project(tx, planned)?;
                    if let Some(title) = &title {
                        queries::set_title(tx, planned.document(), title)?;
                    }
                }
                let (action, kind, id) = (Action::ClassSessionCreate, "class_session", locator.as_str());
                let event = Event { action, kind, id, reason: None, result: "planned" };
                audit::record(tx, &actor_of_plan, &event, now_ms)?;
                Ok(())
            },
        );
        match written.await {
            Ok(()) => return Ok(locator),
            Err(error) if error.code() == LOCATOR_TAKEN => {}
            Err(error) => return Err(error),
        }
    }
    Err(AppError::unavailable("BUSY", "no free locator was found; try again", 1))
}
