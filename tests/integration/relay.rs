//! A basement hall without a network: what the lecturer's phone carries has the fate that the students' own push has.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use image::RgbImage;
use muster_server::evidence;
use muster_server::ids::TenantId;
use muster_sync_core::{
    DocumentName, Locator,
    document::RequestPurpose,
    evidence::{Manifest, Position, commitment},
    sealing::seal_manifest,
    store::RecordStatus,
    sync::{
        message::{self, CONTENT_TYPE, Fate, PROTOCOL_VERSION, Push, WireName},
        relay::Trust,
    },
    time::session_code::CodeClaim,
};
use muster_tests::lecture::{HALL, Lecture, NOON_MS, check, flags, png};
use muster_tests::phone::{Answer, Item, Phone, TENANT};
use muster_tests::pocket::{Pocket, approve_all};
use muster_tests::{Client, Reply, TestServer};
use reqwest::Method;
use serde_json::{Value, json};

/// How often a test looks for what a worker does.
const LOOKS_MAX: u32 = 6_000;

/// The same hall in one of two worlds.
struct World {
    server: TestServer,
    lecturer: Pocket,
    students: Vec<Pocket>,
}

/// Before the lecture, with a network: a course, its lecturer's phone, and students; the last one's phone is not bound.
async fn enrolled(server: &TestServer, count: u8) -> (Pocket, Vec<Pocket>, String) {
    let admin = server.client("admin").await;
    let mut lecturer = Pocket::new(server, "lecturer", 100).await;
    let teacher = server.sign_in(&lecturer.email).await;
    let course = teacher.post("/api/v1/courses", &json!({"code": "CS101", "title": "A course"})).await.expect(201);
    let course = course["id"].as_str().unwrap().to_owned();
    lecturer.bind(server, &admin).await;
    let mut students = Vec::new();
    for seed in 1..=count {
        let mut student = Pocket::new(server, "student", seed).await;
        if seed < count {
            student.bind(server, &admin).await;
        }
        students.push(student);
    }
    // The second last one does not attend this course.
    let enrolled = students.iter().enumerate().filter(|(index, _)| index + 2 != usize::from(count));
    let ids: Vec<_> = enrolled.map(|(_, student)| student.user.clone()).collect();
    teacher.post(&format!("/api/v1/courses/{course}/students"), &json!({"user_ids": ids})).await.expect(200);
    (lecturer, students, course)
}

/// The lecture itself, with no network: honest students, wrong codes and places, two records of one student.
fn capture_all(lecturer: &Pocket, students: &mut [Pocket], locator: Locator) {
    let shown = lecturer.store.session_code(locator, NOON_MS + 60_000).unwrap();
    let wrong = CodeClaim { code: "000000".into(), ..CodeClaim::parse(&shown.qr).unwrap() }.to_qr();
    let far = Position { latitude_e7: HALL.latitude_e7 + 100_000, ..HALL };
    let mocked = Position { mocked: true, ..HALL };
    let selfie = png(&RgbImage::from_pixel(64, 64, image::Rgb([90, 20, 200])));
    let now_ms = NOON_MS + 61_000;
    for (index, student) in students.iter_mut().enumerate() {
        match index {
            1 => student.capture(&wrong, Some(HALL), None, now_ms),
            2 => student.capture(&shown.qr, Some(far.clone()), None, now_ms),
            3 => student.capture(&shown.qr, Some(mocked.clone()), None, now_ms),
            4 => student.capture(&shown.qr, Some(HALL), Some(&selfie), now_ms),
            5 => {
                student.capture(&shown.qr, None, None, now_ms);
                student.capture(&shown.qr, Some(HALL), None, now_ms + 1_000)
            }
            _ => student.capture(&shown.qr, Some(HALL), None, now_ms),
        };
    }
}

/// Two worlds that were one until the lecture, and whose captures are the same bytes.
async fn two_worlds() -> (World, World, Locator) {
    let server = TestServer::builder().manual_clock(NOON_MS).start().await;
    let (mut lecturer, mut students, course) = enrolled(&server, 8).await;
    let data = server.stop().await;
    let twin = data.copy().unwrap();
    let locator = lecturer.open_session(&course, &HALL, NOON_MS);
    capture_all(&lecturer, &mut students, locator);
    let later_ms = NOON_MS + 600_000;
    let own = TestServer::builder().data(data).manual_clock(later_ms).start().await;
    let relayed = TestServer::builder().data(twin).manual_clock(later_ms).start().await;
    let own = World { server: own, lecturer: lecturer.copy(), students: students.iter().map(Pocket::copy).collect() };
    (own, World { server: relayed, lecturer, students }, locator)
}

/// What the server says of every record of a session: verdicts with their checks, state, flags; nothing of indexes.
async fn judged(world: &World, locator: Locator) -> BTreeMap<String, Value> {
    let lecturer = world.server.sign_in(&world.lecturer.email).await;
    let mut judged = BTreeMap::new();
    for student in &world.students {
        let name = DocumentName::Attendance { locator, student: student.user.clone() };
        let path = format!("/api/v1/lecturers/attendance/{}", name.id(TENANT));
        let record = settled(&lecturer, &path, &student.email).await;
        judged.insert(student.email.clone(), record);
    }
    judged
}

/// The record once the judge is through with it, or nothing if the server has none.
async fn settled(lecturer: &Client, path: &str, email: &str) -> Value {
    for _ in 0..LOOKS_MAX {
        let reply = lecturer.get(path).await;
        if reply.status.as_u16() == 404 {
            return Value::Null;
        }
        let record = reply.expect(200);
        let submissions = record["submissions"].as_array().unwrap().len();
        let verdicts = record["verdicts"].as_array().unwrap().len();
        if verdicts >= submissions {
            return without_places(record);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no verdict on {email} ever came");
}

/// Leaves out what depends on the order in which things reached the log.
fn without_places(mut value: Value) -> Value {
    match &mut value {
        Value::Object(fields) => {
            fields.retain(|name, _| !["log_index", "of_log_index", "hash", "of", "id"].contains(&name.as_str()));
            fields.values_mut().for_each(|field| *field = without_places(field.take()));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = without_places(item.take())),
        _ => {}
    }
    value
}

/// The fates of all changes of the students as their phones know them: state and reason by change.
fn fates_on_phones(world: &World) -> BTreeMap<String, (String, Option<String>)> {
    let outboxes = world.students.iter().flat_map(|student| student.store.outbox().unwrap());
    let attendance = outboxes.filter(|row| matches!(row.document, DocumentName::Attendance { .. }));
    attendance.map(|row| (row.change.to_string(), (row.state.as_str().to_owned(), row.reason))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn carried_records_have_the_fates_and_verdicts_of_pushed_ones() {
    let (mut own, mut relayed, locator) = two_worlds().await;

    // One world: every student finds a network. The lecturer's plan is first in both.
    own.lecturer.sync(&own.server).await;
    for student in &mut own.students {
        student.sync(&own.server).await;
    }

    // The other one: only the lecturer does, after collecting everything in the basement.
    for index in 0..relayed.students.len() {
        let (view, handed) = relayed.students[index].hand_over(&mut relayed.lecturer, locator, index as u8 + 1);
        assert_eq!(view.sessions[0].trust, Trust::Unproven, "the plan never saw the server");
        assert_eq!((handed.carried, handed.declined), (if index == 5 { 2 } else { 1 }, 0));
    }
    let report = relayed.lecturer.sync(&relayed.server).await;
    assert_eq!((report.carried, report.refused), (9, 0));
    let counts = relayed.lecturer.store.carried().unwrap();
    assert_eq!((counts.accepted, counts.quarantined, counts.refused), (8, 1, 0));

    // The picture stayed with its owner's phone, which the server asks; nothing else waits for the owner.
    let photographer = relayed.students[4].user.clone();
    let name = DocumentName::Attendance { locator, student: photographer };
    let path = format!("/api/v1/lecturers/attendance/{}", name.id(TENANT));
    let lecturer = relayed.server.sign_in(&relayed.lecturer.email).await;
    let mut awaits = false;
    for _ in 0..LOOKS_MAX {
        awaits = lecturer.get(&path).await.expect(200)["record"]["awaiting_media"] == true;
        if awaits {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(awaits);
    relayed.students[4].sync(&relayed.server).await;
    assert_eq!(relayed.students[4].store.records().unwrap()[0].images_waiting, 0);

    let verdicts = judged(&own, locator).await;
    assert_eq!(judged(&relayed, locator).await, verdicts);
    let flagged = verdicts.values().filter(|record| record["record"]["state"] == "flagged").count();
    assert_eq!((verdicts.len(), flagged), (8, 5), "{verdicts:#?}");
    assert_eq!(verdicts["student-8@hall.example"], Value::Null, "an unbound phone's record waits in both worlds");

    // The students' phones find out by themselves, and get what the relay got.
    let mut receipts = BTreeMap::new();
    for index in 0..relayed.students.len() {
        let student = &mut relayed.students[index];
        if [0, 2, 6].contains(&index) {
            let (_, handed) = student.hand_over(&mut relayed.lecturer, locator, index as u8 + 100);
            assert_eq!(handed.receipts, 1);
            assert_eq!(student.store.records().unwrap()[0].status, RecordStatus::Received);
        }
        student.sync(&relayed.server).await;
        for record in student.store.records().unwrap() {
            receipts.insert(record.change, record.receipt);
        }
    }
    assert_eq!(fates_on_phones(&relayed), fates_on_phones(&own));
    assert_eq!(receipts.values().flatten().count(), 8);

    // Binding the last phone releases its record in both worlds, evidence and all.
    for world in [&mut own, &mut relayed] {
        let admin = world.server.sign_in("admin1@muster.example").await;
        let last = world.students.last_mut().unwrap();
        last.ask_to_be_bound(&world.server).await;
        approve_all(&admin).await;
        for _ in 0..LOOKS_MAX {
            last.sync(&world.server).await;
            if last.store.records().unwrap()[0].receipt.is_some() {
                break;
            }
        }
        assert!(last.store.records().unwrap()[0].receipt.is_some());
    }
    let last = "student-8@hall.example";
    let (of_own, of_relayed) = (judged(&own, locator).await, judged(&relayed, locator).await);
    assert!(of_own[last]["verdicts"].is_array());
    assert_eq!(of_relayed[last], of_own[last]);
}

/// A push as a relay makes it: with a manifest that only the server opens.
struct Relayed {
    item: Item,
    sealed: Option<Vec<u8>>,
}

async fn server_key(client: &Client) -> muster_sync_core::DeviceKey {
    let facts = client.get("/api/v1/server").await.expect(200);
    muster_sync_core::DeviceKey::from_hex(facts["server_key"].as_str().unwrap()).unwrap()
}

async fn seal(client: &Client, item: &Item) -> Relayed {
    let key = server_key(client).await;
    let seal = |manifest: &Vec<u8>| seal_manifest(&key, item.name.id(TENANT), manifest, &[5; 32]).unwrap();
    Relayed { sealed: item.manifest.as_ref().map(seal), item: Item { manifest: None, ..item.clone() } }
}

async fn relay(client: &Client, relayed: &[&Relayed]) -> Vec<Fate> {
    let pushes = relayed.iter().map(|relayed| Push {
        name: WireName::new(&relayed.item.name),
        change: &relayed.item.signed.bytes,
        signature: relayed.item.signed.signature,
        manifest: None,
        receipt: None,
        code_key: None,
        sealed_manifest: relayed.sealed.as_deref(),
    });
    let (version, pushes) = (PROTOCOL_VERSION, pushes.collect());
    let request =
        message::Request { version, device: None, nonce: None, cursors: vec![], pushes, pull: true, log: None };
    let body = minicbor::to_vec(&request).unwrap();
    let sent = client.request(Method::POST, "/api/v1/sync").header("content-type", CONTENT_TYPE).body(body);
    let answer = Answer::of(Reply::of(sent).await);
    assert_eq!(answer.wanted, [], "nobody asks a relay for pictures that are not its own");
    answer.fates
}

fn reason(fate: &Fate) -> (&'static str, &str) {
    (fate.kind.as_str(), fate.reason.as_deref().unwrap_or(""))
}

async fn honest(lecture: &Lecture, phone: &mut Phone, selfie: Option<&[u8]>) -> Item {
    let code = lecture.claim().await.code;
    let manifest = lecture.manifest(selfie);
    phone.submission_with(lecture.locator(), &code, manifest.clocks.wall_ms, &manifest)
}

#[tokio::test]
async fn evidence_that_a_relay_brings_is_the_author_s_and_gets_its_verdict() {
    let lecture = Lecture::begin().await;
    let mut phone = lecture.student(1).await;
    let selfie = png(&RgbImage::from_pixel(64, 64, image::Rgb([9, 90, 9])));
    let item = honest(&lecture, &mut phone, Some(&selfie)).await;
    let relayed = seal(&phone.client, &item).await;
    let fates = relay(&lecture.lecturer, &[&relayed]).await;
    let receipt = fates[0].receipt.clone().unwrap();
    assert_eq!(
        phone.push(std::slice::from_ref(&item)).await[0].receipt,
        Some(receipt),
        "the same receipt for the author"
    );

    let (app, tenant) = (lecture.server.app(), TenantId::default_tenant());
    let plain = item.manifest.as_ref().unwrap();
    let of = async |user: &str| evidence::manifest(app, &tenant, user, commitment(plain)).await.unwrap();
    let manifest = of(phone.client.user_id()).await.unwrap();
    assert_eq!(manifest, Manifest::from_bytes(plain).unwrap());
    assert_eq!(of(lecture.lecturer.user_id()).await, None);

    // The picture is wanted from its owner, and nobody else may bring it.
    let sha256 = manifest.images[0].sha256;
    assert_eq!(phone.pull(&HashMap::new()).await.wanted, [muster_sync_core::ChangeHash(sha256)]);
    let path = format!("/api/v1/blobs/{}", data_encoding::HEXLOWER.encode(&sha256));
    let put = |client: &Client| {
        Reply::of(client.request(Method::PUT, &path).header("content-type", "image/png").body(selfie.clone()))
    };
    let classmate = lecture.student(2).await.client;
    put(&classmate).await.expect_error(404, "IMAGE_NOT_EXPECTED");
    put(&lecture.lecturer).await.expect_error(403, "FORBIDDEN");
    assert!(put(&phone.client).await.status.is_success());
    let verdict = lecture.verdict(&item.name.id(TENANT).to_string(), 1).await;
    assert_eq!(flags(&verdict), [""; 0]);
}

#[tokio::test]
async fn a_relay_that_alters_drops_or_swaps_hurts_no_one() {
    let lecture = Lecture::begin().await;
    let (mut alice, mut bob) = (lecture.student(1).await, lecture.student(2).await);
    let (of_alice, of_bob) = (honest(&lecture, &mut alice, None).await, honest(&lecture, &mut bob, None).await);
    let (alice_s, bob_s) = (seal(&alice.client, &of_alice).await, seal(&alice.client, &of_bob).await);
    let with = |edit: &dyn Fn(&mut Relayed)| {
        let mut relayed = Relayed { item: alice_s.item.clone(), sealed: alice_s.sealed.clone() };
        edit(&mut relayed);
        relayed
    };
    let elsewhere = Locator::parse("ABCDEF").unwrap();
    let student = alice.client.user_id().to_owned();
    let of_other_tenant = DocumentName::Attendance { locator: lecture.locator(), student: student.clone() };
    let server = server_key(&alice.client).await;
    let plain = of_alice.manifest.clone().unwrap();
    let for_other_tenant = seal_manifest(&server, of_other_tenant.id("other"), &plain, &[6; 32]).unwrap();
    let not_a_manifest = seal_manifest(&server, of_alice.name.id(TENANT), b"not a manifest", &[6; 32]).unwrap();
    let table: Vec<(&str, Relayed, (&str, &str))> = vec![
        (
            "a changed change",
            with(&|r| *r.item.signed.bytes.last_mut().unwrap() ^= 1),
            ("refused", "checksum_mismatch"),
        ),
        ("a changed signature", with(&|r| r.item.signed.signature[0] ^= 1), ("refused", "signature_invalid")),
        ("a changed manifest", with(&|r| r.sealed.as_mut().unwrap()[70] ^= 1), ("refused", "manifest_not_opened")),
        ("a cut manifest", with(&|r| r.sealed.as_mut().unwrap().truncate(100)), ("refused", "manifest_not_opened")),
        ("no manifest", with(&|r| r.sealed = None), ("quarantined", "manifest_missing")),
        ("another one's manifest", with(&|r| r.sealed = bob_s.sealed.clone()), ("refused", "manifest_not_opened")),
        (
            "a manifest of another tenant",
            with(&|r| r.sealed = Some(for_other_tenant.clone())),
            ("refused", "manifest_not_opened"),
        ),
        ("no manifest inside", with(&|r| r.sealed = Some(not_a_manifest.clone())), ("refused", "manifest_not_opened")),
        (
            "under the relay's name",
            with(&|r| {
                let student = lecture.lecturer.user_id().to_owned();
                r.item.name = DocumentName::Attendance { locator: lecture.locator(), student };
            }),
            ("refused", "document_mismatch"),
        ),
        (
            "in another session",
            with(&|r| {
                r.item.name = DocumentName::Attendance { locator: elsewhere, student: student.clone() };
            }),
            ("refused", "document_mismatch"),
        ),
    ];
    let pushed: Vec<_> = table.iter().map(|(_, relayed, _)| relayed).collect();
    let fates = relay(&lecture.lecturer, &pushed).await;
    for ((what, _, expected), fate) in table.iter().zip(&fates) {
        assert_eq!(reason(fate), *expected, "{what}");
    }

    // What it spoilt and what it dropped, the students' own phones bring: they never waited for the relay.
    for (phone, item) in [(&mut alice, of_alice), (&mut bob, of_bob)] {
        let id = lecture.send(phone, item).await;
        assert_eq!(flags(&lecture.verdict(&id, 1).await), [""; 0]);
    }
    let forks = lecture.server.client("admin").await.get("/api/v1/admin/quarantine").await.expect(200);
    assert_eq!(forks["items"], json!([]), "none of it counts against the students' phones");
}

#[tokio::test]
async fn whoever_relays_changes_no_fate() {
    let lecture = Lecture::begin().await;
    let elsewhere = lecture.server.client("lecturer").await;
    let classmate = lecture.student(90).await.client;
    for (index, carrier) in [&lecture.lecturer, &elsewhere, &classmate].into_iter().enumerate() {
        let mut phone = lecture.student(index as u8 + 1).await;
        let item = honest(&lecture, &mut phone, None).await;
        let relayed = seal(&phone.client, &item).await;
        let fates = relay(carrier, &[&relayed, &relayed]).await;
        assert!(fates[0].receipt.is_some() && fates[0] == fates[1], "{fates:?}");
        let id = item.name.id(TENANT).to_string();
        assert_eq!(flags(&lecture.verdict(&id, 1).await), [""; 0]);
    }
}

#[tokio::test]
async fn an_unbound_phone_s_record_waits_as_if_pushed_and_a_request_is_never_taken_from_a_relay() {
    let lecture = Lecture::begin().await;
    let mut phone = Phone::new(lecture.server.client("student").await, 7);
    let path = format!("/api/v1/courses/{}/students", lecture.course);
    lecture.lecturer.post(&path, &json!({"user_ids": [phone.client.user_id()]})).await.expect(200);
    let item = honest(&lecture, &mut phone, None).await;
    let relayed = seal(&phone.client, &item).await;
    let request = phone.binding_request(RequestPurpose::Bind);
    let asked = Relayed { item: request.clone(), sealed: None };
    let fates = relay(&lecture.lecturer, &[&relayed, &asked]).await;
    assert_eq!(reason(&fates[0]), ("quarantined", "device_unbound"));
    assert_eq!(fates[1].kind.as_str(), "refused", "{:?}", fates[1]);

    let admin = lecture.server.client("admin").await;
    let none = admin.get("/api/v1/admin/device-requests?status=pending").await.expect(200);
    assert_eq!(none["items"], json!([]));
    assert!(phone.push(&[request]).await[0].receipt.is_some(), "from its own user it is taken");
    approve_all(&admin).await;
    let id = item.name.id(TENANT).to_string();
    for _ in 0..LOOKS_MAX {
        if relay(&lecture.lecturer, &[&relayed]).await[0].receipt.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Its evidence came sealed, long before the approval, and is there.
    let verdict = lecture.verdict(&id, 1).await;
    assert_eq!(flags(&verdict), [""; 0], "{verdict:#}");
    assert_eq!(check(&verdict, "geofence")["outcome"], "pass", "the position was in the sealed manifest");
}
