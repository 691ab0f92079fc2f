//! The relay's side of one meeting: it offers, collects, and says what it has.

use super::{
    MessageError, PAGE_INFO, RELAY_VERSION, RelayError, STATE_INFO, meeting_message,
    message::{self, Hello, Item, Offer, OfferedSession, Page, PlanProof, State},
    prove,
};
use crate::{
    DocumentId, DocumentName, Locator,
    change::validate,
    document::Container,
    limits,
    sealing::{self, OpeningKey, SealingKey},
    signing::SigningKey,
    store::{Carry, CarryOutcome, DeviceStore, OfferedPlan, StoreError},
};
use sha2::{Digest, Sha256};

/// One meeting with one student's phone. It may be forgotten at any time: what was collected is in the store.
#[derive(Debug)]
pub struct Carrier {
    own: OpeningKey,
    giver: Option<SealingKey>,
    sessions: Vec<Locator>,
    taken: usize,
}

/// What one page brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// The bytes to give back.
    pub reply: Vec<u8>,
    /// Changes that this phone carries from now on.
    pub taken: usize,
    /// Changes that it had already.
    pub known: usize,
    /// Changes that it does not carry: of other sessions or kinds, damaged, forged, or over a limit.
    pub declined: usize,
}

impl Carrier {
    /// A new meeting. `random` is fresh.
    #[must_use]
    pub fn new(random: [u8; 32]) -> Self {
        Self { own: OpeningKey::from_random(&random), giver: None, sessions: Vec::new(), taken: 0 }
    }

    /// Answers a hello with the class sessions that this phone runs, and the proof of it where the server gave one.
    ///
    /// # Errors
    /// [`StoreError::SessionUnknown`] for a session that the account's user did not plan, [`StoreError::Sign`],
    /// [`MessageError`] for a hello that is none.
    pub fn offer(
        &mut self,
        store: &DeviceStore,
        signer: &dyn SigningKey,
        locators: &[Locator],
        hello: &[u8],
    ) -> Result<Vec<u8>, RelayError> {
        let hello = Hello::decode(hello)?;
        if locators.len() > limits::RELAY_SESSIONS_MAX {
            return Err(MessageError::OverLimit.into());
        }
        let device = signer.public_key();
        let plans: Vec<_> =
            locators.iter().map(|locator| store.offered_plan(*locator, &device)).collect::<Result<_, _>>()?;
        let sessions = locators.iter().zip(&plans).map(|(locator, plan)| offered(locator, plan.as_ref()));
        let giver = SealingKey(hello.key);
        let signature =
            signer.sign(&meeting_message(giver, self.own.public())).map_err(|error| RelayError::Store(error.into()))?;
        let offer =
            Offer { version: RELAY_VERSION, key: self.own.public().0, device, sessions: sessions.collect(), signature };
        self.giver = Some(giver);
        self.sessions = locators.to_vec();
        Ok(message::encode(&offer))
    }

    /// Keeps what a page brings, and answers it with what this phone has of the giver's chains. `random` is fresh.
    ///
    /// # Errors
    /// [`MessageError`] for bytes that the phone that was met did not send; [`StoreError`], and then nothing was kept.
    pub fn collect(&mut self, store: &mut DeviceStore, page: &[u8], random: [u8; 32]) -> Result<Collected, RelayError> {
        let giver = self.giver.ok_or(MessageError::NotMet)?;
        if page.len() > limits::RELAY_MESSAGE_BYTES_MAX {
            return Err(MessageError::TooLarge.into());
        }
        let plain = sealing::open_between(&self.own, giver, PAGE_INFO, page).ok_or(MessageError::NotOpened)?;
        let read = Page::decode(&plain)?;
        prove(&read.device, self.own.public(), giver, &read.signature)?;
        let (taken, known) = self.keep(store, &read.items)?;
        let (chains, receipts) = store.carried_heads(&read.device, &asked(&read))?;
        let page = Sha256::digest(page).into();
        let state = message::encode(&State { version: RELAY_VERSION, page, chains, receipts });
        let reply = sealing::seal_between(&self.own, giver, STATE_INFO, &state, &random);
        let reply = reply.ok_or(MessageError::NotOpened)?;
        Ok(Collected { reply, taken, known, declined: read.items.len() - taken - known })
    }

    fn keep(&mut self, store: &mut DeviceStore, items: &[Item<'_>]) -> Result<(usize, usize), StoreError> {
        let tenant = store.account()?.tenant;
        let room = limits::RELAY_ITEMS_PER_MEETING_MAX.saturating_sub(self.taken);
        let checked: Vec<_> = items.iter().filter_map(|item| self.check(&tenant, item)).take(room).collect();
        let outcomes = store.carry(&checked)?;
        let count = |wanted| outcomes.iter().filter(|outcome| **outcome == wanted).count();
        let (taken, known) = (count(CarryOutcome::Taken), count(CarryOutcome::Known));
        self.taken += taken;
        Ok((taken, known))
    }

    /// What anybody can check without judging: it is about this session, well-formed, signed, and of a bounded size.
    fn check<'a>(&self, tenant: &str, item: &Item<'a>) -> Option<Carry<'a>> {
        let name = item.name.parse().ok()?;
        let DocumentName::Attendance { locator, .. } = &name else { return None };
        if !self.sessions.contains(locator) {
            return None;
        }
        let valid = validate(tenant, &name, item.change, &item.signature).ok()?;
        let sealed = item.sealed_manifest;
        let fits = match valid.container {
            Container::Submissions => sealed.is_some_and(|sealed| sealing::is_sealed_manifest_size(sealed.len())),
            Container::Appeals => sealed.is_none(),
            _ => false,
        };
        fits.then_some(Carry { name, valid, bytes: item.change, signature: item.signature, sealed_manifest: sealed })
    }
}

/// The documents that the giver asks about; only its own chains are answered for.
fn asked(page: &Page<'_>) -> Vec<DocumentId> {
    page.chains.iter().filter(|head| head.writer == page.device).map(|head| head.document).collect()
}

fn offered<'a>(locator: &'a Locator, plan: Option<&'a OfferedPlan>) -> OfferedSession<'a> {
    let proof = |plan: &'a OfferedPlan| PlanProof {
        change: &plan.bytes,
        signature: plan.signature,
        receipt: plan.receipt.clone(),
    };
    OfferedSession { locator: locator.as_str(), plan: plan.map(proof) }
}
