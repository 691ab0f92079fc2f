//! What one person may write into one document of a record or a class session: one rule for sync, forms and decisions at a desk.
//!
//! Everything that is in a document is read and folded whenever something happens to it, so what one person may put
//! there is bounded, and nobody can use up the share of somebody else. The numbers are in `sync_core::limits`.

use muster_sync_core::{DocumentId, document::Entry, limits};
use serde_json::json;

use super::queries;
use crate::class_sessions;
use crate::db::{DbError, Tx};
use crate::error::AppError;

/// One person's share of one kind of entries in a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Share {
    /// Of the student, over all phones and forms.
    Submissions,
    /// Of the student.
    Appeals,
    /// Of each person, decisions and marks together, over all phones and desks.
    Decisions,
    /// Of each person in the document of a class session: plans and what they do to them.
    Plans,
}

impl Share {
    /// The share to which an entry counts; verdicts are the server's own and have none.
    pub fn of(entry: &Entry) -> Option<Self> {
        match entry {
            Entry::Submissions(_) => Some(Self::Submissions),
            Entry::Appeals(_) => Some(Self::Appeals),
            Entry::Decisions(_) | Entry::Marks(_) => Some(Self::Decisions),
            Entry::Plan(_) | Entry::PlanChanges(_) => Some(Self::Plans),
            _ => None,
        }
    }

    /// Entries that it holds.
    pub fn entries_max(self) -> u64 {
        match self {
            Self::Submissions => limits::SUBMISSIONS_PER_RECORD_MAX,
            Self::Appeals => limits::APPEALS_PER_RECORD_MAX,
            Self::Decisions => limits::DECISIONS_PER_PERSON_MAX,
            Self::Plans => limits::SESSION_ENTRIES_PER_PERSON_MAX,
        }
    }

    /// Why more is refused: the reason code of a fate.
    pub fn code(self) -> &'static str {
        match self {
            Self::Submissions => "too_many_submissions",
            Self::Appeals => "too_many_appeals",
            Self::Decisions => "too_many_decisions",
            Self::Plans => "too_many_plan_changes",
        }
    }

    /// The same code as the API writes it.
    fn error_code(self) -> &'static str {
        match self {
            Self::Submissions => "TOO_MANY_SUBMISSIONS",
            Self::Appeals => "TOO_MANY_APPEALS",
            Self::Decisions => "TOO_MANY_DECISIONS",
            Self::Plans => "TOO_MANY_PLAN_CHANGES",
        }
    }

    /// The same in words.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Submissions => "this record has all the submissions that it may have; ask your lecturer to decide",
            Self::Appeals => "this record has all the appeals that it may have; speak to your lecturer",
            Self::Decisions => "you decided about this record as often as one person may; somebody else still can",
            Self::Plans => "you changed this class session as often as one person may; somebody else still can",
        }
    }

    /// How much of it `person` has used in a document.
    ///
    /// # Errors
    /// When the database fails.
    pub fn used(self, tx: &Tx<'_>, document: DocumentId, person: &str) -> Result<u64, DbError> {
        match self {
            Self::Submissions => queries::submission_count(tx, document),
            Self::Appeals => queries::appeal_count(tx, document),
            Self::Decisions => queries::decisions_by(tx, document, person),
            Self::Plans => class_sessions::entries_by(tx, document, person),
        }
    }

    /// An error if `person` has no room for `n_entries` more.
    pub(super) fn check(
        self,
        tx: &Tx<'_>,
        document: DocumentId,
        person: &str,
        n_entries: usize,
    ) -> Result<(), AppError> {
        if self.used(tx, document, person)? + n_entries as u64 <= self.entries_max() {
            return Ok(());
        }
        let error = AppError::conflict(self.error_code(), self.sentence());
        Err(error.with_details(json!({ "limit": self.entries_max() })))
    }
}
