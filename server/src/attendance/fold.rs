//! The rows of one document, given to the one fold of `sync_core::decision`, and what comes of it as a row.

use std::collections::{BTreeMap, HashMap};

use muster_sync_core::{
    ChangeHash, DocumentId,
    decision::{self, Does, Fold, Judgement, Record, RecordState, Step},
    document::{DecisionAction, MarkStatus},
};

use super::appeals;
use super::project;
use super::queries::{self, Folded};
use super::rows::{DecisionRow, SubmissionRow, VerdictRow};
use crate::db::{DbError, Tx};
use crate::log::Appended;

/// Documents that got entries in a transaction and are folded once, before it ends.
#[derive(Debug, Default)]
#[must_use = "a document that is not folded keeps its old state"]
pub struct Unfolded(BTreeMap<DocumentId, i64>);

impl Unfolded {
    /// Writes the rows of an entry; its document is folded later. `course` is that of the class session, if it is known.
    ///
    /// # Errors
    /// When the database fails.
    pub fn project(&mut self, tx: &Tx<'_>, appended: &Appended, course: Option<&str>) -> Result<(), DbError> {
        if project::insert(tx, appended, course)? {
            self.0.insert(appended.document(), appended.received_at_ms);
        }
        Ok(())
    }

    /// Folds every document that got something.
    ///
    /// # Errors
    /// When the database fails.
    pub fn fold(self, tx: &Tx<'_>) -> Result<(), DbError> {
        self.0.into_iter().try_for_each(|(document, now_ms)| refresh(tx, document, now_ms))
    }
}

/// Folds a document and stores what comes out.
fn refresh(tx: &Tx<'_>, document: DocumentId, now_ms: i64) -> Result<(), DbError> {
    let facts = Facts::read(tx, document)?;
    let fold = facts.fold()?;
    let appeal = queries::newest_appeal(tx, document)?;
    let folded = Folded {
        state: fold.state.map(RecordState::as_str),
        verdict: facts.counting_verdict(&fold),
        decision: facts.deciding(&fold),
        appeal_open: appeal.is_some() && appeal > appeals::newest_answer(&facts, &fold),
    };
    queries::set_folded(tx, document, &folded, now_ms)
}

/// Everything in a document that its state depends on, each kind in the order of the log.
pub(super) struct Facts {
    pub(super) submissions: Vec<SubmissionRow>,
    pub(super) verdicts: Vec<VerdictRow>,
    pub(super) decisions: Vec<DecisionRow>,
}

impl Facts {
    pub(super) fn read(tx: &Tx<'_>, document: DocumentId) -> Result<Self, DbError> {
        Ok(Self {
            submissions: queries::submissions(tx, document)?,
            verdicts: queries::verdicts(tx, document)?,
            decisions: queries::decisions(tx, document)?,
        })
    }

    /// What follows from all of it.
    pub(super) fn fold(&self) -> Result<Fold, DbError> {
        let step = |row: &DecisionRow| Ok::<_, DbError>((row.hash, row.step()?));
        Ok(decision::fold(&Record {
            submissions: self.submissions.iter().map(|row| row.hash).collect(),
            verdicts: self.verdicts.iter().map(VerdictRow::judgement).collect(),
            steps: self.decisions.iter().map(step).collect::<Result<_, _>>()?,
        }))
    }

    /// The verdict whose risk and flags the record shows.
    pub(super) fn counting_verdict(&self, fold: &Fold) -> Option<&VerdictRow> {
        self.verdicts.iter().find(|row| Some(row.hash) == fold.verdict)
    }

    /// The last of what stands: of the highest rank, and what decides unless people contradict each other.
    pub(super) fn newest_standing(&self, fold: &Fold) -> Option<&DecisionRow> {
        let newest = fold.standing.last()?;
        self.decisions.iter().find(|row| row.hash == *newest)
    }

    /// The decision that makes the state.
    pub(super) fn deciding(&self, fold: &Fold) -> Option<&DecisionRow> {
        self.decisions.iter().find(|row| Some(row.hash) == fold.deciding)
    }
}

/// The newest verdict on each submission.
pub(super) fn newest_verdicts(verdicts: &[VerdictRow]) -> HashMap<ChangeHash, &VerdictRow> {
    let mut newest: HashMap<ChangeHash, &VerdictRow> = HashMap::with_capacity(verdicts.len());
    for verdict in verdicts {
        let place = newest.entry(verdict.of).or_insert(verdict);
        if verdict.seq >= place.seq {
            *place = verdict;
        }
    }
    newest
}

impl VerdictRow {
    fn judgement(&self) -> Judgement {
        Judgement { hash: self.hash, place: self.seq, of: self.of, outcome: self.outcome }
    }
}

impl DecisionRow {
    /// As the fold takes it. The order of the log is that of every chain in it, so it stands for the place there.
    fn step(&self) -> Result<Step, DbError> {
        let broken = || DbError::Other("a stored decision has an unreadable action".to_owned());
        let does = match self.of {
            Some(of) => Does::decision(DecisionAction::parse(&self.says).ok_or_else(broken)?, of),
            None => Does::mark(MarkStatus::parse(&self.says).ok_or_else(broken)?),
        };
        Ok(Step {
            writer: self.writer,
            by: self.by.clone(),
            place: self.log_index as u64,
            rank: self.rank as u64,
            does,
            after: self.after.chunks_exact(32).filter_map(ChangeHash::from_slice).collect(),
        })
    }
}
