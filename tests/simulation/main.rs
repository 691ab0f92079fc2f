//! The simulation: phones, lecturers, the real server and a network under one seed, on virtual time.
//!
//! Every `cargo test` runs the same 200 seeds. Many more, and one alone with its trace:
//!
//!     MUSTER_SIM_SEEDS=10000 cargo test --release -p muster-tests --test simulation -- whatever_breaks --nocapture
//!     MUSTER_SIM_SEED=4711 cargo test --release -p muster-tests --test simulation -- one_seed --nocapture

mod blobs;
mod cheat;
mod dice;
mod disk;
mod drive;
mod invariants;
mod lecturer;
mod network;
mod phone;
mod run;
mod sabotage;
mod script;
mod server;
mod tally;
mod vfs;
mod world;

use run::run_seeds;
use sabotage::{Sabotage, run_seed, run_seed_alone};

/// Seeds of a normal test run.
const SEEDS: u64 = 200;

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The fixed seeds, or as many as MUSTER_SIM_SEEDS says.
#[test]
fn whatever_breaks_nothing_is_lost_and_everybody_agrees() {
    let count = from_environment("MUSTER_SIM_SEEDS").unwrap_or(SEEDS);
    let summary = run_seeds(0..count);
    summary.print();
    assert!(summary.failures.is_empty(), "{} of {count} seeds failed", summary.failures.len());
    let missing = summary.tally.missing();
    assert!(missing.is_empty(), "the simulation has become tame, these never happened: {missing:#?}");
}

/// The seed of MUSTER_SIM_SEED alone, with its trace.
#[test]
fn one_seed_can_be_replayed() {
    let seed = from_environment("MUSTER_SIM_SEED");
    let ran = run_seed_alone(seed.unwrap_or(7));
    if seed.is_some() {
        ran.print_trace(usize::MAX);
    } else {
        assert_eq!(ran.trace, run_seed_alone(7).trace, "the same seed gives the same run");
    }
    assert_eq!(ran.violations, Vec::<String>::new());
}

/// Seeds within which a broken build must be noticed.
const NOTICED_WITHIN: u64 = 40;

/// For whoever runs the tests with `--nocapture`.
#[expect(clippy::print_stderr, reason = "what was noticed is worth reading")]
fn say(line: &str) {
    eprintln!("{line}");
}

/// Runs a broken build until what it breaks is noticed. Other symptoms may show first: where a database forgets, what a
/// person wrote at a desk can be lost before a receipt is.
#[track_caller]
#[expect(clippy::panic, reason = "a broken build that nothing notices fails the test")]
fn assert_noticed(sabotage: Sabotage, expected: &str) {
    for seed in 0..NOTICED_WITHIN {
        let violations = run_seed(seed, sabotage).violations;
        if let Some(violation) = violations.iter().find(|violation| violation.contains(expected)) {
            say(&format!("{sabotage:?}: noticed with seed {seed}: {violation}"));
            return;
        }
    }
    panic!("{sabotage:?} was not noticed in {NOTICED_WITHIN} seeds");
}

#[test]
fn an_answer_before_the_commit_is_noticed() {
    assert_noticed(Sabotage::AnswersBeforeCommit, "is lost");
}

#[test]
fn a_commit_without_a_flush_is_noticed() {
    assert_noticed(Sabotage::SynchronousNormal, "is lost");
}

#[test]
fn a_server_that_drops_fates_is_noticed() {
    assert_noticed(Sabotage::DropsFates, "not drained");
}

#[test]
fn a_change_that_is_in_the_log_twice_is_noticed() {
    assert_noticed(Sabotage::DoublesChange, "twice");
}

#[test]
fn a_verdict_by_a_student_is_noticed() {
    assert_noticed(Sabotage::TakesAnything, "log index");
}

#[test]
fn a_submission_without_a_verdict_is_noticed() {
    assert_noticed(Sabotage::ForgetsVerdicts, "has no verdict");
}

#[test]
fn a_replica_that_misses_a_change_is_noticed() {
    assert_noticed(Sabotage::HidesChange, "differs");
}
