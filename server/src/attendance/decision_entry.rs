//! How a person's decision becomes a signed entry: what it judges, what it has seen, and when it may not be made.

use std::collections::HashSet;

use muster_sync_core::{
    ChangeHash, DocumentName,
    decision::{self, Fold},
    document::{Code, Decision, DecisionAction, Label},
};
use sha2::{Digest, Sha256};

use super::appeals::OpenAppeals;
use super::fold::{Facts, Unfolded};
use super::limits;
use super::queries;
use super::rows::{DecisionRow, NoteRow, RecordRow};
use super::share::Share;
use crate::app::App;
use crate::audit::{self, Action, Actor, Event};
use crate::auth::CurrentUser;
use crate::class_sessions;
use crate::error::{AppError, AppResult};
use crate::{log, text};

/// What somebody wants to decide.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    pub(super) action: DecisionAction,
    pub(super) reason: Option<Code>,
    pub(super) note: Option<String>,
    /// For `undo`: which decision; the newest one that stands, if nobody says.
    pub(super) of: Option<ChangeHash>,
    /// The decisions that the person had seen; all of them, if nobody says.
    pub(super) seen: Option<Vec<ChangeHash>>,
}

impl Wish {
    /// From what a client sent.
    pub(super) fn new(action: DecisionAction, reason: Option<&str>, note: Option<&str>) -> AppResult<Self> {
        let code = |text| Code::new(text).ok_or_else(|| AppError::field("reason", "1 to 64 of A-Z a-z 0-9 - _ ."));
        let reason = reason.map(str::trim).filter(|reason| !reason.is_empty()).map(code).transpose()?;
        if action == DecisionAction::Reject && reason.is_none() {
            return Err(AppError::field("reason", "a rejection names its reason"));
        }
        let note = note.map(text::read).filter(|note| !note.is_empty());
        let fits = |note: &String| note.chars().count() <= limits::NOTE_CHARS_MAX && !text::has_controls_within(note);
        if !note.as_ref().is_none_or(fits) {
            return Err(AppError::field("note", "at most 2,000 characters, and no control characters"));
        }
        Ok(Self { action, reason, note, of: None, seen: None })
    }
}

/// Judges whether `user` may decide so about the record as it stands, and words the decision: as one entry, or as
/// several that say the same where there are more heads than one entry can name.
pub(super) fn word(user: &CurrentUser, record: &RecordRow, facts: &Facts, wish: &Wish) -> AppResult<Vec<Decision>> {
    let by = user.id.to_string();
    if record.student == by {
        return Err(AppError::forbidden("OWN_RECORD", "nobody decides about their own attendance"));
    }
    let fold = facts.fold()?;
    let newest = facts.newest_standing(&fold);
    if newest.is_some_and(|row| row.rank > i64::from(user.role.rank())) {
        let sentence = "somebody of higher rank has decided; only they change that";
        return Err(AppError::conflict("DECIDED_BY_HIGHER_RANK", sentence));
    }
    let of = match wish.action {
        DecisionAction::Undo => undoes(facts, newest, wish.of)?,
        _ => judges(facts)?,
    };
    let mut afters = decision::afters(&seen(facts, fold, wish)?);
    if wish.action == DecisionAction::Undo {
        // An undo says nothing that could be in dispute, so it need not come after everything.
        afters.truncate(1);
    }
    let label = Label::new(&by).ok_or_else(|| AppError::internal("an id is not a label"))?;
    let decision = |after| Decision {
        of,
        after,
        action: wish.action,
        reason: wish.reason.clone(),
        rank: u64::from(user.role.rank()),
        by: label.clone(),
        note_hash: None,
    };
    Ok(afters.into_iter().map(decision).collect())
}

/// The newest verdict, or else the newest submission, or else the newest mark.
fn judges(facts: &Facts) -> AppResult<ChangeHash> {
    let verdict = facts.verdicts.last().map(|row| row.hash);
    let submission = facts.submissions.last().map(|row| row.hash);
    let mark = facts.decisions.last().map(|row| row.hash);
    let nothing = || AppError::conflict("NOTHING_TO_DECIDE", "there is no submission to decide about");
    verdict.or(submission).or(mark).ok_or_else(nothing)
}

fn undoes(facts: &Facts, newest: Option<&DecisionRow>, named: Option<ChangeHash>) -> AppResult<ChangeHash> {
    if let Some(named) = named {
        let known = facts.decisions.iter().any(|row| row.hash == named);
        return known.then_some(named).ok_or_else(|| AppError::field("of", "is not a decision of this record"));
    }
    let nothing = || AppError::conflict("NOTHING_TO_UNDO", "no decision stands that could be taken back");
    newest.map(|row| row.hash).ok_or_else(nothing)
}

/// What the decision comes after: what the person saw, or else everything that nobody has come after yet.
fn seen(facts: &Facts, fold: Fold, wish: &Wish) -> AppResult<Vec<ChangeHash>> {
    let Some(seen) = &wish.seen else { return Ok(fold.heads) };
    let mut seen = seen.clone();
    seen.sort_unstable();
    seen.dedup();
    let known: HashSet<_> = facts.decisions.iter().map(|row| row.hash).collect();
    if !seen.iter().all(|hash| known.contains(hash)) {
        return Err(AppError::field("seen", "names something that is no decision of this record"));
    }
    Ok(seen)
}

/// Words, signs and appends a decision about the record, and says how the record is then.
pub(super) async fn append(
    app: &App,
    user: &CurrentUser,
    actor: Actor,
    record: RecordRow,
    wish: Wish,
) -> AppResult<RecordRow> {
    let document = record.document;
    let facts = app.db.read(move |tx| Facts::read(tx, document)).await?;
    let mut decisions = word(user, &record, &facts, &wish)?;
    let (result, reason, now_ms) = (wish.action.as_str(), wish.reason, app.now_ms());
    let note = wish.note.map(|text| note(app, text));
    if let (Some(last), Some(note)) = (decisions.last_mut(), &note) {
        last.note_hash = Some(note_hash(note));
    }
    let name = DocumentName::Attendance { locator: record.locator, student: record.student.clone() };
    let channels = log::channels_of(&name, record.course.as_deref());
    let (course, decisions_before, all_seen) = (record.course, facts.decisions.len() as u64, wish.seen.is_none());
    let entries = decisions.into_iter().map(|decision| (name.clone(), channels.clone(), decision.into())).collect();
    let (by, tenant, locator) = (user.id.to_string(), user.tenant.clone(), record.locator);
    log::append_as_server(app, &user.tenant, entries, move |tx, appended| {
        class_sessions::check_course(tx, &tenant, &locator, course.as_deref())?;
        if OpenAppeals::of(tx, document)?.is_some_and(|appeals| appeals.bar(&by)) {
            let sentence = "the student appealed against your decision; somebody else decides now";
            return Err(AppError::forbidden("APPEAL_NEEDS_ANOTHER", sentence));
        }
        // Who asked to decide about everything that is there must have seen everything that is there.
        if all_seen && queries::decision_count(tx, document)? != decisions_before {
            return Err(AppError::conflict("RECORD_CHANGED", "somebody else decided meanwhile; look at it again"));
        }
        Share::Decisions.check(tx, document, &by, appended.len())?;
        let mut unfolded = Unfolded::default();
        for decision in appended {
            unfolded.project(tx, decision, course.as_deref())?;
        }
        unfolded.fold(tx)?;
        if let (Some(note), Some(last)) = (&note, appended.last()) {
            queries::insert_note(tx, &last.tenant, document, last.hash(), note)?;
        }
        let (id, reason) = (document.to_string(), reason.as_ref().map(Code::as_str));
        let event = Event { action: Action::AttendanceDecide, kind: "record", id: &id, reason, result };
        audit::record(tx, &actor, &event, now_ms)?;
        queries::record_for(tx, document)?.ok_or_else(|| AppError::internal("a decided record has no row"))
    })
    .await
}

fn note(app: &App, text: String) -> NoteRow {
    let mut salt = [0; 32];
    app.entropy.fill(&mut salt);
    NoteRow { salt, text }
}

/// What the document says about a note: enough to show later that it is the same, and nothing of its content.
fn note_hash(note: &NoteRow) -> [u8; 32] {
    Sha256::new().chain_update(b"muster/note/v1").chain_update(note.salt).chain_update(&note.text).finalize().into()
}
