//! The bounds of this module.

use std::time::Duration;

/// Messages of one batch, which share connections.
pub const DELIVER_BATCH_MAX: u32 = 16;
/// Connections to the mail server at once.
pub(super) const CONNECTIONS_MAX: usize = 4;
/// How long one command of the mail server may take.
pub(super) const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one message may take; a batch must end well within the lease of its jobs.
pub(super) const MESSAGE_TIMEOUT: Duration = Duration::from_secs(45);
/// Wait after the first failure; doubles with each.
pub(super) const BACKOFF_FIRST: Duration = Duration::from_secs(5);
/// Longest wait after a failure.
pub(super) const BACKOFF_MAX: Duration = Duration::from_secs(900);
/// How long a message without a link is worth sending.
pub(super) const NOTICE_LIFETIME: Duration = Duration::from_secs(2 * 86_400);
/// How long admins see what was given up.
pub(super) const FAILED_KEPT: Duration = Duration::from_secs(30 * 86_400);
/// Messages in trouble that are listed.
pub(super) const TROUBLED_LISTED_MAX: u32 = 200;
/// Bytes of a stored failure.
pub(super) const ERROR_BYTES_MAX: usize = 300;
