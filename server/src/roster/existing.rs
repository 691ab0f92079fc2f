//! What is there already, so that a roster is compared with it in memory and not by a question per row.

use std::collections::{HashMap, HashSet};

use super::people::Roster;
use crate::auth::{self, KnownUser, Role, Status, Voucher};
use crate::courses::{self, KnownCourse, Member};
use crate::db::{DbError, Tx};
use crate::ids::{TenantId, UserId};

/// Accounts, courses, and the places in the courses that the roster names.
pub(super) struct Existing {
    pub(super) users: Vec<KnownUser>,
    pub(super) courses: Vec<KnownCourse>,
    pub(super) members: HashSet<Member>,
    /// Those of them that have not begun, and when they do, Unix milliseconds.
    pub(super) later: HashMap<Member, i64>,
    /// In how many courses people are, named in the roster or not.
    pub(super) courses_by_person: HashMap<UserId, u32>,
}

/// Where things are in [`Existing`], by each of their names.
pub(super) struct Index<'a> {
    pub(super) by_external_id: HashMap<&'a str, usize>,
    pub(super) by_email: HashMap<&'a str, usize>,
    pub(super) by_username: HashMap<&'a str, usize>,
    /// Accounts that hold their names by having typed them, and nothing more; they stand in neither of the two above.
    pub(super) strangers_by_email: HashMap<&'a str, usize>,
    pub(super) strangers_by_username: HashMap<&'a str, usize>,
    pub(super) courses_by_external_id: HashMap<&'a str, usize>,
    pub(super) courses_by_code: HashMap<&'a str, usize>,
}

impl Existing {
    pub(super) fn read(tx: &Tx<'_>, tenant: &TenantId, roster: &Roster, now_ms: i64) -> Result<Self, DbError> {
        let (users, courses) = (auth::known_users(tx, tenant)?, courses::known_courses(tx, tenant)?);
        let codes: HashSet<&str> = roster.courses.iter().map(|course| course.code.as_str()).collect();
        let ids: HashSet<&str> = roster.courses.iter().filter_map(|course| course.external_id.as_deref()).collect();
        let (mut members, mut later) = (HashSet::new(), HashMap::new());
        for course in &courses {
            let id = course.external_id.as_deref();
            if codes.contains(course.code.as_str()) || id.is_some_and(|id| ids.contains(id)) {
                members.extend(courses::members_of(tx, tenant, course.id)?);
                later.extend(courses::not_begun(tx, tenant, course.id, now_ms)?);
            }
        }
        let courses_by_person = courses::courses_by_person(tx, tenant)?;
        Ok(Self { users, courses, members, later, courses_by_person })
    }

    pub(super) fn index(&self, trust_emails: bool) -> Index<'_> {
        let users = || self.users.iter().enumerate();
        let known = || users().filter(|(_, user)| trust_emails || !is_stranger(user));
        let strangers = || users().filter(|(_, user)| !trust_emails && is_stranger(user));
        let courses = || self.courses.iter().enumerate();
        Index {
            by_external_id: users()
                .filter_map(|(index, user)| Some((user.profile.person.external_id.as_deref()?, index)))
                .collect(),
            by_email: known().map(by_email).collect(),
            by_username: known().filter_map(by_username).collect(),
            strangers_by_email: strangers().map(by_email).collect(),
            strangers_by_username: strangers().filter_map(by_username).collect(),
            courses_by_external_id: courses()
                .filter_map(|(index, course)| Some((course.external_id.as_deref()?, index)))
                .collect(),
            courses_by_code: courses().map(|(index, course)| (course.code.as_str(), index)).collect(),
        }
    }

    /// The oldest account that administers the institution.
    pub(super) fn oldest_admin(&self) -> Option<UserId> {
        let active = |user: &&KnownUser| user.role == Role::Admin && user.status == Status::Active;
        self.users.iter().find(active).map(|user| user.id)
    }
}

/// Whether nobody vouches for somebody. A role that somebody gave, and an id that the registry or an admin gave, say that
/// the office knows the person. So whom a row finds by id is no stranger, and no plan both changes an account and takes its names.
fn is_stranger(user: &KnownUser) -> bool {
    user.confirmed_by.is_none() && user.role <= Role::Student && !user.external_id_by.is_some_and(Voucher::gives_roles)
}

fn by_email((index, user): (usize, &KnownUser)) -> (&str, usize) {
    (user.profile.email.as_str(), index)
}

fn by_username((index, user): (usize, &KnownUser)) -> Option<(&str, usize)> {
    Some((user.profile.username.as_deref()?, index))
}
