//! Who may write into which container. A pure function: whoever calls it knows the binding, the role and the course.

use super::{BindingAction, Container, Entry, PlanAction, Request, Source};
use crate::{DeviceKey, DocumentName, Refusal};

/// A person's role, by level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Signed in, nothing more (level 0).
    Guest,
    /// Level 1.
    Student,
    /// Teaches courses (level 2).
    Lecturer,
    /// Reviews flagged records of every course (level 2).
    Reviewer,
    /// Works in the administration (level 2).
    Staff,
    /// Level 3.
    Admin,
}

impl Role {
    /// The level, which is also the rank of a decision.
    #[must_use]
    pub fn level(self) -> u64 {
        match self {
            Self::Guest => 0,
            Self::Student => 1,
            Self::Lecturer | Self::Reviewer | Self::Staff => 2,
            Self::Admin => 3,
        }
    }

    /// The role's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Student => "student",
            Self::Lecturer => "lecturer",
            Self::Reviewer => "reviewer",
            Self::Staff => "staff",
            Self::Admin => "admin",
        }
    }

    /// Reads a role in any case; `teacher` is an alias of `lecturer`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "guest" => Self::Guest,
            "student" => Self::Student,
            "lecturer" | "teacher" => Self::Lecturer,
            "reviewer" => Self::Reviewer,
            "staff" => Self::Staff,
            "admin" => Self::Admin,
            _ => return None,
        })
    }
}

/// Who a change's writer is, as far as the server can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer<'a> {
    /// The server itself, in its own name or for a person whom the entry names.
    Server,
    /// A device that is bound to a user.
    Device {
        /// The user.
        user: &'a str,
        /// The user's role.
        role: Role,
        /// Whether the user teaches the course that the document belongs to.
        teaches: bool,
    },
    /// A device that asks to be bound: the signed-in user who sent the request.
    Applicant {
        /// The user.
        user: &'a str,
        /// The device's key.
        key: DeviceKey,
    },
}

/// Whether `writer` may write `entry` into the document `name`.
///
/// # Errors
/// [`Refusal::WriterNotAllowed`], or [`Refusal::Field`] where the entry names somebody else than its writer.
pub fn may_write(name: &DocumentName, entry: &Entry, writer: Writer<'_>) -> Result<(), Refusal> {
    let container = entry.container();
    let allowed = match writer {
        Writer::Server => return server_may(name, entry),
        Writer::Applicant { user, key } => asks_for_itself(name, entry, user, key),
        Writer::Device { user, role, teaches } => match container {
            Container::Plan | Container::PlanChanges => {
                (teaches && role.level() >= 2 && !settles(entry)) || role == Role::Admin
            }
            Container::Submissions | Container::Appeals => owner(name) == user,
            Container::Verdicts => false,
            Container::Decisions | Container::Marks => {
                let reviews = (teaches && role.level() >= 2) || matches!(role, Role::Reviewer | Role::Admin);
                reviews && owner(name) != user
            }
            Container::Requests => false,
            Container::Bindings | Container::Resets => role == Role::Admin && owner(name) != user,
        },
    };
    if !allowed {
        return Err(Refusal::WriterNotAllowed { container: container.name() });
    }
    match writer {
        Writer::Device { user, role, .. } => speaks_for_itself(entry, user, role),
        _ => Ok(()),
    }
}

/// The user whom the document is about, if it is about one.
fn owner(name: &DocumentName) -> &str {
    match name {
        DocumentName::ClassSession { .. } => "",
        DocumentName::Attendance { student, .. } => student,
        DocumentName::DeviceBinding { user } => user,
    }
}

/// Which plan of a contested session stands is no word of one of those who contest it.
fn settles(entry: &Entry) -> bool {
    matches!(entry, Entry::PlanChanges(change) if change.action == PlanAction::Settle)
}

/// The server writes anywhere, but names the person for whom it does, and nobody judges their own record. To end the key of
/// one's own device judges nothing: it only takes away, and whoever lost the phone must be able to.
fn server_may(name: &DocumentName, entry: &Entry) -> Result<(), Refusal> {
    let (by, own) = match entry {
        Entry::Verdicts(_) => return Ok(()),
        Entry::Requests(_) => return Err(Refusal::WriterNotAllowed { container: "requests" }),
        Entry::Plan(plan) => (plan.by.as_ref(), false),
        Entry::PlanChanges(change) => (change.by.as_ref(), false),
        Entry::Submissions(submission) if submission.source == Source::Gateway => (submission.by.as_ref(), true),
        Entry::Submissions(_) => return Err(Refusal::Field { field: "source", what: "the server writes as gateway" }),
        Entry::Appeals(appeal) => (appeal.by.as_ref(), true),
        Entry::Decisions(decision) => (Some(&decision.by), false),
        Entry::Marks(mark) => (Some(&mark.by), false),
        Entry::Bindings(binding) => {
            (Some(&binding.by), binding.action == BindingAction::Revoke && binding.by.as_str() == owner(name))
        }
        Entry::Resets(reset) => (Some(&reset.by), false),
    };
    let by = by.ok_or(Refusal::Field { field: "by", what: "the server names whom it writes for" })?;
    if (by.as_str() == owner(name)) != own {
        let container = entry.container().name();
        return Err(Refusal::WriterNotAllowed { container });
    }
    Ok(())
}

fn asks_for_itself(name: &DocumentName, entry: &Entry, user: &str, key: DeviceKey) -> bool {
    matches!(entry, Entry::Requests(Request { key: named, .. }) if *named == key && owner(name) == user)
}

/// A device writes in its user's own name and rank.
fn speaks_for_itself(entry: &Entry, user: &str, role: Role) -> Result<(), Refusal> {
    let (by, rank) = match entry {
        Entry::Decisions(decision) => (Some(&decision.by), Some(decision.rank)),
        Entry::Marks(mark) => (Some(&mark.by), Some(mark.rank)),
        Entry::Bindings(binding) => (Some(&binding.by), None),
        Entry::Resets(reset) => (Some(&reset.by), None),
        Entry::Submissions(submission) if submission.source != Source::Phone => {
            return Err(Refusal::Field { field: "source", what: "a phone writes as phone" });
        }
        Entry::Plan(plan) => (plan.by.as_ref(), None),
        Entry::PlanChanges(change) => (change.by.as_ref(), None),
        _ => (None, None),
    };
    if by.is_some_and(|by| by.as_str() != user) {
        return Err(Refusal::Field { field: "by", what: "names somebody else than the writer" });
    }
    if rank.is_some_and(|rank| rank != role.level()) {
        return Err(Refusal::Field { field: "rank", what: "is not the writer's rank" });
    }
    Ok(())
}
