//! The one fold of a record: a pure function of its submissions, verdicts, decisions and marks, in any order.
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
//! after what is read from `after` and from the chain of one person at one key, never from clocks, and never from the
//! server's log: a phone reads its own copy of a document and must come to the same end.
//!
//! [`fold`] says everything that follows: the state, who made it, what stands, and what the next entry comes after.
//! Nobody else reads these facts a second time. Each step and each reference is looked at once, so the cost grows with
//! the size of the document and with nothing else.

use crate::{
    ChangeHash, DeviceKey,
    document::{Decision, DecisionAction, Mark, MarkStatus, Outcome, Verdict, join_hashes},
    limits,
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
    /// The verdicts.
    pub verdicts: Vec<Judgement>,
    /// The decisions and marks.
    pub steps: BTreeMap<ChangeHash, Step>,
}

/// A verdict, reduced to what the fold looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    /// Its identity.
    pub hash: ChangeHash,
    /// Its place in the server's chain, or anything that grows with it.
    pub place: u64,
    /// The submission.
    pub of: ChangeHash,
    /// What it says.
    pub outcome: Outcome,
}

impl Judgement {
    /// Of a verdict.
    #[must_use]
    pub fn new(hash: ChangeHash, place: u64, verdict: &Verdict) -> Self {
        Self { hash, place, of: verdict.of, outcome: verdict.outcome }
    }
}

/// A decision or mark, reduced to what the fold looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The key that signed it.
    pub writer: DeviceKey,
    /// The person. The server signs for many.
    pub by: String,
    /// Its place in the chain of that key, or anything that grows with it.
    pub place: u64,
    /// The person's rank.
    pub rank: u64,
    /// What it does.
    pub does: Does,
    /// The steps that the person had seen.
    pub after: Vec<ChangeHash>,
}

/// What a decision or mark does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    /// It says how the record is.
    Say(RecordState),
    /// It takes another step back.
    Undo(ChangeHash),
}

impl Does {
    /// What a decision about `of` does.
    #[must_use]
    pub fn decision(action: DecisionAction, of: ChangeHash) -> Self {
        match action {
            DecisionAction::Confirm => Self::Say(RecordState::Confirmed),
            DecisionAction::Late => Self::Say(RecordState::Late),
            DecisionAction::Excuse => Self::Say(RecordState::Excused),
            DecisionAction::Reject => Self::Say(RecordState::Rejected),
            DecisionAction::Escalate => Self::Say(RecordState::Escalated),
            DecisionAction::Undo => Self::Undo(of),
        }
    }

    /// What a mark does.
    #[must_use]
    pub fn mark(status: MarkStatus) -> Self {
        Self::Say(match status {
            MarkStatus::Present => RecordState::Confirmed,
            MarkStatus::Late => RecordState::Late,
            MarkStatus::Absent => RecordState::Rejected,
            MarkStatus::Excused => RecordState::Excused,
        })
    }
}

impl Step {
    /// Of a decision that `writer` signed at a place of its chain.
    #[must_use]
    pub fn decision(writer: DeviceKey, place: u64, decision: &Decision) -> Self {
        Self {
            writer,
            by: decision.by.as_str().to_owned(),
            place,
            rank: decision.rank,
            does: Does::decision(decision.action, decision.of),
            after: decision.after().collect(),
        }
    }

    /// Of a mark that `writer` signed at a place of its chain.
    #[must_use]
    pub fn mark(writer: DeviceKey, place: u64, mark: &Mark) -> Self {
        Self {
            writer,
            by: mark.by.as_str().to_owned(),
            place,
            rank: mark.rank,
            does: Does::mark(mark.status),
            after: mark.after().collect(),
        }
    }
}

/// What follows from a record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fold {
    /// The state, or `None` while there is neither a submission nor a decision.
    pub state: Option<RecordState>,
    /// The step that makes the state. Of several that agree, the one that stands last in `standing`; `None` if no step
    /// counts, and while people contradict each other, because then nobody has decided.
    pub deciding: Option<ChangeHash>,
    /// The verdict that counts: of the newest ones on each submission, one that accepted, or else the newest.
    pub verdict: Option<ChangeHash>,
    /// The steps that say something and that nobody took back: lower ranks first, then what came earlier, then by hash.
    /// The order of the log would name another one of two that had not seen each other, but only the server knows it.
    pub standing: Vec<ChangeHash>,
    /// The steps that nobody has come after yet: what the next one names as seen.
    pub heads: Vec<ChangeHash>,
}

/// Folds a record.
#[must_use]
pub fn fold(record: &Record) -> Fold {
    let graph = Graph::new(&record.steps);
    let standing = graph.standing();
    let (decided, deciding) = graph.decided(&standing);
    let newest = newest_verdicts(record);
    let counting = newest.values().max_by_key(|verdict| (verdict.outcome == Outcome::Accepted, verdict.place));
    Fold {
        state: decided.or_else(|| judged(record, counting.copied())),
        deciding: deciding.map(|index| graph.hash(index)),
        verdict: counting.map(|verdict| verdict.hash),
        standing: standing.into_iter().map(|index| graph.hash(index)).collect(),
        heads: graph.heads(),
    }
}

/// The `after` of everything that one act of deciding writes, in the order in which it is to be signed.
///
/// One entry names at most [`limits::DECISION_AFTER_MAX`] steps. Who has seen more writes several entries that say the
/// same: each comes after the one before it, because one person signs them with one key, so the last one comes after
/// all that was seen.
#[must_use]
pub fn afters(seen: &[ChangeHash]) -> Vec<Vec<u8>> {
    let mut afters: Vec<_> = seen.chunks(limits::DECISION_AFTER_MAX).map(join_hashes).collect();
    if afters.is_empty() {
        afters.push(Vec::new());
    }
    afters
}

/// The steps by number, in the order of their hashes, and what each of them came right after.
struct Graph<'a> {
    steps: Vec<(ChangeHash, &'a Step)>,
    seen: Vec<Vec<usize>>,
}

impl<'a> Graph<'a> {
    fn new(steps: &'a BTreeMap<ChangeHash, Step>) -> Self {
        let steps: Vec<_> = steps.iter().map(|(hash, step)| (*hash, step)).collect();
        let mut graph = Self { seen: Vec::with_capacity(steps.len()), steps };
        for (index, (_, step)) in graph.steps.iter().enumerate() {
            let named = step.after.iter().filter_map(|hash| graph.find(*hash));
            graph.seen.push(named.filter(|seen| *seen != index).collect());
        }
        // Everybody has seen what they wrote before.
        let mut chains: BTreeMap<(DeviceKey, &str), Vec<(u64, usize)>> = BTreeMap::new();
        for (index, (_, step)) in graph.steps.iter().enumerate() {
            chains.entry((step.writer, &step.by)).or_default().push((step.place, index));
        }
        for chain in chains.values_mut() {
            chain.sort_unstable();
            for pair in chain.windows(2) {
                graph.seen[pair[1].1].push(pair[0].1);
            }
        }
        graph
    }

    fn hash(&self, index: usize) -> ChangeHash {
        self.steps[index].0
    }

    fn find(&self, hash: ChangeHash) -> Option<usize> {
        self.steps.binary_search_by_key(&hash, |(known, _)| *known).ok()
    }

    /// What stands, in the order that [`Fold::standing`] promises.
    fn standing(&self) -> Vec<usize> {
        let (undone, depths) = (self.undone(), self.depths());
        let says = |index: &usize| matches!(self.steps[*index].1.does, Does::Say(_));
        let mut standing: Vec<_> = (0..self.steps.len()).filter(says).filter(|index| !undone[*index]).collect();
        standing.sort_by_key(|index| (self.steps[*index].1.rank, depths[*index], *index));
        standing
    }

    /// Which steps an effective undo takes back. Every undo names one step, so who undoes whom is a forest, and one walk
    /// from its leaves is enough. A ring of undos, which hashes rule out, would take back nothing.
    fn undone(&self) -> Vec<bool> {
        let mut undoers = vec![Vec::new(); self.steps.len()];
        for (index, (_, step)) in self.steps.iter().enumerate() {
            let Does::Undo(of) = step.does else { continue };
            if let Some(target) = self.find(of) {
                undoers[target].push(index);
            }
        }
        let mut undone = vec![false; self.steps.len()];
        for index in in_order(&undoers) {
            let rank = self.steps[index].1.rank;
            let is_effective = |undoer: &usize| !undone[*undoer] && self.steps[*undoer].1.rank >= rank;
            undone[index] = undoers[index].iter().any(is_effective);
        }
        undone
    }

    /// How many steps one after the other led to each step, at most.
    fn depths(&self) -> Vec<usize> {
        let mut depths = vec![0; self.steps.len()];
        for index in in_order(&self.seen) {
            depths[index] = self.seen[index].iter().map(|seen| depths[*seen] + 1).max().unwrap_or(0);
        }
        depths
    }

    /// What the standing steps of the highest rank say that no other of them came after, and which of them says it.
    fn decided(&self, standing: &[usize]) -> (Option<RecordState>, Option<usize>) {
        let Some(top) = standing.last().map(|index| self.steps[*index].1.rank) else { return (None, None) };
        let top: Vec<_> = standing.iter().copied().filter(|index| self.steps[*index].1.rank == top).collect();
        let mut superseded = vec![false; self.steps.len()];
        let mut open: Vec<usize> = top.iter().flat_map(|index| self.seen[*index].iter().copied()).collect();
        while let Some(index) = open.pop() {
            if !std::mem::replace(&mut superseded[index], true) {
                open.extend(&self.seen[index]);
            }
        }
        let mut found: (Option<RecordState>, Option<usize>) = (None, None);
        for index in top.into_iter().filter(|index| !superseded[*index]) {
            let Does::Say(says) = self.steps[index].1.does else { continue };
            if found.0.is_some_and(|before| before != says) {
                return (Some(RecordState::Disputed), None);
            }
            found = (Some(says), Some(index));
        }
        found
    }

    fn heads(&self) -> Vec<ChangeHash> {
        let mut is_head = vec![true; self.steps.len()];
        self.seen.iter().flatten().for_each(|seen| is_head[*seen] = false);
        self.steps.iter().zip(is_head).filter(|(_, is_head)| *is_head).map(|((hash, _), _)| *hash).collect()
    }
}

/// Every number after all that `before` lists for it. What stands in a ring, or behind one, is left out.
fn in_order(before: &[Vec<usize>]) -> Vec<usize> {
    let mut after = vec![Vec::new(); before.len()];
    for (index, listed) in before.iter().enumerate() {
        listed.iter().for_each(|other| after[*other].push(index));
    }
    let mut missing: Vec<_> = before.iter().map(Vec::len).collect();
    let mut order: Vec<_> = (0..before.len()).filter(|index| missing[*index] == 0).collect();
    let mut done = 0;
    while let Some(&index) = order.get(done) {
        done += 1;
        for later in &after[index] {
            missing[*later] -= 1;
            if missing[*later] == 0 {
                order.push(*later);
            }
        }
    }
    order
}

/// The newest verdict on each submission that has one.
fn newest_verdicts(record: &Record) -> BTreeMap<ChangeHash, &Judgement> {
    let mut newest: BTreeMap<ChangeHash, &Judgement> = BTreeMap::new();
    for verdict in record.verdicts.iter().filter(|verdict| record.submissions.contains(&verdict.of)) {
        let place = newest.entry(verdict.of).or_insert(verdict);
        if (verdict.place, verdict.hash) > (place.place, place.hash) {
            *place = verdict;
        }
    }
    newest
}

fn judged(record: &Record, counting: Option<&Judgement>) -> Option<RecordState> {
    match counting.map(|verdict| verdict.outcome) {
        Some(Outcome::Accepted) => Some(RecordState::Accepted),
        Some(Outcome::Flagged) => Some(RecordState::Flagged),
        None => record.submissions.first().map(|_| RecordState::Received),
    }
}
