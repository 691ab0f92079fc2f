//! How many requests somebody may send within a minute: whoever is signed in by their account, everybody else by their
//! address. So four hundred phones behind one address are not held up by the one that guesses passwords there.
//!
//! Whose request it is decides also behind whose other requests it waits: see [`crate::http::Turns`].
//!
//! In memory, each server for itself. What must survive a restart is counted in [`super::rates`].

use std::collections::HashSet;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use moka::sync::Cache;
use sha2::{Digest, Sha256};

use super::current_user::{authenticate, bearer};
use super::limits;
use crate::app::App;
use crate::clock::Clock;
use crate::config::{RateConfig, WebConfig};
use crate::error::{AppError, AppResult};
use crate::http::{self, ClientIp, Holder, RequestFacts, Turns};
use crate::ids::UserId;
use crate::shares::Place;

/// Routes, under any prefix, that answer without being counted: whether the server lives must be known also when it is
/// busy, who renews a token proves more than an address does and is counted by user, and a bound device proves itself
/// with its key.
const UNCOUNTED: &[&str] = &[
    "/",
    "/health",
    "/health/full",
    "/ready",
    "/metrics",
    "/auth/refresh",
    "/auth/device/challenge",
    "/auth/device/token",
];

type Bucket = RateLimiter<NotKeyed, InMemoryState, Elapsed, NoOpMiddleware<Nanos>>;

/// Whose bucket it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Owner {
    /// Somebody who is signed in.
    User(UserId),
    /// Somebody whose token was good once: phones that come back must not use up their address.
    EndedToken([u8; 32]),
    /// Anybody else.
    Address(IpAddr),
}

/// The buckets. Lives in the `App`.
pub struct Traffic {
    buckets: Cache<Owner, Arc<Bucket>>,
    /// Templates of routes, each with its prefix.
    uncounted: HashSet<String>,
    elapsed: Elapsed,
    user: NonZeroU32,
    address: NonZeroU32,
    campus_address: NonZeroU32,
}

impl Traffic {
    /// With the limits of the settings.
    pub fn new(config: &RateConfig, web: &WebConfig, clock: Arc<dyn Clock>) -> Self {
        let positive = |limit: u32| NonZeroU32::new(limit).unwrap_or(NonZeroU32::MIN);
        let campus = config.rl_anonymous_ip_limit.saturating_mul(config.rl_campus_factor);
        let buckets =
            Cache::builder().max_capacity(limits::BUCKETS_MAX).time_to_idle(limits::BUCKET_TIME_TO_IDLE).build();
        let prefixes = ["", http::CANONICAL_PREFIX, http::LEGACY_PREFIX].into_iter().chain(web.prefix());
        let uncounted = prefixes.flat_map(|prefix| UNCOUNTED.iter().map(move |route| format!("{prefix}{route}")));
        Self {
            buckets,
            uncounted: uncounted.collect(),
            elapsed: Elapsed::new(clock),
            user: positive(config.rl_user_limit),
            address: positive(config.rl_anonymous_ip_limit),
            campus_address: positive(campus),
        }
    }

    /// What leads to no route is counted, whatever its path looks like.
    fn counts(&self, parts: &Parts) -> bool {
        !parts.extensions.get::<MatchedPath>().is_some_and(|route| self.uncounted.contains(route.as_str()))
    }

    fn take(&self, owner: Owner, per_minute: NonZeroU32) -> AppResult<()> {
        let bucket = self.buckets.get_with(owner, || {
            Arc::new(RateLimiter::direct_with_clock(Quota::per_minute(per_minute), self.elapsed.clone()))
        });
        bucket.check().map_err(|early| {
            let wait = early.wait_time_from(self.elapsed.now());
            let seconds = u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
            AppError::too_many("too many requests; wait before the next one", seconds.max(1))
        })
    }
}

/// The time that has passed by the app's clock. A clock that is set back neither stops the buckets nor empties them.
#[derive(Clone)]
struct Elapsed(Arc<ElapsedState>);

struct ElapsedState {
    clock: Arc<dyn Clock>,
    seen_ms: AtomicI64,
    elapsed_ms: AtomicI64,
}

impl Elapsed {
    fn new(clock: Arc<dyn Clock>) -> Self {
        let seen_ms = AtomicI64::new(clock.now_ms());
        Self(Arc::new(ElapsedState { clock, seen_ms, elapsed_ms: AtomicI64::new(0) }))
    }
}

impl GovernorClock for Elapsed {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        let now_ms = self.0.clock.now_ms();
        let passed_ms = now_ms.saturating_sub(self.0.seen_ms.swap(now_ms, Ordering::Relaxed)).max(0);
        let elapsed_ms = self.0.elapsed_ms.fetch_add(passed_ms, Ordering::Relaxed).saturating_add(passed_ms);
        Nanos::from(Duration::from_millis(elapsed_ms.unsigned_abs()))
    }
}

/// Counts a request before its handler sees it, remembers who sent it, and lets it wait for those of the same person.
pub async fn limit(State(app): State<App>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match admit(&app, &mut parts).await {
        Ok(_place) => next.run(Request::from_parts(parts, body)).await,
        Err(error) => error.into_response(),
    }
}

async fn admit(app: &App, parts: &mut Parts) -> AppResult<Option<Place<Holder>>> {
    let traffic = app.slice::<Traffic>().ok_or_else(|| AppError::internal("the app was built without Traffic"))?;
    // Programs that call the router themselves have no connection, and nobody to limit.
    let address = ClientIp::of(app, parts).ok();
    let owner = if traffic.counts(parts) { owner(app, parts, address).await? } else { None };
    let holder = match &owner {
        Some(Owner::User(user)) => Some(Holder::Person(*user)),
        _ => address.map(|address| Holder::Address(address.key())),
    };
    if let Some(owner) = owner {
        let per_minute = match &owner {
            Owner::User(_) | Owner::EndedToken(_) => traffic.user,
            Owner::Address(address) if ClientIp(*address).is_campus(app) => traffic.campus_address,
            Owner::Address(_) => traffic.address,
        };
        traffic.take(owner, per_minute)?;
    }
    match holder {
        Some(holder) => Turns::take(app, parts, holder).await,
        None => Ok(None),
    }
}

/// `None` when the request is not counted.
async fn owner(app: &App, parts: &mut Parts, address: Option<ClientIp>) -> AppResult<Option<Owner>> {
    if let Ok(Some(token)) = bearer(parts) {
        match authenticate(app, token).await {
            Ok(signed_in) => {
                let id = signed_in.user.id;
                // The handler's extractor finds it there and need not verify the token again.
                RequestFacts::note_user(parts, id);
                parts.extensions.insert(signed_in);
                return Ok(Some(Owner::User(id)));
            }
            Err(error) if matches!(error.code(), "TOKEN_EXPIRED" | "TOKEN_REVOKED") => {
                return Ok(Some(Owner::EndedToken(Sha256::digest(token).into())));
            }
            // The database's trouble is the handler's to tell.
            Err(error) if error.status().is_server_error() => return Ok(None),
            Err(_) => {}
        }
    }
    Ok(address.map(|client| Owner::Address(client.key())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const NOW_MS: i64 = 1_763_640_000_000;

    fn bucket(clock: &Arc<ManualClock>) -> Bucket {
        let elapsed = Elapsed::new(Arc::clone(clock) as Arc<dyn Clock>);
        RateLimiter::direct_with_clock(Quota::per_minute(NonZeroU32::new(60).unwrap()), elapsed)
    }

    fn admitted(bucket: &Bucket) -> usize {
        (0..1000).take_while(|_| bucket.check().is_ok()).count()
    }

    #[test]
    fn a_bucket_fills_again_also_when_the_clock_was_set_back() {
        let clock = Arc::new(ManualClock::new(NOW_MS));
        let bucket = bucket(&clock);
        assert_eq!(admitted(&bucket), 60);
        clock.advance(Duration::from_secs(3));
        assert_eq!(admitted(&bucket), 3);
        clock.set(NOW_MS - 3_600_000);
        assert_eq!(admitted(&bucket), 0);
        clock.advance(Duration::from_secs(2));
        assert_eq!(admitted(&bucket), 2);
        clock.advance(Duration::from_secs(3600));
        assert_eq!(admitted(&bucket), 60);
    }
}
