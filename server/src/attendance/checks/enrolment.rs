//! `enrolment`: the student is enrolled in the session's course.

use muster_sync_core::evidence::Check;

use super::{Case, flag, pass};

const NAME: &str = "enrolment";

pub(super) fn check(case: &Case<'_>) -> Check {
    if case.input.enrolled { pass(NAME) } else { flag(NAME, "not_enrolled") }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Facts, reason_of};

    #[test]
    fn a_student_of_another_course_is_flagged() {
        let mut facts = Facts::honest();
        assert_eq!(reason_of(super::check, &facts), None);
        facts.enrolled = false;
        assert_eq!(reason_of(super::check, &facts).as_deref(), Some("not_enrolled"));
    }
}
