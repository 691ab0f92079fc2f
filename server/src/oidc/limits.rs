//! The bounds of this slice.

use std::time::Duration;

/// How long one answer of a provider may take, from the name to the last byte.
pub(super) const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of one answer.
pub(super) const FETCH_BYTES_MAX: usize = 256 * 1024;
/// An unknown key makes us ask a provider for its keys again, but not sooner than this after the last time.
pub(super) const KEYS_REFETCH_MS: i64 = 60_000;
/// After a fetch that failed, nothing is asked for this long.
pub(super) const RETRY_MS: i64 = 5_000;

/// How far our clock and a provider's may differ.
pub(super) const CLOCK_LEEWAY_S: i64 = 30;
/// Bytes of the code that a provider sends back.
pub(super) const CODE_BYTES_MAX: usize = 4_096;
/// Bytes of `state`, which is ours.
pub(super) const STATE_BYTES_MAX: usize = 64;
/// Bytes of a subject; the standard says so.
pub(super) const SUBJECT_BYTES_MAX: usize = 255;
/// Bytes of an issuer.
pub(super) const ISSUER_BYTES_MAX: usize = 1_024;
/// Bytes of an address to which people are sent back.
pub(super) const REDIRECT_URI_BYTES_MAX: usize = 1_024;
/// Bytes of the sealed cookie: both addresses, encoded, and some room.
pub(super) const COOKIE_BYTES_MAX: usize = 3_072;
/// How long an app has to exchange the code that its browser brought.
pub(super) const EXCHANGE_TTL_MS: i64 = 60_000;
/// Identities of one account.
pub(super) const IDENTITIES_MAX: usize = 10;

/// Providers of a server.
pub(super) const PROVIDERS_MAX: usize = 32;
/// Bytes of OAUTH_PROVIDERS_FILE.
pub(super) const PROVIDERS_FILE_BYTES_MAX: u64 = 64 * 1024;
