//! The roles and their ranks.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::db::{Cell, FromCell};

/// What a person is to the institution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May sign in and nothing else.
    Guest,
    /// Attends.
    Student,
    /// Teaches courses. `teacher` is accepted for it.
    Lecturer,
    /// Decides flagged records.
    Reviewer,
    /// Runs the office.
    Staff,
    /// May do everything.
    Admin,
}

/// Text that names no role.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
#[error("expected guest, student, lecturer, reviewer, staff or admin")]
pub struct UnknownRole;

impl Role {
    /// Every role, lowest rank first.
    pub const ALL: [Self; 6] = [Self::Guest, Self::Student, Self::Lecturer, Self::Reviewer, Self::Staff, Self::Admin];

    /// The word in databases, tokens and replies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Student => "student",
            Self::Lecturer => "lecturer",
            Self::Reviewer => "reviewer",
            Self::Staff => "staff",
            Self::Admin => "admin",
        }
    }

    /// The rank: of two contradicting people, the higher one wins.
    pub const fn rank(self) -> u8 {
        match self {
            Self::Guest => 0,
            Self::Student => 1,
            Self::Lecturer | Self::Reviewer | Self::Staff => 2,
            Self::Admin => 3,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    /// In letters of either case: one of the systems that Muster replaces writes `STUDENT`.
    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        let text = if text.eq_ignore_ascii_case("teacher") { "lecturer" } else { text };
        Self::ALL.into_iter().find(|role| role.as_str().eq_ignore_ascii_case(text)).ok_or(UnknownRole)
    }
}

impl<'de> Deserialize<'de> for Role {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl FromCell for Role {
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        match cell {
            Cell::Text(text) => text.parse().ok(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_the_sources_is_read_and_one_is_written() {
        let spellings = [("teacher", Role::Lecturer), ("TEACHER", Role::Lecturer), ("STUDENT", Role::Student)];
        for (text, role) in spellings.into_iter().chain([("Reviewer", Role::Reviewer), ("ADMIN", Role::Admin)]) {
            assert_eq!(text.parse(), Ok(role));
            assert_eq!(serde_json::from_value::<Role>(serde_json::json!(text)).ok(), Some(role));
        }
        for role in Role::ALL {
            assert_eq!(serde_json::to_value(role).ok(), Some(serde_json::json!(role.as_str())));
        }
        assert_eq!("root".parse::<Role>(), Err(UnknownRole));
        assert_eq!(Role::ALL.map(Role::rank), [0, 1, 2, 2, 2, 3]);
    }
}
