//! People's keys under another master key: what is sealed under them stays as it is.

use super::queries;
use crate::blobs::crypt::{MasterKey, SubjectKey};
use crate::blobs::reseal::SealedRow;
use crate::db::{DbError, Tx};

/// A person's key as it is stored, wrapped under the master key.
pub struct WrappedKey {
    pub(super) tenant: String,
    pub(super) subject: String,
    pub(super) wrapped: Vec<u8>,
}

impl SealedRow for WrappedKey {
    type Plain = SubjectKey;

    fn after(tx: &Tx<'_>, place: (&str, &str), count: i64) -> Result<Vec<Self>, DbError> {
        queries::wrapped_after(tx, place, count)
    }

    fn place(&self) -> (&str, &str) {
        (&self.tenant, &self.subject)
    }

    fn open(&self, key: &MasterKey) -> Option<SubjectKey> {
        key.unwrap_key(&self.tenant, &self.subject, &self.wrapped).ok()
    }

    fn seal(&self, key: &MasterKey, plain: &SubjectKey, fill: &dyn Fn(&mut [u8])) -> Vec<u8> {
        key.wrap(&self.tenant, &self.subject, plain, fill)
    }

    // The rows do not name the key that wrapped them: the database notes one for all.
    fn store(&self, tx: &Tx<'_>, _: &[u8; 8], sealed: &[u8]) -> Result<(), DbError> {
        queries::rewrap(tx, self, sealed)
    }
}
