//! The facts of an honest capture, to be changed one at a time by the tests of the checks.

use muster_sync_core::{
    ChangeHash, DeviceKey, DocumentId, Locator,
    document::{CodeMode, Source},
    evidence::{Check, CheckOutcome, DeviceFacts, MANIFEST_VERSION, Manifest, Position},
    signing::{SigningKey, SoftwareKey},
    time::{
        Anchor, AnchorReading, CaptureClocks,
        session_code::{CodeKey, SessionSecret},
    },
};

use super::{Case, CheckInput, Device, EpochSecret, witnesses};
use crate::attendance::rows::SubmissionRow;
use crate::class_sessions::{ClassSession, Geofence};
use crate::devices::BindingFacts;
use crate::face::{Comparison, FaceFacts};
use crate::face_engine::Thresholds;
use crate::ids::UserId;

pub(super) const MINUTE_MS: i64 = 60_000;
pub(super) const HOUR_MS: i64 = 60 * MINUTE_MS;
/// A multiple of every length of a code step.
pub(super) const NOON_MS: i64 = 1_763_640_000_000;

/// What `CheckInput` borrows.
pub(super) struct Facts {
    pub(super) submission: SubmissionRow,
    pub(super) earlier: usize,
    pub(super) manifest: Option<Manifest>,
    pub(super) session: ClassSession,
    pub(super) secrets: Option<Vec<EpochSecret>>,
    pub(super) device: Device,
    pub(super) enrolled: bool,
    pub(super) faces: FaceFacts,
}

fn server() -> SoftwareKey {
    SoftwareKey::from_seed(&[42; 32].into())
}

fn secret(mode: CodeMode, epoch: u64) -> SessionSecret {
    SessionSecret::derive(&CodeKey([3; 32]), DocumentId([5; 16]), mode, 15, epoch)
}

impl Facts {
    /// Captured at noon in a session from 11:30 to 13:00, with the code of noon, and sent an hour later.
    pub(super) fn honest() -> Self {
        let thresholds = Thresholds { match_distance_max: 0.52, borderline_distance_max: 0.58 };
        let secret = secret(CodeMode::Rotating, 0);
        let step = secret.step_at(NOON_MS);
        Self {
            submission: SubmissionRow {
                log_index: 1,
                hash: ChangeHash([1; 32]),
                writer: DeviceKey([2; 32]),
                source: Source::Phone,
                captured_at_ms: NOON_MS,
                code: Some(secret.code(step)),
                step: Some(step),
                commitment: [0; 32],
                received_at_ms: NOON_MS + HOUR_MS,
            },
            earlier: 0,
            manifest: Some(manifest()),
            session: session(),
            secrets: Some(vec![EpochSecret { secret, from_ms: i64::MIN, until_ms: i64::MAX }]),
            device: Device::Key(Some(BindingFacts {
                user: UserId::from_bytes([1; 16]),
                bound_at_ms: 0,
                revoked_at_ms: None,
                hardware: true,
                forked_at_ms: None,
            })),
            enrolled: true,
            faces: FaceFacts::Read { n_faces: 1, n_usable: 1, comparison: Some(Comparison::new(0.3, thresholds)) },
        }
    }

    pub(super) fn input(&self) -> CheckInput<'_> {
        CheckInput {
            submission: &self.submission,
            earlier: self.earlier,
            manifest: self.manifest.as_ref(),
            session: &self.session,
            secrets: self.secrets.as_deref(),
            server: server().public_key(),
            device: self.device,
            enrolled: self.enrolled,
            faces: self.faces,
        }
    }

    /// The phone says that the capture was then.
    pub(super) fn claim(&mut self, at_ms: i64) {
        self.submission.captured_at_ms = at_ms;
        if let Some(manifest) = &mut self.manifest {
            manifest.clocks.wall_ms = at_ms;
        }
    }

    /// The phone says that the capture was then, and never met the server before.
    pub(super) fn capture_without_anchor(&mut self, at_ms: i64) {
        self.claim(at_ms);
        if let Some(manifest) = &mut self.manifest {
            manifest.clocks.anchor = None;
        }
    }

    /// The phone met the server then, and by its monotonic clock the capture was at the same moment.
    pub(super) fn anchor_at(&mut self, at_ms: i64) {
        let anchor = Anchor::sign(&server(), at_ms, self.submission.writer, [0; 16]).unwrap();
        let clocks = &mut self.manifest.as_mut().unwrap().clocks;
        let reading = AnchorReading { anchor, monotonic_ms: clocks.monotonic_ms, boot_id: clocks.boot_id };
        clocks.anchor = Some(reading);
    }

    /// The session has this kind of code, and the student gave the right one.
    pub(super) fn code_mode(&mut self, mode: CodeMode) {
        self.session.code_mode = mode;
        let secret = secret(mode, 0);
        let step = secret.step_at(NOON_MS);
        (self.submission.code, self.submission.step) = (Some(secret.code(step)), Some(step));
        self.secrets = Some(vec![EpochSecret { secret, from_ms: i64::MIN, until_ms: i64::MAX }]);
    }

    /// The lecturer made a new code then; the student has the old one.
    pub(super) fn regenerate_at(&mut self, at_ms: i64) {
        let second = secret(self.session.code_mode, 1);
        let secrets = self.secrets.as_mut().unwrap();
        secrets[0].until_ms = at_ms;
        secrets.push(EpochSecret { secret: second, from_ms: at_ms, until_ms: i64::MAX });
    }
}

fn manifest() -> Manifest {
    Manifest {
        version: MANIFEST_VERSION,
        salt: [9; 32],
        images: Vec::new(),
        position: Some(Position { latitude_e7: 525_200_000, longitude_e7: 134_050_000, accuracy_m: 5, mocked: false }),
        clocks: CaptureClocks { wall_ms: NOON_MS, monotonic_ms: 1_000, boot_id: [1; 16], anchor: None },
        device: DeviceFacts::default(),
    }
}

fn session() -> ClassSession {
    ClassSession {
        document: DocumentId([5; 16]),
        locator: Locator::from_random([0; 4]),
        course: "course".into(),
        planned_by: DeviceKey([0; 32]),
        other_keys: Vec::new(),
        by_user: None,
        opens_at_ms: NOON_MS - 30 * MINUTE_MS,
        closes_at_ms: NOON_MS + HOUR_MS,
        late_after_ms: None,
        code_mode: CodeMode::Rotating,
        step_s: 15,
        geofence: Some(Geofence { latitude_e7: 525_200_000, longitude_e7: 134_050_000, radius_m: 100 }),
        rival_plans: 0,
        ended: None,
        epoch: 0,
        epochs: Vec::new(),
        planned_at_ms: 0,
        title: None,
        contested: false,
    }
}

fn run(check: fn(&Case<'_>) -> Check, facts: &Facts) -> Check {
    let input = facts.input();
    let witnesses = witnesses(&input);
    check(&Case { input, witnesses })
}

pub(super) fn reason_of(check: fn(&Case<'_>) -> Check, facts: &Facts) -> Option<String> {
    run(check, facts).reason
}

pub(super) fn outcome_of(check: fn(&Case<'_>) -> Check, facts: &Facts) -> CheckOutcome {
    run(check, facts).outcome
}
