//! Whose evidence an image is: what is named by a record stays, what a waiting change names waits with it, what a stranger
//! says about somebody is asked of nobody, and everything that is missing is asked for.

use std::collections::{BTreeSet, HashMap};

use muster_sync_core::document::{Code, Source, Submission};
use muster_sync_core::evidence::{ImagePurpose, ImageRef, ImageType, Manifest, commitment};
use muster_sync_core::sync::message::FateKind;
use muster_sync_core::{DocumentName, Locator};
use muster_tests::lecture::{Lecture, image_ref, picture, upload};
use muster_tests::phone::{Item, Phone};
use muster_tests::{Client, Reply};
use reqwest::Method;
use serde_json::json;

pub(crate) fn session(index: u32) -> Locator {
    Locator::from_random((index << 4).to_be_bytes())
}

/// An image that nobody has, of this size.
pub(crate) fn made_up(number: u32, size_bytes: u64) -> ImageRef {
    let mut sha256 = [0x5a; 32];
    sha256[..4].copy_from_slice(&number.wrapping_mul(0x9e37_79b9).to_be_bytes());
    sha256[4..8].copy_from_slice(&number.to_be_bytes());
    ImageRef { purpose: ImagePurpose::Presence, sha256, size_bytes, image_type: ImageType::Jpeg }
}

/// A submission about anybody, by this phone's key.
pub(crate) fn about(phone: &mut Phone, student: &str, locator: Locator, manifest: &Manifest) -> Item {
    let bytes = manifest.to_bytes();
    let submission = Submission {
        captured_at_ms: manifest.clocks.wall_ms,
        code: Code::new("123456"),
        step: None,
        commitment: commitment(&bytes),
        schema: 1,
        source: Source::Phone,
        by: None,
    };
    let name = DocumentName::Attendance { locator, student: student.to_owned() };
    Item { signed: phone.write(&name, &submission.into()), name, manifest: Some(bytes) }
}

pub(crate) async fn missing(client: &Client) -> BTreeSet<String> {
    let (mut all, mut after) = (BTreeSet::new(), String::new());
    loop {
        let page = client.get(&format!("/api/v1/blobs/missing{after}")).await.expect(200);
        all.extend(page["missing"].as_array().unwrap().iter().map(|hash| hash.as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { return all };
        after = format!("?after={next}");
    }
}

fn hex(image: &ImageRef) -> String {
    data_encoding::HEXLOWER.encode(&image.sha256)
}

async fn shown(lecture: &Lecture, id: &str, image: &ImageRef) -> u16 {
    let path = format!("/api/v1/lecturers/attendance/{id}/images/{}", hex(image));
    Reply::of(lecture.lecturer.request(Method::GET, &path)).await.status.as_u16()
}

#[tokio::test]
async fn what_a_strangers_key_says_about_somebody_is_asked_of_nobody() {
    let lecture = Lecture::begin().await;
    let mut victim = lecture.student(1).await;
    let selfie = picture(1);
    let id = lecture.capture(&mut victim, &lecture.manifest(Some(&selfie))).await;
    let own = hex(&image_ref(&selfie));

    let mut stranger = Phone::new(lecture.server.client("student").await, 66);
    let victim_id = victim.client.user_id().to_owned();
    let planted: Vec<Item> = (0..30)
        .map(|number| {
            let mut manifest = lecture.manifest(None);
            manifest.images.extend((0..4).map(|image| made_up(number * 4 + image, 1_000)));
            about(&mut stranger, &victim_id, session(number), &manifest)
        })
        .collect();
    let fates = stranger.push(&planted).await;
    assert!(fates.iter().all(|fate| fate.kind != FateKind::Accepted), "{fates:?}");
    assert_eq!(missing(&victim.client).await, BTreeSet::from([own.clone()]));
    let wanted = victim.pull(&HashMap::new()).await.wanted;
    assert_eq!(wanted.iter().map(ToString::to_string).collect::<Vec<_>>(), [own]);
    assert!(missing(&stranger.client).await.is_empty());

    upload(&victim.client, &selfie).await.expect(201);
    assert_eq!(lecture.verdict(&id, 1).await["outcome"], "accepted");
    // Neither of them may store what the stranger named.
    let named = picture(9);
    let mut manifest = lecture.manifest(None);
    manifest.images.push(image_ref(&named));
    let planted = about(&mut stranger, &victim_id, session(90), &manifest);
    stranger.push(&[planted]).await;
    for client in [&victim.client, &stranger.client] {
        upload(client, &named).await.expect_error(404, "IMAGE_NOT_EXPECTED");
    }
}

#[tokio::test]
async fn what_a_phone_sent_before_its_approval_is_all_there_after_it() {
    let lecture = Lecture::begin().await;
    let mut phone = Phone::new(lecture.server.client("student").await, 1);
    let path = format!("/api/v1/courses/{}/students", lecture.course);
    lecture.lecturer.post(&path, &json!({"user_ids": [phone.client.user_id()]})).await.expect(200);
    let (here, late) = (picture(1), picture(2));
    let mut seen = lecture.manifest(Some(&here));
    seen.images.push(ImageRef { purpose: ImagePurpose::Presence, ..image_ref(&late) });
    let code = lecture.claim().await.code;
    let item = phone.submission_with(lecture.locator(), &code, seen.clocks.wall_ms, &seen);
    let fates = phone.push(std::slice::from_ref(&item)).await;
    assert_eq!(fates[0].reason.as_deref(), Some("device_unbound"));
    assert_eq!(missing(&phone.client).await.len(), 2);
    upload(&phone.client, &here).await.expect(201);
    upload(&phone.client, &here).await.expect(200);
    let id = item.name.id(muster_tests::phone::TENANT).to_string();
    assert_eq!(shown(&lecture, &id, &image_ref(&here)).await, 404);

    phone.bind(&lecture.server).await;
    let path = format!("/api/v1/lecturers/attendance/{id}");
    while lecture.lecturer.get(&path).await.status.as_u16() == 404 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    // The selfie is there and the other picture is still asked for.
    lecture.until(&id, |record| record["verdicts"].as_array().is_some_and(|verdicts| !verdicts.is_empty())).await;
    assert_eq!(shown(&lecture, &id, &image_ref(&here)).await, 200);
    assert_eq!(missing(&phone.client).await, BTreeSet::from([hex(&image_ref(&late))]));
    upload(&phone.client, &late).await.expect(201);
    assert_eq!(shown(&lecture, &id, &image_ref(&late)).await, 200);
}

#[tokio::test]
async fn what_is_discarded_takes_its_images_along_and_nothing_that_a_record_names() {
    let lecture = Lecture::begin().await;
    let mut bound = lecture.student(1).await;
    let (both, alone) = (picture(1), picture(2));
    let id = lecture.capture(&mut bound, &lecture.manifest(Some(&both))).await;
    upload(&bound.client, &both).await.expect(201);

    // The student's second phone waits and names the same picture, and one of its own.
    let mut second = Phone::new(bound.client.clone(), 2);
    let mut seen = lecture.manifest(Some(&alone));
    seen.images.push(ImageRef { purpose: ImagePurpose::Presence, ..image_ref(&both) });
    let item = second.submission_with(session(7), "1", seen.clocks.wall_ms, &seen);
    assert_eq!(second.push(std::slice::from_ref(&item)).await[0].reason.as_deref(), Some("device_unbound"));
    upload(&bound.client, &alone).await.expect(201);
    let hash = muster_sync_core::change::inspect(&item.signed.bytes).unwrap().hash;
    let admin = lecture.server.client("admin").await;
    let discard = format!("/api/v1/admin/quarantine/{hash}/discard");
    admin.post(&discard, &json!({"reason": "test"})).await.expect(200);

    let gone = upload(&bound.client, &alone).await;
    assert!(matches!(gone.status.as_u16(), 404 | 503), "{gone:?}");
    assert_eq!(shown(&lecture, &id, &image_ref(&both)).await, 200);
    upload(&bound.client, &both).await.expect(200);
    assert!(missing(&bound.client).await.is_empty());
}

#[tokio::test]
async fn every_missing_image_is_asked_for_however_many_there_are() {
    let lecture = Lecture::begin().await;
    let mut phone = lecture.student(1).await;
    let items: Vec<Item> = (0..70)
        .map(|number| {
            let mut seen = lecture.manifest(None);
            seen.images.extend((0..4).map(|image| made_up(number * 4 + image, 1_000)));
            phone.submission_with(session(number), "1", seen.clocks.wall_ms, &seen)
        })
        .collect();
    let fates = phone.push(&items).await;
    assert!(fates.iter().all(|fate| fate.receipt.is_some()), "{fates:?}");
    let all = missing(&phone.client).await;
    assert_eq!(all.len(), 280);

    let mut told = BTreeSet::new();
    let mut rounds = 0;
    while told.len() < all.len() {
        let wanted = phone.pull(&HashMap::new()).await.wanted;
        assert_eq!(wanted.len(), 100);
        told.extend(wanted.iter().map(ToString::to_string));
        rounds += 1;
        assert!(rounds < 200, "{} of {} were asked for", told.len(), all.len());
    }
    assert_eq!(told, all);
    phone.client.get("/api/v1/blobs/missing?after=x").await.expect_error(422, "VALIDATION_ERROR");
}

#[tokio::test]
async fn an_image_that_the_store_lost_is_asked_for_again() {
    let lecture = Lecture::begin().await;
    let mut phone = lecture.student(1).await;
    let selfie = picture(1);
    let id = lecture.capture(&mut phone, &lecture.manifest(Some(&selfie))).await;
    upload(&phone.client, &selfie).await.expect(201);
    assert_eq!(shown(&lecture, &id, &image_ref(&selfie)).await, 200);
    let blobs = lecture.server.data().path().join("blobs");
    for file in files_below(&blobs) {
        std::fs::remove_file(file).unwrap();
    }
    assert_eq!(shown(&lecture, &id, &image_ref(&selfie)).await, 404);
    assert_eq!(missing(&phone.client).await, BTreeSet::from([hex(&image_ref(&selfie))]));
    upload(&phone.client, &selfie).await.expect(201);
    assert_eq!(shown(&lecture, &id, &image_ref(&selfie)).await, 200);
}

pub(crate) fn files_below(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            files.extend(files_below(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files
}

/// What a database from before images had uses says of them: one document, or a reference.
async fn as_before(lecture: &Lecture, student: &str) {
    let student = student.to_owned();
    let written = lecture.server.app().db.write(move |tx: &muster_server::db::Tx<'_>| {
        use muster_server::params;
        tx.execute("DELETE FROM image_uses WHERE subject_id = ?1", params![&student])?;
        tx.execute(
            "INSERT INTO image_uses (tenant_id, subject_id, sha256, used_as, used_by, size_bytes, noted_at)
             SELECT tenant_id, subject_id, sha256, 'unread', sha256, size_bytes, expected_at
             FROM images
             WHERE subject_id = ?1",
            params![&student],
        )?;
        muster_server::jobs::enqueue(
            tx,
            &muster_server::ids::TenantId::default_tenant(),
            muster_server::sync::IMAGE_USES_JOB,
            student.as_bytes(),
            0,
        )
    });
    written.await.map_err(|error: muster_server::db::DbError| error).unwrap();
    lecture.server.app().wake_jobs();
}

#[tokio::test]
async fn a_database_from_before_learns_which_records_name_an_image() {
    let lecture = Lecture::begin().await;
    let mut phone = lecture.student(1).await;
    let selfie = picture(1);
    let id = lecture.capture(&mut phone, &lecture.manifest(Some(&selfie))).await;
    upload(&phone.client, &selfie).await.expect(201);
    let student = phone.client.user_id().to_owned();
    as_before(&lecture, &student).await;
    let uses = || {
        let student = student.clone();
        lecture.server.app().db.read(move |tx: &muster_server::db::Tx<'_>| {
            let sql = "SELECT used_as FROM image_uses WHERE subject_id = ?1 ORDER BY used_as LIMIT 10";
            tx.query(sql, muster_server::params![&student], |row| row.get::<String>(0))
        })
    };
    for _ in 0..1_000 {
        let found: Result<Vec<String>, muster_server::db::DbError> = uses().await;
        if found.unwrap() == ["evidence"] {
            assert_eq!(shown(&lecture, &id, &image_ref(&selfie)).await, 200);
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let found: Result<Vec<String>, muster_server::db::DbError> = uses().await;
    panic!("{:?}", found.unwrap());
}
