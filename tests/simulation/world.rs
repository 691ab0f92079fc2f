//! The world of one seed: who is in it, what time it is, and what happens next. Nothing in it depends on anything but
//! the seed.

use std::collections::BTreeMap;
use std::sync::Arc;

use muster_server::app::ManualClock;
use muster_sync_core::{
    ChangeHash, DocumentId, Locator,
    change::decode,
    sync::{
        client::{Answer, SYNC_PATH},
        message::{FateKind, Request, Response},
    },
    time::Receipt,
};
use tempfile::TempDir;

use crate::blobs::SimulatedStore;
use crate::cheat::Cheat;
use crate::dice::Dice;
use crate::disk::Disk;
use crate::network::{Passage, Way, Weather};
use crate::phone::{Phone, Standing};
use crate::sabotage::Sabotage;
use crate::script::Act;
use crate::server::{CHEATS, LECTURERS, NOON_MS, STUDENTS, Sending, Server, Template};
use crate::tally::Tally;

/// The server looks for due work this often.
const WORK_EVERY_MS: u64 = 4_000;

/// What happens at a time.
pub(crate) enum Event {
    /// A phone does the next thing.
    Step { phone: usize, generation: u64 },
    /// A request reaches the server. Nobody waits for the answer to a copy.
    Arrive { phone: Option<usize>, id: u64, sending: Sending, passage: Option<Passage> },
    /// An answer reaches a phone.
    Answer { phone: usize, id: u64, answer: Answer },
    /// A phone has waited long enough.
    GiveUp { phone: usize, id: u64 },
    /// The server does what is due.
    Work,
    /// The script.
    Act(Act),
}

/// A class session that students know of.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) locator: Locator,
    /// Which course.
    pub(crate) course: usize,
    /// The phone that planned it and shows its codes; nothing for one that was planned over HTTP.
    pub(crate) phone: Option<usize>,
}

/// When a server that did not start is started again.
const START_AGAIN_MS: u64 = 2_000;

/// One seed.
pub(crate) struct World {
    pub(crate) sabotage: Sabotage,
    pub(crate) name: String,
    /// What the server keeps outside its database; it survives power cuts.
    folder: TempDir,
    pub(crate) dice: Dice,
    pub(crate) now_ms: u64,
    events: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    pub(crate) next_request: u64,
    newest_arrived: u64,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) blobs: Arc<SimulatedStore>,
    pub(crate) server: Option<Server>,
    pub(crate) server_disk: Arc<Disk>,
    server_starts: u64,
    pub(crate) unavailable_until_ms: u64,
    pub(crate) weather: Weather,
    pub(crate) healed: bool,
    pub(crate) phones: Vec<Phone>,
    pub(crate) cheats: Vec<Cheat>,
    pub(crate) sessions: Vec<Session>,
    /// Every receipt that has left the server, by change.
    pub(crate) acknowledged: BTreeMap<ChangeHash, (DocumentId, Receipt)>,
    /// Requests of others, as somebody on the network sees them.
    pub(crate) overheard: Vec<Sending>,
    pub(crate) tally: Tally,
    pub(crate) trace: Vec<String>,
    /// What must not be.
    pub(crate) violations: Vec<String>,
}

impl World {
    /// The morning before the lecture: everybody has a phone and has asked for it to be bound.
    pub(crate) fn new(name: String, seed: u64, sabotage: Sabotage) -> Self {
        let mut dice = Dice::new(seed);
        let clock = Arc::new(ManualClock::new(NOON_MS));
        let (blobs, server_disk) = (Arc::new(SimulatedStore::default()), Template::get().disk());
        let mut phones = Vec::new();
        for person in LECTURERS.chain(STUDENTS) {
            let standing = match dice.below(100) {
                chance if STUDENTS.contains(&person) && chance < 10 => Standing::NeverApproved,
                chance if STUDENTS.contains(&person) && chance < 20 => Standing::Revoked,
                _ => Standing::Bound,
            };
            let phone_name = format!("phone{}", phones.len());
            phones.push(Phone::new(&name, &phone_name, person, standing, &mut dice));
        }
        let cheats = CHEATS.map(|person| Cheat::new(person, &mut dice)).collect();
        let weather = Weather::thrown(&mut dice);
        let folder = Template::get().folder(&name);
        let mut world = Self {
            sabotage,
            folder,
            name,
            dice,
            now_ms: 0,
            events: BTreeMap::new(),
            next_event: 0,
            next_request: 0,
            newest_arrived: 0,
            clock,
            blobs,
            server: None,
            server_disk,
            server_starts: 0,
            unavailable_until_ms: 0,
            weather,
            healed: false,
            phones,
            cheats,
            sessions: Vec::new(),
            acknowledged: BTreeMap::new(),
            overheard: Vec::new(),
            tally: Tally::default(),
            trace: Vec::new(),
            violations: Vec::new(),
        };
        world.note(|world| format!("weather {:?}", world.weather));
        world.start_server();
        for phone in 0..world.phones.len() {
            let delay = world.dice.below(5_000);
            world.step_in(phone, delay);
        }
        world.plan(1_000, Event::Work);
        world
    }

    /// Everything until `until_ms`, or until something is wrong.
    pub(crate) fn run_until(&mut self, until_ms: u64) {
        while self.violations.is_empty()
            && let Some(entry) = self.events.first_entry()
            && entry.key().0 <= until_ms
        {
            let ((at_ms, _), event) = entry.remove_entry();
            self.now_ms = at_ms;
            self.clock.set(NOON_MS + at_ms as i64);
            self.happen(event);
        }
        self.now_ms = until_ms;
        self.clock.set(NOON_MS + until_ms as i64);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Step { phone, generation } if self.phones[phone].generation == generation => self.step(phone),
            Event::Step { .. } => {}
            Event::Arrive { phone, id, sending, passage } => self.arrive(phone, id, sending, passage),
            Event::Answer { phone, id, answer } => self.answered(phone, id, &answer),
            Event::GiveUp { phone, id } => self.give_up(phone, id),
            Event::Work => self.work(),
            Event::Act(act) => self.act(act),
        }
    }

    pub(crate) fn plan(&mut self, in_ms: u64, event: Event) {
        self.next_event += 1;
        self.events.insert((self.now_ms + in_ms, self.next_event), event);
    }

    /// A line of the trace.
    pub(crate) fn note(&mut self, line: impl FnOnce(&Self) -> String) {
        let line = format!("{:>9} ms  {}", self.now_ms, line(self));
        // Two runs of one seed have different names and folders, and else the same trace.
        let folder = self.folder.path().display().to_string();
        self.trace.push(line.replace(&folder, "folder").replace(&self.name, "world"));
    }

    pub(crate) fn violate(&mut self, what: String) {
        self.note(|_| format!("VIOLATION: {what}"));
        self.violations.push(what);
    }

    pub(crate) fn start_server(&mut self) {
        self.server_starts += 1;
        let entropy = self.dice.throw();
        match Server::start(self.folder.path(), &self.server_disk, &self.clock, &self.blobs, entropy) {
            Ok(server) => {
                self.note(|world| format!("server starts, time {}", world.server_starts));
                self.server = Some(server);
                self.check_acknowledged();
            }
            Err(error) if self.healed => self.violate(format!("the server does not start: {error}")),
            Err(error) => {
                // A disk that fails may fail a start too; somebody starts it again.
                self.note(|_| format!("server does not start: {error}"));
                self.tally_disk(None);
                if self.server_disk.is_dead() {
                    self.server_disk.reboot(&mut self.dice);
                }
                self.plan(START_AGAIN_MS, Event::Act(Act::StartServer));
            }
        }
    }

    /// Ends the server; after a power cut the disk keeps what chance leaves, and the server comes back.
    pub(crate) fn stop_server(&mut self, back_in_ms: u64) {
        let Some(server) = self.server.take() else { return };
        server.stop();
        self.tally_disk(None);
        if self.server_disk.is_dead() {
            self.server_disk.reboot(&mut self.dice);
            self.note(|_| "server is gone: power cut".to_owned());
        } else {
            self.tally.count("server: restarted in order");
            self.note(|_| "server stops".to_owned());
        }
        self.plan(back_in_ms, Event::Act(Act::StartServer));
    }

    fn look_at_server(&mut self) {
        self.tally_disk(None);
        if self.server_disk.is_dead() {
            let back_in_ms = self.dice.between(500, 12_000);
            self.stop_server(back_in_ms);
        }
    }

    fn work(&mut self) {
        if let Some(server) = &self.server
            && self.sabotage != Sabotage::ForgetsVerdicts
        {
            match server.work() {
                Ok(0) => {}
                Ok(count) => self.note(|_| format!("server works: {count} jobs")),
                Err(error) => self.note(|_| format!("server cannot work: {error}")),
            }
            self.look_at_server();
        }
        self.plan(WORK_EVERY_MS, Event::Work);
    }

    /// A person at a desk, whose own network is good: nothing while the server is away.
    pub(crate) fn call(
        &mut self,
        person: usize,
        method: &'static str,
        path: &str,
        body: &serde_json::Value,
    ) -> Option<(u16, serde_json::Value)> {
        let server = self.server.as_ref()?;
        let token = server.token(person);
        let body = body.to_string().into_bytes();
        let sending = Sending { method, path: path.to_owned(), token, content_type: "application/json", body };
        let answer = server.answer(&sending);
        let json = serde_json::from_slice(&answer.body).unwrap_or_default();
        self.note(|_| format!("person {person}: {method} {path} -> {}", answer.status));
        self.look_at_server();
        Some((answer.status, json))
    }

    fn arrive(&mut self, phone: Option<usize>, id: u64, sending: Sending, passage: Option<Passage>) {
        let Some(server) = &self.server else { return };
        if id < self.newest_arrived {
            self.tally.count("network: requests overtake each other");
        }
        self.newest_arrived = self.newest_arrived.max(id);
        let out = self.now_ms < self.unavailable_until_ms;
        let mut answer = if out || passage.is_some_and(|passage| passage.unavailable) {
            self.tally.count("network: 503 on the way");
            Answer { status: 503, retry_after_ms: None, body: Vec::new() }
        } else {
            server.answer(&sending)
        };
        if answer.status == 503 {
            // Servers of one process take the chance in it from one counter, so it would depend on who runs beside.
            answer.retry_after_ms = Some(self.dice.between(1, 8) * 1_000);
        }
        self.note(|world| {
            let who = phone.map_or("nobody".to_owned(), |phone| world.phones[phone].name.clone());
            format!("request {id} of {who} reaches the server -> {}{}", answer.status, in_words(&answer))
        });
        self.spoil(&mut answer);
        self.remember_receipts(&sending, &answer);
        let died = self.server_disk.is_dead();
        self.look_at_server();
        let (Some(phone), Some(passage)) = (phone, passage) else { return };
        if died && answer.status >= 500 {
            // A machine without power sends nothing.
            return;
        }
        match passage.way {
            Way::Lost => return self.tally.count("network: answer lost"),
            Way::Cut if !answer.body.is_empty() => {
                self.tally.count("network: answer cut");
                let len = self.dice.index(answer.body.len());
                answer.body.truncate(len);
            }
            Way::Portal => {
                self.tally.count("network: captive portal");
                answer =
                    Answer { status: 200, retry_after_ms: None, body: b"<html>Sign in to the Wi-Fi</html>".into() };
            }
            Way::Whole | Way::Cut => {}
        }
        self.plan(passage.back_ms, Event::Answer { phone, id, answer });
    }

    /// Every receipt that leaves the server is a promise, whether or not it arrives.
    fn remember_receipts(&mut self, sending: &Sending, answer: &Answer) {
        if sending.path != SYNC_PATH || answer.status != 200 {
            return;
        }
        let (Ok(request), Ok(response)) = (Request::decode(&sending.body), Response::decode(&answer.body)) else {
            return;
        };
        for (push, fate) in request.pushes.iter().zip(response.fates) {
            let reason = fate.reason.as_deref().unwrap_or_default();
            self.tally.count(format!("fate: {} {reason}", fate.kind.as_str()).trim_end());
            if fate.kind != FateKind::Accepted {
                continue;
            }
            let Some(receipt) = fate.receipt else {
                self.violate("an accepted change came without a receipt".to_owned());
                continue;
            };
            let Ok((hash, body)) = decode(push.change) else {
                self.violate("a change that does not decode was accepted".to_owned());
                continue;
            };
            let promised = self.acknowledged.entry(hash).or_insert((body.document, receipt.clone()));
            if promised.1 != receipt {
                self.violate(format!("change {hash} has two receipts"));
            }
        }
    }
}

/// What a refusal of a whole request says.
fn in_words(answer: &Answer) -> String {
    if answer.status < 400 || answer.body.is_empty() {
        return String::new();
    }
    format!(" {}", String::from_utf8_lossy(&answer.body[..answer.body.len().min(200)]))
}
