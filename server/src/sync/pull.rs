//! The way down: one page of what the user's channels hold after the client's cursors.

use std::collections::{HashMap, HashSet};

use muster_sync_core::limits;

use crate::auth::CurrentUser;
use crate::courses;
use crate::db::{DbError, Tx};
use crate::evidence;
use crate::log::{self, Head, Stored};

/// Images that one response may ask for.
const WANTED_MAX: usize = 100;
/// What a change adds to a page beside its bytes: name, signature, numbers.
const CHANGE_OVERHEAD_BYTES: usize = 160;

// Nobody has more channels than a client keeps cursors for: an own one, two for each course, and that of admins.
const _: () = assert!(2 + 2 * courses::COURSES_PER_USER_MAX as usize <= limits::CURSORS_MAX);

/// One page.
pub(super) struct Page {
    pub(super) changes: Vec<Stored>,
    /// (channel, number up to which the client now has everything), for every channel of the user.
    pub(super) cursors: Vec<(String, u64)>,
    pub(super) more: bool,
    pub(super) wanted: Vec<[u8; 32]>,
    /// Where the log ends in the snapshot that the page was read from.
    pub(super) head: Option<Head>,
}

/// Reads the next page. A channel that the client does not name starts at 0; one that is not the user's is left out.
///
/// `generation` is the one of the log that the client knows: cursors into another one say nothing. Of more images than one
/// response asks for, those from `wanted_from` on are asked for, which is another place every time.
pub(super) fn page(
    tx: &Tx<'_>,
    user: &CurrentUser,
    after: &HashMap<String, u64>,
    generation: Option<u64>,
    wanted_from: &[u8; 32],
) -> Result<Page, DbError> {
    let head = log::current(tx, &user.tenant)?;
    let is_stale = |known: u64| head.as_ref().is_some_and(|head| head.generation.unsigned_abs() != known);
    let no_cursors = HashMap::new();
    let after = if generation.is_some_and(is_stale) { &no_cursors } else { after };
    let mut page = Page { changes: Vec::new(), cursors: Vec::new(), more: false, wanted: Vec::new(), head };
    let mut taken = HashSet::new();
    let mut size_bytes = 0;
    for channel in courses::channels_of(tx, user)? {
        let mut cursor = after.get(&channel).copied().unwrap_or(0);
        let room = limits::CHANGES_PER_PAGE_MAX - page.changes.len();
        let is_full = room == 0 || size_bytes >= limits::PAGE_SIZE_BYTES_MAX;
        // One entry more than there is room for tells whether another page follows.
        let asked = if is_full { 1 } else { room + 1 };
        let numbered = i64::try_from(cursor).unwrap_or(i64::MAX);
        let entries = log::page_of(tx, log::channel_key(&user.tenant, &channel), numbered, asked)?;
        for (number, log_index) in entries {
            let full = page.changes.len() >= limits::CHANGES_PER_PAGE_MAX || size_bytes >= limits::PAGE_SIZE_BYTES_MAX;
            if full {
                page.more = true;
                break;
            }
            if taken.insert(log_index)
                && let Some(stored) = log::read(tx, &user.tenant, log_index)?
            {
                size_bytes += stored.change.len() + CHANGE_OVERHEAD_BYTES;
                page.changes.push(stored);
            }
            cursor = number.unsigned_abs();
        }
        page.cursors.push((channel, cursor));
    }
    page.wanted = evidence::wanted_from(tx, &user.tenant, &user.id.to_string(), wanted_from, WANTED_MAX)?;
    Ok(page)
}
