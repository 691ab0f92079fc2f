//! When to try again: full jitter under a doubling ceiling, and the server's `Retry-After` before all.

use crate::limits;

/// How long to wait before the next attempt, in milliseconds.
///
/// `failures` counts the failed attempts since the last success. `random` is uniform over all of `u64`.
#[must_use]
pub fn delay_ms(failures: u32, retry_after_ms: Option<u64>, random: u64) -> u64 {
    let ceiling_ms = limits::RETRY_BASE_MS
        .checked_shl(failures.saturating_sub(1).min(32))
        .unwrap_or(limits::RETRY_CEILING_MS)
        .clamp(limits::RETRY_BASE_MS, limits::RETRY_CEILING_MS);
    // Multiplying instead of taking the remainder keeps the distribution even.
    let jitter_ms = ((u128::from(random) * u128::from(ceiling_ms + 1)) >> 64) as u64;
    match retry_after_ms {
        Some(least_ms) => least_ms.min(limits::RETRY_AFTER_MS_MAX) + jitter_ms.min(limits::RETRY_BASE_MS),
        None => jitter_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_spread_below_a_doubling_ceiling() {
        assert_eq!(delay_ms(1, None, u64::MAX), 1_000);
        assert_eq!(delay_ms(4, None, u64::MAX), 8_000);
        assert_eq!(delay_ms(40, None, u64::MAX), 300_000);
        assert_eq!(delay_ms(u32::MAX, None, u64::MAX), 300_000);
        assert_eq!(delay_ms(40, None, 0), 0);
        assert_eq!(delay_ms(40, None, u64::MAX / 2), 150_000);
    }

    #[test]
    fn retry_after_is_the_least_and_is_bounded() {
        assert_eq!(delay_ms(1, Some(7_000), 0), 7_000);
        assert_eq!(delay_ms(9, Some(7_000), u64::MAX), 8_000);
        assert_eq!(delay_ms(1, Some(u64::MAX), 0), 3_600_000);
    }
}
