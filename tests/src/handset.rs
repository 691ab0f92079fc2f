//! A phone with the real device store and the real sync client, over HTTP: for tests that follow a person's phone.

use std::path::Path;

use data_encoding::BASE64;
use muster_sync_core::{
    DeviceKey, Locator,
    document::{Code, KeyLevel, RequestPurpose},
    evidence::{DeviceFacts, ImagePurpose, ImageType},
    signing::{SigningKey, SoftwareKey},
    store::{Account, BindingFacts, CaptureImage, CaptureInput, DeviceStore, PhoneClocks, RecordId, RecordView},
    sync::{
        auth::{CHALLENGE_PATH, DEVICE_TOKEN_PATH, answer_challenge},
        client::{Action, Answer, Arrival, BLOB_PATH, SYNC_PATH, SyncClient},
        message::CONTENT_TYPE,
    },
    time::session_code::CodeClaim,
};
use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;

use crate::{Client, Reply, TestServer};

/// A phone that does more than this is not coming to rest.
const STEPS_MAX: u32 = 500;

/// One phone: its file, its key and who uses it.
pub struct Handset {
    /// The device store.
    pub store: DeviceStore,
    /// The device's key.
    pub key: SoftwareKey,
    /// Address of the account.
    pub email: String,
    /// What was said with each exchange: how many were accepted, quarantined, refused and pulled.
    pub told: [usize; 4],
    dir: TempDir,
    seed: u8,
    account: Client,
    client: SyncClient,
    now_ms: u64,
    nonce: u8,
}

impl Handset {
    /// A phone whose user exists and signs in.
    ///
    /// # Panics
    /// When the server does not answer as it should; so does every function here.
    pub async fn new(server: &TestServer, email: &str, seed: u8) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let store = DeviceStore::open(dir.path().join("phone.db")).expect("a store");
        let mut phone = Self {
            store,
            key: SoftwareKey::from_seed(&[seed; 32].into()),
            email: email.to_owned(),
            told: [0; 4],
            dir,
            seed,
            account: server.sign_in(email).await,
            client: SyncClient::new(),
            now_ms: 1_000,
            nonce: 0,
        };
        phone.sign_in(server).await;
        phone
    }

    /// The same phone as it was now, in another world.
    pub async fn copied(&self, server: &TestServer) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        copy_database(self.dir.path(), dir.path(), "phone.db");
        let mut phone = Self {
            store: DeviceStore::open(dir.path().join("phone.db")).expect("a store"),
            key: SoftwareKey::from_seed(&[self.seed; 32].into()),
            email: self.email.clone(),
            told: [0; 4],
            dir,
            seed: self.seed,
            account: server.sign_in(&self.email).await,
            client: SyncClient::new(),
            now_ms: self.now_ms,
            nonce: self.nonce,
        };
        phone.sign_in(server).await;
        phone
    }

    /// Signs in at a server, perhaps another process than before.
    pub async fn sign_in(&mut self, server: &TestServer) {
        self.account = server.sign_in(&self.email).await;
        let facts = self.account.get("/api/v1/server").await.expect(200);
        let text = |name: &str| facts[name].as_str().expect("a text").to_owned();
        self.store.set_account(&Account { tenant: text("tenant"), user: text("user_id") }).expect("the same tenant");
        let key = DeviceKey::from_hex(&text("server_key")).expect("a key");
        self.store.pin_server_key(key).expect("the same server");
        self.client.signed_in();
    }

    /// Gets tokens by its key, with no password; goes on with them if it gets any.
    pub async fn sign_in_with_key(&mut self, server: &TestServer) -> Reply {
        let (anonymous, key) = (server.anonymous(), self.key.public_key().to_string());
        let asked = anonymous.post(CHALLENGE_PATH, &json!({ "device_key": key })).await.expect(200);
        let text = asked["challenge"].as_str().expect("a challenge");
        let challenge = BASE64.decode(text.as_bytes()).expect("base64");
        let pinned = self.store.server_key().expect("the store answers").expect("it signed in once");
        let signature = answer_challenge(&self.key, &pinned, &challenge).expect("a software key signs");
        let body = json!({ "device_key": key, "challenge": text, "signature": BASE64.encode(&signature) });
        let reply = anonymous.post(DEVICE_TOKEN_PATH, &body).await;
        if reply.status.is_success() {
            self.account = server.with_token(reply.json()["access_token"].as_str().expect("a token"));
            self.client.signed_in();
        }
        reply
    }

    /// Looks for news once, and says whether that takes a sign-in.
    pub async fn is_signed_out(&mut self) -> bool {
        self.client.wake();
        self.nonce = self.nonce.wrapping_add(1);
        let action = self.client.next_action(&mut self.store, &self.key, self.now_ms, [self.nonce; 16]);
        if let Action::Exchange(body) = action.expect("the store answers") {
            let request = self.account.request(Method::POST, SYNC_PATH).header("content-type", CONTENT_TYPE);
            let answer = answer(Reply::of(request.body(body)).await);
            let arrival = Arrival { monotonic_ms: self.now_ms, boot_id: [1; 16] };
            let answered = self.client.exchange_answered(&mut self.store, &self.key, &answer, arrival, 0);
            answered.expect("the store answers");
        }
        self.nonce = self.nonce.wrapping_add(1);
        let next = self.client.next_action(&mut self.store, &self.key, self.now_ms, [self.nonce; 16]);
        next.expect("the store answers") == Action::NeedsLogin
    }

    /// Asks for its key to be bound; sent with the next sync.
    pub fn ask_to_be_bound(&mut self) {
        let platform = Code::new("android").expect("a code");
        let facts = BindingFacts { platform, model: None, level: KeyLevel::Software, legacy_id_hash: None };
        self.store.bind_request(&self.key, &facts, RequestPurpose::Bind, None, 0).expect("the store takes it");
    }

    /// Captures a presence with nothing but the phone.
    pub fn capture(&mut self, claim: &CodeClaim, wall_ms: i64, selfie: Option<&[u8]>) -> RecordId {
        self.nonce = self.nonce.wrapping_add(1);
        let image = |bytes: &[u8]| CaptureImage { purpose: ImagePurpose::Selfie, bytes: bytes.to_vec() };
        let input = CaptureInput {
            locator: claim.locator,
            code: Code::new(&claim.code),
            step: claim.step,
            position: Some(crate::lecture::HALL),
            images: selfie.map(image).into_iter().collect(),
            clocks: PhoneClocks { wall_ms, monotonic_ms: self.now_ms, boot_id: [1; 16] },
            device: DeviceFacts::default(),
            salt: [self.seed.wrapping_add(self.nonce); 32],
        };
        self.store.capture(&self.key, &input).expect("the store takes it")
    }

    /// Looks for news and does what the client says until nothing is left.
    pub async fn sync(&mut self) {
        self.client.network_changed();
        let mut at_rest = false;
        for _ in 0..STEPS_MAX {
            self.nonce = self.nonce.wrapping_add(1);
            let action = self.client.next_action(&mut self.store, &self.key, self.now_ms, [self.nonce; 16]);
            match action.expect("the store answers") {
                Action::Exchange(body) => self.exchange(body).await,
                Action::UploadBlob { sha256, image_type, bytes } => self.upload(&sha256, image_type, bytes).await,
                Action::Wait { until_ms } => self.now_ms = until_ms,
                Action::NeedsLogin => break,
                Action::Idle => {
                    at_rest = true;
                    break;
                }
            }
        }
        assert!(at_rest, "the phone of {} does not come to rest, or is not signed in", self.email);
    }

    async fn exchange(&mut self, body: Vec<u8>) {
        let request = self.account.request(Method::POST, SYNC_PATH).header("content-type", CONTENT_TYPE);
        let answer = answer(Reply::of(request.body(body)).await);
        let arrival = Arrival { monotonic_ms: self.now_ms, boot_id: [1; 16] };
        let report = self.client.exchange_answered(&mut self.store, &self.key, &answer, arrival, 0);
        let report = report.expect("the store answers");
        assert_eq!(report.problem, None, "{}", String::from_utf8_lossy(&answer.body));
        for (sum, told) in
            self.told.iter_mut().zip([report.accepted, report.quarantined, report.refused, report.pulled])
        {
            *sum += told;
        }
    }

    async fn upload(&mut self, sha256: &[u8; 32], image_type: ImageType, bytes: Vec<u8>) {
        let path = format!("{BLOB_PATH}{}", data_encoding::HEXLOWER.encode(sha256));
        let kind = if image_type == ImageType::Png { "image/png" } else { "image/jpeg" };
        let request = self.account.request(Method::PUT, &path).header("content-type", kind).body(bytes);
        let answer = answer(Reply::of(request).await);
        self.client.upload_answered(&mut self.store, &answer, self.now_ms, 0).expect("the store answers");
    }

    /// A capture as its owner sees it.
    pub fn record(&self, id: RecordId) -> RecordView {
        self.store.record(id).expect("the store answers").expect("a record")
    }

    /// The locators of its captures.
    pub fn locators(&self) -> Vec<Locator> {
        self.store.records().expect("the store answers").iter().map(|record| record.locator).collect()
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }
}

fn answer(reply: Reply) -> Answer {
    Answer { status: reply.status.as_u16(), retry_after_ms: None, body: reply.bytes }
}

/// Copies a SQLite file that nobody writes now, with its write-ahead log.
pub fn copy_database(from: &Path, to: &Path, name: &str) {
    for name in [name.to_owned(), format!("{name}-wal")] {
        if from.join(&name).exists() {
            std::fs::copy(from.join(&name), to.join(&name)).expect("the file is copied");
        }
    }
}
