//! The device's side of sync: a state machine without IO. It says what to send, is told what came back, and keeps the
//! store right whatever comes.
//!
//! The app asks [`SyncClient::next_action`], does it, and reports with `exchange_answered`, `upload_answered` or `failed`.
//! A report may get lost at any point, also with the whole process: the same bytes are then sent again. Time is the
//! phone's monotonic clock, because a wall clock that jumps must not stop or hurry retries.

use super::{
    answer::{self, Problem},
    backoff,
    message::{Cursor, FateKind, PROTOCOL_VERSION, Push, Request, WireName},
};
use crate::{
    ChangeHash,
    evidence::ImageType,
    limits,
    signing::SigningKey,
    store::{DeviceStore, PushRow, SettledExchange, StoreError},
};
use std::collections::{BTreeMap, BTreeSet};

/// Path of the exchange: POST, content type [`super::message::CONTENT_TYPE`], bearer token.
pub const SYNC_PATH: &str = "/api/v1/sync";
/// Path under which an image is PUT, followed by its SHA-256 in hexadecimal.
pub const BLOB_PATH: &str = "/api/v1/blobs/";

/// An image is offered this often before the phone believes that the server does not expect it.
const NOT_EXPECTED_MAX: u32 = 6;

/// What the app is to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// POST these bytes to [`SYNC_PATH`], then call [`SyncClient::exchange_answered`].
    Exchange(Vec<u8>),
    /// PUT these bytes to [`BLOB_PATH`] + hash, then call [`SyncClient::upload_answered`].
    UploadBlob {
        /// SHA-256 of the bytes.
        sha256: [u8; 32],
        /// For the content type.
        image_type: ImageType,
        /// The image.
        bytes: Vec<u8>,
    },
    /// Nothing to do before this time of the monotonic clock.
    Wait {
        /// Milliseconds of the monotonic clock.
        until_ms: u64,
    },
    /// Everything is settled. [`SyncClient::wake`] looks again.
    Idle,
    /// Sign in, pin the server's key if none is pinned, then call [`SyncClient::signed_in`]. The outbox is untouched.
    NeedsLogin,
}

/// An HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The `Retry-After` header, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// The body.
    pub body: Vec<u8>,
}

/// When an answer arrived, by the phone's own clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// The monotonic clock, milliseconds: the same clock as `now_ms`.
    pub monotonic_ms: u64,
    /// The boot.
    pub boot_id: [u8; 16],
}

/// What an answer did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Changes that the server has now.
    pub accepted: usize,
    /// Changes that wait in quarantine.
    pub quarantined: usize,
    /// Changes that were refused.
    pub refused: usize,
    /// Changes that are to be pushed again later.
    pub retried: usize,
    /// Changes that came down.
    pub pulled: usize,
    /// Changes of a newer protocol that this version cannot read and left out.
    pub skipped: usize,
    /// What was wrong with the answer; nothing of it was kept then.
    pub problem: Option<Problem>,
}

enum InFlight {
    Exchange { pushes: Vec<PushRow>, nonce: [u8; 16] },
    Upload { sha256: [u8; 32] },
}

#[derive(Clone, Copy, Default)]
struct Delay {
    failures: u32,
    until_ms: u64,
}

impl Delay {
    fn fail(&mut self, now_ms: u64, retry_after_ms: Option<u64>, random: u64) {
        self.failures = self.failures.saturating_add(1);
        self.until_ms = now_ms.saturating_add(backoff::delay_ms(self.failures, retry_after_ms, random));
    }
}

/// The machine. What must survive is in the store; this is only what may be forgotten.
pub struct SyncClient {
    in_flight: Option<InFlight>,
    pull_wanted: bool,
    login_needed: bool,
    connection: Delay,
    changes: BTreeMap<i64, Delay>,
    blobs: BTreeMap<[u8; 32], Delay>,
    pushes_max: usize,
}

impl Default for SyncClient {
    fn default() -> Self {
        Self::new()
    }
}

/// Room in a request for what is not a push: version, device, nonce and the heads of the lists.
const REQUEST_OVERHEAD_BYTES: usize = 1024;

impl SyncClient {
    /// A machine that begins with an exchange.
    #[must_use]
    pub fn new() -> Self {
        Self {
            in_flight: None,
            pull_wanted: true,
            login_needed: false,
            connection: Delay::default(),
            changes: BTreeMap::new(),
            blobs: BTreeMap::new(),
            pushes_max: limits::PUSHES_PER_REQUEST_MAX,
        }
    }

    /// Looks for news with the next action: after a hint from the server, on a timer, or when the app comes to the front.
    pub fn wake(&mut self) {
        self.pull_wanted = true;
    }

    /// The network is back: do not wait out the delay of a lost connection. The delays of single changes stay.
    pub fn network_changed(&mut self) {
        self.connection = Delay::default();
        self.pull_wanted = true;
    }

    /// There is a fresh token.
    pub fn signed_in(&mut self) {
        self.login_needed = false;
        self.connection = Delay::default();
        self.pull_wanted = true;
    }

    /// What to do now. `nonce` is 16 fresh random bytes.
    ///
    /// Asking again before reporting abandons what was under way, as if its answer was lost.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn next_action(
        &mut self,
        store: &mut DeviceStore,
        signer: &dyn SigningKey,
        now_ms: u64,
        nonce: [u8; 16],
    ) -> Result<Action, StoreError> {
        self.in_flight = None;
        if self.login_needed || store.server_key()?.is_none() {
            return Ok(Action::NeedsLogin);
        }
        if now_ms < self.connection.until_ms {
            return Ok(Action::Wait { until_ms: self.connection.until_ms });
        }
        store.rebuild(signer)?;
        let cursors = store.cursors()?;
        let delayed = self.changes.iter().filter(|(_, delay)| now_ms < delay.until_ms).map(|(id, _)| *id).collect();
        let cursor_bytes: usize = cursors.iter().map(|(channel, _)| channel.len() + 16).sum();
        let bytes_max = limits::SYNC_REQUEST_BYTES_MAX.saturating_sub(REQUEST_OVERHEAD_BYTES + cursor_bytes);
        let pushes = store.next_pushes(&delayed, self.pushes_max, bytes_max)?;
        if !pushes.is_empty() || self.pull_wanted || store.has_broken_chain()? {
            store.mark_sent(&pushes)?;
            let bytes = encode(signer, nonce, &cursors, &pushes);
            self.in_flight = Some(InFlight::Exchange { pushes, nonce });
            return Ok(Action::Exchange(bytes));
        }
        self.next_upload(store, now_ms)
    }

    fn next_upload(&mut self, store: &DeviceStore, now_ms: u64) -> Result<Action, StoreError> {
        let delayed: BTreeSet<_> =
            self.blobs.iter().filter(|(_, delay)| now_ms < delay.until_ms).map(|(sha256, _)| *sha256).collect();
        if let Some(blob) = store.next_blob(&delayed)? {
            self.in_flight = Some(InFlight::Upload { sha256: blob.sha256 });
            return Ok(Action::UploadBlob { sha256: blob.sha256, image_type: blob.image_type, bytes: blob.bytes });
        }
        let delays = self.changes.values().chain(self.blobs.values());
        let next_ms = delays.map(|delay| delay.until_ms).filter(|until_ms| *until_ms > now_ms).min();
        Ok(next_ms.map_or(Action::Idle, |until_ms| Action::Wait { until_ms }))
    }

    /// The exchange was answered. `random` is uniform over all of `u64`.
    ///
    /// # Errors
    /// When the store cannot be written; nothing of the answer was kept then, and it is asked for again.
    pub fn exchange_answered(
        &mut self,
        store: &mut DeviceStore,
        signer: &dyn SigningKey,
        answer: &Answer,
        arrival: Arrival,
        random: u64,
    ) -> Result<Report, StoreError> {
        let Some(InFlight::Exchange { pushes, nonce }) = self.in_flight.take() else {
            return Ok(problem(Problem::NotAsked));
        };
        if answer.status != 200 {
            return Ok(self.exchange_failed(answer, &pushes, arrival.monotonic_ms, random));
        }
        let expected = answer::Expected {
            tenant: store.account()?.tenant,
            server_key: store.server_key()?,
            device: signer.public_key(),
            pushes: &pushes,
            nonce,
        };
        let (exchange, skipped) = match answer::check(&answer.body, &expected, arrival) {
            Ok(checked) => checked,
            Err(found) => {
                self.connection.fail(arrival.monotonic_ms, None, random);
                return Ok(problem(found));
            }
        };
        store.settle(&exchange)?;
        Ok(self.exchange_settled(&exchange, skipped, arrival.monotonic_ms, random))
    }

    fn exchange_settled(&mut self, exchange: &SettledExchange<'_>, skipped: usize, now_ms: u64, random: u64) -> Report {
        self.connection = Delay::default();
        self.pushes_max = limits::PUSHES_PER_REQUEST_MAX;
        self.pull_wanted = exchange.more;
        let mut report = Report { pulled: exchange.pulled.len(), skipped, ..Report::default() };
        for (push, fate) in &exchange.fates {
            let count = match fate.kind {
                FateKind::Accepted => &mut report.accepted,
                FateKind::Quarantined => &mut report.quarantined,
                FateKind::Refused => &mut report.refused,
                FateKind::Retry => &mut report.retried,
            };
            *count += 1;
            if fate.kind == FateKind::Retry {
                self.changes.entry(push.id).or_default().fail(now_ms, None, random);
            } else {
                self.changes.remove(&push.id);
            }
        }
        report
    }

    fn exchange_failed(&mut self, answer: &Answer, pushes: &[PushRow], now_ms: u64, random: u64) -> Report {
        match answer.status {
            401 => self.login_needed = true,
            // Something in the request as a whole: smaller ones find out what, and the rest gets through.
            400 | 413 | 422 if pushes.len() > 1 => {
                self.pushes_max = pushes.len() / 2;
                self.connection.fail(now_ms, answer.retry_after_ms, random);
            }
            400 | 413 | 422 if pushes.len() == 1 => {
                self.changes.entry(pushes[0].id).or_default().fail(now_ms, answer.retry_after_ms, random);
            }
            _ => self.connection.fail(now_ms, answer.retry_after_ms, random),
        }
        problem(Problem::Status(answer.status))
    }

    /// The upload was answered.
    ///
    /// # Errors
    /// When the store cannot be written; the image is then uploaded again.
    pub fn upload_answered(
        &mut self,
        store: &mut DeviceStore,
        answer: &Answer,
        now_ms: u64,
        random: u64,
    ) -> Result<Report, StoreError> {
        let Some(InFlight::Upload { sha256 }) = self.in_flight.take() else { return Ok(problem(Problem::NotAsked)) };
        match answer.status {
            // The bytes are about to leave the phone: somebody else's page with a good status must not do that.
            200 | 201 if !names_image(&answer.body, &sha256) => {
                self.connection.fail(now_ms, None, random);
                return Ok(problem(Problem::UploadUnproven));
            }
            200 | 201 => {
                store.blob_uploaded(&sha256)?;
                self.blobs.remove(&sha256);
                self.connection = Delay::default();
                return Ok(Report::default());
            }
            401 => self.login_needed = true,
            // Too large, no picture, or not the bytes of its hash: sent again, it would be the same.
            409 | 413 | 415 | 422 => {
                store.blob_failed(&sha256, "image_refused")?;
                self.blobs.remove(&sha256);
            }
            // No manifest that the server has names it as this user's: perhaps not yet, but not for ever.
            404 if self.blobs.get(&sha256).is_some_and(|delay| delay.failures + 1 >= NOT_EXPECTED_MAX) => {
                store.blob_failed(&sha256, "image_not_expected")?;
                self.blobs.remove(&sha256);
            }
            429 | 503 => self.connection.fail(now_ms, answer.retry_after_ms, random),
            _ => self.blobs.entry(sha256).or_default().fail(now_ms, answer.retry_after_ms, random),
        }
        Ok(problem(Problem::Status(answer.status)))
    }

    /// The request got no answer.
    pub fn failed(&mut self, now_ms: u64, random: u64) {
        self.in_flight = None;
        self.connection.fail(now_ms, None, random);
    }
}

/// Whether the body is the server's answer to this upload: a JSON object whose `sha256` is the image's. A page that only
/// repeats the address is not.
fn names_image(body: &[u8], sha256: &[u8; 32]) -> bool {
    const FIELD: &[u8] = br#""sha256":""#;
    let compact: Vec<u8> = body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let named = [FIELD, ChangeHash(*sha256).to_string().as_bytes(), b"\""].concat();
    compact.starts_with(b"{") && compact.ends_with(b"}") && compact.windows(named.len()).any(|part| part == named)
}

fn problem(problem: Problem) -> Report {
    Report { problem: Some(problem), ..Report::default() }
}

fn encode(signer: &dyn SigningKey, nonce: [u8; 16], cursors: &[(String, u64)], pushes: &[PushRow]) -> Vec<u8> {
    let request = Request {
        version: PROTOCOL_VERSION,
        device: Some(signer.public_key()),
        nonce: Some(nonce),
        cursors: cursors.iter().map(|(channel, number)| Cursor { channel, number: *number }).collect(),
        pushes: pushes
            .iter()
            .map(|push| Push {
                name: WireName::new(&push.name),
                change: &push.bytes,
                signature: push.signature,
                manifest: push.manifest.as_deref(),
                code_key: push.code_key,
            })
            .collect(),
        pull: true,
    };
    minicbor::to_vec(&request).expect("encoding into memory does not fail")
}
