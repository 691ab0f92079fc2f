//! The bounds of this slice.

/// Photos of a reference.
pub(super) const ENROL_PHOTOS_MAX: usize = 3;
/// Bytes of a request that enrols a face: as many of the largest image that UPLOAD_MAX_IMAGE_MB may allow,
/// and their envelope. What it does allow is looked at while the images are read.
pub(super) const ENROL_BODY_BYTES_MAX: usize =
    ENROL_PHOTOS_MAX * muster_sync_core::limits::IMAGE_SIZE_BYTES_MAX as usize + 1024 * 1024;
/// How large a bystander's face in a photo of a reference may be, as a part of the side of the face that it is about.
pub(super) const BYSTANDER_PART_MAX: f32 = 0.5;
/// Parts of such a request.
pub(super) const ENROL_PARTS_MAX: usize = 16;
/// References that are kept open in memory.
pub(super) const REFERENCES_CACHED_MAX: u64 = 10_000;
