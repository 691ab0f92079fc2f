//! One walk over sealed rows, for every table whose rows are sealed under a key of the server: under another key, or only to
//! prove what opens.

use super::crypt::MasterKey;
use crate::clock::Entropy;
use crate::db::{Db, DbError, Tx};

/// A sealed row of some table, whose rows stand in the order of tenant and person.
pub trait SealedRow: Sized + Send + 'static {
    /// What is sealed.
    type Plain;

    /// The first `count` rows after a tenant and person.
    fn after(tx: &Tx<'_>, place: (&str, &str), count: i64) -> Result<Vec<Self>, DbError>;

    /// The tenant and the person of this one.
    fn place(&self) -> (&str, &str);

    /// What is sealed, if it opens under this key.
    fn open(&self, key: &MasterKey) -> Option<Self::Plain>;

    /// The same sealed under a key.
    fn seal(&self, key: &MasterKey, plain: &Self::Plain, fill: &dyn Fn(&mut [u8])) -> Vec<u8>;

    /// Stores that, unless the row is another one by now.
    fn store(&self, tx: &Tx<'_>, key_id: &[u8; 8], sealed: &[u8]) -> Result<(), DbError>;
}

/// Rows that are looked at in one step, and written in one transaction.
const RESEALED_AT_ONCE: i64 = 500;
/// Rows that do not open and are named; the others are counted.
const NAMED_MAX: usize = 10;

/// So many rows were looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Resealed {
    /// Rows.
    pub rows: u64,
    /// Rows that are sealed under another key now than they were.
    pub resealed: u64,
    /// Rows that open under none of the keys.
    pub unopened: u64,
    /// Whose the first of these are.
    pub named: Vec<String>,
}

impl Resealed {
    fn miss(&mut self, (tenant, person): (&str, &str)) {
        self.unopened += 1;
        if self.named.len() < NAMED_MAX {
            self.named.push(format!("{person} of {tenant}"));
        }
    }
}

/// Seals every row under `to` that opens under one of `from`, in steps. What is sealed under `to` already stays, so that
/// whoever was interrupted begins again. Without `to` nothing is written, and it proves what opens. Blocks.
///
/// # Errors
/// When the database fails. Rows that do not open are counted.
pub fn reseal<R: SealedRow>(
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
        let rows: Vec<R> = db.read_blocking(move |tx: &Tx<'_>| R::after(tx, (&asked.0, &asked.1), RESEALED_AT_ONCE))?;
        let Some((tenant, person)) = rows.last().map(R::place) else { return Ok(done) };
        after = (tenant.to_owned(), person.to_owned());
        done.rows += rows.len() as u64;
        let mut changed = Vec::new();
        for row in rows {
            if to.and_then(|to| row.open(to)).is_some() {
                continue;
            }
            match (from.iter().find_map(|key| row.open(key)), to) {
                (Some(plain), Some(to)) => {
                    let sealed = row.seal(to, &plain, &fill);
                    changed.push((row, to.id(), sealed));
                }
                (Some(_), None) => {}
                (None, _) => done.miss(row.place()),
            }
        }
        if !changed.is_empty() {
            done.resealed += changed.len() as u64;
            db.write_blocking::<_, DbError, _>(move |tx: &Tx<'_>| {
                changed.iter().try_for_each(|(row, key_id, sealed)| row.store(tx, key_id, sealed))
            })?;
        }
    }
}
