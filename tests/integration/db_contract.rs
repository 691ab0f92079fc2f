//! What every slice may rely on from the database.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use muster_server::db::{ConstraintKind, Db, DbError, Tx};
use muster_server::params;

fn open(dir: &Path) -> Db {
    let path = dir.join("contract.db");
    // Opening blocks, which async code must not.
    std::thread::spawn(move || Db::open_sqlite(&path, 0)).join().unwrap().unwrap()
}

async fn with_table(dir: &Path) -> Db {
    let db = open(dir);
    let create = "CREATE TABLE contract_rows (id BIGINT PRIMARY KEY, body BLOB NOT NULL)";
    db.write(move |tx: &Tx<'_>| tx.execute(create, params![])).await.unwrap();
    db
}

fn insert(tx: &Tx<'_>, id: i64, body: &[u8]) -> Result<(), DbError> {
    tx.execute("INSERT INTO contract_rows (id, body) VALUES (?1, ?2)", params![id, body]).map(|_| ())
}

async fn count(db: &Db) -> i64 {
    let counted =
        db.read(|tx: &Tx<'_>| tx.query_one("SELECT count(*) FROM contract_rows", params![], |row| row.get::<i64>(0)));
    counted.await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_fails_or_panics_takes_no_other_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let db = with_table(dir.path()).await;
    let writers: Vec<_> = (0..64_i64)
        .map(|id| {
            let db = db.clone();
            tokio::spawn(async move {
                db.write(move |tx: &Tx<'_>| {
                    insert(tx, id, b"kept")?;
                    match id {
                        20 => insert(tx, 20, b"the same key twice"),
                        40 => panic!("a defect in a closure"),
                        _ => Ok(()),
                    }
                })
                .await
            })
        })
        .collect();
    for (id, writer) in writers.into_iter().enumerate() {
        match (id, writer.await.unwrap()) {
            (20, Err(error)) => assert!(error.is_unique_violation(), "{error}"),
            (40, Err(DbError::Other(text))) => assert!(text.contains("a defect in a closure"), "{text}"),
            (_, result) => assert_eq!(result, Ok(()), "{id}"),
        }
    }
    assert_eq!(count(&db).await, 62);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_apart_and_passes() {
    let dir = tempfile::tempdir().unwrap();
    let db = with_table(dir.path()).await;
    db.write(|tx: &Tx<'_>| insert(tx, 1, b"before")).await.unwrap();
    let pages = |sql: &'static str| move |tx: &Tx<'_>| tx.query_one(sql, params![], |row| row.get::<i64>(0));
    let used = db.read(pages("PRAGMA page_count")).await.unwrap().unwrap();
    let limit = format!("PRAGMA max_page_count = {}", used + 2);
    db.write(move |tx: &Tx<'_>| tx.query_one(&limit, params![], |row| row.get::<i64>(0))).await.unwrap();

    let large: Vec<_> = (10..20_i64)
        .map(|id| {
            let db = db.clone();
            tokio::spawn(async move { db.write(move |tx: &Tx<'_>| insert(tx, id, &[7; 64 * 1024])).await })
        })
        .collect();
    let small = db.write(|tx: &Tx<'_>| insert(tx, 2, b"fits")).await;
    for writer in large {
        assert!(matches!(writer.await.unwrap(), Err(DbError::Full(_))));
    }
    assert_eq!(small, Ok(()));
    assert_eq!(count(&db).await, 2);

    db.write(pages("PRAGMA max_page_count = 1000000")).await.unwrap();
    db.write(|tx: &Tx<'_>| insert(tx, 3, &[7; 64 * 1024])).await.unwrap();
    assert_eq!(count(&db).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_never_sees_half_a_transaction() {
    let dir = tempfile::tempdir().unwrap();
    let db = with_table(dir.path()).await;
    let done = Arc::new(AtomicBool::new(false));
    let reader = {
        let (db, done) = (db.clone(), Arc::clone(&done));
        tokio::spawn(async move {
            let mut seen = 0;
            while !done.load(Ordering::SeqCst) {
                let now = count(&db).await;
                assert_eq!(now % 2, 0, "the two rows of a transaction appear together");
                assert!(now >= seen, "what was committed stays");
                seen = now;
            }
        })
    };
    let writers: Vec<_> = (0..100_i64)
        .map(|pair| {
            let db = db.clone();
            tokio::spawn(async move {
                db.write(move |tx: &Tx<'_>| {
                    insert(tx, 2 * pair, b"left")?;
                    insert(tx, 2 * pair + 1, b"right")
                })
                .await
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap().unwrap();
    }
    done.store(true, Ordering::SeqCst);
    reader.await.unwrap();
    assert_eq!(count(&db).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_cannot_write() {
    let dir = tempfile::tempdir().unwrap();
    let db = with_table(dir.path()).await;
    assert!(db.read(|tx: &Tx<'_>| insert(tx, 1, b"not here")).await.is_err());
    assert_eq!(count(&db).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_come_back_as_they_went_in() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    let hash = [9_u8; 32];
    let row = db
        .read(move |tx: &Tx<'_>| {
            let params = params![i64::MIN, "naïve\0text", &hash, Option::<&str>::None, true, Some(5_i64)];
            tx.query_one("SELECT ?1, ?2, ?3, ?4, ?5, ?6", params, |row| {
                let wrong_type: Result<i64, DbError> = row.get(1);
                assert!(wrong_type.is_err());
                assert!(row.get::<[u8; 16]>(2).is_err(), "another length");
                assert!(row.get::<i64>(6).is_err(), "no such column");
                Ok((
                    row.get::<i64>(0)?,
                    row.get::<String>(1)?,
                    row.get::<[u8; 32]>(2)?,
                    row.get::<Option<String>>(3)?,
                    row.get::<bool>(4)?,
                    row.get::<Option<u32>>(5)?,
                ))
            })
        })
        .await
        .unwrap();
    assert_eq!(row, Some((i64::MIN, "naïve\0text".to_owned(), hash, None, true, Some(5))));
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_rules_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let db = with_table(dir.path()).await;
    let kind = |result: Result<u64, DbError>| match result {
        Err(DbError::Constraint { kind, .. }) => kind,
        other => panic!("{other:?}"),
    };
    let missing = db.write(|tx: &Tx<'_>| tx.execute("INSERT INTO contract_rows (id) VALUES (1)", params![])).await;
    assert_eq!(kind(missing), ConstraintKind::NotNull);
    let orphan = "INSERT INTO enrolments (tenant_id, course_id, user_id, enrolled_at) VALUES ('t', 'c', 'u', 0)";
    let orphan = db.write(move |tx: &Tx<'_>| tx.execute(orphan, params![])).await;
    assert_eq!(kind(orphan), ConstraintKind::ForeignKey);
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_finishes_what_waits_and_takes_nothing_new() {
    let dir = tempfile::tempdir().unwrap();
    let db = with_table(dir.path()).await;
    let writers: Vec<_> = (0..50_i64)
        .map(|id| {
            let db = db.clone();
            tokio::spawn(async move { db.write(move |tx: &Tx<'_>| insert(tx, id, b"x")).await })
        })
        .collect();
    let closing = db.clone();
    tokio::task::spawn_blocking(move || closing.close()).await.unwrap();
    let mut kept = 0;
    for writer in writers {
        match writer.await.unwrap() {
            Ok(()) => kept += 1,
            Err(error) => assert_eq!(error, DbError::Closed),
        }
    }
    assert_eq!(db.write(|tx: &Tx<'_>| insert(tx, 99, b"x")).await, Err(DbError::Closed));
    assert_eq!(count(&open(dir.path())).await, kept);
}
