//! The student's side of one meeting: it checks who offers to carry, hands over what is agreed, and takes receipts.

use super::{
    MessageError, PAGE_INFO, RELAY_VERSION, RelayError, STATE_INFO, fingerprint, meeting_message,
    message::{self, Head, Hello, Item, Offer, OfferedSession, Page, State},
    prove,
};
use crate::{
    ChangeHash, DeviceKey, DocumentId, DocumentName, Locator,
    change::validate,
    document::Entry,
    limits,
    sealing::{self, OpeningKey, SealingKey},
    signing::SigningKey,
    store::{DeviceStore, OwnRow, StoreError},
    sync::message::WireName,
};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// How sure this phone can be, without a network, that the other one runs a class session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// The server took the session's plan from this very device. Nothing else has to be asked.
    Proven,
    /// This phone cannot tell: the plan never reached the server, or was written there. The person has to compare the
    /// fingerprint with the relay's screen and agree.
    Unproven,
    /// The server knows who planned the session, and it was not this device. Nothing is handed over.
    Contradicted,
}

/// One session of an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedView {
    /// The class session.
    pub locator: Locator,
    /// Whether the other phone proved that it runs it.
    pub trust: Trust,
    /// Own changes of this session that the server is not known to have.
    pub waiting: usize,
}

/// An offer as the app shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferView {
    /// The other phone's device.
    pub relay: DeviceKey,
    /// Its fingerprint, to compare with its screen.
    pub fingerprint: String,
    /// The sessions.
    pub sessions: Vec<OfferedView>,
}

/// What a state of the relay did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HandedOver {
    /// Changes of which the relay says that it carries them.
    pub carried: usize,
    /// Changes of which it brought the server's receipt.
    pub receipts: usize,
    /// Changes of the last page that it did not take: it is full, or does not want them. This phone still sends them.
    pub declined: usize,
}

#[derive(Debug)]
struct Met {
    key: SealingKey,
    device: DeviceKey,
    signature: Option<[u8; 64]>,
}

/// One meeting with a relay. It may be forgotten at any time; the next one finds out what is lacking.
#[derive(Debug)]
pub struct Giver {
    own: OpeningKey,
    met: Option<Met>,
    agreed: BTreeSet<Locator>,
    unproven: BTreeSet<Locator>,
    /// The relay's version vector, once it said so.
    have: Option<BTreeMap<DocumentId, (u64, ChangeHash)>>,
    declined: BTreeSet<ChangeHash>,
    last_page: Option<([u8; 32], Vec<ChangeHash>)>,
}

/// Room in a page for what is not an item: the chains, the proof, and the seal.
const PAGE_OVERHEAD_BYTES: usize = limits::RELAY_CHAINS_MAX * 100 + 512;
/// What an item adds to a page beside its bytes: name, signature and lengths.
const ITEM_OVERHEAD_BYTES: usize = 256;

impl Giver {
    /// A new meeting. `random` is fresh.
    #[must_use]
    pub fn new(random: [u8; 32]) -> Self {
        Self {
            own: OpeningKey::from_random(&random),
            met: None,
            agreed: BTreeSet::new(),
            unproven: BTreeSet::new(),
            have: None,
            declined: BTreeSet::new(),
            last_page: None,
        }
    }

    /// The first message. It does not say who this is.
    #[must_use]
    pub fn hello(&self) -> Vec<u8> {
        message::encode(&Hello { version: RELAY_VERSION, key: self.own.public().0 })
    }

    /// Reads an offer and checks what can be checked without a network. Proven sessions are agreed to.
    ///
    /// # Errors
    /// [`MessageError`] for an offer that is none, is not for this meeting, or is not signed by the device that it names.
    pub fn read_offer(&mut self, store: &DeviceStore, offer: &[u8]) -> Result<OfferView, RelayError> {
        let offer = Offer::decode(offer)?;
        let key = SealingKey(offer.key);
        prove(&offer.device, self.own.public(), key, &offer.signature)?;
        let user = store.account()?.user;
        let mut sessions = Vec::with_capacity(offer.sessions.len());
        for offered in &offer.sessions {
            let locator = Locator::parse(offered.locator).ok_or(MessageError::Malformed)?;
            let trust = trust(store, &offer.device, locator, offered)?;
            let waiting = store.waiting_in(locator, &user)?;
            sessions.push(OfferedView { locator, trust, waiting });
        }
        let of = |wanted: Trust| sessions.iter().filter(move |session| session.trust == wanted).map(|s| s.locator);
        self.agreed = of(Trust::Proven).collect();
        self.unproven = of(Trust::Unproven).collect();
        self.met = Some(Met { key, device: offer.device, signature: None });
        (self.have, self.last_page) = (None, None);
        self.declined.clear();
        Ok(OfferView { relay: offer.device, fingerprint: fingerprint(&offer.device), sessions })
    }

    /// The person compared the fingerprint and agrees: this session's records may be handed over. A contradicted
    /// session stays closed. `false` if the session was not offered, or may not be.
    pub fn agree(&mut self, locator: Locator) -> bool {
        if self.unproven.contains(&locator) {
            self.agreed.insert(locator);
        }
        self.agreed.contains(&locator)
    }

    /// The next page for the relay, or `None` when it has everything or takes no more. `random` is fresh.
    ///
    /// Called again before the answer came, it makes the same page again: for a message that got lost.
    ///
    /// # Errors
    /// [`MessageError::NotMet`] before an offer was read, [`StoreError`].
    pub fn next_page(
        &mut self,
        store: &DeviceStore,
        signer: &dyn SigningKey,
        random: [u8; 32],
    ) -> Result<Option<Vec<u8>>, RelayError> {
        let met = self.met.as_mut().ok_or(MessageError::NotMet)?;
        let server = store.server_key()?.ok_or(StoreError::NoAccount)?;
        let signature = match met.signature {
            Some(signature) => signature,
            None => *met.signature.insert(sign(signer, met.key, &self.own)?),
        };
        let (peer, relay, device) = (met.key, met.device, signer.public_key());
        let rows = store.own_rows(&self.agreed, &device, &relay)?;
        let lacking = self.lacking(store, &rows)?;
        if rows.is_empty() || (lacking.is_empty() && self.have.is_some()) {
            return Ok(None);
        }
        let mut random = Stream::new(random);
        let (items, hashes) = items(&lacking, &server, &mut random)?;
        let page = Page {
            version: RELAY_VERSION,
            chains: heads(&rows),
            items: items.iter().map(Owned::item).collect(),
            device,
            signature,
        };
        let sealed = sealing::seal_between(&self.own, peer, PAGE_INFO, &message::encode(&page), &random.next());
        let sealed = sealed.ok_or(MessageError::NotOpened)?;
        self.last_page = Some((Sha256::digest(&sealed).into(), hashes));
        Ok(Some(sealed))
    }

    /// Reads the relay's answer to the last page: what it carries, and receipts of the server. A late answer to an
    /// earlier page does nothing.
    ///
    /// # Errors
    /// [`MessageError`] for bytes that the phone that was met did not send, [`StoreError`].
    pub fn read_state(
        &mut self,
        store: &mut DeviceStore,
        signer: &dyn SigningKey,
        state: &[u8],
    ) -> Result<HandedOver, RelayError> {
        let met = self.met.as_ref().ok_or(MessageError::NotMet)?;
        if state.len() > limits::RELAY_MESSAGE_BYTES_MAX {
            return Err(MessageError::TooLarge.into());
        }
        let (relay, device) = (met.device, signer.public_key());
        let plain = sealing::open_between(&self.own, met.key, STATE_INFO, state).ok_or(MessageError::NotOpened)?;
        let state = State::decode(&plain)?;
        let Some((_, offered)) = self.last_page.take_if(|(page, _)| *page == state.page) else {
            return Ok(HandedOver::default());
        };
        let own = state.chains.iter().filter(|head| head.writer == device);
        self.have = Some(own.map(|head| (head.document, (head.seq, head.hash))).collect());
        let rows = store.own_rows(&self.agreed, &device, &relay)?;
        let mut carried = BTreeSet::new();
        for row in &rows {
            if self.is_carried(store, row)? {
                carried.insert(row.hash);
            }
        }
        let declined: Vec<_> = offered.into_iter().filter(|hash| !carried.contains(hash)).collect();
        store.mark_handed_over(&relay, &carried)?;
        let receipts = store.accept_carried_receipts(&state.receipts)?;
        let handed_over = HandedOver { carried: carried.len(), receipts, declined: declined.len() };
        self.declined.extend(declined);
        Ok(handed_over)
    }

    /// What the relay does not have, as far as it said; of a chain in which it declined a change, nothing more.
    fn lacking<'a>(&self, store: &DeviceStore, rows: &'a [OwnRow]) -> Result<Vec<&'a OwnRow>, StoreError> {
        let (mut lacking, mut stopped) = (Vec::new(), BTreeSet::new());
        for row in rows {
            if self.declined.contains(&row.hash) {
                stopped.insert(row.document);
            }
            if !stopped.contains(&row.document) && !self.is_carried(store, row)? {
                lacking.push(row);
            }
        }
        Ok(lacking)
    }

    fn is_carried(&self, store: &DeviceStore, row: &OwnRow) -> Result<bool, StoreError> {
        let Some(have) = &self.have else { return Ok(row.handed_over) };
        let Some((seq, hash)) = have.get(&row.document) else { return Ok(false) };
        // A chain that was signed anew since then is another chain.
        let same = store.own_hash_at(row.document, &row.writer, *seq)? == Some(*hash);
        Ok(same && row.seq <= *seq)
    }
}

fn sign(signer: &dyn SigningKey, peer: SealingKey, own: &OpeningKey) -> Result<[u8; 64], StoreError> {
    Ok(signer.sign(&meeting_message(peer, own.public()))?)
}

/// Whether the device planned the session, as far as this phone can tell.
fn trust(
    store: &DeviceStore,
    device: &DeviceKey,
    locator: Locator,
    offered: &OfferedSession<'_>,
) -> Result<Trust, StoreError> {
    let (tenant, server) = (store.account()?.tenant, store.server_key()?);
    let pulled = store.plan_writers(locator)?;
    if pulled.contains(device) {
        return Ok(Trust::Proven);
    }
    let name = DocumentName::ClassSession { locator };
    let proven = offered.plan.as_ref().zip(server).is_some_and(|(plan, server)| {
        let Ok(valid) = validate(&tenant, &name, plan.change, &plan.signature) else { return false };
        matches!(valid.entry, Entry::Plan(_))
            && valid.writer == *device
            && plan.receipt.verify(&server, valid.document, valid.hash).is_ok()
    });
    // A plan that the server wrote for a lecturer does not say which phone is the lecturer's.
    let known_other = !pulled.is_empty() && !server.is_some_and(|server| pulled.contains(&server));
    Ok(match (proven, known_other) {
        (true, _) => Trust::Proven,
        (false, true) => Trust::Contradicted,
        (false, false) => Trust::Unproven,
    })
}

/// The version vector: the newest own change of each chain.
fn heads(rows: &[OwnRow]) -> Vec<Head> {
    let mut heads = BTreeMap::new();
    for row in rows {
        heads.insert(row.document, Head { document: row.document, writer: row.writer, seq: row.seq, hash: row.hash });
    }
    heads.into_values().take(limits::RELAY_CHAINS_MAX).collect()
}

/// An item with its freshly sealed manifest.
struct Owned<'a> {
    row: &'a OwnRow,
    sealed_manifest: Option<Vec<u8>>,
}

impl Owned<'_> {
    fn item(&self) -> Item<'_> {
        Item {
            name: WireName::new(&self.row.name),
            change: &self.row.bytes,
            signature: self.row.signature,
            sealed_manifest: self.sealed_manifest.as_deref(),
        }
    }
}

/// As many items as one page holds.
fn items<'a>(
    lacking: &[&'a OwnRow],
    server: &DeviceKey,
    random: &mut Stream,
) -> Result<(Vec<Owned<'a>>, Vec<ChangeHash>), StoreError> {
    let (mut items, mut hashes, mut size_bytes) = (Vec::new(), Vec::new(), PAGE_OVERHEAD_BYTES);
    for row in lacking.iter().take(limits::RELAY_ITEMS_PER_PAGE_MAX) {
        let seal = |manifest: &Vec<u8>| sealing::seal_manifest(server, row.document, manifest, &random.next());
        let sealed_manifest = row.manifest.as_ref().map(seal).transpose()?;
        size_bytes += row.bytes.len() + sealed_manifest.as_ref().map_or(0, Vec::len) + ITEM_OVERHEAD_BYTES;
        if size_bytes > limits::RELAY_MESSAGE_BYTES_MAX {
            break;
        }
        hashes.push(row.hash);
        items.push(Owned { row, sealed_manifest });
    }
    Ok((items, hashes))
}

/// Fresh bytes for several sealings out of 32 fresh bytes.
struct Stream {
    seed: [u8; 32],
    used: u64,
}

impl Stream {
    fn new(seed: [u8; 32]) -> Self {
        Self { seed, used: 0 }
    }

    fn next(&mut self) -> [u8; 32] {
        self.used += 1;
        let hash = Sha256::new().chain_update(b"muster/relay-random/v1").chain_update(self.seed);
        hash.chain_update(self.used.to_be_bytes()).finalize().into()
    }
}
