//! A phone as people have it: the real store in a real file, the real sync client, real HTTP.

use std::path::{Path, PathBuf};

use muster_sync_core::{
    ChangeHash, DeviceKey, Locator,
    document::{Code, KeyLevel, RequestPurpose},
    evidence::DeviceFacts,
    signing::{SigningKey, SoftwareKey},
    store::{Account, BindingFacts, CaptureInput, DeviceStore, PhoneClocks, RecordId, RecordView},
    sync::client::{Action, Answer, Arrival, SYNC_PATH, SyncClient},
    sync::message::CONTENT_TYPE,
};
use reqwest::Method;

use crate::{Client, Reply, TestServer};

/// A phone that does more than this is not coming to rest.
const STEPS_MAX: usize = 500;

/// A phone: a file, a key, clocks, and who is signed in on it.
pub struct Device {
    /// Who is signed in.
    pub client: Client,
    /// The store.
    pub store: DeviceStore,
    /// The device key.
    pub key: SoftwareKey,
    /// The kind of phone.
    pub model: &'static str,
    sync: SyncClient,
    seed: u8,
    path: PathBuf,
    boot_id: [u8; 16],
    booted_ms: i64,
    draws: u64,
}

impl Device {
    /// A new phone whose key comes from a seed.
    ///
    /// # Panics
    /// When the server does not say what a phone has to know; so does every function here when its premise fails.
    pub async fn new(server: &TestServer, client: Client, seed: u8, dir: &Path) -> Self {
        let path = dir.join(format!("phone-{seed}.db"));
        let mut device = Self::open(server, client, seed, path, seed);
        let facts = device.client.get("/api/v1/server").await.expect(200);
        let text = |field: &str| facts[field].as_str().expect("a text").to_owned();
        let account = Account { tenant: text("tenant"), user: text("user_id") };
        device.store.set_account(&account).expect("an account");
        let server_key = DeviceKey::from_hex(&text("server_key")).expect("a key");
        device.store.pin_server_key(server_key).expect("no other key is pinned");
        device
    }

    fn open(server: &TestServer, client: Client, seed: u8, path: PathBuf, boot: u8) -> Self {
        Self {
            client,
            store: DeviceStore::open(&path).expect("a store"),
            key: SoftwareKey::from_seed(&[seed; 32].into()),
            model: "Pixel 9",
            sync: SyncClient::new(),
            seed,
            path,
            boot_id: [boot; 16],
            // It was switched on a while ago.
            booted_ms: server.clock_ms() - 600_000 - i64::from(boot) * 1_000,
            draws: u64::from(boot) << 32,
        }
    }

    /// A copy of the phone's file and key as they are now, on a phone that has just been switched on.
    pub fn copy(&mut self, server: &TestServer, boot: u8) -> Self {
        let path = self.path.with_file_name(format!("copy-{}-{boot}.db", self.seed));
        // The file is whole only while nobody has it open.
        let memory = DeviceStore::open_in_memory().expect("memory");
        drop(std::mem::replace(&mut self.store, memory));
        std::fs::copy(&self.path, &path).expect("the file is there");
        self.store = DeviceStore::open(&self.path).expect("a store");
        Self::open(server, self.client.clone(), self.seed, path, boot)
    }

    /// Its public key.
    pub fn public_key(&self) -> DeviceKey {
        self.key.public_key()
    }

    /// Asks to be bound and has an admin approve it.
    pub async fn bind(&mut self, server: &TestServer) {
        let hash = self.ask(server);
        self.sync(server).await;
        let approve = format!("/api/v1/admin/device-requests/{hash}/approve");
        server.client("admin").await.post(&approve, &serde_json::json!({})).await.expect(200);
    }

    /// Asks to be bound; the request leaves with the next sync.
    pub fn ask(&mut self, server: &TestServer) -> ChangeHash {
        let facts = BindingFacts {
            platform: Code::new("android").expect("a code"),
            model: None,
            level: KeyLevel::Software,
            legacy_id_hash: None,
        };
        let asked = self.store.bind_request(&self.key, &facts, RequestPurpose::Bind, None, server.clock_ms());
        asked.expect("a request is written")
    }

    /// Captures now.
    pub fn capture(&mut self, server: &TestServer, locator: Locator, code: &str) -> RecordId {
        self.draws += 1;
        let mut salt = [self.boot_id[0]; 32];
        salt[..8].copy_from_slice(&self.draws.to_be_bytes());
        let input = CaptureInput {
            locator,
            code: Code::new(code),
            step: None,
            position: None,
            images: Vec::new(),
            clocks: PhoneClocks {
                wall_ms: server.clock_ms(),
                monotonic_ms: self.monotonic_ms(server),
                boot_id: self.boot_id,
            },
            device: DeviceFacts {
                platform: "android 16".to_owned(),
                model: self.model.to_owned(),
                app_version: "1".to_owned(),
                legacy_id: None,
            },
            salt,
        };
        self.store.capture(&self.key, &input).expect("capture never fails")
    }

    /// Syncs until nothing is left to do.
    pub async fn sync(&mut self, server: &TestServer) {
        self.sync_through(server, |bytes| bytes).await;
    }

    /// Syncs over a network that does something to what the phone sends.
    pub async fn sync_through(&mut self, server: &TestServer, mut network: impl FnMut(Vec<u8>) -> Vec<u8>) {
        self.sync.wake();
        for _ in 0..STEPS_MAX {
            self.draws += 1;
            let mut nonce = [self.boot_id[0]; 16];
            nonce[..8].copy_from_slice(&self.draws.to_be_bytes());
            let now_ms = self.monotonic_ms(server);
            let action = self.sync.next_action(&mut self.store, &self.key, now_ms, nonce).expect("the store works");
            let Action::Exchange(bytes) = action else {
                assert!(matches!(action, Action::Idle | Action::Wait { .. }), "{action:?}");
                return;
            };
            let request = self.client.request(Method::POST, SYNC_PATH).header("content-type", CONTENT_TYPE);
            let reply = Reply::of(request.body(network(bytes))).await;
            let answer = Answer { status: reply.status.as_u16(), retry_after_ms: None, body: reply.bytes };
            let arrival = Arrival { monotonic_ms: now_ms, boot_id: self.boot_id };
            let report = self.sync.exchange_answered(&mut self.store, &self.key, &answer, arrival, u64::MAX / 2);
            let report = report.expect("the store works");
            assert_eq!(report.problem, None, "{}", String::from_utf8_lossy(&answer.body));
        }
        unreachable!("the phone did not come to rest");
    }

    /// A capture as its person sees it.
    pub fn record(&self, id: RecordId) -> RecordView {
        self.store.record(id).expect("the store works").expect("a record")
    }

    fn monotonic_ms(&self, server: &TestServer) -> u64 {
        u64::try_from(server.clock_ms() - self.booted_ms).expect("switched on before now")
    }
}
