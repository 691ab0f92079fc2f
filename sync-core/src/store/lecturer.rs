//! The lecturer's side: opens class sessions, shows their codes and decides, all without a network.

use super::{DeviceStore, StoreError, account, author, changes, code_key, records};
use crate::{
    ChangeHash, DeviceKey, DocumentName, Locator,
    decision::{self, RecordState},
    document::{Code, CodeMode, Decision, DecisionAction, Label, Plan, PlanAction, PlanChange, Role},
    plan::{self, Claim, Settlement, Standing},
    signing::SigningKey,
    time::session_code::{CodeClaim, SessionSecret},
};
use rusqlite::Connection;
use std::collections::BTreeMap;

/// The plan of a class session that is to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanInput {
    /// The course.
    pub course: Label,
    /// Start, Unix milliseconds.
    pub opens_at_ms: i64,
    /// End, Unix milliseconds.
    pub closes_at_ms: i64,
    /// From when a capture counts as late, Unix milliseconds.
    pub late_after_ms: Option<i64>,
    /// How the code behaves.
    pub code_mode: CodeMode,
    /// Length of a code step in seconds.
    pub step_s: u64,
    /// Latitude and longitude in degrees times 10^7, and the radius in metres.
    pub geofence: Option<(i64, i64, u64)>,
}

/// What the lecturer's screen shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionCode {
    /// The digits, for those who type.
    pub code: String,
    /// The payload of the QR code.
    pub qr: String,
    /// The code's step.
    pub step: u64,
    /// Last millisecond of the step; `None` for a static code.
    pub valid_until_ms: Option<i64>,
}

/// Whose plan of a class session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionStanding {
    /// This phone has no plan of it.
    Unknown,
    /// The user's own.
    Own,
    /// Somebody else's.
    OfAnother,
    /// Several people planned it, and no admin has said yet whose plan stands. Meanwhile nobody who teaches gets its records.
    Contested,
}

/// A decision that is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionInput {
    /// The class session.
    pub locator: Locator,
    /// The student.
    pub student: String,
    /// What is decided.
    pub action: DecisionAction,
    /// Why; required for `reject`.
    pub reason: Option<Code>,
    /// The role of the account's user.
    pub role: Role,
    /// What is judged; by default the newest verdict, or the newest submission. `undo` names the decision.
    pub of: Option<ChangeHash>,
    /// Salted SHA-256 of a note that is kept elsewhere.
    pub note_hash: Option<[u8; 32]>,
}

/// One student's record in a class session, as the server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassRecordView {
    /// The student.
    pub student: String,
    /// The state.
    pub state: RecordState,
    /// Reason codes of the checks that flagged it.
    pub flags: Vec<String>,
    /// Decisions that this phone wrote and the server has not accepted yet.
    pub decisions_waiting: u64,
}

/// How many locators are tried before a fresh one is found.
const LOCATOR_TRIES_MAX: u32 = 8;

impl DeviceStore {
    /// Opens a class session with no network: writes its plan and gives its locator, made of `random`.
    ///
    /// # Errors
    /// [`StoreError::Input`] for a plan that breaks a rule, and what any write can meet.
    pub fn open_class_session(
        &mut self,
        signer: &dyn SigningKey,
        plan: &PlanInput,
        random: [u8; 4],
        wall_ms: i64,
    ) -> Result<Locator, StoreError> {
        let (latitude_e7, longitude_e7, radius_m) = match plan.geofence {
            Some((latitude, longitude, radius)) => (Some(latitude), Some(longitude), Some(radius)),
            None => (None, None, None),
        };
        let entry = Plan {
            course: plan.course.clone(),
            opens_at_ms: plan.opens_at_ms,
            closes_at_ms: plan.closes_at_ms,
            late_after_ms: plan.late_after_ms,
            code_mode: plan.code_mode,
            step_s: plan.step_s,
            latitude_e7,
            longitude_e7,
            radius_m,
            by: Label::new(&self.account()?.user),
        };
        self.write(|tx| {
            let locator = fresh_locator(tx, random)?;
            let name = DocumentName::ClassSession { locator };
            let entry = entry.into();
            author::append(tx, signer, &author::Draft { name: &name, entry, wall_ms, manifest: None, code_key: None })?;
            Ok(locator)
        })
    }

    /// Whose plan of a class session stands, as far as this phone has heard.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn session_standing(&self, locator: Locator) -> Result<SessionStanding, StoreError> {
        let (account, name) = (self.account()?, DocumentName::ClassSession { locator });
        let entries = changes::entries(&self.db, name.id(&account.tenant), name.kind())?;
        let person = |by: &Option<Label>, writer: &DeviceKey| {
            by.as_ref().map_or_else(|| writer.to_string(), |by| by.as_str().to_owned())
        };
        let claim = |found: &changes::Found<Plan>| Claim {
            planner: person(&found.entry.by, &found.writer),
            course: found.entry.course.as_str().to_owned(),
        };
        let claims: BTreeMap<_, _> = entries.plans.iter().map(|found| (found.hash, claim(found))).collect();
        let settlement = |found: &changes::Found<PlanChange>| {
            let (by, after) = (person(&found.entry.by, &found.writer), found.entry.after().collect());
            let settlement = Settlement { writer: found.writer, by, place: found.seq, plan: found.entry.plan?, after };
            Some((found.hash, settlement))
        };
        let settlements = entries.plan_changes.iter().filter(|found| found.on_server).filter_map(settlement).collect();
        Ok(match plan::standing(&claims, &settlements) {
            Standing::Unknown => SessionStanding::Unknown,
            Standing::Contested => SessionStanding::Contested,
            Standing::Plan(hash) => match claims.get(&hash) {
                Some(claim) if claim.planner == account.user => SessionStanding::Own,
                _ => SessionStanding::OfAnother,
            },
        })
    }

    /// Closes or expires a class session, or starts a new epoch of its code.
    ///
    /// # Errors
    /// [`StoreError::SessionUnknown`], and what any write can meet.
    pub fn change_class_session(
        &mut self,
        signer: &dyn SigningKey,
        locator: Locator,
        action: PlanAction,
        at_ms: i64,
    ) -> Result<ChangeHash, StoreError> {
        self.write(|tx| {
            let name = DocumentName::ClassSession { locator };
            let entries = changes::entries(tx, name.id(&account(tx)?.tenant), name.kind())?;
            if entries.plans.is_empty() {
                return Err(StoreError::SessionUnknown(locator));
            }
            let epoch = epoch(&entries, i64::MAX) + u64::from(action == PlanAction::Regenerate);
            let entry = PlanChange::new(action, at_ms, epoch, None).into();
            let draft = author::Draft { name: &name, entry, wall_ms: at_ms, manifest: None, code_key: None };
            Ok(author::append(tx, signer, &draft)?.1)
        })
    }

    /// The code that a class session shows at `now_ms`, from the code key of the device that planned it.
    ///
    /// # Errors
    /// [`StoreError::SessionUnknown`], or [`StoreError::CodeKeyUnknown`] if another device planned it.
    pub fn session_code(&self, locator: Locator, now_ms: i64) -> Result<SessionCode, StoreError> {
        let name = DocumentName::ClassSession { locator };
        let document = name.id(&self.account()?.tenant);
        let entries = changes::entries(&self.db, document, name.kind())?;
        for found in &entries.plans {
            let Some(key) = code_key(&self.db, &found.writer)? else { continue };
            let plan = &found.entry;
            let secret = SessionSecret::derive(&key, document, plan.code_mode, plan.step_s, epoch(&entries, now_ms));
            let step = secret.step_at(now_ms);
            let code = secret.code(step);
            let qr = CodeClaim { locator, step: Some(step), code: code.clone() }.to_qr();
            return Ok(SessionCode { code, qr, step, valid_until_ms: secret.step_span_ms(step).map(|(_, end)| end) });
        }
        let planned = !entries.plans.is_empty();
        Err(if planned { StoreError::CodeKeyUnknown(locator) } else { StoreError::SessionUnknown(locator) })
    }

    /// Decides about a record that was pulled. The decision counts once the server has accepted it.
    ///
    /// Who has seen more heads than one entry can name signs several entries, see [`decision::afters`]; the last one is
    /// given.
    ///
    /// # Errors
    /// [`StoreError::RecordUnknown`] if there is nothing to decide about, and what any write can meet.
    pub fn decide(
        &mut self,
        signer: &dyn SigningKey,
        input: &DecisionInput,
        wall_ms: i64,
    ) -> Result<ChangeHash, StoreError> {
        self.write(|tx| {
            let account = account(tx)?;
            let name = DocumentName::Attendance { locator: input.locator, student: input.student.clone() };
            let entries = changes::entries(tx, name.id(&account.tenant), name.kind())?;
            let newest_submission = || entries.submissions.iter().filter(|found| found.on_server).max_by_key(|f| f.seq);
            let newest = || entries.newest_verdict().map(|found| found.hash).or(newest_submission().map(|f| f.hash));
            let of = input
                .of
                .or_else(newest)
                .ok_or_else(|| StoreError::RecordUnknown { locator: input.locator, student: input.student.clone() })?;
            let mut seen = entries.fold().heads;
            seen.extend(own_waiting(&entries).map(|found| found.hash));
            let mut afters = decision::afters(&seen);
            if input.action == DecisionAction::Undo {
                // An undo says nothing that could be in dispute, so it need not come after everything.
                afters.truncate(1);
            }
            let by = Label::new(&account.user).ok_or(crate::Refusal::Field { field: "by", what: "is not a label" })?;
            let mut written = of;
            for after in afters {
                let entry = Decision {
                    of,
                    after,
                    action: input.action,
                    reason: input.reason.clone(),
                    rank: input.role.level(),
                    by: by.clone(),
                    note_hash: input.note_hash,
                };
                let entry = entry.into();
                let draft = author::Draft { name: &name, entry, wall_ms, manifest: None, code_key: None };
                written = author::append(tx, signer, &draft)?.1;
            }
            Ok(written)
        })
    }

    /// Every record of a class session that this phone has pulled, by student.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn class_records(&self, locator: Locator) -> Result<Vec<ClassRecordView>, StoreError> {
        let sql =
            "SELECT DISTINCT key2 FROM changes WHERE kind = 2 AND key = ?1 AND log_index IS NOT NULL ORDER BY key2";
        let mut statement = self.db.prepare_cached(sql)?;
        let students: Vec<String> =
            statement.query_map([locator.as_str()], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let tenant = self.account()?.tenant;
        let mut views = Vec::with_capacity(students.len());
        for student in students {
            let name = DocumentName::Attendance { locator, student };
            let entries = changes::entries(&self.db, name.id(&tenant), name.kind())?;
            let fold = entries.fold();
            let Some(state) = fold.state else { continue };
            let DocumentName::Attendance { student, .. } = name else { continue };
            let decisions_waiting = own_waiting(&entries).count() as u64;
            views.push(ClassRecordView { student, state, flags: records::flags(&fold, &entries), decisions_waiting });
        }
        Ok(views)
    }
}

/// Decisions that only this phone has.
fn own_waiting(entries: &changes::Entries) -> impl Iterator<Item = &changes::Found<Decision>> {
    entries.decisions.iter().filter(|found| !found.on_server)
}

/// The epoch of the code's secret at a time: the highest that a regeneration until then named.
fn epoch(entries: &changes::Entries, now_ms: i64) -> u64 {
    let until_now = entries.plan_changes.iter().map(|found| &found.entry).filter(|change| change.at_ms <= now_ms);
    until_now.filter(|change| change.action == PlanAction::Regenerate).map(|change| change.epoch).max().unwrap_or(0)
}

/// A locator that no session on this phone has.
fn fresh_locator(db: &Connection, random: [u8; 4]) -> Result<Locator, StoreError> {
    let mut statement = db.prepare_cached("SELECT EXISTS (SELECT 1 FROM changes WHERE kind = 1 AND key = ?1)")?;
    let first = u32::from_be_bytes(random);
    for attempt in 0..LOCATOR_TRIES_MAX {
        // The lowest two bits of the random value are not in the locator.
        let locator = Locator::from_random(first.wrapping_add(attempt << 2).to_be_bytes());
        if !statement.query_row([locator.as_str()], |row| row.get::<_, bool>(0))? {
            return Ok(locator);
        }
    }
    Err(StoreError::Storage("no free locator near the given random value".to_owned()))
}
