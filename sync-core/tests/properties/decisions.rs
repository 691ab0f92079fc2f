//! The decision fold: a pure function, whatever the order in which its parts arrived.

use crate::fixtures::*;
use muster_sync_core::{
    ChangeHash,
    decision::{Record, RecordState, heads, state},
    document::*,
};
use proptest::prelude::*;

fn record(decisions: impl IntoIterator<Item = (u8, Decision)>) -> Record {
    Record {
        submissions: [hash(1)].into(),
        verdicts: vec![(1, verdict(hash(1), Outcome::Flagged))],
        decisions: decisions.into_iter().map(|(id, decision)| (hash(id), decision)).collect(),
        marks: [].into(),
    }
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
    record.verdicts.push((2, verdict(hash(1), Outcome::Accepted)));
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
    let record = Record { marks: [(hash(20), mark)].into(), ..Record::default() };
    assert_eq!(state(&record), Some(RecordState::Late));
    assert_eq!(heads(&record), vec![hash(20)]);
}

prop_compose! {
    fn any_decision(newest: u8)(
        action in 0u8..6, rank in 2u64..4, of in 0u8..20, seen in proptest::collection::vec(0..newest.max(1), 0..3),
    ) -> Decision {
        use DecisionAction::*;
        let action = [Confirm, Late, Excuse, Reject, Escalate, Undo][usize::from(action)];
        // A hash can only name what existed before it.
        let of = hash(if action == Undo { 50 + of % newest.max(1) } else { 1 });
        let after: Vec<_> = seen.into_iter().map(|index| hash(50 + index)).collect();
        Decision { of, ..says(action, rank, &after) }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_state_does_not_depend_on_arrival(
        decisions in (0u8..8).prop_flat_map(|n| (0..n).map(any_decision).collect::<Vec<_>>()),
        seed in any::<u64>(),
    ) {
        let mut arrived: Vec<_> = decisions.into_iter().enumerate().map(|(i, d)| (50 + i as u8, d)).collect();
        let first = state(&record(arrived.clone()));
        let first_heads = heads(&record(arrived.clone()));
        // Any rotation and reversal, with everything delivered twice.
        let turn = seed as usize % arrived.len().max(1);
        arrived.rotate_left(turn);
        arrived.reverse();
        arrived.extend(arrived.clone());
        prop_assert_eq!(state(&record(arrived.clone())), first);
        prop_assert_eq!(heads(&record(arrived)), first_heads);
    }

    #[test]
    fn deciding_again_after_every_head_always_settles(
        decisions in (1u8..8).prop_flat_map(|n| (0..n).map(any_decision).collect::<Vec<_>>()),
    ) {
        let mut record = record(decisions.into_iter().enumerate().map(|(i, d)| (50 + i as u8, d)));
        let seen = heads(&record);
        record.decisions.insert(hash(99), says(DecisionAction::Excuse, 3, &seen));
        prop_assert_eq!(state(&record), Some(RecordState::Excused));
    }
}
