//! A peer that speaks the messages honestly: it validates, keeps one chain per writer, and signs receipts. Scripts make
//! it unbind keys, refuse or hold back single changes.

use muster_sync_core::{
    ChangeHash, DeviceKey, DocumentId, DocumentName,
    change::{Author, validate},
    document::{ChainStep, ChainTip, Container, Entry, genesis},
    signing::{SigningKey, SoftwareKey},
    sync::message::*,
    time::{Anchor, Receipt},
};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const TENANT: &str = "default";

#[derive(Clone)]
pub(crate) struct Logged {
    pub(crate) name: DocumentName,
    pub(crate) bytes: Vec<u8>,
    pub(crate) signature: [u8; 64],
    pub(crate) hash: ChangeHash,
    pub(crate) received_at_ms: i64,
}

pub(crate) struct Peer {
    pub(crate) key: SoftwareKey,
    pub(crate) now_ms: i64,
    pub(crate) log: Vec<Logged>,
    pub(crate) tips: BTreeMap<(DocumentId, DeviceKey), ChainTip>,
    pub(crate) unbound: BTreeSet<DeviceKey>,
    /// Reason codes for changes that the script refuses, by hash.
    pub(crate) refused: BTreeMap<ChangeHash, &'static str>,
    pub(crate) retried: BTreeSet<ChangeHash>,
    pub(crate) page: usize,
    pub(crate) pushed: Vec<ChangeHash>,
    pub(crate) images: BTreeSet<[u8; 32]>,
}

impl Peer {
    pub(crate) fn new() -> Self {
        Self {
            key: SoftwareKey::from_seed(&[200; 32].into()),
            now_ms: 1_763_640_000_000,
            log: Vec::new(),
            tips: BTreeMap::new(),
            unbound: BTreeSet::new(),
            refused: BTreeMap::new(),
            retried: BTreeSet::new(),
            page: 1_000,
            pushed: Vec::new(),
            images: BTreeSet::new(),
        }
    }

    pub(crate) fn exchange(&mut self, body: &[u8]) -> Vec<u8> {
        self.exchange_with(body, |_| {})
    }

    /// Answers, after `spoil` has changed the answer.
    pub(crate) fn exchange_with(&mut self, body: &[u8], spoil: impl FnOnce(&mut Response<'_>)) -> Vec<u8> {
        let request = Request::decode(body).expect("the phone sends valid requests");
        let fates: Vec<_> = request.pushes.iter().map(|push| self.admit(push)).collect();
        let from = request.cursors.first().map_or(0, |cursor| cursor.number as usize);
        let to = self.log.len().min(from + self.page);
        let page: Vec<_> = self.log[from..to].to_vec();
        let changes = page.iter().enumerate().map(|(index, logged)| Pulled {
            name: WireName::new(&logged.name),
            change: &logged.bytes,
            signature: logged.signature,
            log_index: (from + index) as u64 + 1,
            received_at_ms: logged.received_at_ms,
        });
        let anchor = request.device.zip(request.nonce);
        let anchor = anchor.map(|(device, nonce)| Anchor::sign(&self.key, self.now_ms, device, nonce).unwrap());
        let mut response = Response {
            version: PROTOCOL_VERSION,
            fates,
            changes: changes.collect(),
            cursors: vec![Cursor { channel: "user:student-1", number: to as u64 }],
            more: to < self.log.len(),
            anchor,
            wanted: Vec::new(),
            ask_again: None,
            log: None,
        };
        spoil(&mut response);
        minicbor::to_vec(&response).unwrap()
    }

    fn admit(&mut self, push: &Push<'_>) -> Fate {
        let name = push.name.parse().unwrap();
        let valid = match validate(TENANT, &name, push.change, &push.signature) {
            Ok(valid) => valid,
            Err(refusal) => return fate(FateKind::Refused, refusal.code()),
        };
        self.pushed.push(valid.hash);
        if let Some(index) = self.log.iter().position(|logged| logged.hash == valid.hash) {
            return self.accepted(index, valid.document);
        }
        if self.retried.contains(&valid.hash) {
            return Fate { kind: FateKind::Retry, reason: None, receipt: None };
        }
        if let Some(reason) = self.refused.get(&valid.hash) {
            return fate(FateKind::Refused, reason);
        }
        if self.unbound.contains(&valid.writer) && valid.container != Container::Requests {
            return fate(FateKind::Quarantined, "device_unbound");
        }
        let chain = (valid.document, valid.writer);
        let tip = *self.tips.entry(chain).or_insert_with(|| genesis::tip(valid.document, name.kind()));
        match tip.step(&valid) {
            Ok(ChainStep::Next) => {}
            Ok(ChainStep::Gap) => return fate(FateKind::Quarantined, "chain_gap"),
            Ok(ChainStep::Behind) => return fate(FateKind::Quarantined, "chain_fork"),
            Err(refusal) => return fate(FateKind::Refused, refusal.code()),
        }
        self.tips.insert(chain, valid.tip());
        self.append(name, push.change, push.signature, valid.hash);
        self.accepted(self.log.len() - 1, valid.document)
    }

    fn append(&mut self, name: DocumentName, bytes: &[u8], signature: [u8; 64], hash: ChangeHash) {
        self.log.push(Logged { name, bytes: bytes.to_vec(), signature, hash, received_at_ms: self.now_ms });
    }

    fn accepted(&self, index: usize, document: DocumentId) -> Fate {
        let logged = &self.log[index];
        let log_index = index as u64 + 1;
        let receipt = Receipt::sign(&self.key, document, logged.hash, log_index, logged.received_at_ms);
        Fate { kind: FateKind::Accepted, reason: None, receipt: Some(receipt.unwrap()) }
    }

    /// Writes an entry of its own, as the server or, with another key, as somebody else's device.
    pub(crate) fn write(&mut self, key: Option<&SoftwareKey>, name: &DocumentName, entry: Entry) -> ChangeHash {
        let own = SoftwareKey::from_seed(&[200; 32].into());
        let key = key.unwrap_or(&own);
        let document = name.id(TENANT);
        let chain = (document, key.public_key());
        let tip = self.tips.get(&chain).copied();
        let author = Author { key, tenant: TENANT, name, tip, time_s: self.now_ms / 1000 };
        let (signed, tip) = author.append(&entry).unwrap();
        self.tips.insert(chain, tip);
        self.append(name.clone(), &signed.bytes, signed.signature, tip.hash);
        tip.hash
    }
}

fn fate(kind: FateKind, reason: &str) -> Fate {
    Fate { kind, reason: Some(reason.to_owned()), receipt: None }
}
