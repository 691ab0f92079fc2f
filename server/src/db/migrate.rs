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
        db.write_blocking(move |tx: &Tx<'_>| run(tx, migration, now_ms))?;
        tracing::info!(version = migration.version, name = migration.name, "Applied a migration");
    }
    Ok(())
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
            let text = format!("migration {} differs from the one that was applied", known.name);
            return Err(DbError::Other(text));
        }
    }
    Ok(())
}

fn run(tx: &Tx<'_>, migration: &Migration, now_ms: i64) -> Result<(), DbError> {
    tx.batch(migration.sql)?;
    let sql = "INSERT INTO schema_migrations (version, name, sha256, applied_at) VALUES (?1, ?2, ?3, ?4)";
    tx.execute(sql, crate::params![migration.version, migration.name, &hash(migration), now_ms])?;
    Ok(())
}

fn hash(migration: &Migration) -> String {
    HEXLOWER.encode(&Sha256::digest(migration.sql.as_bytes()))
}
