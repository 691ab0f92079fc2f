//! People's keys under another master key: what is sealed under them stays as it is.

use super::queries::{self, WrappedRow};
use crate::blobs::crypt::MasterKey;
use crate::blobs::reseal::{RESEALED_AT_ONCE, Resealed};
use crate::clock::Entropy;
use crate::db::{Db, DbError, Tx};

/// Wraps every person's key under `to` that opens under one of `from`, in steps. What is wrapped under `to` already stays,
/// so that whoever was interrupted begins again. Without `to` nothing is written, and it proves what opens. Blocks.
///
/// # Errors
/// When the database fails. Keys that do not open are counted.
pub fn rewrap(db: &Db, from: &[MasterKey], to: Option<&MasterKey>, entropy: &dyn Entropy) -> Result<Resealed, DbError> {
    let fill = |bytes: &mut [u8]| entropy.fill(bytes);
    let mut done = Resealed::default();
    let mut after = (String::new(), String::new());
    loop {
        let asked = after.clone();
        let rows: Vec<WrappedRow> =
            db.read_blocking(move |tx: &Tx<'_>| queries::wrapped_after(tx, (&asked.0, &asked.1), RESEALED_AT_ONCE))?;
        let Some(last) = rows.last() else { return Ok(done) };
        after = (last.tenant.clone(), last.subject.clone());
        done.rows += rows.len() as u64;
        let mut changed = Vec::new();
        for row in rows {
            let open = |key: &MasterKey| key.unwrap_key(&row.tenant, &row.subject, &row.wrapped).ok();
            if to.and_then(open).is_some() {
                continue;
            }
            match (from.iter().find_map(open), to) {
                (Some(key), Some(to)) => {
                    let wrapped = to.wrap(&row.tenant, &row.subject, &key, &fill);
                    changed.push((row, wrapped));
                }
                (Some(_), None) => {}
                (None, _) => done.miss(&format!("{} of {}", row.subject, row.tenant)),
            }
        }
        if !changed.is_empty() {
            done.resealed += changed.len() as u64;
            db.write_blocking::<_, DbError, _>(move |tx: &Tx<'_>| {
                changed.iter().try_for_each(|(row, wrapped)| queries::rewrap(tx, row, wrapped))
            })?;
        }
    }
}
