//! The bounds of this slice.

/// Characters of a search.
pub(super) const SEARCH_CHARS_MAX: usize = 120;
