//! What one person may use up on one day: rows of the log, changes that wait, pictures. Counted in the database, so that a
//! restart forgets nothing; how a slice answers when something is used up is for the slice.

mod queries;

use muster_sync_core::document::Role;

use crate::db::{DbError, Tx};
use crate::ids::TenantId;
use crate::limits;

/// Milliseconds of a day.
pub const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Amounts of everything that is counted per day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Rows of the log.
    pub log_rows: i64,
    /// Bytes of these rows.
    pub log_bytes: i64,
    /// Changes that came to wait in quarantine.
    pub waiting_rows: i64,
    /// Bytes of these, with what waits beside them.
    pub waiting_bytes: i64,
    /// Pictures that were stored.
    pub images: i64,
    /// Bytes of these.
    pub image_bytes: i64,
}

impl Amounts {
    /// A row of the log.
    #[must_use]
    pub fn log_row(size_bytes: usize) -> Self {
        Self { log_rows: 1, log_bytes: size_bytes as i64, ..Self::default() }
    }

    /// A change that comes to wait.
    #[must_use]
    pub fn waiting(size_bytes: usize) -> Self {
        Self { waiting_rows: 1, waiting_bytes: size_bytes as i64, ..Self::default() }
    }

    /// A picture.
    #[must_use]
    pub fn image(size_bytes: usize) -> Self {
        Self { images: 1, image_bytes: size_bytes as i64, ..Self::default() }
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            log_rows: self.log_rows + other.log_rows,
            log_bytes: self.log_bytes + other.log_bytes,
            waiting_rows: self.waiting_rows + other.waiting_rows,
            waiting_bytes: self.waiting_bytes + other.waiting_bytes,
            images: self.images + other.images,
            image_bytes: self.image_bytes + other.image_bytes,
        }
    }

    /// As much less.
    fn negated(&self) -> Self {
        Self {
            log_rows: -self.log_rows,
            log_bytes: -self.log_bytes,
            waiting_rows: -self.waiting_rows,
            waiting_bytes: -self.waiting_bytes,
            images: -self.images,
            image_bytes: -self.image_bytes,
        }
    }

    /// Whether every amount that `wanted` adds to stays within the limit.
    #[must_use]
    pub fn leaves_room_for(&self, wanted: &Self, limit: &Self) -> bool {
        let fits = |used: i64, more: i64, limit: i64| more == 0 || used + more <= limit;
        fits(self.log_rows, wanted.log_rows, limit.log_rows)
            && fits(self.log_bytes, wanted.log_bytes, limit.log_bytes)
            && fits(self.waiting_rows, wanted.waiting_rows, limit.waiting_rows)
            && fits(self.waiting_bytes, wanted.waiting_bytes, limit.waiting_bytes)
            && fits(self.images, wanted.images, limit.images)
            && fits(self.image_bytes, wanted.image_bytes, limit.image_bytes)
    }
}

/// Whether a rank is that of somebody who teaches, reviews or administers, and so writes about many people.
#[must_use]
pub fn is_staff(rank: u64) -> bool {
    rank >= Role::Lecturer.level()
}

/// What a person of this rank may use up on one day.
#[must_use]
pub fn per_day(rank: u64) -> Amounts {
    let (log, waiting) = match is_staff(rank) {
        true => (limits::STAFF_LOG_PER_DAY, limits::STAFF_WAITING_PER_DAY),
        false => (limits::STUDENT_LOG_PER_DAY, limits::STUDENT_WAITING_PER_DAY),
    };
    Amounts {
        log_rows: log.rows,
        log_bytes: log.bytes,
        waiting_rows: waiting.rows,
        waiting_bytes: waiting.bytes,
        images: limits::IMAGES_PER_DAY.rows,
        image_bytes: limits::IMAGES_PER_DAY.bytes,
    }
}

/// Seconds until the next day begins, which is when a budget of today is new.
#[must_use]
pub fn until_tomorrow_s(now_ms: i64) -> u32 {
    let left_ms = DAY_MS - now_ms.rem_euclid(DAY_MS);
    u32::try_from(left_ms / 1000 + 1).unwrap_or(1)
}

/// What a person has used up today; `None` if nothing yet.
///
/// # Errors
/// When the database fails.
pub fn used(tx: &Tx<'_>, tenant: &TenantId, person: &str, now_ms: i64) -> Result<Option<Amounts>, DbError> {
    queries::used(tx, tenant, person, now_ms.div_euclid(DAY_MS))
}

/// Counts what a person used up. `used_before` is what [`used`] said in the same transaction.
///
/// # Errors
/// When the database fails.
pub fn spend(
    tx: &Tx<'_>,
    tenant: &TenantId,
    person: &str,
    used_before: Option<&Amounts>,
    amounts: &Amounts,
    now_ms: i64,
) -> Result<(), DbError> {
    let day = now_ms.div_euclid(DAY_MS);
    if used_before.is_none() {
        queries::delete_before(tx, tenant, person, day)?;
    }
    queries::spend(tx, tenant, person, day, amounts)
}

/// Takes back what was counted at this time and came to nothing.
///
/// # Errors
/// When the database fails.
pub fn give_back(tx: &Tx<'_>, tenant: &TenantId, person: &str, amounts: &Amounts, then_ms: i64) -> Result<(), DbError> {
    queries::spend(tx, tenant, person, then_ms.div_euclid(DAY_MS), &amounts.negated())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_up_keeps_out_only_what_needs_it() {
        let limit = per_day(Role::Student.level());
        let full = Amounts { log_rows: limit.log_rows, ..Amounts::default() };
        let almost = Amounts { log_rows: limit.log_rows - 1, ..Amounts::default() };
        assert!(almost.leaves_room_for(&Amounts::log_row(100), &limit));
        assert!(!full.leaves_room_for(&Amounts::log_row(100), &limit));
        assert!(full.leaves_room_for(&Amounts::image(100), &limit));
        let bytes = usize::try_from(limit.log_bytes).unwrap();
        assert!(Amounts::default().leaves_room_for(&Amounts::log_row(bytes), &limit));
        assert!(!Amounts::default().leaves_room_for(&Amounts::log_row(bytes + 1), &limit));
    }

    #[test]
    fn tomorrow_is_never_further_than_a_day_and_never_now() {
        assert_eq!(until_tomorrow_s(0), 86_401);
        assert_eq!(until_tomorrow_s(DAY_MS - 1), 1);
    }
}
