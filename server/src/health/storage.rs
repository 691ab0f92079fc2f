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

/// The last answer, when it came, and how often the storage had failed by then.
#[derive(Debug, Clone, Copy)]
struct Last {
    at_ms: i64,
    storage: Storage,
    failures: u64,
}

/// The last answer. Lives in the `App`.
#[derive(Debug, Default)]
pub struct StorageHealth(Mutex<Option<Last>>);

/// How the storage stands now. After trouble only a write as large as any says that it is over: as long as some find room
/// and others do not, it would be over and there again from one question to the next.
pub(super) async fn look(app: &App) -> Storage {
    let Some(kept) = app.slice::<StorageHealth>() else { return probe(app, false, None).await };
    // Whoever asks while somebody tries waits for that answer, and does not try, too.
    let mut last = kept.0.lock().await;
    let now_ms = app.now_ms();
    let failed_since = |last: &Last| app.db.storage_failures() > last.failures;
    if let Some(known) = last.as_ref() {
        let (holds_ms, contradicted) = match known.storage {
            Storage::Writable => (GOOD_HOLDS_MS, failed_since(known)),
            _ => (BAD_HOLDS_MS, false),
        };
        if (known.at_ms..known.at_ms + holds_ms).contains(&now_ms) && !contradicted {
            return known.storage;
        }
    }
    let trouble = last.as_ref().is_some_and(|known| known.storage != Storage::Writable || failed_since(known));
    let storage = probe(app, trouble, last.map(|known| known.storage)).await;
    *last = Some(Last { at_ms: app.now_ms(), storage, failures: app.db.storage_failures() });
    storage
}

async fn probe(app: &App, trouble: bool, last: Option<Storage>) -> Storage {
    let size_bytes = if trouble { limits::STORAGE_PROBE_AFTER_TROUBLE_BYTES } else { limits::STORAGE_PROBE_BYTES };
    let mut filler = vec![0; size_bytes / 2];
    app.entropy.fill(&mut filler);
    let filler = HEXLOWER.encode(&filler);
    let failures = app.db.storage_failures();
    let tried = app.db.write(move |tx| jobs::try_to_store(tx, &filler));
    match tokio::time::timeout(TIMEOUT, tried).await {
        Ok(Ok::<(), DbError>(())) => Storage::Writable,
        // So many wait that nobody was asked: that is no failure of the storage, they are told, and nothing is known anew.
        Ok(Err(DbError::Busy(_))) if app.db.storage_failures() == failures => last.unwrap_or(Storage::Writable),
        Ok(Err(error)) => {
            tracing::warn!(%error, "Nothing can be stored");
            match error {
                DbError::Full(_) => Storage::Full,
                _ if app.db.storage_failures() > failures => Storage::Full,
                _ => Storage::Failing,
            }
        }
        Err(_) => {
            tracing::warn!("The writer of the database does not answer");
            Storage::Stuck
        }
    }
}
