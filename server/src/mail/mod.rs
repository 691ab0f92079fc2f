//! Mail: a row and a job in the transaction that makes a message necessary, and the worker that sends it.
//!
//! A message with a link is sealed: a caller makes a [`Message`] before its transaction and hands it to [`enqueue`]
//! inside. A notice has no secret and needs [`notify`] only. Then the caller wakes the jobs, after the commit. SMTP
//! cannot send exactly once: a message is sent at least once, always under one Message-ID. No text that a stranger
//! chose, such as a name, stands in any message, so that nobody can make us send theirs.

mod address;
mod deliver;
mod letter;
mod limits;
mod mailer;
mod message;
mod queries;
mod transport;
mod wording;

use crate::app::App;
use crate::config;
use crate::db::{DbError, Tx};
use crate::ids::TenantId;
use crate::jobs;

pub(crate) use address::normal_form;
pub use deliver::deliver;
pub use limits::DELIVER_BATCH_MAX;
pub use mailer::Mailer;
pub use message::{Message, Notice, Template};
pub use queries::{Counts, Troubled, counts, troubled};

/// The domain of what stands in the place of an address where there is none; nothing is ever sent there.
pub const NO_ADDRESS: &str = "no-address.invalid";

/// The job that sends one message.
pub const MAIL_JOB: &str = "mail";

/// Queues a message in the transaction that makes it necessary, if its recipient has an address.
///
/// # Errors
/// When the database fails; the transaction must fail with it.
pub fn enqueue(tx: &Tx<'_>, tenant: &TenantId, message: &Message, now_ms: i64) -> Result<(), DbError> {
    let no_address = message.recipient.strip_suffix(NO_ADDRESS).is_some_and(|local| local.ends_with('@'));
    if no_address {
        return Ok(());
    }
    queries::insert(tx, tenant, message, now_ms)?;
    jobs::enqueue(tx, tenant, MAIL_JOB, &message.id, now_ms)
}

/// Queues a notice about somebody's account: something happened to it that its owner must know. It holds no secret, so
/// that it is made inside the transaction. The same notice at the same moment is one message.
///
/// # Errors
/// When the database fails; the transaction must fail with it.
pub fn notify(tx: &Tx<'_>, tenant: &TenantId, to: &str, event: Notice, now_ms: i64) -> Result<(), DbError> {
    enqueue(tx, tenant, &Message::notice(tenant, to, event, now_ms), now_ms)
}

/// The address of a page with a token, which stands behind `#` so that no server and no proxy on the way sees it.
pub fn link(app: &App, page: &str, token: &str) -> String {
    format!("{}#token={token}", config::address::below(&app.config.public_url(), page))
}
