//! What an import found and did, or would do.

use std::sync::Arc;

use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::limits;

/// What an import found and did, or would do.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct Report {
    /// `oneroster 1.2`, `oneroster 1.1` or `csv`.
    pub format: String,
    /// Whether it was only to be shown.
    pub dry_run: bool,
    /// Whether it was written.
    pub applied: bool,
    /// What was read.
    pub files: Vec<FileRead>,
    /// Accounts.
    pub users: UserCounts,
    /// Courses.
    pub courses: CourseCounts,
    /// Places of lecturers in courses.
    pub lecturers: MemberCounts,
    /// Places of students in courses.
    pub enrolments: MemberCounts,
    /// Rows that say nothing to Muster, such as parents and ended rows of people who are not there.
    pub skipped_rows: u64,
    /// How many rows are bad. The others are imported all the same, unless `strict` was asked for.
    pub bad_rows: u64,
    /// The first 1,000 of them.
    pub problems: Vec<Problem>,
    /// The first 50 changes of accounts, courses and roles.
    pub changes: Vec<Change>,
    /// What else somebody should know.
    pub notes: Vec<String>,
    /// Milliseconds that reading, comparing and writing took.
    pub elapsed_ms: Elapsed,
}

/// A file that was read.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct FileRead {
    /// Its name.
    pub name: String,
    /// Its rows, without the header.
    pub rows: u64,
}

/// Accounts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct UserCounts {
    /// New ones.
    pub created: u64,
    /// Of which a name, an address, a role or another fact changes.
    pub updated: u64,
    /// That are as the roster has them.
    pub unchanged: u64,
    /// That end.
    pub disabled: u64,
    /// That lose an address or a user name of somebody in the roster, because nobody confirmed that they are theirs. Who loses
    /// an address is in no course any more.
    pub withdrawn: u64,
    /// Whose role rises; they are among the updated ones.
    pub roles_changed: u64,
    /// That came from a registry and are not in a complete roster any more. They stay, unless `disable_missing` was asked for.
    pub missing: u64,
    /// Bad rows about people.
    pub bad: u64,
}

/// Courses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct CourseCounts {
    /// New ones.
    pub created: u64,
    /// With another title, or now known by the registry's id.
    pub updated: u64,
    /// That are as the roster has them.
    pub unchanged: u64,
    /// That the roster ends. They stay.
    pub ended: u64,
    /// Bad rows about courses.
    pub bad: u64,
}

/// Places in courses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct MemberCounts {
    /// New ones.
    pub added: u64,
    /// Of those that are there or new: how many begin later, on the day that the roster says.
    pub begin_later: u64,
    /// That end.
    pub removed: u64,
    /// That are there already.
    pub unchanged: u64,
    /// In courses of the roster, and not in the roster. They stay.
    pub missing: u64,
    /// Bad rows about places.
    pub bad: u64,
}

/// Milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Elapsed {
    /// Until every file was read.
    pub read: u64,
    /// Until it was clear what changes.
    pub compare: u64,
    /// In the one transaction, its commit included. 0 when nothing was written.
    pub write: u64,
}

/// A row that cannot be imported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// In which file.
    #[schema(value_type = String)]
    #[serde(serialize_with = "text")]
    pub file: Arc<str>,
    /// On which line; the header is on line 1.
    pub line: u64,
    /// In which column, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub fix: String,
}

fn text<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

/// Something that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Change {
    /// `user` or `course`.
    pub kind: &'static str,
    /// `create`, `update`, `disable` or `withdraw`.
    pub action: &'static str,
    /// Which one: an e-mail address or a code.
    pub which: String,
    /// What changes about it.
    pub what: String,
}

/// Bad rows: all are counted, the first ones are kept.
#[derive(Debug, Clone, Default)]
pub(super) struct Problems {
    pub(super) count: u64,
    pub(super) kept: Vec<Problem>,
}

impl Problems {
    pub(super) fn push(&mut self, problem: Problem) {
        self.count += 1;
        if self.kept.len() < limits::PROBLEMS_REPORTED_MAX {
            self.kept.push(problem);
        }
    }
}

impl Report {
    /// Keeps a change if it is one of the first.
    pub(super) fn show(
        &mut self,
        kind: &'static str,
        action: &'static str,
        which: &str,
        what: impl FnOnce() -> String,
    ) {
        if self.changes.len() < limits::CHANGES_REPORTED_MAX {
            self.changes.push(Change { kind, action, which: which.to_owned(), what: what() });
        }
    }

    /// Whether writing it would change anything.
    pub fn changes_anything(&self) -> bool {
        let Self { users, courses, lecturers, enrolments, .. } = self;
        let counts = [users.created, users.updated, users.disabled, users.withdrawn, courses.created, courses.updated];
        let places = [lecturers, enrolments].map(|places| places.added + places.removed);
        counts.iter().chain(&places).any(|count| *count > 0)
    }
}
