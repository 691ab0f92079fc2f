//! `muster rebuild`: projections are what the log says, and what is not is found and put right.

use std::collections::BTreeSet;
use std::path::Path;

use muster_server::db::Db;
use muster_server::log::ServerKey;
use muster_server::recovery::tables::{NOT_PROJECTIONS, PROJECTIONS};
use muster_server::recovery::{self, Rebuilt};
use muster_sync_core::document::{CodeMode, Label, Plan};
use muster_sync_core::{DocumentName, Locator};
use muster_tests::lecture::{HALL, Lecture, picture, upload};
use muster_tests::phone::Phone;
use muster_tests::{Data, TestServer};
use rusqlite::Connection;
use serde_json::json;

/// A lecture with everything that a projection can hold: verdicts, decisions, a revoked phone, a session that was closed,
/// and records that came before the plan of their session.
async fn whole_lecture() -> Data {
    let lecture = Lecture::on(TestServer::builder().data(Data::sqlite())).await;
    let mut ids = Vec::new();
    for seed in 1..=4 {
        let mut phone = lecture.student(seed).await;
        let mut seen = lecture.manifest(Some(&picture(seed)));
        seen.position = (seed != 2).then_some(HALL);
        let id = lecture.capture(&mut phone, &seen).await;
        upload(&phone.client, &picture(seed)).await.expect(201);
        lecture.verdict(&id, 1).await;
        ids.push(id);
    }
    let confirm = |id: &str| format!("/api/v1/lecturers/attendance/{id}/confirm");
    lecture.lecturer.post(&confirm(&ids[1]), &json!({"action": "late", "note": "the bus"})).await.expect(200);
    lecture.lecturer.post(&confirm(&ids[1]), &json!({"action": "undo"})).await.expect(200);
    lecture.lecturer.post(&confirm(&ids[2]), &json!({"action": "reject", "reason": "absent"})).await.expect(200);

    // The lecturer's own phone plans a session after a student has captured for it.
    let mut teacher = Phone::new(lecture.lecturer.clone(), 90);
    teacher.bind(&lecture.server).await;
    let (locator, mut early) = (Locator::parse("ABC234").unwrap(), lecture.student(9).await);
    let now_ms = lecture.server.clock_ms();
    let item = early.submission(locator, "123456", now_ms);
    early.push(&[item]).await;
    let plan = Plan {
        course: Label::new(&lecture.course).unwrap(),
        opens_at_ms: now_ms - 1_000,
        closes_at_ms: now_ms + 3_600_000,
        late_after_ms: None,
        code_mode: CodeMode::Rotating,
        step_s: 15,
        latitude_e7: None,
        longitude_e7: None,
        radius_m: None,
        by: None,
    };
    let name = DocumentName::ClassSession { locator };
    let signed = teacher.write(&name, &plan.into());
    let fates = teacher.push(&[muster_tests::phone::Item { name, signed, manifest: None }]).await;
    assert!(fates[0].receipt.is_some(), "{fates:?}");
    let document = DocumentName::Attendance { locator, student: early.client.user_id().to_owned() }.id("default");
    lecture.verdict(&document.to_string(), 1).await;
    let path = format!("/api/v1/lecturers/sessions/{}/close", lecture.locator());
    lecture.lecturer.post(&path, &json!({})).await.expect(200);
    lecture.server.stop().await
}

async fn rebuild(data: &Path, replace: bool) -> Rebuilt {
    let data = data.to_owned();
    let rebuilt = tokio::task::spawn_blocking(move || {
        let key = ServerKey::load(&data.join("keys")).unwrap();
        let path = data.join("muster.db");
        let db = if replace { Db::open_sqlite(&path, 0) } else { Db::open_sqlite_read_only(&path) }.unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let rebuilt = recovery::rebuild(&db, &key, &scratch.path().join("made.db"), replace, &|_, _| {}).unwrap();
        db.close();
        rebuilt
    });
    rebuilt.await.unwrap()
}

fn open(data: &Path) -> Connection {
    Connection::open(data.join("muster.db")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_whole_lecture_every_projection_is_what_the_log_says() {
    let data = whole_lecture().await;
    let rebuilt = rebuild(data.path(), false).await;
    for table in &rebuilt.tables {
        assert_eq!((table.differences, &table.first), (0, &None), "{}", table.table);
        assert_eq!(table.present_sha256, table.rebuilt_sha256, "{}", table.table);
        // The tests of contested sessions settle one and rebuild that.
        let elsewhere = ["appeals", "class_session_settlements"].contains(&table.table);
        assert!(table.present_rows > 0 || elsewhere, "{} was not tried", table.table);
    }
    assert!(rebuilt.rows > 20, "{}", rebuilt.rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_the_log_does_not_explain_are_found_and_put_right() {
    let data = whole_lecture().await;
    let before = rebuild(data.path(), false).await;
    open(data.path())
        .execute_batch(
            "UPDATE records SET state = 'confirmed' WHERE state = 'rejected';
             UPDATE verdicts SET outcome = 'accepted', flags = ',' WHERE outcome = 'flagged';
             DELETE FROM decisions WHERE says = 'reject';
             DELETE FROM channel_entries WHERE log_index = 7;
             UPDATE devices SET status = 'revoked' WHERE device_key = (SELECT min(device_key) FROM devices);
             UPDATE class_sessions SET closes_at = closes_at + 1;
             INSERT INTO submissions
                 SELECT document_id, 1000, hash, writer, source, captured_at, code, step, commitment, received_at
                 FROM submissions LIMIT 1;
             UPDATE records SET student_id = student_id || '-x' WHERE state = 'flagged';",
        )
        .unwrap();

    let found = rebuild(data.path(), false).await;
    let wrong: BTreeSet<_> =
        found.tables.iter().filter(|table| table.differences > 0).map(|table| table.table).collect();
    let expected = ["records", "verdicts", "decisions", "channel_entries", "devices", "class_sessions", "submissions"];
    assert_eq!(wrong, expected.into_iter().collect());
    let first = |name: &str| found.tables.iter().find(|table| table.table == name).unwrap().first.clone().unwrap();
    assert!(first("records").what.contains("must be"), "{:?}", first("records"));
    assert_eq!(first("decisions").what, "the row is missing");
    assert!(first("submissions").key.contains("log_index 1000"), "{:?}", first("submissions"));
    assert_eq!(first("submissions").what, "the log knows nothing of this row");
    assert_eq!(found.replaced, 0);

    assert!(rebuild(data.path(), true).await.replaced >= 8);
    let after = rebuild(data.path(), false).await;
    assert!(after.is_equal(), "{after:?}");
    let hashes =
        |rebuilt: &Rebuilt| rebuilt.tables.iter().map(|table| table.present_sha256.clone()).collect::<Vec<_>>();
    assert_eq!(hashes(&after), hashes(&before));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_and_column_is_said_to_be_a_projection_or_not() {
    let data = TestServer::builder().data(Data::sqlite()).start().await.stop().await;
    let file = open(data.path());
    let names = |sql: &str| -> BTreeSet<String> {
        let mut statement = file.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let tables = names("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'");
    let said: BTreeSet<String> = PROJECTIONS
        .iter()
        .map(|projection| projection.table)
        .chain(NOT_PROJECTIONS.iter().copied())
        .map(str::to_owned)
        .collect();
    assert_eq!(tables, said);
    for projection in PROJECTIONS {
        let columns = names(&format!("SELECT name FROM pragma_table_info('{}')", projection.table));
        let said = projection.key.iter().chain(projection.columns).chain(projection.kept);
        assert_eq!(columns, said.map(|name| (*name).to_owned()).collect(), "{}", projection.table);
    }
}
