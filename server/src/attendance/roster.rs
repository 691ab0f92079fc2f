//! The roster of a session: its records, and everybody who was enrolled at its time and has none.

use std::collections::{BTreeMap, HashMap};

use muster_sync_core::DocumentId;

use super::listing;
use super::rows::RecordRow;
use super::views::{Person, RecordView};
use crate::auth;
use crate::class_sessions::{ClassSession, SessionStatus};
use crate::courses;
use crate::db::{DbError, Tx};
use crate::ids::TenantId;

/// One row of a roster.
#[derive(Debug, Clone)]
pub(super) struct RosterRow {
    /// The record's document, if there is one.
    pub(super) document: Option<DocumentId>,
    /// As lists show it.
    pub(super) view: RecordView,
}

/// Which rows are wanted; empty means any.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    /// In this state.
    pub(super) state: Option<String>,
    /// With this flag: the name of a check, or a reason.
    pub(super) flag: Option<String>,
    /// Only what waits for a person.
    pub(super) in_review: bool,
}

impl Wanted {
    fn includes(&self, view: &RecordView) -> bool {
        self.state.as_ref().is_none_or(|state| *state == view.state)
            && self.flag.as_ref().is_none_or(|flag| view.has_flag(flag))
            && (!self.in_review || view.needs_review())
    }
}

/// What people see of a student in lists. Students whose account is gone keep their id.
pub(super) fn person(tx: &Tx<'_>, tenant: &TenantId, student: &str) -> Result<Person, DbError> {
    let Ok(id) = student.parse() else { return Ok(Person::default()) };
    let found = auth::find(tx, tenant, id)?;
    Ok(found.map_or_else(Person::default, |user| Person {
        name: Some(user.display_name),
        email: Some(user.email),
        email_confirmed_at_ms: user.email_confirmed_at_ms,
        email_confirmed_by: user.email_confirmed_by,
        external_id: user.person.external_id,
        section: user.person.section,
    }))
}

/// Whether a student was enrolled in the course of a session at its time: however late a record comes, it is judged by that.
pub(super) fn was_enrolled(
    tx: &Tx<'_>,
    tenant: &TenantId,
    session: &ClassSession,
    student: &str,
) -> Result<bool, DbError> {
    let (Ok(course), Ok(student)) = (session.course.parse(), student.parse()) else { return Ok(false) };
    let span_ms = (session.opens_at_ms.min(session.ends_at_ms()), session.ends_at_ms());
    courses::was_enrolled(tx, tenant, course, student, span_ms)
}

/// Every row of a session's roster, by name.
pub(super) fn read(
    tx: &Tx<'_>,
    tenant: &TenantId,
    session: &ClassSession,
    now_ms: i64,
) -> Result<Vec<RosterRow>, DbError> {
    let records = listing::of_session(tx, tenant, &session.locator)?;
    let mut students: HashMap<String, Option<RecordRow>> = HashMap::new();
    if let Ok(course) = session.course.parse() {
        let enrolled = courses::students_at(tx, tenant, course, session.ends_at_ms(), now_ms)?;
        students.extend(enrolled.iter().map(|id| (id.to_string(), None)));
    }
    students.extend(records.into_iter().map(|record| (record.student.clone(), Some(record))));
    let missing = match session.status_at(now_ms) {
        SessionStatus::Planned | SessionStatus::Open => "expected",
        SessionStatus::Closed | SessionStatus::Expired => "absent",
    };
    let mut rows = Vec::with_capacity(students.len());
    for (student, record) in students {
        let person = person(tx, tenant, &student)?;
        rows.push(match record {
            Some(record) => RosterRow { document: Some(record.document), view: RecordView::new(&record, &person) },
            None => {
                let locator = session.locator.as_str();
                let view = RecordView::without_record(locator, &session.course, &student, &person, missing);
                RosterRow { document: None, view }
            }
        });
    }
    rows.sort_by(|a, b| (&a.view.name, &a.view.user_id).cmp(&(&b.view.name, &b.view.user_id)));
    Ok(rows)
}

/// How many rows there are in each state.
pub(super) fn counts(rows: &[RosterRow]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for row in rows {
        *counts.entry(row.view.state.clone()).or_default() += 1;
    }
    counts
}

/// The rows that are wanted.
pub(super) fn wanted(rows: Vec<RosterRow>, wanted: &Wanted) -> Vec<RosterRow> {
    rows.into_iter().filter(|row| wanted.includes(&row.view)).collect()
}
