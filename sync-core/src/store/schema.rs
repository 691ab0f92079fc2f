//! Opens the file durably and brings its tables up to date. What is in the tables is not known here.

use super::StoreError;
use rusqlite::{Connection, TransactionBehavior};
use std::time::Duration;

/// How long a second process of the app waits for the first one's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Every migration of the device store, oldest first; its number is its place. An old one is never edited.
const MIGRATIONS: &[&str] =
    &[include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations/device/0001_store.sql"))];

pub(super) fn prepare(db: &mut Connection) -> Result<(), StoreError> {
    db.busy_timeout(BUSY_TIMEOUT)?;
    // An in-memory database answers `memory`; both are fine.
    db.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    db.execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;")?;
    let known = MIGRATIONS.len() as i64;
    // A store that is up to date is only read: it opens on a full phone, and while another process writes.
    if applied(db)? == known {
        return Ok(());
    }
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let applied = applied(&tx)?;
    if applied > known {
        return Err(StoreError::Newer(applied));
    }
    for sql in MIGRATIONS.iter().skip(usize::try_from(applied).unwrap_or(0)) {
        tx.execute_batch(sql)?;
    }
    tx.execute_batch(&format!("PRAGMA user_version = {known}"))?;
    tx.commit()?;
    Ok(())
}

fn applied(db: &Connection) -> Result<i64, StoreError> {
    Ok(db.query_row("PRAGMA user_version", [], |row| row.get(0))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_migration_file_is_listed_in_order() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations/device");
        let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let texts: Vec<_> = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
        assert_eq!(texts, MIGRATIONS);
    }
}
