//! What somebody with the database file in their hands cannot do unseen: `muster verify` names the bad rows.

use std::path::Path;

use muster_server::db::Db;
use muster_server::log::{HeadFile, ServerKey};
use muster_server::recovery::{self, Report};
use muster_tests::lecture::Lecture;
use muster_tests::{Data, TestServer};
use rusqlite::{Connection, params};

/// A stopped server's data: a plan, three bound phones, three captures and their verdicts.
async fn stopped_lecture() -> Data {
    let lecture = Lecture::on(TestServer::builder().data(Data::sqlite())).await;
    for seed in 1..=3 {
        let mut phone = lecture.student(seed).await;
        let id = lecture.capture(&mut phone, &lecture.manifest(None)).await;
        lecture.verdict(&id, 1).await;
    }
    lecture.server.stop().await
}

/// What `muster verify` finds.
pub(crate) async fn verify(data: &Path) -> Report {
    let data = data.to_owned();
    let verified = tokio::task::spawn_blocking(move || {
        let key = ServerKey::load(&data.join("keys")).unwrap();
        let db = Db::open_sqlite_read_only(&data.join("muster.db")).unwrap();
        let report = recovery::verify(&db, &key, &HeadFile::in_folder(&data.join("keys")), &|_, _| {}).unwrap();
        db.close();
        report
    });
    verified.await.unwrap()
}

/// The file, as somebody opens it who has dropped the triggers that refuse.
fn open(data: &Path) -> Connection {
    let file = Connection::open(data.join("muster.db")).unwrap();
    file.execute_batch("DROP TRIGGER change_log_is_never_updated; DROP TRIGGER change_log_is_never_deleted;").unwrap();
    file
}

fn count(file: &Connection) -> i64 {
    file.query_row("SELECT count(*) FROM change_log", [], |row| row.get(0)).unwrap()
}

/// Tampers with a copy of the data and gives the findings: (row, what).
async fn found_after(data: &Path, tamper: impl FnOnce(&Connection)) -> Vec<(Option<i64>, String)> {
    let copy = tempfile::tempdir().unwrap();
    std::fs::create_dir(copy.path().join("keys")).unwrap();
    let names =
        ["muster.db", "muster.db-wal", "keys/server-ed25519.key", "keys/session-code.key", "keys/log-heads.json"];
    for name in names.into_iter().filter(|name| data.join(name).exists()) {
        std::fs::copy(data.join(name), copy.path().join(name)).unwrap();
    }
    let file = open(copy.path());
    tamper(&file);
    file.close().unwrap();
    verify(copy.path()).await.findings.into_iter().map(|found| (found.log_index, found.what)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_touched_is_whole_and_covered_by_its_signed_head() {
    let data = stopped_lecture().await;
    let report = verify(data.path()).await;
    assert_eq!(report.findings, []);
    assert_eq!(report.notes, [""; 0]);
    let rows = count(&open(data.path())) as u64;
    assert!(rows >= 10, "{rows}");
    assert_eq!((report.rows, report.tenants[0].covered_index), (rows, Some(rows)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_row_is_named_whatever_was_edited_in_it() {
    let data = stopped_lecture().await;
    let edits = [
        ("received_at = received_at - 1000", "hash chain"),
        ("seq = seq + 5", "hash chain"),
        ("max_op = max_op + 1", "hash chain"),
        ("signature = zeroblob(64)", "hash chain"),
        ("hash = zeroblob(32)", "hash chain"),
        ("hash = zeroblob(31)", "31 bytes"),
        ("writer = zeroblob(32)", "hash chain"),
        ("change = zeroblob(200)", "not valid"),
        ("change = substr(change, 1, length(change) - 1)", "not valid"),
        ("chain = zeroblob(32)", "hash chain"),
        ("chain = NULL", "no value of the hash chain"),
        ("received_at = 'yesterday'", "column 8"),
        ("document_id = zeroblob(16)", "no name"),
    ];
    for (set, expected) in edits {
        let found = found_after(data.path(), |file| {
            assert_eq!(file.execute(&format!("UPDATE change_log SET {set} WHERE log_index = 5"), []).unwrap(), 1);
        });
        let found = found.await;
        assert_eq!(found.len(), 1, "{set}: {found:?}");
        assert_eq!(found[0].0, Some(5), "{set}: {found:?}");
        assert!(found[0].1.contains(expected), "{set}: {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_row_hides_no_other_one_behind_it() {
    let data = stopped_lecture().await;
    let rows = count(&Connection::open(data.path().join("muster.db")).unwrap());
    let found = found_after(data.path(), |file| {
        file.execute_batch(
            "UPDATE change_log SET signature = zeroblob(64) WHERE log_index = 3;
             UPDATE change_log SET chain = zeroblob(32) WHERE log_index = 5;
             UPDATE change_log SET received_at = received_at + 86400000 WHERE log_index >= 8;",
        )
        .unwrap();
    });
    let found: Vec<_> = found.await.into_iter().map(|(row, _)| row).collect();
    let expected: Vec<_> = [3, 5].into_iter().chain(8..=rows).map(Some).collect();
    assert_eq!(found, expected);

    let gap = found_after(data.path(), |file| {
        file.execute_batch(
            "DELETE FROM change_log WHERE log_index = 4;
             UPDATE change_log SET received_at = received_at + 1 WHERE log_index = 9;",
        )
        .unwrap();
    });
    let found: Vec<_> = gap.await.into_iter().map(|(row, _)| row).collect();
    assert_eq!(found, [Some(4), Some(9)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_moving_and_inserting_rows_is_found() {
    let data = stopped_lecture().await;
    let gap = found_after(data.path(), |file| {
        file.execute("DELETE FROM change_log WHERE log_index = 4", []).unwrap();
    });
    assert_eq!(gap.await, [(Some(4), "the row is missing".to_owned())]);

    let closed_gap = found_after(data.path(), |file| {
        file.execute_batch(
            "DELETE FROM change_log WHERE log_index = 4;
             UPDATE change_log SET log_index = -log_index WHERE log_index > 4;
             UPDATE change_log SET log_index = -log_index - 1 WHERE log_index < 0;
             UPDATE log_heads SET last_index = last_index - 1;",
        )
        .unwrap();
    });
    let found = closed_gap.await;
    assert!(found.iter().any(|(row, what)| *row == Some(4) && what.contains("hash chain")), "{found:?}");

    let swapped = found_after(data.path(), |file| {
        file.execute_batch(
            "UPDATE change_log SET log_index = -1 WHERE log_index = 6;
             UPDATE change_log SET log_index = 6 WHERE log_index = 7;
             UPDATE change_log SET log_index = 7 WHERE log_index = -1;",
        )
        .unwrap();
    });
    let found = swapped.await;
    let rows: Vec<_> = found.iter().map(|(row, _)| *row).collect();
    assert_eq!(rows, [Some(6), Some(7)], "{found:?}");
    assert!(found.iter().all(|(_, what)| what.contains("hash chain")), "{found:?}");

    let inserted = found_after(data.path(), |file| {
        file.execute(
            "INSERT INTO change_log
             SELECT tenant_id, 1 + (SELECT max(log_index) FROM change_log), document_id, writer, seq + 100, max_op, hash,
                 change, signature, received_at, chain
             FROM change_log WHERE log_index = 5",
            [],
        )
        .unwrap();
    });
    let found = inserted.await;
    assert!(found.len() == 1 && found[0].1.contains("beyond the head"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_tail_is_found_even_if_the_head_in_the_database_was_moved_too() {
    let data = stopped_lecture().await;
    let rows = count(&Connection::open(data.path().join("muster.db")).unwrap());
    let found = found_after(data.path(), |file| {
        file.execute("DELETE FROM change_log WHERE log_index > ?1 - 2", [rows]).unwrap();
        file.execute("UPDATE log_heads SET last_index = last_index - 2", []).unwrap();
    });
    let expected = format!("the log lost its tail: it ends at {}, its signed head says {rows}", rows - 2);
    assert_eq!(found.await, [(Some(rows - 2), expected)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_chained_anew_after_an_edit_is_not_the_one_of_its_signed_head() {
    use muster_server::log::chain::{self, Link};
    let data = stopped_lecture().await;
    let rows = count(&Connection::open(data.path().join("muster.db")).unwrap());
    let found = found_after(data.path(), |file| {
        // The time of arrival is the one column that no device signed.
        file.execute("UPDATE change_log SET received_at = received_at - 60000 WHERE log_index = 5", []).unwrap();
        let mut value = chain::first(&"default".parse().unwrap());
        for index in 1..=rows {
            let sql = "SELECT document_id, writer, seq, max_op, hash, signature, received_at
                FROM change_log WHERE log_index = ?1";
            value = file
                .query_row(sql, [index], |row| {
                    let link = Link {
                        log_index: index,
                        document: &row.get(0)?,
                        writer: &row.get(1)?,
                        seq: row.get(2)?,
                        max_op: row.get(3)?,
                        hash: &row.get(4)?,
                        signature: &row.get(5)?,
                        received_at_ms: row.get(6)?,
                    };
                    Ok(chain::next(&value, &link))
                })
                .unwrap();
            let sql = "UPDATE change_log SET chain = ?2 WHERE log_index = ?1";
            file.execute(sql, params![index, value]).unwrap();
        }
    });
    assert_eq!(found.await, [(Some(rows), "the log up to here is not the one of its signed head".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_document_and_an_edited_head_file_are_found() {
    let data = stopped_lecture().await;
    let found = found_after(data.path(), |file| {
        file.execute("UPDATE documents SET key2 = 'somebody-else' WHERE kind = 2", []).unwrap();
    });
    let found = found.await;
    let named = found.iter().filter(|(_, what)| what.contains("id is not the hash of its name")).count();
    assert!(named > 1 && named == found.len(), "every row of the document is named: {found:?}");

    let path = data.path().join("keys/log-heads.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let index = text.find("\"log_index\": ").unwrap() + "\"log_index\": ".len();
    std::fs::write(&path, format!("{}9{}", &text[..index], &text[index..])).unwrap();
    let found = verify(data.path()).await.findings;
    assert!(found.len() == 1 && found[0].what.contains("not signed by this server's key"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rows_of_a_database_from_before_the_chain_get_theirs_at_the_next_start() {
    let data = stopped_lecture().await;
    let file = open(data.path());
    file.execute_batch(
        "UPDATE change_log SET chain = NULL;
         UPDATE log_heads SET generation = 0;
         CREATE TRIGGER change_log_is_never_updated BEFORE UPDATE ON change_log
         WHEN OLD.chain IS NOT NULL OR NEW.chain IS NULL
         BEGIN SELECT RAISE(ABORT, 'the change log is append-only'); END;",
    )
    .unwrap();
    file.close().unwrap();
    std::fs::remove_file(data.path().join("keys/log-heads.json")).unwrap();
    let found = verify(data.path()).await.findings;
    assert!(found.iter().any(|found| found.what.contains("start the server once")), "{found:?}");

    let data = TestServer::builder().data(data).start().await.stop().await;
    let report = verify(data.path()).await;
    assert_eq!((report.findings, report.notes), (vec![], vec![]));
    let refused =
        Connection::open(data.path().join("muster.db")).unwrap().execute("UPDATE change_log SET chain = NULL", []);
    assert!(refused.unwrap_err().to_string().contains("append-only"));
}
