//! The client object: one store, one key, one HTTP stack.

use crate::{
    ApiError, CallbackError, Clock, HttpHeader, HttpRequest, HttpResponse, HttpTransport, Signer,
    callbacks::{ForeignKey, read_clocks},
    error::invalid,
};
use muster_sync_core::{
    DeviceKey,
    store::{Account, DeviceStore, PhoneClocks, StoreError},
    sync::client::SyncClient,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Who uses the phone.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct PhoneAccount {
    /// The tenant.
    pub tenant: String,
    /// The user's id.
    pub user: String,
}

/// A phone's Muster. Safe to call from several threads; a sync step never holds up a capture.
#[derive(uniffi::Object)]
pub struct MusterClient {
    pub(crate) state: Mutex<State>,
    /// Held while a request is under way, so that there is one at a time.
    pub(crate) syncing: Mutex<()>,
    pub(crate) key: ForeignKey,
    pub(crate) transport: Arc<dyn HttpTransport>,
    clock: Arc<dyn Clock>,
}

pub(crate) struct State {
    pub(crate) store: DeviceStore,
    pub(crate) sync: SyncClient,
    pub(crate) token: Option<String>,
}

/// What `GET /api/v1/server` says, as far as a phone needs it.
#[derive(serde::Deserialize)]
struct ServerFacts {
    server_key: String,
    tenant: String,
    user_id: String,
    /// Missing at an older server.
    image_size_bytes_max: Option<u64>,
}

#[uniffi::export]
impl MusterClient {
    /// Opens the store at `path`, or makes it. Needs no network and no sign-in.
    ///
    /// # Errors
    /// [`ApiError::StorageDamaged`], [`ApiError::UpdateNeeded`], [`ApiError::KeyUnavailable`].
    #[uniffi::constructor]
    pub fn open(
        path: String,
        signer: Arc<dyn Signer>,
        transport: Arc<dyn HttpTransport>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, ApiError> {
        let key = ForeignKey::new(signer)?;
        let store = DeviceStore::open(path)?;
        let state = State { store, sync: SyncClient::new(), token: None };
        Ok(Arc::new(Self { state: Mutex::new(state), syncing: Mutex::new(()), key, transport, clock }))
    }

    /// Signs in with a token: asks the server who the user is and for its key, and keeps both for good.
    ///
    /// # Errors
    /// [`ApiError::NoNetwork`], [`ApiError::SignInNeeded`] for a token that is not valid, [`ApiError::InvalidInput`] if
    /// this store belongs to another tenant, [`ApiError::Unexpected`] if another server key is pinned.
    pub fn sign_in(&self, token: String) -> Result<PhoneAccount, ApiError> {
        let request = request("GET", "/api/v1/server", &token, None, Vec::new());
        let no_network = |CallbackError::Failed { text }| ApiError::NoNetwork { text };
        let response = self.transport.send(request).map_err(no_network)?;
        let facts = read_facts(&response)?;
        let server_key = DeviceKey::from_hex(&facts.server_key)
            .ok_or_else(|| ApiError::Unexpected { text: "the server gave no key".to_owned() })?;
        self.set_account(facts.tenant.clone(), facts.user_id.clone(), server_key.0.to_vec())?;
        if let Some(bytes_max) = facts.image_size_bytes_max {
            self.state().store.set_image_size_bytes_max(bytes_max)?;
        }
        self.set_token(Some(token));
        Ok(PhoneAccount { tenant: facts.tenant, user: facts.user_id })
    }

    /// Sets what [`Self::sign_in`] would ask the server for: for apps that were provisioned with it.
    ///
    /// # Errors
    /// As [`Self::sign_in`], without the network.
    pub fn set_account(&self, tenant: String, user: String, server_key: Vec<u8>) -> Result<(), ApiError> {
        let server_key = DeviceKey::from_slice(&server_key).ok_or_else(|| invalid("a server key has 32 bytes"))?;
        let mut state = self.state();
        state.store.pin_server_key(server_key)?;
        Ok(state.store.set_account(&Account { tenant, user })?)
    }

    /// A fresh token, or none. Captures do not need one.
    pub fn set_token(&self, token: Option<String>) {
        let mut state = self.state();
        if token.is_some() {
            state.sync.signed_in();
        }
        state.token = token;
    }

    /// Who uses the phone, if anybody ever signed in.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn account(&self) -> Result<Option<PhoneAccount>, ApiError> {
        match self.state().store.account() {
            Ok(Account { tenant, user }) => Ok(Some(PhoneAccount { tenant, user })),
            Err(StoreError::NoAccount) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The device's public key in hexadecimal, as the administration sees it.
    pub fn device_key(&self) -> String {
        use muster_sync_core::signing::SigningKey;
        self.key.public_key().to_string()
    }
}

impl MusterClient {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // A panic while it was held rolled its transaction back: the store is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn clocks(&self) -> Result<PhoneClocks, ApiError> {
        read_clocks(self.clock.as_ref())
    }
}

/// A request with the bearer token.
pub(crate) fn request(method: &str, path: &str, token: &str, content_type: Option<&str>, body: Vec<u8>) -> HttpRequest {
    let header = |name: &str, value: String| HttpHeader { name: name.to_owned(), value };
    let mut headers = vec![header("Authorization", format!("Bearer {token}"))];
    headers.extend(content_type.map(|content_type| header("Content-Type", content_type.to_owned())));
    HttpRequest { method: method.to_owned(), path: path.to_owned(), headers, body }
}

fn read_facts(response: &HttpResponse) -> Result<ServerFacts, ApiError> {
    match response.status {
        200 => serde_json::from_slice(&response.body)
            .map_err(|_| ApiError::Unexpected { text: "the server did not say who it is".to_owned() }),
        401 | 403 => Err(ApiError::SignInNeeded { text: "the server does not take the token".to_owned() }),
        status => Err(ApiError::NoNetwork { text: format!("the server answered with status {status}") }),
    }
}
