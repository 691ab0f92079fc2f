//! The head of every tenant's audit log in a file beside the server's keys, signed: who removes the newest rows and
//! moves the head in the database along still leaves this. It says what was committed a moment ago, and never more.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use data_encoding::HEXLOWER;
use muster_sync_core::{DeviceKey, signing};
use serde::{Deserialize, Serialize};

use super::{Action, Actor, Event, queries};
use crate::app::App;
use crate::db::{Db, DbError, Tx};
use crate::durable;
use crate::error::{AppError, AppResult};
use crate::ids::TenantId;
use crate::limits;
use crate::log::ServerKey;

/// Its name in the folder of the keys.
const NAME: &str = "audit-heads.json";
/// Stands in front of what is signed, so that these signatures mean nothing else.
const CONTEXT: &[u8; 24] = b"muster/audit-head/v1\0\0\0\0";
/// Largest file that is read, in bytes: about 30,000 tenants.
const SIZE_BYTES_MAX: u64 = 8 * 1024 * 1024;

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

/// The file, and what was last written into it.
pub struct AuditHeadFile {
    path: PathBuf,
    written: Mutex<Vec<AuditHead>>,
}

#[derive(Serialize, Deserialize)]
struct Heads {
    version: u32,
    heads: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
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
        Self { path: keys_dir.join(NAME), written: Mutex::default() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says, checked against the server's key; `None` if there is none.
    ///
    /// # Errors
    /// A file that cannot be read, is torn, or is not signed by `server`.
    pub fn read(&self, server: &DeviceKey) -> io::Result<Option<Vec<AuditHead>>> {
        let malformed =
            |why: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {why}", self.path.display()));
        match fs::metadata(&self.path) {
            Ok(facts) if facts.len() > SIZE_BYTES_MAX => return Err(malformed("too large")),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
        let heads: Heads =
            serde_json::from_slice(&fs::read(&self.path)?).map_err(|error| malformed(&error.to_string()))?;
        let forged = || malformed("a head is not signed by this server's key");
        heads.heads.iter().map(|line| line.verified(server).ok_or_else(forged)).collect::<Result<_, _>>().map(Some)
    }

    /// Replaces it, unless it says this already. Blocks.
    fn write(&self, key: &ServerKey, heads: Vec<AuditHead>) -> io::Result<()> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if *written == heads {
            return Ok(());
        }
        let lines = heads.iter().map(|head| head.sign(key)).collect::<Result<_, _>>()?;
        let bytes = serde_json::to_vec_pretty(&Heads { version: 1, heads: lines }).map_err(io::Error::other)?;
        durable::replace(&self.path, &bytes)?;
        *written = heads;
        Ok(())
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
    let proven = match file.read(&key.public()) {
        Ok(heads) => heads.unwrap_or_default(),
        Err(error) => {
            tracing::error!(%error, "The file of audit heads says nothing: whether the audit log lost rows is not known");
            set_aside(file);
            return Ok(());
        }
    };
    for head in proven {
        let (asked, now_ms) = (head.clone(), app.now_ms());
        let lost = app.db.write_blocking::<_, DbError, _>(move |tx: &Tx<'_>| note_loss(tx, &asked, now_ms))?;
        if lost {
            tracing::error!(tenant.id = %head.tenant, proven_rows = head.rows, "The audit log lost rows, or was made anew");
            set_aside(file);
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

fn set_aside(file: &AuditHeadFile) {
    if let Err(error) = fs::rename(&file.path, file.path.with_extension("json.rejected")) {
        tracing::error!(%error, path = %file.path.display(), "The file of audit heads could not be set aside");
    }
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
        file.write(ServerKey::of(&app)?, heads).map_err(AppError::internal)
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
