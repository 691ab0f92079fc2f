//! `device_binding`: the student's own device wrote the submission.

use muster_sync_core::evidence::Check;

use super::{Case, Device, Legacy, flag, noted, pass};

const NAME: &str = "device_binding";

pub(super) fn check(case: &Case<'_>) -> Check {
    match case.input.device {
        Device::Key(None) | Device::Gateway(Legacy::Missing | Legacy::Unbound) => flag(NAME, "device_not_bound"),
        Device::Gateway(Legacy::Differs) => flag(NAME, "device_differs"),
        Device::Gateway(Legacy::OfAnother) => flag(NAME, "device_of_other_user"),
        Device::Gateway(Legacy::Matches) => pass(NAME),
        Device::Key(Some(binding)) => {
            let arrived_ms = case.input.submission.received_at_ms;
            if binding.revoked_at_ms.is_some_and(|revoked_ms| revoked_ms <= arrived_ms) {
                flag(NAME, "device_revoked")
            } else if binding.bound_at_ms > case.witnesses.interval.not_after_ms {
                // It waited in quarantine until a person approved the key.
                noted(NAME, "bound_after_capture")
            } else {
                pass(NAME)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Facts, HOUR_MS, NOON_MS, outcome_of, reason_of};
    use super::*;
    use crate::devices::BindingFacts;
    use muster_sync_core::evidence::CheckOutcome;

    fn reason(device: Device) -> Option<String> {
        let mut facts = Facts::honest();
        facts.device = device;
        reason_of(check, &facts)
    }

    fn key(change: impl FnOnce(&mut BindingFacts)) -> Option<String> {
        let Device::Key(Some(mut binding)) = Facts::honest().device else { panic!("an honest phone is bound") };
        change(&mut binding);
        reason(Device::Key(Some(binding)))
    }

    #[test]
    fn a_bound_key_passes_and_an_unbound_one_is_flagged() {
        assert_eq!(key(|_| {}), None);
        assert_eq!(reason(Device::Key(None)).as_deref(), Some("device_not_bound"));
    }

    #[test]
    fn a_key_that_was_revoked_after_the_arrival_was_still_good() {
        let arrived = NOON_MS + HOUR_MS;
        assert_eq!(key(|binding| binding.revoked_at_ms = Some(arrived)).as_deref(), Some("device_revoked"));
        assert_eq!(key(|binding| binding.revoked_at_ms = Some(arrived + 1)), None);
    }

    #[test]
    fn a_capture_that_waited_for_its_binding_passes_with_a_note() {
        let mut facts = Facts::honest();
        facts.anchor_at(NOON_MS);
        let Device::Key(Some(binding)) = &mut facts.device else { panic!("an honest phone is bound") };
        binding.bound_at_ms = NOON_MS + HOUR_MS;
        assert_eq!(reason_of(check, &facts).as_deref(), Some("bound_after_capture"));
        assert_eq!(outcome_of(check, &facts), CheckOutcome::Pass);
    }

    #[test]
    fn an_online_client_needs_the_approved_identifier() {
        assert_eq!(reason(Device::Gateway(Legacy::Matches)), None);
        for (legacy, expected) in [
            (Legacy::Missing, "device_not_bound"),
            (Legacy::Unbound, "device_not_bound"),
            (Legacy::Differs, "device_differs"),
            (Legacy::OfAnother, "device_of_other_user"),
        ] {
            assert_eq!(reason(Device::Gateway(legacy)).as_deref(), Some(expected), "{legacy:?}");
        }
    }
}
