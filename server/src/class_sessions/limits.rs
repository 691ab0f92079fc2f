//! The bounds of this slice.

/// Characters of a title.
pub(super) const TITLE_CHARS_MAX: usize = 200;
/// Locators that are drawn before the server gives up finding a free one.
pub(super) const LOCATORS_DRAWN_MAX: usize = 8;
/// Length of a code step when the lecturer does not say.
pub(super) const STEP_S_DEFAULT: u64 = 15;
/// Length of a session when the lecturer does not say.
pub(super) const DURATION_MINUTES_DEFAULT: i64 = 90;
