//! Brings the tables up to date: each migration once, in a transaction, remembered with its hash.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::{Db, DbError, Tx};

/// A file of `migrations/server`, built into the program.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// The number that its file name begins with.
    pub version: i64,
    /// The rest of the file name.
    pub name: &'static str,
    /// Its statements.
    pub sql: &'static str,
}

macro_rules! migrations {
    ($($version:literal $name:literal),+ $(,)?) => {
        &[$(Migration {
            version: $version,
            name: $name,
            sql: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations/server/", $name, ".sql")),
        }),+]
    };
}

/// Every migration of the server, oldest first. A new file gets a new line here; an old one is never edited.
pub const SERVER_MIGRATIONS: &[Migration] = migrations![
    1 "0001_users",
    2 "0002_courses",
    3 "0003_jobs",
    4 "0004_log",
    5 "0005_evidence",
    6 "0006_attendance",
    7 "0007_devices",
    8 "0008_faces",
    9 "0009_sync",
    10 "0010_recovery",
    11 "0011_audit",
    12 "0012_forks",
    13 "0013_people",
    14 "0014_auth_sessions",
    15 "0015_rates",
    16 "0016_mail",
    17 "0017_mfa",
    18 "0018_oidc",
    19 "0019_roster",
    20 "0020_audit_search",
    21 "0021_large_tables",
    22 "0022_counters",
    23 "0023_text_forms",
    24 "0024_records_newest",
    25 "0025_image_uses",
    26 "0026_budgets",
    27 "0027_past_enrolments",
    28 "0028_vouchers",
    29 "0029_signed_out_devices",
    30 "0030_epochs",
    31 "0031_keys",
    32 "0032_session_plans",
    33 "0033_reference_photos",
];

const TABLE: &str = "
CREATE TABLE IF NOT EXISTS schema_migrations (
    version BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    applied_at BIGINT NOT NULL
);";

/// Applies what is missing.
pub(super) fn apply(db: &Db, migrations: &'static [Migration], now_ms: i64) -> Result<(), DbError> {
    db.write_blocking(|tx: &Tx<'_>| tx.batch(TABLE))?;
    let applied = db.read_blocking(applied)?;
    check(&applied, migrations)?;
    for migration in migrations.iter().skip(applied.len()) {
        if db.write_blocking(move |tx: &Tx<'_>| run(tx, migration, now_ms))? {
            tracing::info!(version = migration.version, name = migration.name, "Applied a migration");
        }
    }
    Ok(())
}

/// Refuses a database that lacks a migration or has one more.
pub(super) fn check_current(db: &Db, migrations: &[Migration]) -> Result<(), DbError> {
    let applied = db.read_blocking(applied)?;
    check(&applied, migrations)?;
    match migrations.get(applied.len()) {
        Some(missing) => {
            Err(DbError::Other(format!("the database lacks migration {}: start the server once", missing.name)))
        }
        None => Ok(()),
    }
}

/// How many of the known migrations were applied.
pub(super) fn applied_count(db: &Db) -> Result<usize, DbError> {
    Ok(db.read_blocking(applied)?.len())
}

struct Applied {
    version: i64,
    sha256: String,
}

fn applied(tx: &Tx<'_>) -> Result<Vec<Applied>, DbError> {
    tx.query("SELECT version, sha256 FROM schema_migrations ORDER BY version", &[], |row| {
        Ok(Applied { version: row.get(0)?, sha256: row.get(1)? })
    })
}

fn check(applied: &[Applied], migrations: &[Migration]) -> Result<(), DbError> {
    if let Some(newer) = applied.get(migrations.len()) {
        let text = format!("the database has migration {}, which this program does not know", newer.version);
        return Err(DbError::Other(text));
    }
    for (applied, known) in applied.iter().zip(migrations) {
        if applied.version != known.version || applied.sha256 != hash(known) {
            return Err(differs(known));
        }
    }
    Ok(())
}

/// False when another server that started at the same time was faster.
fn run(tx: &Tx<'_>, migration: &Migration, now_ms: i64) -> Result<bool, DbError> {
    let done = "SELECT sha256 FROM schema_migrations WHERE version = ?1";
    if let Some(sha256) = tx.query_one(done, crate::params![migration.version], |row| row.get::<String>(0))? {
        let same = sha256 == hash(migration);
        return if same { Ok(false) } else { Err(differs(migration)) };
    }
    tx.batch(migration.sql)?;
    let sql = "INSERT INTO schema_migrations (version, name, sha256, applied_at) VALUES (?1, ?2, ?3, ?4)";
    tx.execute(sql, crate::params![migration.version, migration.name, &hash(migration), now_ms])?;
    Ok(true)
}

fn differs(migration: &Migration) -> DbError {
    DbError::Other(format!("migration {} differs from the one that was applied", migration.name))
}

fn hash(migration: &Migration) -> String {
    HEXLOWER.encode(&Sha256::digest(migration.sql.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const FIRST: Migration = Migration { version: 1, name: "0001_a", sql: "CREATE TABLE a (id BIGINT);" };
    const EDITED: Migration = Migration { sql: "CREATE TABLE a (id TEXT);", ..FIRST };
    const SECOND: Migration = Migration { version: 2, name: "0002_b", sql: "CREATE TABLE b (id BIGINT);" };
    const BROKEN: Migration =
        Migration { version: 2, name: "0002_b", sql: "CREATE TABLE b (id BIGINT); CREATE TABLE a (id BIGINT);" };

    fn apply_to(path: &Path, migrations: &'static [Migration]) -> Result<(), DbError> {
        let db = Db::open_bare(path, crate::config::Capacity::default())?;
        let applied = apply(&db, migrations, 0);
        db.close();
        applied
    }

    #[test]
    fn each_migration_is_applied_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.db");
        apply_to(&path, &[FIRST]).unwrap();
        apply_to(&path, &[FIRST, SECOND]).unwrap();
        apply_to(&path, &[FIRST, SECOND]).unwrap();
    }

    #[test]
    fn an_edited_migration_stops_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.db");
        apply_to(&path, &[FIRST]).unwrap();
        assert!(apply_to(&path, &[EDITED]).unwrap_err().to_string().contains("0001_a differs"));
    }

    #[test]
    fn a_database_newer_than_the_program_stops_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.db");
        apply_to(&path, &[FIRST, SECOND]).unwrap();
        assert!(apply_to(&path, &[FIRST]).unwrap_err().to_string().contains("does not know"));
    }

    #[test]
    fn a_migration_that_fails_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.db");
        assert!(apply_to(&path, &[FIRST, BROKEN]).is_err());
        apply_to(&path, &[FIRST, SECOND]).unwrap();
    }

    #[test]
    fn every_file_is_listed_once_in_order() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations/server");
        let mut files: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        let listed: Vec<String> = SERVER_MIGRATIONS.iter().map(|migration| format!("{}.sql", migration.name)).collect();
        assert_eq!(files, listed);
        for (index, migration) in SERVER_MIGRATIONS.iter().enumerate() {
            assert_eq!(migration.version, index as i64 + 1);
            assert!(migration.name.starts_with(&format!("{:04}_", migration.version)), "{}", migration.name);
        }
    }
}
