//! The bounds of this slice.

/// Subject keys kept open in memory.
pub(super) const SUBJECT_KEYS_CACHED_MAX: u64 = 20_000;
/// Records that one image may be evidence of and that its arrival has judged again: more than a student has records.
pub(super) const RECORDS_PER_IMAGE_MAX: i64 = 10_000;
/// How long an image of a request that was never answered is kept, in milliseconds: an hour.
pub(super) const SENDING_MS: i64 = 60 * 60 * 1000;
/// When to come back while an older copy of the same image is being erased, in seconds.
pub(super) const ERASING_RETRY_AFTER_S: u32 = 2;
/// When to come back for an image that is over the budget of what waits, in seconds: a person has to approve the phone.
pub(super) const LATER_RETRY_AFTER_S: u32 = 600;
/// Images that one run of the job erases.
pub const ERASE_BATCH_MAX: u32 = 32;
