//! Faces through HTTP, on real pictures and the real runtime: enrolling, matching, withdrawing, and doing without models.

use image::imageops::{FilterType, flip_horizontal, resize};
use image::{ImageFormat, RgbImage};
use muster_server::db::{DbError, Tx};
use muster_tests::lecture::{Lecture, check, flags, upload};
use muster_tests::models::{
    ANNA_IN_SAMPLE_1, ANNA_IN_SAMPLE_3, BELLA_IN_SAMPLE_6, NOBODY_IN_SAMPLE_3, TWO_IN_SAMPLE_6, models_dir,
    sample_part, two_of_one_size,
};
use muster_tests::phone::Phone;
use muster_tests::{Client, Reply, TestServer};
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use std::io::Cursor;

use super::evidence::files_below;

const ENROLL: &str = "/api/v1/students/enroll-face";
const FACE: &str = "/api/v1/students/face";

fn jpeg(image: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    image.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Jpeg).unwrap();
    bytes
}

fn anna() -> Vec<u8> {
    jpeg(&sample_part(1, ANNA_IN_SAMPLE_1))
}

fn anna_on_another_evening() -> Vec<u8> {
    jpeg(&sample_part(3, ANNA_IN_SAMPLE_3))
}

fn bella() -> Vec<u8> {
    jpeg(&sample_part(6, BELLA_IN_SAMPLE_6))
}

async fn enroll(client: &Client, bytes: Vec<u8>) -> Reply {
    enroll_photos(client, [bytes]).await
}

async fn enroll_photos(client: &Client, photos: impl IntoIterator<Item = Vec<u8>>) -> Reply {
    let part = |bytes| Part::bytes(bytes).file_name("me.jpg").mime_str("image/jpeg").unwrap();
    let form = photos.into_iter().fold(Form::new(), |form, bytes| form.part("image", part(bytes)));
    Reply::of(client.request(Method::POST, ENROLL).multipart(form)).await
}

/// A lecture on a server with models that compares faces.
async fn lecture() -> Lecture {
    let dir = tokio::task::spawn_blocking(models_dir).await.unwrap();
    let lecture = Lecture::on(TestServer::builder().option("--models-dir", dir.to_str().unwrap())).await;
    lecture.faces(true).await;
    lecture
}

/// Captures with a selfie that is there at once; gives the record's id.
async fn capture(lecture: &Lecture, phone: &mut Phone, selfie: &[u8]) -> String {
    let id = lecture.capture(phone, &lecture.manifest(Some(selfie))).await;
    let uploaded = upload(&phone.client, selfie).await;
    assert!(matches!(uploaded.status.as_u16(), 200 | 201), "{uploaded:?}");
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_selfie_of_the_enrolled_face_matches_and_any_other_picture_is_flagged() {
    let lecture = lecture().await;
    let nobody = jpeg(&sample_part(3, NOBODY_IN_SAMPLE_3));
    let two = jpeg(&two_of_one_size());
    let cases: [(Vec<u8>, &[&str]); 4] = [
        (anna_on_another_evening(), &[]),
        (bella(), &["selfie_match:face_mismatch"]),
        (nobody, &["selfie_match:no_face", "face_count:no_face"]),
        (two, &["selfie_match:several_faces", "face_count:several_faces"]),
    ];
    for (index, (selfie, expected)) in cases.into_iter().enumerate() {
        let mut phone = lecture.student(index as u8 + 1).await;
        enroll(&phone.client, anna()).await.expect(201);
        let id = capture(&lecture, &mut phone, &selfie).await;
        let verdict = lecture.verdict(&id, 1).await;
        assert_eq!(flags(&verdict), expected);
        assert_eq!(verdict["model"], "ssd-dlib128-mirror.2", "{verdict}");
        if index < 2 {
            let matched = check(&verdict, "selfie_match");
            let (score, threshold) = (matched["score"].as_f64().unwrap(), matched["threshold"].as_f64().unwrap());
            assert_eq!(score <= threshold, expected.is_empty(), "{matched}");
        }
    }
    assert_eq!(attempts(&lecture).await, ["match", "mismatch", "not_one_face", "not_one_face"]);
}

/// The outcomes in the log of comparisons, sorted.
async fn attempts(lecture: &Lecture) -> Vec<String> {
    let read: Result<Vec<String>, DbError> = lecture
        .server
        .app()
        .db
        .read(|tx: &Tx<'_>| {
            tx.query("SELECT outcome FROM face_verifications ORDER BY outcome LIMIT 100", &[], |row| row.get(0))
        })
        .await;
    read.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_without_a_reference_is_judged_again_when_one_is_enrolled() {
    let lecture = lecture().await;
    let mut phone = lecture.student(1).await;
    let id = capture(&lecture, &mut phone, &anna_on_another_evening()).await;
    assert_eq!(flags(&lecture.verdict(&id, 1).await), ["selfie_match:no_reference"]);
    enroll(&phone.client, anna()).await.expect(201);
    assert_eq!(flags(&lecture.verdict(&id, 2).await), [""; 0]);
    assert_eq!(lecture.record(&id).await["record"]["state"], "accepted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reference_shows_exactly_one_face_that_is_large_enough() {
    let lecture = lecture().await;
    let student = lecture.server.client("student").await;
    let small = resize(&sample_part(1, ANNA_IN_SAMPLE_1), 70, 75, FilterType::Triangle);
    enroll(&student, jpeg(&sample_part(3, NOBODY_IN_SAMPLE_3))).await.expect_error(422, "NO_FACE");
    let several = enroll(&student, jpeg(&sample_part(6, TWO_IN_SAMPLE_6))).await.expect_error(422, "SEVERAL_FACES");
    assert_eq!(several["details"]["faces"], 2);
    let code = enroll(&student, jpeg(&small)).await.expect(422)["error"]["code"].clone();
    assert!(code == "FACE_TOO_SMALL" || code == "NO_FACE", "{code}");
    enroll(&student, b"no picture".to_vec()).await.expect_error(415, "UNSUPPORTED_MEDIA_TYPE");
    let cut = anna()[..2_000].to_vec();
    enroll(&student, cut).await.expect_error(422, "IMAGE_INVALID");
    let nothing = Reply::of(student.request(Method::POST, ENROLL).multipart(Form::new().text("name", "x"))).await;
    nothing.expect_error(422, "VALIDATION_ERROR");
    student.post(ENROLL, &json!({})).await.expect_error(415, "UNSUPPORTED_MEDIA_TYPE");
    let huge = enroll(&student, vec![0xFF; 6 * 1024 * 1024]).await;
    assert_eq!(huge.headers["connection"], "close", "nobody reads the rest of it");
    huge.expect_error(413, "PAYLOAD_TOO_LARGE");

    assert_eq!(student.get(FACE).await.expect(200)["enrolled"], false);
    let enrolled = enroll(&student, anna()).await.expect(201);
    assert_eq!((&enrolled["replaced"], &enrolled["model"]), (&json!(false), &json!("ssd-dlib128-mirror/2")));
    let status = student.get(FACE).await.expect(200);
    assert_eq!((&status["enrolled"], &status["available"]), (&json!(true), &json!(true)));
    enroll(&lecture.lecturer, anna()).await.expect_error(403, "FORBIDDEN");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn up_to_three_photos_of_one_person_make_a_reference_and_each_is_erased_with_it() {
    let lecture = lecture().await;
    let student = lecture.server.client("student").await;
    let mirrored = jpeg(&flip_horizontal(&sample_part(3, ANNA_IN_SAMPLE_3)));
    let different = enroll_photos(&student, [anna(), anna_on_another_evening(), bella()]).await;
    assert_eq!(different.expect_error(422, "DIFFERENT_FACES")["details"]["photo"], 3);
    let nobody = jpeg(&sample_part(3, NOBODY_IN_SAMPLE_3));
    assert_eq!(enroll_photos(&student, [anna(), nobody]).await.expect_error(422, "NO_FACE")["details"]["photo"], 2);
    let cut = anna()[..2_000].to_vec();
    assert_eq!(enroll_photos(&student, [cut, anna()]).await.expect_error(422, "IMAGE_INVALID")["details"]["photo"], 1);
    let four = enroll_photos(&student, [anna(), anna(), anna(), anna()]).await.expect_error(422, "VALIDATION_ERROR");
    assert_eq!(four["details"]["field"], "image");
    assert_eq!(kept(&lecture).await, (0, 0));

    let enrolled = enroll_photos(&student, [anna_on_another_evening(), mirrored, anna()]).await.expect(201);
    let advice = &enrolled["advice"];
    assert_eq!((&advice[0], &advice[1], &advice[2][0]["code"]), (&json!([]), &json!([]), &json!("tilted")));
    assert_eq!(kept(&lecture).await, (1, 3));

    student.delete(FACE).await.expect(204);
    assert_eq!(kept(&lecture).await, (0, 0));

    let other = lecture.server.client("student").await;
    enroll_photos(&other, [bella(), bella()]).await.expect(201);
    assert_eq!(kept(&lecture).await, (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_face_needs_an_admin_and_the_same_face_does_not() {
    let lecture = lecture().await;
    let student = lecture.server.client("student").await;
    let admin = lecture.server.client("admin").await;
    let approve = format!("/api/v1/admin/face-reenrolments/{}/approve", student.user_id());
    admin.post(&approve, &json!({})).await.expect_error(404, "NOT_FOUND");
    enroll(&student, anna()).await.expect(201);
    assert_eq!(enroll(&student, anna_on_another_evening()).await.expect(201)["replaced"], true);

    enroll(&student, bella()).await.expect_error(409, "REENROLMENT_NEEDS_APPROVAL");
    let waiting = admin.get("/api/v1/admin/face-reenrolments").await.expect(200);
    assert_eq!(waiting["items"][0]["user_id"], student.user_id());
    student.post(&approve, &json!({})).await.expect_error(403, "FORBIDDEN");
    admin.post(&approve, &json!({})).await.expect(204);
    enroll(&student, bella()).await.expect(201);
    assert_eq!(admin.get("/api/v1/admin/face-reenrolments").await.expect(200)["items"], json!([]));
    assert_eq!(
        (&waiting["items"][0]["user"]["id"], &waiting["items"][0]["unconfirmed"]),
        (&json!(student.user_id()), &json!(false))
    );

    // Of somebody whose address nobody confirmed it takes a word.
    let doubt = json!({"email_confirmed": false});
    admin.patch(&format!("/api/v1/admin/users/{}", student.user_id()), &doubt).await.expect(200);
    enroll(&student, anna()).await.expect_error(409, "REENROLMENT_NEEDS_APPROVAL");
    let waiting = admin.get("/api/v1/admin/face-reenrolments").await.expect(200)["items"][0].clone();
    assert_eq!((&waiting["unconfirmed"], &waiting["user"]["email_confirmed_at"]), (&json!(true), &json!(null)));
    admin.post(&approve, &json!({})).await.expect_error(409, "OWNER_UNCONFIRMED");
    admin.post(&format!("{approve}?accept_unconfirmed=true"), &json!({})).await.expect(204);
    enroll(&student, anna()).await.expect(201);
    let own = format!("/api/v1/admin/face-reenrolments/{}/approve", admin.user_id());
    admin.post(&own, &json!({})).await.expect_error(403, "OWN_REQUEST");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn withdrawing_erases_photo_and_template_and_another_face_cannot_slip_in() {
    let lecture = lecture().await;
    let student = lecture.server.client("student").await;
    enroll(&student, anna()).await.expect(201);
    assert_eq!(kept(&lecture).await, (1, 1));
    student.delete(FACE).await.expect(204);
    student.delete(FACE).await.expect(204);
    assert_eq!(kept(&lecture).await, (0, 0));
    let blobs = lecture.server.data().path().join("blobs");
    while !files_below(&blobs).is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let status = student.get(FACE).await.expect(200);
    assert_eq!((&status["enrolled"], &status["reenrolment"]), (&json!(false), &json!("withdrawn")));
    enroll(&student, bella()).await.expect_error(409, "REENROLMENT_NEEDS_APPROVAL");
    let admin = lecture.server.client("admin").await;
    let approve = format!("/api/v1/admin/face-reenrolments/{}/approve", student.user_id());
    admin.post(&approve, &json!({})).await.expect(204);
    enroll(&student, bella()).await.expect(201);
    assert_eq!(kept(&lecture).await, (1, 1));
}

/// How many references and photos are kept, of students without records.
async fn kept(lecture: &Lecture) -> (i64, i64) {
    let count = |tx: &Tx<'_>, sql: &str| tx.query_one(sql, &[], |row| row.get::<i64>(0)).map(Option::unwrap);
    let read: Result<_, DbError> = lecture
        .server
        .app()
        .db
        .read(move |tx: &Tx<'_>| {
            let photos = "SELECT COUNT(*) FROM images";
            Ok((count(tx, "SELECT COUNT(*) FROM face_references")?, count(tx, photos)?))
        })
        .await;
    read.unwrap()
}

#[tokio::test]
async fn faces_are_off_until_an_admin_switches_them_on() {
    let lecture = Lecture::begin().await;
    let mut phone = lecture.student(1).await;
    let admin = lecture.server.client("admin").await;
    assert_eq!(admin.get("/api/v1/admin/settings").await.expect(200), json!({"face_matching": false}));
    enroll(&phone.client, b"anything".to_vec()).await.expect_error(409, "FACES_OFF");
    let selfie = muster_tests::lecture::picture(1);
    let id = capture(&lecture, &mut phone, &selfie).await;
    assert_eq!(lecture.verdict(&id, 1).await["outcome"], "accepted");
    let refused = phone.client.put("/api/v1/admin/settings", &json!({"face_matching": true})).await;
    refused.expect_error(403, "FORBIDDEN");
    let on = admin.put("/api/v1/admin/settings", &json!({"face_matching": true})).await.expect(200);
    assert_eq!(on, json!({"face_matching": true}));
    assert_eq!(admin.put("/api/v1/admin/settings", &json!({})).await.expect(200), on);
}

#[tokio::test]
async fn without_models_nothing_is_made_up() {
    let lecture = Lecture::begin().await;
    lecture.faces(true).await;
    let mut phone = lecture.student(1).await;
    let error = enroll(&phone.client, b"anything".to_vec()).await.expect_error(503, "FACE_UNAVAILABLE");
    assert!(error["message"].as_str().unwrap().contains("muster models fetch"), "{error}");
    let status = phone.client.get(FACE).await.expect(200);
    assert_eq!((&status["available"], &status["enrolled"]), (&json!(false), &json!(false)));
    let selfie = muster_tests::lecture::picture(1);
    let id = capture(&lecture, &mut phone, &selfie).await;
    let verdict = lecture.verdict(&id, 1).await;
    assert_eq!(flags(&verdict), ["selfie_match:face_unavailable", "face_count:face_unavailable"]);
    assert_eq!((&verdict["outcome"], &verdict["model"]), (&json!("flagged"), &Value::Null));
    assert_eq!(check(&verdict, "selfie_match")["outcome"], "unavailable");
    assert_eq!(attempts(&lecture).await, ["unavailable"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reference_photo_that_was_submitted_too_is_flagged_and_stays_evidence_after_the_withdrawal() {
    let lecture = lecture().await;
    let mut phone = lecture.student(1).await;
    enroll(&phone.client, anna()).await.expect(201);
    let id = capture(&lecture, &mut phone, &anna()).await;
    assert_eq!(flags(&lecture.verdict(&id, 1).await), ["selfie_match:selfie_is_reference"]);
    let sha256 = data_encoding::HEXLOWER.encode(&muster_tests::lecture::image_ref(&anna()).sha256);
    let path = format!("/api/v1/lecturers/attendance/{id}/images/{sha256}");
    let shown = || async { Reply::of(lecture.lecturer.request(Method::GET, &path)).await.status.as_u16() };
    assert_eq!(shown().await, 200);
    phone.client.delete(FACE).await.expect(204);
    assert_eq!(shown().await, 200);
    upload(&phone.client, &anna()).await.expect(200);
}
