//! Headers that every reply carries, so that a browser does nothing with it that we did not mean.

use std::net::SocketAddr;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use ipnet::IpNet;

use crate::config::{Config, Environment};

/// A reply that is no page asks for nothing and is shown in no frame.
const POLICY: &str = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
/// Pages that capture say otherwise themselves.
const PERMISSIONS: &str = "camera=(), microphone=(), geolocation=(), interest-cohort=()";
/// Two years, as the lists of browsers ask for.
const TRANSPORT: &str = "max-age=63072000; includeSubDomains";

const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What decides about `Strict-Transport-Security`.
pub(super) struct Security {
    is_prod: bool,
    is_public_https: bool,
    proxies: Vec<IpNet>,
}

impl Security {
    /// From settings that were checked.
    pub(super) fn new(config: &Config) -> Self {
        let public_url = config.mail.public_url().unwrap_or_default();
        Self {
            is_prod: config.data.env == Environment::Prod,
            is_public_https: public_url.starts_with("https://"),
            proxies: config.web.trusted_proxies().unwrap_or_default(),
        }
    }

    /// Whether the client's connection is known to be encrypted, and should stay so for good. We speak plain HTTP
    /// ourselves, so either the public address says so or a proxy that is believed.
    pub(super) fn is_for_https_only(&self, peer: SocketAddr, request: &HeaderMap) -> bool {
        let by_proxy = || {
            let address = peer.ip().to_canonical();
            request.get(FORWARDED_PROTO).is_some_and(|proto| proto.as_bytes().eq_ignore_ascii_case(b"https"))
                && self.proxies.iter().any(|network| network.contains(&address))
        };
        self.is_prod && (self.is_public_https || by_proxy())
    }
}

/// Adds the headers; a handler that set one of the policies for its page keeps its own.
pub(super) fn add(headers: &mut HeaderMap, https_only: bool) {
    let fixed = HeaderValue::from_static;
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff"));
    headers.entry(header::X_FRAME_OPTIONS).or_insert(fixed("DENY"));
    headers.entry(header::REFERRER_POLICY).or_insert(fixed("strict-origin-when-cross-origin"));
    headers.entry(PERMISSIONS_POLICY).or_insert(fixed(PERMISSIONS));
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(fixed(POLICY));
    headers.insert(OPENER_POLICY, fixed("same-origin"));
    headers.entry(header::CACHE_CONTROL).or_insert(fixed("no-store"));
    if https_only {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, fixed(TRANSPORT));
    }
}
