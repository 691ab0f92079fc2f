//! A bounded queue from async code to threads: a full one makes callers wait a bounded time, then says so.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::DbError;

/// How often a blocked thread looks for a free place.
const BLOCKING_POLL: Duration = Duration::from_millis(2);

/// What waits for a thread, oldest first.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    not_empty: Condvar,
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// How long somebody waits for a place.
    wait_max: Duration,
    /// Handed out with the last `take`, whose taker has not come back.
    in_hand: AtomicUsize,
}

struct State<T> {
    items: VecDeque<(T, OwnedSemaphorePermit)>,
    closed: bool,
}

impl<T> Queue<T> {
    pub(super) fn new(capacity: usize, wait_max: Duration) -> Self {
        Self {
            state: Mutex::new(State { items: VecDeque::new(), closed: false }),
            not_empty: Condvar::new(),
            places: Arc::new(Semaphore::new(capacity)),
            waiting: AtomicUsize::new(0),
            wait_max,
            in_hand: AtomicUsize::new(0),
        }
    }

    /// Waits for a place, a bounded time.
    pub(super) async fn push(&self, item: T) -> Result<(), DbError> {
        let place = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => place,
            Err(_) => tokio::time::timeout(self.wait_max, Arc::clone(&self.places).acquire_owned())
                .await
                .map_err(|_| full())?
                .map_err(|_| DbError::Closed)?,
        };
        self.put(item, place)
    }

    /// The same for threads.
    pub(super) fn push_blocking(&self, item: T) -> Result<(), DbError> {
        let mut waited = Duration::ZERO;
        loop {
            if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
                return self.put(item, place);
            }
            if self.places.is_closed() {
                return Err(DbError::Closed);
            }
            if waited >= self.wait_max {
                return Err(full());
            }
            std::thread::sleep(BLOCKING_POLL);
            waited += BLOCKING_POLL;
        }
    }

    fn put(&self, item: T, place: OwnedSemaphorePermit) -> Result<(), DbError> {
        let mut state = self.lock();
        if state.closed {
            return Err(DbError::Closed);
        }
        state.items.push_back((item, place));
        self.waiting.store(state.items.len(), Ordering::Relaxed);
        drop(state);
        self.not_empty.notify_one();
        Ok(())
    }

    /// The oldest ones, at most `max`; waits until there is one. Empty only when the queue is closed and done.
    pub(super) fn take(&self, max: usize) -> VecDeque<T> {
        self.in_hand.store(0, Ordering::Relaxed);
        let mut state = self.lock();
        while state.items.is_empty() && !state.closed {
            state = self.not_empty.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let count = state.items.len().min(max);
        let taken = state.items.drain(..count).map(|(item, _place)| item).collect();
        self.waiting.store(state.items.len(), Ordering::Relaxed);
        self.in_hand.store(count, Ordering::Relaxed);
        taken
    }

    /// Those in the queue.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Those in the queue, and those that its only taker works on: a group commit empties the queue at once.
    pub(super) fn unfinished(&self) -> usize {
        self.waiting.load(Ordering::Relaxed) + self.in_hand.load(Ordering::Relaxed)
    }

    /// Takes nothing new; what waits is still handed out.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.places.close();
        self.not_empty.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn full() -> DbError {
    DbError::Busy("the queue is full".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_queue_tells_who_comes_too_late() {
        let queue = Queue::new(2, Duration::from_millis(20));
        queue.push("first").await.unwrap();
        queue.push("second").await.unwrap();
        assert!(matches!(queue.push("third").await, Err(DbError::Busy(_))));
        assert_eq!(queue.take(1), ["first"]);
        queue.push("third").await.unwrap();
        assert_eq!(queue.take(2), ["second", "third"]);
    }
}
