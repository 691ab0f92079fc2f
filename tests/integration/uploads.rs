//! Images on their way in, and what the record that waits for them says meanwhile.

use std::time::Duration;

use muster_tests::lecture::{Lecture, flags, image_ref, picture, png, upload, upload_as};
use muster_tests::phone::Phone;
use muster_tests::{Reply, TestServer};
use reqwest::Method;
use serde_json::{Value, json};

use crate::blobs::{ACCESS_KEY, SECRET_KEY, s3_server};

const MISSING: &str = "/api/v1/blobs/missing";

async fn missing(phone: &Phone) -> Vec<Value> {
    phone.client.get(MISSING).await.expect(200)["missing"].as_array().unwrap().clone()
}

/// A student whose record names these images.
async fn expecting(lecture: &Lecture, seed: u8, images: &[&[u8]]) -> (Phone, String) {
    let mut phone = lecture.student(seed).await;
    let mut seen = lecture.manifest(None);
    seen.images.extend(images.iter().map(|bytes| image_ref(bytes)));
    let id = lecture.capture(&mut phone, &seen).await;
    (phone, id)
}

fn awaits(record: &Value) -> bool {
    record["record"]["awaiting_media"] == true
}

#[tokio::test]
async fn a_record_awaits_its_selfie_and_is_judged_when_it_comes() {
    let lecture = Lecture::begin().await;
    let selfie = picture(1);
    let (phone, id) = expecting(&lecture, 1, &[&selfie]).await;
    let record = lecture.until(&id, awaits).await;
    assert_eq!((&record["record"]["state"], &record["verdicts"]), (&json!("received"), &json!([])));
    let sha256 = data_encoding::HEXLOWER.encode(&image_ref(&selfie).sha256);
    assert_eq!(missing(&phone).await, [json!(sha256)]);

    let uploaded = upload(&phone.client, &selfie).await.expect(201);
    assert_eq!(uploaded, json!({"sha256": sha256, "size_bytes": selfie.len(), "media_type": "image/png"}));
    assert_eq!(flags(&lecture.verdict(&id, 1).await), [""; 0]);
    assert!(!awaits(&lecture.record(&id).await));
    assert_eq!(missing(&phone).await, [Value::Null; 0]);
    upload(&phone.client, &selfie).await.expect(200);

    let path = format!("/api/v1/lecturers/attendance/{id}/images/{sha256}");
    let shown = Reply::of(lecture.lecturer.request(Method::GET, &path)).await;
    assert_eq!(shown.status.as_u16(), 200);
    let pixels = |bytes: &[u8]| image::load_from_memory(bytes).unwrap().to_rgb8();
    assert_eq!(pixels(&shown.bytes), pixels(&selfie));
}

#[tokio::test]
async fn a_selfie_that_never_comes_is_flagged_and_one_that_comes_later_is_judged_anew() {
    let mut lecture = Lecture::begin().await;
    let selfie = picture(1);
    let (phone, id) = expecting(&lecture, 1, &[&selfie]).await;
    lecture.until(&id, awaits).await;
    lecture.later(Duration::from_secs(24 * 3600 - 1)).await;
    // Longer than a worker sleeps before it looks at the clock again.
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(lecture.record(&id).await["record"]["state"], "received");
    lecture.later(Duration::from_secs(1)).await;
    assert_eq!(flags(&lecture.verdict(&id, 1).await), ["selfie_match:selfie_missing"]);
    let record = lecture.record(&id).await;
    assert_eq!((&record["record"]["state"], awaits(&record)), (&json!("flagged"), false));

    upload(&lecture.again(&phone.client).await, &selfie).await.expect(201);
    assert_eq!(flags(&lecture.verdict(&id, 2).await), [""; 0]);
    assert_eq!(lecture.record(&id).await["record"]["state"], "accepted");
}

#[tokio::test]
async fn two_records_may_name_the_same_image() {
    let lecture = Lecture::begin().await;
    let selfie = picture(1);
    let (mut phone, first) = expecting(&lecture, 1, &[&selfie]).await;
    let seen = lecture.manifest(Some(&selfie));
    let body = json!({"course_id": lecture.course, "duration_minutes": 120});
    let session = lecture.lecturer.post("/api/v1/lecturers/sessions", &body).await.expect(201);
    let code = session["session_code"].as_str().unwrap();
    let claim = muster_sync_core::time::session_code::CodeClaim::parse(code).unwrap();
    let item = phone.submission_with(claim.locator, &claim.code, seen.clocks.wall_ms, &seen);
    let second = lecture.send(&phone, item).await;
    lecture.until(&first, awaits).await;
    lecture.until(&second, awaits).await;
    upload(&phone.client, &selfie).await.expect(201);
    for id in [first, second] {
        assert_eq!(lecture.verdict(&id, 1).await["outcome"], "accepted");
    }
}

#[tokio::test]
async fn a_type_of_image_that_the_settings_leave_out_is_not_taken() {
    for (types, status) in [("image/jpeg", 415), ("image/jpeg,image/png", 201)] {
        let lecture = Lecture::on(TestServer::builder().option("--upload-allowed-image-types", types)).await;
        let selfie = picture(1);
        let (phone, _) = expecting(&lecture, 1, &[&selfie]).await;
        let reply = upload(&phone.client, &selfie).await;
        if status == 201 {
            reply.expect(201);
        } else {
            let error = reply.expect_error(415, "UNSUPPORTED_MEDIA_TYPE");
            assert_eq!(error["details"]["reason"], "unsupported_type");
            assert!(error["message"].as_str().unwrap().contains("image/png"), "{error}");
        }
    }
}

#[tokio::test]
async fn every_wrong_upload_is_refused_with_its_reason_and_its_right_twin_is_not() {
    let lecture = Lecture::on(TestServer::builder().option("--upload-max-image-mb", "1")).await;
    let (good, other) = (picture(1), picture(2));
    let text = b"this is no picture at all".to_vec();
    let cut = good[..good.len() - 20].to_vec();
    let bomb = with_dimensions(&good, 60_000, 60_000);
    let wide = with_dimensions(&good, 6_001, 48);
    let noise = noisy(1_100);
    assert!(noise.len() > 1024 * 1024);
    let images: Vec<&[u8]> = vec![&good, &text, &cut];
    let (phone, _) = expecting(&lecture, 1, &images).await;
    let (bomber, _) = expecting(&lecture, 2, &[&bomb, &wide, &noise]).await;
    let client = &phone.client;

    upload(client, &other).await.expect_error(404, "IMAGE_NOT_EXPECTED");
    upload(&bomber.client, &good).await.expect_error(404, "IMAGE_NOT_EXPECTED");
    let sha256 = data_encoding::HEXLOWER.encode(&image_ref(&good).sha256);
    upload_as(client, &sha256, &other).await.expect_error(422, "HASH_MISMATCH");
    upload_as(client, &sha256, b"").await.expect_error(422, "HASH_MISMATCH");
    upload_as(client, "abc", &good).await.expect_error(422, "VALIDATION_ERROR");
    upload(client, &text).await.expect_error(415, "UNSUPPORTED_MEDIA_TYPE");
    assert_eq!(upload(client, &cut).await.expect_error(422, "IMAGE_INVALID")["details"]["reason"], "damaged");
    for huge in [&bomb, &wide] {
        let error = upload(&bomber.client, huge).await.expect_error(422, "IMAGE_INVALID");
        assert_eq!(error["details"]["reason"], "too_many_pixels");
    }
    upload(&bomber.client, &noise).await.expect_error(413, "PAYLOAD_TOO_LARGE");
    let chunked = client.request(Method::PUT, &format!("/api/v1/blobs/{sha256}"));
    let parts = noise.chunks(64 * 1024).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect::<Vec<_>>();
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(parts));
    Reply::of(chunked.body(body)).await.expect_error(413, "PAYLOAD_TOO_LARGE");

    upload(client, &good).await.expect(201);
    let lecturer = upload(&lecture.lecturer, &good).await;
    lecturer.expect_error(403, "FORBIDDEN");
    upload(&lecture.server.anonymous(), &good).await.expect_error(401, "UNAUTHORIZED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_in_a_bucket_take_the_same_way() {
    let folder = tempfile::tempdir().unwrap();
    let s3 = s3_server(&folder).await;
    let builder = TestServer::builder()
        .option("--storage-backend", "s3")
        .option("--s3-bucket", "evidence")
        .option("--s3-endpoint", &s3.address)
        .option("--s3-access-key", ACCESS_KEY)
        .option("--s3-secret-key", SECRET_KEY);
    let lecture = Lecture::on(builder).await;
    let selfie = picture(1);
    let (phone, id) = expecting(&lecture, 1, &[&selfie]).await;
    upload(&phone.client, &selfie).await.expect(201);
    assert_eq!(lecture.verdict(&id, 1).await["outcome"], "accepted");
    let sha256 = data_encoding::HEXLOWER.encode(&image_ref(&selfie).sha256);
    let path = format!("/api/v1/lecturers/attendance/{id}/images/{sha256}");
    let shown = Reply::of(lecture.lecturer.request(Method::GET, &path)).await;
    assert_eq!((shown.status.as_u16(), shown.headers["content-type"].to_str().unwrap()), (200, "image/png"));

    drop(s3);
    let (phone, _) = expecting(&lecture, 2, &[&picture(2)]).await;
    upload(&phone.client, &picture(2)).await.expect_error(503, "BLOB_STORE_UNAVAILABLE");
}

/// A PNG of `side` x `side` pixels that does not compress.
fn noisy(side: u32) -> Vec<u8> {
    let mut state = 1_u64;
    png(&image::RgbImage::from_fn(side, side, |_, _| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        image::Rgb([(state >> 33) as u8, (state >> 41) as u8, (state >> 49) as u8])
    }))
}

/// The same PNG, whose header claims other dimensions.
fn with_dimensions(png: &[u8], width: u32, height: u32) -> Vec<u8> {
    let mut bytes = png.to_vec();
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let crc = crc32(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// As PNG wants it.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}
