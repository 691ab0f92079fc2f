//! The story's clock, and the dice of its bad luck.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::clock::{Clock, Entropy, SeededEntropy, SystemClock};

/// The machine's clock, shifted into the past. It runs as time runs, and the story jumps it forward; where it has caught
/// up with the machine's clock it stays with it. Server and phones share it, each phone through a clock of its own.
#[derive(Debug)]
pub struct StoryClock {
    shift_ms: AtomicI64,
}

impl StoryClock {
    /// A clock that is `back_ms` behind the machine's.
    pub fn new(back_ms: i64) -> Self {
        Self { shift_ms: AtomicI64::new(-back_ms) }
    }

    /// Jumps forward to a time; a time that has passed changes nothing, because the server's clock never goes back.
    pub fn jump_to(&self, time_ms: i64) {
        let shift_ms = time_ms.saturating_sub(SystemClock.now_ms());
        self.shift_ms.fetch_max(shift_ms.min(0), Ordering::SeqCst);
    }
}

impl Clock for StoryClock {
    fn now_ms(&self) -> i64 {
        SystemClock.now_ms() + self.shift_ms.load(Ordering::SeqCst)
    }
}

/// Randomness that a seed repeats: what the network does to whom, and how the pictures differ.
#[derive(Debug)]
pub(super) struct Dice(SeededEntropy);

impl Dice {
    /// Dice of one player; players of one seed do not throw the same.
    pub(super) fn new(seed: u64, player: u64) -> Self {
        Self(SeededEntropy::new(crate::clock::mix(seed ^ player.rotate_left(32))))
    }

    /// Uniform over all of `u64`.
    pub(super) fn draw(&self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Uniform from 0 to `below`, which is left out.
    pub(super) fn below(&self, below: u64) -> u64 {
        self.draw() % below.max(1)
    }

    /// True in so many of a hundred throws.
    pub(super) fn percent(&self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// Bytes for nonces and salts.
    pub(super) fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill(&mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_jumps_forward_only_and_never_beyond_the_machine() {
        let clock = StoryClock::new(3_600_000);
        let start_ms = clock.now_ms();
        clock.jump_to(start_ms + 60_000);
        assert!(clock.now_ms() >= start_ms + 60_000);
        clock.jump_to(start_ms);
        assert!(clock.now_ms() >= start_ms + 60_000);
        clock.jump_to(i64::MAX);
        assert!((clock.now_ms() - SystemClock.now_ms()).abs() < 1_000);
    }

    #[test]
    fn a_seed_repeats_and_players_differ() {
        let throws = |player| (0..8).map(|_| player).map(|player| Dice::new(7, player).draw()).collect::<Vec<_>>();
        assert_eq!(throws(1), throws(1));
        assert_ne!(throws(1), throws(2));
    }
}
