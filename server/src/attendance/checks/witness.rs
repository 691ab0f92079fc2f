//! When the capture happened, as far as witnesses other than the phone's wall clock say: the server's anchor, the step
//! of the code, and the arrival at the server.

use muster_sync_core::{
    limits,
    time::{CaptureClocks, Interval, interval},
};

use super::{CheckInput, EpochSecret};

/// Allowed difference between the clock of whoever showed the code and the server's, in milliseconds.
pub(super) const CODE_CLOCK_MS_MAX: i64 = 2 * 60 * 1000;
/// How far before the start and after the end of the session a code is searched for, in milliseconds.
const CODE_SEARCH_MARGIN_MS: i64 = 30 * 60 * 1000;

/// Newest epochs in which a code of another time is looked for. Found or not, the code flags.
const EPOCHS_NAMED_MAX: usize = 8;

/// What the witnesses of time say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witnesses {
    /// What became of the anchor in the manifest.
    pub anchor: AnchorUse,
    /// The step under which the code was right, if it was.
    pub code: Option<CodeStep>,
    /// The interval without the code's step.
    pub without_code: Interval,
    /// The trusted interval.
    pub interval: Interval,
    /// Whether the witnesses contradict each other.
    pub contradictory: bool,
    /// The claimed time of capture, moved into the interval without the code's step.
    pub estimate_ms: i64,
}

/// What became of the anchor in the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnchorUse {
    /// There is none.
    Missing,
    /// It is the server's, for this device.
    Used,
    /// It is not the server's, or was made for another device; it says nothing.
    Ignored,
}

/// Where a code was right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodeStep {
    /// First and last millisecond of the step; `None` for a static code.
    pub span_ms: Option<(i64, i64)>,
    /// From when the epoch held.
    pub from_ms: i64,
    /// Until before when the epoch held.
    pub until_ms: i64,
}

/// Hears the witnesses.
#[must_use]
pub fn witnesses(input: &CheckInput<'_>) -> Witnesses {
    let arrived_ms = input.submission.received_at_ms;
    let (clocks, anchor) = trusted_clocks(input);
    let code = find_code(input);
    // The phone that showed the code may have been ahead of the server by this much.
    let step_start_ms = code.and_then(|code| code.span_ms).map(|(start, _)| start.saturating_sub(CODE_CLOCK_MS_MAX));
    let bounds = |step| match &clocks {
        Some(clocks) => interval(clocks, step, arrived_ms),
        None => Interval { not_before_ms: step.unwrap_or(0).max(0), not_after_ms: arrived_ms },
    };
    let (without_code, interval) = (bounds(None), bounds(step_start_ms));
    let runs_backwards = clocks.as_ref().is_some_and(monotonic_ran_backwards);
    let (earliest, latest) = hull(without_code);
    Witnesses {
        anchor,
        code,
        without_code,
        interval,
        contradictory: interval.is_contradictory() || runs_backwards,
        estimate_ms: input.submission.captured_at_ms.clamp(earliest, latest),
    }
}

/// Both ends in order, also when the witnesses contradict each other.
pub(super) fn hull(interval: Interval) -> (i64, i64) {
    let (a, b) = (interval.not_before_ms, interval.not_after_ms);
    (a.min(b), a.max(b))
}

/// The clocks with the anchor only if the server signed it for this very device.
fn trusted_clocks(input: &CheckInput<'_>) -> (Option<CaptureClocks>, AnchorUse) {
    let Some(manifest) = input.manifest else { return (None, AnchorUse::Missing) };
    let mut clocks = manifest.clocks.clone();
    let Some(reading) = &clocks.anchor else { return (Some(clocks), AnchorUse::Missing) };
    let ours = reading.anchor.device == input.submission.writer && reading.anchor.verify(&input.server).is_ok();
    if !ours {
        clocks.anchor = None;
    }
    (Some(clocks), if ours { AnchorUse::Used } else { AnchorUse::Ignored })
}

/// Within one boot the monotonic clock only moves forward.
fn monotonic_ran_backwards(clocks: &CaptureClocks) -> bool {
    let reading = clocks.anchor.as_ref().filter(|reading| reading.boot_id == clocks.boot_id);
    reading.is_some_and(|reading| reading.monotonic_ms > clocks.monotonic_ms)
}

/// Looks for the code in every epoch while it held, so that however many there are, the steps are tried about once; of
/// two, the epoch that held at that step is taken. A code of another time is looked for in the newest epochs, which only
/// says what is wrong with it.
fn find_code(input: &CheckInput<'_>) -> Option<CodeStep> {
    let code = input.submission.code.as_deref()?;
    let (opens_ms, closes_ms) = (input.session.opens_at_ms, input.session.closes_at_ms);
    let whole = (opens_ms.saturating_sub(CODE_SEARCH_MARGIN_MS), closes_ms.saturating_add(CODE_SEARCH_MARGIN_MS));
    let own = |epoch: &EpochSecret| {
        let from_ms = epoch.from_ms.saturating_sub(CODE_CLOCK_MS_MAX);
        let until_ms = epoch.until_ms.saturating_add(CODE_CLOCK_MS_MAX);
        (from_ms.max(whole.0), until_ms.min(whole.1))
    };
    let secrets = input.secrets?;
    let found: Vec<_> = secrets.iter().filter_map(|epoch| find_in(input, epoch, code, own(epoch))).collect();
    let in_its_epoch = found.iter().find(|step| step.is_in_its_epoch());
    let elsewhere = || secrets.iter().rev().take(EPOCHS_NAMED_MAX).find_map(|epoch| find_in(input, epoch, code, whole));
    in_its_epoch.or(found.last()).copied().or_else(elsewhere)
}

fn find_in(input: &CheckInput<'_>, epoch: &EpochSecret, code: &str, search_ms: (i64, i64)) -> Option<CodeStep> {
    let step = epoch.secret.find_step(code, input.submission.step, search_ms)?;
    let span_ms = epoch.secret.step_span_ms(step);
    Some(CodeStep { span_ms, from_ms: epoch.from_ms, until_ms: epoch.until_ms })
}

impl CodeStep {
    /// Whether the epoch held at the step. A static code has no step: see [`CodeStep::held_at`].
    pub(super) fn is_in_its_epoch(&self) -> bool {
        self.span_ms.is_none_or(|(start, end)| overlaps((start, end), (self.from_ms, self.until_ms)))
    }

    /// Whether the epoch held at some time of a span.
    pub(super) fn held_at(&self, span_ms: (i64, i64)) -> bool {
        overlaps(span_ms, (self.from_ms, self.until_ms))
    }
}

/// Whether two spans share a moment, with room for the difference of two clocks.
fn overlaps(a: (i64, i64), b: (i64, i64)) -> bool {
    let room = CODE_CLOCK_MS_MAX;
    a.0 <= b.1.saturating_add(room) && b.0.saturating_sub(room) <= a.1
}

/// How far the claimed time may be from a step of the code, in milliseconds.
pub(super) const CLAIM_MS_MAX: i64 = limits::CLOCK_SKEW_MS_MAX;
