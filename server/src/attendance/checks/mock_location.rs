//! `mock_location`: the platform does not say that the position was made up.

use muster_sync_core::evidence::Check;

use super::{Case, flag, pass, skipped, unavailable};

const NAME: &str = "mock_location";

pub(super) fn check(case: &Case<'_>) -> Check {
    let Some(manifest) = case.input.manifest else { return unavailable(NAME, "manifest_missing") };
    match &manifest.position {
        None => skipped(NAME, "no_position"),
        Some(position) if position.mocked => flag(NAME, "mock_location"),
        Some(_) => pass(NAME),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Facts, outcome_of};
    use muster_sync_core::evidence::CheckOutcome;

    #[test]
    fn a_mocked_position_is_flagged_also_where_there_is_no_fence() {
        let mut facts = Facts::honest();
        assert_eq!(outcome_of(super::check, &facts), CheckOutcome::Pass);
        facts.session.geofence = None;
        facts.manifest.as_mut().unwrap().position.as_mut().unwrap().mocked = true;
        assert_eq!(outcome_of(super::check, &facts), CheckOutcome::Flag);
        facts.manifest.as_mut().unwrap().position = None;
        assert_eq!(outcome_of(super::check, &facts), CheckOutcome::Skipped);
    }
}
