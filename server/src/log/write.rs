//! Appending: admitted changes of devices, and changes that the server itself writes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use muster_sync_core::{
    ChangeHash, DocumentId, DocumentName, Refusal,
    change::{Author, SignedChange, Valid, WriteError},
    document::{ChainTip, Entry, Writer, may_write},
};

use super::queries::{self, NewChange};
use super::{Channel, ServerKey, heads};
use crate::app::App;
use crate::db::{DbError, Tx};
use crate::error::AppError;
use crate::ids::TenantId;

/// How often the server tries again when somebody else wrote into the same chain meanwhile.
const ATTEMPTS_MAX: usize = 16;

/// A change that is in the log now.
#[derive(Debug, Clone)]
pub struct Appended {
    /// The tenant.
    pub tenant: TenantId,
    /// The document's name.
    pub name: DocumentName,
    /// What was checked of it, with its entry.
    pub valid: Valid,
    /// Its place in the log.
    pub log_index: i64,
    /// When the server had it, Unix milliseconds.
    pub received_at_ms: i64,
    /// Bytes of the change.
    pub size_bytes: usize,
}

impl Appended {
    /// The document.
    pub fn document(&self) -> DocumentId {
        self.valid.document
    }

    /// The change.
    pub fn hash(&self) -> ChangeHash {
        self.valid.hash
    }
}

/// Appends a change that was judged to be the next one of its chain, and puts it into `channels`.
///
/// # Errors
/// When the database fails; also when the place in the chain is taken.
pub fn append(
    tx: &Tx<'_>,
    tenant: &TenantId,
    name: &DocumentName,
    valid: &Valid,
    signed: &SignedChange,
    received_at_ms: i64,
    channels: &[Channel],
) -> Result<Appended, DbError> {
    let taken = queries::take_index(tx, tenant, channels.len() as i64, heads::first_generation(received_at_ms))?;
    let log_index = taken.log_index;
    if valid.seq == 1 {
        queries::insert_document(tx, tenant, valid.document, name)?;
    }
    let new = NewChange {
        log_index,
        document: valid.document,
        writer: &valid.writer,
        tip: valid.tip(),
        change: &signed.bytes,
        signature: &signed.signature,
        received_at_ms,
    };
    queries::insert_change(tx, tenant, &new, &taken.before)?;
    for (number, channel) in (taken.first_number..).zip(channels) {
        queries::insert_channel_entry(tx, channel.key(tenant), number, log_index)?;
    }
    Ok(Appended {
        tenant: tenant.clone(),
        name: name.clone(),
        valid: valid.clone(),
        log_index,
        received_at_ms,
        size_bytes: signed.bytes.len(),
    })
}

/// Puts changes that are in the log already into one more channel, after everything that it holds.
///
/// # Errors
/// When the database fails.
pub fn place_in(tx: &Tx<'_>, tenant: &TenantId, channel: &Channel, log_indexes: &[i64]) -> Result<(), DbError> {
    if log_indexes.is_empty() {
        return Ok(());
    }
    let key = channel.key(tenant);
    let first = queries::take_numbers(tx, tenant, log_indexes.len() as i64)?;
    for (number, log_index) in (first..).zip(log_indexes) {
        queries::insert_channel_entry(tx, key, number, *log_index)?;
    }
    Ok(())
}

/// Takes changes out of a channel: whoever has pulled them has them, and nobody else gets them from there.
///
/// # Errors
/// When the database fails.
pub fn take_from(
    tx: &Tx<'_>,
    tenant: &TenantId,
    channel: &Channel,
    log_indexes: &BTreeSet<i64>,
) -> Result<(), DbError> {
    let (Some(first), key) = (log_indexes.first(), channel.key(tenant)) else { return Ok(()) };
    // No index leads from the log to channels, so the channel is read once, however much leaves it.
    for (number, log_index) in queries::channel_entries_from(tx, key, *first)? {
        if log_indexes.contains(&log_index) {
            queries::delete_channel_entry(tx, key, number)?;
        }
    }
    Ok(())
}

/// A change of the server's, ready to be appended.
struct Draft {
    name: DocumentName,
    channels: Vec<Channel>,
    valid: Valid,
    signed: SignedChange,
}

/// Why an attempt did not end.
enum Stopped<E> {
    Stale,
    Failed(E),
}

impl<E: From<DbError>> From<DbError> for Stopped<E> {
    fn from(error: DbError) -> Self {
        Self::Failed(E::from(error))
    }
}

/// Writes `entries` in the server's name, in one transaction with what `then` does (it projects them).
///
/// Each entry comes with its document and the channels that are told. Signing happens outside the transaction; if
/// somebody else wrote into one of the chains meanwhile, everything is drafted again.
///
/// # Errors
/// What `then` fails with; 503 if the chains never came to rest; 409 if an entry breaks its own schema or scope, which
/// callers have ruled out for all but the ends of ranges. Nothing was signed then.
pub async fn append_as_server<T, F>(
    app: &App,
    tenant: &TenantId,
    entries: Vec<(DocumentName, Vec<Channel>, Entry)>,
    then: F,
) -> Result<T, AppError>
where
    T: Send + 'static,
    F: Fn(&Tx<'_>, &[Appended]) -> Result<T, AppError> + Send + Sync + 'static,
{
    let (then, tenant_of_entries) = (Arc::new(then), tenant.clone());
    for _ in 0..ATTEMPTS_MAX {
        let drafts = Arc::new(draft(app, tenant, &entries).await?);
        let (tenant, then, received_at_ms) = (tenant.clone(), Arc::clone(&then), app.now_ms());
        let written = app.db.write(move |tx| {
            let appended = append_drafts(tx, &tenant, &drafts, received_at_ms)?;
            then(tx, &appended).map_err(Stopped::Failed)
        });
        match written.await {
            Ok(value) => {
                let moved: Vec<_> = entries.iter().flat_map(|(_, channels, _)| channels.iter().cloned()).collect();
                super::announce(app, &tenant_of_entries, &moved);
                app.wake_jobs();
                return Ok(value);
            }
            Err(Stopped::Failed(error)) => return Err(error),
            Err(Stopped::Stale) => {}
        }
    }
    Err(AppError::unavailable("BUSY", "others keep writing into the same record; try again", 1))
}

fn append_drafts<E>(
    tx: &Tx<'_>,
    tenant: &TenantId,
    drafts: &[Draft],
    received_at_ms: i64,
) -> Result<Vec<Appended>, Stopped<E>>
where
    E: From<DbError>,
{
    let mut appended = Vec::with_capacity(drafts.len());
    for draft in drafts {
        if queries::find(tx, draft.valid.document, &draft.valid.writer, draft.valid.seq)?.is_some() {
            return Err(Stopped::Stale);
        }
        let Draft { name, channels, valid, signed } = draft;
        appended.push(append(tx, tenant, name, valid, signed, received_at_ms, channels)?);
    }
    Ok(appended)
}

/// Signs every entry on top of the server's newest change in its document.
async fn draft(
    app: &App,
    tenant: &TenantId,
    entries: &[(DocumentName, Vec<Channel>, Entry)],
) -> Result<Vec<Draft>, AppError> {
    let key = ServerKey::of(app)?;
    let writer = key.public();
    let documents: Vec<_> = entries.iter().map(|(name, ..)| name.id(tenant.as_str())).collect();
    let asked = documents.clone();
    let stored: Vec<Option<ChainTip>> = app
        .db
        .read(move |tx| asked.iter().map(|id| queries::tip(tx, *id, &writer)).collect())
        .await
        .map_err(AppError::from)?;
    let mut tips: BTreeMap<DocumentId, Option<ChainTip>> = documents.into_iter().zip(stored).collect();
    let mut drafts = Vec::with_capacity(entries.len());
    for (name, channels, entry) in entries {
        may_write(name, entry, Writer::Server).map_err(not_signed)?;
        let tip = tips.entry(name.id(tenant.as_str())).or_default();
        let author = Author { key: key.signer(), tenant: tenant.as_str(), name, tip: *tip, time_s: app.clock.now_s() };
        let (signed, valid) = author.write(entry).map_err(|error| match error {
            WriteError::Refused(refusal) => not_signed(refusal),
            WriteError::Sign(error) => AppError::internal(error),
        })?;
        *tip = Some(valid.tip());
        drafts.push(Draft { name: name.clone(), channels: channels.clone(), valid, signed });
    }
    Ok(drafts)
}

/// The server signs nothing that whoever reads it would refuse.
fn not_signed(refusal: Refusal) -> AppError {
    tracing::error!(reason = refusal.code(), %refusal, "An entry of the server's own was not written");
    AppError::conflict("NOT_WRITABLE", format!("this cannot be written into the record: {refusal}"))
}
