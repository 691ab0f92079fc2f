//! Figures: percentiles, medians, and how they are printed.

use std::io::Write;
use std::time::Duration;

/// Writes one line to standard output.
pub(crate) fn say(line: &str) {
    // Nobody can be told that nobody reads.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// The value below which `percent` of them lie, in milliseconds.
pub(crate) fn percentile_ms(latencies: &mut [Duration], percent: usize) -> f64 {
    latencies.sort_unstable();
    let last = latencies.len().saturating_sub(1);
    latencies.get(last.min(latencies.len() * percent / 100)).map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
}

/// The middle one.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
