//! The policy: how much each reason weighs. The risk of a verdict is the sum over its different reasons, at most 100.
//!
//! | weight | meaning |
//! |---|---|
//! | 60 | by itself the mark of a cheat: another face, a forked or foreign device, a mocked position |
//! | 40 | hard to explain honestly: outside the fence, an old code, a clock that contradicts its witnesses |
//! | 20 to 30 | happens to honest people, and is worth a look |
//! | 10 | nearly always honest: something could not be computed, a second submission |
//!
//! Any change here is a new [`POLICY`], because verdicts name the policy that made them.

use muster_sync_core::evidence::{Check, CheckOutcome};

/// The version that verdicts name.
pub const POLICY: &str = "2026-11";

/// The greatest risk.
const RISK_MAX: u64 = 100;
/// The weight of a reason that the table does not know.
const WEIGHT_OTHER: u64 = 20;

/// Reasons and what they weigh.
const WEIGHTS: &[(&str, u64)] = &[
    ("face_mismatch", 60),
    ("device_forked", 60),
    ("device_of_other_user", 60),
    ("mock_location", 60),
    ("code_wrong", 40),
    ("code_stale", 40),
    ("code_early", 40),
    ("code_wrong_epoch", 40),
    ("outside_geofence", 40),
    ("clock_contradiction", 40),
    ("device_revoked", 40),
    ("device_differs", 40),
    ("before_window", 30),
    ("after_window", 30),
    ("clock_skew", 30),
    ("not_enrolled", 30),
    ("several_faces", 30),
    ("no_face", 30),
    ("selfie_missing", 30),
    ("selfie_is_reference", 30),
    ("code_missing", 30),
    ("position_missing", 20),
    ("device_not_bound", 20),
    ("face_borderline", 20),
    ("face_too_small", 20),
    ("no_reference", 20),
    ("position_imprecise", 10),
    ("duplicate", 10),
    ("face_unavailable", 10),
    ("code_key_missing", 10),
    ("manifest_missing", 10),
];

/// The risk of checks, 0 to 100.
pub(super) fn risk(checks: &[Check]) -> u64 {
    let stands = |check: &&Check| matches!(check.outcome, CheckOutcome::Flag | CheckOutcome::Unavailable);
    let mut reasons: Vec<&str> = checks.iter().filter(stands).filter_map(|check| check.reason.as_deref()).collect();
    reasons.sort_unstable();
    reasons.dedup();
    reasons.into_iter().map(weight).sum::<u64>().min(RISK_MAX)
}

fn weight(reason: &str) -> u64 {
    WEIGHTS.iter().find(|(known, _)| *known == reason).map_or(WEIGHT_OTHER, |(_, weight)| *weight)
}

#[cfg(test)]
mod tests {
    use super::super::{flag, noted, pass, skipped, unavailable};
    use super::*;

    #[test]
    fn only_what_stands_weighs_each_reason_once_and_never_above_100() {
        assert_eq!(risk(&[pass("a"), noted("b", "late"), skipped("c", "faces_off")]), 0);
        let twice = [unavailable("a", "face_unavailable"), unavailable("b", "face_unavailable")];
        assert_eq!(risk(&twice), 10);
        assert_eq!(risk(&[flag("a", "face_mismatch"), flag("b", "duplicate")]), 70);
        assert_eq!(risk(&[flag("a", "face_mismatch"), flag("b", "mock_location")]), 100);
        assert_eq!(risk(&[flag("a", "something_new")]), 20);
    }

    #[test]
    fn the_policy_is_a_code_and_no_reason_stands_twice() {
        assert!(muster_sync_core::document::Code::new(POLICY).is_some());
        let mut reasons: Vec<_> = WEIGHTS.iter().map(|(reason, _)| reason).collect();
        reasons.sort_unstable();
        reasons.dedup();
        assert_eq!(reasons.len(), WEIGHTS.len());
    }
}
