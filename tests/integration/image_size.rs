//! UPLOAD_MAX_IMAGE_MB through every door by which a picture comes in, above and below what it is by itself.

use muster_tests::TestServer;
use muster_tests::lecture::{Lecture, picture, upload};
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::Value;

const MEGABYTE: usize = 1024 * 1024;

/// A picture of this size: what follows its end is kept and not looked at.
fn sized(shade: u8, size_bytes: usize) -> Vec<u8> {
    let mut bytes = picture(shade);
    bytes.resize(size_bytes, 0);
    bytes
}

async fn by_form(lecture: &Lecture, student: &muster_tests::Client, bytes: Vec<u8>) -> muster_tests::Reply {
    let code = lecture.claim().await;
    let part = Part::bytes(bytes).file_name("selfie").mime_str("image/png").unwrap();
    let form = Form::new().text("session_code", format!("{}-{}", lecture.locator(), code.code)).part("selfie", part);
    muster_tests::Reply::of(student.request(Method::POST, "/api/v1/students/attendance").multipart(form)).await
}

#[tokio::test]
async fn pictures_come_in_by_every_door_up_to_what_the_setting_says_and_no_larger() {
    for megabytes in [1, 8] {
        let most = megabytes * MEGABYTE;
        let builder = TestServer::builder().option("--upload-max-image-mb", &megabytes.to_string());
        let lecture = Lecture::on(builder).await;
        let mut phone = lecture.student(1).await;
        let facts: Value = phone.client.get("/api/v1/server").await.expect(200);
        assert_eq!(facts["image_size_bytes_max"], most, "a phone learns it when it signs in");
        // A phone names them in a submission, and uploads them by their hash.
        let (right, wrong) = (sized(7, most), sized(8, most + 1));
        let record = lecture.capture(&mut phone, &lecture.manifest(Some(&right))).await;
        upload(&phone.client, &right).await.expect(201);
        upload(&phone.client, &wrong).await.expect_error(413, "PAYLOAD_TOO_LARGE");
        // People see a copy, which is decoded.
        let sha256 = data_encoding::HEXLOWER.encode(&<sha2::Sha256 as sha2::Digest>::digest(&right));
        let path = format!("/api/v1/lecturers/attendance/{record}/images/{sha256}");
        assert_eq!(lecture.lecturer.get(&path).await.status, 200);
        // A web page sends them in a form.
        let other = lecture.student(2).await;
        by_form(&lecture, &other.client, sized(9, most + 1)).await.expect_error(413, "PAYLOAD_TOO_LARGE");
        let sent = by_form(&lecture, &other.client, sized(10, most)).await.expect(201);
        assert_eq!(sent["awaiting_media"], false);
    }
}
