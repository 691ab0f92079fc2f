//! The checks of a verdict, read from the log: rows hold only what lists need.

use muster_sync_core::{
    change,
    document::{Container, Entry},
    evidence::{Check, Checks},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::project::{NOT_AFTER, NOT_BEFORE};
use super::words;
use crate::db::{DbError, Tx};
use crate::ids::TenantId;
use crate::log;

/// A check, as somebody who reviews sees it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CheckView {
    /// Which.
    name: String,
    /// `pass`, `flag`, `unavailable` or `skipped`.
    outcome: &'static str,
    /// What was measured, in the unit of the threshold.
    score: Option<f64>,
    /// What it was compared with.
    threshold: Option<f64>,
    /// Why, as a code.
    reason: Option<String>,
    /// All that in words.
    words: String,
}

/// A check, as the student sees it: without the figures that would teach a cheat how close they were.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CheckInWords {
    /// Which.
    name: String,
    /// `pass`, `flag`, `unavailable` or `skipped`.
    outcome: &'static str,
    /// What it looked at and what came out.
    words: String,
}

/// The checks of the verdict at a place of the log; those that only carry the interval are left out.
pub(super) fn read(tx: &Tx<'_>, tenant: &TenantId, log_index: i64) -> Result<Vec<Check>, DbError> {
    let Some(stored) = log::read(tx, tenant, log_index)? else { return Ok(Vec::new()) };
    let broken = || DbError::Other(format!("the verdict {log_index} of the log cannot be read"));
    let (_, body) = change::decode(&stored.change).map_err(|_| broken())?;
    let Ok(Entry::Verdicts(verdict)) = Entry::read(Container::Verdicts, &body.fields) else { return Err(broken()) };
    let checks = Checks::from_bytes(&verdict.checks).ok_or_else(broken)?.0;
    Ok(checks.into_iter().filter(|check| check.name != NOT_BEFORE && check.name != NOT_AFTER).collect())
}

impl From<Check> for CheckView {
    fn from(check: Check) -> Self {
        let words = words::outcome(&check.name, check.outcome.as_str(), check.reason.as_deref());
        let Check { name, outcome, score, threshold, reason } = check;
        Self { name, outcome: outcome.as_str(), score, threshold, reason, words }
    }
}

impl From<Check> for CheckInWords {
    fn from(check: Check) -> Self {
        let words = words::outcome(&check.name, check.outcome.as_str(), check.reason.as_deref());
        Self { name: check.name, outcome: check.outcome.as_str(), words }
    }
}
