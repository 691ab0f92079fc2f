//! Whether anything can be stored: what the writer met last, and a write of our own when that says nothing or nothing good.
//! So a full disk is noticed though nobody writes, and its end though nobody tries.

use std::time::Duration;

use data_encoding::HEXLOWER;
use tokio::sync::Mutex;

use crate::app::App;
use crate::db::DbError;
use crate::jobs;
use crate::limits;

/// How long a good answer holds, in milliseconds, unless the writer meets trouble meanwhile: anybody may ask, and asking
/// writes.
const GOOD_HOLDS_MS: i64 = 30_000;
/// How long a bad one does, so that its end is noticed soon.
const BAD_HOLDS_MS: i64 = 5_000;
/// How long the writer may take; a queue that is longer than that is told as such by those who wait in it.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How the storage stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Storage {
    /// The last write, of others or of ours, was kept.
    Writable,
    /// There is no room, the disk fails, or nothing may be written.
    Full,
    /// A write failed for another reason.
    Failing,
    /// The writer does not answer.
    Stuck,
}

impl Storage {
    /// The word for replies.
    pub(super) fn word(self, good: &'static str) -> &'static str {
        match self {
            Self::Writable => good,
            Self::Full => "full",
            Self::Failing => "failing",
            Self::Stuck => "stuck",
        }
    }
}

/// The last answer, and when it came. Lives in the `App`.
#[derive(Debug, Default)]
pub struct StorageHealth(Mutex<Option<(i64, Storage)>>);

/// How the storage stands now.
pub(super) async fn look(app: &App) -> Storage {
    let Some(kept) = app.slice::<StorageHealth>() else { return probe(app).await };
    // Whoever asks while somebody tries waits for that answer, and does not try, too.
    let mut last = kept.0.lock().await;
    let now_ms = app.now_ms();
    if let Some((at_ms, storage)) = *last {
        let (holds_ms, contradicted) = match storage {
            Storage::Writable => (GOOD_HOLDS_MS, app.db.storage_fails()),
            _ => (BAD_HOLDS_MS, false),
        };
        if (at_ms..at_ms + holds_ms).contains(&now_ms) && !contradicted {
            return storage;
        }
    }
    let storage = probe(app).await;
    *last = Some((app.now_ms(), storage));
    storage
}

async fn probe(app: &App) -> Storage {
    let mut filler = vec![0; limits::STORAGE_PROBE_BYTES / 2];
    app.entropy.fill(&mut filler);
    let filler = HEXLOWER.encode(&filler);
    let tried = app.db.write(move |tx| jobs::try_to_store(tx, &filler));
    match tokio::time::timeout(TIMEOUT, tried).await {
        Ok(Ok::<(), DbError>(())) => Storage::Writable,
        // So many wait that nobody was asked: that is no failure of the storage, and they are told.
        Ok(Err(DbError::Busy(_))) if !app.db.storage_fails() => Storage::Writable,
        Ok(Err(error)) => {
            tracing::warn!(%error, "Nothing can be stored");
            if matches!(error, DbError::Full(_)) || app.db.storage_fails() { Storage::Full } else { Storage::Failing }
        }
        Err(_) => {
            tracing::warn!("The writer of the database does not answer");
            Storage::Stuck
        }
    }
}
