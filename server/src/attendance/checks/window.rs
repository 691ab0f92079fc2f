//! `window`: the capture happened while the session was open. A late one passes with a note; people decide lateness.

use muster_sync_core::{evidence::Check, limits};

use super::witness::hull;
use super::{Case, flag, measured, noted, pass};

const NAME: &str = "window";

/// How far outside the session the estimated time of capture may lie: what a phone's wall clock may be wrong by.
const ESTIMATE_MS_MAX: i64 = limits::CLOCK_SKEW_MS_MAX;

pub(super) fn check(case: &Case<'_>) -> Check {
    let session = case.input.session;
    let (opens, ends) = (session.opens_at_ms, session.ends_at_ms());
    let (earliest, latest) = hull(case.witnesses.interval);
    let estimate = case.input.submission.captured_at_ms.clamp(earliest, latest);
    let outside = |reason, ms: i64, room: i64| measured(flag(NAME, reason), ms as f64 / 1000.0, room as f64 / 1000.0);
    if latest < opens {
        return outside("before_window", opens - latest, 0);
    }
    if earliest > ends {
        return outside("after_window", earliest - ends, 0);
    }
    if estimate < opens.saturating_sub(ESTIMATE_MS_MAX) {
        return outside("before_window", opens - estimate, ESTIMATE_MS_MAX);
    }
    if estimate > ends.saturating_add(ESTIMATE_MS_MAX) {
        return outside("after_window", estimate - ends, ESTIMATE_MS_MAX);
    }
    match session.late_after_ms {
        Some(late) if estimate >= late => noted(NAME, "late"),
        _ => pass(NAME),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Facts, HOUR_MS, MINUTE_MS, NOON_MS, outcome_of, reason_of};
    use crate::class_sessions::Ended;
    use muster_sync_core::document::PlanAction;
    use muster_sync_core::evidence::CheckOutcome;

    /// A capture without any witness but its arrival, so that the claim counts.
    fn claimed(at: i64) -> Facts {
        let mut facts = Facts::honest();
        facts.submission.code = None;
        facts.submission.received_at_ms = NOON_MS + 2 * HOUR_MS;
        facts.capture_without_anchor(at);
        facts
    }

    fn reason(facts: &Facts) -> Option<String> {
        reason_of(super::check, facts)
    }

    #[test]
    fn a_claim_may_be_outside_by_what_a_clock_may_be_wrong() {
        // The session is open from 11:30 to 13:00.
        let (opens, ends) = (NOON_MS - 30 * MINUTE_MS, NOON_MS + HOUR_MS);
        assert_eq!(reason(&claimed(opens - 5 * MINUTE_MS)), None);
        assert_eq!(reason(&claimed(opens - 5 * MINUTE_MS - 1)).as_deref(), Some("before_window"));
        assert_eq!(reason(&claimed(ends + 5 * MINUTE_MS)), None);
        assert_eq!(reason(&claimed(ends + 5 * MINUTE_MS + 1)).as_deref(), Some("after_window"));
    }

    #[test]
    fn what_arrived_before_the_session_was_captured_before_it() {
        let opens = NOON_MS - 30 * MINUTE_MS;
        let mut facts = claimed(opens);
        facts.submission.received_at_ms = opens;
        assert_eq!(reason(&facts), None);
        facts.submission.received_at_ms = opens - 1;
        assert_eq!(reason(&facts).as_deref(), Some("before_window"));
    }

    #[test]
    fn an_anchor_after_the_end_proves_that_the_capture_was_too_late_whatever_it_claims() {
        let ends = NOON_MS + HOUR_MS;
        let mut facts = claimed(NOON_MS);
        facts.anchor_at(ends);
        assert_eq!(reason(&facts), None);
        facts.anchor_at(ends + 1);
        assert_eq!(reason(&facts).as_deref(), Some("after_window"));
    }

    #[test]
    fn a_session_that_was_closed_or_expired_ends_then() {
        for action in [PlanAction::Close, PlanAction::Expire] {
            let mut facts = claimed(NOON_MS);
            facts.session.ended = Some(Ended { at_ms: NOON_MS - 5 * MINUTE_MS, action });
            assert_eq!(reason(&facts), None);
            facts.session.ended = Some(Ended { at_ms: NOON_MS - 5 * MINUTE_MS - 1, action });
            assert_eq!(reason(&facts).as_deref(), Some("after_window"));
        }
    }

    #[test]
    fn late_is_noted_and_passes() {
        let mut facts = claimed(NOON_MS);
        facts.session.late_after_ms = Some(NOON_MS + 1);
        assert_eq!(reason(&facts), None);
        facts.session.late_after_ms = Some(NOON_MS);
        assert_eq!(reason(&facts).as_deref(), Some("late"));
        assert_eq!(outcome_of(super::check, &facts), CheckOutcome::Pass);
    }
}
