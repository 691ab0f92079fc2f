//! The columns of each file of a set, and what one row says.

use std::collections::HashMap;

use jiff::civil::Date;

use super::super::dates;
use super::super::people::{Course, Person, PersonColumns};
use super::super::report::Problem;
use super::super::table::Row;
use crate::auth::Role;
use crate::{courses, text};

/// What a course of the catalogue gives to its classes.
pub(super) struct Subject {
    pub(super) code: String,
    pub(super) title: String,
    pub(super) has_ended: bool,
}

/// By sourcedId.
pub(super) type Catalogue = HashMap<Box<str>, Subject>;
/// The role of each user; `None` for one that says nothing to Muster.
pub(super) type Roles = HashMap<Box<str>, Option<Role>>;

pub(super) struct ClassColumns {
    pub(super) id: usize,
    pub(super) title: usize,
    pub(super) course: usize,
    pub(super) code: Option<usize>,
    pub(super) status: Option<usize>,
}

impl ClassColumns {
    pub(super) fn read(&self, row: &Row<'_>, id: &str, catalogue: &Catalogue) -> Result<Course, Problem> {
        let (subject, has_ended) = (catalogue.get(row.id(self.course)?.as_ref()), has_ended(row, self.status)?);
        let sent = row.get(self.title)?;
        let title = if sent.is_empty() { subject.map_or("", |subject| &subject.title) } else { sent.as_ref() };
        let title = courses::parse_title(title)
            .map_err(|error| row.problem(Some(self.title), error.message(), "give the class a title"))?;
        let own = row.fact_if(self.code)?;
        let code = if own.is_empty() { subject.map_or("", |subject| &subject.code) } else { own.as_ref() };
        let code = code_of(if code.is_empty() { id } else { code });
        let external_id = Some(id.to_owned());
        Ok(Course { external_id, code, title: Some(title), has_ended, is_reference: false })
    }
}

pub(super) struct SubjectColumns {
    pub(super) id: usize,
    pub(super) title: usize,
    pub(super) code: Option<usize>,
    pub(super) status: Option<usize>,
}

impl SubjectColumns {
    /// Of several rows about one course the one that stands counts, wherever it is in the file.
    pub(super) fn read(&self, row: &Row<'_>, catalogue: &mut Catalogue) -> Result<(), Problem> {
        let (id, has_ended) = (row.id(self.id)?, has_ended(row, self.status)?);
        let subject =
            Subject { code: row.fact_if(self.code)?.into_owned(), title: row.get(self.title)?.into_owned(), has_ended };
        match catalogue.get(id.as_ref()) {
            Some(_) if has_ended => {}
            Some(before) if !before.has_ended => return Err(same_id(row, self.id)),
            _ => {
                catalogue.insert(id.as_ref().into(), subject);
            }
        }
        Ok(())
    }
}

/// The nearest code that Muster can store: other signs become hyphens.
pub(super) fn code_of(text: &str) -> String {
    let mut nearest = String::new();
    for c in text::code(text).chars().take(courses::CODE_CHARS_MAX) {
        let as_it_is = format!("{nearest}{c}");
        nearest = if courses::is_code_text(&as_it_is) { as_it_is } else { nearest + "-" };
    }
    courses::parse_code(&nearest).unwrap_or_else(|_| format!("{nearest}-1"))
}

pub(super) struct UserColumns {
    pub(super) id: usize,
    pub(super) person: PersonColumns,
    pub(super) enabled: Option<usize>,
    pub(super) status: Option<usize>,
    pub(super) role: Option<usize>,
    pub(super) must_have_role: bool,
}

impl UserColumns {
    /// The person, and whether a user name was left out; `None` for somebody who is nothing to Muster.
    pub(super) fn read(
        &self,
        row: &Row<'_>,
        id: &str,
        roles: Option<&Roles>,
    ) -> Result<Option<(Person, bool)>, Problem> {
        let named = roles.and_then(|roles| roles.get(id).copied());
        let role = match (named, self.role) {
            (Some(role), _) => Some(role),
            (None, Some(column)) if !row.fact(column)?.is_empty() => Some(role_at(row, column)?),
            (None, _) if self.must_have_role => {
                return Err(row.problem(
                    Some(self.id),
                    "nothing says which role the user has",
                    "add a row to roles.csv",
                ));
            }
            (None, _) => None,
        };
        if role == Some(None) {
            return Ok(None);
        }
        let (person, left_out) = self.person.read(row)?;
        let has_left = self.has_left(row)?;
        Ok(Some((Person { role: role.flatten(), has_left, ..person }, left_out)))
    }

    fn has_left(&self, row: &Row<'_>) -> Result<bool, Problem> {
        let enabled = match row.word(self.enabled)?.as_str() {
            "true" | "1" | "1.0" | "yes" | "" => true,
            "false" | "0" | "0.0" | "no" => false,
            _ => return Err(row.problem(self.enabled, "expected true or false", "correct it")),
        };
        Ok(has_ended(row, self.status)? || !enabled)
    }
}

pub(super) struct PlaceColumns {
    pub(super) class: usize,
    pub(super) user: usize,
    pub(super) role: usize,
    pub(super) status: Option<usize>,
    pub(super) begin: Option<usize>,
    pub(super) end: Option<usize>,
}

pub(super) fn id_at(row: &Row<'_>, column: usize) -> Result<String, Problem> {
    let id = row.id(column)?;
    if id.is_empty() {
        return Err(row.problem(Some(column), "the id is missing", "every row needs one that stays the same"));
    }
    Ok(id.into_owned())
}

pub(super) fn same_id(row: &Row<'_>, column: usize) -> Problem {
    row.problem(Some(column), "an earlier row has the same id", "remove one of the two")
}

pub(super) fn day_at(row: &Row<'_>, column: Option<usize>) -> Result<Option<Date>, Problem> {
    let text = row.fact_if(column)?;
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || {
        row.problem(
            column,
            format!("{text} is no date that can only mean one day"),
            "write it as 2026-09-01: year, month, day",
        )
    };
    dates::day(&text).map(Some).ok_or_else(wrong)
}

pub(super) fn has_ended(row: &Row<'_>, column: Option<usize>) -> Result<bool, Problem> {
    match row.word(column)?.as_str() {
        "active" | "" => Ok(false),
        "tobedeleted" | "inactive" => Ok(true),
        _ => Err(row.problem(column, "expected active or tobedeleted", "correct the status")),
    }
}

/// The role as Muster has it; `None` for one that says nothing to Muster. Nobody becomes an admin by a roster.
pub(super) fn role_at(row: &Row<'_>, column: usize) -> Result<Option<Role>, Problem> {
    let text = row.get(column)?;
    match text::alike(&text).as_str() {
        "student" => Ok(Some(Role::Student)),
        "teacher" => Ok(Some(Role::Lecturer)),
        "administrator" | "districtadministrator" | "siteadministrator" | "systemadministrator" | "principal" => {
            Ok(Some(Role::Staff))
        }
        "aide" | "counselor" | "guardian" | "parent" | "proctor" | "relative" => Ok(None),
        other if other.starts_with("ext:") => Ok(None),
        _ => Err(row.problem(Some(column), format!("{text:?} is no role of OneRoster"), "use student or teacher")),
    }
}

pub(super) fn bad_reference(row: &Row<'_>, column: usize, what: &str, file: &str) -> Problem {
    let text = format!("the row of this {what} is bad, or says nothing to Muster");
    row.problem(Some(column), text, format!("correct it in {file} first"))
}

pub(super) fn no_reference(row: &Row<'_>, column: usize, what: &str, file: &str) -> Problem {
    row.problem(Some(column), format!("there is no such {what}"), format!("add it to {file}"))
}

/// Of somebody's several roles the one that lets them do most with their courses: who teaches must be able to.
pub(super) fn more_useful(one: Option<Role>, other: Option<Role>) -> Option<Role> {
    let use_of = |role: Option<Role>| match role {
        Some(Role::Lecturer) => 3,
        Some(Role::Staff) => 2,
        Some(_) => 1,
        None => 0,
    };
    if use_of(other) > use_of(one) { other } else { one }
}
