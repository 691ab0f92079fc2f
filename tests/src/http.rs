//! The HTTP client of the tests: one that never sends on a connection that the server is about to close.

use std::time::Duration;

/// Well below both limits of the server for a connection without a request. The shorter one counts: a client opens a
/// connection, gets an older one back meanwhile, and keeps the new one. To the server that one owes a head since it
/// opened, and it waits 8 s for heads.
const POOL_IDLE: Duration = Duration::from_secs(2);

/// A client that goes through no proxy.
pub fn client() -> reqwest::ClientBuilder {
    reqwest::Client::builder().no_proxy().pool_idle_timeout(POOL_IDLE)
}
