//! Comparing a selfie with the reference: each attempt is logged, and what was computed once is not computed again.

use muster_sync_core::{ChangeHash, DocumentId};

use super::reference::{self, Reference};
use super::{engine, queries};
use crate::app::App;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult};
use crate::evidence;
use crate::face_engine::{self, FaceError, Judgement, Reading, Thresholds};
use crate::ids::TenantId;

/// Larger than any distance between two faces, for one that is not a number.
const DISTANCE_E6_MAX: i64 = 100_000_000;

/// What is known about the faces of a selfie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaceFacts {
    /// The institution does not compare faces.
    Off,
    /// The student has enrolled no reference, and so did not consent.
    NoReference,
    /// There is no selfie, or it did not arrive in time.
    SelfieMissing,
    /// It is the file of the reference photo itself, which every comparison matches and which shows nobody's presence.
    SameAsReference,
    /// Nothing could be computed on this server.
    Unavailable,
    /// It was looked at.
    Read {
        /// All faces.
        n_faces: u32,
        /// Those that the picture may be about: large enough to be compared, and central or as large.
        n_subjects: u32,
        /// The comparison, if exactly one is.
        comparison: Option<Comparison>,
    },
}

/// A distance between two faces, in millionths so that it is the same wherever it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comparison {
    distance_e6: i64,
    threshold_e6: i64,
    /// What it means under the thresholds of its models.
    pub judgement: Judgement,
}

impl Comparison {
    /// Judges a distance.
    #[must_use]
    pub fn new(distance: f32, thresholds: Thresholds) -> Self {
        let millionths = |value: f32| match value.is_finite() {
            true => ((f64::from(value) * 1e6).round() as i64).min(DISTANCE_E6_MAX),
            false => DISTANCE_E6_MAX,
        };
        Self {
            distance_e6: millionths(distance),
            threshold_e6: millionths(thresholds.match_distance_max),
            judgement: thresholds.judge(distance),
        }
    }

    /// How far apart the faces are.
    #[must_use]
    pub fn distance(&self) -> f64 {
        self.distance_e6 as f64 / 1e6
    }

    /// The greatest distance that matches.
    #[must_use]
    pub fn threshold(&self) -> f64 {
        self.threshold_e6 as f64 / 1e6
    }
}

/// The selfie of a submission.
#[derive(Debug, Clone)]
pub struct Selfie {
    /// The submission.
    pub submission: ChangeHash,
    /// Its document.
    pub document: DocumentId,
    /// Whose it should be.
    pub student: String,
    /// The image, if it is there.
    pub sha256: Option<[u8; 32]>,
}

/// An attempt as its row has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) reference_id: String,
    pub(super) model: String,
    pub(super) outcome: String,
    pub(super) faces: Option<(u32, u32)>,
    /// Distance and threshold.
    pub(super) measured_e6: Option<(i64, i64)>,
}

/// Compares a selfie with its student's reference, and says under which models (`None` if nothing was computed).
///
/// # Errors
/// When the database or the blob store fails; then it can be tried again.
pub async fn verify(app: &App, tenant: &TenantId, selfie: &Selfie) -> AppResult<(FaceFacts, Option<String>)> {
    let engine = engine(app)?;
    let (Ok(model), Ok(thresholds)) = (engine.model_version(), engine.thresholds()) else {
        let attempt = Attempt::without_reading("", "", "unavailable");
        log(app, tenant, selfie, attempt).await?;
        return Ok((FaceFacts::Unavailable, None));
    };
    let model = model.to_owned();
    let Some(reference) = reference::current(app, tenant, &selfie.student).await? else {
        log(app, tenant, selfie, Attempt::without_reading("", &model, "no_reference")).await?;
        return Ok((FaceFacts::NoReference, None));
    };
    if selfie.sha256.is_some_and(|sha256| reference.images.contains(&sha256)) {
        log(app, tenant, selfie, Attempt::without_reading(&reference.id, &model, "reference_itself")).await?;
        return Ok((FaceFacts::SameAsReference, None));
    }
    if let Some(facts) = known(app, tenant, selfie, &reference.id, &model).await? {
        return Ok((facts, Some(model)));
    }
    let bytes = match selfie.sha256 {
        Some(sha256) => evidence::load_image(app, tenant, &selfie.student, sha256).await?,
        None => None,
    };
    let Some(bytes) = bytes else { return Ok((FaceFacts::SelfieMissing, None)) };
    let facts = read(app, (tenant, &selfie.student), &bytes, &reference, thresholds).await?;
    log(app, tenant, selfie, Attempt::of(&reference.id, &model, &facts)).await?;
    let computed = matches!(facts, FaceFacts::Read { .. });
    Ok((facts, computed.then_some(model)))
}

async fn read(
    app: &App,
    (tenant, student): (&TenantId, &str),
    bytes: &[u8],
    reference: &Reference,
    thresholds: Thresholds,
) -> AppResult<FaceFacts> {
    match reference::read_picture(app, tenant, student, bytes).await? {
        Ok((_, reading)) => Ok(facts(&reading, reference, thresholds)),
        Err(FaceError::EmptyPicture) => Ok(FaceFacts::Read { n_faces: 0, n_subjects: 0, comparison: None }),
        Err(error) => {
            tracing::warn!(%error, "A selfie could not be read");
            Ok(FaceFacts::Unavailable)
        }
    }
}

fn facts(reading: &Reading, reference: &Reference, thresholds: Thresholds) -> FaceFacts {
    let compared =
        reading.subject.as_ref().map(|subject| face_engine::distance(&subject.template, &reference.template));
    let comparison = match compared {
        Some(Ok(distance)) => Some(Comparison::new(distance, thresholds)),
        Some(Err(error)) => {
            tracing::error!(%error, "Two templates of one engine differ in their models");
            return FaceFacts::Unavailable;
        }
        None => None,
    };
    FaceFacts::Read { n_faces: reading.faces.len() as u32, n_subjects: reading.n_subjects as u32, comparison }
}

/// What an earlier look at the same selfie found.
async fn known(
    app: &App,
    tenant: &TenantId,
    selfie: &Selfie,
    reference_id: &str,
    model: &str,
) -> AppResult<Option<FaceFacts>> {
    let (tenant, submission) = (tenant.clone(), selfie.submission);
    let (reference_id, model) = (reference_id.to_owned(), model.to_owned());
    let read = app.db.read(move |tx: &Tx<'_>| queries::attempt(tx, &tenant, submission, (&reference_id, &model))).await;
    let attempt = read.map_err(|error: DbError| AppError::from(error))?;
    Ok(attempt.and_then(|attempt| attempt.facts()))
}

async fn log(app: &App, tenant: &TenantId, selfie: &Selfie, attempt: Attempt) -> AppResult<()> {
    let (tenant, selfie, now_ms) = (tenant.clone(), selfie.clone(), app.now_ms());
    let written = app.db.write(move |tx: &Tx<'_>| queries::log_attempt(tx, &tenant, &selfie, &attempt, now_ms)).await;
    written.map_err(|error: DbError| AppError::from(error))
}

impl Attempt {
    fn without_reading(reference_id: &str, model: &str, outcome: &str) -> Self {
        let (reference_id, model, outcome) = (reference_id.to_owned(), model.to_owned(), outcome.to_owned());
        Self { reference_id, model, outcome, faces: None, measured_e6: None }
    }

    fn of(reference_id: &str, model: &str, facts: &FaceFacts) -> Self {
        let FaceFacts::Read { n_faces, n_subjects, comparison } = facts else {
            return Self::without_reading(reference_id, model, "unavailable");
        };
        let outcome = match comparison.map(|comparison| comparison.judgement) {
            Some(Judgement::Match) => "match",
            Some(Judgement::Borderline) => "borderline",
            Some(Judgement::Mismatch) => "mismatch",
            None => "not_one_face",
        };
        Self {
            faces: Some((*n_faces, *n_subjects)),
            measured_e6: comparison.map(|comparison| (comparison.distance_e6, comparison.threshold_e6)),
            ..Self::without_reading(reference_id, model, outcome)
        }
    }

    /// The facts again; `None` if nothing was computed.
    fn facts(&self) -> Option<FaceFacts> {
        let (n_faces, n_subjects) = self.faces?;
        let judgement = match self.outcome.as_str() {
            "match" => Some(Judgement::Match),
            "borderline" => Some(Judgement::Borderline),
            "mismatch" => Some(Judgement::Mismatch),
            _ => None,
        };
        let comparison = match (judgement, self.measured_e6) {
            (Some(judgement), Some((distance_e6, threshold_e6))) => {
                Some(Comparison { distance_e6, threshold_e6, judgement })
            }
            _ => None,
        };
        Some(FaceFacts::Read { n_faces, n_subjects, comparison })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLDS: Thresholds = Thresholds { match_distance_max: 0.52, borderline_distance_max: 0.58 };

    #[test]
    fn a_logged_attempt_gives_the_very_same_facts_again() {
        for comparison in [None, Some(0.3), Some(0.55), Some(0.9), Some(f32::NAN)] {
            let comparison = comparison.map(|distance| Comparison::new(distance, THRESHOLDS));
            let facts = FaceFacts::Read { n_faces: 2, n_subjects: 1, comparison };
            assert_eq!(Attempt::of("r", "m", &facts).facts(), Some(facts));
        }
    }

    #[test]
    fn what_was_not_computed_is_computed_again() {
        assert_eq!(Attempt::of("r", "m", &FaceFacts::Unavailable).facts(), None);
        assert_eq!(Attempt::without_reading("", "m", "no_reference").facts(), None);
    }
}
