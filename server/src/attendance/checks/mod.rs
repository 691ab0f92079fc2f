//! The checks of a verdict: what the evidence of one submission says, as pure functions over facts that were gathered
//! before. A check passes, flags, is unavailable or is skipped; it never rejects, and what was not computed never passes.
//!
//! A new check is a file, a line in `CHECKS`, weights in `policy`, and a test on both sides of its limits.

mod chain_fork;
mod clock;
mod code;
mod device_binding;
mod duplicate;
mod enrolment;
mod face_count;
mod geofence;
mod mock_location;
mod policy;
mod selfie_match;
#[cfg(test)]
mod testing;
mod window;
mod witness;

use muster_sync_core::{
    DeviceKey,
    document::Outcome,
    evidence::{Check, CheckOutcome, Checks, Manifest},
    time::session_code::SessionSecret,
};

use super::project::{NOT_AFTER, NOT_BEFORE};
use super::rows::SubmissionRow;
use crate::class_sessions::ClassSession;
use crate::devices::BindingFacts;
use crate::face::FaceFacts;

pub use policy::POLICY;
pub use witness::{Witnesses, witnesses};

/// Every check, in the order in which a verdict lists them.
const CHECKS: &[fn(&Case<'_>) -> Check] = &[
    code::check,
    window::check,
    geofence::check,
    mock_location::check,
    device_binding::check,
    chain_fork::check,
    clock::check,
    duplicate::check,
    enrolment::check,
    selfie_match::check,
    face_count::check,
];

/// What the server knows about one submission.
pub struct CheckInput<'a> {
    /// The submission as the log has it; its arrival is the server's time.
    pub submission: &'a SubmissionRow,
    /// Earlier submissions of the same record.
    pub earlier: usize,
    /// What the capture saw; `None` if it was erased.
    pub manifest: Option<&'a Manifest>,
    /// The class session.
    pub session: &'a ClassSession,
    /// The secrets of its code, oldest epoch first; `None` if the planner's phone never shared its code key.
    pub secrets: Option<&'a [EpochSecret]>,
    /// The key under which anchors verify.
    pub server: DeviceKey,
    /// How the writer stands to the student.
    pub device: Device,
    /// Whether the student is enrolled in the session's course.
    pub enrolled: bool,
    /// What the face engine found.
    pub faces: FaceFacts,
}

/// The secret of a session's code in one epoch, and when that epoch held.
#[derive(Debug, Clone)]
pub struct EpochSecret {
    /// The secret.
    pub secret: SessionSecret,
    /// From when.
    pub from_ms: i64,
    /// Until before when.
    pub until_ms: i64,
}

/// How the writer of a submission stands to the student.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// A device key; `None` if nobody has bound it.
    Key(Option<BindingFacts>),
    /// The server wrote for an online client, which named a legacy identifier or none.
    Gateway(Legacy),
}

/// A legacy identifier against what was approved for the student.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Legacy {
    /// The client named none.
    Missing,
    /// Nothing was approved for the student.
    Unbound,
    /// It is the approved one.
    Matches,
    /// Another one was approved for the student.
    Differs,
    /// It was approved for somebody else.
    OfAnother,
}

/// The input of the checks with what follows from it for several of them.
pub struct Case<'a> {
    /// What was gathered.
    pub input: CheckInput<'a>,
    /// What the witnesses of time say.
    pub witnesses: Witnesses,
}

/// What the checks come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// All checks.
    pub checks: Checks,
    /// Accepted if all pass or are skipped, or else flagged.
    pub outcome: Outcome,
    /// Risk, 0 to 100.
    pub risk: u64,
}

/// Runs every check.
#[must_use]
pub fn judge(input: CheckInput<'_>) -> Judged {
    let witnesses = witnesses(&input);
    let case = Case { input, witnesses };
    let mut checks: Vec<Check> = CHECKS.iter().map(|check| check(&case)).collect();
    let stands = |check: &Check| matches!(check.outcome, CheckOutcome::Flag | CheckOutcome::Unavailable);
    let outcome = if checks.iter().any(stands) { Outcome::Flagged } else { Outcome::Accepted };
    let risk = policy::risk(&checks);
    checks.extend(bounds(&case.witnesses));
    Judged { outcome, risk, checks: Checks(checks) }
}

/// Both ends of the trusted interval, as checks that are always skipped; see [`NOT_BEFORE`].
fn bounds(witnesses: &Witnesses) -> [Check; 2] {
    let interval = witnesses.interval;
    [(NOT_BEFORE, interval.not_before_ms), (NOT_AFTER, interval.not_after_ms)]
        .map(|(name, time_ms)| Check { score: Some(time_ms as f64), ..skipped(name, "interval") })
}

fn new(name: &str, outcome: CheckOutcome, reason: Option<&str>) -> Check {
    Check { name: name.to_owned(), outcome, score: None, threshold: None, reason: reason.map(str::to_owned) }
}

fn pass(name: &str) -> Check {
    new(name, CheckOutcome::Pass, None)
}

/// A pass with something that people should know.
fn noted(name: &str, note: &str) -> Check {
    new(name, CheckOutcome::Pass, Some(note))
}

fn flag(name: &str, reason: &str) -> Check {
    new(name, CheckOutcome::Flag, Some(reason))
}

fn unavailable(name: &str, reason: &str) -> Check {
    new(name, CheckOutcome::Unavailable, Some(reason))
}

fn skipped(name: &str, reason: &str) -> Check {
    new(name, CheckOutcome::Skipped, Some(reason))
}

/// Adds what was measured and what it was compared with.
fn measured(mut check: Check, score: f64, threshold: f64) -> Check {
    check.score = Some(score);
    check.threshold = Some(threshold);
    check
}

#[cfg(test)]
mod tests {
    use super::testing::Facts;
    use super::*;

    #[test]
    fn an_honest_capture_passes_every_check() {
        let facts = Facts::honest();
        let judged = judge(facts.input());
        assert_eq!(judged.outcome, Outcome::Accepted, "{judged:?}");
        assert_eq!(judged.risk, 0);
        let names: Vec<_> = judged.checks.0.iter().map(|check| check.name.as_str()).collect();
        let listed = "code window geofence mock_location device_binding chain_fork clock duplicate enrolment selfie_match face_count \
                      not_before not_after";
        assert_eq!(names.join(" "), listed);
    }

    #[test]
    fn one_flag_or_one_unavailable_check_is_enough_for_a_person_to_look() {
        let mut facts = Facts::honest();
        facts.enrolled = false;
        assert_eq!(judge(facts.input()).outcome, Outcome::Flagged);
        let mut facts = Facts::honest();
        facts.faces = FaceFacts::Unavailable;
        let judged = judge(facts.input());
        assert_eq!(judged.outcome, Outcome::Flagged);
        let not_computed = judged.checks.0.iter().filter(|check| check.outcome == CheckOutcome::Unavailable);
        assert_eq!(not_computed.count(), 2);
    }

    #[test]
    fn skipped_checks_do_not_flag() {
        let mut facts = Facts::honest();
        facts.faces = FaceFacts::Off;
        facts.session.geofence = None;
        assert_eq!(judge(facts.input()).outcome, Outcome::Accepted);
    }

    #[test]
    fn an_erased_manifest_is_unavailable_and_never_a_pass() {
        let mut facts = Facts::honest();
        facts.manifest = None;
        let judged = judge(facts.input());
        let outcome = |name: &str| judged.checks.0.iter().find(|check| check.name == name).unwrap().outcome;
        for name in ["geofence", "mock_location", "clock"] {
            assert_eq!(outcome(name), CheckOutcome::Unavailable, "{name}");
        }
        assert_eq!(judged.outcome, Outcome::Flagged);
    }
}
