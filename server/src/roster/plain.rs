//! A plain CSV: one row per person, or one per person and course. Which columns it may have says [`COLUMNS`].

use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

use super::error::RosterError;
use super::limits::Limits;
use super::people::{Course, Ids, Names, Person, PersonColumns, Place, Roster};
use super::progress::{Progress, Stage};
use super::report::{FileRead, Problem};
use super::table::{Row, Table};
use crate::auth::Role;
use crate::courses;

/// The columns, and the names that each may have. Capitals, spaces, hyphens and underscores do not matter.
pub const COLUMNS: &[(&str, &[&str])] = &[
    ("email", &["email", "e-mail", "mail", "email address", "e-mail address"]),
    ("name", &["name", "full name", "display name", "student name"]),
    ("given_name", &["given name", "first name", "forename"]),
    ("family_name", &["family name", "last name", "surname"]),
    ("username", &["username", "login"]),
    (
        "external_id",
        &[
            "external id",
            "student id",
            "student number",
            "matriculation number",
            "matric no",
            "roll number",
            "roll no",
            "id",
        ],
    ),
    ("section", &["section", "group", "class group"]),
    ("role", &["role"]),
    ("course", &["course", "course code", "courses", "code"]),
    ("course_title", &["course title", "course name", "title"]),
    ("status", &["status"]),
    ("password_hash", &["password hash", "hashed password"]),
];

/// Signs between several courses in one field.
const BETWEEN_COURSES: [char; 2] = ['|', ';'];

/// Reads a whole roster.
pub(super) fn read(name: &str, file: impl Read, limits: Limits, progress: &Progress) -> Result<Roster, RosterError> {
    let mut table = Table::open(name, file, limits)?;
    let columns = Columns::of(&table)?;
    let shown: Arc<str> = Arc::from(name);
    let names = Names { people: Arc::clone(&shown), places: shown };
    let mut reading =
        Reading { roster: Roster { format: "csv".to_owned(), names, ..Roster::default() }, ..Reading::default() };
    while let Some(row) = table.next()? {
        if let Err(problem) = row.and_then(|row| reading.row(&row, &columns)) {
            reading.roster.bad_users += 1;
            reading.roster.problems.push(problem);
        }
        progress.rows(Stage::Read, table.rows());
    }
    reading.roster.files.push(FileRead { name: name.to_owned(), rows: table.rows() });
    // A file of one department names everybody in its courses, and nobody else.
    reading.roster.names_every_place = true;
    Ok(reading.roster)
}

struct Columns {
    person: PersonColumns,
    role: Option<usize>,
    course: Option<usize>,
    title: Option<usize>,
    status: Option<usize>,
}

impl Columns {
    fn of<R: Read>(table: &Table<R>) -> Result<Self, RosterError> {
        let at = |name: &str| {
            let (_, names) = COLUMNS.iter().find(|(column, _)| *column == name)?;
            table.column(names)
        };
        table.column(COLUMNS[0].1).map_or_else(|| table.require("email"), Ok)?;
        let person = PersonColumns {
            external_id: at("external_id"),
            email: at("email"),
            username: at("username"),
            display_name: at("name"),
            given_name: at("given_name"),
            family_name: at("family_name"),
            preferred: (None, None),
            section: at("section"),
            password_hash: at("password_hash"),
        };
        Ok(Self { person, role: at("role"), course: at("course"), title: at("course_title"), status: at("status") })
    }
}

#[derive(Default)]
struct Reading {
    roster: Roster,
    by_email: HashMap<Box<str>, u32>,
    by_external_id: Ids,
    by_code: HashMap<String, u32>,
    /// Of each person, whether a row says that they have left, and whether one says that they are there.
    presence: Vec<(bool, bool)>,
}

impl Reading {
    fn row(&mut self, row: &Row<'_>, columns: &Columns) -> Result<(), Problem> {
        let (person, left_out) = columns.person.read(row)?;
        let has_ended = has_ended(row, columns.status)?;
        let role = role_at(row, columns.role)?;
        let codes = codes(row, columns)?;
        let index = self.person(row, columns, Person { role, ..person })?;
        // Whose row names a course leaves the course; whose row names none leaves altogether. Whoever is there in any row is.
        let (left, there) = &mut self.presence[index as usize];
        *left |= has_ended && codes.is_empty();
        *there |= !has_ended;
        self.roster.people[index as usize].has_left = *left && !*there;
        self.roster.user_names_left_out += u64::from(left_out);
        let title = match row.fact_if(columns.title)?.as_ref() {
            "" => None,
            text => Some(
                courses::parse_title(text)
                    .map_err(|error| row.problem(columns.title, error.message(), "shorten the title"))?,
            ),
        };
        for code in codes {
            let course = self.course(code, title.as_ref());
            let teaches = role.map(|role| role == Role::Lecturer);
            self.roster.places.push(Place {
                line: row.line,
                person: index,
                course,
                teaches,
                has_ended,
                begins_at_ms: None,
            });
        }
        Ok(())
    }

    /// The person of this row, who may have had rows before.
    fn person(&mut self, row: &Row<'_>, columns: &Columns, person: Person) -> Result<u32, Problem> {
        let Some(email) = &person.email else {
            return Err(row.problem(columns.person.email, "the e-mail address is missing", "add it"));
        };
        let email: Box<str> = email.as_str().into();
        let known = self.by_email.get(&email).copied();
        let by_id = person.external_id.as_deref().and_then(|id| self.by_external_id.get(id)).flatten();
        if let (Some(id), true) = (by_id, by_id != known) {
            let line = self.roster.people[id as usize].line;
            let what = format!("line {line} has the same id with another e-mail address");
            return Err(row.problem(columns.person.external_id, what, "correct one of the two"));
        }
        if let Some(index) = known {
            let before = &mut self.roster.people[index as usize];
            if !same_person(before, &person) {
                let what = format!("line {} says something else about the same person", before.line);
                return Err(row.problem(columns.person.email, what, "make the rows of one person say the same"));
            }
            if let Some(id) = &person.external_id {
                self.by_external_id.keep(id, index as usize);
            }
            add(before, person);
            return Ok(index);
        }
        let index = self.roster.people.len();
        if let Some(id) = &person.external_id {
            self.by_external_id.keep(id, index);
        }
        self.by_email.insert(email, index as u32);
        self.roster.people.push(person);
        self.presence.push((false, false));
        Ok(index as u32)
    }

    fn course(&mut self, code: String, title: Option<&String>) -> u32 {
        let index = *self.by_code.entry(code.clone()).or_insert_with(|| {
            self.roster.courses.push(Course { code, ..Course::default() });
            self.roster.courses.len() as u32 - 1
        });
        let course = &mut self.roster.courses[index as usize];
        if course.title.is_none() {
            course.title = title.cloned();
        }
        index
    }
}

/// Whether two rows can be about one person: what both say is the same.
fn same_person(one: &Person, other: &Person) -> bool {
    fn agree<T: PartialEq>(one: &Option<T>, other: &Option<T>) -> bool {
        one.is_none() || other.is_none() || one == other
    }
    agree(&one.external_id, &other.external_id)
        && agree(&one.username, &other.username)
        && agree(&one.display_name, &other.display_name)
        && agree(&one.section, &other.section)
        && agree(&one.password_hash, &other.password_hash)
        && agree(&one.role, &other.role)
}

/// What a further row says about a person: each may say what the others leave out.
fn add(person: &mut Person, other: Person) {
    let Person { external_id, username, display_name, given_name, family_name, section, .. } = other;
    person.external_id = person.external_id.take().or(external_id);
    person.username = person.username.take().or(username);
    person.display_name = person.display_name.take().or(display_name);
    person.given_name = person.given_name.take().or(given_name);
    person.family_name = person.family_name.take().or(family_name);
    person.section = person.section.take().or(section);
    person.password_hash = person.password_hash.take().or(other.password_hash);
    person.role = person.role.or(other.role);
}

fn codes(row: &Row<'_>, columns: &Columns) -> Result<Vec<String>, Problem> {
    let field = row.fact_if(columns.course)?;
    let sent = field.split(BETWEEN_COURSES).map(str::trim).filter(|code| !code.is_empty());
    sent.map(courses::parse_code)
        .collect::<Result<_, _>>()
        .map_err(|error| row.problem(columns.course, error.message(), "correct the code"))
}

fn has_ended(row: &Row<'_>, column: Option<usize>) -> Result<bool, Problem> {
    match row.word(column)?.as_str() {
        "" | "active" | "enrolled" | "current" => Ok(false),
        "inactive" | "disabled" | "withdrawn" | "left" | "tobedeleted" => Ok(true),
        _ => Err(row.problem(column, "expected active or inactive", "correct the status")),
    }
}

fn role_at(row: &Row<'_>, column: Option<usize>) -> Result<Option<Role>, Problem> {
    let text = row.word(column)?;
    match text.as_str() {
        "" => Ok(None),
        "administrator" => Ok(Some(Role::Staff)),
        _ => match text.parse() {
            Ok(role @ (Role::Student | Role::Lecturer | Role::Staff)) => Ok(Some(role)),
            Ok(role) => {
                let what = format!("a roster makes nobody {role}");
                Err(row.problem(column, what, "use muster admin set-role for this one"))
            }
            Err(_) => Err(row.problem(column, "expected student, lecturer or staff", "correct the role")),
        },
    }
}
