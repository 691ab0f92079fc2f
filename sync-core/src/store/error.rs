//! Why the store did not do what was asked. After any of these, nothing of it was written.

use crate::{Locator, Refusal, change::WriteError, signing::SignError};

/// A failure of the device store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The phone has no space left.
    #[error("the phone's storage is full: free some space and try again, nothing was written")]
    Full,
    /// The file is not a store, or is damaged.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
    /// A newer version of the app wrote it.
    #[error("the store has migration {0}, which this version of the app does not know")]
    Newer(i64),
    /// Nobody ever signed in on this phone, so a record would have no student.
    #[error("the store has no account: sign in once, with a network")]
    NoAccount,
    /// The store holds another tenant's documents.
    #[error("the store belongs to tenant {0}: use another file for another tenant")]
    OtherTenant(String),
    /// Another server key is pinned; a silent change would make receipts worthless.
    #[error("another server key is pinned in this store")]
    OtherServerKey,
    /// The device key did not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// What was given cannot stand in a document.
    #[error("{0}")]
    Input(#[from] Refusal),
    /// An image that no server would take.
    #[error("image {index} {what}")]
    Image {
        /// Which of the given images, from 0.
        index: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The phone does not know this class session's plan.
    #[error("class session {0} is not known on this phone")]
    SessionUnknown(Locator),
    /// The session's codes come from another device's code key.
    #[error("the codes of class session {0} come from another device")]
    CodeKeyUnknown(Locator),
    /// There is nothing to decide about.
    #[error("no record of {student} in class session {locator} is on this phone")]
    RecordUnknown {
        /// The class session.
        locator: Locator,
        /// The student.
        student: String,
    },
    /// Anything else that SQLite reports.
    #[error("storage: {0}")]
    Storage(String),
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull | ErrorCode::TooBig) => Self::Full,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt(error.to_string()),
            _ => Self::Storage(error.to_string()),
        }
    }
}

impl From<WriteError> for StoreError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Refused(refusal) => Self::Input(refusal),
            WriteError::Sign(error) => Self::Sign(error),
        }
    }
}

/// A row that this store's own code cannot have written.
pub(super) fn damaged(what: &str) -> StoreError {
    StoreError::Corrupt(what.to_owned())
}
