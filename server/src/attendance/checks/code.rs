//! `code`: the session code was right, at about the time of the capture.

use muster_sync_core::evidence::Check;

use super::witness::{CLAIM_MS_MAX, CODE_CLOCK_MS_MAX, CodeStep, hull};
use super::{Case, flag, measured, pass, unavailable};

const NAME: &str = "code";

pub(super) fn check(case: &Case<'_>) -> Check {
    if case.input.submission.code.is_none() {
        return flag(NAME, "code_missing");
    }
    if case.input.secrets.is_none() {
        return unavailable(NAME, "code_key_missing");
    }
    let Some(step) = case.witnesses.code else { return flag(NAME, "code_wrong") };
    match step.span_ms {
        Some(span) => rotating(case, &step, span),
        None if step.held_at(around_capture(case)) => pass(NAME),
        None => flag(NAME, "code_wrong_epoch"),
    }
}

/// A static code names no time, so its epoch is compared with when the capture was made.
fn around_capture(case: &Case<'_>) -> (i64, i64) {
    let (earliest, latest) = hull(case.witnesses.interval);
    let estimate = case.witnesses.estimate_ms.clamp(earliest, latest);
    (estimate.saturating_sub(CLAIM_MS_MAX), estimate.saturating_add(CLAIM_MS_MAX))
}

/// Seconds that the capture lies after the end of the step, or before its start (negative).
fn rotating(case: &Case<'_>, step: &CodeStep, (start, end): (i64, i64)) -> Check {
    if !step.is_in_its_epoch() {
        return flag(NAME, "code_wrong_epoch");
    }
    let (trusted, estimate) = (case.witnesses.without_code, case.witnesses.estimate_ms);
    let seconds = |ms: i64| ms as f64 / 1000.0;
    if trusted.not_before_ms > end.saturating_add(CODE_CLOCK_MS_MAX) {
        return measured(flag(NAME, "code_stale"), seconds(trusted.not_before_ms - end), seconds(CODE_CLOCK_MS_MAX));
    }
    if estimate > end.saturating_add(CLAIM_MS_MAX) {
        return measured(flag(NAME, "code_stale"), seconds(estimate - end), seconds(CLAIM_MS_MAX));
    }
    if trusted.not_after_ms < start.saturating_sub(CODE_CLOCK_MS_MAX) {
        return measured(flag(NAME, "code_early"), seconds(trusted.not_after_ms - start), -seconds(CODE_CLOCK_MS_MAX));
    }
    pass(NAME)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Facts, MINUTE_MS, NOON_MS, reason_of};
    use muster_sync_core::document::CodeMode;

    fn reason(change: impl FnOnce(&mut Facts)) -> Option<String> {
        let mut facts = Facts::honest();
        change(&mut facts);
        reason_of(super::check, &facts)
    }

    #[test]
    fn a_right_code_passes_also_when_it_was_typed_without_its_step() {
        assert_eq!(reason(|_| {}), None);
        assert_eq!(reason(|facts| facts.submission.step = None), None);
        assert_eq!(reason(|facts| facts.submission.step = Some(5)), None);
    }

    #[test]
    fn a_wrong_or_missing_code_is_flagged_and_an_unknown_secret_is_unavailable() {
        assert_eq!(reason(|facts| facts.submission.code = Some("000000".into())).as_deref(), Some("code_wrong"));
        assert_eq!(reason(|facts| facts.submission.code = None).as_deref(), Some("code_missing"));
        assert_eq!(reason(|facts| facts.secrets = None).as_deref(), Some("code_key_missing"));
    }

    #[test]
    fn a_code_may_be_as_old_as_the_claimed_time_may_be_wrong() {
        // The step of NOON lasts 15 s, so its end is 14.999 s later.
        let end = NOON_MS + 14_999;
        let claim = |at| reason(|facts| facts.capture_without_anchor(at));
        assert_eq!(claim(end + 5 * MINUTE_MS), None);
        assert_eq!(claim(end + 5 * MINUTE_MS + 1).as_deref(), Some("code_stale"));
    }

    #[test]
    fn an_anchor_after_the_step_proves_that_the_code_is_old() {
        let end = NOON_MS + 14_999;
        let anchored = |at| reason(|facts| facts.anchor_at(at));
        assert_eq!(anchored(end + 2 * MINUTE_MS), None);
        assert_eq!(anchored(end + 2 * MINUTE_MS + 1).as_deref(), Some("code_stale"));
    }

    #[test]
    fn a_code_from_after_the_capture_is_early() {
        // The anchor was 10 minutes before noon, and the phone says that 1 s passed: 60 s of travel, 500 ppm of drift.
        let early = reason(|facts| facts.anchor_at(NOON_MS - 10 * MINUTE_MS));
        assert_eq!(early.as_deref(), Some("code_early"));
        assert_eq!(reason(|facts| facts.anchor_at(NOON_MS - 2 * MINUTE_MS)), None);
    }

    #[test]
    fn a_code_of_an_epoch_that_was_over_is_of_the_wrong_epoch() {
        let regenerated = |at| reason(|facts| facts.regenerate_at(at));
        assert_eq!(regenerated(NOON_MS - MINUTE_MS), None, "within what two clocks may differ");
        assert_eq!(regenerated(NOON_MS - 3 * MINUTE_MS).as_deref(), Some("code_wrong_epoch"));
    }

    #[test]
    fn a_static_code_is_compared_with_the_time_of_capture() {
        let with_mode = |at| {
            reason(|facts| {
                facts.code_mode(CodeMode::Static);
                facts.regenerate_at(at);
            })
        };
        assert_eq!(with_mode(NOON_MS + MINUTE_MS), None);
        assert_eq!(with_mode(NOON_MS - 20 * MINUTE_MS).as_deref(), Some("code_wrong_epoch"));
    }
}
