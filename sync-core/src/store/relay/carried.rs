//! The `carried` table: other people's signed changes, kept as they came until the server has answered for them.
//!
//! Nothing here touches the phone's own records, and nothing of its own records touches this.

use crate::{
    ChangeHash, DeviceKey, DocumentId, DocumentName,
    change::Valid,
    limits,
    store::{DeviceStore, StoreError, error::damaged, settle::clean},
    sync::{
        message::{Fate, FateKind},
        relay::message::{CarriedReceipt, Head},
    },
};
use rusqlite::{OptionalExtension, Row, Transaction, params};
use std::collections::BTreeSet;

/// A checked change that another phone handed over.
pub(crate) struct Carry<'a> {
    pub(crate) name: DocumentName,
    pub(crate) valid: Valid,
    pub(crate) bytes: &'a [u8],
    pub(crate) signature: [u8; 64],
    pub(crate) sealed_manifest: Option<&'a [u8]>,
}

/// Whether it is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CarryOutcome {
    /// From now on.
    Taken,
    /// It was already.
    Known,
    /// There is no room for it.
    Full,
}

/// How many changes of others this phone carries, and what became of those that it pushed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CarriedCounts {
    /// To be pushed.
    pub queued: u64,
    /// In the server's log.
    pub accepted: u64,
    /// In the server's quarantine.
    pub quarantined: u64,
    /// Refused by the server.
    pub refused: u64,
}

/// A carried change that is to be pushed.
#[derive(Debug, Clone)]
pub(crate) struct CarriedRow {
    pub(crate) id: i64,
    pub(crate) hash: ChangeHash,
    pub(crate) document: DocumentId,
    pub(crate) writer: DeviceKey,
    pub(crate) name: DocumentName,
    pub(crate) bytes: Vec<u8>,
    pub(crate) signature: [u8; 64],
    pub(crate) sealed_manifest: Option<Vec<u8>>,
}

/// What a push adds to a request beside its bytes: names, map keys and lengths.
const PUSH_OVERHEAD_BYTES: usize = 64 + 32 + 160;

/// How much is carried for a session, or for all of them.
#[derive(Clone, Copy)]
struct Load {
    items: u64,
    bytes: u64,
}

impl DeviceStore {
    /// Keeps what another phone handed over, all of it in one transaction; what is there already stays as it is.
    pub(crate) fn carry(&mut self, items: &[Carry<'_>]) -> Result<Vec<CarryOutcome>, StoreError> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        self.write(|tx| {
            let mut full = BTreeSet::new();
            let outcomes = items.iter().map(|item| {
                let chain = (item.valid.document, item.valid.writer);
                let outcome = if full.contains(&chain) { CarryOutcome::Full } else { carry_one(tx, item)? };
                if outcome == CarryOutcome::Full {
                    full.insert(chain);
                }
                Ok(outcome)
            });
            let outcomes: Result<Vec<_>, StoreError> = outcomes.collect();
            forget_oldest_settled(tx)?;
            outcomes
        })
    }

    /// The ends of a device's chains in these documents, as far as this phone carries or carried them, and the server's
    /// receipts for what it pushed of them.
    pub(crate) fn carried_heads(
        &self,
        writer: &DeviceKey,
        documents: &[DocumentId],
    ) -> Result<(Vec<Head>, Vec<CarriedReceipt>), StoreError> {
        let head = "SELECT seq, change_hash FROM carried WHERE document = ?1 AND writer = ?2
            ORDER BY seq DESC, id DESC LIMIT 1";
        let receipts_of = "SELECT change_hash, receipt FROM carried
            WHERE document = ?1 AND writer = ?2 AND receipt IS NOT NULL ORDER BY seq DESC LIMIT ?3";
        let (mut heads, mut receipts) = (Vec::new(), Vec::new());
        for document in documents {
            let read = |row: &Row<'_>| {
                Ok(Head { document: *document, writer: *writer, seq: row.get(0)?, hash: ChangeHash(row.get(1)?) })
            };
            let mut statement = self.db.prepare_cached(head)?;
            heads.extend(statement.query_row(params![document.0, writer.0], read).optional()?);
            let room = limits::RELAY_CHAINS_MAX - receipts.len();
            let mut statement = self.db.prepare_cached(receipts_of)?;
            let mut rows = statement.query(params![document.0, writer.0, room])?;
            while let Some(row) = rows.next()? {
                let receipt =
                    minicbor::decode(row.get_ref(1)?.as_blob().map_err(|_| damaged("a receipt is not bytes"))?);
                let receipt = receipt.map_err(|_| damaged("a receipt is not a receipt"))?;
                receipts.push(CarriedReceipt { hash: ChangeHash(row.get(0)?), receipt });
            }
        }
        Ok((heads, receipts))
    }

    /// The next carried changes to push, oldest first. One in `delayed` waits, and with it the rest of its chain.
    pub(crate) fn next_carried(
        &self,
        delayed: &BTreeSet<i64>,
        count_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<CarriedRow>, StoreError> {
        let sql = "SELECT id, change_hash, document, writer, key, key2, bytes, signature, sealed_manifest
            FROM carried INDEXED BY carried_open WHERE state = 'queued' ORDER BY id";
        let mut statement = self.db.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        let (mut carried, mut blocked, mut size_bytes) = (Vec::new(), BTreeSet::new(), 0);
        while carried.len() < count_max
            && let Some(row) = rows.next()?
        {
            let row = read(row)?;
            let chain = (row.document, row.writer);
            if delayed.contains(&row.id) || blocked.contains(&chain) {
                blocked.insert(chain);
                continue;
            }
            size_bytes += row.size_bytes() + PUSH_OVERHEAD_BYTES;
            if size_bytes > bytes_max {
                break;
            }
            carried.push(row);
        }
        Ok(carried)
    }

    /// How much this phone carries for others, and what became of it.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn carried(&self) -> Result<CarriedCounts, StoreError> {
        let mut statement = self.db.prepare_cached("SELECT state, count(*) FROM carried GROUP BY state")?;
        let mut rows = statement.query([])?;
        let mut counts = CarriedCounts::default();
        while let Some(row) = rows.next()? {
            match row.get_ref(0)?.as_str() {
                Ok("queued") => counts.queued = row.get(1)?,
                Ok("accepted") => counts.accepted = row.get(1)?,
                Ok("quarantined") => counts.quarantined = row.get(1)?,
                _ => counts.refused = row.get(1)?,
            }
        }
        Ok(counts)
    }
}

impl CarriedRow {
    fn size_bytes(&self) -> usize {
        self.bytes.len() + self.sealed_manifest.as_ref().map_or(0, Vec::len)
    }
}

fn carry_one(tx: &Transaction<'_>, item: &Carry<'_>) -> Result<CarryOutcome, StoreError> {
    let mut known = tx.prepare_cached("SELECT 1 FROM carried WHERE change_hash = ?1")?;
    if known.exists([item.valid.hash.0])? {
        return Ok(CarryOutcome::Known);
    }
    let [key, key2] = item.name.key();
    let size_bytes = (item.bytes.len() + item.sealed_manifest.map_or(0, <[u8]>::len)) as u64;
    let of_session = load(
        tx,
        "SELECT count(*), coalesce(sum(size_bytes), 0) FROM carried WHERE state = 'queued' AND key = ?1",
        &[&key],
    )?;
    let of_all = load(tx, "SELECT count(*), coalesce(sum(size_bytes), 0) FROM carried WHERE state = 'queued'", &[])?;
    let fits = of_session.items < limits::RELAY_ITEMS_PER_SESSION_MAX
        && of_session.bytes + size_bytes <= limits::RELAY_BYTES_PER_SESSION_MAX
        && of_all.items < limits::RELAY_ITEMS_MAX
        && of_all.bytes + size_bytes <= limits::RELAY_BYTES_MAX;
    if !fits {
        return Ok(CarryOutcome::Full);
    }
    let sql = "INSERT INTO carried
        (change_hash, document, writer, seq, key, key2, state, size_bytes, bytes, signature, sealed_manifest)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'queued', ?7, ?8, ?9, ?10)";
    let (hash, document, writer) = (item.valid.hash.0, item.valid.document.0, item.valid.writer.0);
    let (seq, signature, sealed) = (item.valid.seq, item.signature, item.sealed_manifest);
    let row = params![hash, document, writer, seq, key, key2, size_bytes, item.bytes, signature, sealed];
    tx.prepare_cached(sql)?.execute(row)?;
    Ok(CarryOutcome::Taken)
}

fn load(tx: &Transaction<'_>, sql: &str, of: &[&dyn rusqlite::ToSql]) -> Result<Load, StoreError> {
    let read = |row: &Row<'_>| Ok(Load { items: row.get(0)?, bytes: row.get(1)? });
    Ok(tx.prepare_cached(sql)?.query_row(of, read)?)
}

/// What is settled stays for its receipt, as long as there is room.
fn forget_oldest_settled(tx: &Transaction<'_>) -> Result<(), StoreError> {
    let sql = "DELETE FROM carried WHERE state <> 'queued' AND id <= (
        SELECT id FROM carried WHERE state <> 'queued' ORDER BY id DESC LIMIT 1 OFFSET ?1)";
    tx.prepare_cached(sql)?.execute([limits::RELAY_SETTLED_MAX])?;
    Ok(())
}

/// Settles one carried change. It never touches what this phone wrote itself.
pub(in crate::store) fn settle(tx: &Transaction<'_>, row: &CarriedRow, fate: &Fate) -> Result<(), StoreError> {
    let receipt = fate.receipt.as_ref().map(|receipt| minicbor::to_vec(receipt).expect("memory takes it"));
    let (state, reason) = match fate.kind {
        FateKind::Retry => return Ok(()),
        FateKind::Accepted => ("accepted", None),
        FateKind::Quarantined => ("quarantined", Some(clean(fate.reason.as_deref()))),
        FateKind::Refused => ("refused", Some(clean(fate.reason.as_deref()))),
    };
    let sql = "UPDATE carried SET state = ?3, reason = ?4, receipt = ?5,
            size_bytes = 0, bytes = NULL, signature = NULL, sealed_manifest = NULL
        WHERE id = ?1 AND change_hash = ?2 AND state = 'queued'";
    let receipt = receipt.filter(|_| fate.kind == FateKind::Accepted);
    tx.prepare_cached(sql)?.execute(params![row.id, row.hash.0, state, reason, receipt])?;
    Ok(())
}

fn read(row: &Row<'_>) -> Result<CarriedRow, StoreError> {
    let (key, key2): (String, String) = (row.get(4)?, row.get(5)?);
    let name = DocumentName::from_parts(2, [&key, &key2]).map_err(|_| damaged("a carried change has no valid name"))?;
    Ok(CarriedRow {
        id: row.get(0)?,
        hash: ChangeHash(row.get(1)?),
        document: DocumentId(row.get(2)?),
        writer: DeviceKey(row.get(3)?),
        name,
        bytes: row.get(6)?,
        signature: row.get(7)?,
        sealed_manifest: row.get(8)?,
    })
}
