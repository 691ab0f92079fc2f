//! Open appeals within a transaction: read once for each record, however many decisions about it a request carries.

use std::cell::RefCell;
use std::collections::HashMap;

use muster_sync_core::{DocumentId, document::Entry};

use super::ingest::Admission;
use super::prepare::Checked;
use crate::attendance::OpenAppeals;
use crate::db::DbError;

/// By document; `None` where no appeal is open.
#[derive(Debug, Default)]
pub(super) struct Answers(RefCell<HashMap<DocumentId, Option<OpenAppeals>>>);

/// Who decides, and in which rank.
fn decides(entry: &Entry) -> Option<(&str, u64)> {
    match entry {
        Entry::Decisions(decision) => Some((decision.by.as_str(), decision.rank)),
        Entry::Marks(mark) => Some((mark.by.as_str(), mark.rank)),
        _ => None,
    }
}

impl Answers {
    /// Whether somebody else has to decide, because the student appealed against a decision of this person. What the
    /// server wrote and its log lost was judged before.
    pub(super) fn need_another(&self, admission: &Admission<'_>, change: &Checked) -> Result<bool, DbError> {
        let Some((person, _)) = decides(&change.valid.entry) else { return Ok(false) };
        let mut known = self.0.borrow_mut();
        let open = match known.entry(change.valid.document) {
            std::collections::hash_map::Entry::Occupied(open) => open.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(OpenAppeals::of(admission.tx, change.valid.document)?)
            }
        };
        Ok(open.as_ref().is_some_and(|open| open.bar(person)) && change.valid.writer != admission.server)
    }

    /// Follows a change that was appended.
    pub(super) fn follow(&self, change: &Checked) {
        let mut known = self.0.borrow_mut();
        if matches!(change.valid.entry, Entry::Appeals(_)) {
            known.remove(&change.valid.document);
        }
        let Some((_, rank)) = decides(&change.valid.entry) else { return };
        if let Some(open) = known.get_mut(&change.valid.document)
            && open.as_ref().is_some_and(|open| open.are_answered_by(rank))
        {
            *open = None;
        }
    }
}
