//! Tokens that travel as a link in a mail: 256 random bits, good once and for a while, kept as a hash only.

mod queries;

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use muster_sync_core::typed;
use zeroize::Zeroizing;

use super::pepper::hash_key;
use crate::app::App;
use crate::db::{DbError, Tx};
use crate::error::AppResult;
use crate::ids::{TenantId, UserId};

/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;
/// Characters that they are written in.
const TOKEN_CHARS: usize = 43;

/// What a token proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Its bearer may set a new password.
    PasswordReset,
    /// Its bearer reads mail at the address.
    ConfirmEmail,
}

/// A fresh token.
pub(super) struct MailedToken {
    purpose: Purpose,
    /// As it stands in the link.
    pub(super) text: Zeroizing<String>,
    hash: [u8; 32],
    /// Until when it is good.
    pub(super) expires_at_ms: i64,
}

/// Whose token it was, and to which address it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) tenant: TenantId,
    pub(super) user: UserId,
    pub(super) email: String,
}

impl Purpose {
    const fn as_str(self) -> &'static str {
        match self {
            Self::PasswordReset => "password_reset",
            Self::ConfirmEmail => "confirm_email",
        }
    }
}

impl MailedToken {
    /// Draws one. Call it before the transaction that stores it.
    pub(super) fn draw(app: &App, purpose: Purpose, lifetime: Duration) -> AppResult<Self> {
        let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
        app.entropy.fill(&mut *bytes);
        let text = Zeroizing::new(BASE64URL_NOPAD.encode(&*bytes));
        let hash = hash(app, purpose, &text)?;
        let expires_at_ms = app.now_ms().saturating_add(lifetime.as_millis() as i64);
        Ok(Self { purpose, text, hash, expires_at_ms })
    }

    /// Stores it, in place of the user's older one.
    pub(super) fn store(&self, tx: &Tx<'_>, owner: &Owner, now_ms: i64) -> Result<(), DbError> {
        queries::forget_expired(tx, now_ms)?;
        queries::replace(tx, self.purpose.as_str(), &self.hash, owner, now_ms, self.expires_at_ms)
    }
}

/// Ends the token of a user that waits, if there is one.
pub(super) fn forget(tx: &Tx<'_>, tenant: &TenantId, user: UserId, purpose: Purpose) -> Result<(), DbError> {
    queries::forget(tx, tenant, user, purpose.as_str())
}

/// A token that somebody sent, as it is looked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Presented {
    purpose: Purpose,
    hash: [u8; 32],
}

impl Presented {
    /// `None` when it cannot be one of ours.
    pub(super) fn new(app: &App, purpose: Purpose, text: &str) -> AppResult<Option<Self>> {
        // Mail programs and clipboards put blanks around what they copy, and write two hyphens as a dash.
        let text = Zeroizing::new(typed::ascii_signs(text));
        let text = text.trim();
        if text.len() != TOKEN_CHARS {
            return Ok(None);
        }
        Ok(Some(Self { purpose, hash: hash(app, purpose, text)? }))
    }

    /// Whose it is, as long as it is good.
    pub(super) fn owner(&self, tx: &Tx<'_>, now_ms: i64) -> Result<Option<Owner>, DbError> {
        queries::owner(tx, self.purpose.as_str(), &self.hash, now_ms)
    }

    /// Uses it up, if it is still good.
    pub(super) fn take(&self, tx: &Tx<'_>, now_ms: i64) -> Result<Option<Owner>, DbError> {
        queries::take(tx, self.purpose.as_str(), &self.hash, now_ms)
    }
}

fn hash(app: &App, purpose: Purpose, text: &str) -> AppResult<[u8; 32]> {
    Ok(hash_key(app, purpose.as_str())?.hash(text.as_bytes()))
}
