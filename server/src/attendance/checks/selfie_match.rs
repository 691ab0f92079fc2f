//! `selfie_match`: the face of the selfie is that of the student's reference. A distance that was not computed is never
//! a match.

use muster_sync_core::evidence::Check;

use super::{Case, flag, measured, pass, skipped, unavailable};
use crate::face::FaceFacts;
use crate::face_engine::Judgement;

const NAME: &str = "selfie_match";

pub(super) fn check(case: &Case<'_>) -> Check {
    match &case.input.faces {
        FaceFacts::Off => skipped(NAME, "faces_off"),
        FaceFacts::NoReference => flag(NAME, "no_reference"),
        FaceFacts::SelfieMissing => flag(NAME, "selfie_missing"),
        FaceFacts::SameAsReference => flag(NAME, "selfie_is_reference"),
        FaceFacts::Unavailable => unavailable(NAME, "face_unavailable"),
        FaceFacts::Read { n_faces: 0, .. } => flag(NAME, "no_face"),
        FaceFacts::Read { n_subjects: 0, .. } => flag(NAME, "face_too_small"),
        FaceFacts::Read { comparison: None, .. } => flag(NAME, "several_faces"),
        FaceFacts::Read { comparison: Some(comparison), .. } => {
            let check = match comparison.judgement {
                Judgement::Match => pass(NAME),
                Judgement::Borderline => flag(NAME, "face_borderline"),
                Judgement::Mismatch => flag(NAME, "face_mismatch"),
            };
            measured(check, comparison.distance(), comparison.threshold())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Facts, outcome_of, reason_of};
    use super::*;
    use crate::face::Comparison;
    use crate::face_engine::Thresholds;
    use muster_sync_core::evidence::CheckOutcome;

    fn compared(distance: f32) -> FaceFacts {
        let thresholds = Thresholds { match_distance_max: 0.52, borderline_distance_max: 0.58 };
        FaceFacts::Read { n_faces: 1, n_subjects: 1, comparison: Some(Comparison::new(distance, thresholds)) }
    }

    fn facts(faces: FaceFacts) -> Facts {
        let mut facts = Facts::honest();
        facts.faces = faces;
        facts
    }

    #[test]
    fn the_distance_decides_on_both_sides_of_each_threshold() {
        let reason = |distance| reason_of(check, &facts(compared(distance)));
        assert_eq!(reason(0.519), None);
        assert_eq!(reason(0.521).as_deref(), Some("face_borderline"));
        assert_eq!(reason(0.579).as_deref(), Some("face_borderline"));
        assert_eq!(reason(0.581).as_deref(), Some("face_mismatch"));
        assert_eq!(reason(f32::NAN).as_deref(), Some("face_mismatch"));
    }

    #[test]
    fn what_was_not_compared_is_no_match() {
        let read = |n_faces, n_subjects| FaceFacts::Read { n_faces, n_subjects, comparison: None };
        for (faces, expected, outcome) in [
            (FaceFacts::Off, "faces_off", CheckOutcome::Skipped),
            (FaceFacts::NoReference, "no_reference", CheckOutcome::Flag),
            (FaceFacts::SelfieMissing, "selfie_missing", CheckOutcome::Flag),
            (FaceFacts::SameAsReference, "selfie_is_reference", CheckOutcome::Flag),
            (FaceFacts::Unavailable, "face_unavailable", CheckOutcome::Unavailable),
            (read(0, 0), "no_face", CheckOutcome::Flag),
            (read(1, 0), "face_too_small", CheckOutcome::Flag),
            (read(2, 2), "several_faces", CheckOutcome::Flag),
        ] {
            let facts = facts(faces);
            assert_eq!(reason_of(check, &facts).as_deref(), Some(expected));
            assert_eq!(outcome_of(check, &facts), outcome, "{expected}");
        }
    }
}
