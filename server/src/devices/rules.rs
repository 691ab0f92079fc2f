//! When a key may be bound: pure rules, the same for a decision over HTTP and for one that an admin's phone signed.

use muster_sync_core::document::Role;

use crate::limits;

/// Most keys that a lecturer, reviewer, member of staff or admin may have bound at once.
pub(super) const STAFF_DEVICES_MAX: u64 = 8;
/// Most keys that a student may have bound at once.
pub(super) const STUDENT_DEVICES_MAX: u64 = 1;
/// Most requests of one such person, other than students, that wait at once; older ones are superseded.
pub(super) const STAFF_REQUESTS_MAX: u64 = 8;
/// Most requests of a student that wait at once: the newest is the phone that the student has now.
pub(super) const STUDENT_REQUESTS_MAX: u64 = 1;

/// Whether somebody with so many requests within a day, and so many at all, may add one more: none is ever removed.
pub(super) fn may_ask_again(of_a_day: i64, at_all: i64) -> bool {
    of_a_day < limits::BINDING_REQUESTS_PER_DAY_MAX && at_all < limits::BINDING_REQUESTS_MAX
}

/// How many keys a role may have bound at once.
pub(super) fn devices_max(role: Role) -> u64 {
    if role.level() >= Role::Lecturer.level() { STAFF_DEVICES_MAX } else { STUDENT_DEVICES_MAX }
}

/// How many requests of a role may wait at once.
pub(super) fn requests_max(role: Role) -> u64 {
    if role.level() >= Role::Lecturer.level() { STAFF_REQUESTS_MAX } else { STUDENT_REQUESTS_MAX }
}

/// What became of a request so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestStatus {
    /// Nobody has decided.
    Pending,
    /// The device is, or was, bound.
    Approved,
    /// Somebody refused it.
    Denied,
    /// A newer request or device took its place.
    Superseded,
}

impl RequestStatus {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Superseded => "superseded",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        [Self::Pending, Self::Approved, Self::Denied, Self::Superseded]
            .into_iter()
            .find(|status| status.as_str() == text)
    }
}

/// To whom a key belongs at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ownership {
    /// Nobody had it yet.
    Nobody,
    /// The user whose document this is.
    Same {
        /// Whether it is bound, rather than revoked.
        bound: bool,
    },
    /// Another user, now or earlier.
    Another,
}

/// Everything that binding a key to a user depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// The user's role.
    pub(super) role: Role,
    /// The user's other bound keys.
    pub(super) others_bound: u64,
    /// Who has the key.
    pub(super) ownership: Ownership,
    /// The request that the decision names, if it names one and it is known.
    pub(super) request: Option<RequestStatus>,
}

/// Why a decision has no effect. Its code stands in the request's note, or in the error of the HTTP call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// The key belongs, or belonged, to somebody else.
    BoundElsewhere,
    /// A student has another device: only a reset replaces it.
    ResetRequired,
    /// The user has as many devices as anybody may have.
    TooManyDevices,
    /// The request was decided otherwise.
    DecidedOtherwise,
    /// A newer request took its place.
    Superseded,
}

impl Obstacle {
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::BoundElsewhere => "KEY_BOUND_ELSEWHERE",
            Self::ResetRequired => "RESET_REQUIRED",
            Self::TooManyDevices => "DEVICE_LIMIT",
            Self::DecidedOtherwise => "ALREADY_DECIDED",
            Self::Superseded => "REQUEST_SUPERSEDED",
        }
    }

    pub(super) const fn sentence(self) -> &'static str {
        match self {
            Self::BoundElsewhere => "this device belongs to another account",
            Self::ResetRequired => "the student has a device already: only a reset replaces it",
            Self::TooManyDevices => "this account has as many devices as it may have",
            Self::DecidedOtherwise => "this request was decided otherwise",
            Self::Superseded => "a newer request took the place of this one",
        }
    }
}

impl Standing {
    /// Whether a reset, not a plain approval, is what a new key of this user needs.
    pub(super) fn needs_reset(&self) -> bool {
        self.others_bound > 0 && devices_max(self.role) == STUDENT_DEVICES_MAX
    }

    /// Whether the key may be bound beside what the user has.
    pub(super) fn bind(&self) -> Result<(), Obstacle> {
        self.reset()?;
        if self.ownership == (Ownership::Same { bound: true }) {
            return Ok(());
        }
        if self.needs_reset() {
            return Err(Obstacle::ResetRequired);
        }
        if self.others_bound >= devices_max(self.role) {
            return Err(Obstacle::TooManyDevices);
        }
        Ok(())
    }

    /// Whether the key may take the place of everything that the user has.
    pub(super) fn reset(&self) -> Result<(), Obstacle> {
        if self.ownership == Ownership::Another {
            return Err(Obstacle::BoundElsewhere);
        }
        match self.request {
            Some(RequestStatus::Denied) => Err(Obstacle::DecidedOtherwise),
            Some(RequestStatus::Superseded) => Err(Obstacle::Superseded),
            // Answering again what was approved must not bring back a device that was revoked since.
            Some(RequestStatus::Approved) if self.ownership != (Ownership::Same { bound: true }) => {
                Err(Obstacle::DecidedOtherwise)
            }
            Some(RequestStatus::Pending | RequestStatus::Approved) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: Standing = Standing {
        role: Role::Student,
        others_bound: 0,
        ownership: Ownership::Nobody,
        request: Some(RequestStatus::Pending),
    };

    #[test]
    fn a_student_has_one_device_and_a_lecturer_a_few() {
        assert_eq!(FRESH.bind(), Ok(()));
        let second = Standing { others_bound: 1, ..FRESH };
        assert_eq!(second.bind(), Err(Obstacle::ResetRequired));
        assert_eq!(second.reset(), Ok(()));
        let lecturer = Standing { role: Role::Lecturer, ..second };
        assert_eq!(lecturer.bind(), Ok(()));
        let full = Standing { others_bound: STAFF_DEVICES_MAX, ..lecturer };
        assert_eq!(full.bind(), Err(Obstacle::TooManyDevices));
    }

    #[test]
    fn a_key_never_changes_hands() {
        let foreign = Standing { ownership: Ownership::Another, ..FRESH };
        assert_eq!(foreign.bind(), Err(Obstacle::BoundElsewhere));
        assert_eq!(foreign.reset(), Err(Obstacle::BoundElsewhere));
        let own = Standing { ownership: Ownership::Same { bound: false }, ..FRESH };
        assert_eq!(own.bind(), Ok(()));
    }

    #[test]
    fn what_was_decided_is_not_decided_again() {
        let with = |status| Standing { request: Some(status), ..FRESH };
        assert_eq!(with(RequestStatus::Denied).bind(), Err(Obstacle::DecidedOtherwise));
        assert_eq!(with(RequestStatus::Superseded).bind(), Err(Obstacle::Superseded));
        let approved = with(RequestStatus::Approved);
        let owned = |bound| Standing { ownership: Ownership::Same { bound }, ..approved };
        assert_eq!(owned(true).bind(), Ok(()));
        assert_eq!(owned(false).bind(), Err(Obstacle::DecidedOtherwise));
        assert_eq!(Standing { request: None, ..FRESH }.bind(), Ok(()));
    }
}
