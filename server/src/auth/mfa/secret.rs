//! The secrets of authenticator apps at rest: sealed for one user and one enrolment, under keys that can be rotated.

use zeroize::Zeroizing;

use super::limits;
use super::queries::{self, Enrolment, Owner};
use super::totp::Authenticator;
use crate::app::{App, StartError};
use crate::auth::state::AuthState;
use crate::blobs::crypt::{Context, MasterKey, OpenError, Purpose};
use crate::clock::Entropy;
use crate::config::Config;
use crate::error::{AppError, AppResult};
use crate::keys::KeyFile;

/// The key that seals, and those that only open.
pub(super) struct SecretKeys {
    current: MasterKey,
    previous: Vec<MasterKey>,
}

impl SecretKeys {
    /// Reads the keys, or makes one at the first start of a server that needs none of its own.
    pub(super) fn open(config: &Config, entropy: &dyn Entropy) -> Result<Self, StartError> {
        let current = match config.mfa.encryption_key()? {
            Some(key) => MasterKey::new(*key),
            None => {
                let path = config.data.keys_dir().join(KeyFile::Mfa.file_name());
                let made = MasterKey::load_or_create(&path, &|bytes: &mut [u8]| entropy.fill(bytes));
                made.map_err(|error| StartError::Other(error.to_string()))?
            }
        };
        let previous = config.mfa.previous_encryption_keys()?;
        Ok(Self { current, previous: previous.into_iter().map(|key| MasterKey::new(*key)).collect() })
    }

    /// Every key, the one that seals first.
    pub(super) fn all(&self) -> impl Iterator<Item = &MasterKey> {
        std::iter::once(&self.current).chain(&self.previous)
    }

    /// Under which key a secret would be sealed now, and sealed so.
    pub(super) fn seal(&self, owner: &Owner, id: &str, secret: &[u8], entropy: &dyn Entropy) -> ([u8; 8], Vec<u8>) {
        let user = owner.user.to_string();
        let fill = |bytes: &mut [u8]| entropy.fill(bytes);
        (self.current.id(), self.current.seal(&context(owner.tenant.as_str(), &user, id), secret, &fill))
    }

    /// Whether a secret should be sealed again, because its key is on its way out.
    pub(super) fn is_outdated(&self, enrolment: &Enrolment) -> bool {
        enrolment.key_id != self.current.id()
    }

    /// What the app of this user holds too.
    ///
    /// # Errors
    /// 503 when no key opens it: the server was started with another one, or the row was tampered with.
    pub(super) fn authenticator(&self, owner: &Owner, enrolment: &Enrolment) -> AppResult<Authenticator> {
        let secret = self.unseal(owner, enrolment).map_err(|error| {
            tracing::error!(user.id = %owner.user, key.id = %data_encoding::HEXLOWER.encode(&enrolment.key_id), %error,
                "The secret of a second factor does not open");
            let text = "the server cannot check this code now; use a backup code, or ask an admin";
            AppError::unavailable("MFA_UNAVAILABLE", text, limits::UNREADABLE_RETRY_S)
        })?;
        Ok(Authenticator { secret, period_s: enrolment.period_s, digits: enrolment.digits })
    }

    fn unseal(&self, owner: &Owner, enrolment: &Enrolment) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let user = owner.user.to_string();
        let key = self.all().find(|key| key.id() == enrolment.key_id).ok_or(OpenError::NotAuthentic)?;
        key.open(&context(owner.tenant.as_str(), &user, &enrolment.id), &enrolment.sealed)
    }
}

/// Binds a secret to its row: moved to another user, or put back after it was replaced, it does not open.
pub(super) fn context<'a>(tenant: &'a str, user: &'a str, id: &'a str) -> Context<'a> {
    Context { purpose: Purpose::MfaSecret, tenant, subject: user, name: id }
}

/// Refuses to start with a key that opens none, or only some, of the stored secrets. Blocks.
///
/// # Errors
/// Says how many secrets need another key and what to do.
pub fn check_mfa_key(app: &App) -> Result<(), StartError> {
    let keys = &AuthState::of(app).map_err(|error| StartError::Other(error.to_string()))?.mfa.keys;
    let stored = app.db.read_blocking(|tx| queries::key_ids(tx, limits::KEYS_LISTED_MAX))?;
    let known: Vec<[u8; 8]> = keys.all().map(MasterKey::id).collect();
    let lost: i64 = stored.iter().filter(|(id, _)| !known.contains(id)).map(|(_, count)| count).sum();
    if lost == 0 {
        return Ok(());
    }
    Err(StartError::Other(format!(
        "MFA_ENCRYPTION_KEY is not the key under which the second factor of {lost} accounts is stored: start with that \
         key, or name it in MFA_PREVIOUS_ENCRYPTION_KEYS; if it is lost, `muster admin reset-mfa` lets those accounts \
         enrol again"
    )))
}
