//! The secrets of authenticator apps under another key, all at once and with the server stopped. While people work, a
//! secret is sealed anew when its code is used: that is in `factor.rs`.

use super::queries::{self, SealedRow};
use super::secret::context;
use crate::blobs::crypt::MasterKey;
use crate::blobs::reseal::{RESEALED_AT_ONCE, Resealed};
use crate::clock::Entropy;
use crate::db::{Db, DbError, Tx};

/// Seals every secret under `to` that opens under one of `from`, in steps; what is sealed under `to` already stays. Without
/// `to` nothing is written, and it proves what opens. Blocks.
///
/// # Errors
/// When the database fails. Secrets that do not open are counted.
pub fn reseal_secrets(
    db: &Db,
    from: &[MasterKey],
    to: Option<&MasterKey>,
    entropy: &dyn Entropy,
) -> Result<Resealed, DbError> {
    let fill = |bytes: &mut [u8]| entropy.fill(bytes);
    let mut done = Resealed::default();
    let mut after = (String::new(), String::new());
    loop {
        let asked = after.clone();
        let rows: Vec<SealedRow> =
            db.read_blocking(move |tx: &Tx<'_>| queries::sealed_after(tx, (&asked.0, &asked.1), RESEALED_AT_ONCE))?;
        let Some(last) = rows.last() else { return Ok(done) };
        after = (last.tenant.clone(), last.user.clone());
        done.rows += rows.len() as u64;
        let mut changed = Vec::new();
        for row in rows {
            let of = context(&row.tenant, &row.user, &row.id);
            // As a sign-in does: under the key that the row names.
            let open = |key: &MasterKey| (key.id() == row.key_id).then(|| key.open(&of, &row.sealed).ok())?;
            if to.and_then(open).is_some() {
                continue;
            }
            match (from.iter().find_map(open), to) {
                (Some(secret), Some(to)) => {
                    let sealed = (to.id(), to.seal(&of, &secret, &fill));
                    changed.push((row, sealed));
                }
                (Some(_), None) => {}
                (None, _) => done.miss(&format!("{} of {}", row.user, row.tenant)),
            }
        }
        if !changed.is_empty() {
            done.resealed += changed.len() as u64;
            db.write_blocking::<_, DbError, _>(move |tx: &Tx<'_>| {
                changed.iter().try_for_each(|(row, (key_id, sealed))| queries::reseal_row(tx, row, key_id, sealed))
            })?;
        }
    }
}
