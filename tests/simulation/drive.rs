//! What makes the phones go: their sync clients' wishes, the answers, and their ends.

use muster_sync_core::{
    store::StoreError,
    sync::{
        client::{Action, Answer, BLOB_PATH, Report, SYNC_PATH},
        message::CONTENT_TYPE,
    },
};

use crate::network::{FAIR, damage};
use crate::script::Act;
use crate::server::Sending;
use crate::world::{Event, World};

/// A phone gives a request up after this.
const GIVE_UP_MS: u64 = 15_000;
/// A phone that has nothing to do looks for news about this often.
const POLL_MS: u64 = 40_000;
/// Requests that a cheat on the network remembers.
const OVERHEARD_MAX: usize = 40;

impl World {
    pub(crate) fn step_in(&mut self, phone: usize, in_ms: u64) {
        self.phones[phone].generation += 1;
        let generation = self.phones[phone].generation;
        self.plan(in_ms, Event::Step { phone, generation });
    }

    /// The app asks the sync client what to do, and does it.
    pub(crate) fn step(&mut self, index: usize) {
        let (now_ms, nonce) = (self.now_ms, self.dice.bytes());
        let phone = &mut self.phones[index];
        let monotonic_ms = phone.monotonic_ms(now_ms);
        let Some(store) = phone.store.as_mut().filter(|_| phone.waiting_for.is_none()) else { return };
        if now_ms < phone.offline_until_ms {
            let wait = phone.offline_until_ms - now_ms;
            return self.step_in(index, wait);
        }
        match phone.client.next_action(store, &phone.key, monotonic_ms, nonce) {
            Ok(Action::Exchange(body)) => self.send(index, "POST", SYNC_PATH.to_owned(), CONTENT_TYPE, body),
            Ok(Action::UploadBlob { sha256, bytes, .. }) => {
                let path = format!("{BLOB_PATH}{}", data_encoding::HEXLOWER.encode(&sha256));
                self.send(index, "PUT", path, "image/png", bytes);
            }
            Ok(Action::Wait { until_ms }) => {
                let at_ms = phone.at_monotonic(until_ms);
                self.step_in(index, at_ms.saturating_sub(now_ms).clamp(1, POLL_MS));
            }
            Ok(Action::Idle) => {
                phone.client.wake();
                // Once all is drained, little is to be seen: a slow look is enough.
                let often_ms = if self.healed { 3 * POLL_MS } else { POLL_MS };
                let wait = often_ms / 2 + self.dice.below(often_ms);
                self.step_in(index, wait);
            }
            Ok(Action::NeedsLogin) => self.sign_in(index),
            Err(error) => {
                self.store_failed(index, &error);
                self.step_in(index, 1_000);
            }
        }
        self.look_at_phone(index);
    }

    fn sign_in(&mut self, index: usize) {
        let Some(server) = &self.server else { return self.step_in(index, 2_000) };
        let token = server.token(self.phones[index].person);
        let phone = &mut self.phones[index];
        phone.token = Some(token);
        phone.client.signed_in();
        self.step_in(index, 100);
    }

    fn send(&mut self, index: usize, method: &'static str, path: String, content_type: &'static str, body: Vec<u8>) {
        let Some(token) = self.phones[index].token.clone() else { return self.sign_in(index) };
        let sending = Sending { method, path, token, content_type, body };
        self.next_request += 1;
        let id = self.next_request;
        self.phones[index].waiting_for = Some(id);
        self.phones[index].is_uploading = method == "PUT";
        self.note(|world| {
            let (name, size) = (&world.phones[index].name, sending.body.len());
            format!("{name} sends request {id}: {method} {} of {size} bytes", sending.path)
        });
        let weather = if self.healed { FAIR } else { self.weather };
        let passage = weather.passage(&mut self.dice);
        self.plan(GIVE_UP_MS, Event::GiveUp { phone: index, id });
        if let Some(after_ms) = passage.damaged_after_ms {
            self.tally.count("network: damaged copy");
            let mut copy = sending.clone();
            damage(&mut copy.body, &mut self.dice);
            self.plan(after_ms, Event::Arrive { phone: None, id, sending: copy, passage: None });
        }
        if let Some(after_ms) = passage.again_after_ms {
            self.tally.count("network: request repeated");
            self.plan(after_ms, Event::Arrive { phone: None, id, sending: sending.clone(), passage: None });
        }
        if self.overheard.len() < OVERHEARD_MAX && sending.path == SYNC_PATH {
            self.overheard.push(sending.clone());
        }
        if passage.lost {
            self.tally.count("network: request lost");
            return;
        }
        self.plan(passage.there_ms, Event::Arrive { phone: Some(index), id, sending, passage: Some(passage) });
    }

    pub(crate) fn answered(&mut self, index: usize, id: u64, answer: &Answer) {
        let (now_ms, random) = (self.now_ms, self.dice.throw());
        let phone = &mut self.phones[index];
        if phone.waiting_for != Some(id) {
            return;
        }
        let arrival = phone.arrival(now_ms);
        let Some(store) = phone.store.as_mut() else { return };
        phone.waiting_for = None;
        let is_upload = phone.is_uploading;
        let reported = if is_upload {
            phone.client.upload_answered(store, answer, arrival.monotonic_ms, random)
        } else {
            phone.client.exchange_answered(store, &phone.key, answer, arrival, random)
        };
        match reported {
            Ok(report) => {
                if is_upload && matches!(answer.status, 200 | 201) && report.problem.is_none() {
                    self.tally.count("phone: picture uploaded");
                }
                self.note(|world| format!("{} is answered {id}: {}", world.phones[index].name, in_words(&report)));
                self.step_in(index, 20);
            }
            Err(error) => {
                self.store_failed(index, &error);
                self.step_in(index, 1_000);
            }
        }
        self.look_at_phone(index);
    }

    pub(crate) fn give_up(&mut self, index: usize, id: u64) {
        let (now_ms, random) = (self.now_ms, self.dice.throw());
        let phone = &mut self.phones[index];
        if phone.waiting_for != Some(id) {
            return;
        }
        phone.waiting_for = None;
        let monotonic_ms = phone.monotonic_ms(now_ms);
        phone.client.failed(monotonic_ms, random);
        self.note(|world| format!("{} gives request {id} up", world.phones[index].name));
        self.step_in(index, 1);
    }

    pub(crate) fn store_failed(&mut self, index: usize, error: &StoreError) {
        self.note(|world| format!("{}: the store fails: {error}", world.phones[index].name));
        if !self.phones[index].disk.is_dead() && matches!(error, StoreError::Corrupt(_)) {
            self.violate(format!("{}: {error}", self.phones[index].name));
        }
    }

    /// Counts what went wrong with a disk.
    pub(crate) fn tally_disk(&mut self, phone: Option<usize>) {
        let (who, disk) = match phone {
            Some(index) => ("phone", &self.phones[index].disk),
            None => ("server", &self.server_disk),
        };
        for what in disk.take_happened() {
            self.tally.count(format!("{who}: {what}"));
            self.note(|world| {
                let name = phone.map_or("server", |index| &world.phones[index].name);
                format!("{name}: {what}")
            });
        }
    }

    /// A phone whose power went is off for a while.
    pub(crate) fn look_at_phone(&mut self, index: usize) {
        self.tally_disk(Some(index));
        let phone = &mut self.phones[index];
        if phone.disk.is_dead() && phone.store.is_some() {
            phone.close();
            phone.disk.reboot(&mut self.dice);
            self.tally_disk(Some(index));
            let off_ms = self.dice.between(1_000, 20_000);
            self.plan(off_ms, Event::Act(Act::StartPhone(index)));
        }
    }

    /// The phone boots and the app starts. What it confirmed before must be there.
    pub(crate) fn start_phone(&mut self, index: usize) {
        if self.phones[index].store.is_some() {
            return;
        }
        let now_ms = self.now_ms;
        let booted = self.phones[index].boot(now_ms, &mut self.dice);
        self.note(|world| format!("{} boots: {booted:?}", world.phones[index].name));
        match booted {
            Ok(()) => {
                self.check_captures(index);
                self.step_in(index, 500);
            }
            // A full or failing disk; the student tries again. After a power cut the disk itself works.
            Err(error) if !self.healed && !matches!(error, StoreError::Corrupt(_)) => {
                self.plan(2_000, Event::Act(Act::StartPhone(index)));
            }
            Err(error) => self.violate(format!("{}: the store does not open: {error}", self.phones[index].name)),
        }
        self.look_at_phone(index);
    }
}

/// What an answer did, without what it did not.
fn in_words(report: &Report) -> String {
    let counts = [
        ("accepted", report.accepted),
        ("quarantined", report.quarantined),
        ("refused", report.refused),
        ("retried", report.retried),
        ("pulled", report.pulled),
        ("skipped", report.skipped),
    ];
    let happened = counts.into_iter().filter(|(_, count)| *count > 0).map(|(what, count)| format!("{what} {count}"));
    let problem = report.problem.map(|problem| problem.to_string());
    let words: Vec<_> = happened.chain(problem).collect();
    if words.is_empty() { "nothing new".to_owned() } else { words.join(", ") }
}
