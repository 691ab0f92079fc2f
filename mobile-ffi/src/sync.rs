//! Sync, one request at a time: the app decides when and on which thread.

use crate::{
    ApiError, CallbackError, HttpRequest, HttpResponse, MusterClient,
    client::{State, request},
    entropy::random,
};
use muster_sync_core::{
    evidence::ImageType,
    sync::{
        client::{Action, Answer, Arrival, BLOB_PATH, Report, SYNC_PATH},
        message::CONTENT_TYPE,
    },
};
use std::sync::TryLockError;

/// What the app does after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum SyncState {
    /// Call again now.
    Progress,
    /// Call again after `wait_ms`.
    Wait,
    /// Everything is settled; call again after [`MusterClient::wake`].
    Idle,
    /// Sign in. Nothing is lost.
    NeedsLogin,
    /// Another thread is in a step.
    Busy,
}

/// What one step did.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct SyncStep {
    /// What to do next.
    pub state: SyncState,
    /// How long to wait, in milliseconds; 0 but for `Wait`.
    pub wait_ms: u64,
    /// Changes that the server has now.
    pub accepted: u64,
    /// Changes that wait for a person.
    pub quarantined: u64,
    /// Changes that were refused.
    pub refused: u64,
    /// Changes of others that the server answered for.
    pub carried: u64,
    /// Changes that came down.
    pub pulled: u64,
    /// What went wrong, for the log; the next steps wait and try again by themselves.
    pub problem: Option<String>,
}

#[uniffi::export]
impl MusterClient {
    /// Does the next request, if one is due, and keeps what it brought. Blocks for as long as the transport does.
    ///
    /// # Errors
    /// When the store cannot be read or written; what was sent is then sent again.
    pub fn sync_step(&self) -> Result<SyncStep, ApiError> {
        let _one_at_a_time = match self.syncing.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(at_rest(SyncState::Busy, 0)),
        };
        let now_ms = self.clocks()?.monotonic_ms;
        let nonce = random()?;
        let (action, token) = {
            let mut state = self.state();
            let State { store, sync, token } = &mut *state;
            let Some(token) = token.clone() else { return Ok(at_rest(SyncState::NeedsLogin, 0)) };
            (sync.next_action(store, &self.key, now_ms, nonce)?, token)
        };
        match action {
            Action::Exchange(bytes) => {
                let sent = self.send(request("POST", SYNC_PATH, &token, Some(CONTENT_TYPE), bytes));
                self.exchanged(sent)
            }
            Action::UploadBlob { sha256, image_type, bytes } => {
                let content_type = match image_type {
                    ImageType::Jpeg => "image/jpeg",
                    ImageType::Png => "image/png",
                };
                let path = format!("{BLOB_PATH}{}", data_encoding::HEXLOWER.encode(&sha256));
                let sent = self.send(request("PUT", &path, &token, Some(content_type), bytes));
                self.uploaded(sent)
            }
            Action::Wait { until_ms } => Ok(at_rest(SyncState::Wait, until_ms.saturating_sub(now_ms))),
            Action::Idle => Ok(at_rest(SyncState::Idle, 0)),
            Action::NeedsLogin => Ok(at_rest(SyncState::NeedsLogin, 0)),
        }
    }

    /// Looks for news with the next step: on a timer, after a push message, when the app comes to the front.
    pub fn wake(&self) {
        self.state().sync.wake();
    }

    /// The network is back: do not wait out the delay of a lost connection.
    pub fn network_changed(&self) {
        self.state().sync.network_changed();
    }
}

impl MusterClient {
    fn send(&self, request: HttpRequest) -> Result<Answer, String> {
        let response = self.transport.send(request).map_err(|CallbackError::Failed { text }| text)?;
        Ok(Answer { status: response.status, retry_after_ms: retry_after_ms(&response), body: response.body })
    }

    fn exchanged(&self, sent: Result<Answer, String>) -> Result<SyncStep, ApiError> {
        let clocks = self.clocks()?;
        let arrival = Arrival { monotonic_ms: clocks.monotonic_ms, boot_id: clocks.boot_id };
        let jitter = u64::from_be_bytes(random()?);
        let mut state = self.state();
        let State { store, sync, .. } = &mut *state;
        match sent {
            Ok(answer) => Ok(step(&sync.exchange_answered(store, &self.key, &answer, arrival, jitter)?)),
            Err(text) => {
                sync.failed(arrival.monotonic_ms, jitter);
                Ok(unanswered(text))
            }
        }
    }

    fn uploaded(&self, sent: Result<Answer, String>) -> Result<SyncStep, ApiError> {
        let now_ms = self.clocks()?.monotonic_ms;
        let jitter = u64::from_be_bytes(random()?);
        let mut state = self.state();
        let State { store, sync, .. } = &mut *state;
        match sent {
            Ok(answer) => Ok(step(&sync.upload_answered(store, &answer, now_ms, jitter)?)),
            Err(text) => {
                sync.failed(now_ms, jitter);
                Ok(unanswered(text))
            }
        }
    }
}

fn at_rest(state: SyncState, wait_ms: u64) -> SyncStep {
    SyncStep { state, wait_ms, accepted: 0, quarantined: 0, refused: 0, carried: 0, pulled: 0, problem: None }
}

fn unanswered(text: String) -> SyncStep {
    SyncStep { problem: Some(format!("no answer: {text}")), ..at_rest(SyncState::Progress, 0) }
}

fn step(report: &Report) -> SyncStep {
    SyncStep {
        accepted: report.accepted as u64,
        quarantined: report.quarantined as u64,
        refused: report.refused as u64,
        carried: report.carried as u64,
        pulled: report.pulled as u64,
        problem: report.problem.as_ref().map(ToString::to_string),
        ..at_rest(SyncState::Progress, 0)
    }
}

/// `Retry-After` in seconds; a date is left to the client's own delay.
fn retry_after_ms(response: &HttpResponse) -> Option<u64> {
    let header = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("retry-after"))?;
    header.value.trim().parse::<u64>().ok()?.checked_mul(1000)
}
