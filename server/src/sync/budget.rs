//! Whose budget a pushed change uses, and whether there is room: asked once per person and request, and counted at its end.
//!
//! What enters the log is on the account of its author. What waits is on that of the owner of the key, if this is bound,
//! and otherwise on that of whoever sent it: keys cost nothing, accounts do. Whose own phone waits for approval, whom a
//! lecturer carries for, and what strangers send about somebody have rooms of their own.

use std::collections::HashMap;

use muster_sync_core::DocumentName;

use super::ingest::Admission;
use super::prepare::Checked;
use super::queries;
use crate::auth::{self, Role, permission};
use crate::budgets::{self, Amounts};
use crate::db::DbError;
use crate::devices::DeviceStatus;
use crate::ids::UserId;
use crate::limits::{self, Share};

/// As much as one person may send on one day is there.
pub(super) const DAY_FULL: &str = "day_full";
/// As much as may wait on this account, or about this person, waits.
pub(super) const QUARANTINE_FULL: &str = "quarantine_full";
/// Guests send nothing of their own.
pub(super) const GUEST: &str = "guest_may_not_push";

/// What is known of one person in this request.
#[derive(Debug, Default)]
pub(super) struct Account {
    role: Option<Role>,
    /// What was used up before this request, if it was asked for.
    day: Option<Option<Amounts>>,
    /// What this request adds.
    added: Amounts,
    waiting: Option<Waiting>,
    /// Copies of refused changes.
    refusals: Option<Share>,
}

/// What waits on one account.
#[derive(Debug, Default)]
struct Waiting {
    own: Share0,
    relayed: Share0,
    /// By whom it is about.
    about: HashMap<String, i64>,
}

/// Rows and bytes that are used.
type Share0 = (i64, i64);

fn fits(used: Share0, size_bytes: i64, limit: Share) -> bool {
    used.0 < limit.rows && used.1 + size_bytes <= limit.bytes
}

/// About whom a document is; nobody for a class session.
pub(super) fn subject_of(name: &DocumentName) -> &str {
    match name {
        DocumentName::Attendance { student, .. } => student,
        DocumentName::DeviceBinding { user } => user,
        DocumentName::ClassSession { .. } => "",
    }
}

/// Bytes of a change in quarantine, with what waits beside it.
pub(super) fn size_bytes(change: &Checked, change_bytes: usize) -> usize {
    let beside = change.evidence.as_ref().map_or(0, |seen| seen.sealed.len());
    change_bytes + beside + change.code_key.as_ref().map_or(0, Vec::len)
}

impl Admission<'_> {
    /// Counts what this request used up; at its end, in its transaction.
    pub(super) fn settle_accounts(&self) -> Result<(), DbError> {
        for (person, account) in self.accounts.borrow().iter() {
            if account.added != Amounts::default() {
                let before = account.day.as_ref().and_then(Option::as_ref);
                let person = person.to_string();
                budgets::spend(self.tx, &self.sender.tenant, &person, before, &account.added, self.now_ms)?;
            }
        }
        Ok(())
    }

    fn on_account<T>(
        &self,
        person: UserId,
        act: impl FnOnce(&mut Account) -> Result<T, DbError>,
    ) -> Result<T, DbError> {
        act(self.accounts.borrow_mut().entry(person).or_default())
    }

    /// The role of a person, who may have gone.
    fn role_of(&self, person: UserId) -> Result<Role, DbError> {
        self.on_account(person, |account| {
            if let Some(role) = account.role {
                return Ok(role);
            }
            let found = auth::find(self.tx, &self.sender.tenant, person)?;
            Ok(*account.role.insert(found.map_or(Role::Guest, |user| user.role)))
        })
    }

    /// Whether a person may ask for a device: guests may not.
    pub(super) fn may_bind(&self, person: UserId) -> Result<bool, DbError> {
        Ok(permission::allows::<permission::DevicesBind>(self.role_of(person)?))
    }

    /// Whether the author may add a row of this size to the log today. What waited has been counted, and what the log
    /// lost had its place in it.
    pub(super) fn has_room_in_log(
        &self,
        author: UserId,
        rank: u64,
        change: &Checked,
        size_bytes: usize,
    ) -> Result<bool, DbError> {
        if self.waited.get() || change.first_received_ms.is_some() {
            return Ok(true);
        }
        self.has_room_today(author, rank, &Amounts::log_row(size_bytes))
    }

    /// Counts a row of the log.
    pub(super) fn count_log_row(&self, author: UserId, size_bytes: usize) -> Result<(), DbError> {
        self.add(author, &Amounts::log_row(size_bytes))
    }

    fn has_room_today(&self, person: UserId, rank: u64, wanted: &Amounts) -> Result<bool, DbError> {
        self.on_account(person, |account| {
            let used = self.used_by(person, account)?.plus(&account.added);
            Ok(used.leaves_room_for(wanted, &budgets::per_day(rank)))
        })
    }

    fn used_by(&self, person: UserId, account: &mut Account) -> Result<Amounts, DbError> {
        let used = match account.day {
            Some(used) => used,
            None => {
                let used = budgets::used(self.tx, &self.sender.tenant, &person.to_string(), self.now_ms)?;
                *account.day.insert(used)
            }
        };
        Ok(used.unwrap_or_default())
    }

    fn add(&self, person: UserId, amounts: &Amounts) -> Result<(), DbError> {
        self.on_account(person, |account| {
            self.used_by(person, account)?;
            account.added = account.added.plus(amounts);
            Ok(())
        })
    }

    /// On whose account a change waits.
    pub(super) fn payer_of(&self, change: &Checked) -> Result<UserId, DbError> {
        Ok(match self.owner_of(&change.valid.writer)? {
            Some(owner) if owner.status == DeviceStatus::Bound => owner.user,
            _ => self.applicant.get(),
        })
    }

    /// Why a change of this size may not come to wait, if it may not.
    pub(super) fn no_room_to_wait(
        &self,
        payer: UserId,
        change: &Checked,
        size_bytes: usize,
    ) -> Result<Option<&'static str>, DbError> {
        if !self.may_bind(payer)? {
            return Ok(Some(GUEST));
        }
        let rank = u64::from(self.role_of(payer)?.rank());
        if !self.has_room_today(payer, rank, &Amounts::waiting(size_bytes))? {
            return Ok(Some(DAY_FULL));
        }
        let (subject, payer_id) = (subject_of(&change.name), payer.to_string());
        let is_own = subject.is_empty() || subject == payer_id;
        let is_staff = budgets::is_staff(rank);
        let (relayed_max, about_one_max) = match is_staff {
            true => (limits::STAFF_RELAYED_WAITING, limits::STAFF_WAITING_ABOUT_ONE_MAX),
            false => (limits::STUDENT_RELAYED_WAITING, limits::STUDENT_WAITING_ABOUT_ONE_MAX),
        };
        let fits = self.with_waiting(payer, |waiting| {
            if is_own {
                return Ok(fits(waiting.own, size_bytes as i64, limits::OWN_WAITING));
            }
            let about = self.waiting_about(waiting, &payer_id, subject)?;
            Ok(fits(waiting.relayed, size_bytes as i64, relayed_max) && about < about_one_max)
        })?;
        let strangers = || queries::strangers_waiting(self.tx, &self.sender.tenant, subject);
        let full = !fits || (!is_own && !is_staff && strangers()? >= limits::STRANGERS_WAITING_ABOUT_ONE_MAX);
        Ok(full.then_some(QUARANTINE_FULL))
    }

    /// Counts a change that came to wait.
    pub(super) fn count_waiting(&self, payer: UserId, change: &Checked, size_bytes: usize) -> Result<(), DbError> {
        self.add(payer, &Amounts::waiting(size_bytes))?;
        let (subject, payer_id) = (subject_of(&change.name), payer.to_string());
        self.with_waiting(payer, |waiting| {
            let is_own = subject.is_empty() || subject == payer_id;
            let used = if is_own { &mut waiting.own } else { &mut waiting.relayed };
            *used = (used.0 + 1, used.1 + size_bytes as i64);
            if let Some(about) = waiting.about.get_mut(subject) {
                *about += 1;
            }
            Ok(())
        })
    }

    fn with_waiting<T>(
        &self,
        payer: UserId,
        act: impl FnOnce(&mut Waiting) -> Result<T, DbError>,
    ) -> Result<T, DbError> {
        self.on_account(payer, |account| {
            if account.waiting.is_none() {
                let (own, relayed) = queries::waiting_of(self.tx, &self.sender.tenant, &payer.to_string())?;
                account.waiting = Some(Waiting { own, relayed, about: HashMap::new() });
            }
            act(account.waiting.get_or_insert_default())
        })
    }

    fn waiting_about(&self, waiting: &mut Waiting, payer: &str, subject: &str) -> Result<i64, DbError> {
        if let Some(about) = waiting.about.get(subject) {
            return Ok(*about);
        }
        let about = queries::waiting_about(self.tx, &self.sender.tenant, payer, subject)?;
        waiting.about.insert(subject.to_owned(), about);
        Ok(about)
    }

    /// Whether a copy of one more refused change of a sender is kept; counts it.
    pub(super) fn keeps_refusal(&self, sender: UserId, size_bytes: usize) -> Result<bool, DbError> {
        self.on_account(sender, |account| {
            let kept = match account.refusals {
                Some(kept) => kept,
                None => queries::refusals_of(self.tx, &self.sender.tenant, &sender.to_string())?,
            };
            let fits = fits((kept.rows, kept.bytes), size_bytes as i64, limits::REFUSALS_KEPT);
            let more = if fits { (1, size_bytes as i64) } else { (0, 0) };
            account.refusals = Some(Share { rows: kept.rows + more.0, bytes: kept.bytes + more.1 });
            Ok(fits)
        })
    }
}
