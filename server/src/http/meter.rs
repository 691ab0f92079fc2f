//! Bytes in memory for others: bodies until their request is answered, replies until their client has them.

use std::sync::{Arc, Mutex, PoisonError};

use super::client_ip::ClientIp;
use super::facts::RequestFacts;
use super::holder::Holder;
use crate::app::App;
use crate::config::Config;
use crate::limits::MemoryLimits;
use crate::shares::{Held, Ledger, UsedUp};

/// What a form may have beside its two images.
const FORM_BYTES: u64 = 64 * 1024;

/// The accounts that all connections share.
pub(super) struct Memory {
    bodies: Ledger<Holder>,
    replies: Ledger<Holder>,
    limits: MemoryLimits,
}

/// How large a reply is whose body does not say: an extension of replies that are compressed on their way out.
#[derive(Debug, Clone, Copy)]
pub struct ReplyBytes(pub usize);

impl Memory {
    /// Where the settings allow larger images, a person may send two of them all the same.
    pub(super) fn new(config: &Config, mut limits: MemoryLimits) -> Self {
        let two_images = 2 * config.image_bytes_max() as u64 + FORM_BYTES;
        limits.bodies_per_person = limits.bodies_per_person.max(two_images);
        Self { bodies: Ledger::new(limits.bodies), replies: Ledger::new(limits.replies), limits }
    }

    /// The meter of one request's body.
    pub(super) fn body(&self, app: &App, client: ClientIp, facts: &RequestFacts) -> BodyMeter {
        let per_address = match client.is_campus(app) {
            true => self.limits.bodies_per_campus,
            false => self.limits.bodies_per_address,
        };
        BodyMeter(Arc::new(Metered {
            bodies: self.bodies.clone(),
            facts: facts.clone(),
            address: (Holder::Address(client.key()), per_address),
            per_person: self.limits.bodies_per_person,
            held: Mutex::new(None),
        }))
    }

    /// An entry for a reply's bytes.
    pub(super) fn reply(&self, holder: Holder, bytes: u64) -> Result<Held<Holder>, UsedUp> {
        let mut held = self.replies.open(holder, self.limits.replies_per_holder);
        held.more(bytes)?;
        Ok(held)
    }
}

/// Counts the bytes of one body for whoever sends it. An extension of every request that has a body; what it counted is
/// given back with the last clone.
#[derive(Debug, Clone)]
pub struct BodyMeter(Arc<Metered>);

#[derive(Debug)]
struct Metered {
    bodies: Ledger<Holder>,
    facts: RequestFacts,
    address: (Holder, u64),
    per_person: u64,
    held: Mutex<Option<Held<Holder>>>,
}

impl BodyMeter {
    /// More of the body is in memory. Who sends it is known by now, if it is somebody who is signed in.
    pub(super) fn took(&self, bytes: usize) -> Result<(), UsedUp> {
        let metered = &*self.0;
        let open = || {
            let (holder, own_max) = match metered.facts.user() {
                Some(user) => (Holder::Person(user), metered.per_person),
                None => metered.address,
            };
            metered.bodies.open(holder, own_max)
        };
        let mut held = metered.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.get_or_insert_with(open).more(bytes as u64)
    }

    /// So much of it is in memory no longer: it was written to a file.
    pub fn gone(&self, bytes: usize) {
        if let Some(held) = &mut *self.0.held.lock().unwrap_or_else(PoisonError::into_inner) {
            held.less(bytes as u64);
        }
    }
}
