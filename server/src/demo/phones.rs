//! A phone: its own SQLite file, key, clocks and token, and the real sync client between them and the network.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use muster_sync_core::document::{Code, KeyLevel, Label, RequestPurpose};
use muster_sync_core::evidence::{DeviceFacts, ImagePurpose, Position};
use muster_sync_core::signing::SoftwareKey;
use muster_sync_core::store::{
    Account, BindingFacts, CaptureImage, CaptureInput, ChangeState, DeviceStore, PhoneClocks, RecordId, RecordView,
};
use muster_sync_core::sync::client::{Action, Answer, Arrival, SyncClient};
use muster_sync_core::time::session_code::{CodeClaim, CodeKey};
use muster_sync_core::{ChangeHash, DeviceKey};
use reqwest::Method;
use tokio::runtime::Handle;

use super::DemoError;
use super::network::{Network, text};
use super::time::{Dice, StoryClock};
use crate::clock::Clock;

/// Waits of the phones are this much shorter than the client asks for, so that the story ends within a minute.
const WAITS_SHORTENED: u64 = 40;
/// Longest wait after shortening.
const WAIT_MAX: Duration = Duration::from_millis(250);
/// A phone that does more than this is not coming to rest.
const STEPS_MAX: u32 = 2_000;
/// How long ago the phones of the story were switched on, at most.
const UPTIME_MS_MAX: u64 = 20 * 24 * 3_600_000;

/// Who uses a phone.
#[derive(Debug, Clone)]
pub(super) struct User {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) email: String,
    pub(super) password: String,
}

/// What a capture says, beside what the phone adds by itself.
#[derive(Debug, Clone)]
pub(super) struct Capture {
    /// Scanned or typed.
    pub(super) code: CodeClaim,
    pub(super) position: Option<Position>,
    pub(super) selfie: Option<Vec<u8>>,
}

/// One phone.
pub(super) struct Phone {
    pub(super) user: User,
    pub(super) store: DeviceStore,
    pub(super) key: SoftwareKey,
    /// How far the wall clock is off, in milliseconds.
    pub(super) wall_offset_ms: i64,
    /// Whether it uploads pictures, or waits for a better connection.
    pub(super) uploads: bool,
    pub(super) dice: Dice,
    pub(super) token: Option<String>,
    client: SyncClient,
    clock: Arc<StoryClock>,
    boot_id: [u8; 16],
    /// The monotonic clock at the story's time 0; also what waits were shortened by.
    monotonic_shift_ms: i64,
}

impl Phone {
    /// A phone that was just unpacked, with a store of its own in `dir`.
    pub(super) fn new(dir: &Path, user: User, clock: &Arc<StoryClock>, dice: Dice) -> Result<Self, DemoError> {
        let path = dir.join(format!("{}-{:08x}.db", user.email, dice.draw() as u32));
        let store = DeviceStore::open(path)?;
        let uptime_ms = dice.below(UPTIME_MS_MAX) as i64;
        Ok(Self {
            user,
            store,
            key: SoftwareKey::from_seed(&dice.bytes().into()),
            wall_offset_ms: dice.below(6_000) as i64 - 3_000,
            uploads: true,
            token: None,
            client: SyncClient::new(),
            clock: Arc::clone(clock),
            boot_id: dice.bytes(),
            monotonic_shift_ms: uptime_ms - clock.now_ms(),
            dice,
        })
    }

    /// The clocks as the phone's own system would give them.
    pub(super) fn clocks(&self) -> PhoneClocks {
        PhoneClocks { wall_ms: self.wall_ms(), monotonic_ms: self.monotonic_ms(), boot_id: self.boot_id }
    }

    fn wall_ms(&self) -> i64 {
        self.clock.now_ms() + self.wall_offset_ms
    }

    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.clock.now_ms() + self.monotonic_shift_ms).unwrap_or(0)
    }

    /// Signs in and learns what a phone has to know: the tenant, the user's id, and the server's key, which it pins.
    pub(super) async fn sign_in(&mut self, network: &Network) -> Result<(), DemoError> {
        let token = network.sign_in(&self.user.email, &self.user.password).await?;
        let facts = network.json(Method::GET, "/api/v1/server", Some(&token), None).await?;
        let (tenant, user) = (text(&facts, "tenant")?.to_owned(), text(&facts, "user_id")?.to_owned());
        self.store.set_account(&Account { tenant, user })?;
        let key = DeviceKey::from_hex(text(&facts, "server_key")?);
        self.store.pin_server_key(key.ok_or_else(|| DemoError::Story("the server's key is no key".to_owned()))?)?;
        self.token = Some(token);
        self.client.signed_in();
        Ok(())
    }

    /// Asks to be bound; the request leaves with the next exchange.
    pub(super) fn ask_to_be_bound(
        &mut self,
        purpose: RequestPurpose,
        code_key: Option<&CodeKey>,
    ) -> Result<ChangeHash, DemoError> {
        let facts = BindingFacts {
            platform: Code::new("android").ok_or_else(|| DemoError::Story("the platform is no code".to_owned()))?,
            model: Label::new("Demo phone"),
            level: KeyLevel::Software,
            legacy_id_hash: None,
        };
        Ok(self.store.bind_request(&self.key, &facts, purpose, code_key, self.wall_ms())?)
    }

    /// Captures with nothing but the phone.
    pub(super) fn capture(&mut self, capture: &Capture) -> Result<RecordId, DemoError> {
        let images =
            capture.selfie.iter().map(|bytes| CaptureImage { purpose: ImagePurpose::Selfie, bytes: bytes.clone() });
        let input = CaptureInput {
            locator: capture.code.locator,
            code: Code::new(&capture.code.code),
            step: capture.code.step,
            position: capture.position.clone(),
            images: images.collect(),
            clocks: self.clocks(),
            device: DeviceFacts {
                platform: "android".to_owned(),
                model: "Demo phone".to_owned(),
                app_version: env!("CARGO_PKG_VERSION").to_owned(),
                legacy_id: None,
            },
            salt: self.dice.bytes(),
        };
        Ok(self.store.capture(&self.key, &input)?)
    }

    /// Looks for news and syncs until nothing is left to do, whatever the network does meanwhile.
    pub(super) async fn sync(&mut self, network: &Network) -> Result<(), DemoError> {
        self.client.network_changed();
        for _ in 0..STEPS_MAX {
            match self.next()? {
                Action::Exchange(body) => self.exchange(network, body).await?,
                Action::UploadBlob { .. } if !self.uploads => return Ok(()),
                Action::UploadBlob { sha256, image_type, bytes } => {
                    let token = self.token.clone().unwrap_or_default();
                    let answer = network.upload(&self.dice, &token, &sha256, image_type, bytes).await;
                    let (now_ms, random) = (self.monotonic_ms(), self.dice.draw());
                    match answer {
                        Some(answer) => _ = self.client.upload_answered(&mut self.store, &answer, now_ms, random)?,
                        None => self.client.failed(now_ms, random),
                    }
                }
                Action::Wait { until_ms } => self.wait(until_ms).await,
                Action::NeedsLogin => self.sign_in(network).await?,
                Action::Idle => return Ok(()),
            }
        }
        Err(DemoError::Story(format!("the phone of {} does not come to rest", self.user.name)))
    }

    /// What the client wants done now.
    fn next(&mut self) -> Result<Action, DemoError> {
        let (now_ms, nonce) = (self.monotonic_ms(), self.dice.bytes());
        Ok(self.client.next_action(&mut self.store, &self.key, now_ms, nonce)?)
    }

    async fn exchange(&mut self, network: &Network, body: Vec<u8>) -> Result<(), DemoError> {
        let token = self.token.clone().unwrap_or_default();
        match network.exchange(&self.dice, &token, body).await {
            Some(answer) => self.answered(&answer),
            None => {
                self.client.failed(self.monotonic_ms(), self.dice.draw());
                Ok(())
            }
        }
    }

    fn answered(&mut self, answer: &Answer) -> Result<(), DemoError> {
        let arrival = Arrival { monotonic_ms: self.monotonic_ms(), boot_id: self.boot_id };
        let random = self.dice.draw();
        self.client.exchange_answered(&mut self.store, &self.key, answer, arrival, random)?;
        Ok(())
    }

    /// The next exchange, sent so many times in fair weather; the client gets the last answer, the caller gets all.
    pub(super) async fn exchange_repeatedly(
        &mut self,
        network: &Network,
        times: u32,
    ) -> Result<Vec<Answer>, DemoError> {
        self.client.network_changed();
        for _ in 0..times {
            match self.next()? {
                Action::NeedsLogin => self.sign_in(network).await?,
                Action::Exchange(body) => {
                    let token = self.token.clone().unwrap_or_default();
                    let mut answers = Vec::new();
                    for _ in 0..times {
                        answers.extend(network.exchange(&self.dice, &token, body.clone()).await);
                    }
                    if let Some(last) = answers.last() {
                        self.answered(&last.clone())?;
                    }
                    if answers.iter().all(|answer| answer.status == 401) {
                        continue;
                    }
                    return Ok(answers);
                }
                _ => break,
            }
        }
        Err(DemoError::Story(format!("the phone of {} has nothing to send", self.user.name)))
    }

    /// Waits a fraction of the time, and lets the phone's monotonic clock have all of it.
    async fn wait(&mut self, until_ms: u64) {
        let left_ms = until_ms.saturating_sub(self.monotonic_ms());
        let short = Duration::from_millis(left_ms / WAITS_SHORTENED).min(WAIT_MAX);
        tokio::time::sleep(short).await;
        let left_ms = until_ms.saturating_sub(self.monotonic_ms());
        self.monotonic_shift_ms += i64::try_from(left_ms).unwrap_or(0);
    }

    /// The capture as its owner sees it.
    pub(super) fn record(&self, id: RecordId) -> Result<RecordView, DemoError> {
        let missing = || DemoError::Story(format!("{} has lost a capture", self.user.name));
        self.store.record(id)?.ok_or_else(missing)
    }

    /// The fate of a change as the phone knows it: `accepted`, or a kind with its reason.
    pub(super) fn fate(&self, change: ChangeHash) -> Result<String, DemoError> {
        let row = self.store.outbox()?.into_iter().find(|row| row.change == change);
        let row = row.ok_or_else(|| DemoError::Story(format!("{} has lost a change", self.user.name)))?;
        Ok(match (row.state, row.reason) {
            (ChangeState::Quarantined | ChangeState::Refused, Some(reason)) => {
                format!("{} {reason}", row.state.as_str())
            }
            (state, _) => state.as_str().to_owned(),
        })
    }
}

/// Lets every phone sync at once, each on a thread of its own as a phone would: its SQLite file blocks.
pub(super) async fn sync_all(
    phones: Vec<Phone>,
    network: &Network,
    synced: impl Fn(usize),
) -> Result<Vec<Phone>, DemoError> {
    let mut tasks = tokio::task::JoinSet::new();
    let n_phones = phones.len();
    for (index, mut phone) in phones.into_iter().enumerate() {
        let network = network.clone();
        let handle = Handle::current();
        tasks.spawn_blocking(move || handle.block_on(phone.sync(&network)).map(|()| (index, phone)));
    }
    let mut back: Vec<Option<Phone>> = (0..n_phones).map(|_| None).collect();
    let mut n_synced = 0;
    while let Some(done) = tasks.join_next().await {
        let (index, phone) = done.map_err(|error| DemoError::Story(error.to_string()))??;
        back[index] = Some(phone);
        n_synced += 1;
        synced(n_synced);
    }
    Ok(back.into_iter().flatten().collect())
}
