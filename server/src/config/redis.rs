//! The Redis on which others may insist. Nothing is kept in it: `/ready` asks whether it answers.

use clap::{ArgAction, Args};
use openidconnect::url::{Host, Url};
use percent_encoding::percent_decode_str;

use super::{ConfigError, Secret, require};

/// The port that a Redis has unless its address says.
const PORT: u16 = 6379;

/// Settings of a Redis.
#[derive(Debug, Clone, Args)]
pub struct RedisConfig {
    /// Address of a Redis, `redis://user:password@host:port/number`. Nothing is kept in it: limits and jobs are rows of
    /// the database, and caches are in memory.
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<Secret>,

    /// With true the server is not ready while the Redis at REDIS_URL does not answer.
    #[arg(long, env = "REDIS_REQUIRED", default_value_t = false, action = ArgAction::Set)]
    pub redis_required: bool,
}

/// Where a Redis is, and how it is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisAddress {
    /// A name or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Who we are, if that is more than the password.
    pub user: Option<Secret>,
    /// The password.
    pub password: Option<Secret>,
}

impl RedisConfig {
    /// The Redis without which the server is not ready.
    pub fn required(&self) -> Option<RedisAddress> {
        let url = self.redis_url.as_ref().filter(|_| self.redis_required)?;
        parse(url.reveal())
    }

    /// Refuses a Redis that nobody could ask.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let is_readable = self.redis_url.as_ref().is_some_and(|url| parse(url.reveal()).is_some());
        let why = "with REDIS_REQUIRED=true it has to be redis://[user:password@]host[:port]; rediss:// is not spoken";
        require(!self.redis_required || is_readable, "REDIS_URL", why)
    }
}

fn parse(text: &str) -> Option<RedisAddress> {
    let url = Url::parse(text.trim()).ok().filter(|url| url.scheme() == "redis")?;
    let host = match url.host()? {
        // An address of six groups stands without its brackets where a socket is opened.
        Host::Ipv6(address) => address.to_string(),
        other => other.to_string(),
    };
    let decoded = |text: &str| Some(percent_decode_str(text).decode_utf8().ok()?.into_owned());
    let secret = |text: &str| decoded(text).filter(|text| !text.is_empty()).map(Secret::new);
    let (user, password) = (secret(url.username()), url.password().and_then(secret));
    Some(RedisAddress { host, port: url.port().unwrap_or(PORT), user, password })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_clients_of_a_redis_read_it() {
        let read = |text: &str| {
            let address = parse(text)?;
            let told = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.reveal().to_owned());
            Some((address.host.clone(), address.port, told(&address.user), told(&address.password)))
        };
        assert_eq!(read("redis://localhost"), Some(("localhost".to_owned(), 6379, None, None)));
        assert_eq!(read("redis://[::1]:7000/2"), Some(("::1".to_owned(), 7000, None, None)));
        let secret = Some(("10.0.0.5".to_owned(), 6379, Some("app".to_owned()), Some("p@ss".to_owned())));
        assert_eq!(read("redis://app:p%40ss@10.0.0.5/0"), secret);
        assert_eq!(read("redis://:p@h").unwrap().3, Some("p".to_owned()));
        for wrong in ["", "localhost:6379", "rediss://localhost", "unix:///run/redis.sock", "http://localhost"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
