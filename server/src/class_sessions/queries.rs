//! All SQL of class sessions.

use std::collections::BTreeMap;

use muster_sync_core::{
    ChangeHash, DeviceKey, DocumentId, Locator,
    document::{CodeMode, Plan, PlanAction, PlanChange, join_hashes},
    plan::Settlement,
};

use super::session::{ClassSession, Ended, Epoch, Geofence};
use crate::db::{DbError, Row, Tx, Value};
use crate::ids::TenantId;
use crate::log::Appended;
use crate::params;

/// Rows of [`counts`]: one for each word of [`STATUS`].
const STATUSES_MAX: u32 = 10;

/// The columns that [`class_session`] reads.
const SELECT: &str = "SELECT s.document_id, s.locator, s.course_id, s.planned_by, s.by_user, s.opens_at, s.closes_at,
        s.late_after, s.code_mode, s.step_s, s.latitude_e7, s.longitude_e7, s.radius_m, s.rival_plans, s.ended_at,
        s.ended_as, s.epoch, s.planned_at, t.title, s.contested
    FROM class_sessions s
    LEFT JOIN class_session_titles t ON t.document_id = s.document_id";

fn class_session(row: &Row<'_>) -> Result<ClassSession, DbError> {
    let locator: String = row.get(1)?;
    let (code_mode, ended_as): (String, Option<String>) = (row.get(8)?, row.get(15)?);
    let broken = |what: &str| DbError::Other(format!("a class session has an unreadable {what}"));
    let geofence = match (row.get(10)?, row.get(11)?, row.get(12)?) {
        (Some(latitude_e7), Some(longitude_e7), Some(radius_m)) => {
            Some(Geofence { latitude_e7, longitude_e7, radius_m })
        }
        _ => None,
    };
    let ended = match (row.get::<Option<i64>>(14)?, ended_as.as_deref().and_then(PlanAction::parse)) {
        (Some(at_ms), Some(action)) => Some(Ended { at_ms, action }),
        _ => None,
    };
    Ok(ClassSession {
        document: DocumentId(row.get(0)?),
        locator: Locator::parse(&locator).ok_or_else(|| broken("locator"))?,
        course: row.get(2)?,
        planned_by: DeviceKey(row.get(3)?),
        other_keys: Vec::new(),
        by_user: row.get(4)?,
        opens_at_ms: row.get(5)?,
        closes_at_ms: row.get(6)?,
        late_after_ms: row.get(7)?,
        code_mode: CodeMode::parse(&code_mode).ok_or_else(|| broken("code mode"))?,
        step_s: row.get(9)?,
        geofence,
        rival_plans: row.get(13)?,
        ended,
        epoch: row.get(16)?,
        epochs: Vec::new(),
        planned_at_ms: row.get(17)?,
        title: row.get(18)?,
        contested: row.get(19)?,
    })
}

/// As one of those who contest the session planned it; the columns are those of [`SELECT`].
pub(super) fn own_plan(tx: &Tx<'_>, id: DocumentId, planner: &str) -> Result<Option<ClassSession>, DbError> {
    tx.query_one(
        "SELECT p.document_id, s.locator, p.course_id, p.planned_by, p.by_user, p.opens_at, p.closes_at,
                p.late_after, p.code_mode, p.step_s, p.latitude_e7, p.longitude_e7, p.radius_m, s.rival_plans,
                s.ended_at, s.ended_as, s.epoch, p.planned_at, t.title, s.contested
         FROM class_session_plans p
         JOIN class_sessions s ON s.document_id = p.document_id
         LEFT JOIN class_session_titles t ON t.document_id = p.document_id
         WHERE p.document_id = ?1 AND p.planner = ?2
         ORDER BY p.hash
         LIMIT 1",
        params![&id.0, planner],
        class_session,
    )
}

pub(super) fn by_locator(tx: &Tx<'_>, tenant: &TenantId, locator: &Locator) -> Result<Option<ClassSession>, DbError> {
    let sql = format!("{SELECT} WHERE s.tenant_id = ?1 AND s.locator = ?2");
    tx.query_one(&sql, params![tenant.as_str(), locator.as_str()], class_session)
}

pub(super) fn by_document(tx: &Tx<'_>, tenant: &TenantId, id: DocumentId) -> Result<Option<ClassSession>, DbError> {
    let sql = format!("{SELECT} WHERE s.tenant_id = ?1 AND s.document_id = ?2");
    tx.query_one(&sql, params![tenant.as_str(), &id.0], class_session)
}

/// Every epoch of the code's secret and from when it holds, oldest first. What one person writes into the document is
/// bounded, and without the oldest ones a lower epoch would hold again.
pub(super) fn epochs(tx: &Tx<'_>, id: DocumentId) -> Result<Vec<Epoch>, DbError> {
    tx.query(
        "SELECT epoch, at
         FROM class_session_changes
         WHERE document_id = ?1 AND action = 'regenerate'
           AND (course_id IS NULL OR course_id IN (SELECT s.course_id FROM class_sessions s WHERE s.document_id = ?1))
         ORDER BY at, epoch, log_index",
        params![&id.0],
        |row| Ok(Epoch { epoch: row.get(0)?, from_ms: row.get(1)? }),
    )
}

/// The newest epoch of a session's code, if its plan has arrived.
pub(super) fn newest_epoch(tx: &Tx<'_>, document: DocumentId) -> Result<Option<u64>, DbError> {
    tx.query_one(
        "SELECT epoch
         FROM class_sessions
         WHERE document_id = ?1",
        params![&document.0],
        |row| row.get(0),
    )
}

/// The course of a session, if its plan has arrived and nobody contests it.
pub(super) fn course(tx: &Tx<'_>, tenant: &TenantId, locator: &Locator) -> Result<Option<String>, DbError> {
    tx.query_one(
        "SELECT course_id
         FROM class_sessions
         WHERE tenant_id = ?1 AND locator = ?2 AND contested = 0",
        params![tenant.as_str(), locator.as_str()],
        |row| row.get(0),
    )
}

/// Whether several people contest a session.
pub(super) fn is_contested(tx: &Tx<'_>, tenant: &TenantId, locator: &Locator) -> Result<bool, DbError> {
    let found = tx.query_one(
        "SELECT 1
         FROM class_sessions
         WHERE tenant_id = ?1 AND locator = ?2 AND contested = 1",
        params![tenant.as_str(), locator.as_str()],
        |row| row.get::<i64>(0),
    )?;
    Ok(found.is_some())
}

/// What [`insert_plan`] stores beside the plan.
pub(super) struct Planned<'a> {
    pub(super) document: DocumentId,
    pub(super) hash: ChangeHash,
    pub(super) planner: &'a str,
    pub(super) writer: &'a DeviceKey,
    pub(super) log_index: i64,
    pub(super) received_at_ms: i64,
}

pub(super) fn insert_plan(tx: &Tx<'_>, at: &Planned<'_>, plan: &Plan) -> Result<(), DbError> {
    tx.send(
        "INSERT INTO class_session_plans
             (document_id, log_index, hash, planner, course_id, planned_by, by_user, opens_at, closes_at, late_after,
              code_mode, step_s, latitude_e7, longitude_e7, radius_m, planned_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
        params![
            &at.document.0,
            at.log_index,
            &at.hash.0,
            at.planner,
            plan.course.as_str(),
            &at.writer.0,
            plan.by.as_ref().map(|by| by.as_str()),
            plan.opens_at_ms,
            plan.closes_at_ms,
            plan.late_after_ms,
            plan.code_mode.as_str(),
            plan.step_s as i64,
            plan.latitude_e7,
            plan.longitude_e7,
            plan.radius_m.map(|radius| radius as i64),
            at.received_at_ms
        ],
    )
}

/// Sessions that several people planned and nobody settled.
pub(super) fn contested(
    tx: &Tx<'_>,
    tenant: &TenantId,
    after: &str,
    limit: u32,
) -> Result<Vec<(DocumentId, Locator)>, DbError> {
    tx.query(
        "SELECT document_id, locator
         FROM class_sessions
         WHERE tenant_id = ?1 AND contested = 1 AND locator > ?2
         ORDER BY locator
         LIMIT ?3",
        params![tenant.as_str(), after, limit],
        |row| {
            let locator: String = row.get(1)?;
            let broken = || DbError::Other("a class session has an unreadable locator".to_owned());
            Ok((DocumentId(row.get(0)?), Locator::parse(&locator).ok_or_else(broken)?))
        },
    )
}

/// A plan, as far as it matters for whether it stands.
pub struct PlanRow {
    /// Its place in the log.
    pub log_index: i64,
    /// Its change.
    pub hash: ChangeHash,
    /// The person, or the key in hexadecimal while nobody knows whose it is.
    pub planner: String,
    /// The course.
    pub course: String,
    /// When the server had it, Unix milliseconds.
    pub planned_at_ms: i64,
}

/// Every plan of a session.
pub(super) fn plans(tx: &Tx<'_>, document: DocumentId) -> Result<Vec<PlanRow>, DbError> {
    tx.query(
        "SELECT log_index, hash, planner, course_id, planned_at
         FROM class_session_plans
         WHERE document_id = ?1
         ORDER BY log_index",
        params![&document.0],
        |row| {
            Ok(PlanRow {
                log_index: row.get(0)?,
                hash: ChangeHash(row.get(1)?),
                planner: row.get(2)?,
                course: row.get(3)?,
                planned_at_ms: row.get(4)?,
            })
        },
    )
}

pub(super) fn insert_settlement(tx: &Tx<'_>, appended: &Appended, one: &Settlement) -> Result<(), DbError> {
    let after = join_hashes(&one.after);
    tx.send(
        "INSERT INTO class_session_settlements
             (document_id, log_index, hash, writer, by_user, plan_hash, after_hashes)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            &appended.document().0,
            appended.log_index,
            &appended.hash().0,
            &one.writer.0,
            one.by.as_str(),
            &one.plan.0,
            &after
        ],
    )
}

/// The other keys of whoever wrote the plan that is shown, with plans for the same course.
pub(super) fn other_keys(tx: &Tx<'_>, document: DocumentId) -> Result<Vec<DeviceKey>, DbError> {
    tx.query(
        "SELECT DISTINCT o.planned_by
         FROM class_sessions s
         JOIN class_session_plans p ON p.document_id = s.document_id AND p.log_index = s.log_index
         JOIN class_session_plans o ON o.document_id = p.document_id AND o.planner = p.planner
              AND o.course_id = p.course_id AND o.planned_by <> p.planned_by
         WHERE s.document_id = ?1
         ORDER BY o.planned_by",
        params![&document.0],
        |row| Ok(DeviceKey(row.get(0)?)),
    )
}

/// What one person has written into a session's document.
pub(super) fn entries_by(tx: &Tx<'_>, document: DocumentId, person: &str) -> Result<u64, DbError> {
    tx.count(
        "SELECT (SELECT COUNT(*) FROM class_session_plans WHERE document_id = ?1 AND planner = ?2)
              + (SELECT COUNT(*) FROM class_session_changes WHERE document_id = ?1 AND by_user = ?2)
              + (SELECT COUNT(*) FROM class_session_settlements WHERE document_id = ?1 AND by_user = ?2)",
        params![&document.0, person],
    )
}

/// Every settlement of a session.
pub(super) fn settlements(tx: &Tx<'_>, document: DocumentId) -> Result<BTreeMap<ChangeHash, Settlement>, DbError> {
    let rows = tx.query(
        "SELECT hash, log_index, writer, by_user, plan_hash, after_hashes
         FROM class_session_settlements
         WHERE document_id = ?1
         ORDER BY log_index",
        params![&document.0],
        |row| {
            let after: Vec<u8> = row.get(5)?;
            let settlement = Settlement {
                place: row.get(1)?,
                writer: DeviceKey(row.get(2)?),
                by: row.get(3)?,
                plan: ChangeHash(row.get(4)?),
                after: after.chunks_exact(32).filter_map(ChangeHash::from_slice).collect(),
            };
            Ok((ChangeHash(row.get(0)?), settlement))
        },
    )?;
    Ok(rows.into_iter().collect())
}

/// The plan that a session shows.
pub(super) struct Shown<'a> {
    pub(super) log_index: i64,
    pub(super) contested: bool,
    pub(super) course: &'a str,
    pub(super) rivals: i64,
}

/// The place of the plan that a session's row shows, and whether it is contested.
pub(super) fn shown(tx: &Tx<'_>, document: DocumentId) -> Result<Option<(i64, bool)>, DbError> {
    tx.query_one(
        "SELECT log_index, contested
         FROM class_sessions
         WHERE document_id = ?1",
        params![&document.0],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

/// Makes the session's row that of a plan. While it is contested, the row names no course, so nobody teaches it.
pub(super) fn show_plan(
    tx: &Tx<'_>,
    tenant: &TenantId,
    locator: &Locator,
    document: DocumentId,
    shown: &Shown<'_>,
) -> Result<(), DbError> {
    let course = if shown.contested { "" } else { shown.course };
    tx.send("DELETE FROM class_sessions WHERE document_id = ?1", params![&document.0])?;
    tx.send(
        "INSERT INTO class_sessions
             (document_id, tenant_id, locator, course_id, planned_by, by_user, opens_at, closes_at, late_after,
              code_mode, step_s, latitude_e7, longitude_e7, radius_m, rival_plans, epoch, log_index, planned_at,
              contested)
         SELECT p.document_id, ?3, ?4, ?5, p.planned_by, p.by_user, p.opens_at, p.closes_at, p.late_after,
                p.code_mode, p.step_s, p.latitude_e7, p.longitude_e7, p.radius_m, ?6, 0, p.log_index, p.planned_at, ?7
         FROM class_session_plans p
         WHERE p.document_id = ?1 AND p.log_index = ?2",
        params![&document.0, shown.log_index, tenant.as_str(), locator.as_str(), course, shown.rivals, shown.contested],
    )
}

pub(super) fn insert_change(
    tx: &Tx<'_>,
    document: DocumentId,
    log_index: i64,
    change: &PlanChange,
    (by, course): (&str, Option<&str>),
) -> Result<(), DbError> {
    tx.send(
        "INSERT INTO class_session_changes (document_id, log_index, action, at, epoch, by_user, course_id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![&document.0, log_index, change.action.as_str(), change.at_ms, change.epoch as i64, by, course],
    )
}

/// Computes anew what follows from the changes: the earliest end, and the newest epoch.
pub(super) fn refresh(tx: &Tx<'_>, document: DocumentId) -> Result<(), DbError> {
    tx.send(
        "UPDATE class_sessions
         SET ended_at = (SELECT c.at FROM class_session_changes c
                         WHERE c.document_id = ?1 AND c.action <> 'regenerate'
                           AND COALESCE(c.course_id, class_sessions.course_id) = class_sessions.course_id
                         ORDER BY c.at, c.log_index LIMIT 1),
             ended_as = (SELECT c.action FROM class_session_changes c
                         WHERE c.document_id = ?1 AND c.action <> 'regenerate'
                           AND COALESCE(c.course_id, class_sessions.course_id) = class_sessions.course_id
                         ORDER BY c.at, c.log_index LIMIT 1),
             epoch = COALESCE((SELECT MAX(c.epoch) FROM class_session_changes c
                               WHERE c.document_id = ?1 AND c.action = 'regenerate'
                                 AND COALESCE(c.course_id, class_sessions.course_id) = class_sessions.course_id), 0)
         WHERE document_id = ?1",
        params![&document.0],
    )
}

pub(super) fn set_title(tx: &Tx<'_>, document: DocumentId, title: &str) -> Result<(), DbError> {
    tx.send(
        "INSERT INTO class_session_titles (document_id, title)
         VALUES (?1, ?2)
         ON CONFLICT (document_id) DO UPDATE SET title = ?2",
        params![&document.0, title],
    )
}

/// Where a session is in its life at the time `?2`, as `ClassSession::status_at` says it.
const STATUS: &str = "CASE
    WHEN s.ended_at <= ?2 AND s.ended_at < s.closes_at
        THEN CASE s.ended_as WHEN 'expire' THEN 'expired' ELSE 'closed' END
    WHEN s.closes_at <= ?2 THEN 'expired'
    WHEN s.opens_at > ?2 THEN 'planned'
    ELSE 'open'
END";

/// Which sessions are wanted.
pub(super) struct Wanted {
    /// Of these courses; `None` means of every course.
    pub(super) courses: Option<Vec<String>>,
    /// And those that this person planned and others contest.
    pub(super) planner: String,
    /// With this status; empty means any.
    pub(super) status: &'static str,
    /// The time at which the status is asked.
    pub(super) now_ms: i64,
}

impl Wanted {
    /// `first` is the number of the first placeholder that is free.
    fn in_courses(&self, first: usize) -> String {
        let Some(courses) = &self.courses else { return "1 = 1".to_owned() };
        let places: Vec<String> = (0..courses.len()).map(|index| format!("?{}", index + first)).collect();
        let own = format!(
            "(s.contested = 1 AND EXISTS (SELECT 1 FROM class_session_plans p
                                          WHERE p.document_id = s.document_id AND p.planner = ?{}))",
            first + courses.len()
        );
        if places.is_empty() { own } else { format!("(s.course_id IN ({}) OR {own})", places.join(", ")) }
    }

    fn values(&self) -> impl Iterator<Item = Value<'_>> {
        let planner = self.courses.is_some().then(|| Value::from(&self.planner));
        self.courses.iter().flatten().map(Value::from).chain(planner)
    }
}

/// A page of sessions, the latest to open first.
pub(super) fn page(
    tx: &Tx<'_>,
    tenant: &TenantId,
    wanted: &Wanted,
    before: (i64, DocumentId),
    limit: u32,
) -> Result<Vec<ClassSession>, DbError> {
    let sql = format!(
        "{SELECT}
         WHERE s.tenant_id = ?1 AND {} AND (?3 = '' OR {STATUS} = ?3)
           AND (s.opens_at < ?4 OR (s.opens_at = ?4 AND s.document_id < ?5))
         ORDER BY s.opens_at DESC, s.document_id DESC
         LIMIT ?6",
        wanted.in_courses(7)
    );
    let id = before.1.0;
    let mut values: Vec<Value<'_>> =
        params![tenant.as_str(), wanted.now_ms, wanted.status, before.0, &id, limit].to_vec();
    values.extend(wanted.values());
    tx.query(&sql, &values, class_session)
}

/// How many sessions there are of each status.
pub(super) fn counts(tx: &Tx<'_>, tenant: &TenantId, wanted: &Wanted) -> Result<Vec<(String, u64)>, DbError> {
    let sql = format!(
        "SELECT {STATUS} AS status, COUNT(*)
         FROM class_sessions s
         WHERE s.tenant_id = ?1 AND {}
         GROUP BY 1
         LIMIT ?3",
        wanted.in_courses(4)
    );
    let mut values: Vec<Value<'_>> = params![tenant.as_str(), wanted.now_ms, STATUSES_MAX].to_vec();
    values.extend(wanted.values());
    tx.query(&sql, &values, |row| Ok((row.get(0)?, row.get(1)?)))
}
