//! The bounds of this slice.

/// Bytes of a request that enrols a face: the largest image that `UPLOAD_MAX_IMAGE_MB` allows, and its envelope.
pub(super) const ENROL_BODY_BYTES_MAX: usize = 51 * 1024 * 1024;
/// Parts of such a request.
pub(super) const ENROL_PARTS_MAX: usize = 16;
/// References that are kept open in memory.
pub(super) const REFERENCES_CACHED_MAX: u64 = 10_000;
