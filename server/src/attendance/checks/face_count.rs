//! `face_count`: the selfie is about exactly one person. Smaller faces are people in the background.

use muster_sync_core::evidence::Check;

use super::{Case, flag, measured, pass, skipped, unavailable};
use crate::face::FaceFacts;

const NAME: &str = "face_count";

pub(super) fn check(case: &Case<'_>) -> Check {
    match &case.input.faces {
        FaceFacts::Off => skipped(NAME, "faces_off"),
        // Without a reference there is no consent, so nobody looked.
        FaceFacts::NoReference => skipped(NAME, "no_reference"),
        FaceFacts::SelfieMissing => skipped(NAME, "selfie_missing"),
        FaceFacts::SameAsReference => skipped(NAME, "selfie_is_reference"),
        FaceFacts::Unavailable => unavailable(NAME, "face_unavailable"),
        FaceFacts::Read { n_faces, n_subjects, .. } => {
            let check = match (n_subjects, n_faces) {
                (1, _) => pass(NAME),
                (0, 0) => flag(NAME, "no_face"),
                (0, _) => flag(NAME, "face_too_small"),
                _ => flag(NAME, "several_faces"),
            };
            measured(check, f64::from(*n_subjects), 1.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Facts, outcome_of, reason_of};
    use super::*;
    use muster_sync_core::evidence::CheckOutcome;

    #[test]
    fn one_face_passes_and_none_or_several_are_flagged() {
        for (n_faces, n_subjects, expected) in [
            (1, 1, None),
            (3, 1, None),
            (0, 0, Some("no_face")),
            (2, 0, Some("face_too_small")),
            (2, 2, Some("several_faces")),
        ] {
            let mut facts = Facts::honest();
            facts.faces = FaceFacts::Read { n_faces, n_subjects, comparison: None };
            assert_eq!(reason_of(check, &facts).as_deref(), expected, "{n_faces} {n_subjects}");
        }
    }

    #[test]
    fn faces_that_nobody_looked_at_are_not_counted() {
        for (faces, outcome) in [
            (FaceFacts::Off, CheckOutcome::Skipped),
            (FaceFacts::NoReference, CheckOutcome::Skipped),
            (FaceFacts::SelfieMissing, CheckOutcome::Skipped),
            (FaceFacts::SameAsReference, CheckOutcome::Skipped),
            (FaceFacts::Unavailable, CheckOutcome::Unavailable),
        ] {
            let mut facts = Facts::honest();
            facts.faces = faces;
            assert_eq!(outcome_of(check, &facts), outcome);
        }
    }
}
