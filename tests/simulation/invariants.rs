//! What must hold whatever happened: of the log, of every replica, and of every record that an honest person captured.

use std::collections::{BTreeMap, BTreeSet};

use muster_server::db::{DbError, Tx};
use muster_server::params;
use muster_sync_core::{
    ChangeHash, DeviceKey, DocumentId, DocumentName,
    change::{Valid, validate},
    document::{BindingAction, ChainStep, ChainTip, Entry, Outcome, Writer, genesis, materialise, may_write},
    store::{ChangeState, RecordStatus, reason_in_words},
};

use crate::phone::{Phone, Standing};
use crate::server::{LECTURERS, TENANT, Template};
use crate::world::World;

/// A change in the server's log.
#[derive(Debug, Clone)]
pub(crate) struct Logged {
    pub(crate) log_index: u64,
    pub(crate) received_at_ms: i64,
    pub(crate) name: DocumentName,
    pub(crate) hash: ChangeHash,
    pub(crate) change: Vec<u8>,
    pub(crate) signature: [u8; 64],
}

/// Everything that the log says.
struct Canon {
    entries: Vec<(Logged, Valid)>,
    /// The courses of the class sessions, by the first part of the key.
    courses: BTreeMap<String, String>,
}

type Broken = Result<(), String>;
/// Bytes and signature of each change, by its place in the log.
type Replica = BTreeMap<u64, (Vec<u8>, Vec<u8>)>;

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Broken {
    if holds { Ok(()) } else { Err(what()) }
}

fn read_log(tx: &Tx<'_>) -> Result<Vec<Logged>, DbError> {
    tx.query(
        "SELECT l.log_index, l.received_at, d.kind, d.key1, d.key2, l.hash, l.change, l.signature
         FROM change_log l
         JOIN documents d ON d.document_id = l.document_id
         ORDER BY l.log_index",
        params![],
        |row| {
            let (key1, key2): (String, String) = (row.get(3)?, row.get(4)?);
            let name = DocumentName::from_parts(row.get::<i64>(2)? as u8, [&key1, &key2]);
            Ok(Logged {
                log_index: row.get::<i64>(0)? as u64,
                received_at_ms: row.get(1)?,
                name: name.map_err(|error| DbError::Other(error.to_string()))?,
                hash: ChangeHash(row.get(5)?),
                change: row.get(6)?,
                signature: row.get(7)?,
            })
        },
    )
}

impl World {
    /// The server's log as it is now.
    pub(crate) fn log(&self) -> Vec<Logged> {
        let server = self.server.as_ref().expect("the server runs");
        server.app.db.read_blocking(read_log).expect("the log can be read")
    }

    /// No receipt that ever left the server is broken.
    pub(crate) fn check_acknowledged(&mut self) {
        let log: BTreeMap<_, _> = self.log().into_iter().map(|logged| (logged.hash, logged)).collect();
        let broken = self.acknowledged.iter().find_map(|(hash, (document, receipt))| {
            let Some(logged) = log.get(hash) else { return Some(format!("acknowledged change {hash} is lost")) };
            let same = logged.log_index == receipt.log_index && logged.received_at_ms == receipt.received_at_ms;
            let holds = receipt.verify(&Template::get().server_key, *document, *hash).is_ok();
            (!same || !holds).then(|| format!("the log and the receipt of change {hash} differ"))
        });
        if let Some(broken) = broken {
            self.violate(broken);
        }
    }

    /// No capture that a phone ever confirmed is gone from it.
    pub(crate) fn check_captures(&mut self, index: usize) {
        let phone = &self.phones[index];
        let Some(store) = phone.store.as_ref() else { return };
        let lost = phone.captured.iter().find(|record| !matches!(store.record(**record), Ok(Some(_))));
        if let Some(lost) = lost {
            let what = format!("{}: the confirmed capture {lost:?} is gone", phone.name);
            self.violate(what);
        }
    }

    /// Whether every phone has an answer for everything that it wrote.
    pub(crate) fn check_drained(&mut self) {
        for index in 0..self.phones.len() {
            let phone = &self.phones[index];
            let waiting = phone.store.as_ref().and_then(|store| store.pending().ok());
            if waiting.is_none_or(|waiting| waiting.changes > 0) {
                let what = format!("{}: not drained 60 s after healing: {waiting:?}", phone.name);
                return self.violate(what);
            }
        }
    }

    /// Everything else, at the end.
    pub(crate) fn check_everything(&mut self) {
        self.check_acknowledged();
        for index in 0..self.phones.len() {
            self.check_captures(index);
        }
        if let Err(broken) = self.check_end() {
            self.violate(broken);
        }
    }

    fn check_end(&mut self) -> Broken {
        let canon = self.check_log()?;
        check_documents(&canon)?;
        self.check_verdicts(&canon)?;
        for phone in &self.phones {
            check_replica(phone, &canon)?;
        }
        let reasons = self.waiting_on_server();
        for phone in &self.phones {
            check_fates(phone, &reasons)?;
        }
        self.check_states()?;
        self.check_jobs()
    }

    /// Gap-free, in order, and nothing in it that its author might not write when it was taken.
    fn check_log(&self) -> Result<Canon, String> {
        let log = self.log();
        let mut canon = Canon { entries: Vec::new(), courses: BTreeMap::new() };
        let mut bound: BTreeMap<DeviceKey, String> = BTreeMap::new();
        let (mut revoked, kept) = (BTreeMap::new(), self.kept_by_server());
        let (mut tips, mut hashes) = (BTreeMap::new(), BTreeSet::new());
        for (place, logged) in log.into_iter().enumerate() {
            let at = format!("log index {}", logged.log_index);
            ensure(logged.log_index == place as u64 + 1, || format!("{at} is number {} of the log", place + 1))?;
            ensure(hashes.insert(logged.hash), || format!("{at}: the change is in the log twice"))?;
            let valid = validate(TENANT, &logged.name, &logged.change, &logged.signature)
                .map_err(|refusal| format!("{at}: {refusal}"))?;
            ensure(valid.hash == logged.hash, || format!("{at}: another hash"))?;
            // A change that the server had before its key was revoked stands, and so does what comes before it.
            let since: Option<&(String, i64)> = revoked.get(&valid.writer);
            let stands = since.filter(|(_, revoked_at)| {
                let later = kept.iter().filter(|kept| kept.0 == (valid.document, valid.writer) && kept.1 >= valid.seq);
                later.into_iter().any(|kept| kept.2 <= *revoked_at)
            });
            let owner = bound.get(&valid.writer).or(stands.map(|(user, _)| user));
            self.check_author(&logged.name, &valid, owner, &canon.courses).map_err(|what| format!("{at}: {what}"))?;
            let chain = (valid.document, valid.writer);
            let tip: &ChainTip = tips.entry(chain).or_insert_with(|| genesis::tip(valid.document, logged.name.kind()));
            ensure(tip.step(&valid) == Ok(ChainStep::Next), || format!("{at}: not the next one of its chain"))?;
            tips.insert(chain, valid.tip());
            if let (DocumentName::DeviceBinding { user }, Entry::Bindings(binding)) = (&logged.name, &valid.entry) {
                match binding.action {
                    BindingAction::Bind => drop(bound.insert(binding.key, user.clone())),
                    BindingAction::Revoke => {
                        let until = bound.remove(&binding.key).unwrap_or_default();
                        revoked.insert(binding.key, (until, logged.received_at_ms));
                    }
                    BindingAction::Deny => {}
                }
            }
            if let (DocumentName::ClassSession { locator }, Entry::Plan(plan)) = (&logged.name, &valid.entry) {
                canon.courses.entry(locator.to_string()).or_insert(plan.course.as_str().to_owned());
            }
            canon.entries.push((logged, valid));
        }
        Ok(canon)
    }

    fn check_author(
        &self,
        name: &DocumentName,
        valid: &Valid,
        owner: Option<&String>,
        courses: &BTreeMap<String, String>,
    ) -> Broken {
        let template = Template::get();
        let may = |writer| may_write(name, &valid.entry, writer).map_err(|refusal| refusal.to_string());
        if valid.writer == template.server_key {
            return may(Writer::Server);
        }
        let person = self.person_of(&valid.writer).ok_or("nobody here has this key")?;
        let user = template.user(person);
        if matches!(valid.entry, Entry::Requests(_)) {
            return may(Writer::Applicant { user: &user, key: valid.writer });
        }
        ensure(owner == Some(&user), || "the key was not bound to its person".to_owned())?;
        let course = match &valid.entry {
            Entry::Plan(plan) => Some(plan.course.as_str()),
            _ => courses.get(name.key()[0]).map(String::as_str),
        };
        let taught = template.memberships(person).into_iter().filter(|(_, taught)| *taught);
        let teaches = course.is_some_and(|course| taught.into_iter().any(|(taught, _)| taught == course));
        may(Writer::Device { user: &user, role: template.role(person), teaches })
    }

    fn person_of(&self, key: &DeviceKey) -> Option<usize> {
        let of_phone = self.phones.iter().find(|phone| phone.public_key() == *key).map(|phone| phone.person);
        of_phone.or_else(|| self.cheats.iter().find(|cheat| cheat.public_key() == *key).map(|cheat| cheat.person))
    }

    /// Every submission whose session is known has a verdict.
    fn check_verdicts(&mut self, canon: &Canon) -> Broken {
        let mut judged = BTreeMap::new();
        for (_, valid) in &canon.entries {
            if let Entry::Verdicts(verdict) = &valid.entry {
                judged.insert(verdict.of, verdict.outcome);
            }
        }
        for (logged, valid) in &canon.entries {
            if matches!(valid.entry, Entry::Submissions(_)) && canon.courses.contains_key(logged.name.key()[0]) {
                match judged.get(&logged.hash) {
                    Some(Outcome::Accepted) => self.tally.count("verdict: accepted"),
                    Some(Outcome::Flagged) => self.tally.count("verdict: flagged"),
                    None => return Err(format!("submission {} of {:?} has no verdict", logged.hash, logged.name)),
                }
            }
        }
        Ok(())
    }

    /// What the server ever kept in quarantine: the chain, the place in it, and when it came.
    fn kept_by_server(&self) -> Vec<((DocumentId, DeviceKey), u64, i64)> {
        let server = self.server.as_ref().expect("the server runs");
        let read = |tx: &Tx<'_>| {
            tx.query("SELECT document_id, writer, seq, received_at FROM quarantine", params![], |row| {
                let chain = (DocumentId(row.get(0)?), DeviceKey(row.get(1)?));
                Ok((chain, row.get::<i64>(2)? as u64, row.get::<i64>(3)?))
            })
        };
        let rows: Result<Vec<_>, DbError> = server.app.db.read_blocking(read);
        rows.expect("the quarantine can be read")
    }

    /// What waits on the server, with the reason.
    fn waiting_on_server(&self) -> BTreeMap<ChangeHash, String> {
        let server = self.server.as_ref().expect("the server runs");
        let read = |tx: &Tx<'_>| {
            tx.query("SELECT hash, reason FROM quarantine WHERE state = 'waiting'", params![], |row| {
                Ok((ChangeHash(row.get(0)?), row.get::<String>(1)?))
            })
        };
        let rows: Result<Vec<_>, DbError> = server.app.db.read_blocking(read);
        rows.expect("the quarantine can be read").into_iter().collect()
    }

    /// Both lecturers and the server's own rows say the same about every record.
    fn check_states(&mut self) -> Broken {
        let server = self.server.as_ref().expect("the server runs");
        let read = |tx: &Tx<'_>| {
            tx.query("SELECT locator, student_id, coalesce(state, '') FROM records", params![], |row| {
                Ok(((row.get::<String>(0)?, row.get::<String>(1)?), row.get::<String>(2)?))
            })
        };
        let rows: Result<Vec<_>, DbError> = server.app.db.read_blocking(read);
        let rows: BTreeMap<_, _> = rows.map_err(|error| error.to_string())?.into_iter().collect();
        for index in 0..LECTURERS.len() {
            let phone = &self.phones[index];
            let store = phone.store.as_ref().expect("it is on");
            for session in self.sessions.iter().filter(|session| index == 1 || session.course == 0) {
                for view in store.class_records(session.locator).map_err(|error| error.to_string())? {
                    let key = (session.locator.to_string(), view.student.clone());
                    let (says, row) = (view.state.as_str(), rows.get(&key));
                    ensure(row.is_some_and(|row| row == says), || {
                        format!("{} says {says} about {key:?}, the server says {row:?}", phone.name)
                    })?;
                    self.tally.count(format!("record: {says}"));
                }
            }
        }
        Ok(())
    }

    fn check_jobs(&self) -> Broken {
        let server = self.server.as_ref().expect("the server runs");
        let read = |tx: &Tx<'_>| {
            tx.query(
                "SELECT kind, state, coalesce(last_error, '') FROM jobs WHERE state <> 'pending'",
                params![],
                |row| Ok(format!("{} {} {}", row.get::<String>(0)?, row.get::<String>(1)?, row.get::<String>(2)?)),
            )
        };
        let rows: Result<Vec<_>, DbError> = server.app.db.read_blocking(read);
        let rows = rows.map_err(|error| error.to_string())?;
        ensure(rows.is_empty(), || format!("jobs were not finished: {rows:?}"))
    }
}

/// Every document materialises, to the same bytes in whichever order its changes come, and those bytes load.
fn check_documents(canon: &Canon) -> Broken {
    let mut documents: BTreeMap<_, Vec<&[u8]>> = BTreeMap::new();
    for (logged, valid) in &canon.entries {
        documents.entry((valid.document, logged.name.kind())).or_default().push(&logged.change);
    }
    for ((document, kind), mut changes) in documents {
        let made = materialise(document, kind, changes.iter().copied());
        let saved = made.map_err(|refusal| format!("document {document}: {refusal}"))?.document.save();
        changes.reverse();
        let other = materialise(document, kind, changes).map_err(|refusal| refusal.to_string())?.document.save();
        ensure(saved == other, || format!("document {document} depends on the order of its changes"))?;
        let loaded = automerge::Automerge::load(&saved).map_err(|error| format!("document {document}: {error}"))?;
        ensure(loaded.save() == saved, || format!("document {document} changes when it is loaded"))?;
    }
    Ok(())
}

/// The phone has exactly what its user may read, byte for byte as the server has it.
fn check_replica(phone: &Phone, canon: &Canon) -> Broken {
    let template = Template::get();
    let (user, memberships) = (template.user(phone.person), template.memberships(phone.person));
    let member = |course: Option<&String>, taught_only: bool| {
        course.is_some_and(|course| memberships.iter().any(|(of, taught)| of == course && (*taught || !taught_only)))
    };
    let readable = |name: &DocumentName| {
        let course = canon.courses.get(name.key()[0]);
        match name {
            DocumentName::ClassSession { .. } => member(course, false),
            DocumentName::Attendance { student, .. } => *student == user || member(course, true),
            DocumentName::DeviceBinding { user: of } => *of == user,
        }
    };
    let entries = canon.entries.iter().filter(|(logged, _)| readable(&logged.name));
    let expected: Replica =
        entries.map(|(logged, _)| (logged.log_index, (logged.change.clone(), logged.signature.to_vec()))).collect();
    let has = replica(phone).map_err(|error| format!("{}: {error}", phone.name))?;
    let differs = expected.keys().chain(has.keys()).find(|index| expected.get(index) != has.get(index));
    match differs {
        None => Ok(()),
        Some(index) => {
            let (here, there) = (has.contains_key(index), expected.contains_key(index));
            Err(format!(
                "{}: log index {index} differs: on the phone {here}, readable on the server {there}",
                phone.name
            ))
        }
    }
}

fn replica(phone: &Phone) -> rusqlite::Result<Replica> {
    let db = rusqlite::Connection::open(&phone.path)?;
    let mut statement = db.prepare("SELECT log_index, bytes, signature FROM changes WHERE log_index IS NOT NULL")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?;
    rows.collect()
}

/// Everything that the phone wrote has a fate, with a reason in words where it was not accepted, and the server agrees.
fn check_fates(phone: &Phone, waiting: &BTreeMap<ChangeHash, String>) -> Broken {
    let store = phone.store.as_ref().expect("it is on");
    for row in store.outbox().map_err(|error| error.to_string())? {
        let say = |what: &str| format!("{}: change {} of {:?} {what}: {row:?}", phone.name, row.change, row.document);
        match row.state {
            ChangeState::Accepted => continue,
            ChangeState::Queued | ChangeState::Sent => return Err(say("has no fate")),
            ChangeState::Quarantined | ChangeState::Refused => {}
        }
        let Some(reason) = row.reason.as_deref() else { return Err(say("has no reason")) };
        ensure(!reason_in_words(reason).contains(reason), || say("has a reason that no person understands"))?;
        if row.state == ChangeState::Quarantined {
            let there = waiting.get(&row.change);
            ensure(there.is_some_and(|there| there == reason), || {
                say(&format!("is known to the server as {there:?}"))
            })?;
        }
        let expected = match phone.standing {
            Standing::Bound => false,
            Standing::NeverApproved => reason == "device_unbound",
            Standing::Revoked => reason == "device_revoked",
            Standing::Cloned => reason.starts_with("chain_"),
        };
        ensure(expected, || say("was not accepted"))?;
    }
    for record in store.records().map_err(|error| error.to_string())? {
        let settled = !matches!(record.status, RecordStatus::OnThisPhone | RecordStatus::Sent);
        ensure(settled, || format!("{}: the record {:?} has no fate", phone.name, record.id))?;
    }
    Ok(())
}
