//! Why an import did not happen at all. A bad row is no such reason, see [`super::Problem`].

use std::io;

use thiserror::Error;

use super::Report;
use crate::db::DbError;

/// Why an import did not happen at all.
#[derive(Debug, Error)]
pub enum RosterError {
    /// A file cannot be read.
    #[error("{0}: {1}")]
    Io(String, #[source] io::Error),
    /// This is no roster, or one that nobody can understand.
    #[error("{file}: {what}; {fix}")]
    Invalid {
        /// In which file.
        file: String,
        /// What is wrong.
        what: String,
        /// What to do about it.
        fix: String,
    },
    /// Some rows are bad, and it was asked for all or nothing.
    #[error("{} rows are bad, so nothing was imported", .0.bad_rows)]
    Strict(Box<Report>),
    /// Nobody can be named as the creator of the courses.
    #[error("there is no active admin yet; make one with muster admin create")]
    NoAdmin,
    /// Texts of an earlier release wait to be brought into form, which a dry run does not do.
    #[error(
        "names of an earlier release are not in their present form yet, so a dry run would not find them: start the server \
         once, which takes seconds, or import without a dry run"
    )]
    NotInForm,
    /// Somebody changed the same accounts all the time.
    #[error("accounts were changed during the import, again and again; nothing was imported, try again")]
    Contended,
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl RosterError {
    pub(super) fn invalid(file: &str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::Invalid { file: file.to_owned(), what: what.into(), fix: fix.into() }
    }

    /// Reading stopped. What the system tells is ours to mend; everything else is about the bytes that were sent.
    pub(super) fn reading(file: &str, error: io::Error) -> Self {
        if error.raw_os_error().is_some() {
            return Self::Io(file.to_owned(), error);
        }
        Self::invalid(
            file,
            format!("it cannot be unpacked: {error}"),
            "pack it again, and look whether it can be opened",
        )
    }
}
