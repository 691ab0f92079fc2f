//! An account of how much each holder has of something of which there is only so much.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why more is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsedUp {
    /// The holder has its share.
    Own,
    /// There is no more for anybody who has this much already.
    All,
}

/// The account. Cloning it is cheap, and the clone is the same account.
#[derive(Debug)]
pub struct Ledger<K> {
    max: u64,
    state: Arc<Mutex<State<K>>>,
}

#[derive(Debug)]
struct State<K> {
    all: u64,
    each: HashMap<K, u64>,
}

impl<K> Clone for Ledger<K> {
    fn clone(&self) -> Self {
        Self { max: self.max, state: Arc::clone(&self.state) }
    }
}

impl<K> Ledger<K> {
    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq + Clone> Ledger<K> {
    /// An account of `max` in all.
    #[must_use]
    pub fn new(max: u64) -> Self {
        Self { max, state: Arc::new(Mutex::new(State { all: 0, each: HashMap::new() })) }
    }

    /// An entry for a holder whose share is `own_max`, with nothing in it yet.
    pub fn open(&self, holder: K, own_max: u64) -> Held<K> {
        Held { ledger: self.clone(), holder, own_max, amount: 0 }
    }

    /// What all hold together.
    pub fn all(&self) -> u64 {
        self.lock().all
    }

    /// Nobody gets more than what is left for the others: however many fill their shares, who holds little still gets some.
    fn add(&self, holder: &K, amount: u64, own_max: u64) -> Result<(), UsedUp> {
        let mut state = self.lock();
        let own = state.each.get(holder).copied().unwrap_or(0).saturating_add(amount);
        let all = state.all.saturating_add(amount);
        if own > own_max {
            return Err(UsedUp::Own);
        }
        if own > self.max.saturating_sub(all) {
            return Err(UsedUp::All);
        }
        state.all = all;
        state.each.insert(holder.clone(), own);
        Ok(())
    }

    fn subtract(&self, holder: &K, amount: u64) {
        let mut state = self.lock();
        state.all = state.all.saturating_sub(amount);
        let left = state.each.get(holder).copied().unwrap_or(0).saturating_sub(amount);
        if left == 0 {
            state.each.remove(holder);
        } else {
            state.each.insert(holder.clone(), left);
        }
    }
}

/// What somebody holds for one purpose; given back when dropped.
#[derive(Debug)]
pub struct Held<K: Hash + Eq + Clone> {
    ledger: Ledger<K>,
    holder: K,
    own_max: u64,
    amount: u64,
}

impl<K: Hash + Eq + Clone> Held<K> {
    /// Takes more.
    ///
    /// # Errors
    /// When the holder's share, or everything, is used up. What is held already stays so.
    pub fn more(&mut self, amount: u64) -> Result<(), UsedUp> {
        self.ledger.add(&self.holder, amount, self.own_max)?;
        self.amount += amount;
        Ok(())
    }

    /// Gives a part back.
    pub fn less(&mut self, amount: u64) {
        let amount = amount.min(self.amount);
        self.ledger.subtract(&self.holder, amount);
        self.amount -= amount;
    }
}

impl<K: Hash + Eq + Clone> Drop for Held<K> {
    fn drop(&mut self) {
        self.ledger.subtract(&self.holder, self.amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_ends_where_it_was_said_and_is_given_back() {
        let ledger = Ledger::new(1_000);
        let mut first = ledger.open("ada", 100);
        let mut second = ledger.open("ada", 100);
        first.more(60).unwrap();
        assert_eq!(second.more(41), Err(UsedUp::Own));
        second.more(40).unwrap();
        first.less(10);
        second.more(10).unwrap();
        drop((first, second));
        assert_eq!(ledger.all(), 0);
        assert!(ledger.lock().each.is_empty());
    }

    #[test]
    fn many_who_take_what_they_can_leave_something_for_the_next() {
        let ledger = Ledger::new(1_000);
        let held: Vec<_> = (0..50)
            .map(|holder| {
                let mut held = ledger.open(holder, 1_000);
                while held.more(1).is_ok() {}
                held
            })
            .collect();
        assert!(ledger.all() < 1_000);
        let mut late = ledger.open(50, 1_000);
        assert_eq!(ledger.open(0, 1_000).more(1), Err(UsedUp::All));
        drop(held);
        late.more(500).unwrap();
        assert_eq!(late.more(1), Err(UsedUp::All));
    }
}
