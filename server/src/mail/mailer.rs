//! What this module keeps in memory: the key that seals the outbox, the sender, and how mail leaves.

use std::sync::atomic::{AtomicBool, Ordering};

use lettre::message::Mailbox;

use super::address::{normal_form, on_the_wire};
use super::transport::Transport;
use crate::app::{App, StartError};
use crate::blobs::crypt::{Context, KEY_BYTES, OpenError, Purpose, SubjectKey};
use crate::clock::Entropy;
use crate::config::{Config, ConfigError};
use crate::error::{AppError, AppResult};
use crate::keys::{self, KeyFile};

/// Lives in the `App`.
pub struct Mailer {
    key: SubjectKey,
    pub(super) from: Mailbox,
    pub(super) transport: Transport,
    /// Whether the last message could not leave, and not because of the message.
    fails: AtomicBool,
}

impl Mailer {
    /// Reads the key, or makes it at the first start, and the settings. Blocks.
    ///
    /// # Errors
    /// When a setting is wrong or the key cannot be read.
    pub fn open(config: &Config, entropy: &dyn Entropy) -> Result<Self, StartError> {
        let dir = config.data.keys_dir();
        let unreadable = |error| StartError::Io("the key of letters".to_owned(), error);
        let stored = keys::load_or_create(&dir, KeyFile::Mail, entropy).map_err(unreadable)?;
        let mut key = zeroize::Zeroizing::new([0; KEY_BYTES]);
        key.copy_from_slice(&stored);
        Ok(Self {
            key: SubjectKey::from_bytes(*key),
            from: sender(config)?,
            transport: Transport::open(config)?,
            fails: AtomicBool::new(false),
        })
    }

    /// Reads the settings and the authorities, and makes nothing.
    ///
    /// # Errors
    /// As `open`.
    pub fn check(config: &Config) -> Result<(), StartError> {
        sender(config)?;
        Transport::open(config).map(drop)
    }

    /// Whether mail leaves, as far as the last message shows.
    pub fn works(app: &App) -> bool {
        app.slice::<Self>().is_some_and(|mailer| !mailer.fails.load(Ordering::Relaxed))
    }

    pub(super) fn note(&self, works: bool) {
        self.fails.store(!works, Ordering::Relaxed);
    }

    pub(super) fn of(app: &App) -> AppResult<&Self> {
        app.slice::<Self>().ok_or_else(|| AppError::internal("the app was built without its mailer"))
    }

    /// Bound to the message and the address, so that no row of the outbox can be sent to anybody else.
    pub(super) fn seal(&self, id: &[u8], to: &str, plain: &[u8], entropy: &dyn Entropy) -> Vec<u8> {
        self.key.seal(&context(&hex(id), to), plain, &|bytes| entropy.fill(bytes))
    }

    pub(super) fn unseal(&self, id: &[u8], to: &str, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        self.key.open(&context(&hex(id), to), sealed)
    }
}

/// Who sends our mail, by the parser that the addresses of people go through.
fn sender(config: &Config) -> Result<Mailbox, ConfigError> {
    let wrong =
        || ConfigError::Invalid("MAIL_FROM", "expected an address such as Muster <muster@uni.example>".to_owned());
    let named: Mailbox = config.mail.mail_from.parse().map_err(|_| wrong())?;
    let email = normal_form(named.email.as_ref()).and_then(|email| on_the_wire(&email)).ok_or_else(wrong)?;
    Ok(Mailbox::new(named.name, email))
}

/// The id as it stands in the Message-ID.
pub(super) fn hex(id: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(id)
}

fn context<'a>(id: &'a str, to: &'a str) -> Context<'a> {
    Context { purpose: Purpose::Mail, tenant: "", subject: to, name: id }
}
