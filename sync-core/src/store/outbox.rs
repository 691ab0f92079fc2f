//! The outbox: one row per own change, in the order in which they were written.

use super::{DeviceStore, StoreError, error::damaged};
use crate::{
    ChangeHash, DeviceKey, DocumentId, DocumentName, change::Valid, time::Receipt, time::session_code::CodeKey,
};
use rusqlite::{Row, Transaction, params};
use std::collections::BTreeSet;

/// Where an own change stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChangeState {
    /// Not pushed yet, or to be pushed again.
    Queued,
    /// Pushed; the answer has not come.
    Sent,
    /// In the server's log; the receipt verified.
    Accepted,
    /// Kept by the server until a person or an earlier change releases it.
    Quarantined,
    /// Not taken.
    Refused,
}

impl ChangeState {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Accepted => "accepted",
            Self::Quarantined => "quarantined",
            Self::Refused => "refused",
        }
    }

    pub(super) fn parse(name: &str) -> Result<Self, StoreError> {
        let all = [Self::Queued, Self::Sent, Self::Accepted, Self::Quarantined, Self::Refused];
        all.into_iter().find(|state| state.as_str() == name).ok_or_else(|| damaged("an outbox row has no known state"))
    }
}

/// An own change as the app may list it: captures, plans, decisions and requests alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxView {
    /// The change.
    pub change: ChangeHash,
    /// Its document.
    pub document: DocumentName,
    /// Where it stands.
    pub state: ChangeState,
    /// The server's reason code, unless it was accepted.
    pub reason: Option<String>,
}

/// How much is not settled yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PendingCounts {
    /// Changes that the server has not answered for.
    pub changes: u64,
    /// Changes that wait in the server's quarantine.
    pub quarantined: u64,
    /// Changes that the server refused.
    pub refused: u64,
    /// Images that are not uploaded.
    pub images: u64,
}

/// A change that is to be pushed.
#[derive(Debug, Clone)]
pub(crate) struct PushRow {
    /// The outbox row; below 0 for somebody else's change that the server lost: the row of `resends`, negated.
    pub(crate) id: i64,
    pub(crate) hash: ChangeHash,
    pub(crate) document: DocumentId,
    pub(crate) writer: DeviceKey,
    pub(crate) name: DocumentName,
    pub(crate) bytes: Vec<u8>,
    pub(crate) signature: [u8; 64],
    pub(crate) manifest: Option<Vec<u8>>,
    pub(crate) code_key: Option<[u8; 32]>,
    /// Of a log that lost the change.
    pub(crate) void_receipt: Option<Receipt>,
}

/// Room for what stands around a push in CBOR: names, map keys, lengths and a receipt.
const PUSH_OVERHEAD_BYTES: usize = 64 + 32 + 160 + 96;

impl PushRow {
    pub(crate) fn size_bytes(&self) -> usize {
        self.bytes.len() + self.manifest.as_ref().map_or(0, Vec::len) + PUSH_OVERHEAD_BYTES
    }
}

pub(super) fn insert(
    tx: &Transaction<'_>,
    change: &Valid,
    manifest: Option<&[u8]>,
    code_key: Option<&CodeKey>,
) -> Result<i64, StoreError> {
    let sql = "INSERT INTO outbox (change_hash, document, writer, state, manifest, code_key)
        VALUES (?1, ?2, ?3, 'queued', ?4, ?5)";
    let code_key = code_key.map(|key| key.0);
    let row = params![change.hash.0, change.document.0, change.writer.0, manifest, code_key];
    tx.prepare_cached(sql)?.execute(row)?;
    Ok(tx.last_insert_rowid())
}

/// What is open, oldest first.
const OPEN: &str = "SELECT o.id, o.change_hash, o.document, o.writer, c.kind, c.key, c.key2, c.bytes, c.signature,
        o.manifest, o.code_key, o.receipt
    FROM outbox o INDEXED BY outbox_open
    JOIN changes c ON c.hash = o.change_hash
    JOIN chains t ON t.document = o.document AND t.writer = o.writer
    WHERE o.state IN ('queued', 'sent') AND t.break_state = 0
        AND NOT EXISTS (SELECT 1 FROM resends r WHERE r.change_hash = o.change_hash)
    ORDER BY o.id";

/// What the server lost, in the order in which it had it.
const LOST: &str = "SELECT coalesce(o.id, -r.id), c.hash, c.document, c.writer, c.kind, c.key, c.key2, c.bytes,
        c.signature, o.manifest, o.code_key, o.receipt
    FROM resends r
    JOIN changes c ON c.hash = r.change_hash
    LEFT JOIN outbox o ON o.change_hash = c.hash
    ORDER BY r.id";

impl DeviceStore {
    /// The next changes to push, oldest first, within `count_max` and `bytes_max`.
    ///
    /// A change in `delayed` waits, and with it what was written after it in the same chain, and nothing else. Chains
    /// that are to be rebuilt wait too. What the server lost goes before everything else, and alone.
    pub(crate) fn next_pushes(
        &self,
        delayed: &BTreeSet<i64>,
        count_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<PushRow>, StoreError> {
        let mut blocked = BTreeSet::new();
        let lost = self.select_pushes(LOST, delayed, &mut blocked, count_max, bytes_max)?;
        if !lost.is_empty() {
            return Ok(lost);
        }
        self.select_pushes(OPEN, delayed, &mut blocked, count_max, bytes_max)
    }

    fn select_pushes(
        &self,
        sql: &str,
        delayed: &BTreeSet<i64>,
        blocked: &mut BTreeSet<(DocumentId, DeviceKey)>,
        count_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<PushRow>, StoreError> {
        let mut statement = self.db.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        let (mut pushes, mut size_bytes) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            if pushes.len() == count_max {
                break;
            }
            let push = read_push(row)?;
            let chain = (push.document, push.writer);
            if delayed.contains(&push.id) || blocked.contains(&chain) {
                blocked.insert(chain);
                continue;
            }
            size_bytes += push.size_bytes();
            if size_bytes > bytes_max && !pushes.is_empty() {
                break;
            }
            pushes.push(push);
        }
        Ok(pushes)
    }

    /// Notes that these changes leave the phone now.
    pub(crate) fn mark_sent(&mut self, pushes: &[PushRow]) -> Result<(), StoreError> {
        if pushes.is_empty() {
            return Ok(());
        }
        self.write(|tx| {
            let mut statement =
                tx.prepare_cached("UPDATE outbox SET state = 'sent' WHERE id = ?1 AND state = 'queued'")?;
            for push in pushes {
                statement.execute([push.id])?;
            }
            Ok(())
        })
    }

    /// Every own change, oldest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn outbox(&self) -> Result<Vec<OutboxView>, StoreError> {
        let sql = "SELECT o.change_hash, c.kind, c.key, c.key2, o.state, o.reason
            FROM outbox o JOIN changes c ON c.hash = o.change_hash ORDER BY o.id";
        let mut statement = self.db.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        let mut views = Vec::new();
        while let Some(row) = rows.next()? {
            views.push(OutboxView {
                change: ChangeHash(row.get(0)?),
                document: read_name(row, 1)?,
                state: ChangeState::parse(&row.get::<_, String>(4)?)?,
                reason: row.get(5)?,
            });
        }
        Ok(views)
    }

    /// How much is not settled yet.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn pending(&self) -> Result<PendingCounts, StoreError> {
        let count = |sql: &str| self.db.prepare_cached(sql)?.query_row([], |row| row.get(0));
        Ok(PendingCounts {
            changes: count("SELECT count(*) FROM outbox WHERE state IN ('queued', 'sent')")?,
            quarantined: count("SELECT count(*) FROM outbox WHERE state = 'quarantined'")?,
            refused: count("SELECT count(*) FROM outbox WHERE state = 'refused'")?,
            images: count("SELECT count(*) FROM blobs WHERE state = 'waiting'")?,
        })
    }
}

fn read_push(row: &Row<'_>) -> Result<PushRow, StoreError> {
    Ok(PushRow {
        id: row.get(0)?,
        hash: ChangeHash(row.get(1)?),
        document: DocumentId(row.get(2)?),
        writer: DeviceKey(row.get(3)?),
        name: read_name(row, 4)?,
        bytes: row.get(7)?,
        signature: row.get(8)?,
        manifest: row.get(9)?,
        code_key: row.get(10)?,
        void_receipt: row.get::<_, Option<Vec<u8>>>(11)?.and_then(|bytes| minicbor::decode(&bytes).ok()),
    })
}

/// A document's name from three columns: kind and the two parts of its key.
pub(super) fn read_name(row: &Row<'_>, first: usize) -> Result<DocumentName, StoreError> {
    let (key, key2): (String, String) = (row.get(first + 1)?, row.get(first + 2)?);
    DocumentName::from_parts(row.get(first)?, [&key, &key2]).map_err(|_| damaged("a document has no valid name"))
}
