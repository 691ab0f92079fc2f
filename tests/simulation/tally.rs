//! How often everything happened, so that a simulation that has become tame is noticed.

use std::collections::BTreeMap;
use std::fmt;

/// What has to happen at least once in the fixed seeds.
pub(crate) const EXPECTED: &[&str] = &[
    "network: request lost",
    "network: answer lost",
    "network: request repeated",
    "network: requests overtake each other",
    "network: answer cut",
    "network: captive portal",
    "network: damaged copy",
    "network: 503 on the way",
    "network: phone offline",
    "server: power cut at a write",
    "server: power cut between requests",
    "server: disk full",
    "server: write error",
    "server: flush error",
    "server: restarted in order",
    "server: cut: unflushed all lost",
    "server: cut: unflushed all kept",
    "server: cut: torn tail",
    "server: cut: some kept, one torn",
    "server: blob store fails",
    "phone: power cut at a write",
    "phone: disk full",
    "phone: write error",
    "phone: flush error",
    "phone: rebooted",
    "phone: app restarted",
    "phone: clock jumped",
    "phone: clock a day off",
    "phone: sign-in ended",
    "phone: copied",
    "phone: capture",
    "phone: capture failed",
    "phone: device revoked",
    "phone: approved late",
    "phone: picture uploaded",
    "lecturer: plan on the phone",
    "lecturer: plan over HTTP",
    "lecturer: session changed",
    "lecturer: decision on the phone",
    "lecturer: decision over HTTP",
    "record: disputed",
    "cheat: two changes in one place",
    "cheat: forged signature",
    "cheat: in another's name",
    "cheat: verdict by a student",
    "cheat: replay of another's request",
    "cheat: mutated change",
    "cheat: backdated clock",
    "fate: accepted",
    "fate: quarantined device_unbound",
    "fate: quarantined device_revoked",
    "fate: quarantined device_of_other_user",
    "fate: quarantined chain_fork",
    "fate: quarantined session_unknown",
    "fate: refused signature_invalid",
    "fate: refused writer_not_allowed",
    "verdict: accepted",
    "verdict: flagged",
];

/// Counts by name.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tally(BTreeMap<String, u64>);

impl Tally {
    pub(crate) fn count(&mut self, what: impl Into<String>) {
        self.add(what, 1);
    }

    pub(crate) fn add(&mut self, what: impl Into<String>, times: u64) {
        *self.0.entry(what.into()).or_default() += times;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (what, times) in &other.0 {
            self.add(what, *times);
        }
    }

    /// What was expected and never happened.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        EXPECTED.iter().copied().filter(|what| !self.0.contains_key(*what)).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(what, times)| writeln!(f, "{times:>9}  {what}"))
    }
}
