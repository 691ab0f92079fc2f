//! Runs seeds: one world each, chaos, healing, and the questions at the end.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use muster_server::clock::Stopwatch;

use crate::sabotage::{Sabotage, run_seed};
use crate::script::CHAOS_MS;
use crate::tally::Tally;
use crate::world::World;

/// After healing, the queues are empty within this time.
const DRAINED_MS: u64 = 60_000;
/// After healing, the rest (leases of jobs that a crash interrupted, pictures, polls) is done within this time.
const SETTLED_MS: u64 = 480_000;
/// Everybody's last look at the news takes no longer than this.
const LAST_LOOK_MS: u64 = 20_000;
/// Lines of a failing seed's trace that are printed.
const TRACE_LINES_MAX: usize = 250;

/// How a seed ended.
pub(crate) struct Ran {
    pub(crate) seed: u64,
    pub(crate) violations: Vec<String>,
    pub(crate) trace: Vec<String>,
    pub(crate) tally: Tally,
}

impl Ran {
    /// What to do about it.
    #[expect(clippy::print_stderr, reason = "the trace is for whoever runs the test")]
    pub(crate) fn print_trace(&self, lines_max: usize) {
        let skipped = self.trace.len().saturating_sub(lines_max);
        if skipped > 0 {
            eprintln!("... {skipped} lines before");
        }
        self.trace.iter().skip(skipped).for_each(|line| eprintln!("{line}"));
        eprintln!("seed {}: {:?}", self.seed, self.violations);
        eprintln!(
            "replay: MUSTER_SIM_SEED={} cargo test --release -p muster-tests --test simulation -- one_seed --nocapture",
            self.seed
        );
    }
}

/// Runs one seed on this thread.
pub(crate) fn run_seed_with(seed: u64, sabotage: Sabotage) -> Ran {
    static WORLDS: AtomicU64 = AtomicU64::new(0);
    let name = format!("world-{}-{}", std::process::id(), WORLDS.fetch_add(1, Ordering::Relaxed));
    let mut ran = Ran { seed, violations: Vec::new(), trace: Vec::new(), tally: Tally::default() };
    let ended = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(name, seed, sabotage);
        let lived = catch_unwind(AssertUnwindSafe(|| live(&mut world)));
        if let Some(server) = world.server.take() {
            server.stop();
        }
        ran.trace = std::mem::take(&mut world.trace);
        if world.blobs.failures() > 0 {
            world.tally.add("server: blob store fails", world.blobs.failures());
        }
        ran.violations = std::mem::take(&mut world.violations);
        ran.tally = std::mem::take(&mut world.tally);
        if lived.is_err() {
            ran.violations.push("a panic".to_owned());
        }
    }));
    if ended.is_err() {
        ran.violations.push("a panic at the beginning or the end".to_owned());
    }
    ran
}

fn live(world: &mut World) {
    world.write_script();
    world.run_until(CHAOS_MS);
    if !world.violations.is_empty() {
        return;
    }
    world.heal();
    world.run_until(CHAOS_MS + DRAINED_MS);
    world.check_drained();
    world.run_until(CHAOS_MS + SETTLED_MS - LAST_LOOK_MS);
    world.everybody_looks();
    world.run_until(CHAOS_MS + SETTLED_MS);
    if world.violations.is_empty() {
        world.spoil_log();
        world.check_everything();
    }
}

/// How many seeds ended.
pub(crate) struct Summary {
    pub(crate) failures: Vec<Ran>,
    pub(crate) tally: Tally,
    seeds: u64,
    seconds: f64,
}

impl Summary {
    #[expect(clippy::print_stderr, reason = "the table is for whoever runs the test")]
    pub(crate) fn print(&self) {
        for failure in self.failures.iter().take(3) {
            failure.print_trace(TRACE_LINES_MAX);
        }
        eprintln!("{}", self.tally);
        let failed: Vec<_> = self.failures.iter().map(|ran| (ran.seed, ran.violations.first())).collect();
        eprintln!("{} seeds in {:.1} s, {} failed: {failed:?}", self.seeds, self.seconds, failed.len());
    }
}

/// Runs seeds on every core.
pub(crate) fn run_seeds(seeds: Range<u64>) -> Summary {
    let watch = Stopwatch::start();
    let summary =
        Summary { failures: Vec::new(), tally: Tally::default(), seeds: seeds.end - seeds.start, seconds: 0.0 };
    let summary = Mutex::new(summary);
    on_every_core(seeds, |seed| {
        let ran = run_seed(seed, Sabotage::None);
        let mut summary = summary.lock().unwrap_or_else(PoisonError::into_inner);
        summary.tally.merge(&ran.tally);
        if !ran.violations.is_empty() {
            summary.failures.push(ran);
        }
    });
    let mut summary = summary.into_inner().unwrap_or_else(PoisonError::into_inner);
    summary.failures.sort_by_key(|ran| ran.seed);
    summary.seconds = watch.elapsed().as_secs_f64();
    summary
}

/// Runs each seed twice, on every core, and tells where a second run parts from the first.
pub(crate) fn replay_seeds(seeds: Range<u64>) -> Vec<String> {
    let differences = Mutex::new(Vec::new());
    on_every_core(seeds, |seed| {
        let [first, second] = [(); 2].map(|()| run_seed(seed, Sabotage::None).trace);
        let lines = first.len().max(second.len());
        if let Some(line) = (0..lines).find(|line| first.get(*line) != second.get(*line)) {
            let told =
                format!("seed {seed}, line {line} of {lines}:\n  {:?}\n  {:?}", first.get(line), second.get(line));
            differences.lock().unwrap_or_else(PoisonError::into_inner).push(told);
        }
    });
    differences.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn on_every_core(seeds: Range<u64>, work: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(seeds.start);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    work(seed);
                }
            });
        }
    });
}
