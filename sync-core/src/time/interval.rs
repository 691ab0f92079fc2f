//! When a capture happened: an interval computed from witnesses, because nobody's clock is trusted alone.

use super::Anchor;
use crate::limits;
use minicbor::{Decode, Encode};

/// An anchor and when the phone's own clocks saw it arrive.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AnchorReading {
    /// The anchor.
    #[n(0)]
    pub anchor: Anchor,
    /// The monotonic clock at its arrival, milliseconds.
    #[n(1)]
    pub monotonic_ms: u64,
    /// The boot during which it arrived.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub boot_id: [u8; 16],
}

/// The clocks of a phone at capture.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CaptureClocks {
    /// Wall clock, Unix milliseconds.
    #[n(0)]
    pub wall_ms: i64,
    /// Monotonic clock since boot, milliseconds.
    #[n(1)]
    pub monotonic_ms: u64,
    /// The boot.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub boot_id: [u8; 16],
    /// The newest anchor, if the phone ever had one.
    #[n(3)]
    pub anchor: Option<AnchorReading>,
}

impl CaptureClocks {
    pub(crate) fn are_sane(&self) -> bool {
        let sane_ms = 0..=limits::CHANGE_TIME_S_MAX * 1000;
        let anchor_sane = self.anchor.as_ref().is_none_or(|reading| sane_ms.contains(&reading.anchor.time_ms));
        sane_ms.contains(&self.wall_ms) && anchor_sane
    }
}

/// A span of time, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// Not before this, Unix milliseconds.
    pub not_before_ms: i64,
    /// Not after this, Unix milliseconds.
    pub not_after_ms: i64,
}

impl Interval {
    /// Whether the witnesses contradict each other: then at least one of them lies.
    #[must_use]
    pub fn is_contradictory(&self) -> bool {
        self.not_before_ms > self.not_after_ms
    }

    /// How far a time lies outside, in milliseconds; 0 inside.
    #[must_use]
    pub fn distance_ms(&self, time_ms: i64) -> i64 {
        if time_ms < self.not_before_ms {
            self.not_before_ms.saturating_sub(time_ms)
        } else {
            time_ms.saturating_sub(self.not_after_ms).max(0)
        }
    }
}

/// The interval of a capture.
///
/// `clocks.anchor` counts only if the caller verified it. `code_step_start_ms` is the start of the code's step, if a
/// rotating code was right. `arrived_at_ms` is when the server had the record.
#[must_use]
pub fn interval(clocks: &CaptureClocks, code_step_start_ms: Option<i64>, arrived_at_ms: i64) -> Interval {
    let mut not_before_ms = code_step_start_ms.unwrap_or(i64::MIN);
    let mut not_after_ms = arrived_at_ms;
    if let Some(reading) = &clocks.anchor {
        not_before_ms = not_before_ms.max(reading.anchor.time_ms);
        let same_boot = reading.boot_id == clocks.boot_id;
        if let Some(passed_ms) = clocks.monotonic_ms.checked_sub(reading.monotonic_ms).filter(|_| same_boot) {
            let passed_ms = i64::try_from(passed_ms).unwrap_or(i64::MAX / 4).min(i64::MAX / 4);
            let drift_ms = passed_ms / 1_000_000 * limits::MONOTONIC_DRIFT_PPM
                + passed_ms % 1_000_000 * limits::MONOTONIC_DRIFT_PPM / 1_000_000;
            let estimate_ms = reading.anchor.time_ms.saturating_add(passed_ms);
            not_before_ms = not_before_ms.max(estimate_ms.saturating_sub(drift_ms));
            let latest_ms = estimate_ms.saturating_add(drift_ms).saturating_add(limits::ANCHOR_TRAVEL_MS_MAX);
            not_after_ms = not_after_ms.min(latest_ms);
        }
    }
    Interval { not_before_ms: not_before_ms.max(0), not_after_ms }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DeviceKey;

    const HOUR_MS: i64 = 3_600_000;

    fn clocks(same_boot: bool) -> CaptureClocks {
        let anchor = Anchor { time_ms: 100 * HOUR_MS, device: DeviceKey([0; 32]), nonce: [0; 16], signature: [0; 64] };
        let reading = AnchorReading { anchor, monotonic_ms: 1_000, boot_id: [1; 16] };
        let boot_id = if same_boot { [1; 16] } else { [2; 16] };
        CaptureClocks { wall_ms: 0, monotonic_ms: 1_000 + HOUR_MS as u64, boot_id, anchor: Some(reading) }
    }

    #[test]
    fn in_the_same_boot_the_monotonic_clock_narrows_both_ends() {
        let got = interval(&clocks(true), None, 200 * HOUR_MS);
        assert_eq!(got.not_before_ms, 101 * HOUR_MS - 1_800);
        assert_eq!(got.not_after_ms, 101 * HOUR_MS + 1_800 + 60_000);
    }

    #[test]
    fn after_a_reboot_only_the_anchor_and_the_arrival_remain() {
        let got = interval(&clocks(false), None, 200 * HOUR_MS);
        assert_eq!(got, Interval { not_before_ms: 100 * HOUR_MS, not_after_ms: 200 * HOUR_MS });
    }

    #[test]
    fn the_code_step_is_a_witness_and_can_contradict_the_anchor() {
        let got = interval(&clocks(true), Some(150 * HOUR_MS), 200 * HOUR_MS);
        assert!(got.is_contradictory());
        assert_eq!(interval(&clocks(false), Some(150 * HOUR_MS), 200 * HOUR_MS).not_before_ms, 150 * HOUR_MS);
    }

    #[test]
    fn extremes_do_not_overflow() {
        let mut extreme = clocks(true);
        extreme.monotonic_ms = u64::MAX;
        let got = interval(&extreme, None, i64::MAX);
        assert!(got.not_before_ms > 0);
        assert_eq!(got.distance_ms(i64::MIN), i64::MAX);
        assert_eq!(Interval { not_before_ms: 5, not_after_ms: 9 }.distance_ms(12), 3);
        assert_eq!(Interval { not_before_ms: 5, not_after_ms: 9 }.distance_ms(9), 0);
    }
}
