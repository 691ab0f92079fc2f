//! Dishonest phones: what the real client never sends.

use std::collections::BTreeMap;

use muster_sync_core::{
    DeviceKey, DocumentId, DocumentName, Locator,
    change::{Author, SignedChange},
    document::{
        ChainTip, Code, Entry, KeyLevel, Outcome, Request as BindingRequest, RequestPurpose, Source, Submission,
        Verdict,
    },
    evidence::{Checks, DeviceFacts, MANIFEST_VERSION, Manifest, commitment},
    signing::{SignError, SigningKey, SoftwareKey},
    sync::{
        client::SYNC_PATH,
        message::{CONTENT_TYPE, PROTOCOL_VERSION, Push, Request, WireName},
    },
    time::CaptureClocks,
};

use crate::dice::Dice;
use crate::network::damage;
use crate::server::{ADMIN, NOON_MS, STUDENTS, Sending, TENANT, Template};
use crate::world::{Event, World};

/// A person with a laptop and a device key.
pub(crate) struct Cheat {
    pub(crate) person: usize,
    key: SoftwareKey,
    tips: BTreeMap<DocumentId, ChainTip>,
}

/// Claims to be another key, and signs with its own.
struct Impostor<'a> {
    claims: DeviceKey,
    has: &'a SoftwareKey,
}

impl SigningKey for Impostor<'_> {
    fn public_key(&self) -> DeviceKey {
        self.claims
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        self.has.sign(message)
    }
}

/// Something to push.
struct Item {
    name: DocumentName,
    signed: SignedChange,
    manifest: Option<Vec<u8>>,
}

impl Cheat {
    pub(crate) fn new(person: usize, dice: &mut Dice) -> Self {
        Self { person, key: SoftwareKey::from_seed(&dice.bytes().into()), tips: BTreeMap::new() }
    }

    pub(crate) fn public_key(&self) -> DeviceKey {
        self.key.public_key()
    }

    /// Signs an entry as the next one of the chain; the chain goes on from it if `keeps`.
    fn write(&mut self, name: &DocumentName, entry: &Entry, keeps: bool) -> SignedChange {
        let (id, tip) = (name.id(TENANT), self.tips.get(&name.id(TENANT)).copied());
        let author = Author { key: &self.key, tenant: TENANT, name, tip, time_s: NOON_MS / 1000 };
        let (signed, next) = author.append(entry).expect("a software key signs");
        if keeps {
            self.tips.insert(id, next);
        }
        signed
    }

    /// The request to be bound.
    fn request(&mut self) -> Item {
        let name = DocumentName::DeviceBinding { user: Template::get().user(self.person) };
        let request = BindingRequest {
            key: self.key.public_key(),
            purpose: RequestPurpose::Bind,
            platform: Code::new("laptop").expect("a code"),
            model: None,
            level: KeyLevel::Software,
            legacy_id_hash: None,
            code_key_hash: None,
        };
        Item { signed: self.write(&name, &request.into(), true), name, manifest: None }
    }
}

fn submission(captured_at_ms: i64, dice: &mut Dice) -> (Entry, Vec<u8>) {
    let manifest = Manifest {
        version: MANIFEST_VERSION,
        salt: dice.bytes(),
        images: Vec::new(),
        position: None,
        clocks: CaptureClocks { wall_ms: captured_at_ms, monotonic_ms: 1_000, boot_id: dice.bytes(), anchor: None },
        device: DeviceFacts::default(),
    };
    let bytes = manifest.to_bytes();
    let commitment = commitment(&bytes);
    let (code, source) = (Code::new("123456"), Source::Phone);
    let entry = Submission { captured_at_ms, code, step: None, commitment, schema: 1, source, by: None };
    (entry.into(), bytes)
}

fn verdict() -> Entry {
    let checks = Checks::default().to_bytes();
    let policy = Code::new("v1").expect("a code");
    let of = muster_sync_core::ChangeHash([7; 32]);
    Verdict { of, outcome: Outcome::Accepted, risk: 0, checks, policy, model: None }.into()
}

fn body(items: &[Item]) -> Vec<u8> {
    let pushes = items.iter().map(|item| Push {
        name: WireName::new(&item.name),
        change: &item.signed.bytes,
        signature: item.signed.signature,
        manifest: item.manifest.as_deref(),
        code_key: None,
        sealed_manifest: None,
        receipt: None,
    });
    let request = Request {
        version: PROTOCOL_VERSION,
        device: None,
        nonce: None,
        cursors: Vec::new(),
        pushes: pushes.collect(),
        pull: false,
        log: None,
    };
    minicbor::to_vec(&request).expect("encoding into memory does not fail")
}

fn sending(token: String, body: Vec<u8>) -> Sending {
    Sending { method: "POST", path: SYNC_PATH.to_owned(), token, content_type: CONTENT_TYPE, body }
}

impl World {
    /// One of the dishonest things.
    pub(crate) fn cheat(&mut self, kind: u8) {
        let index = self.dice.index(self.cheats.len());
        let Some(locator) = self.sessions.first().map(|session| session.locator) else { return };
        if self.cheats[index].tips.is_empty() {
            // The first cheat is bound like anybody else; the second never is.
            self.introduce(index);
        }
        let person = self.cheats[index].person;
        let (what, body) = match kind {
            0 => ("cheat: two changes in one place", self.equivocation(index, locator)),
            1 => ("cheat: forged signature", self.forgery(index, locator)),
            2 => ("cheat: in another's name", self.in_anothers_name(index, locator)),
            3 => ("cheat: verdict by a student", self.own_verdict(index, locator)),
            4 if !self.overheard.is_empty() => {
                let overheard = self.overheard[self.dice.index(self.overheard.len())].clone();
                ("cheat: replay of another's request", overheard.body)
            }
            5 => ("cheat: mutated change", self.mutation(index, locator)),
            _ => ("cheat: backdated clock", self.backdated(index, locator)),
        };
        self.tally.count(what);
        self.note(|_| format!("person {person}: {what}"));
        self.push_as(person, body);
    }

    /// Asks for the laptop's key to be bound, at a desk with a good network.
    fn introduce(&mut self, index: usize) {
        let Some(server) = &self.server else { return };
        let cheat = &mut self.cheats[index];
        let request = cheat.request();
        let hash = cheat.tips[&request.name.id(TENANT)].hash;
        let sending = sending(server.token(cheat.person), body(&[request]));
        let answer = server.answer(&sending);
        if answer.status == 200 && index == 0 {
            let path = format!("/api/v1/admin/device-requests/{hash}/approve");
            self.call(ADMIN, "POST", &path, &serde_json::json!({}));
        }
    }

    fn push_as(&mut self, person: usize, body: Vec<u8>) {
        let Some(server) = &self.server else { return };
        let token = server.token(person);
        self.next_request += 1;
        let (id, delay_ms) = (self.next_request, self.dice.below(3_000));
        let sending = sending(token, body);
        self.plan(delay_ms, Event::Arrive { phone: None, id, sending, passage: None });
    }

    fn own_record(&self, index: usize, locator: Locator) -> DocumentName {
        DocumentName::Attendance { locator, student: Template::get().user(self.cheats[index].person) }
    }

    fn equivocation(&mut self, index: usize, locator: Locator) -> Vec<u8> {
        let name = self.own_record(index, locator);
        let now_ms = NOON_MS + self.now_ms as i64;
        let items = [false, true].map(|keeps| {
            let (entry, manifest) = submission(now_ms, &mut self.dice);
            let signed = self.cheats[index].write(&name, &entry, keeps);
            Item { name: name.clone(), signed, manifest: Some(manifest) }
        });
        body(&items)
    }

    fn forgery(&mut self, index: usize, locator: Locator) -> Vec<u8> {
        let victim = 2 + self.dice.index(STUDENTS.len());
        let (person, claims) = (self.phones[victim].person, self.phones[victim].public_key());
        let name = DocumentName::Attendance { locator, student: Template::get().user(person) };
        let (entry, manifest) = submission(NOON_MS, &mut self.dice);
        let key = Impostor { claims, has: &self.cheats[index].key };
        let author = Author { key: &key, tenant: TENANT, name: &name, tip: None, time_s: NOON_MS / 1000 };
        let (signed, _) = author.append(&entry).expect("a software key signs");
        body(&[Item { name, signed, manifest: Some(manifest) }])
    }

    fn in_anothers_name(&mut self, index: usize, locator: Locator) -> Vec<u8> {
        let victim = STUDENTS.start + self.dice.index(STUDENTS.len());
        let name = DocumentName::Attendance { locator, student: Template::get().user(victim) };
        let (entry, manifest) = submission(NOON_MS, &mut self.dice);
        let signed = self.cheats[index].write(&name, &entry, true);
        body(&[Item { name, signed, manifest: Some(manifest) }])
    }

    fn own_verdict(&mut self, index: usize, locator: Locator) -> Vec<u8> {
        let (name, signed) = self.own_verdict_of(index, locator);
        body(&[Item { name, signed, manifest: None }])
    }

    /// A verdict on the cheat's own record, rightly signed.
    pub(crate) fn own_verdict_of(&mut self, index: usize, locator: Locator) -> (DocumentName, SignedChange) {
        let name = self.own_record(index, locator);
        let signed = self.cheats[index].write(&name, &verdict(), false);
        (name, signed)
    }

    fn mutation(&mut self, index: usize, locator: Locator) -> Vec<u8> {
        let name = self.own_record(index, locator);
        let (entry, manifest) = submission(NOON_MS, &mut self.dice);
        let mut signed = self.cheats[index].write(&name, &entry, false);
        damage(&mut signed.bytes, &mut self.dice);
        body(&[Item { name, signed, manifest: Some(manifest) }])
    }

    fn backdated(&mut self, index: usize, locator: Locator) -> Vec<u8> {
        let name = self.own_record(index, locator);
        let claimed_ms = NOON_MS - self.dice.below(86_400_000) as i64;
        let (entry, manifest) = submission(claimed_ms, &mut self.dice);
        let signed = self.cheats[index].write(&name, &entry, true);
        body(&[Item { name, signed, manifest: Some(manifest) }])
    }
}
