//! The bounds of the second factor.

/// Bytes of a secret, as RFC 4226 recommends.
pub(super) const SECRET_BYTES: usize = 20;
/// How many steps a phone's clock may be ahead or behind.
pub(super) const SKEW_STEPS: u16 = 1;

/// Characters of a backup code, 5 random bits each.
pub(super) const BACKUP_CODE_CHARS: usize = 12;
/// Characters between two hyphens of a backup code.
pub(super) const BACKUP_CODE_GROUP_CHARS: usize = 4;

/// Pixels on a side of a module of a QR code.
pub(super) const QR_MODULE_PX: u32 = 6;
/// Light modules around a QR code, as its standard asks.
pub(super) const QR_BORDER_MODULES: u32 = 4;

/// Keys under which secrets may be stored at the same time; more are not counted.
pub(super) const KEYS_LISTED_MAX: u32 = 100;
/// When to ask again for a secret that the server cannot open.
pub(super) const UNREADABLE_RETRY_S: u32 = 60;
