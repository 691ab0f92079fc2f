//! A sign-in under way: what the browser carries in a sealed cookie while somebody is at the provider.
//!
//! The server stores nothing when a sign-in begins, so beginning many costs it nothing. The cookie binds `state` to the
//! browser; the nonce and the PKCE verifier are derived from a secret in it, which the browser itself cannot read.

use axum::http::{HeaderMap, HeaderValue, header};
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use data_encoding::BASE64URL_NOPAD;
use openidconnect::{CsrfToken, Nonce, PkceCodeVerifier};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::limits;
use super::providers::Provider;
use crate::auth::ClientClass;
use crate::clock::Entropy;
use crate::error::{AppError, AppResult};
use crate::ids::{AuthSessionId, TenantId, UserId};

const COOKIE_CONTEXT: &[u8] = b"muster/oauth-flow/v1";
const NONCE_BYTES: usize = 24;
const SECRET_BYTES: usize = 32;

/// What began.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Flow {
    /// At which provider.
    pub(super) provider: String,
    /// What the provider sends back.
    pub(super) state: String,
    /// From which nonce and verifier are derived.
    pub(super) secret: String,
    /// When.
    pub(super) began_at_ms: i64,
    /// With which class of client.
    pub(super) client: ClientClass,
    /// Where the browser goes in the end, if it is an app's or another site's.
    pub(super) redirect_uri: Option<String>,
    /// SHA-256 of what must be shown with the code that the browser takes there.
    pub(super) challenge: Option<String>,
    /// To which account the identity is to be linked; nobody is signed in then.
    pub(super) link: Option<LinkTo>,
}

/// The account of whoever asked for a link, as it was then.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkTo {
    pub(super) tenant: String,
    pub(super) user: UserId,
    /// A session that ended meanwhile links nothing: all of the user end with the epoch, and this one alone.
    pub(super) epoch: i64,
    pub(super) session: AuthSessionId,
}

impl LinkTo {
    pub(super) fn tenant(&self) -> AppResult<TenantId> {
        self.tenant.parse().map_err(AppError::internal)
    }
}

/// An unpredictable text of 32 bytes in base64url.
pub(super) fn random_text(entropy: &dyn Entropy) -> String {
    let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
    entropy.fill(bytes.as_mut_slice());
    BASE64URL_NOPAD.encode(bytes.as_slice())
}

/// Under which a random text is stored: it has 256 bits of its own and needs no pepper.
pub(super) fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

impl Flow {
    /// A sign-in that begins now.
    pub(super) fn begin(provider: &Provider, client: ClientClass, now_ms: i64, entropy: &dyn Entropy) -> Self {
        Self {
            provider: provider.name.clone(),
            state: random_text(entropy),
            secret: random_text(entropy),
            began_at_ms: now_ms,
            client,
            redirect_uri: None,
            challenge: None,
            link: None,
        }
    }

    pub(super) fn csrf(&self) -> CsrfToken {
        CsrfToken::new(self.state.clone())
    }

    pub(super) fn nonce(&self) -> Nonce {
        Nonce::new(self.derive("nonce"))
    }

    pub(super) fn verifier(&self) -> PkceCodeVerifier {
        PkceCodeVerifier::new(self.derive("pkce-verifier"))
    }

    fn derive(&self, purpose: &str) -> String {
        let digest = Sha256::new()
            .chain_update(COOKIE_CONTEXT)
            .chain_update(purpose.as_bytes())
            .chain_update([0])
            .chain_update(self.secret.as_bytes())
            .finalize();
        BASE64URL_NOPAD.encode(&digest)
    }

    /// Under which it is noted that this state came back.
    pub(super) fn state_hash(&self) -> [u8; 32] {
        hash(&self.state)
    }
}

/// The key that seals cookies.
pub(super) struct FlowKey(XChaCha20Poly1305);

impl FlowKey {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self(XChaCha20Poly1305::new(key.into()))
    }

    /// The `Set-Cookie` of a flow.
    pub(super) fn cookie(
        &self,
        provider: &Provider,
        flow: &Flow,
        ttl_s: u32,
        entropy: &dyn Entropy,
    ) -> AppResult<HeaderValue> {
        let plain = Zeroizing::new(serde_json::to_vec(flow).map_err(AppError::internal)?);
        let mut nonce = [0; NONCE_BYTES];
        entropy.fill(&mut nonce);
        let payload = Payload { msg: &plain, aad: COOKIE_CONTEXT };
        let sealed = self.0.encrypt(&XNonce::from(nonce), payload).map_err(AppError::internal)?;
        let value = BASE64URL_NOPAD.encode(&[&nonce[..], &sealed].concat());
        set_cookie(provider, &flow.state, &value, ttl_s)
    }

    /// The flow that this browser began at the provider with `state`, if it is the one.
    pub(super) fn open(&self, headers: &HeaderMap, provider: &Provider, state: &str) -> Option<Flow> {
        let value = cookie_value(headers, &cookie_name(provider, state))?;
        let bytes = BASE64URL_NOPAD.decode(value.as_bytes()).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>()?;
        let payload = Payload { msg: sealed, aad: COOKIE_CONTEXT };
        let plain = Zeroizing::new(self.0.decrypt(&XNonce::from(*nonce), payload).ok()?);
        let flow: Flow = serde_json::from_slice(&plain).ok()?;
        // Compared as hashes, so that the time says nothing.
        (flow.state_hash() == hash(state)).then_some(flow)
    }
}

/// The `Set-Cookie` that removes the cookie of a flow.
pub(super) fn gone(provider: &Provider, flow: &Flow) -> AppResult<HeaderValue> {
    set_cookie(provider, &flow.state, "", 0)
}

/// Each flow has a cookie of its own, so that two tabs do not disturb each other. Browsers take the prefix from the
/// very host only: a neighbour, such as a student's site below the university's domain, must not put a flow of its own
/// into somebody's browser.
fn cookie_name(provider: &Provider, state: &str) -> String {
    let prefix = if is_secure(provider) { "__Host-" } else { "" };
    format!("{prefix}muster_oauth_{}", BASE64URL_NOPAD.encode(&hash(state)[..9]))
}

fn is_secure(provider: &Provider) -> bool {
    provider.redirect_uri.url().scheme() == "https"
}

fn set_cookie(provider: &Provider, state: &str, value: &str, ttl_s: u32) -> AppResult<HeaderValue> {
    let (name, secure) = (cookie_name(provider, state), if is_secure(provider) { "; Secure" } else { "" });
    let cookie = format!("{name}={value}; Path=/; Max-Age={ttl_s}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::from_str(&cookie).map_err(AppError::internal)
}

fn cookie_value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    (value.len() <= limits::COOKIE_BYTES_MAX).then_some(value)
}
