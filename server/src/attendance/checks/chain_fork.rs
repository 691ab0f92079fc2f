//! `chain_fork`: the key that signed never signed two changes for one place in a chain.
//!
//! Nobody can say since when a key has been in two hands, so every record of it is for a person, also an older one.

use muster_sync_core::evidence::Check;

use super::{Case, Device, flag, pass, skipped};

const NAME: &str = "chain_fork";

pub(super) fn check(case: &Case<'_>) -> Check {
    match case.input.device {
        Device::Key(Some(binding)) if binding.forked_at_ms.is_some() => flag(NAME, "device_forked"),
        Device::Key(_) => pass(NAME),
        // The server's own key writes for online clients.
        Device::Gateway(_) => skipped(NAME, "no_device_key"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Legacy;
    use super::super::testing::{Facts, outcome_of, reason_of};
    use super::*;
    use muster_sync_core::evidence::CheckOutcome;

    #[test]
    fn a_key_that_signed_twice_for_one_place_is_flagged_and_any_other_passes() {
        let mut facts = Facts::honest();
        assert_eq!(outcome_of(check, &facts), CheckOutcome::Pass);
        let Device::Key(Some(binding)) = &mut facts.device else { panic!("an honest phone is bound") };
        binding.forked_at_ms = Some(1);
        assert_eq!(reason_of(check, &facts).as_deref(), Some("device_forked"));
        facts.device = Device::Gateway(Legacy::Matches);
        assert_eq!(outcome_of(check, &facts), CheckOutcome::Skipped);
    }
}
