//! Shares within a transaction: what a person may still write into a document, asked once and counted from there.

use std::cell::RefCell;
use std::collections::HashMap;

use muster_sync_core::{DocumentId, DocumentName, document::Entry};

use super::ingest::Admission;
use super::prepare::Checked;
use crate::attendance::Share;
use crate::db::DbError;

/// Entries by document, share and person.
#[derive(Debug, Default)]
pub(super) struct Shares(RefCell<HashMap<(DocumentId, Share, String), u64>>);

impl Shares {
    /// The share that has no room for this change. What the server wrote and its log lost had room before.
    pub(super) fn used_up(&self, admission: &Admission<'_>, change: &Checked) -> Result<Option<Share>, DbError> {
        let Some((share, person)) = share_of(admission, change) else { return Ok(None) };
        let document = change.valid.document;
        let known = self.0.borrow().get(&(document, share, person.clone())).copied();
        let used = match known {
            Some(used) => used,
            None => share.used(admission.tx, document, &person)?,
        };
        self.0.borrow_mut().insert((document, share, person), used);
        Ok((used >= share.entries_max() && change.valid.writer != admission.server).then_some(share))
    }

    /// Counts a change that was appended.
    pub(super) fn count(&self, admission: &Admission<'_>, change: &Checked) {
        let Some((share, person)) = share_of(admission, change) else { return };
        if let Some(used) = self.0.borrow_mut().get_mut(&(change.valid.document, share, person)) {
            *used += 1;
        }
    }
}

/// The share to which a change counts, and whose it is. Scope has made sure by now that it names its author.
fn share_of(admission: &Admission<'_>, change: &Checked) -> Option<(Share, String)> {
    let share = Share::of(&change.valid.entry)?;
    let person = match (&change.name, &change.valid.entry) {
        (_, Entry::Decisions(decision)) => decision.by.as_str().to_owned(),
        (_, Entry::Marks(mark)) => mark.by.as_str().to_owned(),
        (DocumentName::Attendance { student, .. }, _) => student.clone(),
        _ => admission.author.get()?.to_string(),
    };
    Some((share, person))
}
