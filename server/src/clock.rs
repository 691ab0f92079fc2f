//! Time and randomness as arguments: the only place that asks the system for either.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The server's idea of the current time.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch, UTC.
    fn now_ms(&self) -> i64;

    /// Seconds since the Unix epoch, UTC.
    fn now_s(&self) -> i64 {
        self.now_ms().div_euclid(1000)
    }
}

/// A source of unpredictable bytes.
pub trait Entropy: Send + Sync + 'static {
    /// Fills the whole buffer.
    fn fill(&self, bytes: &mut [u8]);
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one implementation that asks the system")]
    fn now_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}

/// A clock that moves only when it is told to, for tests and simulations.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that stands at `now_ms`.
    pub fn new(now_ms: i64) -> Self {
        Self(AtomicI64::new(now_ms))
    }

    /// Jumps to `now_ms`, also backwards.
    pub fn set(&self, now_ms: i64) {
        self.0.store(now_ms, Ordering::SeqCst);
    }

    /// Moves forward by `by`.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// The operating system's random source.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[expect(clippy::disallowed_methods, reason = "this is the one implementation that asks the system")]
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("a server cannot go on without a random source");
    }
}

/// Repeatable bytes from a seed, for simulations only: anybody who knows the seed knows every byte.
#[derive(Debug)]
pub struct SeededEntropy(AtomicU64);

impl SeededEntropy {
    /// A source whose whole output is fixed by `seed`.
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = mix(self.0.fetch_add(GOLDEN_GAMMA, Ordering::Relaxed)).to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

/// The step of SplitMix64.
const GOLDEN_GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// Spreads a counter over all 64 bits, without loss: two counters never give one value.
pub(crate) fn mix(counter: u64) -> u64 {
    let mut word = counter.wrapping_add(GOLDEN_GAMMA);
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// Measures how long something took; says nothing about the time of day.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts measuring.
    #[expect(clippy::disallowed_methods, reason = "a duration for budgets and logs, which no decision depends on")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// The one form in which a time leaves us: Unix milliseconds as ISO 8601 in UTC with three digits of milliseconds,
/// always, such as `2026-11-20T14:05:00.000Z`, so that times sort as texts and no reader meets a second form. Empty for a
/// time beyond the year 9999.
pub fn iso_utc(time_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(time_ms).map(|time| format!("{time:.3}")).unwrap_or_default()
}

/// Writes a time in Unix milliseconds into JSON, as [`iso_utc`] says.
///
/// # Errors
/// When the writer fails.
pub fn as_iso<S: serde::Serializer>(time_ms: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&iso_utc(*time_ms))
}

/// The same for a time that may be missing.
///
/// # Errors
/// When the writer fails.
pub fn as_iso_or_null<S: serde::Serializer>(time_ms: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
    match time_ms {
        Some(time_ms) => as_iso(time_ms, serializer),
        None => serializer.serialize_none(),
    }
}

/// Reads ISO 8601 with an offset into Unix milliseconds.
pub fn parse_iso(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}
