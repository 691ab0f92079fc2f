//! Entries of a `class-session` document.

use super::attendance::{check_after, hashes};
use super::field::{Code, Label, ensure, entry, text_enum};
use crate::{ChangeHash, Refusal, limits};

text_enum! {
    /// How the session code behaves.
    CodeMode {
        /// A new code with every step (RFC 6238).
        Rotating = "rotating",
        /// One code until it is regenerated (RFC 4226, the epoch as counter).
        Static = "static",
    }
}

text_enum! {
    /// What happened to a class session after it was planned.
    PlanAction {
        /// Closed by the lecturer: no capture after `at_ms` is in time.
        Close = "close",
        /// Declared expired: as closing, for a session that should have ended.
        Expire = "expire",
        /// A new epoch of the code's secret, from `at_ms` on.
        Regenerate = "regenerate",
        /// Of several plans, the one that `plan` names stands. By admins only.
        Settle = "settle",
    }
}

entry! {
    /// The plan of a class session. The writer's code key gives the session's secret.
    Plan {
        /// The course.
        course: Label,
        /// Start, Unix milliseconds.
        opens_at_ms: i64,
        /// End, Unix milliseconds.
        closes_at_ms: i64,
        /// From when a capture counts as late, Unix milliseconds.
        late_after_ms: Option<i64>,
        /// How the code behaves.
        code_mode: CodeMode,
        /// Length of a code step in seconds, 5 to 300.
        step_s: u64,
        /// Centre of the geofence, degrees of latitude times 10^7.
        latitude_e7: Option<i64>,
        /// Centre of the geofence, degrees of longitude times 10^7.
        longitude_e7: Option<i64>,
        /// Radius of the geofence in metres, 1 to 10,000.
        radius_m: Option<u64>,
        /// The user who planned it; phones of older versions do not say.
        by: Option<Label>,
    }
}

entry! {
    /// Something that happened to a class session.
    PlanChange {
        /// What.
        action: PlanAction,
        /// From when it holds, Unix milliseconds.
        at_ms: i64,
        /// The epoch of the code's secret from then on; 0 for `settle`.
        epoch: u64,
        /// The user for whom the server wrote it.
        by: Option<Label>,
        /// For `settle`: the plan that stands.
        plan: Option<ChangeHash>,
        /// For `settle`: the settlements that the writer had seen: 32 bytes each, at most 16.
        after: Option<Vec<u8>>,
        /// For `settle`: why.
        reason: Option<Code>,
    }
}

impl Plan {
    pub(super) fn check(&self) -> Result<(), Refusal> {
        let length_ms = self.closes_at_ms.checked_sub(self.opens_at_ms);
        let fits = |length| (1..=limits::CLASS_SESSION_MS_MAX).contains(&length);
        ensure(self.opens_at_ms >= 0, "opens_at_ms", "is before 1970")?;
        ensure(length_ms.is_some_and(fits), "closes_at_ms", "is not within 24 h after opens_at_ms")?;
        let late_inside = |late| (self.opens_at_ms..=self.closes_at_ms).contains(&late);
        ensure(self.late_after_ms.is_none_or(late_inside), "late_after_ms", "is outside the session")?;
        ensure((5..=300).contains(&self.step_s), "step_s", "is not within 5 to 300 seconds")?;
        match (self.latitude_e7, self.longitude_e7, self.radius_m) {
            (None, None, None) => Ok(()),
            (Some(latitude), Some(longitude), Some(radius)) => {
                ensure(latitude.unsigned_abs() <= 900_000_000, "latitude_e7", "is beyond a pole")?;
                ensure(longitude.unsigned_abs() <= 1_800_000_000, "longitude_e7", "is beyond 180 degrees")?;
                ensure((1..=10_000).contains(&radius), "radius_m", "is not within 1 to 10,000 metres")
            }
            _ => Err(Refusal::Field { field: "radius_m", what: "a geofence needs latitude, longitude and radius" }),
        }
    }
}

impl PlanChange {
    pub(super) fn check(&self) -> Result<(), Refusal> {
        ensure(self.at_ms >= 0, "at_ms", "is before 1970")?;
        ensure(self.epoch <= limits::EPOCH_MAX, "epoch", "is over 2^32 - 1")?;
        let settles = self.action == PlanAction::Settle;
        ensure(settles == self.plan.is_some(), "plan", "stands exactly when the action is settle")?;
        ensure(settles == self.after.is_some(), "after", "stands exactly when the action is settle")?;
        ensure(settles == self.reason.is_some(), "reason", "stands exactly when the action is settle")?;
        self.after.as_deref().map_or(Ok(()), check_after)
    }

    /// Closes, expires or regenerates.
    #[must_use]
    pub fn new(action: PlanAction, at_ms: i64, epoch: u64, by: Option<Label>) -> Self {
        Self { action, at_ms, epoch, by, plan: None, after: None, reason: None }
    }

    /// For `settle`: the settlements that the writer had seen.
    pub fn after(&self) -> impl Iterator<Item = ChangeHash> + '_ {
        hashes(self.after.as_deref().unwrap_or_default())
    }
}
