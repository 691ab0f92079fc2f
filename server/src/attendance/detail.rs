//! `GET /lecturers/attendance/{id}`: everything that somebody who reviews a record needs.

use axum::extract::State;
use muster_sync_core::DocumentId;
use serde::Serialize;
use utoipa::ToSchema;

use super::evidence_view::{self, EvidenceView, Withheld};
use super::fold::Facts;
use super::rows::{AppealRow, DecisionRow, RecordRow, SubmissionRow, VerdictRow};
use super::verdict_checks::{self, CheckView};
use super::views::RecordView;
use super::{access, listing, queries, roster};
use crate::app::App;
use crate::audit::Action;
use crate::auth::permission::AttendanceReview;
use crate::auth::{Allowed, CurrentUser};
use crate::class_sessions;
use crate::clock::iso_utc;
use crate::db::{DbError, Tx};
use crate::devices;
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::{Json, Path, RequestId};

/// A record with its whole life.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Detail {
    /// As lists show it.
    record: RecordView,
    /// The class session; missing while its plan is unknown.
    class_session: Option<SessionCard>,
    /// What the student's devices said, oldest first.
    submissions: Vec<SubmissionView>,
    /// What the machine said, oldest first.
    verdicts: Vec<VerdictView>,
    /// What people said, oldest first.
    decisions: Vec<DecisionView>,
    /// What the student objected to, oldest first.
    appeals: Vec<AppealView>,
    /// The newest decisions; send them as `seen` to say what one has seen.
    heads: Vec<String>,
}

/// The plan against which the record is judged.
#[derive(Debug, Serialize, ToSchema)]
struct SessionCard {
    title: Option<String>,
    opens_at: String,
    ends_at: String,
    late_after: Option<String>,
    code_mode: &'static str,
    geofence: Option<Fence>,
}

/// A circle on the ground.
#[derive(Debug, Serialize, ToSchema)]
struct Fence {
    latitude: f64,
    longitude: f64,
    radius_m: u64,
}

/// A submission with its evidence.
#[derive(Debug, Serialize, ToSchema)]
struct SubmissionView {
    id: String,
    /// `phone`, or `gateway` for an online client.
    source: &'static str,
    /// By the device's clock.
    captured_at: String,
    /// By the server's clock.
    received_at: String,
    code: Option<String>,
    step: Option<u64>,
    device: DeviceCard,
    /// Missing if it has not arrived, was erased, or is withheld.
    evidence: Option<EvidenceView>,
    /// Whether the evidence is kept from those who teach: the student is not of their course, and the code is not that of
    /// this session's planner. Reviewers and admins see it.
    evidence_withheld: bool,
}

/// The key that signed a submission.
#[derive(Debug, Serialize, ToSchema)]
struct DeviceCard {
    /// Its public half, in hexadecimal.
    key: String,
    /// Missing if it was never bound; the server's own key, for online clients, is not.
    bound_to: Option<String>,
    bound_at: Option<String>,
    revoked_at: Option<String>,
    /// `hardware` or `software`, as the device said.
    level: Option<&'static str>,
    /// When it was first caught with two records in one place.
    forked_at: Option<String>,
}

/// A verdict with its checks.
#[derive(Debug, Serialize, ToSchema)]
struct VerdictView {
    id: String,
    of: String,
    outcome: &'static str,
    risk: i64,
    policy: String,
    model: Option<String>,
    not_before: Option<String>,
    not_after: Option<String>,
    at: String,
    checks: Vec<CheckView>,
}

/// A decision, or a mark by hand.
#[derive(Debug, Serialize, ToSchema)]
struct DecisionView {
    id: String,
    /// `decision` or `mark`.
    kind: &'static str,
    /// What it judges.
    of: Option<String>,
    decision: String,
    reason: Option<String>,
    note: Option<String>,
    rank: i64,
    by: String,
    by_name: Option<String>,
    at: String,
}

/// An appeal.
#[derive(Debug, Serialize, ToSchema)]
struct AppealView {
    id: String,
    of: String,
    reason: String,
    at: String,
}

/// Shows a record with submissions, evidence, checks, decisions and appeals.
#[utoipa::path(
    get, path = "/lecturers/attendance/{id}", tag = "attendance",
    params(("id" = String, Path, description = "the record's id")),
    responses((status = 200, body = Detail), (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope))
)]
pub(super) async fn show(
    State(app): State<App>,
    allowed: Allowed<AttendanceReview>,
    request: RequestId,
    Path(id): Path<String>,
) -> AppResult<Json<Detail>> {
    let user = allowed.user;
    let (asking, asked) = (user.clone(), id);
    let read = app.db.read(move |tx| {
        let record = access::reviewable(tx, &asking, &asked)?;
        let (detail, submissions) = rows(tx, &asking, &record)?;
        Ok::<_, AppError>((record, detail, submissions))
    });
    let (record, mut detail, submissions) = read.await?;
    for (view, row) in detail.submissions.iter_mut().zip(&submissions) {
        if !view.evidence_withheld {
            view.evidence = evidence_view::read(&app, &user.tenant, &record, row).await?;
        }
    }
    // Before anything is shown: what cannot be noted is not shown.
    if detail.submissions.iter().any(|view| view.evidence.is_some()) {
        evidence_view::note(&app, user.actor(&request), Action::EvidenceView, "record", record.document.to_string())
            .await?;
    }
    Ok(Json(detail))
}

/// Everything but the evidence, which is not in rows.
fn rows(tx: &Tx<'_>, user: &CurrentUser, record: &RecordRow) -> Result<(Detail, Vec<SubmissionRow>), DbError> {
    let facts = Facts::read(tx, record.document)?;
    let person = roster::person(tx, &user.tenant, &record.student)?;
    let session = class_sessions::find(tx, &user.tenant, &record.locator)?;
    let withheld = Withheld::from(tx, user, record)?;
    let submissions: Result<_, _> = facts.submissions.iter().map(|row| submission(tx, user, &withheld, row)).collect();
    let verdicts: Result<_, _> = facts.verdicts.iter().map(|row| verdict(tx, user, row)).collect();
    let decisions: Result<_, _> = facts.decisions.iter().map(|row| decision_view(tx, user, row)).collect();
    let detail = Detail {
        record: RecordView::new(record, &person),
        class_session: session.as_ref().map(SessionCard::new),
        submissions: submissions?,
        verdicts: verdicts?,
        decisions: decisions?,
        appeals: appeals(tx, record.document)?,
        heads: facts.fold()?.heads.iter().map(ToString::to_string).collect(),
    };
    Ok((detail, facts.submissions))
}

impl SessionCard {
    fn new(session: &class_sessions::ClassSession) -> Self {
        let degrees = |e7: i64| e7 as f64 / 1e7;
        Self {
            title: session.title.clone(),
            opens_at: iso_utc(session.opens_at_ms),
            ends_at: iso_utc(session.ends_at_ms()),
            late_after: session.late_after_ms.map(iso_utc),
            code_mode: session.code_mode.as_str(),
            geofence: session.geofence.map(|fence| Fence {
                latitude: degrees(fence.latitude_e7),
                longitude: degrees(fence.longitude_e7),
                radius_m: fence.radius_m,
            }),
        }
    }
}

fn submission(
    tx: &Tx<'_>,
    user: &CurrentUser,
    withheld: &Withheld,
    row: &SubmissionRow,
) -> Result<SubmissionView, DbError> {
    let binding = devices::binding_at(tx, &user.tenant, &row.writer)?;
    let device = DeviceCard {
        key: row.writer.to_string(),
        bound_to: binding.map(|binding| binding.user.to_string()),
        bound_at: binding.map(|binding| iso_utc(binding.bound_at_ms)),
        revoked_at: binding.and_then(|binding| binding.revoked_at_ms).map(iso_utc),
        level: binding.map(|binding| if binding.hardware { "hardware" } else { "software" }),
        forked_at: binding.and_then(|binding| binding.forked_at_ms).map(iso_utc),
    };
    Ok(SubmissionView {
        id: row.hash.to_string(),
        source: row.source.as_str(),
        captured_at: iso_utc(row.captured_at_ms),
        received_at: iso_utc(row.received_at_ms),
        code: row.code.clone(),
        step: row.step,
        device,
        evidence: None,
        evidence_withheld: withheld.holds(&row.hash),
    })
}

fn verdict(tx: &Tx<'_>, user: &CurrentUser, row: &VerdictRow) -> Result<VerdictView, DbError> {
    let checks = verdict_checks::read(tx, &user.tenant, row.log_index)?;
    Ok(VerdictView {
        id: row.hash.to_string(),
        of: row.of.to_string(),
        outcome: row.outcome.as_str(),
        risk: row.risk,
        policy: row.policy.clone(),
        model: row.model.clone(),
        not_before: row.not_before_ms.map(iso_utc),
        not_after: row.not_after_ms.map(iso_utc),
        at: iso_utc(row.received_at_ms),
        checks: checks.into_iter().map(CheckView::from).collect(),
    })
}

fn decision_view(tx: &Tx<'_>, user: &CurrentUser, row: &DecisionRow) -> Result<DecisionView, DbError> {
    Ok(DecisionView {
        id: row.hash.to_string(),
        kind: if row.of.is_some() { "decision" } else { "mark" },
        of: row.of.map(|of| of.to_string()),
        decision: row.says.clone(),
        reason: row.reason.clone(),
        note: queries::note(tx, row.hash)?,
        rank: row.rank,
        by: row.by.clone(),
        by_name: roster::person(tx, &user.tenant, &row.by)?.name,
        at: iso_utc(row.received_at_ms),
    })
}

fn appeals(tx: &Tx<'_>, document: DocumentId) -> Result<Vec<AppealView>, DbError> {
    let view = |row: AppealRow| AppealView {
        id: row.hash.to_string(),
        of: row.of.to_string(),
        reason: row.reason,
        at: iso_utc(row.received_at_ms),
    };
    Ok(listing::appeals(tx, document)?.into_iter().map(view).collect())
}
