//! The facts of a verdict, from wherever they are kept. No judgement happens here.

use muster_sync_core::{
    DeviceKey, DocumentId,
    document::Source,
    evidence::{ImagePurpose, Manifest},
};

use super::super::checks::{Device, EpochSecret, Legacy};
use super::super::{RecordRow, SubmissionRow, VerdictRow, queries, roster};
use crate::app::App;
use crate::class_sessions::{self, ClassSession};
use crate::db::{DbError, Tx};
use crate::devices;
use crate::error::{AppError, AppResult};
use crate::evidence;
use crate::face::{self, FaceFacts, Selfie};
use crate::ids::TenantId;
use crate::jobs::Job;
use crate::log::ServerKey;
use crate::settings::{self, Settings};

/// What the tables say about one document.
pub(super) struct Facts {
    pub(super) tenant: TenantId,
    pub(super) settings: Settings,
    pub(super) server: DeviceKey,
    pub(super) record: RecordRow,
    pub(super) session: ClassSession,
    pub(super) submissions: Vec<SubmissionRow>,
    pub(super) verdicts: Vec<VerdictRow>,
    pub(super) enrolled: bool,
}

/// What a capture saw, and which of its images are not there.
pub(super) struct Seen {
    pub(super) manifest: Option<Manifest>,
    pub(super) missing: Vec<(ImagePurpose, [u8; 32])>,
}

/// Reads what the documents of jobs need, in one snapshot. `None` if there is nothing to judge: no such record, or no
/// plan of its class session yet.
pub(super) async fn gather(app: &App, jobs: &[Job]) -> AppResult<Vec<Option<Facts>>> {
    let server = ServerKey::of(app)?.public();
    let wanted: Vec<(TenantId, Option<[u8; 16]>)> =
        jobs.iter().map(|job| (job.tenant.clone(), job.subject.as_slice().try_into().ok())).collect();
    let read = app.db.read(move |tx: &Tx<'_>| {
        wanted
            .iter()
            .map(|(tenant, document)| match document {
                Some(document) => gather_one(tx, tenant, DocumentId(*document), server),
                None => Ok(None),
            })
            .collect()
    });
    read.await.map_err(|error: DbError| AppError::from(error))
}

fn gather_one(
    tx: &Tx<'_>,
    tenant: &TenantId,
    document: DocumentId,
    server: DeviceKey,
) -> Result<Option<Facts>, DbError> {
    let Some(record) = queries::record_of(tx, tenant, document)? else { return Ok(None) };
    let Some(session) = class_sessions::find(tx, tenant, &record.locator)? else { return Ok(None) };
    if session.contested {
        return Ok(None);
    }
    let enrolled = roster::was_enrolled(tx, tenant, &session, &record.student)?;
    Ok(Some(Facts {
        tenant: tenant.clone(),
        settings: settings::of(tx, tenant)?,
        server,
        submissions: queries::submissions(tx, document)?,
        verdicts: queries::verdicts(tx, document)?,
        record,
        session,
        enrolled,
    }))
}

/// The secrets of the session's code, by key and then oldest epoch first; `None` if none of the planner's phones ever
/// shared its code key.
pub(super) async fn secrets(
    app: &App,
    tenant: &TenantId,
    session: &ClassSession,
) -> AppResult<Option<Vec<EpochSecret>>> {
    let begun = std::iter::once((0, i64::MIN)).chain(session.epochs.iter().map(|epoch| (epoch.epoch, epoch.from_ms)));
    let begun: Vec<(u64, i64)> = begun.collect();
    let ends = begun.iter().skip(1).map(|(_, from_ms)| *from_ms).chain([i64::MAX]);
    let spans: Vec<(u64, i64, i64)> =
        begun.iter().zip(ends).map(|((epoch, from), until)| (*epoch, *from, until)).collect();
    let mut secrets = Vec::with_capacity(spans.len());
    for key in std::iter::once(&session.planned_by).chain(&session.other_keys) {
        let Some(derive) = class_sessions::secrets_of(app, tenant, session, key).await? else { continue };
        let of = |(epoch, from_ms, until_ms): &_| EpochSecret {
            secret: derive(*epoch),
            from_ms: *from_ms,
            until_ms: *until_ms,
        };
        secrets.extend(spans.iter().map(of));
    }
    Ok(Some(secrets).filter(|secrets| !secrets.is_empty()))
}

/// Opens the manifest of a submission and looks which of its images are there.
pub(super) async fn look(app: &App, facts: &Facts, submission: &SubmissionRow) -> AppResult<Seen> {
    let student = &facts.record.student;
    let manifest = evidence::manifest(app, &facts.tenant, student, submission.commitment).await?;
    let images = manifest.as_ref().map_or(Vec::new(), |manifest| manifest.images.clone());
    if images.is_empty() {
        return Ok(Seen { manifest, missing: Vec::new() });
    }
    let (tenant, student) = (facts.tenant.clone(), student.clone());
    let read = app.db.read(move |tx: &Tx<'_>| {
        let mut missing = Vec::new();
        for image in &images {
            let row = evidence::image(tx, &tenant, &student, &image.sha256)?;
            if row.is_none_or(|row| row.stored_at_ms.is_none()) {
                missing.push((image.purpose, image.sha256));
            }
        }
        Ok(missing)
    });
    let missing = read.await.map_err(|error: DbError| AppError::from(error))?;
    Ok(Seen { manifest, missing })
}

/// What is known of the faces, and under which models. A selfie that was promised and never came is missing also where
/// faces are not compared.
pub(super) async fn faces(
    app: &App,
    facts: &Facts,
    submission: &SubmissionRow,
    seen: &Seen,
) -> AppResult<(FaceFacts, Option<String>)> {
    if seen.missing.iter().any(|(purpose, _)| *purpose == ImagePurpose::Selfie) {
        return Ok((FaceFacts::SelfieMissing, None));
    }
    if !facts.settings.face_matching {
        return Ok((FaceFacts::Off, None));
    }
    let image = seen.manifest.as_ref().and_then(|manifest| manifest.image(ImagePurpose::Selfie));
    let selfie = Selfie {
        submission: submission.hash,
        document: facts.record.document,
        student: facts.record.student.clone(),
        sha256: image.map(|image| image.sha256),
    };
    face::verify(app, &facts.tenant, &selfie).await
}

/// How the writer stands to the student.
pub(super) async fn device(
    app: &App,
    facts: &Facts,
    submission: &SubmissionRow,
    manifest: Option<&Manifest>,
) -> AppResult<Device> {
    if submission.source == Source::Gateway {
        let legacy_id = manifest.and_then(|manifest| manifest.device.legacy_id.as_deref());
        return legacy(app, facts, legacy_id).await.map(Device::Gateway);
    }
    let (tenant, writer) = (facts.tenant.clone(), submission.writer);
    let read = app.db.read(move |tx: &Tx<'_>| devices::binding_at(tx, &tenant, &writer)).await;
    let binding = read.map_err(|error: DbError| AppError::from(error))?;
    let own = binding.filter(|binding| binding.user.to_string() == facts.record.student);
    Ok(Device::Key(own))
}

async fn legacy(app: &App, facts: &Facts, legacy_id: Option<&str>) -> AppResult<Legacy> {
    let (Some(legacy_id), Ok(student)) = (legacy_id, facts.record.student.parse()) else { return Ok(Legacy::Missing) };
    // What no admin could have approved was not approved.
    let Ok(hash) = devices::legacy_hash(app, &facts.tenant, legacy_id) else { return Ok(Legacy::Unbound) };
    let tenant = facts.tenant.clone();
    let read = app.db.read(move |tx: &Tx<'_>| devices::legacy_match(tx, &tenant, student, &hash)).await;
    Ok(match read.map_err(|error: DbError| AppError::from(error))? {
        devices::LegacyMatch::Unbound => Legacy::Unbound,
        devices::LegacyMatch::Matches => Legacy::Matches,
        devices::LegacyMatch::Differs => Legacy::Differs,
        devices::LegacyMatch::OfAnother => Legacy::OfAnother,
    })
}
