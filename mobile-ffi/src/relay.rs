//! Phone to phone: handing records to the lecturer's phone where there is no network. The app moves the bytes.

use crate::{ApiError, MusterClient, client::State, entropy::random, error::invalid, lecture::read_locator};
use muster_sync_core::{
    Locator,
    signing::SigningKey,
    sync::relay::{self, Carrier, Giver, RelayError, Trust},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Whether the other phone runs a class session, as far as this one can tell without a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum RelayTrust {
    /// The server took the session's plan from this very phone.
    Proven,
    /// Unknown: show the fingerprint, and call [`RelayGiver::agree`] only if the person compared it and agrees.
    Unproven,
    /// The session is somebody else's. Nothing is handed over.
    Contradicted,
}

/// One class session that a relay offers to carry for.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct RelayedSession {
    /// The session's locator.
    pub locator: String,
    /// Whether the other phone runs it.
    pub trust: RelayTrust,
    /// Own records of it that the server is not known to have.
    pub waiting: u64,
}

/// Who offers to carry, and for what.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct RelayOffer {
    /// Twelve characters, to be compared with the other screen.
    pub fingerprint: String,
    /// The sessions.
    pub sessions: Vec<RelayedSession>,
}

/// What the relay said. It proves nothing but the receipts, which are the server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Record)]
pub struct RelayAnswer {
    /// Records that it says it carries; their state is `handed_over`.
    pub carried: u64,
    /// Records of which it brought the server's receipt; their state is `received`.
    pub receipts: u64,
    /// Records of the last page that it does not carry; this phone sends them by itself as ever.
    pub declined: u64,
}

/// What a page brought to the relay.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct RelayCollected {
    /// Bytes for the other phone.
    pub reply: Vec<u8>,
    /// Changes that this phone carries from now on.
    pub taken: u64,
    /// Changes that it had already.
    pub known: u64,
    /// Changes that it does not carry.
    pub declined: u64,
}

/// What this phone carries for others, and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Record)]
pub struct RelayCounts {
    /// To be pushed with the next sync steps.
    pub queued: u64,
    /// In the server's log.
    pub accepted: u64,
    /// Waiting at the server for a person.
    pub quarantined: u64,
    /// Refused by the server.
    pub refused: u64,
}

#[uniffi::export]
impl MusterClient {
    /// What this phone shows for others to compare, when it offers to carry.
    pub fn relay_fingerprint(&self) -> String {
        relay::fingerprint(&self.key.public_key())
    }

    /// Begins a meeting with one student's phone, as the one that carries for these class sessions of its own.
    ///
    /// # Errors
    /// [`ApiError::InvalidInput`] for a text that is no locator.
    pub fn carry_for(self: Arc<Self>, locators: Vec<String>) -> Result<Arc<RelayCarrier>, ApiError> {
        let locators = locators.iter().map(|locator| read_locator(locator)).collect::<Result<_, _>>()?;
        let meeting = Mutex::new(Carrier::new(random()?));
        Ok(Arc::new(RelayCarrier { client: self, locators, meeting }))
    }

    /// Begins a meeting with a phone that offers to carry.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn hand_over(self: Arc<Self>) -> Result<Arc<RelayGiver>, ApiError> {
        let meeting = Mutex::new(Giver::new(random()?));
        Ok(Arc::new(RelayGiver { client: self, meeting }))
    }

    /// What this phone carries for others.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn carried(&self) -> Result<RelayCounts, ApiError> {
        let counts = self.state().store.carried()?;
        let (accepted, quarantined) = (counts.accepted, counts.quarantined);
        Ok(RelayCounts { queued: counts.queued, accepted, quarantined, refused: counts.refused })
    }
}

/// One meeting, on the phone that carries. What it collected stays, whatever becomes of this object.
#[derive(uniffi::Object)]
pub struct RelayCarrier {
    client: Arc<MusterClient>,
    locators: Vec<Locator>,
    meeting: Mutex<Carrier>,
}

#[uniffi::export]
impl RelayCarrier {
    /// Answers the other phone's hello.
    ///
    /// # Errors
    /// [`ApiError::NotOnThisPhone`] if this phone's user did not plan a session, [`ApiError::KeyUnavailable`],
    /// [`ApiError::InvalidInput`] for bytes that are no hello.
    pub fn offer(&self, hello: Vec<u8>) -> Result<Vec<u8>, ApiError> {
        let state = self.client.state();
        Ok(lock(&self.meeting).offer(&state.store, &self.client.key, &self.locators, &hello)?)
    }

    /// Keeps what a page of the other phone brings, and gives the bytes to answer with.
    ///
    /// # Errors
    /// [`ApiError::InvalidInput`] for bytes that are no page of this meeting, [`ApiError::StorageFull`].
    pub fn collect(&self, page: Vec<u8>) -> Result<RelayCollected, ApiError> {
        let fresh = random()?;
        let mut state = self.client.state();
        let collected = lock(&self.meeting).collect(&mut state.store, &page, fresh)?;
        Ok(RelayCollected {
            reply: collected.reply,
            taken: collected.taken as u64,
            known: collected.known as u64,
            declined: collected.declined as u64,
        })
    }
}

/// One meeting, on the phone that hands over.
#[derive(uniffi::Object)]
pub struct RelayGiver {
    client: Arc<MusterClient>,
    meeting: Mutex<Giver>,
}

#[uniffi::export]
impl RelayGiver {
    /// The first bytes for the other phone. They do not say who this is.
    pub fn hello(&self) -> Vec<u8> {
        lock(&self.meeting).hello()
    }

    /// Reads the other phone's offer. Proven sessions are agreed to by that.
    ///
    /// # Errors
    /// [`ApiError::InvalidInput`] for bytes that are no offer to this hello.
    pub fn read_offer(&self, offer: Vec<u8>) -> Result<RelayOffer, ApiError> {
        let state = self.client.state();
        let view = lock(&self.meeting).read_offer(&state.store, &offer)?;
        let session = |session: relay::OfferedView| RelayedSession {
            locator: session.locator.to_string(),
            trust: match session.trust {
                Trust::Proven => RelayTrust::Proven,
                Trust::Unproven => RelayTrust::Unproven,
                Trust::Contradicted => RelayTrust::Contradicted,
            },
            waiting: session.waiting as u64,
        };
        Ok(RelayOffer { fingerprint: view.fingerprint, sessions: view.sessions.into_iter().map(session).collect() })
    }

    /// The person compared the fingerprint and agrees to hand over the records of an unproven session.
    ///
    /// # Errors
    /// [`ApiError::InvalidInput`] if it was not offered, or is somebody else's.
    pub fn agree(&self, locator: String) -> Result<(), ApiError> {
        if lock(&self.meeting).agree(read_locator(&locator)?) {
            return Ok(());
        }
        Err(invalid("this class session was not offered, or is somebody else's"))
    }

    /// The next bytes for the other phone, or nothing when the meeting is over. If no answer comes, call it again.
    ///
    /// # Errors
    /// [`ApiError::InvalidInput`] before an offer was read, [`ApiError::KeyUnavailable`].
    pub fn next_page(&self) -> Result<Option<Vec<u8>>, ApiError> {
        let fresh = random()?;
        let state = self.client.state();
        Ok(lock(&self.meeting).next_page(&state.store, &self.client.key, fresh)?)
    }

    /// Reads the other phone's answer to the last page.
    ///
    /// # Errors
    /// [`ApiError::InvalidInput`] for bytes that the phone that was met did not send.
    pub fn read_answer(&self, answer: Vec<u8>) -> Result<RelayAnswer, ApiError> {
        let mut state = self.client.state();
        let State { store, .. } = &mut *state;
        let handed = lock(&self.meeting).read_state(store, &self.client.key, &answer)?;
        let (carried, receipts) = (handed.carried as u64, handed.receipts as u64);
        Ok(RelayAnswer { carried, receipts, declined: handed.declined as u64 })
    }
}

impl From<RelayError> for ApiError {
    fn from(error: RelayError) -> Self {
        match error {
            RelayError::Message(error) => invalid(error.to_string()),
            RelayError::Store(error) => error.into(),
        }
    }
}

fn lock<T>(meeting: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while it was held left at most a meeting that has to begin anew.
    meeting.lock().unwrap_or_else(PoisonError::into_inner)
}
