//! The `changes` and `chains` tables: signed bytes as they are, and the tips that the next own change continues.

use super::{StoreError, error::damaged};
use crate::{
    ChangeHash, DeviceKey, DocumentId, DocumentName,
    change::{self, Valid},
    decision::{self, Fold, Judgement, Record, Step},
    document::{ChainTip, Code, Container, Decision, Entry, Mark, Plan, PlanChange, Verdict},
};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// An entry with the change that carries it.
pub(super) struct Found<T> {
    pub(super) hash: ChangeHash,
    pub(super) writer: DeviceKey,
    pub(super) seq: u64,
    /// Whether the server has it. What only this phone knows never counts as decided.
    pub(super) on_server: bool,
    pub(super) entry: T,
}

/// The entries of one document, by container.
#[derive(Default)]
pub(super) struct Entries {
    pub(super) plans: Vec<Found<Plan>>,
    pub(super) plan_changes: Vec<Found<PlanChange>>,
    pub(super) submissions: Vec<Found<()>>,
    pub(super) verdicts: Vec<Found<Verdict>>,
    pub(super) decisions: Vec<Found<Decision>>,
    pub(super) marks: Vec<Found<Mark>>,
}

/// Keeps a change. One that is there already only learns its place in the log; `false` says that it was there.
pub(super) fn insert(
    db: &Connection,
    name: &DocumentName,
    valid: &Valid,
    bytes: &[u8],
    signature: &[u8; 64],
    place: Option<(u64, i64)>,
) -> Result<bool, StoreError> {
    let (log_index, received_at_ms) = place.unzip();
    let known = "UPDATE changes SET log_index = coalesce(?2, log_index), received_at_ms = coalesce(?3, received_at_ms)
        WHERE hash = ?1";
    if db.prepare_cached(known)?.execute(params![valid.hash.0, log_index, received_at_ms])? > 0 {
        return Ok(false);
    }
    let [key, key2] = name.key();
    let sql = "INSERT INTO changes
        (hash, document, kind, key, key2, writer, seq, max_op, dep, bytes, signature, log_index, received_at_ms)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
    db.prepare_cached(sql)?.execute(params![
        valid.hash.0,
        valid.document.0,
        name.kind(),
        key,
        key2,
        valid.writer.0,
        valid.seq,
        valid.max_op,
        valid.dep.0,
        bytes,
        signature,
        log_index,
        received_at_ms
    ])?;
    Ok(true)
}

/// The newest change of `writer` in the document, as far as this phone wrote it.
pub(super) fn tip(db: &Connection, document: DocumentId, writer: &DeviceKey) -> Result<Option<ChainTip>, StoreError> {
    let sql = "SELECT seq, hash, max_op FROM chains WHERE document = ?1 AND writer = ?2 AND seq > 0";
    Ok(db.prepare_cached(sql)?.query_row(params![document.0, writer.0], read_tip).optional()?)
}

/// The newest change of `writer` in the document that the server has in its log.
pub(super) fn server_tip(
    db: &Connection,
    document: DocumentId,
    writer: &DeviceKey,
) -> Result<Option<ChainTip>, StoreError> {
    let sql = "SELECT seq, hash, max_op FROM changes
        WHERE document = ?1 AND writer = ?2 AND log_index IS NOT NULL ORDER BY seq DESC LIMIT 1";
    Ok(db.prepare_cached(sql)?.query_row(params![document.0, writer.0], read_tip).optional()?)
}

pub(super) fn read_tip(row: &Row<'_>) -> rusqlite::Result<ChainTip> {
    Ok(ChainTip { seq: row.get(0)?, hash: ChangeHash(row.get(1)?), max_op: row.get(2)? })
}

/// Moves the end of an own chain. `None` stands for a chain with nothing in it.
pub(super) fn set_tip(
    db: &Connection,
    document: DocumentId,
    name: &DocumentName,
    writer: &DeviceKey,
    tip: Option<ChainTip>,
) -> Result<(), StoreError> {
    let tip = tip.unwrap_or(ChainTip { seq: 0, hash: ChangeHash([0; 32]), max_op: 0 });
    let [key, key2] = name.key();
    let sql = "INSERT INTO chains (document, writer, kind, key, key2, seq, hash, max_op, break_state)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0)
        ON CONFLICT (document, writer) DO UPDATE SET seq = excluded.seq, hash = excluded.hash, max_op = excluded.max_op";
    let row = params![document.0, writer.0, name.kind(), key, key2, tip.seq, tip.hash.0, tip.max_op];
    db.prepare_cached(sql)?.execute(row)?;
    Ok(())
}

/// Reads every entry of a document. Entries of a newer schema that this version cannot read are left out.
pub(super) fn entries(db: &Connection, document: DocumentId, kind: u8) -> Result<Entries, StoreError> {
    // What the server refused stays on the phone, but says nothing any more.
    let sql = "SELECT bytes, log_index IS NOT NULL FROM changes c
        WHERE document = ?1 AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.change_hash = c.hash AND o.state = 'refused')
        ORDER BY writer, seq, hash";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query([document.0])?;
    let mut entries = Entries::default();
    while let Some(row) = rows.next()? {
        let bytes = row.get_ref(0)?.as_blob().map_err(|_| damaged("a change is not bytes"))?;
        let on_server = row.get(1)?;
        let (hash, body) = change::decode(bytes).map_err(|_| damaged("a stored change does not decode"))?;
        let Some(container) = Container::at(kind, body.container_op) else { continue };
        let Ok(entry) = Entry::read(container, &body.fields) else { continue };
        let (writer, seq) = (body.writer, body.seq);
        macro_rules! keep {
            ($list:ident, $entry:expr) => {
                entries.$list.push(Found { hash, writer, seq, on_server, entry: $entry })
            };
        }
        match entry {
            Entry::Plan(entry) => keep!(plans, entry),
            Entry::PlanChanges(entry) => keep!(plan_changes, entry),
            Entry::Submissions(_) => keep!(submissions, ()),
            Entry::Verdicts(entry) => keep!(verdicts, entry),
            Entry::Decisions(entry) => keep!(decisions, entry),
            Entry::Marks(entry) => keep!(marks, entry),
            Entry::Appeals(_) | Entry::Requests(_) | Entry::Bindings(_) | Entry::Resets(_) => {}
        }
    }
    Ok(entries)
}

impl Entries {
    /// What follows from the record: only what the server has counts.
    pub(super) fn fold(&self) -> Fold {
        let verdicts = self.verdicts.iter().filter(|found| found.on_server);
        let decisions = self.decisions.iter().filter(|found| found.on_server);
        let marks = self.marks.iter().filter(|found| found.on_server);
        let decisions = decisions.map(|found| (found.hash, Step::decision(found.writer, found.seq, &found.entry)));
        let marks = marks.map(|found| (found.hash, Step::mark(found.writer, found.seq, &found.entry)));
        decision::fold(&Record {
            submissions: self.submissions.iter().filter(|found| found.on_server).map(|found| found.hash).collect(),
            verdicts: verdicts.map(|found| Judgement::new(found.hash, found.seq, &found.entry)).collect(),
            steps: decisions.chain(marks).collect(),
        })
    }

    /// The reason of a decision or mark, if it gave one.
    pub(super) fn reason_of(&self, step: ChangeHash) -> Option<&Code> {
        let decision = self.decisions.iter().find(|found| found.hash == step);
        let mark = self.marks.iter().find(|found| found.hash == step);
        decision.and_then(|found| found.entry.reason.as_ref()).or(mark.map(|found| &found.entry.reason))
    }

    /// The newest verdict that the server has.
    pub(super) fn newest_verdict(&self) -> Option<&Found<Verdict>> {
        self.verdicts.iter().filter(|found| found.on_server).max_by_key(|found| found.seq)
    }
}
