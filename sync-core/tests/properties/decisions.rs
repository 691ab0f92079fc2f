//! The decision fold: a pure function, whatever the order in which its parts arrived.

use crate::fixtures::*;
use muster_sync_core::{
    ChangeHash, DeviceKey,
    decision::{Does, Fold, Judgement, Record, RecordState, Step, afters, fold},
    document::*,
    limits::DECISION_AFTER_MAX,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Decisions of as many people, so that only `after` says what came after what.
fn record(decisions: impl IntoIterator<Item = (u8, Decision)>) -> Record {
    let step = |(id, decision): (u8, Decision)| (hash(id), Step::decision(DeviceKey([id; 32]), 1, &decision));
    Record {
        submissions: [hash(1)].into(),
        verdicts: vec![judgement(1, Outcome::Flagged)],
        steps: decisions.into_iter().map(step).collect(),
    }
}

fn judgement(place: u8, outcome: Outcome) -> Judgement {
    Judgement::new(hash(200 + place), place.into(), &verdict(hash(1), outcome))
}

fn state(record: &Record) -> Option<RecordState> {
    fold(record).state
}

fn heads(record: &Record) -> Vec<ChangeHash> {
    fold(record).heads
}

fn says(action: DecisionAction, rank: u64, after: &[ChangeHash]) -> Decision {
    decision(action, rank, "lecturer-1", after)
}

fn undo(of: ChangeHash, rank: u64, after: &[ChangeHash]) -> Decision {
    Decision { of, ..says(DecisionAction::Undo, rank, after) }
}

#[test]
fn the_table_of_precedence() {
    use DecisionAction::*;
    use RecordState as S;
    type Row = (&'static str, Vec<(u8, Decision)>, S);
    let table: Vec<Row> = vec![
        ("no decision: the verdict", vec![], S::Flagged),
        ("one decision", vec![(10, says(Confirm, 2, &[]))], S::Confirmed),
        ("what came after wins", vec![(10, says(Confirm, 2, &[])), (11, says(Reject, 2, &[hash(10)]))], S::Rejected),
        ("concurrent and contradictory", vec![(10, says(Confirm, 2, &[])), (11, says(Reject, 2, &[]))], S::Disputed),
        ("concurrent and agreeing", vec![(10, says(Late, 2, &[])), (11, says(Late, 2, &[]))], S::Late),
        (
            "a dispute is settled by deciding again",
            vec![(10, says(Confirm, 2, &[])), (11, says(Reject, 2, &[])), (12, says(Excuse, 2, &[hash(10), hash(11)]))],
            S::Excused,
        ),
        ("higher rank wins", vec![(10, says(Reject, 3, &[])), (11, says(Confirm, 2, &[hash(10)]))], S::Rejected),
        (
            "undo brings back what was before",
            vec![(10, says(Confirm, 2, &[])), (11, says(Reject, 2, &[hash(10)])), (12, undo(hash(11), 2, &[hash(11)]))],
            S::Confirmed,
        ),
        (
            "undo of the only decision brings back the verdict",
            vec![(10, says(Confirm, 2, &[])), (11, undo(hash(10), 2, &[hash(10)]))],
            S::Flagged,
        ),
        (
            "an undo can be undone",
            vec![
                (10, says(Confirm, 2, &[])),
                (11, undo(hash(10), 2, &[hash(10)])),
                (12, undo(hash(11), 2, &[hash(11)])),
            ],
            S::Confirmed,
        ),
        (
            "a lower rank undoes nothing",
            vec![(10, says(Reject, 3, &[])), (11, undo(hash(10), 2, &[hash(10)]))],
            S::Rejected,
        ),
        ("escalated", vec![(10, says(Escalate, 2, &[]))], S::Escalated),
        (
            "escalated, then settled above",
            vec![(10, says(Escalate, 2, &[])), (11, says(Confirm, 3, &[hash(10)]))],
            S::Confirmed,
        ),
    ];
    for (what, decisions, want) in table {
        assert_eq!(state(&record(decisions)), Some(want), "{what}");
    }
}

#[test]
fn without_decisions_the_newest_verdict_counts() {
    let mut record = record([]);
    record.verdicts.push(judgement(2, Outcome::Accepted));
    assert_eq!(state(&record), Some(RecordState::Accepted));
    record.verdicts.reverse();
    assert_eq!(state(&record), Some(RecordState::Accepted));
    record.verdicts.clear();
    assert_eq!(state(&record), Some(RecordState::Received));
    assert_eq!(state(&Record::default()), None);
}

#[test]
fn a_mark_by_hand_stands_without_a_submission() {
    let mark = Mark {
        status: MarkStatus::Late,
        reason: code("phone_broken"),
        rank: 2,
        by: label("lecturer-1"),
        after: Vec::new(),
    };
    let steps = [(hash(20), Step::mark(DeviceKey([1; 32]), 1, &mark))].into();
    let record = Record { steps, ..Record::default() };
    assert_eq!(state(&record), Some(RecordState::Late));
    assert_eq!(heads(&record), vec![hash(20)]);
}

#[test]
fn the_evidence_names_the_person_whose_decision_stands() {
    use DecisionAction::*;
    let by = |decision: Decision, by: &str, why: &str| Decision { by: label(by), reason: Some(code(why)), ..decision };
    let history = [
        (10, by(says(Confirm, 3, &[]), "admin-1", "seen")),
        (11, by(undo(hash(10), 3, &[hash(10)]), "admin-1", "mistake")),
        (12, by(says(Confirm, 2, &[hash(11)]), "lecturer-1", "in_the_hall")),
    ];
    let fold = fold(&record(history));
    assert_eq!((fold.state, fold.deciding), (Some(RecordState::Confirmed), Some(hash(12))));
    assert_eq!((fold.standing, fold.heads), (vec![hash(12)], vec![hash(12)]));
}

#[test]
fn while_people_contradict_each_other_nobody_has_decided() {
    use DecisionAction::*;
    let disputed = fold(&record([(10, says(Confirm, 2, &[])), (11, says(Reject, 2, &[]))]));
    assert_eq!((disputed.state, disputed.deciding), (Some(RecordState::Disputed), None));
    assert_eq!(disputed.standing, [hash(10), hash(11)]);
}

#[test]
fn everybody_has_seen_what_they_wrote_before() {
    use DecisionAction::*;
    let key = DeviceKey([7; 32]);
    let step = |place, decision: Decision| Step::decision(key, place, &decision);
    let mut record = record([]);
    record.steps.insert(hash(90), step(1, says(Confirm, 2, &[])));
    record.steps.insert(hash(20), step(2, says(Late, 2, &[])));
    assert_eq!((state(&record), heads(&record)), (Some(RecordState::Late), vec![hash(20)]));
    // The server signs for many: what it wrote for another person before was not seen by this one.
    record.steps.insert(hash(30), step(3, Decision { by: label("lecturer-2"), ..says(Reject, 2, &[]) }));
    assert_eq!(state(&record), Some(RecordState::Disputed));
}

#[test]
fn the_verdict_that_counts_is_the_newest_of_a_submission_and_accepts_if_one_does() {
    let mut record = record([]);
    record.submissions.insert(hash(2));
    record.verdicts.push(Judgement { of: hash(2), ..judgement(2, Outcome::Accepted) });
    assert_eq!((state(&record), fold(&record).verdict), (Some(RecordState::Accepted), Some(hash(202))));
    record.verdicts.push(Judgement { of: hash(2), ..judgement(3, Outcome::Flagged) });
    assert_eq!((state(&record), fold(&record).verdict), (Some(RecordState::Flagged), Some(hash(203))));
    // What judges something that is not there says nothing.
    record.verdicts.push(Judgement { of: hash(3), ..judgement(4, Outcome::Accepted) });
    assert_eq!(state(&record), Some(RecordState::Flagged));
}

fn numbered(number: usize) -> ChangeHash {
    let mut hash = [0xEE; 32];
    hash[..8].copy_from_slice(&(number as u64).to_be_bytes());
    ChangeHash(hash)
}

/// A thousand people who had seen nothing of each other; half of them reject.
fn thousand() -> Record {
    let mut record = record([]);
    for number in 0..1_000 {
        let action = if number % 2 == 0 { DecisionAction::Confirm } else { DecisionAction::Reject };
        let decision = Decision { by: label(&format!("lecturer-{number}")), ..says(action, 2, &[]) };
        record.steps.insert(numbered(number), Step::decision(DeviceKey([1; 32]), number as u64, &decision));
    }
    record
}

/// Adds what one act of deciding writes, of somebody who has seen all.
fn decide_again(record: &mut Record, rank: u64) -> ChangeHash {
    let afters = afters(&heads(record));
    assert!(afters.iter().all(|after| after.len() <= 32 * DECISION_AFTER_MAX));
    let first = record.steps.len();
    for (number, after) in (first..).zip(afters) {
        let excuse = Decision { after, by: label("last"), ..says(DecisionAction::Excuse, rank, &[]) };
        record.steps.insert(numbered(5_000 + number), Step::decision(DeviceKey([2; 32]), number as u64, &excuse));
    }
    numbered(5_000 + record.steps.len() - 1)
}

#[test]
fn whoever_has_seen_a_thousand_concurrent_decisions_settles_them() {
    let mut record = thousand();
    assert_eq!((state(&record), heads(&record).len()), (Some(RecordState::Disputed), 1_000));
    let last = decide_again(&mut record, 2);
    assert_eq!(record.steps.len(), 1_000 + 1_000_usize.div_ceil(DECISION_AFTER_MAX));
    let settled = fold(&record);
    assert_eq!((settled.state, settled.deciding), (Some(RecordState::Excused), Some(last)));
    assert_eq!(settled.heads, [last]);
}

#[test]
fn long_chains_of_undos_end() {
    let mut record = record([]);
    let mut step = |number: usize, does| {
        let after = number.checked_sub(1).map(numbered).into_iter().collect();
        let (writer, by) = (DeviceKey([1; 32]), "lecturer-1".to_owned());
        record.steps.insert(numbered(number), Step { writer, by, place: number as u64, rank: 2, does, after });
        (number.is_multiple_of(1_000)).then(|| state(&record))
    };
    step(0, Does::Say(RecordState::Confirmed));
    let states = (1..=20_000).filter_map(|number| step(number, Does::Undo(numbered(number - 1))));
    let states: Vec<_> = states.collect();
    assert!(states.iter().all(|state| *state == Some(RecordState::Confirmed)), "{states:?}");
}

prop_compose! {
    /// One step of a history: who of a few people wrote it at which of two keys, and what of the newest it had seen.
    fn any_step(number: u8)(
        action in 0u8..8, rank in 2u64..4, person in 0u8..4, key in 0u8..2, of in any::<u8>(),
        seen in proptest::collection::vec(any::<u8>(), 0..3),
    ) -> (ChangeHash, Step) {
        use DecisionAction::*;
        let action = [Confirm, Late, Excuse, Reject, Escalate, Undo, Undo, Undo][usize::from(action)];
        // A hash can only name what existed before it.
        let earlier = |pick: u8| hash(if number == 0 { 49 } else { 50 + pick % number });
        let after = seen.into_iter().map(earlier).collect();
        let does = Does::decision(action, earlier(of));
        let (writer, by) = (DeviceKey([key; 32]), format!("person-{person}"));
        // Hashes in no order that means something.
        (hash(50 + number), Step { writer, by, place: number.into(), rank, does, after })
    }
}

fn any_history(steps: std::ops::Range<u8>) -> impl Strategy<Value = Vec<(ChangeHash, Step)>> {
    steps.prop_flat_map(|n| (0..n).map(any_step).collect::<Vec<_>>())
}

fn with(steps: impl IntoIterator<Item = (ChangeHash, Step)>) -> Record {
    Record { steps: steps.into_iter().collect(), ..record([]) }
}

/// The rules of PROTOCOL.md, word by word and without a thought for time.
fn by_the_book(steps: &BTreeMap<ChangeHash, Step>) -> Fold {
    let came_after = |step: &Step| -> BTreeSet<ChangeHash> {
        let mut found: BTreeSet<ChangeHash> = BTreeSet::new();
        let right_before = |step: &Step| {
            let own = steps
                .iter()
                .filter(|(_, other)| (other.writer, &other.by) == (step.writer, &step.by) && other.place < step.place);
            let own = own.max_by_key(|(_, other)| other.place).map(|(hash, _)| *hash);
            step.after.iter().copied().filter(|hash| steps.contains_key(hash)).chain(own).collect::<Vec<_>>()
        };
        let mut open = right_before(step);
        while let Some(hash) = open.pop() {
            if found.insert(hash) {
                open.extend(right_before(&steps[&hash]));
            }
        }
        found
    };
    fn is_undone(steps: &BTreeMap<ChangeHash, Step>, target: ChangeHash) -> bool {
        steps.iter().any(|(hash, step)| {
            step.does == Does::Undo(target) && step.rank >= steps[&target].rank && !is_undone(steps, *hash)
        })
    }
    let says = |step: &Step| if let Does::Say(says) = step.does { Some(says) } else { None };
    let stands: Vec<_> =
        steps.iter().filter(|(hash, step)| says(step).is_some() && !is_undone(steps, **hash)).collect();
    let top = stands.iter().map(|(_, step)| step.rank).max();
    let top: Vec<_> = stands.iter().filter(|(_, step)| Some(step.rank) == top).collect();
    let left = top.iter().filter(|(hash, _)| !top.iter().any(|(_, other)| came_after(other).contains(hash)));
    let left: BTreeSet<_> = left.map(|(_, step)| says(step).unwrap().as_str()).collect();
    let seen: BTreeSet<_> = steps.values().flat_map(came_after).collect();
    Fold {
        state: match left.len() {
            0 => Some(RecordState::Flagged),
            1 => RecordState::parse(left.first().unwrap()),
            _ => Some(RecordState::Disputed),
        },
        standing: stands.into_iter().map(|(hash, _)| *hash).collect(),
        heads: steps.keys().copied().filter(|hash| !seen.contains(hash)).collect(),
        ..Fold::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_fold_does_not_depend_on_arrival(history in any_history(0..12), seed in any::<u64>()) {
        let first = fold(&with(history.clone()));
        // Any rotation and reversal, with everything delivered twice.
        let mut arrived = history;
        let turn = seed as usize % arrived.len().max(1);
        arrived.rotate_left(turn);
        arrived.reverse();
        arrived.extend(arrived.clone());
        prop_assert_eq!(fold(&with(arrived)), first);
    }

    #[test]
    fn the_fold_is_what_the_rules_say(history in any_history(0..12)) {
        let record = with(history);
        let (folded, expected) = (fold(&record), by_the_book(&record.steps));
        prop_assert_eq!(folded.state, expected.state);
        prop_assert_eq!(folded.heads, expected.heads);
        prop_assert_eq!(BTreeSet::from_iter(&folded.standing), BTreeSet::from_iter(&expected.standing));
        // Who decides stands, says what the state is, and is the last one of all that stand.
        let undecided = [Some(RecordState::Disputed), Some(RecordState::Flagged)].contains(&folded.state);
        prop_assert_eq!(folded.deciding.is_none(), undecided);
        if let Some(deciding) = folded.deciding {
            prop_assert_eq!(Some(&deciding), folded.standing.last());
            prop_assert_eq!(Some(record.steps[&deciding].does), folded.state.map(Does::Say));
        }
    }

    #[test]
    fn deciding_again_after_every_head_always_settles(history in any_history(1..40), rank in 2u64..4) {
        let mut record = with(history);
        let top = record.steps.values().map(|step| step.rank).max().unwrap();
        let last = decide_again(&mut record, top.max(rank));
        let settled = fold(&record);
        prop_assert_eq!((settled.state, settled.deciding), (Some(RecordState::Excused), Some(last)));
    }
}
