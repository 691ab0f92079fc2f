//! From where a request comes, also behind proxies that the settings name.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use crate::app::App;
use crate::config::{ConfigError, WebConfig};
use crate::error::AppError;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Proxies that may stand behind each other.
const HOPS_MAX: usize = 16;
/// Whoever has an IPv6 address usually has all that share these bits with it.
const IPV6_PREFIX_BITS: u32 = 64;

/// The address of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientIp(pub IpAddr);

/// The networks that the settings name. Lives in the `App`.
#[derive(Debug, Clone, Default)]
pub struct ClientNetworks {
    proxies: Vec<IpNet>,
    campus: Vec<IpNet>,
}

impl ClientNetworks {
    /// Reads TRUSTED_PROXIES and CAMPUS_NETWORKS.
    ///
    /// # Errors
    /// When one of them is no list of networks.
    pub fn of(config: &WebConfig) -> Result<Self, ConfigError> {
        Ok(Self { proxies: config.trusted_proxies()?, campus: config.campus_networks()? })
    }

    /// Whether many people share this address because it is the campus's.
    pub fn is_campus(&self, client: ClientIp) -> bool {
        contains(&self.campus, client.0)
    }

    /// Whether this is a proxy that is believed, through which many clients come.
    pub(super) fn is_proxy(&self, client: ClientIp) -> bool {
        contains(&self.proxies, client.0)
    }

    /// The rightmost address that no listed proxy has: what stands left of it, anybody could have written.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !contains(&self.proxies, peer) {
            return peer;
        }
        // Each proxy adds the address that it saw at the end, in a further line or in the last one.
        let lines = headers.get_all(X_FORWARDED_FOR).iter().collect::<Vec<_>>();
        let parts = lines.iter().rev().flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        let mut client = peer;
        for part in parts.take(HOPS_MAX) {
            let Some(address) = std::str::from_utf8(part).ok().and_then(parse) else { return peer };
            client = address;
            if !contains(&self.proxies, address) {
                break;
            }
        }
        client
    }
}

fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

/// An address, with or without a port.
fn parse(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

impl ClientIp {
    /// What limits count by: the address, or the network of 64 bits that an IPv6 address is in.
    pub fn key(self) -> IpAddr {
        match self.0 {
            IpAddr::V4(_) => self.0,
            IpAddr::V6(address) => {
                let kept = u128::MAX << (u128::BITS - IPV6_PREFIX_BITS);
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & kept))
            }
        }
    }

    /// Whether the address is the campus's.
    pub fn is_campus(self, app: &App) -> bool {
        app.slice::<ClientNetworks>().is_some_and(|networks| networks.is_campus(self))
    }

    /// The client of a request.
    ///
    /// # Errors
    /// When the request came through no connection.
    pub fn of(app: &App, parts: &Parts) -> Result<Self, AppError> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let ConnectInfo(peer) = peer.ok_or_else(|| AppError::internal("the connection has no address"))?;
        let peer = peer.ip().to_canonical();
        Ok(Self(app.slice::<ClientNetworks>().map_or(peer, |networks| networks.client(peer, &parts.headers))))
    }
}

impl FromRequestParts<App> for ClientIp {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, AppError> {
        Self::of(app, parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    const PEER: &str = "10.0.0.1";

    fn client(peer: &str, lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_str(line).unwrap());
        }
        let proxies = vec!["10.0.0.0/24".parse().unwrap(), "2001:db8:1::/48".parse().unwrap()];
        let networks = ClientNetworks { proxies, campus: Vec::new() };
        networks.client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn a_peer_that_is_not_listed_says_nothing_about_others() {
        assert_eq!(client("203.0.113.5", &["198.51.100.7"]), "203.0.113.5");
        assert_eq!(client("10.0.1.1", &["198.51.100.7"]), "10.0.1.1");
    }

    #[test]
    fn a_listed_proxy_is_believed_about_the_one_it_saw() {
        assert_eq!(client(PEER, &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(client(PEER, &["1.1.1.1, 198.51.100.7"]), "198.51.100.7");
        assert_eq!(client(PEER, &["1.1.1.1", "198.51.100.7"]), "198.51.100.7");
        assert_eq!(client(PEER, &[" 198.51.100.7:4711 "]), "198.51.100.7");
        assert_eq!(client(PEER, &["[2001:db8:2::7]:4711"]), "2001:db8:2::7");
        assert_eq!(client(PEER, &["::ffff:198.51.100.7"]), "198.51.100.7");
        assert_eq!(client(PEER, &[]), PEER);
    }

    #[test]
    fn a_chain_of_listed_proxies_is_followed_to_its_start() {
        assert_eq!(client(PEER, &["6.6.6.6, 198.51.100.7, 10.0.0.2"]), "198.51.100.7");
        assert_eq!(client(PEER, &["6.6.6.6", "198.51.100.7, 2001:db8:1::2", "10.0.0.2"]), "198.51.100.7");
        assert_eq!(client(PEER, &["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
    }

    #[test]
    fn what_is_no_address_makes_the_header_worthless() {
        for garbage in ["unknown", "", "198.51.100", "198.51.100.7, ", "_hidden, 10.0.0.2", "é"] {
            assert_eq!(client(PEER, &[garbage]), PEER, "{garbage:?}");
        }
    }

    #[test]
    fn neighbours_in_one_ipv6_network_share_their_key() {
        let key = |text: &str| ClientIp(text.parse().unwrap()).key();
        assert_eq!(key("2001:db8:0:1::7"), key("2001:db8:0:1:ffff::1"));
        assert_ne!(key("2001:db8:0:1::7"), key("2001:db8:0:2::7"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }
}
