//! The head of every tenant's log in a file beside the server's keys, signed: what a database that lost its newest
//! rows cannot hide. It says what was committed, a moment ago at most, and never more.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

use data_encoding::HEXLOWER;
use muster_sync_core::{DeviceKey, sync::head::LogHead};
use serde::{Deserialize, Serialize};

use crate::durable;
use crate::ids::TenantId;

/// Its name in the folder of the keys.
const NAME: &str = "log-heads.json";
/// Largest file that is read, in bytes: about 30,000 tenants.
const SIZE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Why the file says nothing.
#[derive(Debug, thiserror::Error)]
pub enum HeadFileError {
    /// It cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is not what the server writes.
    #[error("{0} is not a file of log heads: {1}")]
    Malformed(String, String),
    /// Another server's key, or an edited file.
    #[error("the head of {0}'s log is not signed by this server's key")]
    Forged(String),
}

/// The file, and what was last written into it.
pub struct HeadFile {
    path: PathBuf,
    written: Mutex<Vec<(TenantId, LogHead)>>,
    /// When the newest loss was noticed, Unix milliseconds; 0 for never.
    lost_at_ms: AtomicI64,
}

#[derive(Serialize, Deserialize)]
struct Heads {
    version: u32,
    heads: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    tenant: String,
    generation: u64,
    log_index: u64,
    chain: String,
    signature: String,
}

impl HeadFile {
    /// The file in the folder of the keys.
    pub fn in_folder(keys_dir: &Path) -> Self {
        Self { path: keys_dir.join(NAME), written: Mutex::default(), lost_at_ms: AtomicI64::new(0) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says, checked against the server's key; `None` if there is none.
    ///
    /// # Errors
    /// A file that cannot be read, is torn, or is not signed by `server`.
    pub fn read(&self, server: &DeviceKey) -> Result<Option<Vec<(TenantId, LogHead)>>, HeadFileError> {
        let malformed = |why: &str| HeadFileError::Malformed(self.path.display().to_string(), why.to_owned());
        let size_bytes = match fs::metadata(&self.path) {
            Ok(facts) => facts.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if size_bytes > SIZE_BYTES_MAX {
            return Err(malformed("too large"));
        }
        let heads: Heads =
            serde_json::from_slice(&fs::read(&self.path)?).map_err(|error| malformed(&error.to_string()))?;
        let read = heads.heads.into_iter().map(|line| {
            let tenant: TenantId = line.tenant.parse().map_err(|_| malformed("a tenant has no valid name"))?;
            let head = line.head().ok_or_else(|| malformed("a head is not in hexadecimal"))?;
            head.verify(server).map_err(|_| HeadFileError::Forged(line.tenant))?;
            Ok((tenant, head))
        });
        read.collect::<Result<_, _>>().map(Some)
    }

    /// Keeps a file that says nothing under another name, so that the next one does not take its place.
    pub(super) fn set_aside(&self) {
        if let Err(error) = fs::rename(&self.path, self.path.with_extension("json.rejected")) {
            tracing::error!(%error, path = %self.path.display(), "The file of log heads could not be set aside");
        }
    }

    /// Replaces it, in a way that survives a power cut. Nothing happens if it says this already. Blocks.
    pub(super) fn write(&self, heads: Vec<(TenantId, LogHead)>) -> io::Result<()> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if *written == heads {
            return Ok(());
        }
        let lines = heads.iter().map(|(tenant, head)| Line::of(tenant, head)).collect();
        let bytes = serde_json::to_vec_pretty(&Heads { version: 1, heads: lines }).map_err(io::Error::other)?;
        durable::replace(&self.path, &bytes)?;
        *written = heads;
        Ok(())
    }

    /// When the newest loss was noticed, Unix milliseconds.
    pub fn lost_at_ms(&self) -> Option<i64> {
        Some(self.lost_at_ms.load(Ordering::Relaxed)).filter(|at_ms| *at_ms > 0)
    }

    pub(super) fn note_loss(&self, at_ms: i64) {
        self.lost_at_ms.fetch_max(at_ms.max(1), Ordering::Relaxed);
    }
}

impl Line {
    fn of(tenant: &TenantId, head: &LogHead) -> Self {
        Self {
            tenant: tenant.to_string(),
            generation: head.generation,
            log_index: head.log_index,
            chain: HEXLOWER.encode(&head.chain),
            signature: HEXLOWER.encode(&head.signature),
        }
    }

    fn head(&self) -> Option<LogHead> {
        let chain = HEXLOWER.decode(self.chain.as_bytes()).ok()?.try_into().ok()?;
        let signature = HEXLOWER.decode(self.signature.as_bytes()).ok()?.try_into().ok()?;
        Some(LogHead { generation: self.generation, log_index: self.log_index, chain, signature })
    }
}
