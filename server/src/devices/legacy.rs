//! Legacy identifiers, such as the IMEI that older clients send: opaque, kept only as a keyed hash.
//!
//! They bind nothing that signs. Whoever knows the text can send it, so it is a fact about a submission that came
//! through the server's own gateway, never a proof: the first one that an admin approves is the student's, and a
//! submission with another one is flagged. They are rows, not entries of a document: nobody signed them.

use muster_sync_core::reading;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::queries;
use crate::app::{App, StartError};
use crate::clock::Entropy;
use crate::config::Config;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult};
use crate::ids::{TenantId, UserId};
use crate::keys::{self, KeyFile};
use crate::text;

/// Longest legacy identifier.
const LEGACY_ID_BYTES_MAX: usize = 64;

/// The secret that keeps a stored hash from being turned back: there are only 10^14 IMEIs to try.
pub struct LegacyIds {
    secret: Zeroizing<Vec<u8>>,
}

impl LegacyIds {
    /// Reads the secret, or makes it at the first start. Blocks.
    ///
    /// # Errors
    /// When its file cannot be read or stored.
    pub fn open(config: &Config, entropy: &dyn Entropy) -> Result<Self, StartError> {
        let dir = config.data.keys_dir();
        let secret = keys::load_or_create(&dir, KeyFile::LegacyId, entropy)
            .map_err(|error| StartError::Io("the key of legacy identifiers".to_owned(), error))?;
        Ok(Self { secret })
    }
}

/// How a legacy identifier stands to what was approved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LegacyMatch {
    /// Nothing was approved, neither for the student nor of this identifier.
    Unbound,
    /// It is the student's.
    Matches,
    /// The student's is another one.
    Differs,
    /// It is another student's.
    OfAnother,
}

/// The stored form of a legacy identifier: the same for everybody, so that one phone of two students shows.
///
/// # Errors
/// 422 when it says nothing, is too long, or is not printable.
pub fn legacy_hash(app: &App, tenant: &TenantId, legacy_id: &str) -> AppResult<[u8; 32]> {
    let legacy_id = text::shown(legacy_id);
    // One that many phones name would make everybody the owner of everybody's phone.
    if reading::text(&legacy_id).is_none() {
        return Err(AppError::field(
            "imei",
            "this names no device; leave it out where the phone does not know its own",
        ));
    }
    let printable = legacy_id.bytes().all(|byte| byte.is_ascii_graphic());
    if legacy_id.len() > LEGACY_ID_BYTES_MAX || !printable {
        return Err(AppError::field("imei", "an identifier has 1 to 64 printable characters"));
    }
    let state = app.slice::<LegacyIds>().ok_or_else(|| AppError::internal("the app was built without LegacyIds"))?;
    let hash = Sha256::new()
        .chain_update(b"muster/legacy-id/v1")
        .chain_update(&*state.secret)
        .chain_update((tenant.as_str().len() as u64).to_be_bytes())
        .chain_update(tenant.as_str())
        .chain_update(legacy_id.to_ascii_lowercase());
    Ok(hash.finalize().into())
}

/// The name of a user's request to be known by an identifier.
pub(super) fn request_hash(user: UserId, id_hash: &[u8; 32]) -> [u8; 32] {
    Sha256::new()
        .chain_update(b"muster/legacy-request/v1")
        .chain_update(user.as_bytes())
        .chain_update(id_hash)
        .finalize()
        .into()
}

/// How the identifier with this [`legacy_hash`] stands to what was approved for the student.
///
/// # Errors
/// When the database fails.
pub fn legacy_match(
    tx: &Tx<'_>,
    tenant: &TenantId,
    student: UserId,
    id_hash: &[u8; 32],
) -> Result<LegacyMatch, DbError> {
    queries::legacy_match(tx, tenant, student, id_hash)
}
