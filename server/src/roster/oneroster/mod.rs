//! OneRoster 1.2 and 1.1 as CSV: a set of files that a manifest lists. A class becomes a course, because people are
//! enrolled in classes; its sourcedId stays with it, so that a class that is renamed stays the same course.
//!
//! In 1.2 roles stand in roles.csv, in 1.1 in users.csv: whichever is there counts. Passwords in users.csv are never read.

mod columns;

use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

use jiff::civil::Date;

use columns::{
    Catalogue, ClassColumns, PlaceColumns, Roles, SubjectColumns, UserColumns, bad_reference, day_at, has_ended, id_at,
    more_useful, no_reference, role_at, same_id,
};

use super::dates;
use super::error::RosterError;
use super::limits::Limits;
use super::people::{Course, Ids, Names, Person, PersonColumns, Place, Roster};
use super::progress::{Progress, Stage};
use super::report::{FileRead, Problem};
use super::source::Source;
use super::table::{Row, Table};
use crate::auth::Role;
use crate::text;

/// Which part of a kind of thing a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// None of it: the file is not read.
    Absent,
    /// All of it.
    Bulk,
    /// What changed.
    Delta,
}

/// Reads a whole roster. Enrolments whose last day is `today`, or before it, have ended; those whose first day is later
/// begin then.
pub(super) fn read(
    source: &mut Source,
    limits: Limits,
    today: Date,
    progress: &Progress,
) -> Result<Roster, RosterError> {
    let manifest = Manifest::read(source, limits)?;
    let [people, places] = ["users.csv", "enrollments.csv"].map(Arc::from);
    let mut reading = Reading {
        roster: Roster {
            format: format!("oneroster {}", manifest.version),
            names: Names { people, places },
            names_everybody: manifest.mode("users") == Mode::Bulk,
            names_every_place: manifest.mode("enrollments") == Mode::Bulk,
            ..Roster::default()
        },
        manifest,
        limits,
        progress,
        users: Ids::default(),
        classes: Ids::default(),
    };
    let catalogue = reading.catalogue(source)?;
    reading.classes(source, &catalogue)?;
    let roles = reading.roles(source)?;
    reading.users(source, roles.as_ref())?;
    reading.enrolments(source, today)?;
    Ok(reading.roster)
}

/// What manifest.csv says of the other files.
struct Manifest {
    version: String,
    modes: HashMap<String, Mode>,
}

impl Manifest {
    fn read(source: &mut Source, limits: Limits) -> Result<Self, RosterError> {
        const NAME: &str = "manifest.csv";
        let invalid = |what: String, fix: &str| RosterError::invalid(NAME, what, fix);
        let file = source.file(NAME)?.ok_or_else(|| {
            invalid("the file is not there".to_owned(), "a OneRoster set has a manifest.csv that lists its files")
        })?;
        let mut table = Table::open(NAME, file, limits)?;
        let (name, value) = (table.require("propertyName")?, table.require("value")?);
        let (mut version, mut modes) = (None, HashMap::new());
        while let Some(row) = table.next()? {
            let wrong = |problem: Problem| invalid(format!("line {}: {}", problem.line, problem.what), "correct it");
            let row = row.map_err(wrong)?;
            let (name, value) = (row.get(name).map_err(wrong)?, row.get(value).map_err(wrong)?);
            let differs = if name == "oneroster.version" {
                version.replace(value.to_string()).is_some_and(|before| before != value)
            } else if let Some(file) = name.strip_prefix("file.") {
                let mode = match text::alike(&value).as_str() {
                    "bulk" => Mode::Bulk,
                    "delta" => Mode::Delta,
                    "absent" | "" => Mode::Absent,
                    other => return Err(invalid(format!("{name} is {other}"), "use absent, bulk or delta")),
                };
                modes.insert(file.to_owned(), mode).is_some_and(|before| before != mode)
            } else {
                false
            };
            if differs {
                return Err(invalid(format!("two rows say different things about {name}"), "remove one of them"));
            }
        }
        let version = version.unwrap_or_default();
        if !["1.1", "1.2"].iter().any(|known| version.starts_with(known)) {
            return Err(invalid(format!("oneroster.version is {version:?}"), "Muster reads 1.1 and 1.2"));
        }
        Ok(Self { version, modes })
    }

    fn mode(&self, file: &str) -> Mode {
        self.modes.get(file).copied().unwrap_or(Mode::Absent)
    }
}

struct Reading<'a> {
    roster: Roster,
    manifest: Manifest,
    limits: Limits,
    progress: &'a Progress,
    users: Ids,
    classes: Ids,
}

impl Reading<'_> {
    /// The table of a file that the manifest lists.
    fn table<'s>(&self, source: &'s mut Source, name: &str) -> Result<Option<Table<Box<dyn Read + 's>>>, RosterError> {
        if self.manifest.mode(name) == Mode::Absent {
            return Ok(None);
        }
        let file_name = format!("{name}.csv");
        match source.file(&file_name)? {
            Some(file) => Table::open(&file_name, file, self.limits).map(Some),
            None => {
                let what = "manifest.csv lists the file, and it is not there";
                Err(RosterError::invalid(&file_name, what, "add it, or say absent in manifest.csv"))
            }
        }
    }

    fn done(&mut self, name: &str, rows: u64) {
        self.roster.files.push(FileRead { name: format!("{name}.csv"), rows });
    }

    /// Titles and codes of courses, by sourcedId.
    fn catalogue(&mut self, source: &mut Source) -> Result<Catalogue, RosterError> {
        let mut catalogue = Catalogue::new();
        let Some(mut table) = self.table(source, "courses")? else { return Ok(catalogue) };
        let columns = SubjectColumns {
            id: table.require("sourcedId")?,
            title: table.require("title")?,
            code: table.column(&["courseCode"]),
            status: table.column(&["status"]),
        };
        while let Some(row) = table.next()? {
            if let Err(problem) = row.and_then(|row| columns.read(&row, &mut catalogue)) {
                self.roster.bad_courses += 1;
                self.roster.problems.push(problem);
            }
        }
        let rows = table.rows();
        self.done("courses", rows);
        Ok(catalogue)
    }

    fn classes(&mut self, source: &mut Source, catalogue: &Catalogue) -> Result<(), RosterError> {
        let Some(mut table) = self.table(source, "classes")? else { return Ok(()) };
        let columns = ClassColumns {
            id: table.require("sourcedId")?,
            title: table.require("title")?,
            course: table.require("courseSourcedId")?,
            code: table.column(&["classCode"]),
            status: table.column(&["status"]),
        };
        while let Some(row) = table.next()? {
            match row.and_then(|row| self.class(&row, &columns, catalogue)) {
                Ok(true) => {}
                Ok(false) => self.roster.skipped_rows += 1,
                Err(problem) => {
                    self.roster.bad_courses += 1;
                    self.roster.problems.push(problem);
                }
            }
        }
        let rows = table.rows();
        self.done("classes", rows);
        Ok(())
    }

    /// Roles by user; `None` when they stand in users.csv.
    fn roles(&mut self, source: &mut Source) -> Result<Option<Roles>, RosterError> {
        let Some(mut table) = self.table(source, "roles")? else { return Ok(None) };
        let (user, role, status) = (table.require("userSourcedId")?, table.require("role")?, table.column(&["status"]));
        let mut roles = Roles::new();
        while let Some(row) = table.next()? {
            let read = row.and_then(|row| Ok((row.id(user)?, role_at(&row, role)?, has_ended(&row, status)?)));
            match read {
                Ok((_, _, true)) => {}
                Ok((user, role, false)) => {
                    let highest = roles.entry(user.as_ref().into()).or_insert(role);
                    *highest = more_useful(*highest, role);
                }
                Err(problem) => {
                    self.roster.bad_users += 1;
                    self.roster.problems.push(problem);
                }
            }
        }
        let rows = table.rows();
        self.done("roles", rows);
        Ok(Some(roles))
    }

    fn users(&mut self, source: &mut Source, roles: Option<&Roles>) -> Result<(), RosterError> {
        let Some(mut table) = self.table(source, "users")? else { return Ok(()) };
        let columns = UserColumns {
            id: table.require("sourcedId")?,
            person: PersonColumns {
                external_id: Some(table.require("sourcedId")?),
                email: Some(table.require("email")?),
                username: table.column(&["username"]),
                given_name: Some(table.require("givenName")?),
                family_name: Some(table.require("familyName")?),
                preferred: (table.column(&["preferredGivenName"]), table.column(&["preferredFamilyName"])),
                ..PersonColumns::default()
            },
            enabled: table.column(&["enabledUser"]),
            status: table.column(&["status"]),
            role: table.column(&["role"]),
            must_have_role: self.manifest.mode("users") == Mode::Bulk,
        };
        if roles.is_none() && columns.role.is_none() {
            let what = "there is neither a column role, as in 1.1, nor a roles.csv, as in 1.2";
            return Err(RosterError::invalid("users.csv", what, "export the roles too"));
        }
        while let Some(row) = table.next()? {
            match row.and_then(|row| self.user(&row, &columns, roles)) {
                Ok(true) => {}
                Ok(false) => self.roster.skipped_rows += 1,
                Err(problem) => {
                    self.roster.bad_users += 1;
                    self.roster.problems.push(problem);
                }
            }
            self.progress.rows(Stage::Read, table.rows());
        }
        let rows = table.rows();
        self.done("users", rows);
        Ok(())
    }

    /// Takes a class; false for a row that says nothing new.
    fn class(&mut self, row: &Row<'_>, columns: &ClassColumns, catalogue: &Catalogue) -> Result<bool, Problem> {
        let id = id_at(row, columns.id)?;
        self.classes.note(&id);
        let course = columns.read(row, &id, catalogue)?;
        match self.classes.get(&id).flatten() {
            None => {
                self.classes.keep(&id, self.roster.courses.len());
                self.roster.courses.push(course);
            }
            // Whichever comes first: what is there counts, and not what was.
            Some(_) if course.has_ended => return Ok(false),
            Some(index) if self.roster.courses[index as usize].has_ended => {
                self.roster.courses[index as usize] = course;
            }
            Some(_) => return Err(same_id(row, columns.id)),
        }
        Ok(true)
    }

    /// Takes a person; false for somebody who is nothing to Muster, and for a row that says nothing new.
    fn user(&mut self, row: &Row<'_>, columns: &UserColumns, roles: Option<&Roles>) -> Result<bool, Problem> {
        let id = id_at(row, columns.id)?;
        self.users.note(&id);
        let Some((person, left_out)) = columns.read(row, &id, roles)? else { return Ok(false) };
        match self.users.get(&id).flatten() {
            None => {
                self.users.keep(&id, self.roster.people.len());
                self.roster.people.push(person);
            }
            Some(_) if person.has_left => return Ok(false),
            Some(index) if self.roster.people[index as usize].has_left => {
                self.roster.people[index as usize] = person;
            }
            Some(_) => return Err(same_id(row, columns.id)),
        }
        self.roster.user_names_left_out += u64::from(left_out);
        Ok(true)
    }

    fn enrolments(&mut self, source: &mut Source, today: Date) -> Result<(), RosterError> {
        let Some(mut table) = self.table(source, "enrollments")? else { return Ok(()) };
        let columns = PlaceColumns {
            class: table.require("classSourcedId")?,
            user: table.require("userSourcedId")?,
            role: table.require("role")?,
            status: table.column(&["status"]),
            begin: table.column(&["beginDate"]),
            end: table.column(&["endDate"]),
        };
        while let Some(row) = table.next()? {
            match row.and_then(|row| self.place(&row, &columns, today)) {
                Ok(Some(place)) => self.roster.places.push(place),
                Ok(None) => self.roster.skipped_rows += 1,
                Err(problem) => {
                    self.roster.bad_places += 1;
                    self.roster.problems.push(problem);
                }
            }
            self.progress.rows(Stage::Read, table.rows());
        }
        let rows = table.rows();
        self.done("enrollments", rows);
        Ok(())
    }

    /// The place that a row gives; `None` when it says nothing to Muster.
    fn place(&mut self, row: &Row<'_>, columns: &PlaceColumns, today: Date) -> Result<Option<Place>, Problem> {
        let (class, user) = (row.id(columns.class)?, row.id(columns.user)?);
        let (class, user) = (class.as_ref(), user.as_ref());
        let teaches = match role_at(row, columns.role)? {
            Some(Role::Student) => false,
            Some(Role::Lecturer) => true,
            _ => return Ok(None),
        };
        let (begin, end) = (day_at(row, columns.begin)?, day_at(row, columns.end)?);
        if begin.zip(end).is_some_and(|(begin, end)| end < begin) {
            let what = "the place ends before it begins";
            return Err(row.problem(columns.end, what, "correct beginDate or endDate"));
        }
        let begins_at_ms = begin.filter(|begin| *begin > today).and_then(dates::begin_of);
        let has_ended = has_ended(row, columns.status)? || end.is_some_and(|end| end <= today);
        let course = match (self.classes.get(class), self.manifest.mode("classes")) {
            (Some(Some(course)), _) => course,
            (Some(None), _) => return Err(bad_reference(row, columns.class, "class", "classes.csv")),
            (None, Mode::Bulk) => return Err(no_reference(row, columns.class, "class", "classes.csv")),
            (None, _) => self.reference_class(class),
        };
        let person = match (self.users.get(user), self.manifest.mode("users")) {
            (Some(Some(person)), _) => person,
            (Some(None), _) => return Err(bad_reference(row, columns.user, "user", "users.csv")),
            (None, Mode::Bulk) => return Err(no_reference(row, columns.user, "user", "users.csv")),
            (None, _) => self.reference_user(user),
        };
        Ok(Some(Place { line: row.line, person, course, teaches: Some(teaches), has_ended, begins_at_ms }))
    }

    /// A user of whom this set only says that they have a place.
    fn reference_user(&mut self, id: &str) -> u32 {
        let index = self.roster.people.len();
        let external_id = Some(id.to_owned());
        self.roster.people.push(Person { external_id, is_reference: true, ..Person::default() });
        self.users.keep(id, index);
        index as u32
    }

    fn reference_class(&mut self, id: &str) -> u32 {
        let index = self.roster.courses.len();
        let external_id = Some(id.to_owned());
        self.roster.courses.push(Course { external_id, is_reference: true, ..Course::default() });
        self.classes.keep(id, index);
        index as u32
    }
}
