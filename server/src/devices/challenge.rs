//! `POST /auth/device/challenge`: something to sign, for a key that nobody looks up.
//!
//! The server stores nothing: a challenge carries its end and a keyed hash over itself and the key that asked. Anybody gets
//! one for any key, so that it says nothing about which keys are bound.

use axum::extract::State;
use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use muster_sync_core::DeviceKey;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::{HashKey, hash_key};
use crate::error::{AppError, AppResult, ErrorEnvelope};
use crate::http::Json;
use crate::log::ServerKey;

/// How long a challenge may be answered: two minutes, in milliseconds.
const CHALLENGE_TTL_MS: i64 = 120_000;
/// Random bytes.
const NONCE_BYTES: usize = 16;
/// End, nonce and keyed hash.
const CHALLENGE_BYTES: usize = 8 + NONCE_BYTES + 32;
/// The purpose of the key.
const PURPOSE: &str = "device-challenge";

/// Which key asks.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AskChallenge {
    /// The device's public key in hexadecimal.
    device_key: String,
}

/// What to sign.
#[derive(Serialize, ToSchema)]
pub(super) struct ChallengeReply {
    /// Base64.
    challenge: String,
    /// The key of this server in hexadecimal; a device signs only for the one that it has pinned.
    server_key: String,
    /// Seconds in which to answer.
    expires_in: i64,
}

/// Makes a challenge for a device key.
#[utoipa::path(
    post, path = "/auth/device/challenge", tag = "auth", security(()), request_body = AskChallenge,
    responses(
        (status = 200, body = ChallengeReply),
        (status = 422, description = "this is no key", body = ErrorEnvelope)
    )
)]
pub(super) async fn challenge(
    State(app): State<App>,
    Json(asked): Json<AskChallenge>,
) -> AppResult<Json<ChallengeReply>> {
    let key = parse_key(&asked.device_key)?;
    let mut nonce = [0; NONCE_BYTES];
    app.entropy.fill(&mut nonce);
    let challenge = Challenge { expires_at_ms: app.now_ms() + CHALLENGE_TTL_MS, nonce };
    Ok(Json(ChallengeReply {
        challenge: BASE64.encode(&challenge.to_bytes(&hash_key(&app, PURPOSE)?, &key)),
        server_key: ServerKey::of(&app)?.public().to_string(),
        expires_in: CHALLENGE_TTL_MS / 1_000,
    }))
}

/// Reads a device key.
pub(super) fn parse_key(text: &str) -> AppResult<DeviceKey> {
    let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok().and_then(|bytes| DeviceKey::from_slice(&bytes));
    bytes.ok_or_else(|| AppError::field("device_key", "a device key is 32 bytes in hexadecimal"))
}

/// A challenge that this server made.
pub(super) struct Challenge {
    pub(super) expires_at_ms: i64,
    pub(super) nonce: [u8; NONCE_BYTES],
}

impl Challenge {
    fn to_bytes(&self, hash: &HashKey, key: &DeviceKey) -> [u8; CHALLENGE_BYTES] {
        let mut bytes = [0; CHALLENGE_BYTES];
        bytes[..8].copy_from_slice(&self.expires_at_ms.to_be_bytes());
        bytes[8..24].copy_from_slice(&self.nonce);
        let mut hashed = [0; 32 + 24];
        hashed[..32].copy_from_slice(&key.0);
        hashed[32..].copy_from_slice(&bytes[..24]);
        bytes[24..].copy_from_slice(&hash.hash(&hashed));
        bytes
    }

    /// Reads a challenge that was made for this key; `None` if it was not, or is too old.
    ///
    /// # Errors
    /// 500 when the server was built without its keys.
    pub(super) fn open(app: &App, bytes: &[u8], key: &DeviceKey) -> AppResult<Option<Self>> {
        let Ok(bytes) = <[u8; CHALLENGE_BYTES]>::try_from(bytes) else { return Ok(None) };
        let (mut expires, mut nonce) = ([0; 8], [0; NONCE_BYTES]);
        expires.copy_from_slice(&bytes[..8]);
        nonce.copy_from_slice(&bytes[8..24]);
        let challenge = Self { expires_at_ms: i64::from_be_bytes(expires), nonce };
        let ours = bool::from(challenge.to_bytes(&hash_key(app, PURPOSE)?, key).ct_eq(&bytes));
        Ok(Some(challenge).filter(|challenge| ours && app.now_ms() < challenge.expires_at_ms))
    }
}
