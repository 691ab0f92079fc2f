//! The state of a record: a pure function of its submissions, verdicts, decisions and marks, in any order.
//!
//! | situation | state |
//! |---|---|
//! | an effective decision or mark exists | the one of the highest rank that no other of that rank came after |
//! | several such, and they agree | what they say |
//! | several such, and they contradict each other | `disputed`, until somebody decides again |
//! | no decision, a submission's newest verdict accepted it | `accepted` |
//! | no decision, a submission's newest verdict flagged it | `flagged` |
//! | a submission without a verdict | `received` |
//!
//! An `undo` takes back the decision that it names if its own rank is not lower, and can itself be undone. What came
//! after what is read from `after`, never from clocks.

use crate::{
    ChangeHash,
    document::{Decision, DecisionAction, Mark, MarkStatus, Outcome, Verdict},
};
use std::collections::{BTreeMap, BTreeSet};

/// The state of a record, as people see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecordState {
    /// In the log, not judged yet.
    Received,
    /// Every check passed.
    Accepted,
    /// A check flagged it; a person has to decide.
    Flagged,
    /// A person confirmed presence.
    Confirmed,
    /// A person decided: present, late.
    Late,
    /// A person decided: absent with good reason.
    Excused,
    /// A person did not accept it, or marked absence.
    Rejected,
    /// Passed on to somebody of higher rank.
    Escalated,
    /// People of one rank contradict each other.
    Disputed,
}

impl RecordState {
    /// Its name in the API and the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Accepted => "accepted",
            Self::Flagged => "flagged",
            Self::Confirmed => "confirmed",
            Self::Late => "late",
            Self::Excused => "excused",
            Self::Rejected => "rejected",
            Self::Escalated => "escalated",
            Self::Disputed => "disputed",
        }
    }

    /// From its name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let all = [
            Self::Received,
            Self::Accepted,
            Self::Flagged,
            Self::Confirmed,
            Self::Late,
            Self::Excused,
            Self::Rejected,
            Self::Escalated,
            Self::Disputed,
        ];
        all.into_iter().find(|state| state.as_str() == name)
    }
}

/// Everything in an attendance document that its state depends on.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// The submissions.
    pub submissions: BTreeSet<ChangeHash>,
    /// The verdicts: hash, position in the server's chain, verdict.
    pub verdicts: Vec<(u64, Verdict)>,
    /// The decisions.
    pub decisions: BTreeMap<ChangeHash, Decision>,
    /// The marks.
    pub marks: BTreeMap<ChangeHash, Mark>,
}

/// A decision or mark, reduced to what the fold looks at.
struct Step {
    rank: u64,
    says: Option<RecordState>,
    undoes: Option<ChangeHash>,
    after: Vec<ChangeHash>,
}

/// The state, or `None` while there is neither a submission nor a decision.
#[must_use]
pub fn state(record: &Record) -> Option<RecordState> {
    let steps = steps(record);
    decided(&steps).or_else(|| judged(record))
}

/// The decisions and marks that nobody has come after yet: what the next decision names as seen.
#[must_use]
pub fn heads(record: &Record) -> Vec<ChangeHash> {
    let steps = steps(record);
    let seen: BTreeSet<_> = steps.values().flat_map(|step| step.after.iter().copied()).collect();
    steps.into_keys().filter(|hash| !seen.contains(hash)).collect()
}

fn steps(record: &Record) -> BTreeMap<ChangeHash, Step> {
    let decisions = record.decisions.iter().map(|(hash, decision)| {
        let (says, undoes) = match decision.action {
            DecisionAction::Confirm => (Some(RecordState::Confirmed), None),
            DecisionAction::Late => (Some(RecordState::Late), None),
            DecisionAction::Excuse => (Some(RecordState::Excused), None),
            DecisionAction::Reject => (Some(RecordState::Rejected), None),
            DecisionAction::Escalate => (Some(RecordState::Escalated), None),
            DecisionAction::Undo => (None, Some(decision.of)),
        };
        (*hash, Step { rank: decision.rank, says, undoes, after: decision.after().collect() })
    });
    let marks = record.marks.iter().map(|(hash, mark)| {
        let says = match mark.status {
            MarkStatus::Present => RecordState::Confirmed,
            MarkStatus::Late => RecordState::Late,
            MarkStatus::Absent => RecordState::Rejected,
            MarkStatus::Excused => RecordState::Excused,
        };
        (*hash, Step { rank: mark.rank, says: Some(says), undoes: None, after: mark.after().collect() })
    });
    decisions.chain(marks).collect()
}

fn decided(steps: &BTreeMap<ChangeHash, Step>) -> Option<RecordState> {
    let undone = undone(steps);
    let standing: BTreeMap<_, _> = steps
        .iter()
        .filter(|(hash, _)| !undone.contains(hash))
        .filter_map(|(hash, step)| step.says.map(|says| (*hash, (step.rank, says))))
        .collect();
    let top = standing.values().map(|(rank, _)| *rank).max()?;
    let top: BTreeMap<_, _> = standing.into_iter().filter(|(_, (rank, _))| *rank == top).collect();
    let superseded: BTreeSet<_> = top.keys().flat_map(|hash| ancestors(steps, *hash)).collect();
    let mut says = top.iter().filter(|(hash, _)| !superseded.contains(hash)).map(|(_, (_, says))| *says);
    let first = says.next()?;
    Some(if says.all(|other| other == first) { first } else { RecordState::Disputed })
}

/// Every step that an effective undo takes back. A step can only name what existed before it, so there are no cycles;
/// the number of rounds is bounded by the number of steps all the same.
fn undone(steps: &BTreeMap<ChangeHash, Step>) -> BTreeSet<ChangeHash> {
    let mut undone = BTreeSet::new();
    for _ in 0..=steps.len() {
        let effective = steps.iter().filter(|(hash, _)| !undone.contains(*hash));
        let next: BTreeSet<_> = effective
            .filter_map(|(_, step)| Some((step.rank, step.undoes?)))
            .filter(|(rank, target)| steps.get(target).is_some_and(|target| *rank >= target.rank))
            .map(|(_, target)| target)
            .collect();
        if next == undone {
            break;
        }
        undone = next;
    }
    undone
}

fn ancestors(steps: &BTreeMap<ChangeHash, Step>, of: ChangeHash) -> BTreeSet<ChangeHash> {
    let mut found = BTreeSet::new();
    let mut open: Vec<_> = steps.get(&of).map(|step| step.after.clone()).unwrap_or_default();
    while let Some(hash) = open.pop() {
        if found.insert(hash)
            && let Some(step) = steps.get(&hash)
        {
            open.extend(&step.after);
        }
    }
    found
}

fn judged(record: &Record) -> Option<RecordState> {
    let newest = |submission: &ChangeHash| {
        let verdicts = record.verdicts.iter().filter(|(_, verdict)| verdict.of == *submission);
        verdicts.max_by_key(|(seq, _)| *seq).map(|(_, verdict)| verdict.outcome)
    };
    let outcomes: Vec<_> = record.submissions.iter().map(newest).collect();
    if outcomes.contains(&Some(Outcome::Accepted)) {
        Some(RecordState::Accepted)
    } else if outcomes.contains(&Some(Outcome::Flagged)) {
        Some(RecordState::Flagged)
    } else {
        outcomes.first().map(|_| RecordState::Received)
    }
}
