//! Whose connections are open, and which one goes when there is no room for the next.
//!
//! A full server closes connections on which nothing happens, of the address that has most: idle ones first, then those
//! that owe a head or a body. Nobody loses a connection to an address that has more than their own.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::activity::Activity;
use super::client_ip::{ClientIp, ClientNetworks};
use crate::error::AppError;
use crate::limits::{self, ConnectionLimits};

/// When whoever was refused a connection may try again, in seconds.
const RETRY_AFTER_S: u32 = 5;

/// The open connections.
pub(super) struct Crowd {
    connections_max: usize,
    per_address_max: usize,
    networks: ClientNetworks,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    holders: HashMap<IpAddr, Connections>,
    /// Connections that are open.
    open: usize,
    /// Of these, the ones that were asked to go.
    leaving: usize,
    accepted: u64,
}

/// Those of one address, the oldest first.
#[derive(Default)]
struct Connections {
    open: BTreeMap<u64, Arc<Activity>>,
    leaving: usize,
}

impl Connections {
    fn staying(&self) -> usize {
        self.open.len() - self.leaving
    }

    /// Asks up to `n_max` of them to go, those first that will be missed least.
    fn ask_to_leave(&mut self, n_max: usize) -> usize {
        let mut idle: Vec<_> =
            self.open.values().filter_map(|activity| Some((activity.patience()?, activity))).collect();
        idle.sort_unstable_by_key(|(patience, _)| *patience);
        let left = idle.into_iter().take(n_max).map(|(_, activity)| activity.leave()).count();
        self.leaving += left;
        left
    }
}

/// Why a connection is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Crowded {
    /// The address has its share, and needs all of it.
    Address,
    /// All places are taken by requests that are being answered.
    Server,
}

impl Crowded {
    pub(super) fn error(self) -> AppError {
        match self {
            Self::Address => AppError::too_many("this address has all the connections that it may have", RETRY_AFTER_S),
            Self::Server => {
                let sentence = "the server has all the connections that it can serve; try again";
                AppError::unavailable("BUSY", sentence, RETRY_AFTER_S)
            }
        }
    }
}

impl Crowd {
    pub(super) fn new(limits: &ConnectionLimits, networks: ClientNetworks) -> Arc<Self> {
        Arc::new(Self {
            connections_max: limits.connections_max,
            per_address_max: limits.connections_per_address_max,
            networks,
            state: Mutex::default(),
        })
    }

    /// Takes a connection in, if need be instead of one on which nothing happens.
    pub(super) fn enter(self: &Arc<Self>, peer: SocketAddr, activity: &Arc<Activity>) -> Result<Guest, Crowded> {
        let address = ClientIp(peer.ip().to_canonical());
        let holder = address.key();
        let at_once = (self.connections_max / limits::CONNECTIONS_CLOSED_PART).max(1);
        let mut state = self.lock();
        let own = state.holders.get(&holder).map_or(0, Connections::staying);
        // Many clients share the address of a proxy or of a campus.
        let is_shared = self.networks.is_proxy(address) || self.networks.is_campus(address);
        if own >= self.per_address_max && !is_shared {
            if state.ask_to_leave(&holder, at_once) == 0 {
                return Err(Crowded::Address);
            }
        } else if state.open - state.leaving >= self.connections_max && state.make_room(&holder, own, at_once) == 0 {
            return Err(Crowded::Server);
        }
        if state.open >= self.connections_max + limits::CONNECTIONS_LEAVING_MAX {
            return Err(Crowded::Server);
        }
        let number = state.accepted;
        state.accepted += 1;
        state.open += 1;
        state.holders.entry(holder).or_default().open.insert(number, Arc::clone(activity));
        Ok(Guest { crowd: Arc::clone(self), holder, number })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn ask_to_leave(&mut self, holder: &IpAddr, n_max: usize) -> usize {
        let left = self.holders.get_mut(holder).map_or(0, |connections| connections.ask_to_leave(n_max));
        self.leaving += left;
        left
    }

    /// Makes room for one more of `newcomer`, who has `own`: of those that have most, down to what the next one has.
    fn make_room(&mut self, newcomer: &IpAddr, own: usize, n_max: usize) -> usize {
        let mut holders: Vec<_> =
            self.holders.iter().map(|(holder, connections)| (connections.staying(), *holder)).collect();
        holders.retain(|(n, holder)| *n > own || holder == newcomer);
        holders.sort_unstable_by(|a, b| b.cmp(a));
        for (index, (n, holder)) in holders.iter().enumerate() {
            let next = holders.get(index + 1).map_or(0, |(n, _)| *n);
            let left = self.ask_to_leave(holder, n_max.min(n - next).max(1));
            if left > 0 {
                return left;
            }
        }
        0
    }
}

/// A connection that is counted for as long as this lives.
pub(super) struct Guest {
    crowd: Arc<Crowd>,
    holder: IpAddr,
    number: u64,
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut state = self.crowd.lock();
        let Some(connections) = state.holders.get_mut(&self.holder) else { return };
        let left = connections.open.remove(&self.number).is_some_and(|activity| activity.is_leaving());
        connections.leaving -= usize::from(left);
        if connections.open.is_empty() {
            state.holders.remove(&self.holder);
        }
        state.open -= 1;
        state.leaving -= usize::from(left);
    }
}
