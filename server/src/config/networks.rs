//! Lists of networks in settings.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{ConfigError, WebConfig};

/// Most networks in one list; each request may look at all of them.
const NETWORKS_MAX: usize = 256;

impl WebConfig {
    /// Reads TRUSTED_PROXIES.
    ///
    /// # Errors
    /// When a part of it is no network.
    pub fn trusted_proxies(&self) -> Result<Vec<IpNet>, ConfigError> {
        networks("TRUSTED_PROXIES", &self.trusted_proxies)
    }

    /// Reads CAMPUS_NETWORKS.
    ///
    /// # Errors
    /// When a part of it is no network.
    pub fn campus_networks(&self) -> Result<Vec<IpNet>, ConfigError> {
        networks("CAMPUS_NETWORKS", &self.campus_networks)
    }

    /// Reads METRICS_NETWORKS.
    ///
    /// # Errors
    /// When a part of it is no network.
    pub fn metrics_networks(&self) -> Result<Vec<IpNet>, ConfigError> {
        networks("METRICS_NETWORKS", &self.metrics_networks)
    }
}

/// A comma-separated list; an address alone is a network of one.
fn networks(name: &'static str, list: &str) -> Result<Vec<IpNet>, ConfigError> {
    let parts = list.split(',').map(str::trim).filter(|part| !part.is_empty());
    let parsed: Result<Vec<_>, _> = parts.map(|part| network(part).ok_or(part)).collect();
    match parsed {
        Err(part) => Err(ConfigError::Invalid(name, format!("{part} is not a network such as 10.0.0.0/8"))),
        Ok(networks) if networks.len() > NETWORKS_MAX => {
            Err(ConfigError::Invalid(name, format!("expected at most {NETWORKS_MAX} networks")))
        }
        Ok(networks) => Ok(networks),
    }
}

fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_single_addresses_are_read() {
        let read = networks("X", "10.0.0.0/8, 192.0.2.7,2001:db8::/32,").unwrap();
        let text: Vec<_> = read.iter().map(IpNet::to_string).collect();
        assert_eq!(text, ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"]);
        assert_eq!(networks("X", "").unwrap(), []);
        for wrong in ["campus", "10.0.0.0/33", "10.0.0.0/8;10.1.0.0/16", "10.0.0"] {
            assert!(networks("X", wrong).is_err(), "{wrong}");
        }
    }
}
