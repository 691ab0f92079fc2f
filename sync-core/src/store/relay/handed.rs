//! The giver's rows: own records that the server is not known to have, who carries them, and receipts that came back.

use crate::{
    ChangeHash, DeviceKey, DocumentId, DocumentName, Locator, change,
    document::{Container, Entry},
    store::{DeviceStore, StoreError, account, changes, outbox::read_name, settle},
    sync::relay::message::CarriedReceipt,
    time::Receipt,
};
use rusqlite::{OptionalExtension, params};
use std::collections::BTreeSet;

/// An own change of a class session that the server is not known to have.
#[derive(Debug)]
pub(crate) struct OwnRow {
    pub(crate) hash: ChangeHash,
    pub(crate) document: DocumentId,
    pub(crate) writer: DeviceKey,
    pub(crate) seq: u64,
    pub(crate) name: DocumentName,
    pub(crate) bytes: Vec<u8>,
    pub(crate) signature: [u8; 64],
    pub(crate) manifest: Option<Vec<u8>>,
    pub(crate) handed_over: bool,
}

/// A plan of this device with the server's receipt.
#[derive(Debug, Clone)]
pub(crate) struct OfferedPlan {
    pub(crate) bytes: Vec<u8>,
    pub(crate) signature: [u8; 64],
    pub(crate) receipt: Receipt,
}

/// Own changes of one session that one meeting looks at.
const ROWS_PER_SESSION_MAX: usize = 256;
/// What the server has not answered for with a receipt or a refusal.
const UNSETTLED: &str = "o.state IN ('queued', 'sent', 'quarantined')";

impl DeviceStore {
    /// The account's own changes in the attendance documents of these sessions that the server is not known to have,
    /// in the order in which they were written. Chains that are to be signed anew wait for that.
    pub(crate) fn own_rows(
        &self,
        locators: &BTreeSet<Locator>,
        writer: &DeviceKey,
        relay: &DeviceKey,
    ) -> Result<Vec<OwnRow>, StoreError> {
        let user = self.account()?.user;
        let sql = format!(
            "SELECT o.change_hash, o.document, o.writer, c.seq, c.kind, c.key, c.key2, c.bytes, c.signature, o.manifest,
                EXISTS (SELECT 1 FROM handed_over h WHERE h.change_hash = o.change_hash AND h.relay = ?4)
            FROM changes c JOIN outbox o ON o.change_hash = c.hash
            JOIN chains t ON t.document = o.document AND t.writer = o.writer
            WHERE c.kind = 2 AND c.key = ?1 AND c.key2 = ?2 AND c.writer = ?3 AND {UNSETTLED} AND t.break_state = 0
            ORDER BY o.id LIMIT ?5"
        );
        let mut statement = self.db.prepare_cached(&sql)?;
        let mut own = Vec::new();
        for locator in locators {
            let asked = params![locator.as_str(), user, writer.0, relay.0, ROWS_PER_SESSION_MAX];
            let mut rows = statement.query(asked)?;
            while let Some(row) = rows.next()? {
                own.push(OwnRow {
                    hash: ChangeHash(row.get(0)?),
                    document: DocumentId(row.get(1)?),
                    writer: DeviceKey(row.get(2)?),
                    seq: row.get(3)?,
                    name: read_name(row, 4)?,
                    bytes: row.get(7)?,
                    signature: row.get(8)?,
                    manifest: row.get(9)?,
                    handed_over: row.get(10)?,
                });
            }
        }
        Ok(own)
    }

    /// How many own changes of a session the server is not known to have.
    pub(crate) fn waiting_in(&self, locator: Locator, user: &str) -> Result<usize, StoreError> {
        let sql = format!(
            "SELECT count(*) FROM changes c JOIN outbox o ON o.change_hash = c.hash
            WHERE c.kind = 2 AND c.key = ?1 AND c.key2 = ?2 AND {UNSETTLED}"
        );
        let mut statement = self.db.prepare_cached(&sql)?;
        Ok(statement.query_row(params![locator.as_str(), user], |row| row.get(0))?)
    }

    /// The own change at a place of a chain.
    pub(crate) fn own_hash_at(
        &self,
        document: DocumentId,
        writer: &DeviceKey,
        seq: u64,
    ) -> Result<Option<ChangeHash>, StoreError> {
        let sql = "SELECT c.hash FROM changes c JOIN outbox o ON o.change_hash = c.hash
            WHERE c.document = ?1 AND c.writer = ?2 AND c.seq = ?3 AND o.state <> 'refused'";
        let mut statement = self.db.prepare_cached(sql)?;
        let read = |row: &rusqlite::Row<'_>| Ok(ChangeHash(row.get(0)?));
        Ok(statement.query_row(params![document.0, writer.0, seq], read).optional()?)
    }

    /// Notes that a relay says that it carries these own changes.
    pub(crate) fn mark_handed_over(
        &mut self,
        relay: &DeviceKey,
        hashes: &BTreeSet<ChangeHash>,
    ) -> Result<(), StoreError> {
        if hashes.is_empty() {
            return Ok(());
        }
        self.write(|tx| {
            let sql = "INSERT INTO handed_over (change_hash, relay) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
            let mut statement = tx.prepare_cached(sql)?;
            for hash in hashes {
                statement.execute(params![hash.0, relay.0])?;
            }
            Ok(())
        })
    }

    /// Keeps receipts that a relay brought back: each counts only if it is the server's, for an own change.
    pub(crate) fn accept_carried_receipts(&mut self, receipts: &[CarriedReceipt]) -> Result<usize, StoreError> {
        let Some(server) = self.server_key()? else { return Ok(0) };
        if receipts.is_empty() {
            return Ok(0);
        }
        self.write(|tx| {
            let sql =
                format!("SELECT o.id, o.document, o.writer FROM outbox o WHERE o.change_hash = ?1 AND {UNSETTLED}");
            let mut statement = tx.prepare_cached(&sql)?;
            let mut accepted = 0;
            for CarriedReceipt { hash, receipt } in receipts {
                let read = |row: &rusqlite::Row<'_>| {
                    Ok((row.get::<_, i64>(0)?, DocumentId(row.get(1)?), DeviceKey(row.get(2)?)))
                };
                let Some((id, document, writer)) = statement.query_row([hash.0], read).optional()? else { continue };
                if receipt.verify(&server, document, *hash).is_ok() {
                    settle::accept_receipt(tx, id, *hash, document, &writer, receipt)?;
                    accepted += 1;
                }
            }
            Ok(accepted)
        })
    }

    /// Who planned a session, as far as the server passed it on to this phone.
    pub(crate) fn plan_writers(&self, locator: Locator) -> Result<Vec<DeviceKey>, StoreError> {
        let name = DocumentName::ClassSession { locator };
        let entries = changes::entries(&self.db, name.id(&self.account()?.tenant), name.kind())?;
        Ok(entries.plans.iter().filter(|found| found.on_server).map(|found| found.writer).collect())
    }

    /// Whether this phone may offer to carry for a session: its user planned it, here or elsewhere. With the plan that
    /// this device wrote and the server's receipt for it, if there is one.
    ///
    /// # Errors
    /// [`StoreError::SessionUnknown`] for anybody else's session.
    pub(crate) fn offered_plan(&self, locator: Locator, device: &DeviceKey) -> Result<Option<OfferedPlan>, StoreError> {
        let (account, name) = (account(&self.db)?, DocumentName::ClassSession { locator });
        let document = name.id(&account.tenant);
        let entries = changes::entries(&self.db, document, name.kind())?;
        let by_user = |by: &crate::document::Label| by.as_str() == account.user;
        let runs = |found: &changes::Found<crate::document::Plan>| {
            found.writer == *device || (found.on_server && found.entry.by.as_ref().is_some_and(by_user))
        };
        if !entries.plans.iter().any(runs) {
            return Err(StoreError::SessionUnknown(locator));
        }
        let sql = "SELECT c.bytes, c.signature, o.receipt FROM changes c JOIN outbox o ON o.change_hash = c.hash
            WHERE c.document = ?1 AND c.writer = ?2 AND o.receipt IS NOT NULL ORDER BY c.seq";
        let mut statement = self.db.prepare_cached(sql)?;
        let mut rows = statement.query(params![document.0, device.0])?;
        while let Some(row) = rows.next()? {
            let (bytes, receipt): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(2)?);
            if let (true, Ok(receipt)) = (is_plan(&bytes), minicbor::decode(&receipt)) {
                return Ok(Some(OfferedPlan { bytes, signature: row.get(1)?, receipt }));
            }
        }
        Ok(None)
    }
}

fn is_plan(bytes: &[u8]) -> bool {
    let Ok((_, body)) = change::decode(bytes) else { return false };
    let container = Container::at(1, body.container_op);
    container.is_some_and(|container| matches!(Entry::read(container, &body.fields), Ok(Entry::Plan(_))))
}
