//! What a roster says, whatever its format: people, courses, and who has a place in which.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::report::{FileRead, Problem, Problems};
use super::table::Row;
use crate::auth::{DisplayName, EXTERNAL_ID_CHARS_MAX, Email, ImportedHash, NAME_CHARS_MAX, Role, Username};
use crate::error::AppError;

/// Everything that a roster says.
#[derive(Debug, Default)]
pub(super) struct Roster {
    pub(super) format: String,
    pub(super) names: Names,
    pub(super) files: Vec<FileRead>,
    pub(super) people: Vec<Person>,
    pub(super) courses: Vec<Course>,
    pub(super) places: Vec<Place>,
    /// Whether whoever is not in it is not in the registry any more.
    pub(super) names_everybody: bool,
    /// The same for the places in its courses.
    pub(super) names_every_place: bool,
    pub(super) skipped_rows: u64,
    pub(super) bad_users: u64,
    pub(super) bad_courses: u64,
    pub(super) bad_places: u64,
    /// User names that Muster cannot take, such as e-mail addresses.
    pub(super) user_names_left_out: u64,
    pub(super) problems: Problems,
}

/// The files in which things stand.
#[derive(Debug, Clone)]
pub(super) struct Names {
    pub(super) people: Arc<str>,
    pub(super) places: Arc<str>,
}

impl Default for Names {
    fn default() -> Self {
        let nothing: Arc<str> = Arc::from("");
        Self { people: Arc::clone(&nothing), places: nothing }
    }
}

/// What is wrong at a place in a file.
pub(super) fn problem(
    (file, line): (&Arc<str>, u64),
    column: &str,
    what: impl Into<String>,
    fix: impl Into<String>,
) -> Problem {
    let column = Some(column.to_owned()).filter(|name| !name.is_empty());
    Problem { file: Arc::clone(file), line, column, what: what.into(), fix: fix.into() }
}

/// Somebody.
#[derive(Debug, Clone, Default)]
pub(super) struct Person {
    pub(super) line: u64,
    pub(super) external_id: Option<String>,
    pub(super) email: Option<Email>,
    pub(super) username: Option<Username>,
    pub(super) display_name: Option<DisplayName>,
    pub(super) given_name: Option<String>,
    pub(super) family_name: Option<String>,
    pub(super) section: Option<String>,
    /// Of the password that they had in another system; a new account takes it over.
    pub(super) password_hash: Option<ImportedHash>,
    /// Missing: as they are, or a student.
    pub(super) role: Option<Role>,
    /// Not any more, says the registry.
    pub(super) has_left: bool,
    /// Only named by a place, because this roster says no more of them than what changed.
    pub(super) is_reference: bool,
}

/// A course.
#[derive(Debug, Clone, Default)]
pub(super) struct Course {
    pub(super) external_id: Option<String>,
    pub(super) code: String,
    /// Missing: as it is, or the code.
    pub(super) title: Option<String>,
    pub(super) has_ended: bool,
    /// Only named by a place.
    pub(super) is_reference: bool,
}

/// A place of somebody in a course.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) line: u64,
    pub(super) person: u32,
    pub(super) course: u32,
    /// Missing: as the person's role says.
    pub(super) teaches: Option<bool>,
    pub(super) has_ended: bool,
    /// When it begins, Unix milliseconds, if that is later than today.
    pub(super) begins_at_ms: Option<i64>,
}

/// What a file says about somebody, before it is known whether it can be.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct PersonColumns {
    pub(super) external_id: Option<usize>,
    pub(super) email: Option<usize>,
    pub(super) username: Option<usize>,
    pub(super) display_name: Option<usize>,
    pub(super) given_name: Option<usize>,
    pub(super) family_name: Option<usize>,
    /// Used in the name that others see, if they are there.
    pub(super) preferred: (Option<usize>, Option<usize>),
    pub(super) section: Option<usize>,
    pub(super) password_hash: Option<usize>,
}

impl PersonColumns {
    /// Reads what describes a person; says also whether a user name was left out.
    pub(super) fn read(&self, row: &Row<'_>) -> Result<(Person, bool), Problem> {
        let external_id = bounded(row, self.external_id, row.id_if(self.external_id)?, EXTERNAL_ID_CHARS_MAX)?;
        let given_name = bounded(row, self.given_name, row.get_if(self.given_name)?, NAME_CHARS_MAX)?;
        let family_name = bounded(row, self.family_name, row.get_if(self.family_name)?, NAME_CHARS_MAX)?;
        let email = optional(row, self.email, Email::parse, "correct the address")?;
        let sent = row.id_if(self.username)?;
        let username = Username::parse(&sent).ok();
        let left_out = username.is_none() && !sent.is_empty();
        let written = row.get_if(self.display_name)?;
        let shown =
            if written.is_empty() { self.shown_name(row, &given_name, &family_name)? } else { written.into_owned() };
        let display_name = match shown.is_empty() {
            true => None,
            false => Some(DisplayName::parse(&shown).map_err(|error| {
                row.problem(self.display_name.or(self.family_name), error.message(), "shorten the name")
            })?),
        };
        let section = bounded(row, self.section, row.id_if(self.section)?, NAME_CHARS_MAX)?;
        let password_hash = self.password_hash(row)?;
        let person = Person {
            line: row.line,
            external_id,
            email,
            username,
            display_name,
            given_name,
            family_name,
            section,
            password_hash,
            ..Person::default()
        };
        Ok((person, left_out))
    }

    /// The problem does not tell the hash: reports are read by more people than hashes should be.
    fn password_hash(&self, row: &Row<'_>) -> Result<Option<ImportedHash>, Problem> {
        match row.fact_if(self.password_hash)?.as_ref() {
            "" => Ok(None),
            text => ImportedHash::parse(text).map(Some).ok_or_else(|| {
                let what = "expected a hash of Argon2, bcrypt, or PBKDF2 with SHA-256 as passlib or Django write it";
                row.problem(self.password_hash, what, "leave it empty: the person sets a password by mail")
            }),
        }
    }

    fn shown_name(&self, row: &Row<'_>, given: &Option<String>, family: &Option<String>) -> Result<String, Problem> {
        let preferred = [row.get_if(self.preferred.0)?, row.get_if(self.preferred.1)?];
        let official = [given, family].map(|name| name.as_deref().unwrap_or(""));
        let parts = preferred
            .iter()
            .zip(official)
            .map(|(preferred, name)| if preferred.is_empty() { name } else { preferred.as_ref() });
        Ok(parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" "))
    }
}

fn bounded(
    row: &Row<'_>,
    column: Option<usize>,
    text: Cow<'_, str>,
    chars_max: usize,
) -> Result<Option<String>, Problem> {
    if text.chars().count() > chars_max {
        return Err(row.problem(column, format!("the text has more than {chars_max} characters"), "shorten it"));
    }
    Ok(Some(text.into_owned()).filter(|text| !text.is_empty()))
}

fn optional<T>(
    row: &Row<'_>,
    column: Option<usize>,
    parse: impl Fn(&str) -> Result<T, AppError>,
    fix: &str,
) -> Result<Option<T>, Problem> {
    match row.fact_if(column)?.as_ref() {
        "" => Ok(None),
        text => parse(text).map(Some).map_err(|error| row.problem(column, error.message(), fix)),
    }
}

/// Which index each id of a file has.
#[derive(Debug, Default)]
pub(super) struct Ids(HashMap<Box<str>, Option<u32>>);

impl Ids {
    /// Notes that there is a row with this id, whatever it says.
    pub(super) fn note(&mut self, id: &str) {
        if !self.0.contains_key(id) {
            self.0.insert(id.into(), None);
        }
    }

    /// The thing with this id can be imported and is at this index.
    pub(super) fn keep(&mut self, id: &str, index: usize) {
        self.0.insert(id.into(), Some(index as u32));
    }

    /// `None`: there is no such id. `Some(None)`: there is, but its row is bad or says nothing to Muster.
    pub(super) fn get(&self, id: &str) -> Option<Option<u32>> {
        self.0.get(id).copied()
    }
}
