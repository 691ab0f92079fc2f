//! Which plan of a class session stands: a pure function of its document, in any order.
//!
//! | situation | what stands |
//! |---|---|
//! | an admin settled it, and nobody came after with another word | the plan that the settlement names |
//! | several settlements that had not seen each other name different plans | none: contested |
//! | no settlement, every plan is of one person for one course | the one with the lowest hash |
//! | no settlement, plans of several people or for several courses | none: contested |
//! | no plan | none: unknown |
//!
//! A session belongs to whoever planned it, and nobody can prove to the server who was first: a session is opened with
//! no network, and its locator stands on a wall from then on. So the order of arrival decides nothing, and while people
//! contest a session a person decides. One person who planned twice, such as on a new phone, contests nothing.

use crate::{ChangeHash, DeviceKey};
use std::collections::{BTreeMap, BTreeSet};

/// A plan, reduced to what decides whether it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The person, or the key while nobody knows whose it is.
    pub planner: String,
    /// The course.
    pub course: String,
}

/// An admin's word which plan stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// The key that signed it.
    pub writer: DeviceKey,
    /// The person; the server signs for many.
    pub by: String,
    /// Its place in the chain of that key, or anything that grows with it.
    pub place: u64,
    /// The plan that stands.
    pub plan: ChangeHash,
    /// The settlements that the person had seen.
    pub after: Vec<ChangeHash>,
}

/// What stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// No plan has arrived.
    Unknown,
    /// Nobody's plan stands until a person decides.
    Contested,
    /// This plan.
    Plan(ChangeHash),
}

/// Which plan stands.
#[must_use]
pub fn standing(plans: &BTreeMap<ChangeHash, Claim>, settlements: &BTreeMap<ChangeHash, Settlement>) -> Standing {
    let Some(first) = plans.first_key_value() else { return Standing::Unknown };
    let settled: BTreeSet<_> = heads(settlements)
        .into_iter()
        .map(|hash| settlements[&hash].plan)
        .filter(|plan| plans.contains_key(plan))
        .collect();
    match settled.first() {
        Some(plan) if settled.len() == 1 => Standing::Plan(*plan),
        Some(_) => Standing::Contested,
        None if plans.values().all(|claim| claim == first.1) => Standing::Plan(*first.0),
        None => Standing::Contested,
    }
}

/// The settlements that no other came after: what the next one names as seen. A settlement comes after those that it
/// names, and after the one before it of the same person at the same key.
#[must_use]
pub fn heads(settlements: &BTreeMap<ChangeHash, Settlement>) -> Vec<ChangeHash> {
    let mut seen: BTreeSet<ChangeHash> = settlements.values().flat_map(|one| one.after.iter().copied()).collect();
    let mut chains: BTreeMap<(DeviceKey, &str), Vec<(u64, ChangeHash)>> = BTreeMap::new();
    for (hash, one) in settlements {
        chains.entry((one.writer, &one.by)).or_default().push((one.place, *hash));
    }
    for chain in chains.values_mut() {
        chain.sort_unstable();
        chain.pop();
        seen.extend(chain.iter().map(|(_, hash)| *hash));
    }
    settlements.keys().copied().filter(|hash| !seen.contains(hash)).collect()
}
