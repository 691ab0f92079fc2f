//! A server that lost the newest part of its log, by a restored backup or a torn write-ahead log: it says so, and after each
//! phone has synced once nothing is missing.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use muster_server::log;
use muster_sync_core::DocumentName;
use muster_sync_core::signing::SoftwareKey;
use muster_sync_core::sync::head::LogHead;
use muster_sync_core::sync::message::{CONTENT_TYPE, PROTOCOL_VERSION, Request, Response};
use muster_tests::handset::{Handset, copy_database};
use muster_tests::lecture::{Lecture, NOON_MS, picture};
use muster_tests::{Client, Data, TestServer, copy_folder};
use rusqlite::{Connection, OpenFlags};
use serde_json::json;

use crate::tamper::verify;

const MINUTE_MS: i64 = 60_000;

/// (document, writer, seq).
type Place = (Vec<u8>, Vec<u8>, i64);
/// The change at every place of the log.
type Log = BTreeMap<Place, Vec<u8>>;
/// A change that a phone holds, and where it stands in the log.
type Held = (Place, Vec<u8>, Option<i64>);

/// A story that is cut in two: what was there at the time of the backup, and what came after it.
struct Story {
    lecture: Lecture,
    phones: Vec<Handset>,
    admin: String,
}

/// The admin approves every request that waits.
async fn approve_all(admin: &Client) {
    let requests = admin.get("/api/v1/admin/device-requests?status=pending").await.expect(200);
    for request in requests["items"].as_array().unwrap() {
        let hash = request["hash"].as_str().unwrap();
        admin.post(&format!("/api/v1/admin/device-requests/{hash}/approve"), &json!({})).await.expect(200);
    }
}

/// Waits until the judge has nothing to do.
async fn judged(server: &TestServer) {
    for _ in 0..6_000 {
        let counts: Result<_, muster_server::db::DbError> =
            server.app().db.read(|tx| muster_server::jobs::counts(tx, muster_server::attendance::JUDGE_JOB)).await;
        let counts = counts.unwrap();
        if counts.pending == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the judge never came to an end");
}

impl Story {
    /// A lecture; three students with bound phones and a judged capture each; a fourth who has not been there yet.
    async fn begin() -> Self {
        let lecture = Lecture::on(TestServer::builder().data(Data::sqlite())).await;
        let admin = "admin-of-the-story@muster.example";
        lecture.server.create_user(admin, "admin").await;
        let mut phones = Vec::new();
        for seed in 1..=4 {
            let email = format!("reader{seed}@muster.example");
            let id = lecture.server.create_known_user(&email, "student").await;
            let path = format!("/api/v1/courses/{}/students", lecture.course);
            lecture.lecturer.post(&path, &json!({"user_ids": [id]})).await.expect(200);
            phones.push(Handset::new(&lecture.server, &email, seed).await);
        }
        let mut story = Self { lecture, phones, admin: admin.to_owned() };
        story.bind_and_capture(0..3, 0).await;
        story
    }

    fn server(&self) -> &TestServer {
        &self.lecture.server
    }

    async fn bind_and_capture(&mut self, who: std::ops::Range<usize>, round: u8) {
        let claim = self.lecture.claim().await;
        let admin = self.server().sign_in(&self.admin).await;
        for index in who {
            let phone = &mut self.phones[index];
            if phone.locators().is_empty() {
                phone.ask_to_be_bound();
                phone.sync().await;
                approve_all(&admin).await;
            }
            let selfie = picture(40 * round + index as u8 + 1);
            phone.capture(&claim, NOON_MS, Some(&selfie));
            phone.sync().await;
        }
        judged(&self.lecture.server).await;
        for phone in &mut self.phones {
            phone.sync().await;
        }
    }

    /// After the backup: the fourth phone is bound, everybody captures, a decision is made, and all of it is known.
    async fn go_on(&mut self) {
        self.bind_and_capture(0..4, 1).await;
        let student = self.phones[0].store.account().unwrap().user;
        let record = DocumentName::Attendance { locator: self.lecture.locator(), student }.id("default");
        let path = format!("/api/v1/lecturers/attendance/{record}/confirm");
        self.lecture.lecturer.post(&path, &json!({})).await.expect(200);
        for phone in &mut self.phones {
            phone.sync().await;
        }
        log::publish(self.server().app()).await.unwrap();
    }

    /// The same story on another server process with this data, and the same phones.
    async fn resume(mut self, data: Data, minutes: i64) -> Self {
        let server = TestServer::builder().manual_clock(NOON_MS + minutes * MINUTE_MS).data(data).start().await;
        let lecturer = server.sign_in("lecturer1@muster.example").await;
        for phone in &mut self.phones {
            phone.sign_in(&server).await;
        }
        self.lecture = Lecture { server, lecturer, course: self.lecture.course, session: self.lecture.session };
        self
    }

    /// Every phone syncs once.
    async fn sync_all(&mut self) {
        for phone in &mut self.phones {
            phone.told = [0; 4];
            phone.sync().await;
        }
    }
}

/// Stops the server of a story and hands over its data with nothing in the write-ahead log.
async fn stop(story: Story) -> (Story, Data) {
    let Story { lecture, phones, admin } = story;
    let Lecture { server, lecturer, course, session } = lecture;
    let data = server.stop().await;
    Connection::open(data.path().join("muster.db"))
        .unwrap()
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    // A server that nobody asks: it only takes the place until the next one starts.
    let lecture =
        Lecture { server: TestServer::builder().data(Data::sqlite()).start().await, lecturer, course, session };
    (Story { lecture, phones, admin }, data)
}

fn read_log(path: &Path) -> Log {
    let file = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut statement = file.prepare("SELECT document_id, writer, seq, hash FROM change_log").unwrap();
    let rows = statement.query_map([], |row| Ok(((row.get(0)?, row.get(1)?, row.get(2)?), row.get(3)?))).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

fn number(path: &Path, sql: &str) -> i64 {
    let file = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    file.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// What every phone holds of its documents is what the server has.
fn assert_equal_to_server(story: &Story, log: &Log) {
    for phone in &story.phones {
        let file = Connection::open(phone.folder().join("phone.db")).unwrap();
        let sql = "SELECT document, writer, seq, hash, log_index FROM changes";
        let mut statement = file.prepare(sql).unwrap();
        let rows = statement
            .query_map([], |row| Ok(((row.get(0)?, row.get(1)?, row.get(2)?), row.get(3)?, row.get(4)?)))
            .unwrap();
        let held: Vec<Held> = rows.collect::<Result<_, _>>().unwrap();
        for (place, hash, log_index) in &held {
            assert_eq!(log.get(place), Some(hash), "{} holds what the server does not", phone.email);
            assert!(log_index.is_some(), "{} does not know that the server has it", phone.email);
        }
        let documents: std::collections::BTreeSet<_> = held.iter().map(|((document, ..), ..)| document).collect();
        let there = log.keys().filter(|(document, ..)| documents.contains(document)).count();
        assert_eq!(held.len(), there, "{} lacks what the server has", phone.email);
        for record in phone.store.records().unwrap() {
            assert_eq!(record.images_waiting, 0, "{}", phone.email);
            assert!(record.receipt.is_some() && record.judgement.is_some(), "{}: {record:?}", phone.email);
        }
    }
}

async fn health(server: &TestServer) -> String {
    server.anonymous().get("/health").await.expect(200)["log"].as_str().unwrap().to_owned()
}

/// Checks that nothing of `before` is missing after a loss that the phones made good.
async fn assert_healed(story: Story, before: &Log, images: i64) {
    assert_eq!(health(story.server()).await, "lost_tail");
    judged(story.server()).await;
    let (mut story, data) = stop(story).await;
    let path = data.path().join("muster.db");
    let after = read_log(&path);
    let server_key = number_of_server(&path);
    let missing: Vec<_> = before.iter().filter(|(place, hash)| after.get(place) != Some(hash)).collect();
    let by_devices = missing.iter().filter(|((_, writer, _), _)| *writer != server_key).count();
    assert_eq!(by_devices, 0, "changes of devices are missing");
    // Judged anew with everything at hand, a record may need fewer verdicts than before: at least one stands.
    let judged_again = |(document, writer, _): &Place| after.contains_key(&(document.clone(), writer.clone(), 1));
    assert!(missing.iter().all(|(place, _)| judged_again(place)), "an entry of the server has no successor");
    assert_eq!(number(&path, "SELECT count(*) FROM images WHERE stored_at IS NOT NULL"), images);
    assert_eq!(number(&path, "SELECT count(*) FROM images WHERE stored_at IS NULL"), 0);
    assert_eq!(number(&path, "SELECT count(*) FROM log_losses"), 1);
    // The void receipts keep the first time of arrival, so nobody is late because of the loss.
    assert_eq!(number(&path, "SELECT max(received_at) FROM submissions"), NOON_MS + MINUTE_MS);
    assert_eq!(number(&path, "SELECT count(*) FROM records WHERE awaiting_media = 1"), 0);
    let report = verify(data.path()).await;
    assert_eq!(report.findings, []);
    // Another sync finds nothing to do, and everybody is equal to the server.
    story = story.resume(data, 40).await;
    story.sync_all().await;
    let after = {
        let app = story.server().app();
        read_log(&app.config.data.data_dir.join("muster.db"))
    };
    assert_equal_to_server(&story, &after);
    assert!(story.phones.iter().all(|phone| phone.told[0] == 0), "something was sent a second time");
}

/// The writer of the verdicts.
fn number_of_server(path: &Path) -> Vec<u8> {
    let file = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let sql = "SELECT l.writer FROM change_log l JOIN verdicts v ON v.hash = l.hash LIMIT 1";
    file.query_row(sql, [], |row| row.get(0)).unwrap()
}

const IMAGES: &str = "SELECT count(*) FROM images WHERE stored_at IS NOT NULL";

#[derive(Clone, Copy, PartialEq)]
enum Restored {
    Database,
    DatabaseWithoutHeadFile,
    WholeFolder,
}

async fn a_restored_backup_is_made_good(what: Restored) {
    let story = Story::begin().await;
    let (story, data) = stop(story).await;
    let backup = tempfile::tempdir().unwrap();
    copy_database(data.path(), backup.path(), "muster.db");
    std::fs::copy(data.path().join("keys/log-heads.json"), backup.path().join("log-heads.json")).unwrap();
    let mut story = story.resume(data, 1).await;
    assert_eq!(health(story.server()).await, "whole");
    story.go_on().await;
    let (story, data) = stop(story).await;
    let path = data.path().join("muster.db");
    let (before, images) = (read_log(&path), number(&path, IMAGES));

    for name in ["muster.db-wal", "muster.db-shm"] {
        let _ = std::fs::remove_file(data.path().join(name));
    }
    copy_database(backup.path(), data.path(), "muster.db");
    let heads = data.path().join("keys/log-heads.json");
    match what {
        Restored::Database => {}
        Restored::DatabaseWithoutHeadFile => std::fs::remove_file(&heads).unwrap(),
        Restored::WholeFolder => _ = std::fs::copy(backup.path().join("log-heads.json"), &heads).unwrap(),
    }
    assert!(read_log(&path).len() + 8 < before.len(), "the backup lacks something");
    if what == Restored::Database {
        let found = verify(data.path()).await.findings;
        assert!(found.len() == 1 && found[0].what.contains("the log lost its tail"), "{found:?}");
    }

    let mut story = story.resume(data, 30).await;
    let noticed_at_start = if what == Restored::Database { "lost_tail" } else { "whole" };
    assert_eq!(health(story.server()).await, noticed_at_start);
    story.sync_all().await;
    assert_healed(story, &before, images).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_database_is_noticed_at_start_and_made_good_by_the_phones() {
    a_restored_backup_is_made_good(Restored::Database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_database_without_the_head_file_is_noticed_by_the_first_phone() {
    a_restored_backup_is_made_good(Restored::DatabaseWithoutHeadFile).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_folder_with_its_own_head_file_is_noticed_by_the_first_phone() {
    a_restored_backup_is_made_good(Restored::WholeFolder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_write_ahead_log_is_noticed_at_start_and_made_good_by_the_phones() {
    let story = Story::begin().await;
    let (story, data) = stop(story).await;
    let mut story = story.resume(data, 1).await;
    story.go_on().await;
    let running = story.server().app().config.data.data_dir.clone();
    let wal_bytes = std::fs::metadata(running.join("muster.db-wal")).unwrap().len();
    let (before, images) = (read_log(&running.join("muster.db")), number(&running.join("muster.db"), IMAGES));
    for permille in [0, 200, 500, 800, 970] {
        let copy = tempfile::tempdir().unwrap();
        copy_database(&running, copy.path(), "muster.db");
        copy_folder(&running.join("keys"), &copy.path().join("keys")).unwrap();
        copy_folder(&running.join("blobs"), &copy.path().join("blobs")).unwrap();
        let wal = std::fs::OpenOptions::new().write(true).open(copy.path().join("muster.db-wal")).unwrap();
        wal.set_len(wal_bytes * permille / 1000).unwrap();
        // Late enough for jobs that the dead server had taken to be free again.
        let server =
            TestServer::builder().manual_clock(NOON_MS + 30 * MINUTE_MS).data(Data::new(copy, None)).start().await;
        assert_eq!(health(&server).await, "lost_tail", "{permille}");
        let mut phones = Vec::new();
        for phone in &story.phones {
            phones.push(phone.copied(&server).await);
        }
        let lecturer = server.sign_in("lecturer1@muster.example").await;
        let (course, session) = (story.lecture.course.clone(), story.lecture.session.clone());
        let lecture = Lecture { server, lecturer, course, session };
        let mut torn = Story { lecture, phones, admin: story.admin.clone() };
        torn.sync_all().await;
        assert_healed(torn, &before, images).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_the_server_did_not_sign_makes_no_loss_and_a_true_one_does() {
    let mut story = Story::begin().await;
    let phone = &mut story.phones[0];
    let told = phone.store.log_head().unwrap().unwrap();
    let server_key = muster_server::log::ServerKey::of(story.lecture.server.app()).unwrap();
    let forger = SoftwareKey::from_seed(&[77; 32].into());
    let beyond = told.log_index + 1_000;
    let forged = LogHead::sign(&forger, told.generation, beyond, [9; 32]).unwrap();
    let moved = LogHead { log_index: beyond, ..told.clone() };
    let signed = LogHead::sign(server_key.signer(), told.generation, beyond, [9; 32]).unwrap();
    let client = story.lecture.server.sign_in(&phone.email).await;
    let ask = async |log: Option<LogHead>| {
        let request = Request {
            version: PROTOCOL_VERSION,
            device: None,
            nonce: None,
            cursors: Vec::new(),
            pushes: Vec::new(),
            pull: true,
            log,
        };
        let body = minicbor::to_vec(&request).unwrap();
        let request = client.request(reqwest::Method::POST, "/api/v1/sync").header("content-type", CONTENT_TYPE);
        let reply = muster_tests::Reply::of(request.body(body)).await;
        assert_eq!(reply.status.as_u16(), 200);
        Response::decode(&reply.bytes).unwrap().log.unwrap()
    };
    for claimed in [None, Some(told.clone()), Some(forged), Some(moved)] {
        assert_eq!(ask(claimed).await.generation, told.generation);
    }
    assert_eq!(health(story.server()).await, "whole");
    let new = ask(Some(signed.clone())).await;
    assert!(new.generation > told.generation && new.log_index == told.log_index, "{new:?}");
    assert_eq!(health(story.server()).await, "lost_tail");
    // Told once more, or of the lost generation, it is the same loss.
    assert_eq!(ask(Some(signed)).await.generation, new.generation);
    assert_eq!(ask(Some(told)).await.generation, new.generation);

    let admin = story.server().sign_in(&story.admin).await;
    let log = admin.get("/api/v1/admin/log").await.expect(200);
    assert_eq!(log["losses"][0]["noticed_by"], "phone", "{log}");
    assert_eq!(log["losses"][0]["proven_index"], beyond, "{log}");
    client.get("/api/v1/admin/log").await.expect_error(403, "FORBIDDEN");
}
