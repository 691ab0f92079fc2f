//! Equivocation: what claims a place in a chain that another change of the same writer has, kept as evidence, and what
//! the evidence says about how it came to be.
//!
//! The change that came first stays where it is, in the log; its rival never gets there. This module keeps and
//! assesses; who may look is for the slices to decide.

mod assessment;
mod queries;

use muster_sync_core::{
    DocumentName,
    change::{SignedChange, Valid},
};

use crate::db::{DbError, Tx};
use crate::ids::{TenantId, UserId};

pub use assessment::{Assessed, Assessment, PhoneFacts, Sighting, Sightings, assess};
pub use queries::{RivalRow, find, is_rival, list};

/// Rivals of one writer that are kept; the first ones tell as much as all of them.
const RIVALS_PER_WRITER_MAX: i64 = 200;

/// A change whose place is taken.
#[derive(Debug, Clone, Copy)]
pub struct Rival<'a> {
    /// The document.
    pub name: &'a DocumentName,
    /// What was checked of it.
    pub valid: &'a Valid,
    /// The change and its signature.
    pub signed: &'a SignedChange,
    /// Who sent it.
    pub sender: UserId,
}

/// Keeps a rival as evidence; keeping it again changes nothing.
///
/// # Errors
/// When the database fails.
pub fn keep(tx: &Tx<'_>, tenant: &TenantId, rival: &Rival<'_>, now_ms: i64) -> Result<(), DbError> {
    queries::insert(tx, tenant, rival, now_ms, RIVALS_PER_WRITER_MAX)
}
