//! What came of everybody, beside what had to.

use comfy_table::{Table, presets};
use muster_sync_core::ChangeHash;

use super::cast::{self, Outcome, Part};
use super::office::Roll;

/// Between what was seen first and what was seen later.
const THEN: &str = " → ";

/// What was seen of one student while the story went on.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The capture.
    pub(super) change: Option<ChangeHash>,
    /// Whose phone has it, if not the own one.
    pub(super) on_phone: Option<usize>,
    /// What the server answered to something that no store knows of.
    pub(super) told: Option<String>,
    submissions: u64,
    fates: Vec<String>,
    states: Vec<String>,
    reasons: Vec<String>,
}

impl Seen {
    /// Notes the fate and the row of the roster at one moment; what did not change is noted once.
    pub(super) fn note(&mut self, fate: Option<String>, row: Option<&Roll>) {
        if let Some(fate) = fate {
            note(&mut self.fates, fate);
        }
        note(&mut self.states, row.map_or(cast::NO_RECORD, |row| &row.state).to_owned());
        if let Some(row) = row {
            self.submissions = row.submissions;
            self.reasons.clone_from(&row.reasons);
        }
    }
}

fn note(seen: &mut Vec<String>, what: String) {
    if seen.last() != Some(&what) {
        seen.push(what);
    }
}

/// One student's line.
#[derive(Debug)]
pub(super) struct Row {
    who: &'static str,
    part: Part,
    seen: Seen,
    expected: Outcome,
}

impl Row {
    pub(super) fn new(who: &'static str, part: Part, seen: Seen, faces: bool) -> Self {
        Self { who, part, seen, expected: part.outcome(faces) }
    }

    /// Whether everything came as it had to.
    pub(super) fn is_as_expected(&self) -> bool {
        self.differences().is_empty()
    }

    /// What came otherwise, in words.
    pub(super) fn differences(&self) -> Vec<String> {
        let pairs = [
            ("fate", &self.seen.fates, &self.expected.fates),
            ("state", &self.seen.states, &self.expected.states),
            ("reasons", &self.seen.reasons, &self.expected.reasons),
        ];
        let different = pairs.into_iter().filter(|(_, seen, expected)| *seen != *expected);
        let words = different.map(|(what, seen, expected)| {
            format!(
                "{} ({}): {what} is [{}], expected [{}]",
                self.who,
                self.part.title(),
                seen.join(THEN),
                expected.join(THEN)
            )
        });
        words.collect()
    }
}

/// How the last column says yes and no, and the colours that a terminal adds.
const MARKS: [(&str, &str); 2] = [("✓ yes", "\u{1b}[32m"), ("✗ NO", "\u{1b}[1;31m")];

/// The table, with colours where a person looks at it.
pub(super) fn table(rows: &[Row], coloured: bool) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(["who", "what happens", "arrived", "fate", "record", "reasons", "as expected?"]);
    for row in rows {
        let seen = &row.seen;
        let arrived = match seen.submissions {
            0 => "nothing".to_owned(),
            1 => "1 change".to_owned(),
            n => format!("{n} changes"),
        };
        let (mark, _) = MARKS[usize::from(!row.is_as_expected())];
        let [fates, states] = [&seen.fates, &seen.states].map(|seen| seen.join(THEN));
        let cells = [row.who, row.part.title(), &arrived, &fates, &states, &seen.reasons.join(", "), mark];
        table.add_row(cells);
    }
    // Colours are added to the finished text: they have no width, and must not move the columns.
    let paint = |text: String, (mark, colour): (&str, &str)| text.replace(mark, &format!("{colour}{mark}\u{1b}[0m"));
    if coloured { MARKS.into_iter().fold(table.to_string(), paint) } else { table.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roll(state: &str, reasons: &[&str]) -> Roll {
        Roll {
            id: Some("1".into()),
            student: "s".into(),
            state: state.into(),
            reasons: reasons.iter().map(|&reason| reason.into()).collect(),
            submissions: 1,
        }
    }

    #[test]
    fn a_row_is_as_expected_only_if_all_of_it_is() {
        let mut seen = Seen::default();
        seen.note(Some("accepted".into()), Some(&roll("flagged", &["code_stale"])));
        seen.note(Some("accepted".into()), Some(&roll("rejected", &["code_stale"])));
        let row = Row::new("Clara", Part::OldCode, seen, true);
        assert!(row.is_as_expected(), "{:?}", row.differences());

        let mut seen = Seen::default();
        seen.note(Some("accepted".into()), Some(&roll("accepted", &[])));
        let row = Row::new("Clara", Part::OldCode, seen, true);
        assert_eq!(row.differences().len(), 2);
        assert!(table(&[row], false).contains("✗ NO"));
    }
}
