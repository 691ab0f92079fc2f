//! What the app brings: a key, an HTTP stack and clocks. Their failures are values; none of them crosses as a panic.

use crate::{ApiError, entropy::random, error::invalid};
use muster_sync_core::{
    DeviceKey,
    signing::{SignError, SigningKey, SoftwareKey},
    store::PhoneClocks,
};
use std::sync::Arc;
use zeroize::Zeroizing;

/// What an implementation of the app reports, also when it throws something unexpected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, uniffi::Error)]
pub enum CallbackError {
    /// It did not work.
    #[error("{text}")]
    Failed {
        /// Why, for the log.
        text: String,
    },
}

impl From<uniffi::UnexpectedUniFFICallbackError> for CallbackError {
    fn from(error: uniffi::UnexpectedUniFFICallbackError) -> Self {
        Self::Failed { text: error.reason }
    }
}

/// The device key. It may stay in the platform's keystore: only signatures leave it.
#[uniffi::export(with_foreign)]
pub trait Signer: Send + Sync {
    /// The 32 bytes of the Ed25519 public key.
    ///
    /// # Errors
    /// When the keystore does not answer.
    fn public_key(&self) -> Result<Vec<u8>, CallbackError>;

    /// The 64 bytes of the Ed25519 signature (RFC 8032) of `message`.
    ///
    /// # Errors
    /// When the keystore refuses, or the person did not unlock it.
    fn sign(&self, message: Vec<u8>) -> Result<Vec<u8>, CallbackError>;
}

/// One header field.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct HttpHeader {
    /// Its name, in any case.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// A request that the app sends to the server's base URL plus `path`.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct HttpRequest {
    /// `GET`, `POST` or `PUT`.
    pub method: String,
    /// Begins with a slash.
    pub path: String,
    /// Header fields, with the bearer token.
    pub headers: Vec<HttpHeader>,
    /// The body, empty for `GET`.
    pub body: Vec<u8>,
}

/// What came back, whatever the status.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct HttpResponse {
    /// The status.
    pub status: u16,
    /// Header fields.
    pub headers: Vec<HttpHeader>,
    /// The whole body.
    pub body: Vec<u8>,
}

/// The app's HTTP stack. It follows no redirects with the token, and verifies the server's certificate.
#[uniffi::export(with_foreign)]
pub trait HttpTransport: Send + Sync {
    /// Sends one request and waits for the answer.
    ///
    /// # Errors
    /// When no answer came; a status like 503 is an answer.
    fn send(&self, request: HttpRequest) -> Result<HttpResponse, CallbackError>;
}

/// The phone's clocks.
#[uniffi::export(with_foreign)]
pub trait Clock: Send + Sync {
    /// Unix time in milliseconds, as the phone shows it.
    ///
    /// # Errors
    /// When the platform does not answer.
    fn wall_ms(&self) -> Result<i64, CallbackError>;

    /// Milliseconds since boot, with sleep, never going back.
    ///
    /// # Errors
    /// When the platform does not answer.
    fn monotonic_ms(&self) -> Result<u64, CallbackError>;

    /// 16 bytes that change with every boot.
    ///
    /// # Errors
    /// When the platform does not answer.
    fn boot_id(&self) -> Result<Vec<u8>, CallbackError>;
}

/// A key in memory: for tests, and for platforms without a keystore. The app keeps the seed where it is safe.
#[derive(uniffi::Object)]
pub struct SoftwareSigner(SoftwareKey);

#[uniffi::export]
impl SoftwareSigner {
    /// From the 32 bytes that [`new_seed`] gave.
    ///
    /// # Errors
    /// [`ApiError::InvalidInput`] for another number of bytes.
    #[uniffi::constructor]
    pub fn from_seed(seed: Vec<u8>) -> Result<Arc<Self>, ApiError> {
        let seed = Zeroizing::new(seed);
        let seed: [u8; 32] = seed.as_slice().try_into().map_err(|_| invalid("a seed has 32 bytes"))?;
        Ok(Arc::new(Self(SoftwareKey::from_seed(&Zeroizing::new(seed)))))
    }
}

#[uniffi::export]
impl Signer for SoftwareSigner {
    fn public_key(&self) -> Result<Vec<u8>, CallbackError> {
        Ok(SigningKey::public_key(&self.0).0.to_vec())
    }

    fn sign(&self, message: Vec<u8>) -> Result<Vec<u8>, CallbackError> {
        let signature = SigningKey::sign(&self.0, &message);
        signature.map(|bytes| bytes.to_vec()).map_err(|error| CallbackError::Failed { text: error.0 })
    }
}

/// 32 fresh random bytes for a [`SoftwareSigner`].
///
/// # Errors
/// When the operating system gives no randomness.
#[uniffi::export]
pub fn new_seed() -> Result<Vec<u8>, ApiError> {
    Ok(random::<32>()?.to_vec())
}

/// The app's signer as sync-core wants it; the public key is asked for once.
pub(crate) struct ForeignKey {
    public: DeviceKey,
    signer: Arc<dyn Signer>,
}

impl ForeignKey {
    pub(crate) fn new(signer: Arc<dyn Signer>) -> Result<Self, ApiError> {
        let unavailable = |CallbackError::Failed { text }| ApiError::KeyUnavailable { text };
        let bytes = signer.public_key().map_err(unavailable)?;
        let public = DeviceKey::from_slice(&bytes).ok_or_else(|| invalid("a public key has 32 bytes"))?;
        if !muster_sync_core::signing::is_strong(&public) {
            return Err(invalid("the public key is weak, or is not an Ed25519 key"));
        }
        Ok(Self { public, signer })
    }
}

impl SigningKey for ForeignKey {
    fn public_key(&self) -> DeviceKey {
        self.public
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        let signature = self.signer.sign(message.to_vec()).map_err(|CallbackError::Failed { text }| SignError(text))?;
        signature.try_into().map_err(|_| SignError("a signature has 64 bytes".to_owned()))
    }
}

/// One look at the app's clocks.
pub(crate) fn read_clocks(clock: &dyn Clock) -> Result<PhoneClocks, ApiError> {
    let failed = |CallbackError::Failed { text }| ApiError::Unexpected { text: format!("no clock: {text}") };
    let boot_id = clock.boot_id().map_err(failed)?;
    Ok(PhoneClocks {
        wall_ms: clock.wall_ms().map_err(failed)?,
        monotonic_ms: clock.monotonic_ms().map_err(failed)?,
        boot_id: boot_id.try_into().map_err(|_| invalid("a boot id has 16 bytes"))?,
    })
}
