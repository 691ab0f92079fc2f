//! What this slice keeps in memory: the providers, the addresses back, and the key of the cookies.

use std::collections::{BTreeMap, BTreeSet};

use openidconnect::url::Url;
use sha2::{Digest, Sha256};

use super::flow::FlowKey;
use super::providers::{self, Provider};
use super::verify::Times;
use super::{fetch, limits};
use crate::app::{App, StartError};
use crate::clock::Entropy;
use crate::config::{Config, ConfigError, Environment, address};
use crate::error::{AppError, AppResult};
use crate::keys::{self, KeyFile};

const KEY_CONTEXT: &[u8] = b"muster/oauth-cookie-key/v1";
/// Where an app or a page of our own takes the sign-in over: always allowed.
const APP_REDIRECT_URI: &str = "muster://oauth/callback";
const OWN_REDIRECT_PATH: &str = "/oauth/callback";

/// Lives in the `App`.
pub struct OidcState {
    providers: BTreeMap<String, Provider>,
    redirect_uris: BTreeSet<String>,
    pub(super) flow_key: FlowKey,
}

impl OidcState {
    /// Reads the providers; asks none of them yet.
    ///
    /// # Errors
    /// When a setting cannot be right, or a file cannot be read.
    pub fn open(config: &Config, entropy: &dyn Entropy) -> Result<Self, StartError> {
        Ok(Self {
            providers: providers::of_config(config)?,
            redirect_uris: redirect_uris(config)?,
            flow_key: flow_key(config, entropy)?,
        })
    }

    /// Reads the settings and the file of providers, and makes nothing.
    ///
    /// # Errors
    /// As `open`.
    pub fn check(config: &Config) -> Result<(), StartError> {
        redirect_uris(config)?;
        providers::of_config(config).map(drop)
    }

    pub(super) fn of(app: &App) -> AppResult<&Self> {
        app.slice::<Self>().ok_or_else(|| AppError::internal("the app was built without OidcState"))
    }

    pub(super) fn providers(&self) -> impl Iterator<Item = &Provider> {
        self.providers.values()
    }

    pub(super) fn provider(&self, name: &str) -> AppResult<&Provider> {
        self.providers.get(name).ok_or_else(|| AppError::not_found("the provider"))
    }

    /// Byte for byte one of the allowed addresses; a server alone is the same with and without its only slash.
    pub(super) fn allowed(&self, redirect_uri: &str) -> AppResult<()> {
        if self.redirect_uris.contains(&with_root(redirect_uri)) {
            return Ok(());
        }
        Err(AppError::field("redirect_uri", "nobody is sent back to this address"))
    }
}

pub(super) fn times(app: &App) -> Times {
    let oauth = &app.config.oauth;
    Times {
        now_ms: app.now_ms(),
        cache_ttl_ms: i64::from(oauth.jwks_cache_ttl_seconds) * 1000,
        nonce_ttl_s: i64::from(oauth.oauth_nonce_ttl),
    }
}

fn redirect_uris(config: &Config) -> Result<BTreeSet<String>, StartError> {
    let clear_loopback = config.data.env != Environment::Prod;
    let mut uris = BTreeSet::from([APP_REDIRECT_URI.to_owned()]);
    if let Some(public) = config.mail.public_url() {
        uris.insert(address::below(public, OWN_REDIRECT_PATH));
    }
    for uri in config.oauth.allowed_redirect_uris() {
        if uri.len() > limits::REDIRECT_URI_BYTES_MAX || !is_place(uri, clear_loopback) {
            let text = format!("{uri} is no https address and no address of an app, or has a fragment");
            return Err(ConfigError::Invalid("OAUTH_ALLOWED_REDIRECT_URIS", text).into());
        }
        uris.insert(with_root(uri));
    }
    Ok(uris)
}

/// An address of a server alone with the slash that a browser adds; any other one as it is, because a slash behind a path
/// names another page.
fn with_root(uri: &str) -> String {
    let is_bare = |rest: &str| !rest.is_empty() && !rest.contains(['/', '?', '#']);
    match uri.split_once("://") {
        Some(("http" | "https", rest)) if is_bare(rest) => format!("{uri}/"),
        _ => uri.to_owned(),
    }
}

/// Whether a browser goes there and runs nothing of it: a server, or an app's own scheme.
fn is_place(uri: &str, clear_loopback: bool) -> bool {
    let Ok(url) = Url::parse(uri) else { return false };
    match url.scheme() {
        "http" | "https" => fetch::is_allowed(&url, clear_loopback),
        "javascript" | "data" | "blob" | "file" | "about" | "vbscript" | "filesystem" => false,
        _ => url.fragment().is_none(),
    }
}

/// Made from TOKEN_PEPPER, so that servers that share it understand each other's cookies.
fn flow_key(config: &Config, entropy: &dyn Entropy) -> Result<FlowKey, StartError> {
    let dir = config.data.keys_dir();
    let secret = match &config.tokens.token_pepper {
        Some(pepper) => pepper.reveal().as_bytes().to_vec().into(),
        None => keys::load_or_create(&dir, KeyFile::Oauth, entropy)
            .map_err(|error| StartError::Io("the key of sign-ins by a provider".to_owned(), error))?,
    };
    let key = Sha256::new().chain_update(KEY_CONTEXT).chain_update(secret.as_slice()).finalize();
    Ok(FlowKey::new(&key.into()))
}
