//! Gives the server back what it lost. Its log has a generation: another one than before means that a tail of the log is
//! gone. Then every place in the log that the phone knows is void; it pulls all that there is, and sends again what is
//! missing: its own changes with their manifests, and what it had pulled of others and of the server.

use super::{DeviceStore, PushRow, StoreError, code_key, error::damaged, set_setting, setting};
use crate::{
    DeviceKey, limits,
    sync::{
        head::LogHead,
        message::{Fate, FateKind},
    },
};
use rusqlite::{Transaction, params};

/// How far the phone is with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recovery {
    /// The server has what it had.
    None,
    /// The phone pulls what is there.
    Pulling,
    /// The phone sends what is missing.
    Sending,
}

/// Names of settings.
const HEAD: &str = "log_head";
const PULLING: &str = "recovery_pulling";
/// Manifests and images that are let go of with one answer.
const LET_GO_MAX: u32 = 200;

impl DeviceStore {
    pub(crate) fn recovery(&self) -> Result<Recovery, StoreError> {
        if setting::<bool>(&self.db, PULLING)?.unwrap_or(false) {
            return Ok(Recovery::Pulling);
        }
        let sql = "SELECT EXISTS (SELECT 1 FROM resends)";
        let sending = self.db.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
        Ok(if sending { Recovery::Sending } else { Recovery::None })
    }

    /// The newest head of the log that the server told.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn log_head(&self) -> Result<Option<LogHead>, StoreError> {
        let Some(bytes) = setting::<Vec<u8>>(&self.db, HEAD)? else { return Ok(None) };
        minicbor::decode(&bytes).map(Some).map_err(|_| damaged("the head of the log is not one"))
    }
}

/// Keeps the head. `true` if it is of another generation: everything that the phone knew of the log is void then.
pub(super) fn notice(tx: &Transaction<'_>, head: Option<&LogHead>) -> Result<bool, StoreError> {
    let Some(head) = head else { return Ok(false) };
    let known: Option<LogHead> = match setting::<Vec<u8>>(tx, HEAD)? {
        Some(bytes) => minicbor::decode(&bytes).ok(),
        None => None,
    };
    let bytes = minicbor::to_vec(head).expect("encoding into memory does not fail");
    set_setting(tx, HEAD, &bytes)?;
    let began = known.is_some_and(|known| known.generation != head.generation);
    if began {
        let sql = "UPDATE changes SET lost_index = log_index, lost_received_at_ms = received_at_ms,
                log_index = NULL, received_at_ms = NULL
            WHERE log_index IS NOT NULL";
        tx.execute(sql, [])?;
        tx.execute("DELETE FROM resends", [])?;
        set_setting(tx, PULLING, &true)?;
    }
    Ok(began)
}

/// Everything that is there was pulled: what is not marked again is missing.
pub(super) fn list_missing(tx: &Transaction<'_>) -> Result<(), StoreError> {
    if !setting::<bool>(tx, PULLING)?.unwrap_or(false) {
        return Ok(());
    }
    let sql = "INSERT INTO resends (change_hash)
        SELECT c.hash FROM changes c
        WHERE c.lost_index IS NOT NULL AND c.log_index IS NULL
            AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.change_hash = c.hash AND o.state = 'refused')
        ORDER BY c.lost_index";
    tx.execute(sql, [])?;
    // Own changes that are missing or stand elsewhere now need a new receipt; the old one goes with them and proves when
    // the server had them first. What the server's quarantine held may be gone, too.
    let sql = "UPDATE outbox SET state = 'queued', reason = 'sent_again'
        WHERE state = 'accepted' AND EXISTS (SELECT 1 FROM changes c WHERE c.hash = change_hash
            AND (c.log_index IS NOT c.lost_index OR c.received_at_ms IS NOT c.lost_received_at_ms)
            AND c.lost_index IS NOT NULL)
            OR state = 'quarantined'";
    tx.execute(sql, [])?;
    restore_code_keys(tx)?;
    tx.execute("UPDATE changes SET lost_index = NULL, lost_received_at_ms = NULL WHERE log_index IS NOT NULL", [])?;
    set_setting(tx, PULLING, &false)
}

/// A binding request brings its code key again: the server may have lost its copy with the request.
fn restore_code_keys(tx: &Transaction<'_>) -> Result<(), StoreError> {
    let sql = "SELECT o.id, o.writer FROM outbox o JOIN changes c ON c.hash = o.change_hash
        WHERE o.state = 'queued' AND o.code_key IS NULL AND c.kind = 3";
    let mut statement = tx.prepare_cached(sql)?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, DeviceKey(row.get(1)?))))?;
    for row in rows.collect::<Result<Vec<_>, _>>()? {
        if let Some(key) = code_key(tx, &row.1)? {
            tx.execute("UPDATE outbox SET code_key = ?2 WHERE id = ?1", params![row.0, key.0])?;
        }
    }
    Ok(())
}

/// Somebody else's change that was sent again. One that the server did not take into its log leaves the phone: it waits
/// in the server's quarantine and is pulled when it is released, or another one stands in its place now.
pub(super) fn settle_foreign(tx: &Transaction<'_>, push: &PushRow, fate: &Fate) -> Result<(), StoreError> {
    match (fate.kind, &fate.receipt) {
        (FateKind::Accepted, Some(receipt)) => {
            let sql = "UPDATE changes SET log_index = ?2, received_at_ms = ?3, lost_index = NULL WHERE hash = ?1";
            tx.prepare_cached(sql)?.execute(params![push.hash.0, receipt.log_index, receipt.received_at_ms])?;
        }
        (FateKind::Retry, _) | (FateKind::Accepted, None) => {}
        (FateKind::Quarantined | FateKind::Refused, _) => {
            tx.execute("DELETE FROM changes WHERE hash = ?1 AND log_index IS NULL", [push.hash.0])?;
        }
    }
    Ok(())
}

/// Lets go of what was kept only in case that the server loses it, once it has had it for long enough by its own clock.
pub(super) fn let_go(tx: &Transaction<'_>, server_time_ms: i64) -> Result<(), StoreError> {
    let sql = "UPDATE outbox SET manifest = NULL WHERE id IN (
        SELECT o.id FROM outbox o INDEXED BY outbox_manifests JOIN changes c ON c.hash = o.change_hash
        WHERE o.state = 'accepted' AND o.manifest IS NOT NULL AND c.received_at_ms < ?1
        LIMIT ?2)";
    let before_ms = server_time_ms.saturating_sub(limits::MANIFEST_KEPT_MS);
    tx.prepare_cached(sql)?.execute(params![before_ms, LET_GO_MAX])?;
    let sql = "DELETE FROM blob_bytes WHERE sha256 IN (
        SELECT sha256 FROM blobs INDEXED BY blobs_kept WHERE state = 'uploaded' AND uploaded_at_ms < ?1 LIMIT ?2)";
    let before_ms = server_time_ms.saturating_sub(limits::IMAGE_KEPT_MS);
    tx.prepare_cached(sql)?.execute(params![before_ms, LET_GO_MAX])?;
    Ok(())
}
