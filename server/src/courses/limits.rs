//! The bounds of this slice.

/// People who are named in one request.
pub(super) const PEOPLE_PER_REQUEST_MAX: usize = 500;
/// Students of one course.
pub const STUDENTS_PER_COURSE_MAX: u32 = 5_000;
/// Courses of one person: each has two channels at most, and a phone keeps a cursor for every channel.
pub const COURSES_PER_USER_MAX: u32 = 500;
/// Characters of a course's code.
pub(super) const CODE_CHARS: std::ops::RangeInclusive<usize> = 2..=CODE_CHARS_MAX;
/// Most characters of a course's code.
pub const CODE_CHARS_MAX: usize = 32;
/// Characters of a course's title.
pub(super) const TITLE_CHARS: std::ops::RangeInclusive<usize> = 1..=200;
