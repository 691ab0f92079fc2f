//! A few things that are expensive to make and used by one thread at a time.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Things that are made on demand, up to a limit, and then waited for.
pub(super) struct Pool<T> {
    shelf: Mutex<Shelf<T>>,
    returned: Condvar,
    n_made_max: usize,
}

struct Shelf<T> {
    idle: Vec<T>,
    n_made: usize,
}

impl<T> Pool<T> {
    /// A pool that has its first thing already.
    pub(super) fn new(first: T, n_made_max: usize) -> Self {
        let shelf = Mutex::new(Shelf { idle: vec![first], n_made: 1 });
        Self { shelf, returned: Condvar::new(), n_made_max }
    }

    /// Takes an idle thing, makes one if there may be more, or waits.
    pub(super) fn take<E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<Taken<'_, T>, E> {
        let mut shelf = self.lock();
        loop {
            if let Some(thing) = shelf.idle.pop() {
                return Ok(Taken { pool: self, thing: Some(thing) });
            }
            if shelf.n_made < self.n_made_max {
                shelf.n_made += 1;
                break;
            }
            shelf = self.returned.wait(shelf).unwrap_or_else(PoisonError::into_inner);
        }
        drop(shelf);
        make().map(|thing| Taken { pool: self, thing: Some(thing) }).inspect_err(|_| {
            self.lock().n_made -= 1;
            self.returned.notify_one();
        })
    }

    fn lock(&self) -> MutexGuard<'_, Shelf<T>> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thing that goes back to its pool when it is dropped.
pub(super) struct Taken<'a, T> {
    pool: &'a Pool<T>,
    thing: Option<T>,
}

impl<T> Deref for Taken<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.thing.as_ref().expect("it is there until it is dropped")
    }
}

impl<T> DerefMut for Taken<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.thing.as_mut().expect("it is there until it is dropped")
    }
}

impl<T> Drop for Taken<'_, T> {
    fn drop(&mut self) {
        self.pool.lock().idle.extend(self.thing.take());
        self.pool.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_made_than_allowed_and_a_failed_one_is_made_again() {
        let pool = Pool::new(0, 2);
        let first = pool.take(|| Err("not needed")).unwrap();
        assert_eq!(pool.take(|| Err("broken")).err(), Some("broken"));
        let second = pool.take(|| Ok::<_, ()>(1)).unwrap();
        assert_eq!((*first, *second), (0, 1));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| *pool.take(|| Ok::<_, ()>(2)).unwrap());
            drop(second);
            assert_eq!(waiting.join().unwrap(), 1);
        });
    }
}
