//! A phone with the real store and the real sync client, which talks HTTP when there is a network.

use std::path::Path;

use muster_sync_core::{
    DeviceKey, Locator,
    document::{Code, CodeMode, KeyLevel, Label, RequestPurpose},
    evidence::{DeviceFacts, ImagePurpose, ImageType, Position},
    signing::SoftwareKey,
    store::{Account, BindingFacts, CaptureImage, CaptureInput, DeviceStore, PhoneClocks, PlanInput, RecordId},
    sync::{
        client::{Action, Answer, Arrival, BLOB_PATH, Report, SYNC_PATH, SyncClient},
        message::CONTENT_TYPE,
        relay::{Carrier, Giver, HandedOver, OfferView},
    },
    time::session_code::{CodeClaim, CodeKey},
};
use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;

use crate::{Client, TestServer};

/// Steps after which a sync must have come to rest.
const STEPS_MAX: u32 = 400;

/// A phone in somebody's pocket.
pub struct Pocket {
    dir: TempDir,
    /// Its store.
    pub store: DeviceStore,
    /// Its key.
    pub key: SoftwareKey,
    /// Whom it belongs to.
    pub email: String,
    /// The user's id.
    pub user: String,
    sync: SyncClient,
    now_ms: u64,
    nonce: u8,
}

impl Pocket {
    /// A phone of a fresh user of this role, who signed in once.
    ///
    /// # Panics
    /// When the server does not answer as it should; so does every function here.
    pub async fn new(server: &TestServer, role: &str, seed: u8) -> Self {
        let email = format!("{role}-{seed}@hall.example");
        server.create_known_user(&email, role).await;
        let client = server.sign_in(&email).await;
        let facts = client.get("/api/v1/server").await.expect(200);
        let server_key = DeviceKey::from_hex(facts["server_key"].as_str().expect("a key")).expect("32 bytes");
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut store = open(dir.path());
        let user = client.user_id().to_owned();
        store.set_account(&Account { tenant: "default".into(), user: user.clone() }).expect("an account");
        store.pin_server_key(server_key).expect("a strong key");
        let key = SoftwareKey::from_seed(&[seed; 32].into());
        Self { dir, store, key, email, user, sync: SyncClient::new(), now_ms: 1_000, nonce: 0 }
    }

    /// The same phone in another world: what it had until now, and from here on apart.
    pub fn copy(&self) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        crate::copy_folder(self.dir.path(), dir.path()).expect("the phone's files");
        let key = SoftwareKey::from_seed(&[seed_of(&self.email); 32].into());
        let (email, user) = (self.email.clone(), self.user.clone());
        Self { store: open(dir.path()), dir, key, email, user, sync: SyncClient::new(), now_ms: 1_000, nonce: 0 }
    }

    /// Does whatever is to do with a network, waiting as told, until nothing is left.
    pub async fn sync(&mut self, server: &TestServer) -> Report {
        let client = server.sign_in(&self.email).await;
        let mut sum = Report::default();
        self.sync.signed_in();
        for _ in 0..STEPS_MAX {
            self.nonce = self.nonce.wrapping_add(1);
            let next = self.sync.next_action(&mut self.store, &self.key, self.now_ms, [self.nonce; 16]);
            match next.expect("the store answers") {
                Action::Exchange(body) => add(&mut sum, &self.exchange(&client, body).await),
                Action::UploadBlob { sha256, image_type, bytes } => {
                    let path = format!("{BLOB_PATH}{}", data_encoding::HEXLOWER.encode(&sha256));
                    let content_type = if image_type == ImageType::Png { "image/png" } else { "image/jpeg" };
                    let answer = send(&client, Method::PUT, &path, content_type, bytes).await;
                    let done = self.sync.upload_answered(&mut self.store, &answer, self.now_ms, 0);
                    done.expect("the store answers");
                }
                Action::Wait { until_ms } => self.now_ms = until_ms,
                Action::Idle => return sum,
                Action::NeedsLogin => break,
            }
        }
        assert_eq!(sum, Report::default(), "the phone never comes to rest");
        sum
    }

    async fn exchange(&mut self, client: &Client, body: Vec<u8>) -> Report {
        let answer = send(client, Method::POST, SYNC_PATH, CONTENT_TYPE, body).await;
        let arrival = Arrival { monotonic_ms: self.now_ms, boot_id: [1; 16] };
        let report = self.sync.exchange_answered(&mut self.store, &self.key, &answer, arrival, 0);
        let report = report.expect("the store answers");
        assert_eq!(report.problem, None);
        report
    }

    /// Asks to be bound, is approved, and knows it.
    pub async fn bind(&mut self, server: &TestServer, admin: &Client) {
        self.ask_to_be_bound(server).await;
        approve_all(admin).await;
        self.sync(server).await;
    }

    /// Asks to be bound.
    pub async fn ask_to_be_bound(&mut self, server: &TestServer) {
        let facts = BindingFacts {
            platform: Code::new("android").expect("a code"),
            model: None,
            level: KeyLevel::Software,
            legacy_id_hash: None,
        };
        let code_key = CodeKey([seed_of(&self.email); 32]);
        let asked =
            self.store.bind_request(&self.key, &facts, RequestPurpose::Bind, Some(&code_key), server.clock_ms());
        asked.expect("the store takes it");
        self.sync(server).await;
    }

    /// Opens a class session of two hours from now on, with no network.
    pub fn open_session(&mut self, course: &str, hall: &Position, now_ms: i64) -> Locator {
        let plan = PlanInput {
            course: Label::new(course).expect("a label"),
            opens_at_ms: now_ms,
            closes_at_ms: now_ms + 7_200_000,
            late_after_ms: None,
            code_mode: CodeMode::Rotating,
            step_s: 15,
            geofence: Some((hall.latitude_e7, hall.longitude_e7, 100)),
        };
        let random = [seed_of(&self.email), 1, 2, 3];
        self.store.open_class_session(&self.key, &plan, random, now_ms).expect("the store takes it")
    }

    /// Captures with no network.
    pub fn capture(&mut self, qr: &str, position: Option<Position>, selfie: Option<&[u8]>, now_ms: i64) -> RecordId {
        let claim = CodeClaim::parse(qr).expect("a QR payload");
        let images = selfie.map(|bytes| CaptureImage { purpose: ImagePurpose::Selfie, bytes: bytes.to_vec() });
        self.nonce = self.nonce.wrapping_add(1);
        let input = CaptureInput {
            locator: claim.locator,
            code: Code::new(&claim.code),
            step: claim.step,
            position,
            images: images.into_iter().collect(),
            clocks: PhoneClocks { wall_ms: now_ms, monotonic_ms: self.now_ms, boot_id: [1; 16] },
            device: DeviceFacts { platform: "android".into(), ..DeviceFacts::default() },
            salt: [self.nonce; 32],
        };
        self.store.capture(&self.key, &input).expect("a capture never fails")
    }

    /// Meets a phone that carries for a session, and hands over everything, with the person's consent.
    pub fn hand_over(&mut self, relay: &mut Self, locator: Locator, meeting: u8) -> (OfferView, HandedOver) {
        let (mut giver, mut carrier) = (Giver::new([meeting; 32]), Carrier::new([!meeting; 32]));
        let offer = carrier.offer(&relay.store, &relay.key, &[locator], &giver.hello()).expect("an offer");
        let view = giver.read_offer(&self.store, &offer).expect("an offer");
        assert!(giver.agree(locator), "{view:?}");
        let mut sum = HandedOver::default();
        while let Some(page) = giver.next_page(&self.store, &self.key, [meeting; 32]).expect("a page") {
            let collected = carrier.collect(&mut relay.store, &page, [meeting; 32]).expect("a reply");
            let handed = giver.read_state(&mut self.store, &self.key, &collected.reply).expect("an answer");
            sum.carried = handed.carried;
            sum.receipts += handed.receipts;
            sum.declined += handed.declined;
        }
        (view, sum)
    }
}

/// Approves every request that waits.
pub async fn approve_all(admin: &Client) {
    let requests = admin.get("/api/v1/admin/device-requests?status=pending").await.expect(200);
    for request in requests["items"].as_array().expect("a list") {
        let hash = request["hash"].as_str().expect("a hash");
        admin.post(&format!("/api/v1/admin/device-requests/{hash}/approve"), &json!({})).await.expect(200);
    }
}

async fn send(client: &Client, method: Method, path: &str, content_type: &str, body: Vec<u8>) -> Answer {
    let request = client.request(method, path).header("content-type", content_type).body(body);
    let reply = crate::Reply::of(request).await;
    Answer { status: reply.status.as_u16(), retry_after_ms: None, body: reply.bytes }
}

fn open(folder: &Path) -> DeviceStore {
    DeviceStore::open(folder.join("muster.db")).expect("a store")
}

/// The seed in an address of [`Pocket::new`].
fn seed_of(email: &str) -> u8 {
    let digits: String = email.chars().filter(char::is_ascii_digit).collect();
    digits.parse().expect("a seed")
}

fn add(sum: &mut Report, report: &Report) {
    sum.accepted += report.accepted;
    sum.quarantined += report.quarantined;
    sum.refused += report.refused;
    sum.carried += report.carried;
    sum.pulled += report.pulled;
}
