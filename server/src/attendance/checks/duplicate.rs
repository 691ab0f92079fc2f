//! `duplicate`: the record has no earlier submission. The first one stands on its own; later ones are for a person.

use muster_sync_core::evidence::Check;

use super::{Case, flag, measured, pass};

const NAME: &str = "duplicate";

pub(super) fn check(case: &Case<'_>) -> Check {
    let earlier = case.input.earlier;
    let check = if earlier == 0 { pass(NAME) } else { flag(NAME, "duplicate") };
    measured(check, earlier as f64, 0.0)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Facts, reason_of};

    #[test]
    fn only_later_submissions_are_duplicates() {
        let mut facts = Facts::honest();
        assert_eq!(reason_of(super::check, &facts), None);
        facts.earlier = 1;
        assert_eq!(reason_of(super::check, &facts).as_deref(), Some("duplicate"));
    }
}
