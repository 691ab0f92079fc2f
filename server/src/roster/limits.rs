//! The bounds of this slice. The reader takes them as an argument, so that tests can be on both sides of each.

/// What a roster may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of one file, unpacked.
    pub file_bytes_max: u64,
    /// Rows of one file, without its header.
    pub rows_max: u64,
    /// Bytes of one row.
    pub row_bytes_max: usize,
    /// Columns of one row.
    pub columns_max: usize,
    /// Bytes of one field that is looked at.
    pub field_bytes_max: usize,
    /// Files in an archive.
    pub archive_entries_max: usize,
}

/// What a roster may be by default: a million rows a file.
pub const LIMITS: Limits = Limits {
    file_bytes_max: 512 * 1024 * 1024,
    rows_max: 1_000_000,
    row_bytes_max: 64 * 1024,
    columns_max: 256,
    field_bytes_max: 1_024,
    archive_entries_max: 256,
};

/// Bytes that are sent over HTTP, packed or not.
pub const UPLOAD_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Bad rows that are reported one by one; all are counted.
pub(super) const PROBLEMS_REPORTED_MAX: usize = 1_000;
/// Changes that are shown one by one; all are counted.
pub(super) const CHANGES_REPORTED_MAX: usize = 50;
/// How often an import is compared again because somebody changed an account meanwhile.
pub(super) const ATTEMPTS_MAX: u32 = 3;
/// Bytes that are read from a file at once.
pub(super) const READ_BYTES: usize = 256 * 1024;
/// Rows between two reports of progress.
pub(super) const PROGRESS_ROWS: u64 = 1_000;
