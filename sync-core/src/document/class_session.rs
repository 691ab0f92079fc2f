//! Entries of a `class-session` document.

use super::field::{Label, ensure, entry, text_enum};
use crate::{Refusal, limits};

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
        /// The user for whom the server wrote it; absent when a lecturer's own device wrote.
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
        /// The epoch of the code's secret from then on.
        epoch: u64,
        /// The user for whom the server wrote it.
        by: Option<Label>,
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
        ensure(self.epoch <= limits::EPOCH_MAX, "epoch", "is over 2^32 - 1")
    }
}
