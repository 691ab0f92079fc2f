//! Rebuilds own chains that the server does not continue: the same manifests and claims, signed anew on what it has.

use super::{DeviceStore, StoreError, account, changes, outbox::read_name};
use crate::{
    DeviceKey, DocumentId, DocumentName,
    change::{self, Author, SignedChange, Valid},
    document::{ChainTip, genesis},
    signing::SigningKey,
};
use rusqlite::{OptionalExtension, Transaction, params};

struct Broken {
    document: DocumentId,
    writer: DeviceKey,
    name: DocumentName,
}

struct Live {
    id: i64,
    bytes: Vec<u8>,
    signature: [u8; 64],
}

/// The reason of a change whose key is not on this phone any more, so that nobody can sign it anew.
pub(super) const KEY_REPLACED: &str = "key_replaced";

impl DeviceStore {
    /// Whether a chain waits until everything was pulled again.
    pub(crate) fn has_broken_chain(&self) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM chains WHERE break_state = 1)";
        Ok(self.db.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
    }

    /// Signs anew what hangs on a refused or unknown change, each chain in its own transaction.
    ///
    /// A keystore that does not sign now leaves the chain for the next time; other chains go on.
    pub(crate) fn rebuild(&mut self, signer: &dyn SigningKey) -> Result<(), StoreError> {
        for chain in self.broken()? {
            match self.write(|tx| rebuild_chain(tx, signer, &chain)) {
                Ok(()) | Err(StoreError::Sign(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn broken(&self) -> Result<Vec<Broken>, StoreError> {
        let sql = "SELECT document, writer, kind, key, key2 FROM chains WHERE break_state = 2 ORDER BY document";
        let mut statement = self.db.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        let mut broken = Vec::new();
        while let Some(row) = rows.next()? {
            let (document, writer) = (DocumentId(row.get(0)?), DeviceKey(row.get(1)?));
            broken.push(Broken { document, writer, name: read_name(row, 2)? });
        }
        Ok(broken)
    }
}

fn rebuild_chain(tx: &Transaction<'_>, signer: &dyn SigningKey, chain: &Broken) -> Result<(), StoreError> {
    let tenant = account(tx)?.tenant;
    let mut tip = changes::server_tip(tx, chain.document, &chain.writer)?;
    for live in live_changes(tx, chain)? {
        let old = change::validate(&tenant, &chain.name, &live.bytes, &live.signature)?;
        let dep = tip.unwrap_or_else(|| genesis::tip(chain.document, chain.name.kind()));
        if old.dep == dep.hash {
            tip = Some(old.tip());
        } else if signer.public_key() == chain.writer {
            let author = Author { key: signer, tenant: &tenant, name: &chain.name, tip, time_s: old.time_s };
            let (signed, next) = author.append(&old.entry)?;
            let new = change::validate(&tenant, &chain.name, &signed.bytes, &signed.signature)?;
            if replace(tx, &live, &chain.name, &old, &new, &signed)? {
                tip = Some(next);
            }
        } else {
            let sql = "UPDATE outbox SET state = 'refused', reason = ?2 WHERE id = ?1";
            tx.execute(sql, params![live.id, KEY_REPLACED])?;
        }
    }
    finish(tx, chain, tip)
}

fn finish(tx: &Transaction<'_>, chain: &Broken, tip: Option<ChainTip>) -> Result<(), StoreError> {
    changes::set_tip(tx, chain.document, &chain.name, &chain.writer, tip)?;
    let sql = "UPDATE chains SET break_state = 0 WHERE document = ?1 AND writer = ?2";
    tx.execute(sql, params![chain.document.0, chain.writer.0])?;
    Ok(())
}

/// What the server has not taken and not refused, in the order in which it was written.
fn live_changes(tx: &Transaction<'_>, chain: &Broken) -> Result<Vec<Live>, StoreError> {
    let sql = "SELECT o.id, c.bytes, c.signature FROM outbox o JOIN changes c ON c.hash = o.change_hash
        WHERE o.document = ?1 AND o.writer = ?2 AND o.state IN ('queued', 'sent', 'quarantined')
            AND c.log_index IS NULL
        ORDER BY o.id";
    let mut statement = tx.prepare_cached(sql)?;
    let read = |row: &rusqlite::Row<'_>| Ok(Live { id: row.get(0)?, bytes: row.get(1)?, signature: row.get(2)? });
    let rows = statement.query_map(params![chain.document.0, chain.writer.0], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Puts the newly signed change in the place of the old one: the outbox row and its record stay. `false` if it cannot be.
fn replace(
    tx: &Transaction<'_>,
    live: &Live,
    name: &DocumentName,
    old: &Valid,
    new: &Valid,
    signed: &SignedChange,
) -> Result<bool, StoreError> {
    let sql = "SELECT reason FROM outbox WHERE change_hash = ?1";
    let twin = tx.prepare_cached(sql)?.query_row([new.hash.0], |row| row.get::<_, Option<String>>(0)).optional()?;
    if let Some(reason) = twin {
        // The very same claim in the very same place was refused before: it would be refused again.
        let sql = "UPDATE outbox SET state = 'refused', reason = ?2 WHERE id = ?1";
        tx.execute(sql, params![live.id, reason])?;
        return Ok(false);
    }
    changes::insert(tx, name, new, &signed.bytes, &signed.signature, None)?;
    let sql = "UPDATE outbox SET change_hash = ?2, state = 'queued' WHERE id = ?1";
    tx.execute(sql, params![live.id, new.hash.0])?;
    tx.execute("DELETE FROM changes WHERE hash = ?1 AND log_index IS NULL", [old.hash.0])?;
    Ok(true)
}
