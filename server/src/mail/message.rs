//! What is to be said to whom. A message with a link is sealed before it reaches a transaction: the link is a secret.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::limits;
use super::mailer::Mailer;
use super::queries::Queued;
use crate::app::App;
use crate::error::{AppError, AppResult};
use crate::ids::TenantId;

/// The name of the one template that holds no secret.
const NOTICE: &str = "security_notice";
const NOTICE_ID_CONTEXT: &[u8] = b"muster/mail/notice/v1";

/// What a message says.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "template", rename_all = "snake_case")]
pub enum Template {
    /// Somebody asked for a new password.
    PasswordReset {
        /// Where to set it.
        link: String,
        /// Until when the link works.
        expires_at_ms: i64,
    },
    /// Does somebody read mail at this address?
    ConfirmEmail {
        /// Where to say so.
        link: String,
        /// Until when the link works.
        expires_at_ms: i64,
    },
    /// Something happened to the account that its owner must know. `mail::notify` is shorter.
    SecurityNotice {
        /// What.
        event: Notice,
    },
    /// Somebody signed up with an address that has an account.
    AlreadyRegistered,
}

/// What happened to an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Notice {
    /// By somebody who was signed in.
    PasswordChanged,
    /// By a link in a mail.
    PasswordReset,
    /// A second factor is asked for from now on.
    MfaEnabled,
    /// A second factor is no longer asked for.
    MfaDisabled,
    /// New backup codes, and the old ones have ended.
    BackupCodesRegenerated,
    /// Somebody signed in with a backup code.
    BackupCodeUsed {
        /// How many are left.
        left: u32,
    },
    /// Signing in through a provider works from now on.
    ProviderLinked {
        /// Its name in the settings.
        provider: String,
    },
    /// Signing in through a provider no longer works.
    ProviderUnlinked {
        /// Its name in the settings.
        provider: String,
    },
    /// Every sign-in was ended.
    SignedOutEverywhere,
    /// A refresh token was used again that had been replaced: somebody else may have a copy.
    TokenReused,
    /// Too many failures to sign in.
    AccountLocked,
    /// A device may sign for the user from now on.
    DeviceBound,
    /// A device may not sign for the user any more.
    DeviceEnded,
    /// The account has another e-mail address; this goes to the old one.
    EmailChanged,
    /// Somebody had made an account with this address and never confirmed it; the registry says whose it is.
    AddressClaimed,
    /// The registry gave the account another role, and what signed in to it may be known to somebody else.
    RoleGiven,
}

/// The languages in which we write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Language {
    /// English.
    #[default]
    En,
}

/// What is sealed: all that a letter is written from.
#[derive(Serialize, Deserialize)]
pub(super) struct Content {
    pub(super) template: Template,
    pub(super) at_ms: i64,
    #[serde(default)]
    pub(super) language: Language,
}

/// A message that is ready for the outbox.
pub struct Message {
    pub(super) id: [u8; 16],
    pub(super) recipient: String,
    pub(super) template: &'static str,
    /// JSON in clear for a notice, sealed for all others.
    pub(super) content: Vec<u8>,
    pub(super) give_up_at_ms: i64,
}

impl Message {
    /// A message to one address, about something that happens now. Call it before the transaction.
    ///
    /// # Errors
    /// When the app was built without its mailer.
    pub fn new(app: &App, to: &str, template: Template) -> AppResult<Self> {
        let (id, at_ms) = (app.new_uuid(), app.now_ms());
        let (name, give_up_at_ms) = (template.name(), template.give_up_at_ms(at_ms));
        let content = Content { template, at_ms, language: Language::default() };
        let plain = serde_json::to_vec(&content).map_err(AppError::internal)?;
        let content =
            if name == NOTICE { plain } else { Mailer::of(app)?.seal(&id, to, &Zeroizing::new(plain), &*app.entropy) };
        Ok(Self { id, recipient: to.to_owned(), template: name, content, give_up_at_ms })
    }

    /// A notice, whose id follows from what it says: a transaction that is tried again makes the same one.
    pub(super) fn notice(tenant: &TenantId, to: &str, event: Notice, at_ms: i64) -> Self {
        let template = Template::SecurityNotice { event };
        let (name, give_up_at_ms) = (template.name(), template.give_up_at_ms(at_ms));
        let content = Content { template, at_ms, language: Language::default() };
        let plain = serde_json::to_vec(&content).expect("texts and numbers are JSON");
        let parts = [NOTICE_ID_CONTEXT, tenant.as_str().as_bytes(), to.as_bytes(), &plain];
        let digest = parts
            .iter()
            .fold(Sha256::new(), |hash, part| hash.chain_update((part.len() as u64).to_be_bytes()).chain_update(part));
        let mut id = [0; 16];
        id.copy_from_slice(&digest.finalize()[..16]);
        Self { id, recipient: to.to_owned(), template: name, content: plain, give_up_at_ms }
    }

    /// What a row of the outbox says.
    pub(super) fn open(app: &App, row: &Queued) -> Result<Content, String> {
        let unreadable = |_| "the content cannot be read".to_owned();
        if row.template == NOTICE {
            return serde_json::from_slice(&row.content).map_err(unreadable);
        }
        let mailer = Mailer::of(app).map_err(|error| error.to_string())?;
        let plain = mailer.unseal(&row.id, &row.recipient, &row.content).map_err(|error| error.to_string())?;
        serde_json::from_slice(&Zeroizing::new(plain)).map_err(unreadable)
    }
}

impl Template {
    /// Its name in the outbox and in the log.
    fn name(&self) -> &'static str {
        match self {
            Self::PasswordReset { .. } => "password_reset",
            Self::ConfirmEmail { .. } => "confirm_email",
            Self::SecurityNotice { .. } => NOTICE,
            Self::AlreadyRegistered => "already_registered",
        }
    }

    /// A link that has run out is not worth sending.
    fn give_up_at_ms(&self, now_ms: i64) -> i64 {
        match self {
            Self::PasswordReset { expires_at_ms, .. } | Self::ConfirmEmail { expires_at_ms, .. } => *expires_at_ms,
            Self::SecurityNotice { .. } | Self::AlreadyRegistered => {
                now_ms.saturating_add(limits::NOTICE_LIFETIME.as_millis() as i64)
            }
        }
    }
}
