//! Keeps what an exchange brought, all of it in one transaction: fates, pulled changes, anchor and cursors.

use super::{CarriedRow, DeviceStore, PushRow, StoreError, blobs, changes, recovery, relay, set_anchor};
use crate::{
    ChangeHash, DeviceKey, DocumentId, DocumentName,
    change::Valid,
    document::Entry,
    sync::{
        head::LogHead,
        message::{Fate, FateKind},
    },
    time::{AnchorReading, Receipt},
};
use rusqlite::{Transaction, params};

/// A pulled change that passed every check of the phone.
pub(crate) struct PulledChange {
    pub(crate) name: DocumentName,
    pub(crate) valid: Valid,
    pub(crate) bytes: Vec<u8>,
    pub(crate) signature: [u8; 64],
    pub(crate) log_index: u64,
    pub(crate) received_at_ms: i64,
}

/// A whole answer that passed every check of the phone.
pub(crate) struct SettledExchange<'a> {
    pub(crate) fates: Vec<(&'a PushRow, Fate)>,
    pub(crate) carried: Vec<(&'a CarriedRow, Fate)>,
    pub(crate) pulled: Vec<PulledChange>,
    pub(crate) cursors: Vec<(String, u64)>,
    pub(crate) more: bool,
    pub(crate) anchor: Option<AnchorReading>,
    pub(crate) log: Option<LogHead>,
    pub(crate) wanted: Vec<[u8; 32]>,
    /// Changes in quarantine of which a person settled what becomes of them.
    pub(crate) ask_again: Vec<ChangeHash>,
}

/// How often a change is signed anew before its refusal is final.
const CHAIN_FAILURES_MAX: u32 = 3;
/// Longest reason code that is kept, in bytes.
const REASON_SIZE_BYTES_MAX: usize = 64;
/// Reasons that say "this does not continue your chain as I know it": the phone pulls and signs anew.
const CHAIN_REASONS: [&str; 3] = ["chain_broken", "chain_fork", "chain_gap"];

impl DeviceStore {
    /// Keeps the answer. Twice the same answer leaves what one leaves.
    pub(crate) fn settle(&mut self, exchange: &SettledExchange<'_>) -> Result<(), StoreError> {
        self.write(|tx| {
            // From here on, what the server says is about its new log.
            let began = recovery::notice(tx, exchange.log.as_ref())?;
            if !exchange.more {
                // What the server has of the broken chains was pulled in full since they broke.
                tx.execute("UPDATE chains SET break_state = 2 WHERE break_state = 1", [])?;
            }
            let mut pull_again = false;
            for (push, fate) in &exchange.fates {
                // What hangs on a change that the server lost cannot be taken before that one is back.
                if began && fate.kind != FateKind::Accepted {
                    continue;
                }
                pull_again |= settle_fate(tx, push, fate)?;
            }
            for (row, fate) in &exchange.carried {
                if began && fate.kind != FateKind::Accepted {
                    continue;
                }
                relay::settle(tx, row, fate)?;
            }
            for pulled in &exchange.pulled {
                keep(tx, pulled)?;
            }
            for sha256 in &exchange.wanted {
                blobs::want(tx, sha256)?;
            }
            for hash in &exchange.ask_again {
                let sql = "UPDATE outbox SET state = 'queued' WHERE change_hash = ?1 AND state = 'quarantined'";
                tx.prepare_cached(sql)?.execute([hash.0])?;
            }
            if let Some(reading) = &exchange.anchor {
                set_anchor(tx, reading)?;
                recovery::let_go(tx, reading.anchor.time_ms)?;
            }
            tx.execute("DELETE FROM cursors", [])?;
            if !pull_again {
                let mut statement =
                    tx.prepare_cached("INSERT OR REPLACE INTO cursors (channel, number) VALUES (?1, ?2)")?;
                for (channel, number) in &exchange.cursors {
                    statement.execute(params![channel, number])?;
                }
            }
            if !exchange.more {
                recovery::list_missing(tx)?;
            }
            Ok(())
        })
    }
}

/// Settles one outbox row; `true` when its chain broke and everything has to be pulled again.
fn settle_fate(tx: &Transaction<'_>, push: &PushRow, fate: &Fate) -> Result<bool, StoreError> {
    let reason = clean(fate.reason.as_deref());
    if fate.kind != FateKind::Retry {
        tx.prepare_cached("DELETE FROM resends WHERE change_hash = ?1")?.execute([push.hash.0])?;
    }
    if push.id < 0 {
        return recovery::settle_foreign(tx, push, fate).map(|()| false);
    }
    match fate.kind {
        FateKind::Accepted => accept(tx, push, fate).map(|()| false),
        FateKind::Quarantined | FateKind::Refused if CHAIN_REASONS.contains(&reason.as_str()) => {
            break_chain(tx, push, &reason)
        }
        FateKind::Quarantined => set_state(tx, push, "quarantined", &reason).map(|_| false),
        FateKind::Refused => {
            if set_state(tx, push, "refused", &reason)? {
                // What was written after it in this document hangs on it, and is signed anew without it.
                set_break(tx, push, 2)?;
            }
            Ok(false)
        }
        FateKind::Retry if fate.reason.is_some() => {
            // It is pushed again by itself; meanwhile its person sees why the server does not have it.
            let sql = "UPDATE outbox SET state = 'queued', reason = ?3
                WHERE id = ?1 AND change_hash = ?2 AND state = 'sent'";
            tx.prepare_cached(sql)?.execute(params![push.id, push.hash.0, reason])?;
            Ok(false)
        }
        FateKind::Retry => Ok(false),
    }
}

fn accept(tx: &Transaction<'_>, push: &PushRow, fate: &Fate) -> Result<(), StoreError> {
    let Some(receipt) = &fate.receipt else { return Ok(()) };
    accept_receipt(tx, push.id, push.hash, push.document, &push.writer, receipt)
}

/// Notes a receipt of the server, which verified, for an own change: in whatever way it came.
pub(super) fn accept_receipt(
    tx: &Transaction<'_>,
    id: i64,
    hash: ChangeHash,
    document: DocumentId,
    writer: &DeviceKey,
    receipt: &Receipt,
) -> Result<(), StoreError> {
    let bytes = minicbor::to_vec(receipt).expect("encoding into memory does not fail");
    let sql = "UPDATE outbox SET state = 'accepted', reason = NULL, receipt = ?3, code_key = NULL
        WHERE id = ?1 AND change_hash = ?2";
    tx.prepare_cached(sql)?.execute(params![id, hash.0, bytes])?;
    let sql = "UPDATE changes SET log_index = ?2, received_at_ms = ?3 WHERE hash = ?1";
    tx.prepare_cached(sql)?.execute(params![hash.0, receipt.log_index, receipt.received_at_ms])?;
    // Those that waited for this one ask again.
    let sql = "UPDATE outbox SET state = 'queued'
        WHERE document = ?1 AND writer = ?2 AND id > ?3 AND state = 'quarantined'";
    tx.prepare_cached(sql)?.execute(params![document.0, writer.0, id])?;
    Ok(())
}

fn break_chain(tx: &Transaction<'_>, push: &PushRow, reason: &str) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM outbox
        WHERE document = ?1 AND writer = ?2 AND id < ?3 AND state IN ('queued', 'sent', 'quarantined'))";
    let row = params![push.document.0, push.writer.0, push.id];
    if tx.prepare_cached(sql)?.query_row(row, |row| row.get(0))? {
        // An earlier change of the chain is not settled: it is the one to wait for.
        return set_state(tx, push, "quarantined", reason).map(|_| false);
    }
    let sql = "SELECT break_state FROM chains WHERE document = ?1 AND writer = ?2";
    let break_state: u8 =
        tx.prepare_cached(sql)?.query_row(params![push.document.0, push.writer.0], |row| row.get(0))?;
    if break_state == 2 {
        // The change before it was refused in this very answer: nothing has to be pulled to know where to continue.
        return set_state(tx, push, "queued", reason).map(|_| false);
    }
    let sql = "UPDATE outbox SET chain_failures = chain_failures + 1, reason = ?3,
            state = CASE WHEN chain_failures + 1 > ?4 THEN 'refused' ELSE 'queued' END
        WHERE id = ?1 AND change_hash = ?2 AND state <> 'accepted' RETURNING state = 'queued'";
    let row = params![push.id, push.hash.0, reason, CHAIN_FAILURES_MAX];
    let mut statement = tx.prepare_cached(sql)?;
    let mut rows = statement.query(row)?;
    let Some(again) = rows.next()?.map(|row| row.get::<_, bool>(0)).transpose()? else { return Ok(false) };
    drop(rows);
    set_break(tx, push, if again { 1 } else { 2 })?;
    Ok(again)
}

fn set_state(tx: &Transaction<'_>, push: &PushRow, state: &str, reason: &str) -> Result<bool, StoreError> {
    let sql = "UPDATE outbox SET state = ?3, reason = ?4 WHERE id = ?1 AND change_hash = ?2 AND state <> 'accepted'";
    Ok(tx.prepare_cached(sql)?.execute(params![push.id, push.hash.0, state, reason])? > 0)
}

fn set_break(tx: &Transaction<'_>, push: &PushRow, break_state: u8) -> Result<(), StoreError> {
    // Waiting for a pull (1) goes before being ready (2).
    let sql = "UPDATE chains SET break_state = ?3 WHERE document = ?1 AND writer = ?2 AND (break_state <> 1 OR ?3 = 1)";
    tx.prepare_cached(sql)?.execute(params![push.document.0, push.writer.0, break_state])?;
    Ok(())
}

fn keep(tx: &Transaction<'_>, pulled: &PulledChange) -> Result<(), StoreError> {
    let place = Some((pulled.log_index, pulled.received_at_ms));
    changes::insert(tx, &pulled.name, &pulled.valid, &pulled.bytes, &pulled.signature, place)?;
    // An own change that the server released meanwhile: pushed again, it brings its receipt.
    let sql = "UPDATE outbox SET state = 'queued' WHERE change_hash = ?1 AND state IN ('quarantined', 'refused')";
    tx.prepare_cached(sql)?.execute([pulled.valid.hash.0])?;
    if let Entry::Bindings(binding) = &pulled.valid.entry {
        // Something was decided about a key: what waited for it asks again.
        let sql = "UPDATE outbox SET state = 'queued' WHERE writer = ?1 AND state = 'quarantined'";
        tx.prepare_cached(sql)?.execute([binding.key.0])?;
    }
    Ok(())
}

/// A reason code of the server, cut to what a code may be.
pub(super) fn clean(reason: Option<&str>) -> String {
    let plain = |character: &char| character.is_ascii_alphanumeric() || "_-.".contains(*character);
    let code: String = reason.unwrap_or_default().chars().filter(plain).take(REASON_SIZE_BYTES_MAX).collect();
    if code.is_empty() { "unspecified".to_owned() } else { code }
}
