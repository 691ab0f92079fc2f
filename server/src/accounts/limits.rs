//! The bounds of this slice.

/// Characters of a given name, a family name or a section.
pub(super) const NAME_CHARS_MAX: usize = 120;
/// Characters of an id in the registry's own system.
pub(super) const EXTERNAL_ID_CHARS_MAX: usize = 255;
/// Characters of a search.
pub(super) const SEARCH_CHARS_MAX: usize = 120;
