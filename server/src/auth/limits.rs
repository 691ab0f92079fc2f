//! The bounds of this slice.

use std::time::Duration;

/// Bytes of a password.
pub(super) const PASSWORD_BYTES: std::ops::RangeInclusive<usize> = 8..=1024;
/// Memory of one password hash, in KiB.
pub(super) const HASH_MEMORY_KIB: u32 = 19 * 1024;
/// Passes over that memory.
pub(super) const HASH_PASSES: u32 = 2;

/// Memory that evaluating another system's hash may take, in KiB.
pub(super) const IMPORTED_MEMORY_KIB_MAX: u32 = 128 * 1024;
/// Memory in KiB times passes of such a hash.
pub(super) const IMPORTED_ARGON2_WORK_MAX: u64 = 1024 * 1024;
/// Rounds of such a hash with PBKDF2.
pub(super) const IMPORTED_PBKDF2_ROUNDS_MAX: u32 = 2_000_000;
/// Binary logarithm of the rounds of such a hash with bcrypt; 14 takes about a second.
pub(super) const IMPORTED_BCRYPT_COST_MAX: u32 = 14;

/// Window of the limits of sign-ins.
pub(super) const LOGIN_WINDOW: Duration = Duration::from_secs(10 * 60);
/// Window of the limit of sign-ups.
pub(super) const SIGN_UP_WINDOW: Duration = Duration::from_secs(60 * 60);
/// Window of the limits of requests for a new password.
pub(super) const RESET_WINDOW: Duration = Duration::from_secs(60 * 60);

/// Users and addresses whose requests are counted.
pub(super) const BUCKETS_MAX: u64 = 200_000;
/// A bucket that nobody takes from for this long is full again.
pub(super) const BUCKET_TIME_TO_IDLE: Duration = Duration::from_secs(120);

/// Users whose role and epoch are kept in memory.
pub(super) const PRINCIPALS_MAX: u64 = 100_000;
/// How long another process's change of a user may go unnoticed, be it a server or a command: what ended at one must end at
/// all within a second. Our own is noticed at once.
pub(super) const PRINCIPAL_TTL: Duration = Duration::from_millis(900);

/// How far two servers' clocks may differ.
pub(super) const TOKEN_LEEWAY_S: i64 = 5;
/// Longest token that is looked at.
pub(super) const TOKEN_BYTES_MAX: usize = 1024;

/// How long the row of a session that ended is kept, so that its tokens are told what became of it: two days.
pub(super) const ENDED_SESSIONS_KEPT_MS: i64 = 2 * 86_400_000;
/// Revoked sessions of a user whose access tokens may not have expired; with more, every token of the user ends.
pub(super) const REVOKED_SESSIONS_MAX: u32 = 32;
/// Successors that are computed to tell an old refresh token from a forged one. At the default rate of 60 an hour that is
/// two weeks of them; each takes less than a microsecond.
pub(super) const REFRESH_CHAIN_STEPS_MAX: u32 = 20_160;
/// How long the link is good that confirms an e-mail address.
pub(super) const CONFIRMATION_LIFETIME: Duration = Duration::from_secs(2 * 86_400);
/// Words of one search.
pub(super) const SEARCH_WORDS_MAX: usize = 3;
/// Bytes of a user's text that a search looks through.
pub(super) const SEARCH_TEXT_BYTES_MAX: usize = 1_000;
/// Users that one statement reads for an import.
pub(super) const KNOWN_USERS_PER_READ: u32 = 5_000;
/// Window in which renewals of a user's tokens are counted.
pub(super) const RENEWALS_WINDOW: Duration = Duration::from_secs(60 * 60);
/// Wrong codes held against one enrolment of a second factor within their window; after that no code is looked at until
/// the oldest is out of it.
pub(super) const MFA_FAILURES_MAX: u32 = 5;
/// How long a wrong code counts.
pub(super) const MFA_FAILURES_WINDOW: Duration = Duration::from_secs(15 * 60);
/// Accounts whose texts are brought into their form in one transaction.
pub(super) const FORMS_PER_STEP: u32 = 500;
/// Longest life of an access token that the settings allow: a day.
pub(super) const ACCESS_TOKEN_MS_MAX: i64 = 86_400_000;

/// Ways back from a provider of one address that are under way or came to nothing. Many people come back at once from behind
/// one address, and each success takes all of them back.
pub(super) const OAUTH_FAILURES_MAX: u32 = 600;
/// How long they count.
pub(super) const OAUTH_FAILURES_WINDOW: Duration = Duration::from_secs(600);
