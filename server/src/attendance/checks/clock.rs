//! `clock`: the phone's wall clock agrees with the witnesses of time, and they with each other. It never blocks.

use muster_sync_core::{evidence::Check, limits};

use super::witness::AnchorUse;
use super::{Case, flag, measured, noted, pass, unavailable};

const NAME: &str = "clock";

pub(super) fn check(case: &Case<'_>) -> Check {
    let Some(manifest) = case.input.manifest else { return unavailable(NAME, "manifest_missing") };
    let witnesses = &case.witnesses;
    if witnesses.contradictory {
        return flag(NAME, "clock_contradiction");
    }
    let wall_ms = [manifest.clocks.wall_ms, case.input.submission.captured_at_ms];
    let skew_ms = wall_ms.map(|wall_ms| witnesses.interval.distance_ms(wall_ms)).into_iter().max().unwrap_or(0);
    let check = if skew_ms > limits::CLOCK_SKEW_MS_MAX {
        flag(NAME, "clock_skew")
    } else if witnesses.anchor == AnchorUse::Ignored {
        noted(NAME, "anchor_ignored")
    } else {
        pass(NAME)
    };
    measured(check, skew_ms as f64 / 1000.0, limits::CLOCK_SKEW_MS_MAX as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Facts, HOUR_MS, MINUTE_MS, NOON_MS, outcome_of, reason_of};
    use super::*;
    use muster_sync_core::DeviceKey;
    use muster_sync_core::evidence::CheckOutcome;

    #[test]
    fn a_clock_may_be_wrong_by_five_minutes_and_no_more() {
        // It arrived an hour after noon, and nothing else is known of the time.
        let reason = |wall_ms| {
            let mut facts = Facts::honest();
            facts.capture_without_anchor(wall_ms);
            reason_of(check, &facts)
        };
        let latest = NOON_MS + HOUR_MS + 5 * MINUTE_MS;
        assert_eq!(reason(latest), None);
        assert_eq!(reason(latest + 1).as_deref(), Some("clock_skew"));
        // The step of the code began at noon by a clock that may be two minutes ahead.
        let earliest = NOON_MS - 2 * MINUTE_MS - 5 * MINUTE_MS;
        assert_eq!(reason(earliest), None);
        assert_eq!(reason(earliest - 1).as_deref(), Some("clock_skew"));
    }

    #[test]
    fn a_clock_that_was_turned_back_is_seen_by_the_anchor() {
        let mut facts = Facts::honest();
        facts.anchor_at(NOON_MS);
        assert_eq!(reason_of(check, &facts), None);
        facts.claim(NOON_MS - HOUR_MS);
        assert_eq!(reason_of(check, &facts).as_deref(), Some("clock_skew"));
    }

    #[test]
    fn witnesses_that_contradict_each_other_are_flagged() {
        let mut facts = Facts::honest();
        facts.anchor_at(NOON_MS + 2 * HOUR_MS);
        assert_eq!(reason_of(check, &facts).as_deref(), Some("clock_contradiction"), "an anchor after the arrival");
        let mut facts = Facts::honest();
        facts.anchor_at(NOON_MS);
        facts.manifest.as_mut().unwrap().clocks.monotonic_ms = 0;
        assert_eq!(reason_of(check, &facts).as_deref(), Some("clock_contradiction"), "time ran backwards in one boot");
    }

    #[test]
    fn an_anchor_of_another_device_or_signer_says_nothing_and_is_noted() {
        let mut facts = Facts::honest();
        facts.anchor_at(NOON_MS + 2 * HOUR_MS);
        facts.submission.writer = DeviceKey([7; 32]);
        assert_eq!(reason_of(check, &facts).as_deref(), Some("anchor_ignored"));
        assert_eq!(outcome_of(check, &facts), CheckOutcome::Pass);
        let mut facts = Facts::honest();
        facts.anchor_at(NOON_MS + 2 * HOUR_MS);
        facts.manifest.as_mut().unwrap().clocks.anchor.as_mut().unwrap().anchor.time_ms += 1;
        assert_eq!(reason_of(check, &facts).as_deref(), Some("anchor_ignored"));
    }
}
