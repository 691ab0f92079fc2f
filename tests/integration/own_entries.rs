//! The server signs nothing that its own readers would refuse, and lives with a log of a time when it did.

use std::path::Path;

use muster_server::db::{Db, DbError, Tx};
use muster_server::ids::TenantId;
use muster_server::log::{self, ServerKey};
use muster_server::params;
use muster_server::recovery::{self, Rebuilt};
use muster_sync_core::change::{Body, SignedChange, Valid, encode};
use muster_sync_core::document::{CodeMode, Container, Entry, Label, Plan, PlanAction, PlanChange, genesis};
use muster_sync_core::signing::change_message;
use muster_sync_core::{ChangeHash, DocumentName, Locator, limits};
use muster_tests::device::Device;
use muster_tests::lecture::Lecture;
use muster_tests::phone::{Item, Phone, TENANT};
use muster_tests::{Data, TestServer};
use rusqlite::Connection;
use serde_json::json;

use super::admin::muster;
use super::tamper::verify;

/// A lecture whose lecturer has a phone that planned a session of its own.
async fn planned_by_phone() -> (Lecture, Phone, Locator) {
    let lecture = Lecture::on(TestServer::builder().data(Data::sqlite())).await;
    let mut teacher = Phone::new(lecture.lecturer.clone(), 90);
    teacher.bind(&lecture.server).await;
    let (locator, now_ms) = (Locator::parse("ABC234").unwrap(), lecture.server.clock_ms());
    let plan = Plan {
        course: Label::new(&lecture.course).unwrap(),
        opens_at_ms: now_ms,
        closes_at_ms: now_ms + 3_600_000,
        late_after_ms: None,
        code_mode: CodeMode::Rotating,
        step_s: 15,
        latitude_e7: None,
        longitude_e7: None,
        radius_m: None,
        by: None,
    };
    assert_eq!(push(&mut teacher, locator, plan.into()).await, None);
    (lecture, teacher, locator)
}

/// Pushes an entry of a class session; gives the reason if it was not accepted, and then the phone writes on without it.
async fn push(phone: &mut Phone, locator: Locator, entry: Entry) -> Option<String> {
    let (name, tips) = (DocumentName::ClassSession { locator }, phone.tips.clone());
    let signed = phone.write(&name, &entry);
    let fates = phone.push(&[Item { name, signed, manifest: None }]).await;
    if fates[0].receipt.is_none() {
        phone.tips = tips;
    }
    fates[0].reason.clone()
}

fn begins(epoch: u64, at_ms: i64) -> Entry {
    PlanChange::new(PlanAction::Regenerate, at_ms, epoch, None).into()
}

fn path(locator: &Locator, verb: &str) -> String {
    format!("/api/v1/lecturers/sessions/{locator}{verb}")
}

#[tokio::test]
async fn a_phone_begins_epochs_a_little_ahead_of_the_server_and_no_further() {
    let (lecture, mut teacher, locator) = planned_by_phone().await;
    let now_ms = lecture.server.clock_ms();
    let ahead = limits::EPOCHS_AHEAD_MAX;
    for epoch in [ahead + 1, limits::EPOCH_MAX] {
        let refused = push(&mut teacher, locator, begins(epoch, now_ms)).await;
        assert_eq!(refused.as_deref(), Some("epoch_out_of_turn"), "{epoch}");
        let ends = PlanChange::new(PlanAction::Close, now_ms + 1, epoch, None);
        let refused = push(&mut teacher, locator, ends.into()).await;
        assert_eq!(refused.as_deref(), Some("epoch_out_of_turn"), "{epoch}");
    }
    // Two phones that did not hear of each other: the higher epoch holds, and the lower one is no fault.
    assert_eq!(push(&mut teacher, locator, begins(ahead, now_ms)).await, None);
    assert_eq!(push(&mut teacher, locator, begins(1, now_ms + 1)).await, None);
    assert_eq!(push(&mut teacher, locator, begins(2 * ahead + 1, now_ms)).await.as_deref(), Some("epoch_out_of_turn"));
    let session = lecture.lecturer.get(&path(&locator, "")).await.expect(200);
    assert_eq!(session["epoch"], ahead);
    let renewed = lecture.lecturer.post(&path(&locator, "/regenerate"), &json!({})).await.expect(200);
    assert_eq!(renewed["epoch"], ahead + 1);
    assert_eq!(push(&mut teacher, locator, begins(2 * ahead + 1, now_ms)).await, None);
}

#[tokio::test]
async fn at_the_end_of_the_epochs_the_server_says_so_and_signs_nothing() {
    let lecture = Lecture::on(TestServer::builder().data(Data::sqlite())).await;
    let (locator, app) = (lecture.locator(), lecture.server.app());
    let document = DocumentName::ClassSession { locator }.id(TENANT);
    let written = app.db.write(move |tx: &Tx<'_>| {
        tx.execute(
            "INSERT INTO class_session_changes (document_id, log_index, action, at, epoch)
             VALUES (?1, 0, 'regenerate', 0, ?2)",
            params![&document.0, limits::EPOCH_MAX as i64],
        )?;
        tx.execute("UPDATE class_sessions SET epoch = ?1", params![limits::EPOCH_MAX as i64])
    });
    assert_eq!(written.await.map_err(|error: DbError| error), Ok(1));
    let rows = entries(&lecture).await;
    let reply = lecture.lecturer.post(&path(&locator, "/regenerate"), &json!({})).await;
    let error = reply.expect_error(409, "EPOCHS_USED_UP");
    assert!(error["message"].as_str().unwrap().contains("plan another session"), "{error}");
    assert_eq!(entries(&lecture).await, rows, "nothing was written");
    // What is no step further is possible.
    let closed = lecture.lecturer.post(&path(&locator, "/close"), &json!({})).await.expect(200);
    assert_eq!((&closed["status"], &closed["epoch"]), (&json!("closed"), &json!(limits::EPOCH_MAX)));
    assert_eq!(entries(&lecture).await, rows + 1);
}

/// How many entries the session of a lecture has.
async fn entries(lecture: &Lecture) -> usize {
    let document = DocumentName::ClassSession { locator: lecture.locator() }.id(TENANT);
    let read = lecture.server.app().db.read(move |tx: &Tx<'_>| log::entries_of(tx, document)).await;
    read.map_err(|error: DbError| error).unwrap().len()
}

/// What a server of an earlier release did when a phone had begun the last epoch and the lecturer asked for another one:
/// it signed an epoch that its own schema refuses. Gives the row.
async fn as_an_earlier_server(lecture: &Lecture) -> i64 {
    let app = lecture.server.app();
    let name = DocumentName::ClassSession { locator: lecture.locator() };
    let document = name.id(TENANT);
    let key = ServerKey::of(app).unwrap();
    let writer = key.public();
    let tip = app.db.read(move |tx: &Tx<'_>| log::tip(tx, document, &writer)).await.map_err(|error: DbError| error);
    let tip = tip.unwrap().unwrap_or_else(|| genesis::tip(document, name.kind()));
    let (at_ms, by) = (lecture.server.clock_ms(), Label::new(lecture.lecturer.user_id()));
    let change = PlanChange::new(PlanAction::Regenerate, at_ms, limits::EPOCH_MAX + 1, by);
    let entry: Entry = change.into();
    let body = Body {
        writer,
        document,
        seq: tip.seq + 1,
        start_op: tip.max_op + 1,
        time_s: 1_763_640_000,
        dep: tip.hash,
        container_op: Container::PlanChanges.op(),
        fields: entry.fields(),
    };
    let bytes = encode(&body).raw_bytes().to_vec();
    let hash = ChangeHash(encode(&body).hash().0);
    let signature = key.signer().sign(&change_message(document, hash)).unwrap();
    let valid = Valid {
        hash,
        document,
        writer,
        seq: body.seq,
        start_op: body.start_op,
        max_op: body.max_op(),
        dep: body.dep,
        time_s: body.time_s,
        container: Container::PlanChanges,
        entry: entry.clone(),
    };
    let (signed, channels) = (SignedChange { bytes, signature }, log::channels_of(&name, Some(&lecture.course)));
    let now_ms = app.now_ms();
    let written = app.db.write(move |tx: &Tx<'_>| {
        log::append(tx, &TenantId::default_tenant(), &name, &valid, &signed, now_ms, &channels)
    });
    written.await.map_err(|error: DbError| error).unwrap().log_index
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

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_nobody_accepts_is_skipped_by_phones_and_named_and_set_aside_by_the_operators_commands() {
    let dir = tempfile::tempdir().unwrap();
    let lecture = Lecture::on(TestServer::builder().data(Data::sqlite())).await;
    let mut early = lecture.student(1).await;
    lecture.capture(&mut early, &lecture.manifest(None)).await;
    let bad = as_an_earlier_server(&lecture).await;

    // The server goes on from what phones say, in the same chain and in others.
    let renewed = lecture.lecturer.post(&path(&lecture.locator(), "/regenerate"), &json!({})).await.expect(200);
    assert_eq!(renewed["epoch"], 1);
    let mut late = lecture.student(2).await;
    let record = lecture.capture(&mut late, &lecture.manifest(None)).await;
    assert_eq!(lecture.verdict(&record, 1).await["outcome"], "accepted", "by the code of epoch 1");
    let mut device = Device::new(&lecture.server, lecture.lecturer.clone(), 91, dir.path()).await;
    device.sync(&lecture.server).await;
    lecture.lecturer.post(&path(&lecture.locator(), "/close"), &json!({})).await.expect(200);
    let locator = lecture.locator();
    let data = lecture.server.stop().await;

    let report = verify(data.path()).await;
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    assert_eq!(report.findings[0].log_index, Some(bad));
    assert!(report.findings[0].what.contains("field epoch: is over 2^32 - 1"), "{:?}", report.findings);
    assert_eq!(report.tenants[0].bad_rows, 1);
    let rebuilt = rebuild(data.path(), false).await;
    assert_eq!((rebuilt.set_aside_rows, rebuilt.set_aside[0].log_index), (1, bad));
    assert!(rebuilt.set_aside[0].what.contains("epoch"), "{:?}", rebuilt.set_aside);
    assert!(rebuilt.is_equal(), "{:?}", rebuilt.tables);

    // The commands say so, and by their status too.
    for (arguments, said) in [
        (&["verify"][..], format!("row {bad}: the change is not valid: field epoch")),
        (&["rebuild"][..], format!("SET ASIDE: default, row {bad}: field epoch")),
        (&["rebuild", "--replace"][..], "1 rows of the log were set aside".to_owned()),
    ] {
        let output = muster(&data, arguments, "");
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains(&said), "{arguments:?}: {output:?}");
    }
    let again = TestServer::builder().manual_clock(muster_tests::lecture::NOON_MS).data(data).start().await;
    let lecturer = again.sign_in("lecturer1@muster.example").await;
    let session = lecturer.get(&path(&locator, "")).await.expect(200);
    assert_eq!((&session["epoch"], &session["status"]), (&json!(1), &json!("closed")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_sets_aside_whatever_is_damaged_and_puts_the_rest_right() {
    let lecture = Lecture::on(TestServer::builder().data(Data::sqlite())).await;
    for seed in 1..=3 {
        let mut phone = lecture.student(seed).await;
        let id = lecture.capture(&mut phone, &lecture.manifest(None)).await;
        lecture.verdict(&id, 1).await;
    }
    let data = lecture.server.stop().await;
    let whole = rebuild(data.path(), false).await;
    assert!(whole.is_equal() && whole.set_aside_rows == 0, "{whole:?}");
    let damages = [
        ("DELETE FROM change_log WHERE log_index = 4", 4, "missing"),
        ("UPDATE change_log SET change = zeroblob(20) WHERE log_index = 6", 6, "malformed"),
        ("UPDATE change_log SET received_at = 'yesterday' WHERE log_index = 9", 9, "column 8"),
        (
            "DELETE FROM documents WHERE document_id = (SELECT document_id FROM change_log WHERE log_index = 10)",
            10,
            "name",
        ),
    ];
    let file = Connection::open(data.path().join("muster.db")).unwrap();
    file.execute_batch("DROP TRIGGER change_log_is_never_updated; DROP TRIGGER change_log_is_never_deleted;").unwrap();
    for (sql, ..) in damages {
        assert!(file.execute(sql, []).unwrap() > 0, "{sql}");
    }
    file.execute_batch("UPDATE records SET state = 'confirmed'").unwrap();
    file.close().unwrap();
    for replace in [true, false] {
        let rebuilt = rebuild(data.path(), replace).await;
        for (sql, row, what) in damages {
            let set_aside = rebuilt.set_aside.iter().find(|set_aside| set_aside.log_index == row);
            assert!(set_aside.is_some_and(|set_aside| set_aside.what.contains(what)), "{sql}: {:?}", rebuilt.set_aside);
        }
        let channels = rebuilt.tables.iter().find(|table| table.table == "channel_entries").unwrap();
        assert_eq!(channels.differences, 0, "no cursor of a phone points elsewhere: {channels:?}");
        assert_eq!(rebuilt.is_equal(), !replace, "{rebuilt:?}");
    }
}
