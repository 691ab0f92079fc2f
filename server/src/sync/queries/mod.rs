//! All SQL of sync that is not the change log's: what admission asks, in `admin` what people ask,
//! and in `image_uses` what a database of before is read for.

mod admin;
mod image_uses;

use muster_sync_core::{
    ChangeHash, DeviceKey, Locator,
    change::{SignedChange, Valid},
    evidence::ImageRef,
    limits,
};
use sha2::{Digest, Sha256};

pub(super) use admin::*;
pub(super) use image_uses::*;

use super::budget;
use super::ingest::Sender;
use super::prepare::Checked;
use crate::db::{DbError, Row, Tx};
use crate::evidence::{self, SealedManifest};
use crate::ids::{TenantId, UserId};
use crate::limits::Share;
use crate::params;

pub(in crate::sync) fn has_manifest(
    tx: &Tx<'_>,
    tenant: &TenantId,
    student: &str,
    commitment: &[u8; 32],
) -> Result<bool, DbError> {
    let found = tx.query_one(
        "SELECT 1
         FROM manifests
         WHERE tenant_id = ?1 AND subject_id = ?2 AND commitment = ?3",
        params![tenant.as_str(), student, commitment],
        |row| row.get::<i64>(0),
    )?;
    Ok(found.is_some())
}

/// What was refused, and why.
pub(in crate::sync) struct Refused<'a> {
    pub(in crate::sync) bytes: &'a [u8],
    pub(in crate::sync) reason: &'static str,
    pub(in crate::sync) detail: &'a str,
}

impl Refused<'_> {
    /// The bytes of which a copy is kept.
    pub(in crate::sync) fn kept(&self) -> &[u8] {
        &self.bytes[..self.bytes.len().min(limits::CHANGE_SIZE_BYTES_MAX)]
    }
}

/// Counts a refusal; a copy of what was never refused before is kept only if there is room for it.
pub(in crate::sync) fn keep_refusal(
    tx: &Tx<'_>,
    sender: &Sender,
    refused: &Refused<'_>,
    is_kept: bool,
    now_ms: i64,
) -> Result<(), DbError> {
    let sha256: [u8; 32] = Sha256::digest(refused.bytes).into();
    let sender_id = sender.user.to_string();
    tx.send(
        "INSERT INTO refusals
             (tenant_id, sender_id, bytes_sha256, reason, detail, change, times, first_at, last_at)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, 1, CAST(?7 AS BIGINT), CAST(?7 AS BIGINT)
         WHERE CAST(?8 AS BIGINT) = 1 OR EXISTS (
             SELECT 1
             FROM refusals
             WHERE tenant_id = ?1 AND sender_id = ?2 AND bytes_sha256 = ?3)
         ON CONFLICT (tenant_id, sender_id, bytes_sha256) DO UPDATE
         SET reason = excluded.reason, detail = excluded.detail, times = refusals.times + 1, last_at = excluded.last_at",
        params![
            sender.tenant.as_str(),
            &sender_id,
            &sha256,
            refused.reason,
            refused.detail,
            refused.kept(),
            now_ms,
            is_kept
        ],
    )
}

/// Copies of refused changes that are kept of a sender, and their bytes.
pub(in crate::sync) fn refusals_of(tx: &Tx<'_>, tenant: &TenantId, sender: &str) -> Result<Share, DbError> {
    let found = tx.query_one(
        "SELECT count(*), CAST(COALESCE(sum(length(change)), 0) AS BIGINT)
         FROM refusals
         WHERE tenant_id = ?1 AND sender_id = ?2",
        params![tenant.as_str(), sender],
        |row| Ok(Share { rows: row.get(0)?, bytes: row.get(1)? }),
    )?;
    Ok(found.unwrap_or(Share { rows: 0, bytes: 0 }))
}

/// Whether these bytes were refused although they are authentic: for what the server knew, or did not know, then.
pub(in crate::sync) fn was_refused(tx: &Tx<'_>, tenant: &TenantId, bytes: &[u8]) -> Result<bool, DbError> {
    let sha256: [u8; 32] = Sha256::digest(bytes).into();
    let found = tx.query_one(
        "SELECT 1
         FROM refusals
         WHERE tenant_id = ?1 AND bytes_sha256 = ?2
             AND reason IN ('quarantine_full', 'manifest_missing', 'student_unknown', 'writer_not_allowed',
                            'too_many_submissions', 'too_many_appeals', 'too_many_decisions',
                            'too_many_plan_changes', 'appeal_needs_another')
         LIMIT 1",
        params![tenant.as_str(), &sha256],
        |row| row.get::<i64>(0),
    )?;
    Ok(found.is_some())
}

/// The reason, perhaps empty, for which a person discarded a change; `None` if nobody did.
pub(in crate::sync) fn discarded(tx: &Tx<'_>, tenant: &TenantId, hash: ChangeHash) -> Result<Option<String>, DbError> {
    tx.query_one(
        "SELECT COALESCE(settle_reason, '')
         FROM quarantine
         WHERE tenant_id = ?1 AND hash = ?2 AND state = 'discarded' AND settled_by IS NOT NULL",
        params![tenant.as_str(), &hash.0],
        |row| row.get(0),
    )
}

/// Whether a change waits.
pub(in crate::sync) fn waits(tx: &Tx<'_>, tenant: &TenantId, hash: ChangeHash) -> Result<bool, DbError> {
    let found = tx.query_one(
        "SELECT 1
         FROM quarantine
         WHERE tenant_id = ?1 AND hash = ?2 AND state = 'waiting'",
        params![tenant.as_str(), &hash.0],
        |row| row.get::<i64>(0),
    )?;
    Ok(found.is_some())
}

/// Rows that wait, and their bytes.
type Waits = (i64, i64);

/// What waits on an account about its own person, or about nobody, and about others.
pub(in crate::sync) fn waiting_of(tx: &Tx<'_>, tenant: &TenantId, payer: &str) -> Result<(Waits, Waits), DbError> {
    let rows = tx.query(
        "SELECT CASE WHEN subject_id IN ('', payer_id) THEN 1 ELSE 0 END AS is_own, count(*),
             CAST(sum(size_bytes) AS BIGINT)
         FROM quarantine
         WHERE tenant_id = ?1 AND payer_id = ?2 AND state = 'waiting'
         GROUP BY 1",
        params![tenant.as_str(), payer],
        |row| Ok((row.get::<bool>(0)?, (row.get(1)?, row.get(2)?))),
    )?;
    let of = |own: bool| rows.iter().find(|row| row.0 == own).map_or((0, 0), |row| row.1);
    Ok((of(true), of(false)))
}

/// How many changes about one person wait on an account.
pub(in crate::sync) fn waiting_about(
    tx: &Tx<'_>,
    tenant: &TenantId,
    payer: &str,
    subject: &str,
) -> Result<i64, DbError> {
    tx.count(
        "SELECT count(*)
         FROM quarantine
         WHERE tenant_id = ?1 AND payer_id = ?2 AND subject_id = ?3 AND state = 'waiting'",
        params![tenant.as_str(), payer, subject],
    )
}

/// How many changes about a person wait on accounts of other students.
pub(in crate::sync) fn strangers_waiting(tx: &Tx<'_>, tenant: &TenantId, subject: &str) -> Result<i64, DbError> {
    tx.count(
        "SELECT count(*)
         FROM quarantine q
         JOIN users u ON u.id = q.payer_id
         WHERE q.tenant_id = ?1 AND q.subject_id = ?2 AND q.payer_id <> ?2 AND q.state = 'waiting'
             AND u.role IN ('guest', 'student')",
        params![tenant.as_str(), subject],
    )
}

/// What waits for a binding, or for the binding to come back.
pub(in crate::sync) fn unbound_count(tx: &Tx<'_>, tenant: &TenantId, writer: &DeviceKey) -> Result<i64, DbError> {
    tx.count(
        "SELECT count(*)
         FROM quarantine
         WHERE tenant_id = ?1 AND writer = ?2 AND state = 'waiting' AND reason IN ('device_unbound', 'device_revoked')",
        params![tenant.as_str(), &writer.0],
    )
}

/// How a change waits: why, and on whose account.
pub(in crate::sync) struct Kept<'a> {
    pub(in crate::sync) signed: &'a SignedChange,
    pub(in crate::sync) reason: &'a str,
    pub(in crate::sync) payer: UserId,
    pub(in crate::sync) size_bytes: usize,
}

pub(in crate::sync) fn keep_waiting(
    tx: &Tx<'_>,
    sender: &Sender,
    change: &Checked,
    kept: &Kept<'_>,
    now_ms: i64,
) -> Result<(), DbError> {
    let [key1, key2] = change.name.key();
    let valid = &change.valid;
    let (sender_id, payer_id) = (sender.user.to_string(), kept.payer.to_string());
    tx.execute(
        "INSERT INTO quarantine
             (tenant_id, hash, document_id, kind, key1, key2, writer, seq, change, signature, code_key, sender_id,
              reason, state, received_at, manifest, images, payer_id, subject_id, size_bytes)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, 'waiting', ?14, ?15, ?16, ?17, ?18, ?19)
         ON CONFLICT (tenant_id, hash) DO UPDATE
         SET reason = excluded.reason,
             manifest = COALESCE(quarantine.manifest, excluded.manifest),
             images = COALESCE(quarantine.images, excluded.images),
             state = CASE WHEN quarantine.settled_by IS NULL THEN 'waiting' ELSE quarantine.state END",
        params![
            sender.tenant.as_str(),
            &valid.hash.0,
            &valid.document.0,
            change.name.kind(),
            key1,
            key2,
            &valid.writer.0,
            valid.seq as i64,
            &kept.signed.bytes,
            &kept.signed.signature,
            change.code_key.as_deref(),
            &sender_id,
            kept.reason,
            now_ms,
            change.evidence.as_ref().map(|seen| &seen.sealed),
            change.evidence.as_ref().map(|seen| encode_images(&seen.images)).as_ref(),
            &payer_id,
            budget::subject_of(&change.name),
            kept.size_bytes as i64
        ],
    )?;
    Ok(())
}

fn encode_images(images: &[ImageRef]) -> Vec<u8> {
    minicbor::to_vec(images).expect("encoding into memory does not fail")
}

/// What a submission in quarantine saw, if somebody brought it.
pub(in crate::sync) fn waiting_evidence(
    tx: &Tx<'_>,
    tenant: &TenantId,
    hash: ChangeHash,
    commitment: [u8; 32],
) -> Result<Option<SealedManifest>, DbError> {
    let found = tx.query_one(
        "SELECT manifest, images
         FROM quarantine
         WHERE tenant_id = ?1 AND hash = ?2 AND manifest IS NOT NULL",
        params![tenant.as_str(), &hash.0],
        |row| Ok((row.get::<Vec<u8>>(0)?, row.get::<Vec<u8>>(1)?)),
    )?;
    let Some((sealed, images)) = found else { return Ok(None) };
    let images = minicbor::decode(&images).map_err(|error| DbError::Other(error.to_string()))?;
    Ok(Some(SealedManifest { commitment, sealed, images }))
}

/// A change that waits, whole.
pub(in crate::sync) struct Waiting {
    pub(in crate::sync) kind: u8,
    pub(in crate::sync) key1: String,
    pub(in crate::sync) key2: String,
    pub(in crate::sync) signed: SignedChange,
    pub(in crate::sync) code_key: Option<Vec<u8>>,
    pub(in crate::sync) hash: ChangeHash,
    pub(in crate::sync) sender_id: String,
}

/// The columns that [`waiting`] reads.
macro_rules! select_waiting {
    ($rest:literal) => {
        concat!(
            "SELECT kind, key1, key2, change, signature, code_key, hash, sender_id
             FROM quarantine ",
            $rest
        )
    };
}

fn waiting(row: &Row<'_>) -> Result<Waiting, DbError> {
    Ok(Waiting {
        kind: row.get::<i64>(0)? as u8,
        key1: row.get(1)?,
        key2: row.get(2)?,
        signed: SignedChange { bytes: row.get(3)?, signature: row.get(4)? },
        code_key: row.get(5)?,
        hash: ChangeHash(row.get(6)?),
        sender_id: row.get(7)?,
    })
}

/// The waiting copy of a change that was just accepted, and what waits for it in the same chain.
pub(in crate::sync) fn waiting_after(tx: &Tx<'_>, accepted: &Valid) -> Result<Vec<Waiting>, DbError> {
    let seq = accepted.seq as i64;
    tx.query(
        select_waiting!(
            "WHERE document_id = ?1 AND writer = ?2 AND seq IN (?3, ?4) AND state = 'waiting'
             AND (hash = ?5 OR reason = 'chain_gap')
         ORDER BY seq
         LIMIT 8"
        ),
        params![&accepted.document.0, &accepted.writer.0, seq, seq + 1, &accepted.hash.0],
        waiting,
    )
}

/// All that waited for the session: nothing else would ask for the rest.
pub(in crate::sync) fn waiting_session(
    tx: &Tx<'_>,
    tenant: &TenantId,
    locator: &Locator,
) -> Result<Vec<Waiting>, DbError> {
    tx.query(
        select_waiting!(
            "WHERE tenant_id = ?1 AND key1 = ?2 AND state = 'waiting'
             AND reason IN ('session_unknown', 'session_contested')
         ORDER BY document_id, seq"
        ),
        params![tenant.as_str(), locator.as_str()],
        waiting,
    )
}

/// What waited for the key to be bound, or bound again.
pub(in crate::sync) fn waiting_device(
    tx: &Tx<'_>,
    tenant: &TenantId,
    writer: &DeviceKey,
    limit: usize,
) -> Result<Vec<Waiting>, DbError> {
    tx.query(
        select_waiting!(
            "WHERE tenant_id = ?1 AND writer = ?2 AND state = 'waiting' AND reason IN ('device_unbound', 'device_revoked')
         ORDER BY document_id, seq
         LIMIT ?3"
        ),
        params![tenant.as_str(), &writer.0, limit as i64],
        waiting,
    )
}

/// A change that waits because its key is revoked.
pub(in crate::sync) fn waiting_revoked(
    tx: &Tx<'_>,
    tenant: &TenantId,
    hash: ChangeHash,
) -> Result<Option<Waiting>, DbError> {
    tx.query_one(
        select_waiting!("WHERE tenant_id = ?1 AND hash = ?2 AND state = 'waiting' AND reason = 'device_revoked'"),
        params![tenant.as_str(), &hash.0],
        waiting,
    )
}

/// A waiting change that may follow another one.
pub(in crate::sync) struct Link {
    pub(in crate::sync) hash: ChangeHash,
    pub(in crate::sync) received_at_ms: i64,
    pub(in crate::sync) reason: String,
    pub(in crate::sync) bytes: Vec<u8>,
}

/// The waiting copy of a change, and what waits of the same chain after it, in the order of the chain.
pub(in crate::sync) fn links_from(
    tx: &Tx<'_>,
    tenant: &TenantId,
    valid: &Valid,
    limit: usize,
) -> Result<Vec<Link>, DbError> {
    tx.query(
        "SELECT hash, received_at, reason, change
         FROM quarantine
         WHERE tenant_id = ?1 AND document_id = ?2 AND writer = ?3 AND seq >= ?4 AND state = 'waiting'
         ORDER BY seq, received_at
         LIMIT ?5",
        params![tenant.as_str(), &valid.document.0, &valid.writer.0, valid.seq as i64, limit as i64],
        |row| {
            Ok(Link {
                hash: ChangeHash(row.get(0)?),
                received_at_ms: row.get(1)?,
                reason: row.get(2)?,
                bytes: row.get(3)?,
            })
        },
    )
}

/// What becomes of a change that waited.
pub(in crate::sync) struct Settled<'a> {
    /// `released` or `discarded`.
    pub(in crate::sync) state: &'static str,
    /// The person, if it was one.
    pub(in crate::sync) by: Option<&'a str>,
    pub(in crate::sync) reason: Option<&'a str>,
    /// Whether the device that wrote it is to ask again.
    pub(in crate::sync) tell: bool,
}

impl Settled<'_> {
    /// The rules let it into the log; the device pulls it from there.
    pub(in crate::sync) const RELEASED: Self = Self { state: "released", by: None, reason: None, tell: false };
}

/// Settles what waits. What was kept beside it is evidence by now, or goes.
pub(in crate::sync) fn settle(
    tx: &Tx<'_>,
    tenant: &TenantId,
    hash: ChangeHash,
    settled: &Settled<'_>,
    now_ms: i64,
) -> Result<(), DbError> {
    tx.execute(
        "UPDATE quarantine
         SET state = ?3, settled_at = ?4, settled_by = ?5, settle_reason = ?6, tell_since = ?7,
             manifest = NULL, images = NULL
         WHERE tenant_id = ?1 AND hash = ?2 AND state = 'waiting'",
        params![
            tenant.as_str(),
            &hash.0,
            settled.state,
            now_ms,
            settled.by,
            settled.reason,
            settled.tell.then_some(now_ms)
        ],
    )?;
    evidence::end_waiting(tx, tenant, hash, now_ms)
}

/// A change that was refused, as an admin sees it.
pub(in crate::sync) struct RefusedRow {
    pub(in crate::sync) bytes_sha256: [u8; 32],
    pub(in crate::sync) size_bytes: i64,
    pub(in crate::sync) reason: String,
    pub(in crate::sync) detail: String,
    pub(in crate::sync) sender_id: String,
    pub(in crate::sync) times: i64,
    pub(in crate::sync) last_at_ms: i64,
}

pub(in crate::sync) fn list_refused(tx: &Tx<'_>, tenant: &TenantId, limit: i64) -> Result<Vec<RefusedRow>, DbError> {
    tx.query(
        "SELECT bytes_sha256, length(change), reason, detail, sender_id, times, last_at
         FROM refusals
         WHERE tenant_id = ?1
         ORDER BY last_at DESC
         LIMIT ?2",
        params![tenant.as_str(), limit],
        |row| {
            Ok(RefusedRow {
                bytes_sha256: row.get(0)?,
                size_bytes: row.get(1)?,
                reason: row.get(2)?,
                detail: row.get(3)?,
                sender_id: row.get(4)?,
                times: row.get(5)?,
                last_at_ms: row.get(6)?,
            })
        },
    )
}
