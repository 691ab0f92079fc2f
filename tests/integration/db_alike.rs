//! SQLite and PostgreSQL give one answer to one question.

use std::sync::{Arc, Mutex, Weak};

use muster_server::db::{Cell, ConstraintKind, Db, DbError, FromCell, Tx, Value};
use muster_server::params;
use muster_tests::postgres::{self, Cluster, TEST_DATABASE_URL, TestDatabase, WITHOUT_FLUSHES};

use super::db_statements;

/// One database of each kind, with every table.
struct Both {
    sqlite: Db,
    postgres: Db,
    _file: tempfile::TempDir,
    _database: TestDatabase,
    _cluster: Option<Arc<Cluster>>,
}

/// The server that the environment names, or one of this process's own; `None` without PostgreSQL.
pub(crate) fn some_server() -> Option<(String, Option<Arc<Cluster>>)> {
    static RUNNING: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
    if let Some(url) = std::env::var(TEST_DATABASE_URL).ok().filter(|url| !url.is_empty()) {
        return Some((url, None));
    }
    if Cluster::programs().is_none() {
        #[expect(clippy::print_stderr, reason = "whoever runs the tests must see what was not run")]
        {
            eprintln!("NOT RUN on PostgreSQL: it is not installed");
        }
        return None;
    }
    let mut running = RUNNING.lock().unwrap();
    let cluster = running.upgrade().unwrap_or_else(|| Arc::new(Cluster::start(&WITHOUT_FLUSHES)));
    *running = Arc::downgrade(&cluster);
    Some((cluster.url("postgres"), Some(cluster)))
}

impl Both {
    fn open() -> Option<Self> {
        let (url, cluster) = some_server()?;
        let file = tempfile::tempdir().unwrap();
        let database = TestDatabase::on(&url);
        let sqlite = Db::open_sqlite(&file.path().join("alike.db"), 0).unwrap();
        let postgres = Db::open_postgres(&database.url(), postgres::allowances(), 0).unwrap();
        Some(Self { sqlite, postgres, _file: file, _database: database, _cluster: cluster })
    }

    /// Runs one step on both, in a transaction each, and demands one answer.
    fn alike(&self, sql: &str, values: &[Kept]) -> Result<Vec<Vec<String>>, DbError> {
        let (ours, theirs) = (answer(&self.sqlite, sql, values), answer(&self.postgres, sql, values));
        match (&ours, &theirs) {
            (Ok(ours), Ok(theirs)) => assert_eq!(ours, theirs, "{sql} with {values:?}"),
            (Err(ours), Err(theirs)) => assert_eq!(kind(ours), kind(theirs), "{sql}: {ours} and {theirs}"),
            _ => panic!("{sql} with {values:?}: {ours:?} and {theirs:?}"),
        }
        ours
    }

    fn rows(&self, sql: &str, values: &[Kept]) -> Vec<Vec<String>> {
        self.alike(sql, values).unwrap()
    }

    fn define(&self, sql: &'static str) {
        for db in [&self.sqlite, &self.postgres] {
            db.write_blocking(move |tx: &Tx<'_>| tx.batch(sql)).unwrap();
        }
    }
}

impl Drop for Both {
    fn drop(&mut self) {
        self.sqlite.close();
        self.postgres.close();
    }
}

/// A value that outlives the closure that sends it.
#[derive(Debug, Clone)]
enum Kept {
    Null,
    Int(i64),
    Text(&'static str),
    Blob(&'static [u8]),
}

impl Kept {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Int(value) => Value::Int(*value),
            Self::Text(text) => Value::Text(text),
            Self::Blob(bytes) => Value::Blob(bytes),
        }
    }
}

/// Whatever a column holds, in words.
struct Shown(String);

impl FromCell for Shown {
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        Some(Self(format!("{cell:?}")))
    }
}

fn answer(db: &Db, sql: &str, values: &[Kept]) -> Result<Vec<Vec<String>>, DbError> {
    let (sql, values) = (sql.to_owned(), values.to_vec());
    db.write_blocking(move |tx: &Tx<'_>| {
        let values: Vec<Value<'_>> = values.iter().map(Kept::value).collect();
        let (_, columns) = tx.describe(&sql)?;
        if columns == 0 {
            return Ok(vec![vec![tx.execute(&sql, &values)?.to_string()]]);
        }
        tx.query(&sql, &values, |row| {
            (0..columns).map(|column| row.get::<Shown>(column).map(|shown| shown.0)).collect()
        })
    })
}

fn kind(error: &DbError) -> Option<ConstraintKind> {
    match error {
        DbError::Constraint { kind, .. } => Some(*kind),
        _ => None,
    }
}

#[test]
fn both_databases_understand_every_statement_of_the_server() {
    let Some(both) = Both::open() else { return };
    let mut broken = Vec::new();
    for sql in db_statements::all() {
        let describe = |db: &Db| {
            let sql = sql.clone();
            db.read_blocking(move |tx: &Tx<'_>| tx.describe(&sql))
        };
        let (sqlite, postgres) = (describe(&both.sqlite), describe(&both.postgres));
        if sqlite.is_err() || sqlite != postgres {
            broken.push(format!("{sql}\n  SQLite: {sqlite:?}\n  PostgreSQL: {postgres:?}"));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

const WORDS: [&str; 14] = ["", " ", "A", "B", "Z", "_", "a", "ab", "b", "z", "Ä", "ä", "ß", "\u{1F600}"];

#[test]
fn texts_are_ordered_by_their_bytes_and_compared_by_case() {
    let Some(both) = Both::open() else { return };
    both.define("CREATE TABLE words (word TEXT PRIMARY KEY, other TEXT);");
    for (index, word) in WORDS.iter().rev().enumerate() {
        let other = if index % 3 == 0 { Kept::Null } else { Kept::Text(WORDS[index]) };
        both.rows("INSERT INTO words (word, other) VALUES (?1, ?2)", &[Kept::Text(word), other]);
    }
    let ordered = both.rows("SELECT word FROM words ORDER BY word", &[]);
    let mut sorted = WORDS;
    sorted.sort_unstable();
    assert_eq!(ordered.concat(), sorted.map(|word| format!("{:?}", Value::Text(word))));
    both.rows("SELECT word FROM words WHERE word > ?1 ORDER BY word DESC LIMIT ?2", &[Kept::Text("a"), Kept::Int(3)]);
    both.rows("SELECT word FROM words WHERE word LIKE ?1 ORDER BY word", &[Kept::Text("A%")]);
    both.rows("SELECT word, other FROM words ORDER BY other NULLS FIRST, word", &[]);
    both.rows("SELECT min(word), max(other), count(other), count(*) FROM words", &[]);
    both.rows("SELECT other, count(*) FROM words GROUP BY other ORDER BY other NULLS LAST", &[]);
    both.rows("SELECT COALESCE(other, ?1) FROM words ORDER BY 1, word", &[Kept::Text("m")]);
    both.rows("SELECT word || ?1 FROM words ORDER BY word", &[Kept::Text("%")]);
    assert!(both.alike("INSERT INTO words (word) VALUES (?1)", &[Kept::Text("a\0b")]).is_err());
}

#[test]
fn numbers_and_bytes_come_back_as_they_went_in() {
    let Some(both) = Both::open() else { return };
    both.define("CREATE TABLE things (id BIGINT PRIMARY KEY, body BLOB, amount BIGINT) WITHOUT ROWID;");
    let bodies: [Kept; 5] =
        [Kept::Blob(b""), Kept::Blob(b"\0"), Kept::Blob(b"\xff\0\xfe"), Kept::Blob(b"abc"), Kept::Null];
    for (id, body) in [i64::MIN, -1, 0, 1, i64::MAX].into_iter().zip(bodies) {
        let insert = "INSERT INTO things (id, body, amount) VALUES (?1, ?2, ?3)";
        both.rows(insert, &[Kept::Int(id), body, Kept::Int(id / 4)]);
    }
    both.rows("SELECT id, body, amount FROM things ORDER BY id", &[]);
    both.rows("SELECT id FROM things WHERE body > ?1 ORDER BY body DESC", &[Kept::Blob(b"\0")]);
    both.rows("SELECT length(body), amount / 3, -amount / 3 FROM things ORDER BY id", &[]);
    both.rows("SELECT CAST(sum(amount) AS BIGINT), max(id), min(amount) FROM things WHERE id <> ?1", &[Kept::Int(0)]);
    both.rows("SELECT CASE WHEN body IS NULL THEN 1 ELSE 0 END, id = 0 FROM things ORDER BY id", &[]);
    both.rows(
        "SELECT id FROM things WHERE id IN (?1, ?2) OR body = ?3 ORDER BY id",
        &[Kept::Int(1), Kept::Null, Kept::Blob(b"")],
    );
    both.rows("DELETE FROM things WHERE amount IS NULL OR amount < ?1", &[Kept::Int(0)]);
}

#[test]
fn rows_that_are_there_already_are_met_alike() {
    let Some(both) = Both::open() else { return };
    both.define("CREATE TABLE heads (name TEXT PRIMARY KEY, count BIGINT NOT NULL CHECK (count < 100), note TEXT);");
    let upsert = "INSERT INTO heads (name, count, note) VALUES (?1, ?2, ?3)
        ON CONFLICT (name) DO UPDATE SET count = heads.count + ?2, note = COALESCE(excluded.note, heads.note)
        WHERE heads.count < 50
        RETURNING name, count, note";
    let step = |count, note| both.alike(upsert, &[Kept::Text("a"), Kept::Int(count), note]);
    assert_eq!(step(40, Kept::Text("first")).unwrap().len(), 1);
    assert_eq!(step(20, Kept::Null).unwrap().len(), 1);
    assert_eq!(step(1, Kept::Null).unwrap().len(), 0, "the condition keeps the row as it is");
    let ignore = "INSERT INTO heads (name, count) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    both.rows(ignore, &[Kept::Text("a"), Kept::Int(1)]);
    both.rows(ignore, &[Kept::Text("b"), Kept::Int(1)]);
    let refused = |sql, values: &[Kept]| kind(&both.alike(sql, values).unwrap_err());
    let insert = "INSERT INTO heads (name, count) VALUES (?1, ?2)";
    assert_eq!(refused(insert, &[Kept::Text("a"), Kept::Int(1)]), Some(ConstraintKind::Unique));
    assert_eq!(refused(insert, &[Kept::Text("c"), Kept::Null]), Some(ConstraintKind::NotNull));
    assert_eq!(refused(insert, &[Kept::Text("c"), Kept::Int(100)]), Some(ConstraintKind::Check));
    both.rows("UPDATE heads SET count = count + 1 WHERE count > ?1", &[Kept::Int(0)]);
    both.rows("SELECT name, count, note FROM heads ORDER BY name", &[]);
    let log = "INSERT INTO change_log
            (tenant_id, log_index, document_id, writer, seq, max_op, hash, change, signature, received_at)
        VALUES ('t', 1, ?1, ?1, 1, 1, ?1, ?1, ?1, 0)";
    both.rows(log, &[Kept::Blob(b"x")]);
    assert_eq!(refused("UPDATE change_log SET seq = 2", &[]), Some(ConstraintKind::Check));
    assert_eq!(refused("DELETE FROM change_log", &[]), Some(ConstraintKind::Check));
    let orphan = "INSERT INTO enrolments (tenant_id, course_id, user_id, enrolled_at) VALUES ('t', 'c', 'u', 0)";
    assert_eq!(refused(orphan, &[]), Some(ConstraintKind::ForeignKey));
    assert_eq!(both.rows("SELECT count(*) FROM change_log", params_none()), [["Int(1)"]]);
}

fn params_none() -> &'static [Kept] {
    let none: &[Value<'_>] = params![];
    assert!(none.is_empty());
    &[]
}
