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

use std::collections::BTreeMap;
use std::sync::Arc;

use disk::{Disk, Harm};
use muster_server::app::ManualClock;
use run::{replay_seeds, run_seeds};
use sabotage::{Sabotage, run_seed};
use server::{NOON_MS, Server, Template};

/// Seeds of a normal test run.
const SEEDS: u64 = 200;
/// Seeds of a normal test run that run twice.
const REPLAYED_SEEDS: u64 = 12;
/// Writes and flushes of a first start during which the power goes.
const FIRST_WRITES: u64 = 60;

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

/// The seed of MUSTER_SIM_SEED with its trace.
#[test]
fn one_seed_can_be_replayed() {
    let seed = from_environment("MUSTER_SIM_SEED");
    let ran = run_seed(seed.unwrap_or(7), Sabotage::None);
    if seed.is_some() {
        ran.print_trace(usize::MAX);
    }
    assert_eq!(ran.violations, Vec::<String>::new());
}

/// Seeds run twice, beside each other and beside all other tests, and the second run is the first one to the last line.
/// As many as MUSTER_SIM_REPLAYS says.
#[test]
fn the_same_seed_gives_the_same_run_whatever_runs_beside() {
    let count = from_environment("MUSTER_SIM_REPLAYS").unwrap_or(REPLAYED_SEEDS);
    let differences = replay_seeds(0..count);
    for difference in &differences {
        say(difference);
    }
    assert!(differences.is_empty(), "{} of {count} seeds ran otherwise the second time", differences.len());
}

/// The power goes at each of the first writes of a server's life. One that says that it did not start is gone: the next
/// one, or the next power, finds no file of it open.
#[test]
fn a_server_that_does_not_start_has_no_file_open() {
    let template = Template::get();
    let (mut failed, mut in_use) = (0, 0);
    for operations in 0..FIRST_WRITES {
        let folder = template.folder(&format!("first-start-{}-{operations}", std::process::id()));
        let (disk, clock) = (Disk::with(BTreeMap::new()), Arc::new(ManualClock::new(NOON_MS)));
        disk.arm(operations, Harm::PowerCut);
        match Server::start(folder.path(), &disk, &clock, &Arc::default(), 1) {
            Ok(server) => server.stop(),
            Err(_) => {
                failed += 1;
                in_use += u64::from(disk.is_in_use());
            }
        }
    }
    assert_eq!(failed, FIRST_WRITES, "a power cut lets a start fail");
    assert_eq!(in_use, 0, "of {failed} servers that did not start");
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
