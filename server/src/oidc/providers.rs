//! The providers that the settings name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use openidconnect::url::Url;
use openidconnect::{ClientId, ClientSecret, RedirectUrl};
use serde::Deserialize;

use super::fetch::{self, Fetcher};
use super::jwks::Cache;
use super::limits;
use crate::app::StartError;
use crate::config::{Config, Environment, OauthConfig, Secret, address};

/// Below which the callbacks are, after PUBLIC_URL.
const CALLBACK_PREFIX: &str = "api/v1/auth/oauth";
/// Where the directories of Microsoft Entra are.
const ENTRA: &str = "https://login.microsoftonline.com";
/// All directories of institutions; no private accounts.
const ENTRA_ANY: &str = "organizations";

/// Somebody who proves who people are.
pub(super) struct Provider {
    /// In our paths and tables.
    pub(super) name: String,
    /// For people.
    pub(super) label: String,
    /// Below which the discovery document is; in all but one case also who signs.
    pub(super) issuer: String,
    pub(super) kind: Kind,
    pub(super) client_id: ClientId,
    pub(super) client_secret: ClientSecret,
    /// Where the provider sends people back to; both sides compare it byte for byte.
    pub(super) redirect_uri: RedirectUrl,
    /// Whether its e-mail addresses are good although it does not say that it checked them: an institution's own.
    pub(super) email_trusted: bool,
    /// Whether somebody unknown gets an account, if SIGN_UP lets anybody have one.
    pub(super) sign_up: bool,
    /// Whether it may be asked in clear on this machine.
    pub(super) clear_loopback: bool,
    pub(super) http: Fetcher,
    pub(super) cache: Cache,
}

/// What tells people apart there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// Issuer and subject.
    #[default]
    Standard,
    /// The directory (`tid`) and the object in it (`oid`).
    Entra,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProvidersFile {
    #[serde(default)]
    provider: Vec<Entry>,
}

/// One provider as OAUTH_PROVIDERS_FILE has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    label: Option<String>,
    issuer: String,
    client_id: String,
    client_secret: Secret,
    redirect_uri: Option<String>,
    #[serde(default)]
    kind: Kind,
    #[serde(default)]
    email_trusted: bool,
    #[serde(default = "yes")]
    sign_up: bool,
}

const fn yes() -> bool {
    true
}

/// Every provider by its name.
pub(super) fn of_config(config: &Config) -> Result<BTreeMap<String, Provider>, StartError> {
    let mut entries = built_in(&config.oauth);
    if let Some(path) = &config.oauth.oauth_providers_file {
        entries.extend(read(path)?);
    }
    if entries.len() > limits::PROVIDERS_MAX {
        return Err(wrong(&format!("at most {} providers are possible", limits::PROVIDERS_MAX)));
    }
    let tls = match entries.iter().any(|entry| entry.issuer.starts_with("https://")) {
        true => Some(fetch::tls()?),
        false => None,
    };
    let mut providers = BTreeMap::new();
    for entry in entries {
        let provider = provider(entry, config, tls.clone())?;
        if let Some(twice) = providers.insert(provider.name.clone(), provider) {
            return Err(wrong(&format!("there are two providers of the name {}", twice.name)));
        }
    }
    Ok(providers)
}

fn built_in(oauth: &OauthConfig) -> Vec<Entry> {
    let entry = |name: &str, label: &str, issuer: String, id: &String, secret: &Secret| Entry {
        name: name.to_owned(),
        label: Some(label.to_owned()),
        issuer,
        client_id: id.clone(),
        client_secret: secret.clone(),
        redirect_uri: None,
        kind: Kind::Standard,
        email_trusted: false,
        sign_up: true,
    };
    let mut entries = Vec::new();
    if let (Some(id), Some(secret)) = (&oauth.oauth_google_client_id, &oauth.oauth_google_client_secret) {
        let google = entry("google", "Google", "https://accounts.google.com".to_owned(), id, secret);
        entries.push(Entry { redirect_uri: oauth.oauth_google_redirect_uri.clone(), ..google });
    }
    if let (Some(id), Some(secret)) = (&oauth.oauth_microsoft_client_id, &oauth.oauth_microsoft_client_secret) {
        let directory = oauth.oauth_microsoft_tenant.as_deref().filter(|tenant| !is_many(tenant));
        let tenant = oauth.oauth_microsoft_tenant.as_deref().unwrap_or(ENTRA_ANY);
        let microsoft = entry("microsoft", "Microsoft", format!("{ENTRA}/{tenant}/v2.0"), id, secret);
        entries.push(Entry {
            redirect_uri: oauth.oauth_microsoft_redirect_uri.clone(),
            kind: Kind::Entra,
            // Anybody can write any address into a directory of their own, but not into the institution's.
            email_trusted: directory.is_some(),
            ..microsoft
        });
    }
    entries
}

/// Whether a word stands for many directories.
pub(super) fn is_many(tenant: &str) -> bool {
    matches!(tenant, "common" | "organizations" | "consumers")
}

fn read(path: &Path) -> Result<Vec<Entry>, StartError> {
    let unreadable = |error: std::io::Error| wrong(&format!("{}: {error}", path.display()));
    let file = File::open(path).map_err(unreadable)?;
    let mut text = String::new();
    let read = file.take(limits::PROVIDERS_FILE_BYTES_MAX + 1).read_to_string(&mut text);
    read.map_err(unreadable)?;
    if text.len() as u64 > limits::PROVIDERS_FILE_BYTES_MAX {
        return Err(wrong("the file is too large"));
    }
    let parsed: Result<ProvidersFile, toml::de::Error> = toml::from_str(&text);
    parsed.map(|file| file.provider).map_err(|error| wrong(&in_words(&error, &text)))
}

/// The parser's message may quote a value, which may be a secret; the name of a field is none.
fn in_words(error: &toml::de::Error, text: &str) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let about_a_name = ["missing field", "unknown field"].iter().any(|words| error.message().starts_with(words));
    format!("line {line}: {}", if about_a_name { error.message() } else { "this cannot be read" })
}

fn provider(entry: Entry, config: &Config, tls: Option<tokio_rustls::TlsConnector>) -> Result<Provider, StartError> {
    let name = &entry.name;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 32 || !name.chars().all(plain) {
        return Err(wrong("a name has 1 to 32 lower-case letters, digits and hyphens"));
    }
    let clear_loopback = config.data.env != Environment::Prod;
    let issuer = Url::parse(&entry.issuer).ok();
    if entry.issuer.len() > limits::ISSUER_BYTES_MAX
        || !issuer.as_ref().is_some_and(|url| fetch::is_allowed(url, clear_loopback) && url.query().is_none())
    {
        return Err(wrong(&format!("the issuer of {name} must be an https address")));
    }
    let redirect_uri = match (&entry.redirect_uri, config.mail.public_url()) {
        (Some(uri), _) => uri.clone(),
        (None, Some(public)) => address::below(public, &format!("{CALLBACK_PREFIX}/{name}/callback")),
        (None, None) => {
            let text = format!("PUBLIC_URL: sign-in through {name} needs it, or a redirect_uri of its own");
            return Err(StartError::Other(text));
        }
    };
    let parsed = RedirectUrl::new(redirect_uri);
    let redirect_uri = parsed.ok().filter(|uri| fetch::is_allowed(uri.url(), clear_loopback));
    let redirect_uri =
        redirect_uri.ok_or_else(|| wrong(&format!("the redirect_uri of {name} must be an https address")))?;
    if entry.client_id.is_empty() || entry.client_secret.reveal().is_empty() {
        return Err(wrong(&format!("{name} needs a client_id and a client_secret")));
    }
    Ok(Provider {
        label: entry.label.unwrap_or_else(|| entry.name.clone()),
        name: entry.name,
        issuer: address::without_slash(&entry.issuer).to_owned(),
        kind: entry.kind,
        client_id: ClientId::new(entry.client_id),
        client_secret: ClientSecret::new(entry.client_secret.reveal().to_owned()),
        redirect_uri,
        email_trusted: entry.email_trusted,
        sign_up: entry.sign_up,
        clear_loopback,
        http: Fetcher::new(tls),
        cache: Cache::default(),
    })
}

fn wrong(text: &str) -> StartError {
    StartError::Other(format!("OAUTH_PROVIDERS_FILE: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn providers(arguments: &[&str], file: &str) -> Result<Vec<String>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("providers.toml");
        std::fs::write(&path, file).unwrap();
        let fixed = ["--oauth-providers-file", path.to_str().unwrap()];
        let config = Config::from_arguments(fixed.iter().chain(arguments).map(|text| (*text).to_owned()))?;
        let providers = of_config(&config).map_err(|error| error.to_string())?;
        Ok(providers.values().map(|provider| format!("{} {}", provider.name, provider.redirect_uri.as_str())).collect())
    }

    fn entry(issuer: &str, more: &str) -> String {
        format!(
            "[[provider]]\nname = \"campus\"\nissuer = \"{issuer}\"\nclient_id = \"a\"\nclient_secret = \"b\"\n{more}"
        )
    }

    const PUBLIC: [&str; 2] = ["--public-url", "http://127.0.0.1:8000/"];

    #[test]
    fn a_provider_has_its_callback_below_the_public_address() {
        let found = providers(&PUBLIC, &entry("http://127.0.0.1:1", ""));
        assert_eq!(found, Ok(vec!["campus http://127.0.0.1:8000/api/v1/auth/oauth/campus/callback".to_owned()]));
        assert!(providers(&[], &entry("http://127.0.0.1:1", "")).is_err());
    }

    #[test]
    fn only_this_machine_is_asked_in_clear_and_never_in_production() {
        for issuer in ["http://idp.example", "http://10.0.0.1", "ftp://127.0.0.1", "http://a@127.0.0.1", "idp"] {
            assert!(providers(&PUBLIC, &entry(issuer, "")).is_err(), "{issuer}");
        }
        let prod = ["--env", "prod", "--public-url", "https://muster.example"];
        assert!(providers(&prod, &entry("http://127.0.0.1:1", "")).is_err());
    }

    #[test]
    fn a_mistake_in_the_file_is_told_without_its_secrets() {
        let told = |more: &str| providers(&PUBLIC, &entry("http://127.0.0.1:1", more)).unwrap_err();
        assert!(told("colour = 1").contains("unknown field `colour`"));
        let quoted = told("sign_up = \"the secret\"");
        assert!(quoted.contains("line 6") && !quoted.contains("the secret"), "{quoted}");
        let twice = entry("http://127.0.0.1:1", "") + &entry("http://127.0.0.1:1", "");
        assert!(providers(&PUBLIC, &twice).unwrap_err().contains("two providers"));
    }
}
