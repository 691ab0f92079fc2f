//! What is there already, so that a roster is compared with it in memory and not by a question per row.

use std::collections::{HashMap, HashSet};

use super::people::Roster;
use crate::auth::{self, KnownUser, Role, Status};
use crate::courses::{self, KnownCourse, Member};
use crate::db::{DbError, Tx};
use crate::ids::{TenantId, UserId};

/// Accounts, courses, and the places in the courses that the roster names.
pub(super) struct Existing {
    pub(super) users: Vec<KnownUser>,
    pub(super) courses: Vec<KnownCourse>,
    pub(super) members: HashSet<Member>,
}

/// Where things are in [`Existing`], by each of their names.
pub(super) struct Index<'a> {
    pub(super) by_external_id: HashMap<&'a str, usize>,
    pub(super) by_email: HashMap<&'a str, usize>,
    pub(super) by_username: HashMap<&'a str, usize>,
    pub(super) courses_by_external_id: HashMap<&'a str, usize>,
    pub(super) courses_by_code: HashMap<&'a str, usize>,
}

impl Existing {
    pub(super) fn read(tx: &Tx<'_>, tenant: &TenantId, roster: &Roster) -> Result<Self, DbError> {
        let (users, courses) = (auth::known_users(tx, tenant)?, courses::known_courses(tx, tenant)?);
        let codes: HashSet<&str> = roster.courses.iter().map(|course| course.code.as_str()).collect();
        let ids: HashSet<&str> = roster.courses.iter().filter_map(|course| course.external_id.as_deref()).collect();
        let mut members = HashSet::new();
        for course in &courses {
            let id = course.external_id.as_deref();
            if codes.contains(course.code.as_str()) || id.is_some_and(|id| ids.contains(id)) {
                members.extend(courses::members_of(tx, tenant, course.id)?);
            }
        }
        Ok(Self { users, courses, members })
    }

    pub(super) fn index(&self) -> Index<'_> {
        let users = || self.users.iter().enumerate();
        let courses = || self.courses.iter().enumerate();
        Index {
            by_external_id: users()
                .filter_map(|(index, user)| Some((user.profile.person.external_id.as_deref()?, index)))
                .collect(),
            by_email: users().map(|(index, user)| (user.profile.email.as_str(), index)).collect(),
            by_username: users().filter_map(|(index, user)| Some((user.profile.username.as_deref()?, index))).collect(),
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
