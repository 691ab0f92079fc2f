//! The head of every tenant's log in a file beside the server's keys, signed: what a database that lost its newest
//! rows cannot hide. It says what was committed, a moment ago at most, and never more.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

use data_encoding::HEXLOWER;
use muster_sync_core::{DeviceKey, sync::head::LogHead};
use serde::{Deserialize, Serialize};

use super::ServerKey;
use super::signed_list::{HeadFileError, SignedList};
use crate::ids::TenantId;

/// Its name in the folder of the keys.
const NAME: &str = "log-heads.json";
/// Stands in front of what is signed, so that these signatures mean nothing else.
const CONTEXT: &[u8; 24] = b"muster/log-head-list/v1\0";

/// The file, and what was last written into it.
pub struct HeadFile {
    list: SignedList<Line>,
    /// When the newest loss was noticed, Unix milliseconds; 0 for never.
    lost_at_ms: AtomicI64,
}

/// What the file says.
pub struct ReadHeads {
    /// Every log's head.
    pub proofs: Vec<(TenantId, LogHead)>,
    /// Whether the list is signed as a whole; one of an earlier release is not.
    pub is_whole: bool,
}

#[derive(PartialEq, Serialize, Deserialize)]
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
        Self { list: SignedList::in_folder(keys_dir, NAME, CONTEXT), lost_at_ms: AtomicI64::new(0) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.list.path()
    }

    /// What it says, checked against the server's key; `None` if there is none.
    ///
    /// # Errors
    /// A file that cannot be read, is torn, or is not signed by `server`.
    pub fn read(&self, server: &DeviceKey) -> Result<Option<ReadHeads>, HeadFileError> {
        let Some(read) = self.list.read(server)? else { return Ok(None) };
        let is_whole = read.counter.is_some();
        let read = read.lines.into_iter().map(|line| {
            let tenant: TenantId =
                line.tenant.parse().map_err(|_| self.list.malformed("a tenant has no valid name"))?;
            let head = line.head().ok_or_else(|| self.list.malformed("a head is not in hexadecimal"))?;
            let forged = |_| HeadFileError::Forged(format!("the head of {tenant}'s log in {}", self.path().display()));
            head.verify(server).map_err(forged)?;
            Ok((tenant, head))
        });
        let proofs = read.collect::<Result<_, HeadFileError>>()?;
        Ok(Some(ReadHeads { proofs, is_whole }))
    }

    /// Keeps a file that says nothing under another name, so that the next one does not take its place.
    pub(super) fn set_aside(&self) {
        self.list.set_aside();
    }

    /// Replaces it, in a way that survives a power cut. Nothing happens if it says this already. Blocks.
    pub(super) fn write(&self, key: &ServerKey, heads: &[(TenantId, LogHead)]) -> io::Result<()> {
        self.list.write(key, heads.iter().map(|(tenant, head)| Line::of(tenant, head)).collect())
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
