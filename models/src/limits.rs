//! Every limit of this crate, in one place.

use std::time::Duration;

/// Largest archive that is read into memory.
pub const ARCHIVE_BYTES_MAX: u64 = 256 << 20;
/// Most entries that an archive may list; the largest pinned one lists 353.
pub const ARCHIVE_ENTRIES_MAX: usize = 4_096;
/// Most bytes that a compressed tarball may inflate to; the largest pinned one inflates to 273 MB.
pub const ARCHIVE_INFLATED_BYTES_MAX: u64 = 512 << 20;
/// Largest single file that is taken out of an archive.
pub const MEMBER_BYTES_MAX: u64 = 64 << 20;
/// Longest entry name in an archive.
pub const MEMBER_NAME_BYTES_MAX: usize = 512;
/// Most values that one weight tensor may have; the largest has 1,048,576.
pub const TENSOR_VALUES_MAX: usize = 4 << 20;
/// Longest time that a package client may take for one archive.
pub const CLIENT_TIME_MAX: Duration = Duration::from_secs(900);
/// How often a running package client is looked at.
pub const CLIENT_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How many trailing bytes of a package client's messages an error quotes.
pub const CLIENT_MESSAGE_BYTES_MAX: usize = 600;
