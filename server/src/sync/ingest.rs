//! Admission, inside the transaction: binding, scope, chain, append, project. It reads like a table of contents.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use muster_sync_core::{
    ChangeHash, DeviceKey, DocumentId, DocumentName, Locator,
    change::{SignedChange, Valid},
    document::{ChainStep, Container, Entry, Role, Writer, may_write},
};

use super::answers::Answers;
use super::budget::{self, Account};
use super::prepare::{Checked, Prepared};
use super::queries::{self, Refused, Waiting};
use super::share::Shares;
use super::{contest, quarantine, witness};
use crate::app::App;
use crate::db::{DbError, Tx};
use crate::devices::{self, DeviceStatus, Owner};
use crate::error::{AppError, AppResult};
use crate::evidence::{self, SealedManifest};
use crate::forks::{self, Rival};
use crate::ids::{TenantId, UserId};
use crate::log::{self, Appended, Channel, ServerKey};
use crate::{attendance, class_sessions, courses, limits};

/// Who sent a request. Changes are judged by their author; the sender matters only for a device that is not bound yet.
#[derive(Debug, Clone)]
pub struct Sender {
    /// The tenant.
    pub tenant: TenantId,
    /// The signed-in user.
    pub user: UserId,
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// In the log.
    Accepted {
        /// The document.
        document: DocumentId,
        /// The change.
        hash: ChangeHash,
        /// Its place.
        log_index: i64,
        /// Since when, Unix milliseconds.
        received_at_ms: i64,
    },
    /// Authentic, and waiting.
    Quarantined(&'static str),
    /// Not taken.
    Refused(Cow<'static, str>),
    /// Not taken now: a budget is used up, or the sender may not send it yet. The same bytes may be taken later, and
    /// nothing is kept of them.
    Retry(&'static str),
}

/// What one transaction carries along.
pub(super) struct Admission<'a> {
    pub(super) tx: &'a Tx<'a>,
    pub(super) sender: &'a Sender,
    pub(super) server: DeviceKey,
    pub(super) now_ms: i64,
    /// Courses of class sessions, so that a push of many records asks once.
    courses: RefCell<HashMap<Locator, Option<String>>>,
    /// Owners of the keys that wrote, likewise; forgotten when a binding changes.
    owners: RefCell<HashMap<DeviceKey, Option<Owner>>>,
    /// Channels that got something.
    moved: RefCell<Vec<Channel>>,
    /// Attendance documents that got something.
    unfolded: RefCell<attendance::Unfolded>,
    /// What people have used of their shares of documents.
    pub(super) shares: Shares,
    /// Who may not decide, because of an appeal.
    answers: Answers,
    /// Who sent the change that is judged now; one that waited keeps the sender that it came with.
    pub(super) applicant: Cell<UserId>,
    /// The change that a person admits although its key is revoked.
    pub(super) pardoned: Cell<Option<ChangeHash>>,
    /// Whether the change that is judged now existed before its key was revoked.
    witnessed: Cell<bool>,
    /// Whether the change that is judged now has waited in quarantine.
    pub(super) waited: Cell<bool>,
    /// Who wrote the change that is judged now, unless the server did.
    pub(super) author: Cell<Option<UserId>>,
    /// What the people of this request use up.
    pub(super) accounts: RefCell<HashMap<UserId, Account>>,
    /// What waited and is to be judged again, oldest first. A list, and no recursion: a chain may be long.
    pub(super) again: RefCell<VecDeque<Waiting>>,
}

/// Admits prepared changes in one transaction and returns after the commit that holds it.
///
/// # Errors
/// When the database fails: then nothing was taken, and all of it can be pushed again.
pub(super) async fn ingest(app: &App, sender: Sender, prepared: Vec<Prepared>) -> AppResult<Vec<Outcome>> {
    if prepared.is_empty() {
        return Ok(Vec::new());
    }
    let server = ServerKey::of(app)?.public();
    let now_ms = app.now_ms();
    let (prepared, tenant) = (Arc::new(prepared), sender.tenant.clone());
    let written = app.db.write(move |tx: &Tx<'_>| {
        let admission = Admission::new(tx, &sender, server, now_ms);
        let outcomes: Result<Vec<_>, DbError> = prepared.iter().map(|change| admission.admit(change)).collect();
        Ok::<_, DbError>((outcomes?, admission.finish()?))
    });
    let (outcomes, moved) = written.await.map_err(AppError::from)?;
    log::announce(app, &tenant, &moved);
    app.wake_jobs();
    Ok(outcomes)
}

impl<'a> Admission<'a> {
    pub(super) fn new(tx: &'a Tx<'a>, sender: &'a Sender, server: DeviceKey, now_ms: i64) -> Self {
        Self {
            tx,
            sender,
            server,
            now_ms,
            courses: RefCell::default(),
            owners: RefCell::default(),
            moved: RefCell::default(),
            unfolded: RefCell::default(),
            shares: Shares::default(),
            answers: Answers::default(),
            applicant: Cell::new(sender.user),
            pardoned: Cell::new(None),
            witnessed: Cell::new(false),
            waited: Cell::new(false),
            author: Cell::new(None),
            accounts: RefCell::default(),
            again: RefCell::default(),
        }
    }

    /// Ends the transaction's work: counts what was used up, folds what got entries, and gives the channels that got
    /// something.
    pub(super) fn finish(&self) -> Result<Vec<Channel>, DbError> {
        self.settle_accounts()?;
        self.unfolded.take().fold(self.tx)?;
        Ok(self.moved.take())
    }

    fn admit(&self, change: &Prepared) -> Result<Outcome, DbError> {
        let outcome = match &change.checked {
            Ok(checked) => self.judge(checked, &change.signed)?,
            Err((code, sentence)) => return self.refuse(&change.signed, code, sentence),
        };
        quarantine::judge_again(self)?;
        Ok(outcome)
    }

    /// Judges a change that is authentic and well-formed. What waited for it is noted, to be judged again after it.
    pub(super) fn judge(&self, change: &Checked, signed: &SignedChange) -> Result<Outcome, DbError> {
        let (valid, tenant) = (&change.valid, &self.sender.tenant);
        self.witnessed.set(false);
        self.author.set(None);
        let taken = log::find(self.tx, valid.document, &valid.writer, valid.seq)?;
        if let Some((log_index, hash, received_at_ms)) = taken
            && hash == valid.hash
        {
            return Ok(Outcome::Accepted { document: valid.document, hash, log_index, received_at_ms });
        }
        if let Some(reason) = queries::discarded(self.tx, tenant, valid.hash)? {
            return Ok(Outcome::Refused(quarantine::discarded(&reason)));
        }
        if taken.is_some() && valid.writer == self.server {
            let sentence = "the log lost this entry of the server, which has written another one in its place";
            return self.refuse(signed, "generation_lost", sentence);
        }
        if taken.is_some() {
            return self.judge_rival(change, signed);
        }
        if let Some(outcome) = self.judge_writer(change, signed)? {
            return Ok(outcome);
        }
        if let Some(share) = self.shares.used_up(self, change)? {
            return self.refuse(signed, share.code(), share.sentence());
        }
        if self.answers.need_another(self, change)? {
            let sentence = "the student appealed against a decision of this person; somebody else decides now";
            return self.refuse(signed, "appeal_needs_another", sentence);
        }
        if let Some(outcome) = self.judge_chain(change, signed)? {
            if self.witnessed.get() {
                // It proves that the one before it existed, too.
                quarantine::note(self, quarantine::Which::Before(valid))?;
            }
            return Ok(outcome);
        }
        if valid.writer != self.server && class_sessions::out_of_turn(self.tx, valid)? {
            let sentence = "the code's epoch is too far ahead of the newest one of its class session";
            return self.refuse(signed, "epoch_out_of_turn", sentence);
        }
        let evidence = self.evidence_of(change)?;
        if evidence.is_none() && self.lacks_manifest(change)? {
            if self.is_of_another(change) {
                // Somebody else brings it, perhaps after a loss. Its author still has the manifest.
                return self.quarantine(change, signed, "manifest_missing");
            }
            return self.refuse(signed, "manifest_missing", "the submission came without its evidence manifest");
        }
        let outcome = self.append(change, signed, evidence.as_deref())?;
        quarantine::note(self, quarantine::Which::After(valid))?;
        Ok(outcome)
    }

    /// Another change of the writer has its place: equivocation, if both continue the same chain.
    fn judge_rival(&self, change: &Checked, signed: &SignedChange) -> Result<Outcome, DbError> {
        let (tx, tenant, valid) = (self.tx, &self.sender.tenant, &change.valid);
        let parent = match change.genesis {
            Some(genesis) => Some(genesis.hash),
            None => log::find(tx, valid.document, &valid.writer, valid.seq - 1)?.map(|(_, hash, _)| hash),
        };
        if parent != Some(valid.dep) && !forks::is_rival(tx, tenant, valid.dep)? {
            // What it follows was never admitted. An honest phone that had to sign anew leaves such copies behind.
            return self.quarantine(change, signed, "chain_gap");
        }
        if queries::was_refused(tx, tenant, &signed.bytes)? {
            // The phone was told so, and wrote on without it; a relay has it still.
            return self.refuse(signed, "superseded", "it was refused before, and its writer wrote on without it");
        }
        let rival = Rival { name: &change.name, valid, signed, sender: self.applicant.get() };
        devices::flag_fork(tx, tenant, &rival, self.now_ms)?;
        self.quarantine(change, signed, "chain_fork")
    }

    /// Binding and write scope: by the author, never by the sender.
    fn judge_writer(&self, change: &Checked, signed: &SignedChange) -> Result<Option<Outcome>, DbError> {
        let valid = &change.valid;
        if valid.writer == self.server {
            // The server signed it, so it was in the log once: a phone brings back what the log lost.
            return match may_write(&change.name, &valid.entry, Writer::Server) {
                Ok(()) => Ok(None),
                Err(refusal) => self.refuse(signed, refusal.code(), &refusal.to_string()).map(Some),
            };
        }
        let (user, role, author);
        let writer = match self.owner_of(&valid.writer)? {
            // Whoever is signed in may ask, also for a key that was theirs before.
            owner
                if valid.container == Container::Requests
                    && owner.as_ref().is_none_or(|owner| owner.user == self.applicant.get()) =>
            {
                author = (self.applicant.get(), None);
                user = self.applicant.get().to_string();
                Writer::Applicant { user: &user, key: valid.writer }
            }
            None => return self.quarantine(change, signed, "device_unbound").map(Some),
            Some(owner) if owner.status != DeviceStatus::Bound && !self.stands_despite_revocation(valid)? => {
                return self.quarantine(change, signed, "device_revoked").map(Some);
            }
            Some(owner) => {
                author = (owner.user, Some(owner.role));
                user = owner.user.to_string();
                role = owner.role;
                if is_of_other_user(&change.name, valid.container, &user) {
                    return self.quarantine(change, signed, "device_of_other_user").map(Some);
                }
                let teaches = match self.teaches(change, owner.user)? {
                    Ok(teaches) => teaches,
                    // Whose it is matters to nobody above those who contest it.
                    Err("session_contested") if matches!(role, Role::Admin | Role::Reviewer) => false,
                    Err(reason) => return self.quarantine(change, signed, reason).map(Some),
                };
                // A place stays when a role changes, and does not count meanwhile.
                let teaches = teaches && matches!(role, Role::Lecturer | Role::Admin);
                Writer::Device { user: &user, role, teaches }
            }
        };
        if let Err(refusal) = may_write(&change.name, &valid.entry, writer) {
            return self.refuse(signed, refusal.code(), &refusal.to_string()).map(Some);
        }
        self.author.set(Some(author.0));
        match author {
            (applicant, None) => self.judge_applicant(applicant, change, signed),
            (author, Some(role)) => {
                let room = self.has_room_in_log(author, role.level(), change, signed.bytes.len())?;
                Ok((!room).then_some(Outcome::Retry(budget::DAY_FULL)))
            }
        }
    }

    /// A request for a device comes from a key that nobody knows, and stays in the log for ever: few, and small ones.
    fn judge_applicant(
        &self,
        applicant: UserId,
        change: &Checked,
        signed: &SignedChange,
    ) -> Result<Option<Outcome>, DbError> {
        if change.first_received_ms.is_some() {
            return Ok(None);
        }
        if signed.bytes.len() > limits::BINDING_REQUEST_BYTES_MAX {
            let sentence = format!("a request for a device has at most {} bytes", limits::BINDING_REQUEST_BYTES_MAX);
            return self.refuse(signed, "change_too_large", &sentence).map(Some);
        }
        if !self.may_bind(applicant)? {
            return Ok(Some(Outcome::Retry(budget::GUEST)));
        }
        let room = devices::has_room_for_request(self.tx, &self.sender.tenant, applicant, self.now_ms)?;
        Ok((!room).then_some(Outcome::Retry("requests_full")))
    }

    /// Whether a change of a revoked key stands: the server knows that it existed before, or a person vouches for it.
    /// What the change says about its time is no reason; see ADR 5.
    fn stands_despite_revocation(&self, valid: &Valid) -> Result<bool, DbError> {
        if self.pardoned.get() == Some(valid.hash) {
            return Ok(true);
        }
        let revoked_at_ms = devices::revoked_at(self.tx, &self.sender.tenant, &valid.writer)?;
        let witnessed = match revoked_at_ms {
            Some(revoked_at_ms) => witness::existed_before(self.tx, &self.sender.tenant, valid, revoked_at_ms)?,
            None => false,
        };
        self.witnessed.set(witnessed);
        Ok(witnessed)
    }

    /// Whether the author teaches the course that the entry belongs to, or why nobody knows that course.
    fn teaches(&self, change: &Checked, user: UserId) -> Result<Result<bool, &'static str>, DbError> {
        let course = match (&change.valid.entry, &change.name) {
            (Entry::Plan(plan), _) => Some(plan.course.as_str().to_owned()),
            (Entry::PlanChanges(_), DocumentName::ClassSession { locator })
            | (Entry::Decisions(_) | Entry::Marks(_), DocumentName::Attendance { locator, .. }) => {
                match self.course_of(locator)? {
                    Some(course) => Some(course),
                    None if class_sessions::is_contested(self.tx, &self.sender.tenant, locator)? => {
                        return Ok(Err("session_contested"));
                    }
                    None => return Ok(Err("session_unknown")),
                }
            }
            _ => None,
        };
        let Some(Ok(course)) = course.map(|course| course.parse()) else { return Ok(Ok(false)) };
        courses::teaches(self.tx, &self.sender.tenant, course, user).map(Ok)
    }

    pub(super) fn owner_of(&self, key: &DeviceKey) -> Result<Option<Owner>, DbError> {
        if let Some(owner) = self.owners.borrow().get(key) {
            return Ok(owner.clone());
        }
        let owner = devices::owner_of(self.tx, &self.sender.tenant, key)?;
        self.owners.borrow_mut().insert(*key, owner.clone());
        Ok(owner)
    }

    fn course_of(&self, locator: &Locator) -> Result<Option<String>, DbError> {
        if let Some(course) = self.courses.borrow().get(locator) {
            return Ok(course.clone());
        }
        let course = class_sessions::course_of(self.tx, &self.sender.tenant, locator)?;
        self.courses.borrow_mut().insert(*locator, course.clone());
        Ok(course)
    }

    fn judge_chain(&self, change: &Checked, signed: &SignedChange) -> Result<Option<Outcome>, DbError> {
        let valid = &change.valid;
        let tip = match change.genesis {
            Some(genesis) => genesis,
            None => match log::tip(self.tx, valid.document, &valid.writer)? {
                Some(tip) => tip,
                None => return self.quarantine(change, signed, "chain_gap").map(Some),
            },
        };
        match tip.step(valid) {
            Ok(ChainStep::Next) => Ok(None),
            Ok(ChainStep::Gap) => self.quarantine(change, signed, "chain_gap").map(Some),
            Ok(ChainStep::Behind) => self.quarantine(change, signed, "chain_fork").map(Some),
            Err(refusal) => self.refuse(signed, refusal.code(), &refusal.to_string()).map(Some),
        }
    }

    /// What a submission saw: it came beside it, or waits in quarantine because somebody brought it before.
    fn evidence_of<'c>(&self, change: &'c Checked) -> Result<Option<Cow<'c, SealedManifest>>, DbError> {
        match (&change.evidence, &change.valid.entry) {
            (Some(evidence), _) => Ok(Some(Cow::Borrowed(evidence))),
            (None, Entry::Submissions(submission)) => {
                let (tenant, hash) = (&self.sender.tenant, change.valid.hash);
                Ok(queries::waiting_evidence(self.tx, tenant, hash, submission.commitment)?.map(Cow::Owned))
            }
            (None, _) => Ok(None),
        }
    }

    fn lacks_manifest(&self, change: &Checked) -> Result<bool, DbError> {
        let (Entry::Submissions(submission), DocumentName::Attendance { student, .. }) =
            (&change.valid.entry, &change.name)
        else {
            return Ok(false);
        };
        Ok(!queries::has_manifest(self.tx, &self.sender.tenant, student, &submission.commitment)?)
    }

    /// Whether the sender is not the student whom the record is about, or the server wrote it.
    fn is_of_another(&self, change: &Checked) -> bool {
        let DocumentName::Attendance { student, .. } = &change.name else { return false };
        change.valid.writer == self.server || *student != self.sender.user.to_string()
    }

    fn append(
        &self,
        change: &Checked,
        signed: &SignedChange,
        seen: Option<&SealedManifest>,
    ) -> Result<Outcome, DbError> {
        let tenant = &self.sender.tenant;
        let course = match (&change.name, &change.valid.entry) {
            (DocumentName::ClassSession { .. }, Entry::Plan(plan)) => Some(plan.course.as_str().to_owned()),
            (DocumentName::ClassSession { locator } | DocumentName::Attendance { locator, .. }, _) => {
                self.course_of(locator)?
            }
            (DocumentName::DeviceBinding { .. }, _) => None,
        };
        let channels = class_sessions::channels(self.tx, tenant, &change.name, &change.valid.entry, course.as_deref())?;
        // What the log lost and gets back was here when its receipt says so, and is judged by that time.
        let received_at_ms = change.first_received_ms.map_or(self.now_ms, |first_ms| first_ms.min(self.now_ms));
        if let Some(author) = self.author.get() {
            self.count_log_row(author, signed.bytes.len())?;
        }
        let appended = log::append(self.tx, tenant, &change.name, &change.valid, signed, received_at_ms, &channels)?;
        if let (Some(seen), DocumentName::Attendance { student, .. }) = (seen, &change.name) {
            evidence::keep(self.tx, tenant, student, change.valid.document, seen, self.now_ms)?;
        }
        self.project(&appended, change, course.as_deref())?;
        self.shares.count(self, change);
        self.answers.follow(change);
        self.moved.borrow_mut().extend(channels);
        Ok(Outcome::Accepted {
            document: appended.document(),
            hash: appended.hash(),
            log_index: appended.log_index,
            received_at_ms: appended.received_at_ms,
        })
    }

    /// Each slice projects its own entries.
    fn project(&self, appended: &Appended, change: &Checked, course: Option<&str>) -> Result<(), DbError> {
        match appended.valid.container {
            Container::Plan | Container::PlanChanges => {
                let is_of_others = class_sessions::project(self.tx, appended)?;
                self.session_changed(appended, is_of_others)
            }
            Container::Submissions
            | Container::Appeals
            | Container::Verdicts
            | Container::Decisions
            | Container::Marks => self.unfolded.borrow_mut().project(self.tx, appended, course),
            Container::Requests | Container::Bindings | Container::Resets => {
                self.owners.borrow_mut().clear();
                devices::project(self.tx, appended, change.code_key.as_deref())
            }
        }
    }

    /// A plan may come after what it explains: submissions get their course, and what waited for it is judged again.
    fn session_changed(&self, appended: &Appended, is_of_others: bool) -> Result<(), DbError> {
        let DocumentName::ClassSession { locator } = &appended.name else { return Ok(()) };
        if let Entry::Plan(plan) = &appended.valid.entry
            && class_sessions::is_contested(self.tx, &self.sender.tenant, locator)?
        {
            // The plans of the others went there.
            self.moved.borrow_mut().push(Channel::CourseStaff(plan.course.as_str().to_owned()));
            contest::note(self, appended, locator)?;
        }
        if !is_of_others {
            return Ok(());
        }
        self.courses.borrow_mut().remove(locator);
        let moved = attendance::follow_session(self.tx, &self.sender.tenant, locator, self.now_ms)?;
        self.moved.borrow_mut().extend(moved);
        quarantine::note(self, quarantine::Which::Session(locator))
    }

    fn quarantine(&self, change: &Checked, signed: &SignedChange, reason: &'static str) -> Result<Outcome, DbError> {
        quarantine::keep(self, change, signed, reason)
    }

    pub(super) fn refuse(&self, signed: &SignedChange, code: &'static str, sentence: &str) -> Result<Outcome, DbError> {
        let sender = Sender { tenant: self.sender.tenant.clone(), user: self.applicant.get() };
        let refused = Refused { bytes: &signed.bytes, reason: code, detail: sentence };
        let is_kept = self.keeps_refusal(sender.user, refused.kept().len())?;
        queries::keep_refusal(self.tx, &sender, &refused, is_kept, self.now_ms)?;
        Ok(Outcome::Refused(Cow::Borrowed(code)))
    }
}

/// A student's own containers, written by a device that belongs to somebody else: authentic, and for a person to see.
fn is_of_other_user(name: &DocumentName, container: Container, user: &str) -> bool {
    match (name, container) {
        (DocumentName::Attendance { student, .. }, Container::Submissions | Container::Appeals) => student != user,
        _ => false,
    }
}
