//! Things that last, such as streams: everybody has the newest few, and one more ends the oldest of them.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

type Seats<K> = Arc<Mutex<HashMap<K, VecDeque<Arc<Notify>>>>>;

/// Who has which of them.
#[derive(Debug)]
pub struct Newest<K> {
    own_max: usize,
    seats: Seats<K>,
}

/// One of them; gone when dropped.
#[derive(Debug)]
pub struct Seat<K: Hash + Eq> {
    holder: K,
    taken: Arc<Notify>,
    seats: Seats<K>,
}

impl<K: Hash + Eq + Clone> Newest<K> {
    /// Of which everybody has at most `own_max`.
    #[must_use]
    pub fn new(own_max: usize) -> Self {
        Self { own_max, seats: Arc::default() }
    }

    /// One more; the oldest one of this holder ends if there are too many.
    pub fn sit(&self, holder: K) -> Seat<K> {
        let taken = Arc::new(Notify::new());
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        let own = seats.entry(holder.clone()).or_default();
        own.push_back(Arc::clone(&taken));
        while own.len() > self.own_max {
            if let Some(oldest) = own.pop_front() {
                oldest.notify_one();
            }
        }
        Seat { holder, taken, seats: Arc::clone(&self.seats) }
    }
}

impl<K: Hash + Eq> Seat<K> {
    /// Waits until somebody newer has it.
    pub async fn taken(&self) {
        self.taken.notified().await;
    }
}

impl<K: Hash + Eq> Drop for Seat<K> {
    fn drop(&mut self) {
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(own) = seats.get_mut(&self.holder) else { return };
        own.retain(|seat| !Arc::ptr_eq(seat, &self.taken));
        if own.is_empty() {
            seats.remove(&self.holder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn one_more_ends_the_oldest_and_nobody_else_s() {
        let newest = Newest::new(2);
        let (first, second, other) = (newest.sit("ada"), newest.sit("ada"), newest.sit("bob"));
        assert!(first.taken().now_or_never().is_none());
        let third = newest.sit("ada");
        assert!(first.taken().now_or_never().is_some());
        assert!(second.taken().now_or_never().is_none() && other.taken().now_or_never().is_none());
        drop((first, second, third, other));
        assert!(newest.seats.lock().unwrap().is_empty());
    }
}
