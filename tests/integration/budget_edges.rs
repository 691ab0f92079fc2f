//! The last byte and the last row of what one person may use up: the one is taken, the next one is not, and somebody else's is.

use std::time::Duration;

use futures_util::future::join_all;
use muster_server::budgets::DAY_MS;
use muster_server::db::{DbError, Tx};
use muster_server::limits::budgets::{self, Budget};
use muster_server::params;
use muster_sync_core::DocumentName;
use muster_sync_core::change::SignedChange;
use muster_sync_core::document::{Appeal, Code, RequestPurpose};
use muster_sync_core::evidence::Manifest;
use muster_sync_core::sync::message::FateKind;
use muster_tests::TestServer;
use muster_tests::lecture::{Lecture, NOON_MS, image_ref, picture, upload};
use muster_tests::phone::{self, Item, Phone};

use super::budgets::{count, email_of, reason, rows, server, use_up};
use super::evidence::{about, session};

/// So many submissions of a phone, one record each.
fn submissions(phone: &mut Phone, n: u32) -> Vec<Item> {
    (0..n).map(|index| phone.submission(session(index), "1", NOON_MS)).collect()
}

/// Each is taken, or told to come again for this reason.
async fn ends_with(phone: &Phone, items: &[Item], kind: FateKind, why: &str) {
    let fates = phone.push(items).await;
    let (last, before) = fates.split_last().unwrap();
    assert!(before.iter().all(|fate| fate.kind == kind), "{fates:?}");
    assert_eq!(reason(last), ("retry", why), "{fates:?}");
}

#[tokio::test]
async fn a_day_ends_at_its_last_byte_and_its_last_row_for_every_role() {
    let server = server().await;
    for (role, max_rows, max_bytes) in [
        ("student", budgets::STUDENT_LOG_ROWS, budgets::STUDENT_LOG_BYTES),
        ("lecturer", budgets::STAFF_LOG_ROWS, budgets::STAFF_LOG_BYTES),
    ] {
        let mut phone = Phone::new(server.client(role).await, role.as_bytes()[0]);
        phone.bind(&server).await;
        let items = submissions(&mut phone, 4);
        use_up(&server, &phone.client, "log_rows", max_rows.rows() - 1).await;
        ends_with(&phone, &items[..2], FateKind::Accepted, "day_full").await;
        use_up(&server, &phone.client, "log_rows", 0).await;
        let size_bytes = items[1].signed.bytes.len() as i64;
        use_up(&server, &phone.client, "log_bytes", max_bytes.rows() - size_bytes + 1).await;
        assert_eq!(reason(&phone.push(&items[1..2]).await[0]), ("retry", "day_full"), "one byte too many");
        use_up(&server, &phone.client, "log_bytes", max_bytes.rows() - size_bytes).await;
        ends_with(&phone, &items[1..3], FateKind::Accepted, "day_full").await;
    }
}

/// What the newest waiting change takes, with what waits beside it.
async fn waiting_size(server: &TestServer, phone: &Phone) -> i64 {
    let payer = phone.client.user_id().to_owned();
    let sql = "SELECT size_bytes FROM quarantine WHERE payer_id = ?1 LIMIT 1";
    let read: Result<Option<i64>, DbError> =
        server.app().db.read(move |tx: &Tx<'_>| tx.query_one(sql, params![&payer], |row| row.get(0))).await;
    read.unwrap().unwrap()
}

#[tokio::test]
async fn so_much_comes_to_wait_on_one_day_for_every_role() {
    let server = server().await;
    for (role, max_rows, max_bytes) in [
        ("student", budgets::STUDENT_WAITING_ROWS, budgets::STUDENT_WAITING_BYTES),
        ("lecturer", budgets::STAFF_WAITING_ROWS, budgets::STAFF_WAITING_BYTES),
    ] {
        let mut phone = Phone::new(server.client(role).await, role.as_bytes()[0]);
        let items = submissions(&mut phone, 4);
        use_up(&server, &phone.client, "waiting_rows", max_rows.rows() - 1).await;
        ends_with(&phone, &items[..2], FateKind::Quarantined, "day_full").await;
        use_up(&server, &phone.client, "waiting_rows", 0).await;
        let size_bytes = waiting_size(&server, &phone).await;
        use_up(&server, &phone.client, "waiting_bytes", max_bytes.rows() - size_bytes + 1).await;
        assert_eq!(reason(&phone.push(&items[1..2]).await[0]), ("retry", "day_full"), "one byte too many");
        use_up(&server, &phone.client, "waiting_bytes", max_bytes.rows() - size_bytes).await;
        ends_with(&phone, &items[1..3], FateKind::Quarantined, "day_full").await;
    }
}

/// As if so many more of what waits of a payer were there, about these; each takes no bytes.
async fn wait_already(server: &TestServer, payer: &str, n: i64, about: impl Fn(i64) -> String + Send + 'static) {
    let payer = payer.to_owned();
    let written: Result<(), DbError> = server
        .app()
        .db
        .write(move |tx: &Tx<'_>| {
            let like = "SELECT hash FROM quarantine WHERE size_bytes > 0 LIMIT 1";
            let like: [u8; 32] = tx.query_one(like, params![], |row| row.get(0))?.unwrap();
            for number in 0..n {
                let mut hash = [0x5a_u8; 32];
                hash[..8].copy_from_slice(&number.to_be_bytes());
                hash[8..16].copy_from_slice(&payer.as_bytes()[payer.len() - 8..]);
                tx.send(
                    "INSERT INTO quarantine
                         (tenant_id, hash, document_id, kind, key1, key2, writer, seq, change, signature, sender_id,
                          reason, state, received_at, payer_id, subject_id, size_bytes)
                     SELECT tenant_id, ?1, document_id, kind, key1, key2, writer, seq, change, signature, ?2,
                          reason, state, received_at, ?2, ?3, 0
                     FROM quarantine
                     WHERE tenant_id = 'default' AND hash = ?4",
                    params![&hash, &payer, &about(number), &like],
                )?;
            }
            Ok(())
        })
        .await;
    written.unwrap();
}

/// As if what waits of a payer took so many bytes.
async fn takes(server: &TestServer, phone: &Phone, size_bytes: i64) {
    let payer = phone.client.user_id().to_owned();
    let sql = "UPDATE quarantine
               SET size_bytes = CASE WHEN hash = (
                   SELECT hash FROM quarantine WHERE payer_id = ?1 ORDER BY hash DESC LIMIT 1
               ) THEN CAST(?2 AS BIGINT) ELSE 0 END
               WHERE payer_id = ?1";
    let written: Result<u64, DbError> =
        server.app().db.write(move |tx: &Tx<'_>| tx.execute(sql, params![&payer, size_bytes])).await;
    assert!(written.unwrap() > 0);
}

/// Changes about so many other students, one each, from this one's account.
async fn about_others(server: &TestServer, phone: &mut Phone, n: u32) -> Vec<Item> {
    let seen = phone::manifest(NOON_MS);
    let mut items = Vec::new();
    for index in 0..n {
        let other = server.client("student").await;
        items.push(about(phone, other.user_id(), session(index), &seen));
    }
    items
}

/// One byte less than the limit leaves room for is too many, and then one fits and the next does not.
async fn ends_at_its_last_byte(server: &TestServer, phone: &Phone, items: &[Item], max: Budget) {
    let size_bytes = waiting_size(server, phone).await;
    takes(server, phone, max.rows() - size_bytes + 1).await;
    assert_eq!(reason(&phone.push(&items[..1]).await[0]), ("retry", "quarantine_full"), "{}", max.name);
    takes(server, phone, max.rows() - size_bytes).await;
    ends_with(phone, &items[..2], FateKind::Quarantined, "quarantine_full").await;
}

#[tokio::test]
async fn what_waits_at_once_ends_at_its_last_byte_and_its_last_row() {
    let server = server().await;
    let mut own = Phone::new(server.client("student").await, 1);
    let items = submissions(&mut own, 3);
    own.push(&items[..1]).await;
    ends_at_its_last_byte(&server, &own, &items[1..], budgets::OWN_WAITING_BYTES).await;

    for (role, max_rows, max_bytes) in [
        ("student", budgets::STUDENT_RELAYED_ROWS, budgets::STUDENT_RELAYED_BYTES),
        ("lecturer", budgets::STAFF_RELAYED_ROWS, budgets::STAFF_RELAYED_BYTES),
    ] {
        let mut phone = Phone::new(server.client(role).await, role.as_bytes()[0]);
        let items = about_others(&server, &mut phone, 6).await;
        assert_eq!(count(&phone.push(&items[..1]).await, FateKind::Quarantined), 1);
        ends_at_its_last_byte(&server, &phone, &items[1..3], max_bytes).await;
        takes(&server, &phone, 0).await;
        let there = 2 + 1;
        wait_already(&server, phone.client.user_id(), max_rows.rows() - there, |n| format!("somebody-{n}")).await;
        ends_with(&phone, &items[3..5], FateKind::Quarantined, "quarantine_full").await;
        // What is about oneself has a room of its own.
        let own = phone.submission(session(90), "1", NOON_MS);
        assert_eq!(reason(&phone.push(&[own]).await[0]), ("quarantined", "device_unbound"));
    }
}

#[tokio::test]
async fn so_much_waits_about_one_person_of_a_lecturer_and_of_all_strangers() {
    let server = server().await;
    let victim = server.client("student").await;
    let student = victim.user_id().to_owned();
    let mut lecturer = Phone::new(server.client("lecturer").await, 1);
    let seen = phone::manifest(NOON_MS);
    let items: Vec<Item> = (0..3).map(|index| about(&mut lecturer, &student, session(index), &seen)).collect();
    assert_eq!(count(&lecturer.push(&items[..1]).await, FateKind::Quarantined), 1);
    let whom = student.clone();
    let max = budgets::STAFF_WAITING_ABOUT_ONE.rows();
    wait_already(&server, lecturer.client.user_id(), max - 2, move |_| whom.clone()).await;
    ends_with(&lecturer, &items[1..], FateKind::Quarantined, "quarantine_full").await;
    let other = about_others(&server, &mut lecturer, 1).await;
    assert_eq!(count(&lecturer.push(&other).await, FateKind::Quarantined), 1, "about somebody else there is room");

    let max = budgets::STRANGERS_WAITING_ABOUT_ONE.rows();
    for number in 0..max / budgets::STUDENT_WAITING_ABOUT_ONE.rows() {
        let stranger = server.client("student").await;
        let mut key = Phone::new(stranger.clone(), 100 + number as u8);
        // One less in all than there is room for.
        let n = budgets::STUDENT_WAITING_ABOUT_ONE.rows() - i64::from(number == 0);
        let items: Vec<Item> = (0..n).map(|index| about(&mut key, &student, session(index as u32), &seen)).collect();
        assert_eq!(count(&key.push(&items).await, FateKind::Quarantined), items.len());
    }
    let mut late = Phone::new(server.client("student").await, 90);
    let items: Vec<Item> = (0..2).map(|index| about(&mut late, &student, session(index), &seen)).collect();
    ends_with(&late, &items, FateKind::Quarantined, "quarantine_full").await;
    // The person's own phone has its room, and so has another lecturer who carries for it.
    let mut own = Phone::new(victim, 2);
    let items = submissions(&mut own, 2);
    assert_eq!(count(&own.push(&items[..1]).await, FateKind::Quarantined), 1);
    let carries = Phone::new(server.client("lecturer").await, 3);
    assert_eq!(count(&carries.push(&items[1..]).await, FateKind::Quarantined), 1);
}

#[tokio::test]
async fn small_copies_of_refused_changes_end_at_their_number() {
    let server = server().await;
    let name = DocumentName::DeviceBinding { user: "nobody".to_owned() };
    let junk = |number: u32| {
        let signed = SignedChange { bytes: number.to_be_bytes().to_vec(), signature: [0; 64] };
        Item { name: name.clone(), signed, manifest: None }
    };
    let (sender, max) = (Phone::new(server.client("student").await, 0), budgets::REFUSALS_KEPT_ROWS.rows());
    let items: Vec<Item> = (0..max as u32 - 1).map(junk).collect();
    for items in items.chunks(100) {
        assert_eq!(count(&sender.push(items).await, FateKind::Refused), items.len());
    }
    assert_eq!(rows(&server, "refusals").await, max - 1);
    sender.push(&[junk(max as u32)]).await;
    assert_eq!(rows(&server, "refusals").await, max);
    sender.push(&[junk(max as u32 + 1)]).await;
    assert_eq!(rows(&server, "refusals").await, max, "it is refused all the same, and no copy is kept");
    Phone::new(server.client("student").await, 1).push(&[junk(0)]).await;
    assert_eq!(rows(&server, "refusals").await, max + 1);
}

#[tokio::test]
async fn a_person_asks_for_so_many_devices_at_all() {
    let server = server().await;
    let mut client = server.client("student").await;
    let email = email_of(&server, &client).await;
    let (max, per_day) = (budgets::BINDING_REQUESTS.rows(), budgets::BINDING_REQUESTS_PER_DAY.rows());
    let mut asked = 0;
    while asked < max {
        let today = per_day.min(max - asked);
        let items: Vec<Item> = (asked..asked + today)
            .map(|seed| Phone::new(client.clone(), seed as u8).binding_request(RequestPurpose::Bind))
            .collect();
        let fates = Phone::new(client.clone(), 255).push(&items).await;
        assert_eq!(count(&fates, FateKind::Accepted), items.len(), "{asked}: {fates:?}");
        asked += today;
        server.clock().advance(Duration::from_millis(DAY_MS as u64 + 1));
        client = server.sign_in(&email).await;
    }
    let one_more = Phone::new(client.clone(), 250).binding_request(RequestPurpose::Bind);
    let fates = Phone::new(client, 255).push(&[one_more]).await;
    assert_eq!(reason(&fates[0]), ("retry", "requests_full"));
    let mut other = Phone::new(server.client("student").await, 251);
    other.bind(&server).await;
}

/// What a person has used up of a column today.
async fn used(server: &TestServer, phone: &Phone, column: &'static str) -> i64 {
    let (person, day) = (phone.client.user_id().to_owned(), server.clock_ms().div_euclid(DAY_MS));
    let read: Result<Option<i64>, DbError> = server
        .app()
        .db
        .read(move |tx: &Tx<'_>| {
            let sql = format!("SELECT {column} FROM person_days WHERE person_id = ?1 AND day = ?2");
            tx.query_one(&sql, params![&person, day], |row| row.get(0))
        })
        .await;
    read.unwrap().unwrap()
}

/// A record that names these pictures.
async fn named(lecture: &Lecture, phone: &mut Phone, pictures: &[Vec<u8>]) {
    for (pictures, index) in pictures.chunks(4).zip(40..) {
        let mut seen = lecture.manifest(None);
        seen.images.extend(pictures.iter().map(|bytes| image_ref(bytes)));
        let item = phone.submission_with(session(index), "1", seen.clocks.wall_ms, &seen);
        lecture.send(phone, item).await;
    }
}

#[tokio::test]
async fn pictures_that_come_at_once_get_no_more_of_the_day() {
    let lecture = Lecture::begin().await;
    let server = &lecture.server;
    let mut phone = lecture.student(1).await;
    let pictures: Vec<_> = (0..8).map(picture).collect();
    named(&lecture, &mut phone, &pictures).await;
    let max = budgets::IMAGES_STORED.rows();
    use_up(server, &phone.client, "images", max - 3).await;
    let replies = join_all(pictures.iter().map(|bytes| upload(&phone.client, bytes))).await;
    let taken = replies.iter().filter(|reply| reply.status == 201).count();
    assert_eq!(taken, 3, "{:?}", replies.iter().map(|reply| reply.status).collect::<Vec<_>>());
    for (reply, bytes) in replies.into_iter().zip(&pictures) {
        if reply.status != 201 {
            reply.expect_error(507, "IMAGES_OF_TODAY_FULL");
        } else {
            // The same at once and again is one picture.
            let again = join_all((0..3).map(|_| upload(&phone.client, bytes))).await;
            again.into_iter().for_each(|reply| drop(reply.expect(200)));
        }
    }
    assert_eq!(used(server, &phone, "images").await, max);
    assert_eq!(rows(server, "images").await, 8, "all of them are still expected or there");

    server.clock().advance(Duration::from_secs(13 * 3600));
    let again = lecture.again(&phone.client).await;
    for bytes in &pictures {
        let status = upload(&again, bytes).await.status.as_u16();
        assert!(matches!(status, 200 | 201), "{status}");
    }
    assert_eq!(used(server, &phone, "images").await, 5);
}

#[tokio::test]
async fn the_same_picture_at_once_is_counted_once() {
    let lecture = Lecture::begin().await;
    let mut phone = lecture.student(1).await;
    let selfie = picture(1);
    named(&lecture, &mut phone, std::slice::from_ref(&selfie)).await;
    let replies = join_all((0..6).map(|_| upload(&phone.client, &selfie))).await;
    assert!(replies.iter().all(|reply| matches!(reply.status.as_u16(), 200 | 201)));
    assert_eq!(used(&lecture.server, &phone, "images").await, 1);
    assert_eq!(used(&lecture.server, &phone, "image_bytes").await, selfie.len() as i64);
}

#[tokio::test]
async fn a_day_ends_at_the_last_byte_of_its_pictures() {
    let lecture = Lecture::begin().await;
    let mut phone = lecture.student(1).await;
    let pictures: Vec<_> = (0..2).map(picture).collect();
    named(&lecture, &mut phone, &pictures).await;
    let max = budgets::IMAGES_STORED_BYTES.rows();
    use_up(&lecture.server, &phone.client, "image_bytes", max - pictures[0].len() as i64 + 1).await;
    upload(&phone.client, &pictures[0]).await.expect_error(507, "IMAGES_OF_TODAY_FULL");
    use_up(&lecture.server, &phone.client, "image_bytes", max - pictures[0].len() as i64).await;
    upload(&phone.client, &pictures[0]).await.expect(201);
    upload(&phone.client, &pictures[1]).await.expect_error(507, "IMAGES_OF_TODAY_FULL");
    let mut other = lecture.student(2).await;
    named(&lecture, &mut other, &pictures).await;
    upload(&other.client, &pictures[1]).await.expect(201);
}

#[tokio::test]
async fn so_many_pictures_are_taken_for_changes_that_wait() {
    let lecture = Lecture::begin().await;
    let mut phone = Phone::new(lecture.server.client("student").await, 1);
    let max = budgets::IMAGES_FOR_WAITING.count();
    let pictures: Vec<Vec<u8>> = (0..max + 1)
        .map(|number| {
            let pixel = image::Rgb([(number / 200) as u8, (number % 200) as u8, 200]);
            muster_tests::lecture::png(&image::RgbImage::from_pixel(8, 8, pixel))
        })
        .collect();
    let items: Vec<Item> = pictures
        .chunks(4)
        .zip(0..)
        .map(|(pictures, index)| {
            let mut seen: Manifest = lecture.manifest(None);
            seen.images.extend(pictures.iter().map(|bytes| image_ref(bytes)));
            phone.submission_with(session(index), "1", seen.clocks.wall_ms, &seen)
        })
        .collect();
    assert_eq!(count(&phone.push(&items).await, FateKind::Quarantined), items.len());
    upload(&phone.client, &pictures[max - 1]).await.expect(201);
    upload(&phone.client, &pictures[max]).await.expect_error(507, "WAITING_IMAGES_FULL");
}

#[tokio::test]
async fn a_record_takes_so_many_appeals_and_another_record_its_own() {
    let lecture = Lecture::begin().await;
    let mut phone = lecture.student(1).await;
    lecture.capture(&mut phone, &lecture.manifest(None)).await;
    let name = phone.attendance(lecture.locator());
    let of = phone.tips[&name.id(phone::TENANT)].hash;
    let appeal = |phone: &mut Phone, name: &DocumentName| {
        let appeal = Appeal { of, reason: Code::new("was_there").unwrap(), note_hash: None, by: None };
        Item { name: name.clone(), signed: phone.write(name, &appeal.into()), manifest: None }
    };
    let max = muster_sync_core::limits::APPEALS_PER_RECORD_MAX;
    let items: Vec<Item> = (0..=max).map(|_| appeal(&mut phone, &name)).collect();
    let fates = phone.push(&items).await;
    assert_eq!(count(&fates, FateKind::Accepted) as u64, max, "{fates:?}");
    assert_eq!(reason(fates.last().unwrap()), ("refused", "too_many_appeals"));
    let other = phone.submission(session(70), "1", NOON_MS);
    let items = [other.clone(), appeal(&mut phone, &other.name)];
    let fates = phone.push(&items).await;
    assert_eq!(count(&fates, FateKind::Accepted), 2, "{fates:?}");
}
