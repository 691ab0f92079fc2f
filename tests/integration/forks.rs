//! Equivocation through real phones: a copy in use, a restored backup, and what the admin reads of each.

use std::time::Duration;

use data_encoding::BASE64;
use muster_sync_core::document::{KeyLevel, RequestPurpose};
use muster_sync_core::store::{RecordId, RecordStatus};
use muster_sync_core::{DocumentName, Locator};
use muster_tests::device::Device;
use muster_tests::lecture::{Lecture, check};
use muster_tests::phone::{Phone, TENANT};
use muster_tests::{Client, TestServer};
use serde_json::{Value, json};
use tempfile::TempDir;

const A_WHILE: Duration = Duration::from_secs(60);

struct Hall {
    lecture: Lecture,
    admin: Client,
    _dir: TempDir,
}

impl Hall {
    /// A lecture, and a bound phone with one capture that the server has.
    async fn open() -> (Self, Device) {
        let lecture = Lecture::begin().await;
        let admin = lecture.server.client("admin").await;
        let dir = tempfile::tempdir().unwrap();
        let student = lecture.server.client("student").await;
        let path = format!("/api/v1/courses/{}/students", lecture.course);
        lecture.lecturer.post(&path, &json!({"user_ids": [student.user_id()]})).await.expect(200);
        let mut device = Device::new(&lecture.server, student, 1, dir.path()).await;
        device.bind(&lecture.server).await;
        let hall = Self { lecture, admin, _dir: dir };
        let record = device.capture(hall.server(), session(0), "123456");
        hall.later();
        device.sync(hall.server()).await;
        assert_received(&device, record);
        hall.later();
        (hall, device)
    }

    fn server(&self) -> &TestServer {
        &self.lecture.server
    }

    fn later(&self) {
        self.server().clock().advance(A_WHILE);
    }

    async fn forks(&self) -> Vec<Value> {
        self.admin.get("/api/v1/admin/forks").await.expect(200)["items"].as_array().unwrap().clone()
    }

    async fn fork(&self) -> Value {
        let forks = self.forks().await;
        let oldest = forks.last().unwrap()["hash"].as_str().unwrap().to_owned();
        self.admin.get(&format!("/api/v1/admin/forks/{oldest}")).await.expect(200)
    }
}

/// A session that only this test knows.
fn session(index: u8) -> Locator {
    Locator::from_random([0, 7, index, 0])
}

#[track_caller]
fn assert_received(device: &Device, record: RecordId) {
    let view = device.record(record);
    assert!(view.receipt.is_some(), "{view:?}");
    assert!(matches!(view.status, RecordStatus::Received | RecordStatus::InReview), "{view:?}");
}

#[tokio::test]
async fn a_copy_in_use_is_seen_and_both_sides_are_kept_while_every_capture_flows() {
    let (hall, mut original) = Hall::open().await;
    let server = hall.server();
    let mut copy = original.copy(server, 2);
    let locator = hall.lecture.locator();

    let theirs = original.capture(server, locator, "111111");
    original.sync(server).await;
    hall.later();
    let ours = copy.capture(server, locator, "222222");
    copy.sync(server).await;
    assert_received(&original, theirs);
    assert_received(&copy, ours);

    // The one that lost signed anew what it had, on top of what is there, and goes on.
    hall.later();
    let next = copy.capture(server, session(1), "123456");
    copy.sync(server).await;
    assert_received(&copy, next);

    // Nothing has shown yet that the first side is still in use.
    let fork = hall.fork().await;
    assert_ne!(fork["assessment"]["code"], "copies_in_use_at_once", "{fork:#}");
    hall.later();
    original.sync(server).await;
    let after = original.capture(server, session(2), "123456");
    original.sync(server).await;
    assert_received(&original, after);
    let fork = hall.fork().await;
    assert_eq!(fork["assessment"]["code"], "copies_in_use_at_once", "{fork:#}");
    assert_eq!(fork["assessment"]["first_went_on"], true);

    // The admin sees both, with what they say and when they came.
    assert_eq!((&fork["accepted"]["seq"], &fork["rival"]["seq"]), (&json!(1), &json!(1)));
    assert_eq!(
        (&fork["accepted"]["fields"]["code"], &fork["rival"]["fields"]["code"]),
        (&json!("111111"), &json!("222222"))
    );
    assert_ne!(fork["accepted"]["hash"], fork["rival"]["hash"]);
    assert!(fork["accepted"]["received_at"].as_str() < fork["rival"]["received_at"].as_str());
    let key = original.public_key().to_string();
    let devices = hall.admin.get("/api/v1/admin/devices").await.expect(200);
    let device = devices["items"].as_array().unwrap().iter().find(|device| device["key"] == key.as_str()).unwrap();
    assert_eq!(device["chain_fork"], true);

    // And whoever reviews the record sees why.
    let id = DocumentName::Attendance { locator, student: original.client.user_id().to_owned() }.id(TENANT);
    let flagged = |record: &Value| {
        let verdicts = record["verdicts"].as_array().unwrap();
        verdicts.last().is_some_and(|verdict| check(verdict, "chain_fork")["outcome"] == "flag")
    };
    let record = hall.lecture.until(&id.to_string(), flagged).await;
    let verdict = record["verdicts"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(check(&verdict, "chain_fork")["reason"], "device_forked");
    let waiting = hall.admin.get("/api/v1/admin/quarantine?reason=chain_fork").await.expect(200);
    assert_eq!(waiting["items"].as_array().unwrap().len(), 1, "{waiting:#}");
}

#[tokio::test]
async fn a_restored_backup_is_told_apart_and_its_captures_flow() {
    let (hall, mut phone) = Hall::open().await;
    let server = hall.server();
    let mut restored = phone.copy(server, 2);
    let lost = phone.capture(server, hall.lecture.locator(), "111111");
    hall.later();
    phone.sync(server).await;
    assert_received(&phone, lost);
    drop(phone);

    hall.later();
    let first = restored.capture(server, hall.lecture.locator(), "222222");
    hall.later();
    restored.sync(server).await;
    assert_received(&restored, first);
    let fork = hall.fork().await;
    assert_eq!(fork["assessment"]["code"], "cannot_tell", "nobody can know yet: {fork:#}");

    hall.later();
    let second = restored.capture(server, session(1), "123456");
    let third = restored.capture(server, hall.lecture.locator(), "333333");
    restored.sync(server).await;
    assert_received(&restored, second);
    assert_received(&restored, third);
    let fork = hall.fork().await;
    assert_eq!(fork["assessment"]["code"], "probably_restored_backup", "{fork:#}");
    assert!(fork["assessment"]["sentence"].as_str().unwrap().starts_with("Probably a restored backup"));
    assert_eq!(hall.forks().await.len(), 1, "what was signed anew is no further fork");
}

#[tokio::test]
async fn a_fork_that_comes_by_way_of_bind_is_kept_too() {
    let server = TestServer::start().await;
    let (student, admin) = (server.client("student").await, server.client("admin").await);
    let mut phone = Phone::new(student.clone(), 1);
    let honest = phone.binding_request(RequestPurpose::Bind);
    phone.push(std::slice::from_ref(&honest)).await;
    phone.tips.clear();
    let name = honest.name.clone();
    let request = muster_sync_core::document::Request {
        key: phone.public_key(),
        purpose: RequestPurpose::Reset,
        platform: muster_sync_core::document::Code::new("ios").unwrap(),
        model: None,
        level: KeyLevel::Hardware,
        legacy_id_hash: None,
        code_key_hash: None,
    };
    let twin = phone.write(&name, &request.into());
    let body = json!({"change": BASE64.encode(&twin.bytes), "signature": BASE64.encode(&twin.signature)});
    for _ in 0..2 {
        student.post("/api/v1/students/device/bind", &body).await.expect_error(409, "EQUIVOCATION");
    }
    let forks = admin.get("/api/v1/admin/forks").await.expect(200);
    assert_eq!(forks["items"].as_array().unwrap().len(), 1);
    let hash = forks["items"][0]["hash"].as_str().unwrap();
    let fork = admin.get(&format!("/api/v1/admin/forks/{hash}")).await.expect(200);
    assert_eq!(
        (&fork["accepted"]["fields"]["platform"], &fork["rival"]["fields"]["platform"]),
        (&json!("android"), &json!("ios"))
    );
    assert_eq!(fork["assessment"]["code"], "cannot_tell", "a request says nothing about the phone");
    student.get("/api/v1/admin/forks").await.expect_error(403, "FORBIDDEN");
    student.get(&format!("/api/v1/admin/forks/{hash}")).await.expect_error(403, "FORBIDDEN");
    admin.get(&format!("/api/v1/admin/forks/{}", "00".repeat(32))).await.expect_error(404, "NOT_FOUND");
}
