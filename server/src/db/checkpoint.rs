//! Copying SQLite's write-ahead log into the file: by the writer after its commit, or beside it when the log is long.
//!
//! A usual log takes the writer some milliseconds now and then. An import of a whole university leaves one whose copy takes
//! longer than its commit, and nobody should wait for that: SQLite lets one connection copy while another one writes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use rusqlite::Connection;
use rusqlite::hooks::Wal;

use super::DbError;
use crate::limits;

/// What the writer decides after each commit.
struct AfterCommit {
    long_log: SyncSender<()>,
    under_way: Arc<AtomicBool>,
    /// The rest that came meanwhile is short, and only a log that was copied to its end is begun anew: the writer's turn.
    was_handed_on: bool,
}

/// What is done about a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    /// It is short, or somebody copies it.
    Leave,
    /// Another connection copies it.
    HandOn,
    /// The writer copies it.
    Copy,
}

impl AfterCommit {
    fn choose(&mut self, pages: u32) -> Choice {
        if pages < limits::WAL_PAGES_MAX || self.under_way.load(Ordering::Acquire) {
            return Choice::Leave;
        }
        self.was_handed_on = pages >= limits::WAL_PAGES_LONG && !self.was_handed_on;
        if self.was_handed_on { Choice::HandOn } else { Choice::Copy }
    }

    fn act(&mut self, wal: &mut Wal, pages: u32) {
        match self.choose(pages) {
            Choice::Leave => {}
            Choice::HandOn => {
                self.under_way.store(true, Ordering::Release);
                // The thread ends after the writer.
                let _ = self.long_log.try_send(());
            }
            // The commit stands; what could not be copied is copied after a later one.
            Choice::Copy => _ = wal.checkpoint(),
        }
    }
}

/// Copies long logs of the file at the path until the writer ends.
pub(super) struct Copying {
    path: PathBuf,
    long_log: Receiver<()>,
    under_way: Arc<AtomicBool>,
}

/// Lets the writer decide after each of its commits.
pub(super) fn watch(writer: &mut Connection, path: PathBuf) -> Result<Copying, DbError> {
    let (sender, long_log) = sync_channel(1);
    let under_way = Arc::new(AtomicBool::new(false));
    let mut after = AfterCommit { long_log: sender, under_way: Arc::clone(&under_way), was_handed_on: false };
    writer.wal_hook(Some(move |wal: &mut Wal, pages| {
        after.act(wal, u32::try_from(pages).unwrap_or(0));
        Ok(())
    }))?;
    Ok(Copying { path, long_log, under_way })
}

impl Copying {
    /// Runs on a thread of its own.
    pub(super) fn run(&self) {
        while self.long_log.recv().is_ok() {
            if let Err(error) = self.copy() {
                tracing::error!(%error, "The write-ahead log could not be copied; the writer tries again");
            }
            self.under_way.store(false, Ordering::Release);
        }
    }

    fn copy(&self) -> Result<(), DbError> {
        let connection = super::sqlite::connect_beside(&self.path)?;
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_is_copied_beside_the_writer_and_its_rest_by_the_writer() {
        let (long_log, _receiver) = sync_channel(1);
        let under_way = Arc::new(AtomicBool::new(false));
        let mut after = AfterCommit { long_log, under_way: Arc::clone(&under_way), was_handed_on: false };
        let (short, usual, long) = (limits::WAL_PAGES_MAX - 1, limits::WAL_PAGES_MAX, limits::WAL_PAGES_LONG);
        assert_eq!(
            [short, usual, long].map(|pages| after.choose(pages)),
            [Choice::Leave, Choice::Copy, Choice::HandOn]
        );
        under_way.store(true, Ordering::Relaxed);
        assert_eq!(after.choose(long + 1), Choice::Leave);
        under_way.store(false, Ordering::Relaxed);
        assert_eq!([long + 2, long + 3].map(|pages| after.choose(pages)), [Choice::Copy, Choice::HandOn]);
    }

    #[test]
    fn nothing_is_lost_with_a_long_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long.db");
        let db = super::super::Db::open_bare(&path, crate::config::Capacity::default()).unwrap();
        db.write_blocking(|tx| tx.batch("CREATE TABLE long (id BIGINT PRIMARY KEY, body BLOB)")).unwrap();
        // One page and a little for each row.
        let rows = i64::from(limits::WAL_PAGES_LONG);
        let fill = move |tx: &super::super::Tx<'_>| -> Result<(), DbError> {
            let body = vec![7; 4_000];
            for id in 0..rows {
                tx.send("INSERT INTO long (id, body) VALUES (?1, ?2)", crate::params![id, &body])?;
            }
            Ok(())
        };
        db.write_blocking(fill).unwrap();
        for id in rows..rows + 20 {
            db.write_blocking(move |tx| tx.execute("INSERT INTO long (id) VALUES (?1)", crate::params![id])).unwrap();
        }
        db.close();
        let again = super::super::Db::open_bare(&path, crate::config::Capacity::default()).unwrap();
        let count = again.read_blocking::<_, DbError, _>(|tx| {
            tx.query_one("SELECT count(*) FROM long", &[], |row| row.get::<i64>(0))
        });
        assert_eq!(count.unwrap(), Some(rows + 20));
        again.close();
    }
}
