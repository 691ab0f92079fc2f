//! A class session as the plan and its changes make it.

use muster_sync_core::{
    DeviceKey, DocumentId, Locator,
    document::{CodeMode, PlanAction},
};
use serde::Serialize;
use utoipa::ToSchema;

/// A class session: the plan that counts, and what was changed since.
#[derive(Debug, Clone)]
pub struct ClassSession {
    /// Its document.
    pub document: DocumentId,
    /// Its locator.
    pub locator: Locator,
    /// The course.
    pub course: String,
    /// The writer of the plan, whose code key gives the secret.
    pub planned_by: DeviceKey,
    /// Other keys of the same person with a plan for the same course, such as a new phone's, whose code holds as well;
    /// filled by `find` and `find_document` only.
    pub other_keys: Vec<DeviceKey>,
    /// The user for whom the server wrote the plan.
    pub by_user: Option<String>,
    /// Start, Unix milliseconds.
    pub opens_at_ms: i64,
    /// Planned end, Unix milliseconds.
    pub closes_at_ms: i64,
    /// From when a capture counts as late.
    pub late_after_ms: Option<i64>,
    /// How the code behaves.
    pub code_mode: CodeMode,
    /// Length of a code step.
    pub step_s: u64,
    /// Where it takes place.
    pub geofence: Option<Geofence>,
    /// Later plans for the same locator, which do not count.
    pub rival_plans: u64,
    /// The earliest end that somebody declared.
    pub ended: Option<Ended>,
    /// The newest epoch of the code's secret.
    pub epoch: u64,
    /// The epochs after the first (0) that ever hold, by the time from which they do; filled by `find` and
    /// `find_document` only.
    pub epochs: Vec<Epoch>,
    /// When the server had the plan.
    pub planned_at_ms: i64,
    /// What people call it.
    pub title: Option<String>,
    /// Whether several people planned it and no admin has settled whose plan stands; then it has no course.
    pub contested: bool,
}

/// A circle on the ground.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geofence {
    /// Degrees of latitude times 10^7.
    pub latitude_e7: i64,
    /// Degrees of longitude times 10^7.
    pub longitude_e7: i64,
    /// Radius in metres.
    pub radius_m: u64,
}

/// An end before the planned one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// When.
    pub at_ms: i64,
    /// Closed or expired.
    pub action: PlanAction,
}

/// An epoch of the code's secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch {
    /// Its number.
    pub epoch: u64,
    /// From when it holds.
    pub from_ms: i64,
}

/// Where a session is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SessionStatus {
    /// It has not begun.
    Planned,
    /// Captures are in time.
    Open,
    /// Somebody closed it.
    Closed,
    /// Its time ran out, or somebody declared so.
    Expired,
}

impl ClassSession {
    /// When captures stop being in time: the planned end, or an earlier declared one.
    pub fn ends_at_ms(&self) -> i64 {
        self.ended.map_or(self.closes_at_ms, |ended| ended.at_ms.min(self.closes_at_ms))
    }

    /// Its status at a time.
    pub fn status_at(&self, now_ms: i64) -> SessionStatus {
        match self.ended {
            Some(ended) if ended.at_ms <= now_ms && ended.at_ms < self.closes_at_ms => match ended.action {
                PlanAction::Expire => SessionStatus::Expired,
                PlanAction::Close | PlanAction::Regenerate | PlanAction::Settle => SessionStatus::Closed,
            },
            _ if now_ms >= self.closes_at_ms => SessionStatus::Expired,
            _ if now_ms < self.opens_at_ms => SessionStatus::Planned,
            _ => SessionStatus::Open,
        }
    }

    /// The epoch of the code's secret that holds at a time.
    pub fn epoch_at(&self, time_ms: i64) -> u64 {
        let begun = self.epochs.iter().rev().find(|epoch| epoch.from_ms <= time_ms);
        begun.map_or(0, |epoch| epoch.epoch)
    }
}

/// Of the epochs that were begun, those that hold for some time, as phones have it: at any time it is the highest of
/// those begun until then. Two phones that begin epochs at once may name a lower one later.
pub(super) fn that_hold(begun: Vec<Epoch>) -> Vec<Epoch> {
    let mut highest = 0;
    let holds = |epoch: &Epoch| {
        let is_higher = epoch.epoch > highest;
        highest = highest.max(epoch.epoch);
        is_higher
    };
    begun.into_iter().filter(holds).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> ClassSession {
        ClassSession {
            document: DocumentId([0; 16]),
            locator: Locator::from_random([0; 4]),
            course: "c".into(),
            planned_by: DeviceKey([0; 32]),
            other_keys: Vec::new(),
            by_user: None,
            opens_at_ms: 1_000,
            closes_at_ms: 2_000,
            late_after_ms: None,
            code_mode: CodeMode::Rotating,
            step_s: 15,
            geofence: None,
            rival_plans: 0,
            ended: None,
            epoch: 0,
            epochs: Vec::new(),
            planned_at_ms: 0,
            title: None,
            contested: false,
        }
    }

    #[test]
    fn the_status_follows_the_plan_and_what_was_declared() {
        let mut session = session();
        let at = |session: &ClassSession| [999, 1_000, 1_999, 2_000].map(|now| session.status_at(now));
        use SessionStatus::{Closed, Expired, Open, Planned};
        assert_eq!(at(&session), [Planned, Open, Open, Expired]);
        session.ended = Some(Ended { at_ms: 1_500, action: PlanAction::Close });
        assert_eq!(at(&session), [Planned, Open, Closed, Closed]);
        assert_eq!(session.ends_at_ms(), 1_500);
        session.ended = Some(Ended { at_ms: 1_000, action: PlanAction::Expire });
        assert_eq!(at(&session), [Planned, Expired, Expired, Expired]);
        session.ended = Some(Ended { at_ms: 9_000, action: PlanAction::Close });
        assert_eq!((at(&session)[3], session.ends_at_ms()), (Expired, 2_000));
    }

    #[test]
    fn an_epoch_holds_from_its_time_on() {
        let mut session = session();
        session.epochs = vec![Epoch { epoch: 1, from_ms: 1_200 }, Epoch { epoch: 2, from_ms: 1_400 }];
        assert_eq!([0, 1_199, 1_200, 1_399, 1_400].map(|at| session.epoch_at(at)), [0, 0, 1, 1, 2]);
    }

    #[test]
    fn of_epochs_begun_at_once_the_highest_holds_as_phones_have_it() {
        let begun = [(3, 100), (1, 200), (3, 300), (4, 400), (2, 500)];
        let begun = begun.map(|(epoch, from_ms)| Epoch { epoch, from_ms }).to_vec();
        let held: Vec<_> = that_hold(begun).iter().map(|epoch| (epoch.epoch, epoch.from_ms)).collect();
        assert_eq!(held, [(3, 100), (4, 400)]);
    }
}
