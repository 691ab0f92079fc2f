//! The head of every tenant's audit log in a file beside the server's keys, signed: who removes the newest rows and
//! moves the head in the database along still leaves this. It says what was committed a moment ago, and never more.

use std::io;
use std::path::Path;

use data_encoding::HEXLOWER;
use muster_sync_core::{DeviceKey, signing};
use serde::{Deserialize, Serialize};

use super::{Action, Actor, Event, queries};
use crate::app::App;
use crate::db::{Db, DbError, Tx};
use crate::error::{AppError, AppResult};
use crate::ids::TenantId;
use crate::limits;
use crate::log::{self, HeadFileError, ServerKey, SignedList};

/// Its name in the folder of the keys.
const NAME: &str = "audit-heads.json";
/// Stands in front of what is signed, so that these signatures mean nothing else.
const CONTEXT: &[u8; 24] = b"muster/audit-head/v1\0\0\0\0";
/// The same for the whole list.
const LIST_CONTEXT: &[u8; 24] = b"muster/audit-list/v1\0\0\0\0";

/// Where a tenant's audit log ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditHead {
    /// The tenant.
    pub tenant: TenantId,
    /// How many rows.
    pub rows: i64,
    /// The hash of the newest one.
    pub hash: [u8; 32],
}

/// The file.
pub struct AuditHeadFile(SignedList<Line>);

/// What the file says.
pub struct ReadAuditHeads {
    /// Every audit log's head.
    pub heads: Vec<AuditHead>,
    /// Whether the list is signed as a whole; one of an earlier release is not.
    pub is_whole: bool,
}

#[derive(PartialEq, Serialize, Deserialize)]
struct Line {
    tenant: String,
    rows: i64,
    hash: String,
    signature: String,
}

impl AuditHead {
    fn message(&self) -> Vec<u8> {
        [CONTEXT, &self.rows.to_be_bytes()[..], &self.hash, self.tenant.as_str().as_bytes()].concat()
    }

    fn sign(&self, key: &ServerKey) -> io::Result<Line> {
        let signature = key.signer().sign(&self.message()).map_err(io::Error::other)?;
        Ok(Line {
            tenant: self.tenant.to_string(),
            rows: self.rows,
            hash: HEXLOWER.encode(&self.hash),
            signature: HEXLOWER.encode(&signature),
        })
    }
}

impl Line {
    fn verified(&self, server: &DeviceKey) -> Option<AuditHead> {
        let hash = HEXLOWER.decode(self.hash.as_bytes()).ok()?.try_into().ok()?;
        let signature: [u8; 64] = HEXLOWER.decode(self.signature.as_bytes()).ok()?.try_into().ok()?;
        let head = AuditHead { tenant: self.tenant.parse().ok()?, rows: self.rows, hash };
        signing::verify_strict(server, &head.message(), &signature).ok()?;
        Some(head)
    }
}

impl AuditHeadFile {
    /// The file in the folder of the keys.
    pub fn in_folder(keys_dir: &Path) -> Self {
        Self(SignedList::in_folder(keys_dir, NAME, LIST_CONTEXT))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// What it says, checked against the server's key; `None` if there is none.
    ///
    /// # Errors
    /// A file that cannot be read, is torn, or is not signed by `server`.
    pub fn read(&self, server: &DeviceKey) -> Result<Option<ReadAuditHeads>, HeadFileError> {
        let Some(read) = self.0.read(server)? else { return Ok(None) };
        let forged = || HeadFileError::Forged(format!("a head in {}", self.path().display()));
        let is_whole = read.counter.is_some();
        let heads = read.lines.iter().map(|line| line.verified(server).ok_or_else(forged)).collect::<Result<_, _>>()?;
        Ok(Some(ReadAuditHeads { heads, is_whole }))
    }

    /// Replaces it, unless it says this already. Blocks.
    fn write(&self, key: &ServerKey, heads: &[AuditHead]) -> io::Result<()> {
        self.0.write(key, heads.iter().map(|head| head.sign(key)).collect::<Result<_, _>>()?)
    }
}

/// The heads as they are committed.
fn committed(db: &Db) -> Result<Vec<AuditHead>, DbError> {
    let heads: Vec<_> = db.read_blocking::<_, DbError, _>(queries::heads)?;
    Ok(heads.into_iter().map(|(tenant, rows, hash)| AuditHead { tenant, rows, hash }).collect())
}

/// Whether the database still holds what a head proves.
pub(super) fn holds(tx: &Tx<'_>, head: &AuditHead) -> Result<bool, DbError> {
    Ok(head.rows == 0 || queries::hash_at(tx, &head.tenant, head.rows)? == Some(head.hash))
}

/// Compares the audit log with the file, before anything is served. A log that lacks rows says so in its next row, in
/// the server's own log, and the file that proves it is kept under another name. Blocks.
///
/// # Errors
/// When the database fails.
pub fn check_at_start(app: &App) -> Result<(), DbError> {
    let (Some(key), Some(file)) = (app.slice::<ServerKey>(), app.slice::<AuditHeadFile>()) else { return Ok(()) };
    let path = file.path().display();
    let proven = match file.read(&key.public()) {
        Ok(Some(read)) => {
            if !read.is_whole {
                tracing::warn!(
                    path = %path,
                    "The list of audit heads is of an earlier release and not signed as a whole: whether it has all its lines \
                     is not known. The next one is"
                );
            }
            read.heads
        }
        Ok(None) => {
            if committed(&app.db)?.iter().any(|head| head.rows > 0) {
                tracing::warn!(path = %path, "The file of audit heads is missing: whether the audit log lost rows is not known");
            } else if let Err(error) = file.write(key, &[]) {
                // It is there before the first row is, so that none is ever missed after a cut.
                tracing::warn!(%error, path = %path, "The file of audit heads cannot be written");
            }
            return Ok(());
        }
        Err(error) => {
            tracing::error!(%error, "The file of audit heads says nothing: whether the audit log lost rows is not known");
            file.0.set_aside();
            return Ok(());
        }
    };
    for tenant in committed(&app.db)?.iter().filter(|head| head.rows > 0).map(|head| &head.tenant) {
        let (asked, head) = (tenant.clone(), proven.iter().find(|head| head.tenant == *tenant));
        let rows = head.map_or(0, |head| head.rows);
        let late_ms = app.db.read_blocking::<_, DbError, _>(move |tx: &Tx<'_>| late_ms(tx, &asked, rows))?;
        // A log that has just begun is not in the file yet.
        let Some(late_ms) = late_ms else { continue };
        if head.is_none() {
            tracing::warn!(path = %path, tenant.id = %tenant, "The file of audit heads lacks a log");
        } else {
            tracing::warn!(path = %path, tenant.id = %tenant, rows, late_ms, "The file of audit heads is an old one");
        }
    }
    for head in proven {
        let (asked, now_ms) = (head.clone(), app.now_ms());
        let lost = app.db.write_blocking::<_, DbError, _>(move |tx: &Tx<'_>| note_loss(tx, &asked, now_ms))?;
        if lost {
            tracing::error!(tenant.id = %head.tenant, proven_rows = head.rows, "The audit log lost rows, or was made anew");
            file.0.set_aside();
        }
    }
    Ok(())
}

fn note_loss(tx: &Tx<'_>, proven: &AuditHead, now_ms: i64) -> Result<bool, DbError> {
    if holds(tx, proven)? {
        return Ok(false);
    }
    let actor = Actor {
        tenant: proven.tenant.clone(),
        id: "server".to_owned(),
        role: "server".to_owned(),
        request_id: "-".to_owned(),
    };
    let (rows, id) = (format!("proven_rows_{}", proven.rows), proven.tenant.to_string());
    super::record(
        tx,
        &actor,
        &Event { action: Action::AuditLost, kind: "audit", id: &id, reason: None, result: &rows },
        now_ms,
    )?;
    Ok(true)
}

/// For how long, milliseconds, the audit log went on behind so many rows that a signed head proves; `None` if no longer than
/// a head is ever written late.
pub(super) fn late_ms(tx: &Tx<'_>, tenant: &TenantId, rows: i64) -> Result<Option<i64>, DbError> {
    let (first_ms, newest_ms) = queries::times_after(tx, tenant, rows)?;
    Ok(log::late_between(first_ms, newest_ms))
}

/// Brings the file up to date with what is committed.
///
/// # Errors
/// When the database or the file fails, or when the server was built without the file.
pub async fn publish(app: &App) -> AppResult<()> {
    let app = app.clone();
    let written = tokio::task::spawn_blocking(move || {
        let file = app.slice::<AuditHeadFile>().ok_or_else(|| AppError::internal("the server has no audit heads"))?;
        let heads = committed(&app.db)?;
        file.write(ServerKey::of(&app)?, &heads).map_err(AppError::internal)
    });
    written.await.map_err(AppError::internal)?
}

/// Keeps the file at most [`limits::HEAD_FILE_EVERY`] behind until the server stops.
pub async fn keep_published(app: App) {
    let mut ticks = tokio::time::interval(limits::HEAD_FILE_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = app.stopped() => return,
            _ = ticks.tick() => {}
        }
        if let Err(error) = publish(&app).await {
            tracing::error!(%error, "The file of audit heads is not up to date");
        }
    }
}
