//! What proves that a change existed before its key was revoked: only what the server itself had before.
//!
//! An anchor in a capture proves that the capture is *not older* than the anchor, so it proves nothing here; nor does any
//! clock of the phone. A change that the server had, and that one's predecessors in its chain, which it names by hash,
//! did exist. ADR 5 has the reasons.

use muster_sync_core::{
    ChangeHash,
    change::{self, Valid},
};

use super::queries;
use crate::db::{DbError, Tx};
use crate::ids::TenantId;

/// Waiting changes of one chain that are followed.
const LINKS_MAX: usize = 256;

/// Whether the server had `valid`, or a change that follows from it, when the key was revoked.
///
/// What came while the key was revoked says so itself: unless it was proven like this, its reason is `device_revoked`.
/// That also settles the order of what came in the millisecond of the revocation.
pub(super) fn existed_before(
    tx: &Tx<'_>,
    tenant: &TenantId,
    valid: &Valid,
    revoked_at_ms: i64,
) -> Result<bool, DbError> {
    let mut covered: Vec<ChangeHash> = vec![valid.hash];
    for link in queries::links_from(tx, tenant, valid, LINKS_MAX)? {
        let follows = || change::inspect(&link.bytes).is_ok_and(|header| covered.contains(&header.dep));
        if link.hash != valid.hash && !follows() {
            continue;
        }
        if link.received_at_ms <= revoked_at_ms && link.reason != "device_revoked" {
            return Ok(true);
        }
        covered.push(link.hash);
    }
    Ok(false)
}
