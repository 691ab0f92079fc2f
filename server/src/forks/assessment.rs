//! What a fork looks like: a restored backup, a copy in use, or neither for certain. A pure function over facts that the
//! server has, which never says more than they give.
//!
//! Two sides: the *first* wrote what is in the log, the *second* wrote the rival. Within one boot the monotonic clock
//! orders two captures. Across boots only the server orders them: a capture that carries an anchor from after the
//! arrival of another one was made after it. Boot ids, models and monotonic clocks are the phone's own words; whoever
//! has the key can forge them. That is why the best that can be said of a restored backup is "probably".

use serde::Serialize;
use utoipa::ToSchema;

/// One capture of the key, as far as the server knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// When the server had it, Unix milliseconds.
    pub received_at_ms: i64,
    /// What its manifest says; `None` if there is none: not a capture, erased, or never arrived.
    pub phone: Option<PhoneFacts>,
}

/// What a manifest says about the phone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhoneFacts {
    /// The boot during which it was captured.
    pub boot_id: [u8; 16],
    /// The monotonic clock of that boot, milliseconds.
    pub monotonic_ms: u64,
    /// The phone's wall clock, Unix milliseconds.
    pub claimed_ms: i64,
    /// The time of the server's anchor that it carries, if that verified: it was not captured before.
    pub not_before_ms: Option<i64>,
    /// Platform and model.
    pub model: String,
}

/// What is assessed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sightings {
    /// Captures in the log that arrived before the first rival did.
    pub before: Vec<Sighting>,
    /// The rivals.
    pub rivals: Vec<Sighting>,
    /// Captures in the log that arrived after the first rival did. Which side wrote them, their boot says.
    pub after: Vec<Sighting>,
}

/// How a fork looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Assessment {
    /// One side ended before the other one began.
    ProbablyRestoredBackup,
    /// The first side went on after the second had begun.
    CopiesInUseAtOnce,
    /// The facts fit both.
    CannotTell,
}

/// The assessment with the facts that it used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Assessed {
    /// A code.
    pub code: Assessment,
    /// The same in words, for the person who decides.
    pub sentence: &'static str,
    /// Captures of the first side that were looked at.
    pub first_side: usize,
    /// Captures of the second side that were looked at, the rivals included.
    pub second_side: usize,
    /// Captures whose side cannot be told.
    pub unattributed: usize,
    /// Whether both sides name the same platform and model; missing if one names none.
    pub same_model: Option<bool>,
    /// Whether both sides wrote during one and the same boot of a phone.
    pub same_boot: bool,
    /// Whether a capture of the first side was made after one of the second.
    pub first_went_on: bool,
    /// Whether the second side wrote more than the rivals.
    pub second_went_on: bool,
    /// Whether every time that the second side claims is later than every time that the first side claims.
    pub claims_in_sequence: bool,
}

const RESTORED: &str = "Probably a restored backup: everything of the first side was there before the second side \
    began, the first side has not written since, and both name the same kind of phone. A copy on a second phone of that \
    kind, whose first owner has stopped writing, would look the same.";
const AT_ONCE: &str = "Two copies of this key were in use at the same time: the side that wrote what is in the log \
    went on after the other side had begun. A restored backup does not do that.";
const NO_FACTS: &str =
    "Cannot tell: there is no evidence of the phone on both sides. Ask the person to show the phone.";
const NOT_YET: &str = "Cannot tell yet: neither side has written anything since. Look again after the next sync.";
const OTHER_MODEL: &str = "Cannot tell: the first side has not written since, but the second side names another kind \
    of phone. It may be the same person's new phone, or somebody else's copy.";
const MIXED: &str = "Cannot tell: the times that both sides claim lie among each other, and nothing that the server \
    signed says which came first.";

/// Assesses a fork.
#[must_use]
pub fn assess(sightings: &Sightings) -> Assessed {
    let sides = Sides::of(sightings);
    let (code, sentence) = sides.judge();
    Assessed {
        code,
        sentence,
        first_side: sides.first.len(),
        second_side: sides.second.len(),
        unattributed: sides.unattributed,
        same_model: sides.same_model(),
        same_boot: sides.same_boot(),
        first_went_on: sides.first_went_on(),
        second_went_on: sides.second_went_on,
        claims_in_sequence: sides.claims_in_sequence(),
    }
}

type Seen<'a> = (&'a Sighting, &'a PhoneFacts);

struct Sides<'a> {
    first: Vec<Seen<'a>>,
    second: Vec<Seen<'a>>,
    second_went_on: bool,
    unattributed: usize,
}

impl<'a> Sides<'a> {
    fn of(sightings: &'a Sightings) -> Self {
        let seen = |list: &'a [Sighting]| list.iter().filter_map(|sighting| Some((sighting, sighting.phone.as_ref()?)));
        let mut first: Vec<Seen<'a>> = seen(&sightings.before).collect();
        let mut second: Vec<Seen<'a>> = seen(&sightings.rivals).collect();
        let all = sightings.before.len() + sightings.rivals.len() + sightings.after.len();
        let has_boot = |side: &[Seen<'_>], facts: &PhoneFacts| side.iter().any(|(_, of)| of.boot_id == facts.boot_id);
        let mut second_went_on = false;
        for (sighting, facts) in seen(&sightings.after) {
            // A boot that wrote on both sides tells nothing about what it writes now; neither does one that is new.
            match (has_boot(&first, facts), has_boot(&second, facts)) {
                (true, false) => first.push((sighting, facts)),
                (false, true) => {
                    second_went_on = true;
                    second.push((sighting, facts));
                }
                _ => {}
            }
        }
        let unattributed = all - first.len() - second.len();
        Self { first, second, second_went_on, unattributed }
    }

    fn judge(&self) -> (Assessment, &'static str) {
        if self.first_went_on() {
            return (Assessment::CopiesInUseAtOnce, AT_ONCE);
        }
        let cannot = |sentence| (Assessment::CannotTell, sentence);
        match self.same_model() {
            _ if self.first.is_empty() || self.second.is_empty() => cannot(NO_FACTS),
            _ if !self.claims_in_sequence() => cannot(MIXED),
            None => cannot(NO_FACTS),
            Some(false) => cannot(OTHER_MODEL),
            // Within one boot, the monotonic clock says that the second side came later: one phone, set back.
            Some(true) if self.same_boot() || self.second_went_on => (Assessment::ProbablyRestoredBackup, RESTORED),
            Some(true) => cannot(NOT_YET),
        }
    }

    fn first_went_on(&self) -> bool {
        self.first.iter().any(|first| self.second.iter().any(|second| is_later(first, second)))
    }

    fn same_boot(&self) -> bool {
        self.first.iter().any(|(_, first)| self.second.iter().any(|(_, second)| first.boot_id == second.boot_id))
    }

    fn same_model(&self) -> Option<bool> {
        let mut models = self.first.iter().chain(&self.second).map(|(_, facts)| facts.model.as_str());
        let named = models.clone().all(|model| !model.is_empty());
        let model = models.next().filter(|_| named)?;
        Some(models.all(|other| other == model))
    }

    fn claims_in_sequence(&self) -> bool {
        let latest = self.first.iter().map(|(_, facts)| facts.claimed_ms).max();
        let earliest = self.second.iter().map(|(_, facts)| facts.claimed_ms).min();
        matches!((latest, earliest), (Some(latest), Some(earliest)) if latest < earliest)
    }
}

/// Whether `a` was captured after `b`, for certain: later in one boot, or with an anchor from after the arrival of `b`.
fn is_later((_, a): &Seen<'_>, (b_sighting, b): &Seen<'_>) -> bool {
    if a.boot_id == b.boot_id {
        return a.monotonic_ms > b.monotonic_ms;
    }
    a.not_before_ms.is_some_and(|not_before_ms| not_before_ms > b_sighting.received_at_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: i64 = 60_000;

    /// A capture at minute `at` by the phone's clocks, which the server had at `received`, with an anchor of `anchored`.
    fn capture(boot: u8, at: i64, received: i64, anchored: Option<i64>) -> Sighting {
        let phone = PhoneFacts {
            boot_id: [boot; 16],
            monotonic_ms: (at * MINUTE_MS) as u64,
            claimed_ms: at * MINUTE_MS,
            not_before_ms: anchored.map(|minute| minute * MINUTE_MS),
            model: "android Pixel 9".to_owned(),
        };
        Sighting { received_at_ms: received * MINUTE_MS, phone: Some(phone) }
    }

    fn with_model(mut sighting: Sighting, model: &str) -> Sighting {
        if let Some(phone) = &mut sighting.phone {
            phone.model = model.to_owned();
        }
        sighting
    }

    /// A phone that was lost after minute 20 and came back from a backup of minute 5, on which it writes on.
    fn restored() -> Sightings {
        Sightings {
            before: vec![capture(1, 10, 10, Some(5)), capture(1, 20, 20, Some(10))],
            rivals: vec![capture(2, 60, 61, Some(5))],
            after: vec![capture(2, 70, 71, Some(61))],
        }
    }

    fn code(sightings: &Sightings) -> Assessment {
        assess(sightings).code
    }

    #[test]
    fn one_side_that_ends_before_the_other_begins_is_probably_a_restored_backup() {
        let assessed = assess(&restored());
        assert_eq!(assessed.code, Assessment::ProbablyRestoredBackup);
        assert!(assessed.sentence.starts_with("Probably"));
        assert_eq!((assessed.first_side, assessed.second_side, assessed.unattributed), (2, 2, 0));
        assert!(assessed.second_went_on && !assessed.first_went_on && assessed.claims_in_sequence);
    }

    #[test]
    fn a_first_side_that_goes_on_shows_two_copies_at_once() {
        let mut clone = restored();
        // It saw the server at minute 62, after the rival had arrived.
        clone.after.push(capture(1, 63, 64, Some(62)));
        assert_eq!(code(&clone), Assessment::CopiesInUseAtOnce);
        // An arrival alone is no proof: it may have been captured before, and have waited for a network.
        let mut late = restored();
        late.after.push(capture(1, 30, 64, Some(10)));
        assert_eq!(code(&late), Assessment::ProbablyRestoredBackup);
    }

    #[test]
    fn right_after_the_fork_both_stories_fit() {
        let mut fresh = restored();
        fresh.after.clear();
        let assessed = assess(&fresh);
        assert_eq!((assessed.code, assessed.sentence), (Assessment::CannotTell, NOT_YET));
    }

    #[test]
    fn within_one_boot_the_monotonic_clock_decides() {
        let set_back = Sightings {
            before: vec![capture(1, 10, 10, None), capture(1, 20, 20, None)],
            rivals: vec![capture(1, 30, 31, None)],
            after: Vec::new(),
        };
        assert_eq!(code(&set_back), Assessment::ProbablyRestoredBackup);
        let both = Sightings { rivals: vec![capture(1, 15, 31, None)], ..set_back };
        assert_eq!(code(&both), Assessment::CopiesInUseAtOnce);
    }

    #[test]
    fn another_kind_of_phone_may_be_a_new_one_or_a_copy() {
        let mut moved = restored();
        moved.rivals = vec![with_model(capture(2, 60, 61, Some(5)), "android Pixel 10")];
        let assessed = assess(&moved);
        assert_eq!((assessed.code, assessed.same_model), (Assessment::CannotTell, Some(false)));
    }

    #[test]
    fn claims_that_lie_among_each_other_say_nothing() {
        let mut mixed = restored();
        mixed.rivals = vec![capture(2, 15, 61, None)];
        assert_eq!(assess(&mixed).sentence, MIXED);
    }

    #[test]
    fn without_evidence_of_the_phone_there_is_nothing_to_say() {
        let mut erased = restored();
        erased.before.iter_mut().for_each(|sighting| sighting.phone = None);
        assert_eq!(assess(&erased).sentence, NO_FACTS);
        assert_eq!(assess(&Sightings::default()).sentence, NO_FACTS);
        let mut nameless = restored();
        nameless.after.clear();
        nameless.rivals = vec![with_model(capture(2, 60, 61, None), "")];
        assert_eq!((assess(&nameless).code, assess(&nameless).same_model), (Assessment::CannotTell, None));
    }

    #[test]
    fn a_phone_of_a_third_boot_belongs_to_no_side() {
        let mut rebooted = restored();
        rebooted.after = vec![capture(3, 70, 71, Some(61))];
        let assessed = assess(&rebooted);
        assert_eq!((assessed.code, assessed.unattributed), (Assessment::CannotTell, 1));
    }
}
