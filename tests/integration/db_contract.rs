//! What every slice may rely on from the database, whichever it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use muster_server::db::{ConstraintKind, Db, DbError, Tx};
use muster_server::params;
use muster_tests::Data;

async fn open(data: &Arc<Data>) -> Db {
    let data = Arc::clone(data);
    // Opening blocks, which async code must not.
    tokio::task::spawn_blocking(move || data.open()).await.unwrap()
}

fn fresh() -> Arc<Data> {
    Arc::new(Data::fresh())
}

async fn with_table(data: &Arc<Data>) -> Db {
    let db = open(data).await;
    let create = "CREATE TABLE contract_rows (id BIGINT PRIMARY KEY, body BLOB NOT NULL);";
    db.write(move |tx: &Tx<'_>| tx.batch(create)).await.unwrap();
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
    let data = fresh();
    let db = with_table(&data).await;
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
    let data = fresh();
    // Only SQLite can be told that its disk is full.
    if !data.is_sqlite() {
        return;
    }
    let db = with_table(&data).await;
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
    let data = fresh();
    let db = with_table(&data).await;
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
    let data = fresh();
    let db = with_table(&data).await;
    assert!(db.read(|tx: &Tx<'_>| insert(tx, 1, b"not here")).await.is_err());
    assert_eq!(count(&db).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_come_back_as_they_went_in() {
    let data = fresh();
    let db = open(&data).await;
    let create = "CREATE TABLE contract_values (a BIGINT, b TEXT, c BLOB, d TEXT, e BIGINT, f BIGINT);";
    db.write(move |tx: &Tx<'_>| tx.batch(create)).await.unwrap();
    let hash = [9_u8; 32];
    let row = db
        .write(move |tx: &Tx<'_>| {
            let params = params![i64::MIN, "naïve\u{1}text", &hash, Option::<&str>::None, true, Some(5_i64)];
            tx.send("INSERT INTO contract_values (a, b, c, d, e, f) VALUES (?1, ?2, ?3, ?4, ?5, ?6)", params)?;
            tx.query_one("SELECT a, b, c, d, e, f FROM contract_values", params![], |row| {
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
    assert_eq!(row, Some((i64::MIN, "naïve\u{1}text".to_owned(), hash, None, true, Some(5))));
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_rules_are_told_apart() {
    let data = fresh();
    let db = with_table(&data).await;
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
    let data = fresh();
    let db = with_table(&data).await;
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
    assert_eq!(count(&open(&data).await).await, kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_with_the_character_nul_is_refused() {
    let data = fresh();
    let db = open(&data).await;
    let asked = |text: &'static str| {
        db.read(move |tx: &Tx<'_>| {
            tx.query_one("SELECT id FROM users WHERE id = ?1", params![text], |row| row.get::<String>(0))
        })
    };
    assert_eq!(asked("a").await, Ok(None));
    let refused = asked("a\0").await;
    assert!(matches!(refused, Err(DbError::Constraint { kind: ConstraintKind::Text, .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_writers_of_one_database_lose_no_step() {
    let data = fresh();
    let db = with_table(&data).await;
    let other = open(&data).await;
    let zero = db.write(|tx: &Tx<'_>| insert(tx, 1, b"0"));
    zero.await.unwrap();
    let step = |db: Db| {
        tokio::spawn(async move {
            for _ in 0..50 {
                let written = db.write(|tx: &Tx<'_>| {
                    let read = |row: &muster_server::db::Row<'_>| row.get::<Vec<u8>>(0);
                    let body = tx.query_one("SELECT body FROM contract_rows WHERE id = 1", params![], read)?.unwrap();
                    let next: u32 = std::str::from_utf8(&body).unwrap().parse::<u32>().unwrap() + 1;
                    let next = next.to_string();
                    tx.execute("UPDATE contract_rows SET body = ?1 WHERE id = 1", params![next.as_bytes()])
                });
                assert_eq!(written.await, Ok(1));
            }
        })
    };
    let steps: Vec<_> = [&db, &other, &db, &other].into_iter().map(|db| step(db.clone())).collect();
    for step in steps {
        step.await.unwrap();
    }
    let read = "SELECT body FROM contract_rows WHERE id = 1";
    let body = db.read(move |tx: &Tx<'_>| tx.query_one(read, params![], |row| row.get::<Vec<u8>>(0))).await.unwrap();
    assert_eq!(body.unwrap(), b"200");
}
