//! Settings of what stands between a browser and a handler.

use clap::{ArgAction, Args};

use super::address::without_slash;
use super::{ConfigError, Environment, Secret, require};

/// Fewest bytes of a METRICS_TOKEN.
const METRICS_TOKEN_BYTES_MIN: usize = 16;

/// Origins, proxies, documentation.
#[derive(Debug, Clone, Args)]
pub struct WebConfig {
    /// Origins whose pages may call us: comma-separated, or a JSON list.
    #[arg(long, env = "CORS_ORIGINS", default_value = "")]
    pub cors_origins: String,

    /// Whether those pages may send credentials.
    #[arg(long, env = "CORS_ALLOW_CREDENTIALS", default_value_t = false, action = ArgAction::Set)]
    pub cors_allow_credentials: bool,

    /// Networks of proxies whose X-Forwarded-For is believed, comma-separated, such as 10.0.0.0/8.
    #[arg(long, env = "TRUSTED_PROXIES", default_value = "")]
    pub trusted_proxies: String,

    /// Networks of the campus, comma-separated, whose anonymous traffic has a higher ceiling.
    #[arg(long, env = "CAMPUS_NETWORKS", default_value = "")]
    pub campus_networks: String,

    /// A further prefix under which every route answers, such as /v1.
    #[arg(long, env = "API_PREFIX")]
    pub api_prefix: Option<String>,

    /// Whether admins see the documentation with ENV=prod; everybody does otherwise.
    #[arg(long, env = "DOCS_ENABLED", default_value_t = false, action = ArgAction::Set)]
    pub docs_enabled: bool,

    /// Token for /metrics, at least 16 bytes: `Authorization: Bearer ...`.
    #[arg(long, env = "METRICS_TOKEN", hide_env_values = true)]
    pub metrics_token: Option<Secret>,

    /// Networks that read /metrics without a token, comma-separated. With ENV=dev anybody may.
    #[arg(long, env = "METRICS_NETWORKS", default_value = "127.0.0.0/8,::1/128")]
    pub metrics_networks: String,
}

/// Whose pages may call us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// Those of nobody else.
    None,
    /// Everybody's, without credentials.
    Any,
    /// These, exactly.
    Exactly(Vec<String>),
}

impl WebConfig {
    /// Whose pages may call us.
    pub fn origins(&self) -> Result<Origins, ConfigError> {
        let invalid = |text: String| ConfigError::Invalid("CORS_ORIGINS", text);
        let list = list(&self.cors_origins).map_err(invalid)?;
        if list.is_empty() {
            return Ok(Origins::None);
        }
        if list.iter().any(|origin| origin == "*") {
            return Ok(Origins::Any);
        }
        // A browser sends its origin in lower case, however people write it.
        let list: Vec<String> = list.iter().map(|origin| origin.to_ascii_lowercase()).collect();
        match list.iter().find(|origin| !is_origin(origin)) {
            Some(wrong) => Err(invalid(format!("\"{wrong}\" is no origin, such as https://muster.uni.example"))),
            None => Ok(Origins::Exactly(list)),
        }
    }

    /// A further prefix under which every route answers, with a slash before it and none behind.
    pub fn prefix(&self) -> Option<&str> {
        let prefix = without_slash(self.api_prefix.as_deref()?);
        (!prefix.is_empty()).then_some(prefix)
    }

    /// Refuses what cannot be right.
    pub(super) fn check(&self, env: Environment) -> Result<(), ConfigError> {
        let origins = self.origins();
        let open = origins == Ok(Origins::Any) && self.cors_allow_credentials;
        let proxies = self.trusted_proxies();
        let believes_all =
            proxies.as_ref().is_ok_and(|proxies| proxies.iter().any(|network| network.prefix_len() == 0));
        let token = self.metrics_token.as_ref().is_none_or(|token| token.reveal().len() >= METRICS_TOKEN_BYTES_MIN);
        ConfigError::all([
            origins.map(drop),
            require(
                !open,
                "CORS_ORIGINS",
                "\"*\" with CORS_ALLOW_CREDENTIALS=true would let any page act as whoever is signed in; name the origins",
            ),
            require(
                self.prefix().is_none_or(is_prefix),
                "API_PREFIX",
                "expected a slash and then letters, digits, dashes or slashes, such as /campus/api",
            ),
            require(token, "METRICS_TOKEN", "at least 16 bytes are needed"),
            self.metrics_networks().map(drop),
            proxies.map(drop),
            require(
                !believes_all || env != Environment::Prod,
                "TRUSTED_PROXIES",
                "whoever asks could choose their address, and limits would count nobody; name the proxies",
            ),
            self.campus_networks().map(drop),
        ])
    }
}

/// The words of a JSON list, also when a shell or a file of settings took its quotes away.
pub(super) fn in_brackets(text: &str) -> Option<Vec<String>> {
    let text = text.trim();
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    let bare =
        || -> Vec<String> { inner.split(',').map(|word| word.trim().trim_matches(['"', '\'']).to_owned()).collect() };
    Some(serde_json::from_str(text).unwrap_or_else(|_| bare()))
}

/// A list between commas, or as JSON.
pub(super) fn list(text: &str) -> Result<Vec<String>, String> {
    let text = text.trim();
    let parts: Vec<String> = match in_brackets(text) {
        Some(words) => words,
        None if text.starts_with('[') => return Err("this begins like a JSON list of texts and is none".to_owned()),
        None => text.split(',').map(str::to_owned).collect(),
    };
    // A browser never sends the slash that people copy along.
    let trimmed = parts.iter().map(|part| without_slash(part).to_owned());
    Ok(trimmed.filter(|part| !part.is_empty()).collect())
}

/// A scheme, a host and perhaps a port: what a browser sends as `Origin`.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let known = scheme == "https" || scheme == "http" || scheme == "capacitor" || scheme == "ionic";
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.:[]".contains(&byte);
    known && !host.is_empty() && host.bytes().all(plain)
}

fn is_prefix(text: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_list_are_read() {
        let expected = ["https://campus.edu", "http://localhost:3000"].map(str::to_owned).to_vec();
        for text in [
            "https://campus.edu,http://localhost:3000",
            " https://campus.edu/ , http://localhost:3000 ,",
            r#"["https://campus.edu", "http://localhost:3000"]"#,
            "[https://campus.edu,http://localhost:3000]",
            "['https://campus.edu', 'http://localhost:3000']",
        ] {
            assert_eq!(list(text), Ok(expected.clone()), "{text}");
        }
        assert_eq!(list(""), Ok(Vec::new()));
        assert!(list("[https://campus.edu").is_err());
    }
}
