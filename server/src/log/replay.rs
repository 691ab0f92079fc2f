//! What a log that is made anew row by row needs beside appending: rows that are left out keep their places, so that what
//! comes after them keeps its own.

use muster_sync_core::{ChangeHash, DeviceKey, DocumentId, document::ChainTip};
use sha2::{Digest, Sha256};

use super::queries::{self, NewChange};
use super::{chain, heads};
use crate::db::{DbError, Tx};
use crate::ids::TenantId;

/// An entry of a channel: its key, its number.
pub type ChannelPlace = (i64, i64);

/// Takes the next place of the log for a row that cannot be read or projected, with the entries that it has in channels.
/// Nobody can take what stands there for a change: its document, writer and bytes are nobody's.
///
/// # Errors
/// When the database fails.
pub fn leave_out(tx: &Tx<'_>, tenant: &TenantId, entries: &[ChannelPlace]) -> Result<(), DbError> {
    let taken = queries::take_index(tx, tenant, 0, heads::first_generation(0))?;
    let log_index = taken.log_index;
    let named = Sha256::new().chain_update(tenant.as_str()).chain_update(log_index.to_be_bytes()).finalize();
    let mut document = [0; 16];
    document.copy_from_slice(&named[..16]);
    let new = NewChange {
        log_index,
        document: DocumentId(document),
        writer: &DeviceKey([0; 32]),
        tip: ChainTip { seq: 1, hash: ChangeHash([0; 32]), max_op: 0 },
        change: &[],
        signature: &[0; 64],
        received_at_ms: 0,
    };
    queries::insert_change(tx, tenant, &new, &chain::first(tenant))?;
    for (key, number) in entries {
        queries::insert_channel_entry(tx, *key, *number, log_index)?;
        queries::raise_numbers(tx, tenant, *number)?;
    }
    Ok(())
}

/// Lets the next entry of a channel have this number, or a later one.
///
/// # Errors
/// When the database fails.
pub fn number_from(tx: &Tx<'_>, tenant: &TenantId, number: i64) -> Result<(), DbError> {
    queries::raise_numbers(tx, tenant, number - 1)
}
