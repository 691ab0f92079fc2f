//! The bounds of this slice.

/// Characters of a note.
pub(super) const NOTE_CHARS_MAX: usize = 2_000;
/// Bytes of a multipart submission: two images of the most that UPLOAD_MAX_IMAGE_MB may allow, and the rest. What it does
/// allow is looked at while each image is read.
pub(super) const FORM_BYTES_MAX: usize = 2 * muster_sync_core::limits::IMAGE_SIZE_BYTES_MAX as usize + 64 * 1024;
/// Fields of a multipart submission.
pub(super) const FORM_FIELDS_MAX: usize = 32;
/// Bytes of a text field of a multipart submission.
pub(super) const FORM_TEXT_BYTES_MAX: usize = 256;
/// Bytes of an `Idempotency-Key`.
pub(super) const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;
/// Bytes of a decision's body: a note, and some 900 decisions that one has seen. Who has seen all names none.
pub(super) const DECISION_BYTES_MAX: usize = 64 * 1024;
/// Records that one transaction has judged again.
pub(super) const REJUDGED_AT_ONCE_MAX: u32 = 500;
