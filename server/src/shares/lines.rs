//! Places of which there are only so many: who has enough of them waits behind themselves and not before others.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// The places, and the line of each holder who has some.
#[derive(Debug)]
pub struct Lines<K: Hash + Eq + Clone> {
    places: Arc<Semaphore>,
    own_max: usize,
    own: Arc<Mutex<HashMap<K, Arc<Semaphore>>>>,
}

/// A place; free again when dropped.
#[derive(Debug)]
pub struct Place<K: Hash + Eq + Clone> {
    // Fields are dropped in this order: the line is looked at when this place in it is free.
    _place: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
    _line: Line<K>,
}

/// Somebody's line, which goes with the last one in it.
#[derive(Debug)]
struct Line<K: Hash + Eq + Clone> {
    holder: K,
    places: Option<Arc<Semaphore>>,
    lines: Arc<Mutex<HashMap<K, Arc<Semaphore>>>>,
}

impl<K: Hash + Eq + Clone> Lines<K> {
    /// `all_max` places, of which nobody has more than `own_max`.
    #[must_use]
    pub fn new(all_max: usize, own_max: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(all_max)), own_max, own: Arc::default() }
    }

    /// Waits for a place: first behind what the holder asked for before, then with everybody.
    ///
    /// # Errors
    /// Never, as long as nobody closes the places.
    pub async fn enter(&self, holder: K) -> Result<Place<K>, AcquireError> {
        self.enter_within(holder, self.own_max).await
    }

    /// The same where holders have different shares; of one holder it is always the same.
    ///
    /// # Errors
    /// Never, as long as nobody closes the places.
    pub async fn enter_within(&self, holder: K, own_max: usize) -> Result<Place<K>, AcquireError> {
        let line = self.line(holder, own_max);
        let own = Arc::clone(line.places.as_ref().unwrap_or(&self.places)).acquire_owned().await?;
        let place = Arc::clone(&self.places).acquire_owned().await?;
        Ok(Place { _place: place, _own: own, _line: line })
    }

    /// A place now or none.
    pub fn try_enter(&self, holder: K) -> Option<Place<K>> {
        let line = self.line(holder, self.own_max);
        let own = Arc::clone(line.places.as_ref().unwrap_or(&self.places)).try_acquire_owned().ok()?;
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Place { _place: place, _own: own, _line: line })
    }

    /// Places that are free for somebody who has none.
    pub fn free(&self) -> usize {
        self.places.available_permits()
    }

    fn line(&self, holder: K, own_max: usize) -> Line<K> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let places = own.entry(holder.clone()).or_insert_with(|| Arc::new(Semaphore::new(own_max)));
        Line { holder, places: Some(Arc::clone(places)), lines: Arc::clone(&self.own) }
    }
}

impl<K: Hash + Eq + Clone> Drop for Line<K> {
    fn drop(&mut self) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        self.places = None;
        // Held by the map alone: nobody waits in it or has a place of it.
        if lines.get(&self.holder).is_some_and(|places| Arc::strong_count(places) == 1) {
            lines.remove(&self.holder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn who_has_enough_waits_and_the_next_does_not() {
        let lines = Lines::new(3, 2);
        let first = lines.try_enter("ada").unwrap();
        let _second = lines.try_enter("ada").unwrap();
        assert!(lines.try_enter("ada").is_none(), "two of her own are taken");
        let mut third = Box::pin(lines.enter("ada"));
        assert!(third.as_mut().now_or_never().is_none(), "she waits behind herself");
        let other = lines.try_enter("bob").unwrap();
        assert!(lines.try_enter("eve").is_none(), "all three are taken");
        drop(first);
        assert!(third.now_or_never().is_some());
        drop(other);
        assert_eq!(lines.free(), 2);
    }

    #[test]
    fn who_waits_behind_themselves_lets_the_next_one_in_first() {
        let lines = Lines::new(2, 2);
        let held = [lines.try_enter("ada").unwrap(), lines.try_enter("ada").unwrap()];
        let mut more: Vec<_> = (0..5).map(|_| Box::pin(lines.enter("ada"))).collect();
        assert!(more.iter_mut().all(|waits| waits.as_mut().now_or_never().is_none()));
        let mut other = Box::pin(lines.enter("bob"));
        assert!(other.as_mut().now_or_never().is_none(), "both are taken");
        drop(held);
        assert!(other.now_or_never().is_some(), "he waits for one of hers, and not for five more");
        let mut wide = Box::pin(lines.enter_within("eve", 1));
        assert!(wide.as_mut().now_or_never().is_some());
    }

    #[test]
    fn a_line_goes_with_the_last_one_in_it() {
        let lines = Lines::new(3, 1);
        let place = lines.try_enter("ada").unwrap();
        let mut waits = Box::pin(lines.enter("ada"));
        assert!(waits.as_mut().now_or_never().is_none());
        drop(place);
        drop(waits);
        assert!(lines.own.lock().unwrap().is_empty());
    }
}
