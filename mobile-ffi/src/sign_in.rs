//! Signing in by the device's key: for a phone whose tokens expired, with no person and no password.

use crate::{ApiError, CallbackError, HttpHeader, HttpRequest, HttpResponse, MusterClient, error::invalid};
use data_encoding::BASE64;
use muster_sync_core::{
    DeviceKey,
    signing::SigningKey,
    sync::auth::{CHALLENGE_PATH, DEVICE_TOKEN_PATH, answer_challenge},
};
use serde::de::DeserializeOwned;

#[derive(serde::Deserialize)]
struct Challenge {
    challenge: String,
}

#[derive(serde::Deserialize)]
struct Token {
    access_token: String,
    expires_in: u64,
}

#[uniffi::export]
impl MusterClient {
    /// Gets a fresh token by the device's key and goes on with it; says for how many seconds it is good. Call it when a
    /// step says `NeedsLogin`: only if it fails with `SignInNeeded` is there anything to ask the person. Then call it once
    /// more after [`MusterClient::sign_in`] with the token of their password: from then on the key is enough again.
    ///
    /// # Errors
    /// [`ApiError::NoNetwork`], [`ApiError::KeyUnavailable`], and [`ApiError::SignInNeeded`] for a phone that nobody ever
    /// signed in on, or that is not bound.
    pub fn sign_in_with_device(&self) -> Result<u64, ApiError> {
        let pinned = self.state().store.server_key()?;
        let server: DeviceKey =
            pinned.ok_or_else(|| ApiError::SignInNeeded { text: "nobody signed in on this phone yet".to_owned() })?;
        let key = self.key.public_key().to_string();
        let asked: Challenge = self.ask(CHALLENGE_PATH, &serde_json::json!({ "device_key": key }))?;
        let challenge =
            BASE64.decode(asked.challenge.as_bytes()).map_err(|_| invalid("the challenge is not base64"))?;
        let signature = answer_challenge(&self.key, &server, &challenge)
            .map_err(|error| ApiError::KeyUnavailable { text: error.0 })?;
        let answer = serde_json::json!({
            "device_key": key, "challenge": asked.challenge, "signature": BASE64.encode(&signature),
        });
        let token: Token = self.ask(DEVICE_TOKEN_PATH, &answer)?;
        self.set_token(Some(token.access_token));
        Ok(token.expires_in)
    }
}

impl MusterClient {
    fn ask<T: DeserializeOwned>(&self, path: &str, body: &serde_json::Value) -> Result<T, ApiError> {
        let header = |name: &str, value: String| HttpHeader { name: name.to_owned(), value };
        let mut headers = vec![header("Content-Type", "application/json".to_owned())];
        // After every sign-in of the account was ended, the key signs in again beside the token of a password.
        headers.extend(self.state().token.as_ref().map(|token| header("Authorization", format!("Bearer {token}"))));
        let request = HttpRequest {
            method: "POST".to_owned(),
            path: path.to_owned(),
            headers,
            body: body.to_string().into_bytes(),
        };
        let no_network = |CallbackError::Failed { text }| ApiError::NoNetwork { text };
        read(&self.transport.send(request).map_err(no_network)?)
    }
}

fn read<T: DeserializeOwned>(response: &HttpResponse) -> Result<T, ApiError> {
    match response.status {
        200 => serde_json::from_slice(&response.body)
            .map_err(|_| ApiError::Unexpected { text: "the server's answer cannot be read".to_owned() }),
        401 | 403 => Err(ApiError::SignInNeeded { text: "the server does not take this device".to_owned() }),
        status => Err(ApiError::NoNetwork { text: format!("the server answered with status {status}") }),
    }
}
