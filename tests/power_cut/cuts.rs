//! Cut after cut: load, kill, take away what was not flushed, start again, check every promise.

use std::time::Duration;

use muster_server::clock::Stopwatch;
use muster_tests::campus::Campus;

use crate::Result;
use crate::check::{self, Findings, Promises};
use crate::dice::Dice;
use crate::disk::Survival;
use crate::load::{self, Outcome, Phones};
use crate::say;
use crate::victim::{Cut, Setup, Victim, complaints};

/// Students with bound phones.
const STUDENTS: usize = 24;
/// Class sessions per cut, which is how many records each student can push before it.
const SESSIONS_PER_CUT: usize = 200;
/// Cuts that one data folder lives through. Tokens last an hour.
const CUTS_PER_LIFE: usize = 20;
/// Load before a cut.
const LOAD_MS: std::ops::Range<u64> = 50..1_500;
/// From the start of a process, or from the word to stop, until a cut at most.
const SOON_MS: u64 = 250;

/// What to run.
pub(crate) struct Options {
    pub(crate) n_cuts: usize,
    pub(crate) seed: u64,
    /// Stop after the first cut that lost something.
    pub(crate) until_loss: bool,
}

/// When the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Load,
    Start,
    Stop,
}

impl Moment {
    fn draw(dice: &mut Dice) -> Self {
        match dice.below(10) {
            0 => Self::Stop,
            1 | 2 => Self::Start,
            _ => Self::Load,
        }
    }
}

/// What all cuts gave.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) n_cuts: usize,
    pub(crate) n_acked: usize,
    pub(crate) n_lost: usize,
    pub(crate) n_uploads: usize,
    pub(crate) n_lost_uploads: usize,
    /// Cuts that lost a record or an upload.
    pub(crate) n_with_loss: usize,
    pub(crate) n_in_flight: usize,
    pub(crate) n_operations: usize,
    pub(crate) n_syncs: usize,
    pub(crate) n_checkpoints: usize,
    pub(crate) wrong: Vec<String>,
}

/// Runs all cuts.
pub(crate) fn run(setup: &Setup, options: &Options) -> Result<Totals> {
    let mut totals = Totals::default();
    let mut dice = Dice::new(options.seed);
    while totals.n_cuts < options.n_cuts && !(options.until_loss && totals.n_with_loss > 0) {
        let n_cuts = CUTS_PER_LIFE.min(options.n_cuts - totals.n_cuts);
        live(setup, options, n_cuts, &mut dice, &mut totals)?;
    }
    Ok(totals)
}

/// One data folder from its beginning through several cuts.
fn live(setup: &Setup, options: &Options, n_cuts: usize, dice: &mut Dice, totals: &mut Totals) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let campus = runtime.block_on(Campus::build(STUDENTS, n_cuts * SESSIONS_PER_CUT))?;
    drop(runtime);
    let _ = std::fs::remove_dir_all(setup.disk());
    std::fs::create_dir(setup.disk())?;
    std::fs::rename(campus.data.copy()?.keep(), setup.data())?;
    let mut life = Life { phones: Some(Phones::new(campus)), promises: Promises::default() };
    let mut next = Moment::Load;
    for index in 0..n_cuts {
        let watch = Stopwatch::start();
        let moment = next;
        next = Moment::draw(dice);
        let (survival, cut) = life.cut(setup, moment, dice, totals)?;
        // A start that is cut next meets what this cut left, so nothing is looked at in between.
        let is_followed = next == Moment::Start && index + 1 < n_cuts;
        let findings = if is_followed { Findings::default() } else { life.recover(setup)? };
        totals.add(&cut, &findings);
        say(&format!(
            "cut {:3} {moment:?}, {survival:?}: {} operations, {} flushes; lost {} records, {} images; {:.1} s",
            totals.n_cuts,
            cut.n_operations,
            cut.n_syncs,
            findings.lost,
            findings.lost_uploads,
            watch.elapsed().as_secs_f64()
        ));
        for wrong in findings.wrong {
            say(&format!("    {wrong}"));
            totals.wrong.push(wrong);
        }
        if options.until_loss && totals.n_with_loss > 0 {
            break;
        }
    }
    Ok(())
}

struct Life {
    /// `None` only while they push.
    phones: Option<Phones>,
    promises: Promises,
}

impl Life {
    /// A server that runs for a while, and then has no power.
    fn cut(&mut self, setup: &Setup, moment: Moment, dice: &mut Dice, totals: &mut Totals) -> Result<(Survival, Cut)> {
        let survival = Survival::draw(dice);
        let mut victim = Victim::spawn(setup)?;
        let outcome;
        (victim, outcome) = self.work(victim, moment, dice)?;
        totals.n_acked += outcome.acked.len();
        totals.n_uploads += outcome.uploads.len();
        totals.n_in_flight += outcome.in_flight.len();
        for wrong in outcome.wrong {
            say(&format!("    {wrong}"));
            totals.wrong.push(wrong);
        }
        self.promises.fresh.extend(outcome.acked);
        self.promises.in_flight.extend(outcome.in_flight);
        self.promises.uploads.extend(outcome.uploads);
        let cut = victim.lose_power(survival, dice)?;
        if moment == Moment::Load && cut.n_syncs == 0 {
            return Err("the server was under load and flushed nothing: the shim is not in effect".into());
        }
        Ok((survival, cut))
    }

    fn work(&mut self, mut victim: Victim, moment: Moment, dice: &mut Dice) -> Result<(Victim, Outcome)> {
        if moment == Moment::Start {
            victim.has_begun()?;
            std::thread::sleep(Duration::from_millis(dice.below(SOON_MS)));
            victim.kill()?;
            return Ok((victim, Outcome::default()));
        }
        let address = victim.address()?;
        let phones = self.phones.take().ok_or("the phones are busy")?;
        let load = Duration::from_millis(LOAD_MS.start + dice.below(LOAD_MS.end - LOAD_MS.start));
        let stopping = Duration::from_millis(dice.below(SOON_MS));
        let victim = std::rc::Rc::new(std::cell::RefCell::new(victim));
        let of_cut = std::rc::Rc::clone(&victim);
        let cut = async move {
            tokio::time::sleep(load).await;
            if moment == Moment::Stop {
                of_cut.borrow().ask_to_stop()?;
                tokio::time::sleep(stopping).await;
            }
            of_cut.borrow_mut().kill()
        };
        let (phones, outcome) = load::run(phones, address, dice, cut)?;
        self.phones = Some(phones);
        let victim = std::rc::Rc::into_inner(victim).ok_or("the server is still in use")?.into_inner();
        Ok((victim, outcome))
    }

    /// Starts a server on what is left, without the shim, and checks every promise.
    fn recover(&mut self, setup: &Setup) -> Result<Findings> {
        let phones = self.phones.as_ref().ok_or("the phones are busy")?;
        let server = crate::victim::Plain::start(setup, &setup.data())?;
        let complaints = complaints(&setup.log())?;
        let mut findings = check::check(phones, &mut self.promises, server.address, &setup.data())?;
        findings.wrong.extend(complaints);
        Ok(findings)
    }
}

impl Totals {
    fn add(&mut self, cut: &Cut, findings: &Findings) {
        self.n_cuts += 1;
        self.n_lost += findings.lost;
        self.n_lost_uploads += findings.lost_uploads;
        self.n_with_loss += usize::from(findings.lost + findings.lost_uploads > 0);
        self.n_operations += cut.n_operations;
        self.n_syncs += cut.n_syncs;
        self.n_checkpoints += cut.n_checkpoints;
    }
}
