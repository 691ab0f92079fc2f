//! Whoever is appealed against does not answer the appeal: one rule for phones and for decisions at a desk.

use std::collections::BTreeSet;

use muster_sync_core::{DocumentId, decision::Fold};

use super::fold::Facts;
use super::queries;
use crate::db::{DbError, Tx};

/// The appeals of one record that wait for a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenAppeals {
    /// Whose decisions they are about, and whose stands.
    barred: BTreeSet<String>,
    /// The rank of what stands: whoever is below it decides nothing.
    rank: i64,
}

impl OpenAppeals {
    /// Of a document; `None` if none is open.
    ///
    /// # Errors
    /// When the database fails.
    pub fn of(tx: &Tx<'_>, document: DocumentId) -> Result<Option<Self>, DbError> {
        let Some(newest) = queries::newest_appeal(tx, document)? else { return Ok(None) };
        let facts = Facts::read(tx, document)?;
        let fold = facts.fold()?;
        let answered = newest_answer(&facts, &fold);
        if Some(newest) <= answered {
            return Ok(None);
        }
        let stands = facts.newest_standing(&fold);
        let named: BTreeSet<_> = queries::appealed_after(tx, document, answered.unwrap_or(0))?.into_iter().collect();
        let is_named = facts.decisions.iter().filter(|row| named.contains(&row.hash));
        let barred = is_named.chain(stands).map(|row| row.by.clone()).collect();
        Ok(Some(Self { barred, rank: stands.map_or(0, |row| row.rank) }))
    }

    /// Whether somebody else has to answer.
    pub fn bar(&self, person: &str) -> bool {
        self.barred.contains(person)
    }

    /// Whether a decision of this rank answers them.
    pub fn are_answered_by(&self, rank: u64) -> bool {
        i64::try_from(rank).is_ok_and(|rank| rank >= self.rank)
    }
}

/// The newest decision that answers what was appealed before it: none below the rank of what stands does.
pub(super) fn newest_answer(facts: &Facts, fold: &Fold) -> Option<i64> {
    let rank = facts.newest_standing(fold).map_or(0, |row| row.rank);
    facts.decisions.iter().rev().find(|row| row.rank >= rank).map(|row| row.log_index)
}
