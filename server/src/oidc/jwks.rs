//! What a provider says about itself and its keys, kept in memory and asked for as rarely as possible.

use std::sync::Arc;

use openidconnect::core::{CoreClientAuthMethod, CoreJsonWebKeySet, CoreProviderMetadata};
use openidconnect::url::Url;
use openidconnect::{AuthType, AuthUrl, TokenUrl, UserInfoUrl};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::fetch::{self, FetchError};
use super::limits;
use super::providers::{Kind, Provider, is_many};
use crate::config::address;

/// In the place of the directory, where one document stands for many.
const TEMPLATE: &str = "{tenantid}";

/// What was fetched from one provider.
#[derive(Default)]
pub(super) struct Cache {
    metadata: Mutex<Kept<Metadata>>,
    keys: Mutex<Kept<Keys>>,
}

struct Kept<T> {
    value: Option<(Arc<T>, i64)>,
    tried_at_ms: Option<i64>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { value: None, tried_at_ms: None }
    }
}

impl<T> Kept<T> {
    /// What is not older than `ttl_ms`. A clock that went back makes nothing younger.
    fn fresh(&self, now_ms: i64, ttl_ms: i64) -> Option<&Arc<T>> {
        let (value, at_ms) = self.value.as_ref()?;
        (0..ttl_ms).contains(&(now_ms - at_ms)).then_some(value)
    }

    fn tried_within(&self, now_ms: i64, span_ms: i64) -> bool {
        self.tried_at_ms.is_some_and(|at_ms| (0..span_ms).contains(&(now_ms - at_ms)))
    }
}

/// What of the discovery document is used, checked.
pub(super) struct Metadata {
    /// Who must have signed; at Microsoft perhaps with the template in it.
    pub(super) issuer: String,
    pub(super) auth_url: AuthUrl,
    pub(super) token_url: TokenUrl,
    pub(super) userinfo_url: Option<UserInfoUrl>,
    pub(super) auth_type: AuthType,
    /// Whether the way back names its issuer (RFC 9207).
    pub(super) names_issuer: bool,
    jwks_url: Url,
}

/// Keys of a provider.
#[derive(Default)]
pub(super) struct Keys {
    pub(super) set: CoreJsonWebKeySet,
    issuers: Vec<KeyIssuer>,
}

/// Microsoft says of each key whose tokens it signs.
#[derive(Deserialize)]
struct KeyIssuer {
    kid: Option<String>,
    issuer: Option<String>,
}

/// Why there is nothing to work with.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProviderError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("it answered with status {0}")]
    Status(u16),
    #[error("its {0} cannot be used")]
    Unusable(&'static str),
    #[error("it failed a moment ago")]
    Resting,
}

/// What `RFC 9207` adds to the discovery document.
#[derive(Deserialize)]
struct Additional {
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl Keys {
    /// Whose tokens the key signs, where the provider says so.
    pub(super) fn issuer_of(&self, kid: &str) -> Option<&str> {
        let key = self.issuers.iter().find(|key| key.kid.as_deref() == Some(kid))?;
        key.issuer.as_deref()
    }
}

impl Metadata {
    /// Whether one document stands for many directories.
    pub(super) fn is_template(&self) -> bool {
        self.issuer.contains(TEMPLATE)
    }
}

/// An issuer with the directory in it.
pub(super) fn with_tenant(issuer: &str, tid: &str) -> String {
    issuer.replace(TEMPLATE, tid)
}

impl Provider {
    /// The discovery document, at most `ttl_ms` old.
    pub(super) async fn metadata(&self, now_ms: i64, ttl_ms: i64) -> Result<Arc<Metadata>, ProviderError> {
        let mut kept = self.cache.metadata.lock().await;
        if let Some(metadata) = kept.fresh(now_ms, ttl_ms) {
            return Ok(Arc::clone(metadata));
        }
        if kept.tried_within(now_ms, limits::RETRY_MS) {
            return Err(ProviderError::Resting);
        }
        kept.tried_at_ms = Some(now_ms);
        let address = address::below(&self.issuer, ".well-known/openid-configuration");
        let url = Url::parse(&address).map_err(|_| FetchError::Address)?;
        let metadata = Arc::new(self.checked(&self.document(&url).await?)?);
        kept.value = Some((Arc::clone(&metadata), now_ms));
        kept.tried_at_ms = None;
        Ok(metadata)
    }

    /// The keys, at most `ttl_ms` old. Whoever did not find a key in `missed_in` gets newer ones, unless the provider
    /// was asked within the last minute: then the same again.
    pub(super) async fn keys(
        &self,
        metadata: &Metadata,
        now_ms: i64,
        ttl_ms: i64,
        missed_in: Option<&Arc<Keys>>,
    ) -> Result<Arc<Keys>, ProviderError> {
        let mut kept = self.cache.keys.lock().await;
        if let Some(keys) = kept.fresh(now_ms, ttl_ms) {
            let newer = missed_in.is_none_or(|missed| !Arc::ptr_eq(missed, keys));
            if newer || kept.tried_within(now_ms, limits::KEYS_REFETCH_MS) {
                return Ok(Arc::clone(keys));
            }
        } else if kept.tried_within(now_ms, limits::RETRY_MS) {
            return Err(ProviderError::Resting);
        }
        kept.tried_at_ms = Some(now_ms);
        let bytes = self.document(&metadata.jwks_url).await?;
        let keys = Arc::new(keys_of(&bytes)?);
        kept.value = Some((Arc::clone(&keys), now_ms));
        Ok(keys)
    }

    async fn document(&self, url: &Url) -> Result<Vec<u8>, ProviderError> {
        let answer = self.http.get(url).await?;
        match answer.status().as_u16() {
            200 => Ok(answer.into_body()),
            status => Err(ProviderError::Status(status)),
        }
    }

    fn checked(&self, bytes: &[u8]) -> Result<Metadata, ProviderError> {
        let unusable = |_| ProviderError::Unusable("discovery document");
        let found: CoreProviderMetadata = serde_json::from_slice(bytes).map_err(unusable)?;
        let additional: Additional = serde_json::from_slice(bytes).map_err(unusable)?;
        if !self.may_be_issuer(found.issuer()) {
            return Err(ProviderError::Unusable("issuer"));
        }
        let token_url = found.token_endpoint().ok_or(ProviderError::Unusable("token endpoint"))?;
        let endpoints = [found.authorization_endpoint().url(), token_url.url(), found.jwks_uri().url()];
        let userinfo = found.userinfo_endpoint().map(|endpoint| endpoint.url());
        if !endpoints.into_iter().chain(userinfo).all(|url| fetch::is_allowed(url, self.clear_loopback)) {
            return Err(ProviderError::Unusable("endpoints"));
        }
        let methods = found.token_endpoint_auth_methods_supported();
        let body_only = methods.is_some_and(|methods| !methods.contains(&CoreClientAuthMethod::ClientSecretBasic));
        Ok(Metadata {
            issuer: found.issuer().to_string(),
            auth_url: found.authorization_endpoint().clone(),
            token_url: token_url.clone(),
            userinfo_url: found.userinfo_endpoint().cloned(),
            auth_type: if body_only { AuthType::RequestBody } else { AuthType::BasicAuth },
            names_issuer: additional.authorization_response_iss_parameter_supported,
            jwks_url: found.jwks_uri().url().clone(),
        })
    }

    /// A document speaks for the issuer below which it was found, whether or not the settings have its slash at the end;
    /// what tokens say is then compared with the document's own words, to the letter. Microsoft's names the directory by its id, or stands
    /// for all of them, whatever word the settings have in that place.
    fn may_be_issuer(&self, found: &str) -> bool {
        if address::same(found, &self.issuer) {
            return true;
        }
        let (Kind::Entra, Some((before, tenant, after))) = (self.kind, around_tenant(&self.issuer)) else {
            return false;
        };
        let named = found.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
        named.is_some_and(|named| match is_many(tenant) {
            true => named == TEMPLATE || is_directory(named),
            // A name of the directory; its id must be the very one.
            false => !is_directory(tenant) && is_directory(named),
        })
    }
}

/// Cuts `https://host/tenant/v2.0` around the tenant.
fn around_tenant(issuer: &str) -> Option<(&str, &str, &str)> {
    let (rest, version) = issuer.rsplit_once('/')?;
    let (before, tenant) = rest.rsplit_once('/')?;
    let after = &issuer[issuer.len() - version.len() - 1..];
    Some((&issuer[..before.len() + 1], tenant, after))
}

/// Whether it looks like the id of a directory.
pub(super) fn is_directory(text: &str) -> bool {
    let group = |group: &str| group.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let lengths = text.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && text.split('-').all(group)
}

fn keys_of(bytes: &[u8]) -> Result<Keys, ProviderError> {
    #[derive(Deserialize)]
    struct Issuers {
        keys: Vec<KeyIssuer>,
    }
    let unusable = |_| ProviderError::Unusable("key set");
    let set: CoreJsonWebKeySet = serde_json::from_slice(bytes).map_err(unusable)?;
    let issuers: Issuers = serde_json::from_slice(bytes).map_err(unusable)?;
    Ok(Keys { set, issuers: issuers.keys })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_cut_around_its_directory() {
        let cut = around_tenant("https://login.example/organizations/v2.0");
        assert_eq!(cut, Some(("https://login.example/", "organizations", "/v2.0")));
    }

    #[test]
    fn a_directory_has_an_id_in_lower_case() {
        assert!(is_directory("9188040d-6c67-4c5b-b112-36a304b66dad"));
        for text in ["", "{tenantid}", "9188040D-6c67-4c5b-b112-36a304b66dad", "9188040d6c674c5bb11236a304b66dad"] {
            assert!(!is_directory(text), "{text}");
        }
    }
}
