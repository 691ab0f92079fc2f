//! The secrets of authenticator apps under another key, all at once and with the server stopped. While people work, a
//! secret is sealed anew when its code is used: that is in `factor.rs`.

use zeroize::Zeroizing;

use super::queries;
use super::secret::context;
use crate::blobs::crypt::MasterKey;
use crate::blobs::reseal::SealedRow;
use crate::db::{DbError, Tx};

/// A secret as it is stored.
pub struct SealedSecret {
    pub(super) tenant: String,
    pub(super) user: String,
    pub(super) id: String,
    pub(super) key_id: [u8; 8],
    pub(super) sealed: Vec<u8>,
}

impl SealedRow for SealedSecret {
    type Plain = Zeroizing<Vec<u8>>;

    fn after(tx: &Tx<'_>, place: (&str, &str), count: i64) -> Result<Vec<Self>, DbError> {
        queries::sealed_after(tx, place, count)
    }

    fn place(&self) -> (&str, &str) {
        (&self.tenant, &self.user)
    }

    // As a sign-in does: under the key that the row names.
    fn open(&self, key: &MasterKey) -> Option<Self::Plain> {
        let of = context(&self.tenant, &self.user, &self.id);
        (key.id() == self.key_id).then(|| key.open(&of, &self.sealed).ok())?
    }

    fn seal(&self, key: &MasterKey, plain: &Self::Plain, fill: &dyn Fn(&mut [u8])) -> Vec<u8> {
        key.seal(&context(&self.tenant, &self.user, &self.id), plain, fill)
    }

    fn store(&self, tx: &Tx<'_>, key_id: &[u8; 8], sealed: &[u8]) -> Result<(), DbError> {
        queries::reseal_row(tx, self, key_id, sealed)
    }
}
