//! What one person may use up of what everybody shares, on both sides of each limit; and that nobody uses up another
//! one's share.

use muster_server::budgets::DAY_MS;
use muster_server::db::{DbError, Tx};
use muster_server::limits;
use muster_server::params;
use muster_sync_core::change::{self, SignedChange};
use muster_sync_core::document::RequestPurpose;
use muster_sync_core::signing::{self, SigningKey};
use muster_sync_core::store::RecordStatus;
use muster_sync_core::sync::message::{Fate, FateKind};
use muster_tests::device::Device;
use muster_tests::lecture::{Lecture, NOON_MS, image_ref, picture, upload};
use muster_tests::phone::{self, Item, Phone};
use muster_tests::{Client, TestServer};
use serde_json::json;

use super::evidence::{about, session};

pub(crate) fn reason(fate: &Fate) -> (&'static str, &str) {
    (fate.kind.as_str(), fate.reason.as_deref().unwrap_or(""))
}

pub(crate) fn count(fates: &[Fate], kind: FateKind) -> usize {
    fates.iter().filter(|fate| fate.kind == kind).count()
}

pub(crate) async fn server() -> TestServer {
    TestServer::builder().manual_clock(NOON_MS).start().await
}

pub(crate) async fn rows(server: &TestServer, table: &'static str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table}");
    let read: Result<Option<i64>, DbError> =
        server.app().db.read(move |tx: &Tx<'_>| tx.query_one(&sql, params![], |row| row.get(0))).await;
    read.unwrap().unwrap()
}

/// As if a person had used up so much of a column already today.
pub(crate) async fn use_up(server: &TestServer, client: &Client, column: &'static str, amount: i64) {
    let (person, day) = (client.user_id().to_owned(), server.clock_ms().div_euclid(DAY_MS));
    let written = server.app().db.write(move |tx: &Tx<'_>| {
        let sql = "INSERT INTO person_days
                 (tenant_id, person_id, day, log_rows, log_bytes, waiting_rows, waiting_bytes, images, image_bytes)
             VALUES ('default', ?1, ?2, 0, 0, 0, 0, 0, 0)
             ON CONFLICT (tenant_id, person_id, day) DO NOTHING";
        tx.execute(sql, params![&person, day])?;
        tx.execute(&format!("UPDATE person_days SET {column} = ?2 WHERE person_id = ?1"), params![&person, amount])
    });
    written.await.map_err(|error: DbError| error).unwrap();
}

/// Requests of this account, each by a key of its own.
fn requests(client: &Client, keys: std::ops::Range<u8>) -> Vec<Item> {
    keys.map(|seed| Phone::new(client.clone(), seed).binding_request(RequestPurpose::Bind)).collect()
}

#[tokio::test]
async fn a_guest_pushes_nothing_and_leaves_nothing_and_a_student_does() {
    let server = server().await;
    let admin = server.client("admin").await;
    let guest = server.client("guest").await;
    let before = (rows(&server, "change_log").await, rows(&server, "quarantine").await);
    let mut phone = Phone::new(guest.clone(), 1);
    let mut items = requests(&guest, 2..80);
    items.extend((0..20).map(|index| phone.submission(session(index), "1", NOON_MS)));
    let fates = phone.push(&items).await;
    assert!(fates.iter().all(|fate| reason(fate) == ("retry", "guest_may_not_push")), "{fates:?}");
    let after = (rows(&server, "change_log").await, rows(&server, "quarantine").await);
    assert_eq!((after, rows(&server, "refusals").await), (before, 0));

    let path = format!("/api/v1/admin/users/{}", guest.user_id());
    admin.patch(&path, &json!({"role": "student"})).await.expect(200);
    phone.client = server.sign_in(&email_of(&server, &guest).await).await;
    let fates = phone.push(&items[77..79]).await;
    assert_eq!((reason(&fates[0]).0, reason(&fates[1])), ("accepted", ("quarantined", "device_unbound")));
}

#[tokio::test]
async fn a_phone_of_a_guest_keeps_its_record_and_says_why_and_sends_it_later() {
    let server = server().await;
    let dir = tempfile::tempdir().unwrap();
    let mut device = Device::new(&server, server.client("guest").await, 1, dir.path()).await;
    let id = device.capture(&server, session(1), "123456");
    device.sync(&server).await;
    let record = device.record(id);
    assert_eq!((record.status, record.reason.as_deref()), (RecordStatus::OnThisPhone, Some("guest_may_not_push")));
    assert!(record.reason_in_words.unwrap().contains("stays on this phone"));

    let path = format!("/api/v1/admin/users/{}", device.client.user_id());
    server.client("admin").await.patch(&path, &json!({"role": "student"})).await.expect(200);
    let email = email_of(&server, &device.client).await;
    server.clock().advance(std::time::Duration::from_secs(600));
    device.client = server.sign_in(&email).await;
    device.sync(&server).await;
    assert_eq!(device.record(id).status, RecordStatus::Waiting);
}

#[tokio::test]
async fn a_person_asks_for_so_many_devices_a_day_through_every_door() {
    let server = server().await;
    let student = server.client("student").await;
    let phone = Phone::new(student.clone(), 0);
    let max = limits::BINDING_REQUESTS_PER_DAY_MAX as usize;
    let items = requests(&student, 1..40);
    let fates = phone.push(&items).await;
    assert_eq!((count(&fates, FateKind::Accepted), count(&fates, FateKind::Retry)), (max, items.len() - max));
    assert_eq!(reason(&fates[max]), ("retry", "requests_full"));
    assert_eq!(reason(&phone.push(&items[..1]).await[0]).0, "accepted", "what is there stays");
    let signed = &items[max].signed;
    let body = json!({
        "change": data_encoding::BASE64.encode(&signed.bytes),
        "signature": data_encoding::BASE64.encode(&signed.signature),
    });
    let bind = "/api/v1/students/device/bind";
    student.post(bind, &body).await.expect_error(429, "DEVICE_REQUESTS_FULL");
    student.post(bind, &json!({"imei": "490154203237518"})).await.expect_error(429, "DEVICE_REQUESTS_FULL");
    let other = server.client("student").await;
    let fates = Phone::new(other.clone(), 0).push(&requests(&other, 100..101)).await;
    assert_eq!(reason(&fates[0]).0, "accepted", "nobody else's share is used up");

    server.clock().advance(std::time::Duration::from_millis(DAY_MS as u64 + 1));
    let again = server.sign_in(&email_of(&server, &student).await).await;
    assert_eq!(reason(&Phone::new(again, 0).push(&items[max..=max]).await[0]).0, "accepted");
}

pub(crate) async fn email_of(server: &TestServer, client: &Client) -> String {
    let user = client.user_id().parse().unwrap();
    let tenant = muster_server::ids::TenantId::default_tenant();
    let found: Result<_, DbError> =
        server.app().db.read(move |tx: &Tx<'_>| muster_server::auth::find(tx, &tenant, user)).await;
    found.unwrap().unwrap().email
}

/// A request of exactly this size, filled up with a field that nobody knows.
fn padded(phone: &mut Phone, size_bytes: usize) -> Item {
    let mut item = phone.binding_request(RequestPurpose::Bind);
    let plain = item.signed.bytes.clone();
    let (_, body) = change::decode(&plain).unwrap();
    let document = item.name.id(phone::TENANT);
    let mut filler = vec![7; size_bytes.saturating_sub(plain.len() + 32)];
    loop {
        let mut longer = body.clone();
        longer.fields.push(("zz_unknown", change::Scalar::Bytes(&filler)));
        let encoded = change::encode(&longer);
        let bytes = encoded.raw_bytes().to_vec();
        if bytes.len() >= size_bytes {
            let hash = change::inspect(&bytes).unwrap().hash;
            let signature = phone.key.sign(&signing::change_message(document, hash)).unwrap();
            item.signed = SignedChange { bytes, signature };
            return item;
        }
        filler.push(7);
    }
}

#[tokio::test]
async fn a_request_from_a_key_that_nobody_knows_is_small_through_every_door() {
    let server = server().await;
    let student = server.client("student").await;
    let sender = Phone::new(student.clone(), 0);
    let fits = padded(&mut Phone::new(student.clone(), 1), limits::BINDING_REQUEST_BYTES_MAX);
    let large = padded(&mut Phone::new(student.clone(), 2), limits::BINDING_REQUEST_BYTES_MAX + 1);
    assert_eq!(fits.signed.bytes.len(), limits::BINDING_REQUEST_BYTES_MAX);
    let body = |item: &Item| {
        json!({
            "change": data_encoding::BASE64.encode(&item.signed.bytes),
            "signature": data_encoding::BASE64.encode(&item.signed.signature),
        })
    };
    let bind = "/api/v1/students/device/bind";
    student.post(bind, &body(&large)).await.expect_error(413, "PAYLOAD_TOO_LARGE");
    let fates = sender.push(&[fits.clone(), large]).await;
    assert_eq!(reason(&fates[0]).0, "accepted");
    assert_eq!(reason(&fates[1]), ("refused", "change_too_large"));
    student.post(bind, &body(&fits)).await.expect(202);
}

#[tokio::test]
async fn what_strangers_send_about_somebody_blocks_nobody_else() {
    let server = server().await;
    let victim = server.client("student").await;
    let student = victim.user_id().to_owned();
    let one_max = limits::STUDENT_WAITING_ABOUT_ONE_MAX as usize;
    let mut junk = 0;
    for number in 0..2_u8 {
        let stranger = server.client("student").await;
        // Of as many keys as they like.
        let items: Vec<Item> = (0..40)
            .map(|index| {
                let mut key = Phone::new(stranger.clone(), 100 + number * 40 + index);
                about(&mut key, &student, session(u32::from(index)), &phone::manifest(NOON_MS))
            })
            .collect();
        let fates = Phone::new(stranger, 1).push(&items).await;
        assert_eq!(count(&fates, FateKind::Quarantined), one_max, "{fates:?}");
        assert_eq!(reason(&fates[one_max]), ("retry", "quarantine_full"));
        junk += one_max;
    }
    assert_eq!(rows(&server, "quarantine").await, junk as i64);

    let mut own = Phone::new(victim, 3);
    let carried: Vec<Item> = (50..60).map(|index| own.submission(session(index), "1", NOON_MS)).collect();
    let lecturer = Phone::new(server.client("lecturer").await, 4);
    let fates = lecturer.push(&carried[..5]).await;
    assert_eq!(count(&fates, FateKind::Quarantined), 5, "{fates:?}");
    let fates = own.push(&carried).await;
    assert_eq!(count(&fates, FateKind::Quarantined), 10, "{fates:?}");
}

#[tokio::test]
async fn so_much_waits_of_one_person_and_their_keys_are_not_counted() {
    let server = server().await;
    let client = server.client("student").await;
    let max = limits::OWN_WAITING.rows as usize;
    let seeds = (max / 100 + 1) as u8;
    let sender = Phone::new(client.clone(), 0);
    let (mut waits, mut retried) = (0, 0);
    for seed in 1..=seeds {
        let mut key = Phone::new(client.clone(), seed);
        let items: Vec<Item> =
            (0..100).map(|index| key.submission(session(u32::from(seed) * 100 + index), "1", NOON_MS)).collect();
        let fates = sender.push(&items).await;
        waits += count(&fates, FateKind::Quarantined);
        retried += count(&fates, FateKind::Retry);
    }
    assert_eq!((waits, retried), (max, usize::from(seeds) * 100 - max));
    let other = server.client("student").await;
    let mut phone = Phone::new(other, 200);
    let item = phone.submission(session(1), "1", NOON_MS);
    assert_eq!(reason(&phone.push(&[item]).await[0]), ("quarantined", "device_unbound"));
}

#[tokio::test]
async fn a_lecturers_phone_carries_for_a_hall_of_phones_that_nobody_approved_yet() {
    let server = server().await;
    let lecturer = Phone::new(server.client("lecturer").await, 250);
    let mut items = Vec::new();
    for seed in 0..40_u8 {
        let mut student = Phone::new(server.client("student").await, seed);
        items.extend((0..10).map(|index| student.submission(session(index), "1", NOON_MS)));
    }
    for items in items.chunks(100) {
        let fates = lecturer.push(items).await;
        assert_eq!(count(&fates, FateKind::Quarantined), items.len(), "{fates:?}");
    }
}

#[tokio::test]
async fn a_day_has_room_for_so_much_of_one_author_and_tomorrow_has_again() {
    let lecture = Lecture::begin().await;
    let server = &lecture.server;
    let mut phone = lecture.student(1).await;
    let neighbour = lecture.student(2).await;
    use_up(server, &phone.client, "log_rows", limits::STUDENT_LOG_PER_DAY.rows - 1).await;
    let items: Vec<Item> = (0..3).map(|index| phone.submission(session(index), "1", NOON_MS)).collect();
    // Whoever sends it: the author's account pays.
    let fates = neighbour.push(&items).await;
    assert_eq!(reason(&fates[0]).0, "accepted");
    assert_eq!([reason(&fates[1]), reason(&fates[2])], [("retry", "day_full"); 2]);
    assert_eq!(reason(&neighbour.push(&items[..1]).await[0]).0, "accepted", "the same receipt, always");
    let form = reqwest::multipart::Form::new().text("session_code", "ABCDEF-123456");
    let request = phone.client.request(reqwest::Method::POST, "/api/v1/students/attendance");
    let error = muster_tests::Reply::of(request.multipart(form)).await;
    error.expect_error(429, "DAY_FULL");

    server.clock().advance(std::time::Duration::from_secs(13 * 3600));
    let again = Phone::new(lecture.again(&phone.client).await, 99);
    let fates = again.push(&items[1..]).await;
    assert_eq!((reason(&fates[0]).0, reason(&fates[1]).0), ("accepted", "accepted"));
}

/// A picture that the server need not see, and that its manifest calls this large.
fn called(shade: u8, size_bytes: u64) -> (Vec<u8>, muster_sync_core::evidence::ImageRef) {
    let bytes = picture(shade);
    let image = muster_sync_core::evidence::ImageRef { size_bytes, ..image_ref(&bytes) };
    (bytes, image)
}

#[tokio::test]
async fn pictures_of_a_phone_that_waits_have_room_for_so_many_bytes_and_the_rest_after_its_approval() {
    let lecture = Lecture::begin().await;
    let mut phone = Phone::new(lecture.server.client("student").await, 1);
    let size_bytes = 4_608 * 1_024;
    let fit = (limits::IMAGES_WAITING.bytes as u64 / size_bytes) as usize;
    let pictures: Vec<_> = (0..12).map(|shade| called(shade, size_bytes)).collect();
    let items: Vec<Item> = pictures
        .iter()
        .zip(0..)
        .map(|((_, image), index)| {
            let mut seen = lecture.manifest(None);
            seen.images.push(image.clone());
            phone.submission_with(session(index), "1", seen.clocks.wall_ms, &seen)
        })
        .collect();
    let fates = phone.push(&items).await;
    assert_eq!(count(&fates, FateKind::Quarantined), 12, "the records wait, all of them");
    for (index, (bytes, _)) in pictures.iter().enumerate() {
        let reply = upload(&phone.client, bytes).await;
        if index < fit {
            reply.expect(201);
        } else {
            assert!(reply.headers.contains_key("retry-after"));
            reply.expect_error(507, "WAITING_IMAGES_FULL");
        }
    }
    phone.bind(&lecture.server).await;
    for _ in 0..1_000 {
        if super::evidence::missing(&phone.client).await.len() == 12 - fit {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    for (bytes, _) in &pictures[fit..] {
        upload(&phone.client, bytes).await.expect(201);
    }
}

#[tokio::test]
async fn a_day_has_room_for_so_many_pictures_of_one_person() {
    let lecture = Lecture::begin().await;
    let mut phone = lecture.student(1).await;
    let mut seen = lecture.manifest(None);
    let pictures: Vec<_> = (0..2).map(picture).collect();
    seen.images.extend(pictures.iter().map(|bytes| image_ref(bytes)));
    lecture.capture(&mut phone, &seen).await;
    use_up(&lecture.server, &phone.client, "images", limits::IMAGES_PER_DAY.rows - 1).await;
    upload(&phone.client, &pictures[0]).await.expect(201);
    let reply = upload(&phone.client, &pictures[1]).await;
    assert_eq!(reply.headers["retry-after"], "43201");
    reply.expect_error(507, "IMAGES_OF_TODAY_FULL");
    upload(&phone.client, &pictures[0]).await.expect(200);
    lecture.server.clock().advance(std::time::Duration::from_secs(13 * 3600));
    upload(&lecture.again(&phone.client).await, &pictures[1]).await.expect(201);
}

#[tokio::test]
async fn two_weeks_without_a_network_pass_at_once() {
    let lecture = Lecture::begin().await;
    let mut phone = lecture.student(1).await;
    let mut pictures = Vec::new();
    let items: Vec<Item> = (0..84_u32)
        .map(|index| {
            let mut seen = lecture.manifest(None);
            for number in 0..2 {
                let pixel = image::Rgb([index as u8, number, 200]);
                let bytes = muster_tests::lecture::png(&image::RgbImage::from_pixel(8, 8, pixel));
                seen.images.push(image_ref(&bytes));
                pictures.push(bytes);
            }
            phone.submission_with(session(index), "1", seen.clocks.wall_ms, &seen)
        })
        .collect();
    let fates = phone.push(&items).await;
    assert_eq!(count(&fates, FateKind::Accepted), 84, "{fates:?}");
    for bytes in &pictures {
        upload(&phone.client, bytes).await.expect(201);
    }
}

#[tokio::test]
async fn so_many_copies_of_refused_changes_are_kept_of_one_sender() {
    let server = server().await;
    let client = server.client("student").await;
    let sender = Phone::new(client, 0);
    let max = limits::REFUSALS_KEPT;
    let name = muster_sync_core::DocumentName::DeviceBinding { user: "nobody".to_owned() };
    // Junk of the largest size: the bytes end before the rows do.
    let fit = max.bytes / 8_192;
    for round in 0..2_u32 {
        let items: Vec<Item> = (0..100_u32)
            .map(|index| {
                let mut bytes = vec![0; 8_192];
                bytes[..4].copy_from_slice(&(round * 100 + index).to_be_bytes());
                Item { name: name.clone(), signed: SignedChange { bytes, signature: [0; 64] }, manifest: None }
            })
            .collect();
        let fates = sender.push(&items).await;
        assert_eq!(count(&fates, FateKind::Refused), 100);
    }
    assert_eq!(rows(&server, "refusals").await, fit);
    // One that is kept already is counted on.
    let other = Phone::new(server.client("student").await, 1);
    let item = Item { name, signed: SignedChange { bytes: vec![9; 10], signature: [0; 64] }, manifest: None };
    other.push(std::slice::from_ref(&item)).await;
    assert_eq!(rows(&server, "refusals").await, fit + 1);
}
