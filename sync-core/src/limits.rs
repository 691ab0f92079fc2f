//! Every limit of the protocol, in one place, each with its unit.

/// Largest change, in bytes, header included.
pub const CHANGE_SIZE_BYTES_MAX: usize = 8 * 1024;
/// Most operations of one change: one new entry and its fields.
pub const OPS_PER_CHANGE_MAX: usize = 64;
/// Most columns that a change may declare.
pub const COLUMNS_PER_CHANGE_MAX: usize = 8;
/// Longest field name or entry key, in bytes of UTF-8.
pub const NAME_SIZE_BYTES_MAX: usize = 64;
/// Longest text value of a field, in bytes of UTF-8.
pub const TEXT_SIZE_BYTES_MAX: usize = 256;
/// Longest byte-string value of a field, in bytes.
pub const BYTES_SIZE_BYTES_MAX: usize = 4 * 1024;
/// Largest `start_op` of a change: leaves room for one more change below automerge's `u32` counters.
pub const START_OP_MAX: u64 = u32::MAX as u64 - 1024;
/// Largest `seq` of a change in one document.
pub const SEQ_MAX: u64 = 1 << 24;
/// Latest time that a change header may claim, in Unix seconds: the end of the year 9999.
pub const CHANGE_TIME_S_MAX: i64 = 253_402_300_799;

/// Largest evidence manifest, in bytes of CBOR.
pub const MANIFEST_SIZE_BYTES_MAX: usize = 4 * 1024;
/// A manifest is padded to whole blocks of this many bytes before it is sealed.
pub const SEALED_MANIFEST_BLOCK_BYTES: usize = 1024;
/// Largest sealed manifest, in bytes: five blocks, the encapsulated key and the tag.
pub const SEALED_MANIFEST_BYTES_MAX: usize = 5 * SEALED_MANIFEST_BLOCK_BYTES + 48;
/// Most images that one manifest may name.
pub const MANIFEST_IMAGES_MAX: usize = 4;
/// Largest image that any server can be told to take, in bytes.
pub const IMAGE_SIZE_BYTES_MAX: u64 = 20 * 1024 * 1024;
/// Largest image that a server takes which nobody told otherwise, and that a phone captures which did not ask one.
pub const IMAGE_SIZE_BYTES_DEFAULT: u64 = 5 * 1024 * 1024;

/// Largest body of a sync request, in bytes.
pub const SYNC_REQUEST_BYTES_MAX: usize = 1024 * 1024;
/// Largest body of a sync response that a client accepts, in bytes.
pub const SYNC_RESPONSE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most changes pushed in one request.
pub const PUSHES_PER_REQUEST_MAX: usize = 100;
/// Most changes in one page of a response.
pub const CHANGES_PER_PAGE_MAX: usize = 1_000;
/// A page ends after the change that passes this many bytes.
pub const PAGE_SIZE_BYTES_MAX: usize = 1024 * 1024;
/// Most channels of which one client may hold a cursor.
pub const CURSORS_MAX: usize = 1_024;

/// Most hashes in one list of a response: images that are wanted, changes to ask again about.
pub const HASHES_PER_RESPONSE_MAX: usize = 1_000;
/// Most checks of one verdict.
pub const CHECKS_MAX: usize = 64;

/// Largest message between two phones that meet, in bytes.
pub const RELAY_MESSAGE_BYTES_MAX: usize = 128 * 1024;
/// Most class sessions that a relay offers to carry for at once.
pub const RELAY_SESSIONS_MAX: usize = 16;
/// Most changes that a phone hands over in one message.
pub const RELAY_ITEMS_PER_PAGE_MAX: usize = 32;
/// Most chains that one message between phones names.
pub const RELAY_CHAINS_MAX: usize = 64;
/// Most changes that a relay takes at one meeting.
pub const RELAY_ITEMS_PER_MEETING_MAX: usize = 256;
/// Most changes of one class session that a relay carries.
pub const RELAY_ITEMS_PER_SESSION_MAX: u64 = 4_000;
/// Most bytes of changes and sealed manifests of one class session that a relay carries.
pub const RELAY_BYTES_PER_SESSION_MAX: u64 = 16 * 1024 * 1024;
/// Most changes that a relay carries at all.
pub const RELAY_ITEMS_MAX: u64 = 16_000;
/// Most bytes of changes and sealed manifests that a relay carries.
pub const RELAY_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Most rows that a relay keeps about what it carried before and has pushed, for its receipts.
pub const RELAY_SETTLED_MAX: u64 = 16_000;
/// How long after the receipt a phone keeps the manifest of a record, in milliseconds: 30 days. A server that lost the
/// record can have it again until then.
pub const MANIFEST_KEPT_MS: i64 = 30 * 24 * 60 * 60 * 1000;
/// How long after the upload a phone keeps an image, in milliseconds: 7 days, or until it needs the room.
pub const IMAGE_KEPT_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// Longest challenge that a device signs to prove itself, in bytes.
pub const AUTH_CHALLENGE_SIZE_BYTES_MAX: usize = 128;

/// Longest tenant name, in bytes.
pub const TENANT_SIZE_BYTES_MAX: usize = 40;
/// Longest user or course id, in bytes.
pub const ID_SIZE_BYTES_MAX: usize = 64;

/// Most decisions that one decision may name as seen (`after`).
pub const DECISION_AFTER_MAX: usize = 16;

/// Most submissions of one attendance document, which only its student writes.
pub const SUBMISSIONS_PER_RECORD_MAX: u64 = 50;
/// Most appeals of one attendance document, which only its student writes.
pub const APPEALS_PER_RECORD_MAX: u64 = 20;
/// Most decisions and marks of one person in one attendance document.
pub const DECISIONS_PER_PERSON_MAX: u64 = 100;
/// Most plans, changes and settlements of one person in the document of one class session.
pub const SESSION_ENTRIES_PER_PERSON_MAX: u64 = 100;

/// Longest wait between two sync attempts, in milliseconds.
pub const RETRY_CEILING_MS: u64 = 5 * 60 * 1000;
/// First wait after a failed sync attempt, in milliseconds; doubles with each failure.
pub const RETRY_BASE_MS: u64 = 1_000;
/// Longest `Retry-After` that a client obeys, in milliseconds; a longer one is cut to this.
pub const RETRY_AFTER_MS_MAX: u64 = 60 * 60 * 1000;

/// A wall clock further than this outside the trusted interval flags `clock_skew`, in milliseconds.
pub const CLOCK_SKEW_MS_MAX: i64 = 5 * 60 * 1000;
/// Assumed worst drift of a phone's monotonic clock, in parts per million.
pub const MONOTONIC_DRIFT_PPM: i64 = 500;
/// Longest time that an anchor may have travelled before the phone noted its arrival, in milliseconds.
pub const ANCHOR_TRAVEL_MS_MAX: i64 = 60 * 1000;
/// Highest epoch of a class session's code.
pub const EPOCH_MAX: u64 = u32::MAX as u64;
/// How far a change of a class session may be ahead of the newest epoch that the server knows: lecturers who begin new
/// epochs at the same time on several phones, one of which has not synced yet.
pub const EPOCHS_AHEAD_MAX: u64 = 16;
/// Longest class session, in milliseconds.
pub const CLASS_SESSION_MS_MAX: i64 = 24 * 60 * 60 * 1000;
/// Most code steps that the server searches for the step of a typed code: 24 hours of the shortest steps, 5 s.
pub const CODE_SEARCH_STEPS_MAX: i64 = 17_280;
