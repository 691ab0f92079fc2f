//! Power cuts: what a server promised, and what of it is there when everything that was not flushed is gone.
//!
//! `kill -9` proves nothing about that, because the kernel still writes what the process had handed over. So a shim
//! (`shim.c`, compiled with `cc` when this runs) is loaded into a real `muster serve` under load and writes down what
//! it does to its files. After the kill, `model.rs` works out from that journal what a disk holds for certain: bytes
//! after a flush of their file, names after a flush of their folder, nothing else. The folder is put into that state, a
//! server is started on it, and every record and image that was acknowledged is asked for again.
//!
//! In every third cut everything unflushed is gone. In the others each unflushed sector survives or not by a seeded
//! chance, so that a later write can be there without an earlier one, in pieces of 512 or 4096 bytes, and so can a new
//! name. Files written through memory (SQLite's `-shm`) hold anything. A cut can come under load, in the middle of a
//! start (which recovers from the cut before) or of a stop.
//!
//! A harness that cannot fail proves nothing, so each run first cuts the power of a program whose outcome is known
//! (`probe.rs`), compares the model with the real files after each kill (a write that went past the shim shows), and
//! wants a file that was never flushed to be gone. `--fault normal` runs SQLite at `synchronous=NORMAL`, `--fault
//! early` answers before the commit: both must lose records.
//!
//! Not simulated: disks that lie about flushes, sectors that rot, sectors that tear within 512 bytes.

mod check;
mod cuts;
mod dice;
mod disk;
mod first_start;
mod journal;
mod load;
mod model;
mod probe;
mod shim;
mod victim;

use std::io::Write as _;
use std::process::ExitCode;

use muster_server::clock::Stopwatch;
pub(crate) use muster_tests::campus::Result;

use crate::cuts::{Options, Totals};
use crate::shim::Shim;
use crate::victim::Setup;

const USAGE: &str = "usage: power-cut [--cuts N] [--seed N] [--fault normal|early [--until-loss]] [--muster PATH]
       power-cut first-start
--muster cuts the power of that binary instead of the server in this program, which has the same code.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("serve") => {
            victim::begin_with_fault();
            victim::leave_sentinel();
            return muster_server::cli::run();
        }
        Some("probe") => return probe::play(),
        _ => {}
    }
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("power-cut: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<bool> {
    let value = |name: &str| -> Result<Option<&String>> {
        match arguments.iter().position(|argument| argument == name) {
            Some(at) => Ok(Some(arguments.get(at + 1).ok_or(USAGE)?)),
            None => Ok(None),
        }
    };
    let number =
        |name: &str, default: u64| -> Result<u64> { value(name)?.map_or(Ok(default), |text| Ok(text.parse()?)) };
    let known = ["--cuts", "--seed", "--fault", "--muster", "--until-loss", "first-start"];
    if arguments.iter().any(|argument| argument.starts_with('-') && !known.contains(&argument.as_str())) {
        return Err(USAGE.into());
    }
    let fault = value("--fault")?.map_or("none", String::as_str);
    let muster = value("--muster")?;
    if !["none", "normal", "early"].contains(&fault) || (muster.is_some() && fault != "none") {
        return Err(USAGE.into());
    }
    let folder = tempfile::tempdir()?;
    let setup = Setup {
        shim: Shim::compile(folder.path())?,
        muster: muster.map(Into::into),
        fault: fault.to_owned(),
        folder: folder.path().to_owned(),
    };
    probe::check(&setup)?;
    if arguments.first().is_some_and(|argument| argument == "first-start") {
        return first_start::run(&setup);
    }
    let options = Options {
        n_cuts: usize::try_from(number("--cuts", 100)?)?,
        seed: number("--seed", 1)?,
        until_loss: arguments.iter().any(|argument| argument == "--until-loss"),
    };
    let watch = Stopwatch::start();
    let totals = cuts::run(&setup, &options)?;
    report(&totals, watch.elapsed().as_secs_f64());
    Ok(judge(&totals, fault))
}

fn report(totals: &Totals, seconds: f64) {
    say(&format!(
        "{} cuts in {seconds:.0} s: {} records acknowledged, {} lost; {} images acknowledged, {} lost; {} cuts with a \
         loss; {} records in flight",
        totals.n_cuts,
        totals.n_acked,
        totals.n_lost,
        totals.n_uploads,
        totals.n_lost_uploads,
        totals.n_with_loss,
        totals.n_in_flight
    ));
    say(&format!(
        "the shim saw {} operations and {} flushes, {} of them of the database file; {} things were wrong",
        totals.n_operations,
        totals.n_syncs,
        totals.n_checkpoints,
        totals.wrong.len()
    ));
}

/// Without a fault nothing may be lost; with one, something must.
fn judge(totals: &Totals, fault: &str) -> bool {
    let lost = totals.n_lost + totals.n_lost_uploads;
    if fault == "none" {
        return lost == 0 && totals.n_acked > 0 && totals.wrong.is_empty();
    }
    if lost == 0 {
        say(&format!("the fault {fault} lost nothing: this harness would not notice one"));
    }
    lost > 0
}

/// Writes one line to standard output.
pub(crate) fn say(line: &str) {
    // Nobody can be told that nobody reads.
    let _ = writeln!(std::io::stdout(), "{line}");
}
