//! A lecture: a course, a lecturer, an open class session, and students with bound phones.

use std::io::Cursor;
use std::time::Duration;

use image::{ImageFormat, RgbImage};
use muster_server::auth;
use muster_server::db::DbError;
use muster_server::ids::TenantId;
use muster_sync_core::{
    Locator,
    evidence::{ImagePurpose, ImageRef, ImageType, Manifest, Position},
    time::session_code::CodeClaim,
};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::phone::{self, Item, Phone};
use crate::{Client, Reply, TestServer, TestServerBuilder};

/// When a lecture begins, by the clock of its server: noon, and the start of a code step of any length.
pub const NOON_MS: i64 = 1_763_640_000_000;
/// Where it takes place.
pub const HALL: Position =
    Position { latitude_e7: 525_200_000, longitude_e7: 134_050_000, accuracy_m: 8, mocked: false };
/// How often, and how long in between, a test looks for what a worker on another thread does.
const LOOKS_MAX: u32 = 6_000;
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A course with a lecturer, and a session of two hours in a hall of 100 metres.
pub struct Lecture {
    /// The server, whose clock stands still.
    pub server: TestServer,
    /// Who teaches.
    pub lecturer: Client,
    /// The course's id.
    pub course: String,
    /// The session as the API showed it when it was planned.
    pub session: Value,
}

impl Lecture {
    /// On a server with default settings.
    pub async fn begin() -> Self {
        Self::on(TestServer::builder()).await
    }

    /// On a server of one's own.
    ///
    /// # Panics
    /// When the API does not answer as it should; so does every function here.
    pub async fn on(builder: TestServerBuilder) -> Self {
        let server = builder.manual_clock(NOON_MS).start().await;
        let lecturer = server.client("lecturer").await;
        let body = json!({"code": "CS101", "title": "A course"});
        let course = lecturer.post("/api/v1/courses", &body).await.expect(201);
        let course = course["id"].as_str().expect("an id").to_owned();
        let degrees = |e7: i64| e7 as f64 / 1e7;
        let geofence =
            json!({"latitude": degrees(HALL.latitude_e7), "longitude": degrees(HALL.longitude_e7), "radius_m": 100});
        let body = json!({"course_id": course, "duration_minutes": 120, "geofence": geofence});
        let session = lecturer.post("/api/v1/lecturers/sessions", &body).await.expect(201);
        Self { server, lecturer, course, session }
    }

    /// A student of the course with a bound phone.
    pub async fn student(&self, seed: u8) -> Phone {
        let phone = self.stranger(seed).await;
        let path = format!("/api/v1/courses/{}/students", self.course);
        self.lecturer.post(&path, &json!({"user_ids": [phone.client.user_id()]})).await.expect(200);
        phone
    }

    /// A student of another course, with a bound phone.
    pub async fn stranger(&self, seed: u8) -> Phone {
        let mut phone = Phone::new(self.server.client("student").await, seed);
        phone.bind(&self.server).await;
        phone
    }

    /// Lets time pass. Tokens end by the server's clock, so the lecturer signs in again.
    pub async fn later(&mut self, by: Duration) {
        self.server.clock().advance(by);
        self.lecturer = self.again(&self.lecturer).await;
    }

    /// The same person, signed in again.
    pub async fn again(&self, client: &Client) -> Client {
        let user = client.user_id().parse().expect("an id");
        let tenant = TenantId::default_tenant();
        let found: Result<_, DbError> = self.server.app().db.read(move |tx| auth::find(tx, &tenant, user)).await;
        let found = found.expect("the database answers").expect("the user exists");
        self.server.sign_in(&found.email).await
    }

    /// What the lecturer shows now.
    pub async fn claim(&self) -> CodeClaim {
        let path = format!("/api/v1/lecturers/sessions/{}", self.locator());
        let session = self.lecturer.get(&path).await.expect(200);
        CodeClaim::parse(session["qr_payload"].as_str().expect("an open session")).expect("a QR payload")
    }

    /// The session.
    pub fn locator(&self) -> Locator {
        Locator::parse(self.session["locator"].as_str().expect("a locator")).expect("a locator")
    }

    /// Compares faces from here on, or no longer.
    pub async fn faces(&self, on: bool) {
        let admin = self.server.client("admin").await;
        admin.put("/api/v1/admin/settings", &json!({"face_matching": on})).await.expect(200);
    }

    /// What a phone in the hall sees now, with a selfie.
    pub fn manifest(&self, selfie: Option<&[u8]>) -> Manifest {
        let mut manifest = phone::manifest(self.server.clock_ms());
        manifest.position = Some(HALL);
        manifest.images.extend(selfie.map(image_ref));
        manifest
    }

    /// Captures with the code of the moment and pushes it; gives the record's id.
    pub async fn capture(&self, phone: &mut Phone, manifest: &Manifest) -> String {
        let code = self.claim().await.code;
        let item = phone.submission_with(self.locator(), &code, manifest.clocks.wall_ms, manifest);
        self.send(phone, item).await
    }

    /// Pushes a submission that must be accepted; gives the record's id.
    pub async fn send(&self, phone: &Phone, item: Item) -> String {
        let fates = phone.push(std::slice::from_ref(&item)).await;
        assert!(fates[0].receipt.is_some(), "{fates:?}");
        item.name.id(phone::TENANT).to_string()
    }

    /// The record as the lecturer sees it.
    pub async fn record(&self, id: &str) -> Value {
        self.lecturer.get(&format!("/api/v1/lecturers/attendance/{id}")).await.expect(200)
    }

    /// Waits until `holds` of the record.
    #[expect(clippy::panic, reason = "a test ends where its premise fails")]
    pub async fn until(&self, id: &str, holds: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..LOOKS_MAX {
            let record = self.record(id).await;
            if holds(&record) {
                return record;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        panic!("this never came: {:#}", self.record(id).await);
    }

    /// Waits for this many verdicts, and gives the newest one.
    pub async fn verdict(&self, id: &str, count: usize) -> Value {
        let enough = |record: &Value| record["verdicts"].as_array().is_some_and(|verdicts| verdicts.len() >= count);
        let record = self.until(id, enough).await;
        assert_eq!(record["verdicts"].as_array().expect("a list").len(), count, "{:#}", record["verdicts"]);
        record["verdicts"][count - 1].clone()
    }
}

/// What flagged or could not be computed: `check:reason`, in the order of the checks.
pub fn flags(verdict: &Value) -> Vec<String> {
    let checks = verdict["checks"].as_array().expect("a list").iter();
    let stands = checks.filter(|check| check["outcome"] == "flag" || check["outcome"] == "unavailable");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    stands.map(|check| format!("{}:{}", text(&check["name"]), text(&check["reason"]))).collect()
}

/// One check of a verdict.
pub fn check<'a>(verdict: &'a Value, name: &str) -> &'a Value {
    let mut checks = verdict["checks"].as_array().expect("a list").iter();
    checks.find(|check| check["name"] == name).expect("a check of this name")
}

/// A selfie as a manifest names it.
pub fn image_ref(bytes: &[u8]) -> ImageRef {
    let image_type = if bytes.starts_with(b"\x89PNG") { ImageType::Png } else { ImageType::Jpeg };
    let sha256 = Sha256::digest(bytes).into();
    ImageRef { purpose: ImagePurpose::Selfie, sha256, size_bytes: bytes.len() as u64, image_type }
}

/// Uploads an image under its own hash.
pub async fn upload(client: &Client, bytes: &[u8]) -> Reply {
    upload_as(client, &data_encoding::HEXLOWER.encode(&Sha256::digest(bytes)), bytes).await
}

/// Uploads an image under a hash.
pub async fn upload_as(client: &Client, sha256: &str, bytes: &[u8]) -> Reply {
    let request = client.request(Method::PUT, &format!("/api/v1/blobs/{sha256}"));
    Reply::of(request.header("content-type", "application/octet-stream").body(bytes.to_vec())).await
}

/// A small picture without a face; each shade is another file.
pub fn picture(shade: u8) -> Vec<u8> {
    png(&RgbImage::from_pixel(64, 48, image::Rgb([shade, 90, 60])))
}

/// As PNG.
pub fn png(image: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    image.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png).expect("memory takes it");
    bytes
}
