//! Which plan stands: a pure function, whatever the order in which plans and settlements arrived.

use crate::fixtures::*;
use muster_sync_core::{
    ChangeHash, DeviceKey,
    plan::{Claim, Settlement, Standing, heads, standing},
};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn claim(planner: u8, course: u8) -> Claim {
    Claim { planner: format!("lecturer-{planner}"), course: format!("course-{course}") }
}

fn settlement(admin: u8, place: u64, plan: u8, after: &[u8]) -> Settlement {
    Settlement {
        writer: DeviceKey([admin; 32]),
        by: format!("admin-{admin}"),
        place,
        plan: hash(plan),
        after: after.iter().copied().map(hash).collect(),
    }
}

/// Plans by their number from 1 on, and settlements by theirs from 100 on.
fn stands(plans: &[Claim], settlements: &[Settlement]) -> Standing {
    let plans: BTreeMap<_, _> = (1..).zip(plans).map(|(id, claim)| (hash(id), claim.clone())).collect();
    standing(&plans, &numbered(settlements))
}

fn numbered(settlements: &[Settlement]) -> BTreeMap<ChangeHash, Settlement> {
    (100..).zip(settlements).map(|(id, one)| (hash(id), one.clone())).collect()
}

#[test]
fn the_table_of_standing() {
    let (mine, same, other) = (claim(1, 1), claim(1, 1), claim(2, 2));
    assert_eq!(stands(&[], &[]), Standing::Unknown);
    assert_eq!(stands(std::slice::from_ref(&mine), &[]), Standing::Plan(hash(1)));
    assert_eq!(stands(&[mine.clone(), same], &[]), Standing::Plan(hash(1)), "a new phone contests nothing");
    assert_eq!(stands(&[mine.clone(), claim(2, 1)], &[]), Standing::Contested, "also within one course");
    let both = [mine, other];
    assert_eq!(stands(&both, &[]), Standing::Contested);
    assert_eq!(stands(&both, &[settlement(1, 1, 2, &[])]), Standing::Plan(hash(2)));
    assert_eq!(stands(&both, &[settlement(1, 1, 9, &[])]), Standing::Contested, "a plan that is not there");
    let (first, against) = (settlement(1, 1, 1, &[]), settlement(2, 1, 2, &[]));
    assert_eq!(
        stands(&both, &[first.clone(), against]),
        Standing::Contested,
        "two admins who saw nothing of each other"
    );
    let informed = settlement(2, 1, 2, &[100]);
    assert_eq!(stands(&both, &[first.clone(), informed]), Standing::Plan(hash(2)), "one who saw the other");
    let again = settlement(1, 2, 2, &[]);
    assert_eq!(stands(&both, &[first.clone(), again]), Standing::Plan(hash(2)), "the same admin again");
    let three = [both[0].clone(), both[1].clone(), claim(3, 3)];
    assert_eq!(stands(&three, &[first]), Standing::Plan(hash(1)), "a plan after the settlement changes nothing");
}

proptest! {
    #[test]
    fn whoever_has_seen_everything_settles_it_and_no_stranger_undoes_that(
        planners in prop::collection::vec((1_u8..5, 1_u8..4), 1..12),
        words in prop::collection::vec((1_u8..5, 1_u64..6, 1_u8..14, prop::collection::vec(100_u8..120, 0..3)), 0..20),
        chosen in any::<prop::sample::Index>(),
        strangers in prop::collection::vec((5_u8..9, 1_u8..9), 0..12),
    ) {
        let mut plans: Vec<_> = planners.iter().map(|(planner, course)| claim(*planner, *course)).collect();
        // Nobody names what does not exist yet: a hash cannot be guessed.
        let mut settlements: Vec<Settlement> = Vec::new();
        for (id, (admin, place, plan, after)) in (100..).zip(&words) {
            let seen: Vec<u8> = after.iter().copied().filter(|seen| *seen < id).collect();
            settlements.push(settlement(*admin, *place, *plan, &seen));
        }
        let before = stands(&plans, &settlements);
        if let Standing::Plan(plan) = before {
            prop_assert!((1..=plans.len() as u8).any(|id| hash(id) == plan), "only a plan that is there stands");
        }
        let plan = chosen.index(plans.len()) as u8 + 1;
        let mut last = settlement(9, 1, plan, &[]);
        last.after = heads(&numbered(&settlements));
        settlements.push(last);
        prop_assert_eq!(stands(&plans, &settlements), Standing::Plan(hash(plan)));
        plans.extend(strangers.iter().map(|(planner, course)| claim(*planner, *course)));
        prop_assert_eq!(stands(&plans, &settlements), Standing::Plan(hash(plan)));
    }

    #[test]
    fn without_a_settlement_a_second_person_or_course_always_contests(
        planners in prop::collection::vec((1_u8..4, 1_u8..3), 1..12),
    ) {
        let plans: Vec<_> = planners.iter().map(|(planner, course)| claim(*planner, *course)).collect();
        let agree = planners.iter().all(|one| *one == planners[0]);
        let expected = if agree { Standing::Plan(hash(1)) } else { Standing::Contested };
        prop_assert_eq!(stands(&plans, &[]), expected);
        let turned: Vec<_> = plans.iter().rev().cloned().collect();
        prop_assert_eq!(stands(&turned, &[]), expected);
    }
}
