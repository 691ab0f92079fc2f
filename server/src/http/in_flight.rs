//! How many requests are being worked on, and a bound for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The count that all connections share.
#[derive(Clone, Default)]
pub(super) struct InFlight(Arc<AtomicUsize>);

impl InFlight {
    /// A place, unless `places_max` are taken.
    pub(super) fn enter(&self, places_max: usize) -> Option<Place> {
        let place = Place(self.clone());
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        (before < places_max).then_some(place)
    }

    /// The holder of a place waits for its client.
    pub(super) fn pause(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// The holder of a place goes on. It was let in already, so it may pass the bound.
    pub(super) fn resume(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// While this lives, the holder of a place waits for something else than the server's work.
pub(super) struct Paused(InFlight);

impl InFlight {
    pub(super) fn paused(&self) -> Paused {
        self.pause();
        Paused(self.clone())
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        self.0.resume();
    }
}

/// A place among the requests in flight; kept until the reply's head is ready, so that streams do not hold one.
pub(super) struct Place(InFlight);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.pause();
    }
}
