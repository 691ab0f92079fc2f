//! Password hashes: Argon2id, a few at a time, on threads that may take their time.

use std::sync::LazyLock;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use data_encoding::BASE32_NOPAD;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::limits;
use super::state::AuthState;
use crate::app::App;
use crate::clock::Entropy;
use crate::config::Secret;
use crate::error::{AppError, AppResult, jittered_retry_after};

/// A hash of nothing, with today's parameters: verifying against it costs what verifying a real one costs.
const HASH_OF_NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGhhcyB0aGlz$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Bytes of salt.
const SALT_BYTES: usize = 16;
/// Random bytes in a generated password.
const GENERATED_BYTES: usize = 15;

static ARGON2: LazyLock<Argon2<'static>> = LazyLock::new(|| {
    let params = Params::new(limits::HASH_MEMORY_KIB, limits::HASH_PASSES, 1, None).expect("constants within bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
});

/// The bounded pool.
pub(super) struct Hashing {
    running: Semaphore,
    waiting: Semaphore,
}

impl Hashing {
    pub(super) fn new() -> Self {
        Self {
            running: Semaphore::new(limits::HASHES_AT_ONCE),
            waiting: Semaphore::new(limits::HASHES_AT_ONCE + limits::HASHES_WAITING_MAX),
        }
    }

    async fn run<T: Send + 'static>(&self, draw: u64, work: impl FnOnce() -> T + Send + 'static) -> AppResult<T> {
        let busy = |_| AppError::unavailable("BUSY", "too many people sign in at once", jittered_retry_after(draw));
        let _waiting = self.waiting.try_acquire().map_err(busy)?;
        let _running = self.running.acquire().await.map_err(AppError::internal)?;
        tokio::task::spawn_blocking(work).await.map_err(AppError::internal)
    }
}

/// Refuses passwords that are too short or too long.
pub(super) fn check_password(field: &'static str, password: &str) -> AppResult<()> {
    if limits::PASSWORD_BYTES.contains(&password.len()) {
        return Ok(());
    }
    Err(AppError::field(field, "a password has 8 to 1024 bytes"))
}

/// Hashes a new password, which must be long enough.
pub(crate) async fn hash_password(app: &App, password: Secret) -> AppResult<String> {
    check_password("password", password.reveal())?;
    let entropy = std::sync::Arc::clone(&app.entropy);
    let state = AuthState::of(app)?;
    state.hashing.run(app.draw(), move || hash_password_blocking(password.reveal(), &*entropy)).await?
}

/// The same on the caller's own thread, for the command line.
pub fn hash_password_blocking(password: &str, entropy: &dyn Entropy) -> AppResult<String> {
    check_password("password", password)?;
    let mut salt = [0; SALT_BYTES];
    entropy.fill(&mut salt);
    let hash = ARGON2.hash_password_with_salt(password.as_bytes(), &salt).map_err(AppError::internal)?;
    Ok(hash.to_string())
}

/// Whether the password is right. Without a stored hash the same work is done and the answer is no.
pub(super) async fn verify(app: &App, password: Secret, stored: Option<String>) -> AppResult<bool> {
    let exists = stored.is_some();
    let stored = stored.unwrap_or_else(|| HASH_OF_NOBODY.to_owned());
    let work = move || {
        let hash = PasswordHash::new(&stored).map_err(AppError::internal)?;
        Ok::<bool, AppError>(ARGON2.verify_password(password.reveal().as_bytes(), &hash).is_ok())
    };
    let matches = AuthState::of(app)?.hashing.run(app.draw(), work).await??;
    Ok(matches && exists)
}

/// A password that nobody guesses, to be shown once.
pub fn generate_password(entropy: &dyn Entropy) -> Secret {
    let mut bytes = Zeroizing::new([0; GENERATED_BYTES]);
    entropy.fill(&mut *bytes);
    Secret::new(BASE32_NOPAD.encode(&*bytes).to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SeededEntropy;

    #[test]
    fn the_hash_of_nobody_costs_what_a_real_one_costs() {
        let real = hash_password_blocking("correct horse", &SeededEntropy::new(1)).unwrap();
        let (real, nobody) = (PasswordHash::new(&real).unwrap(), PasswordHash::new(HASH_OF_NOBODY).unwrap());
        assert_eq!(real.algorithm, nobody.algorithm);
        assert_eq!(real.version, nobody.version);
        assert_eq!(real.params, nobody.params);
        assert_eq!(real.hash.map(|hash| hash.len()), nobody.hash.map(|hash| hash.len()));
    }

    #[test]
    fn the_right_password_is_told_from_the_wrong_one() {
        let stored = hash_password_blocking("correct horse", &SeededEntropy::new(1)).unwrap();
        let hash = PasswordHash::new(&stored).unwrap();
        assert!(ARGON2.verify_password(b"correct horse", &hash).is_ok());
        assert!(ARGON2.verify_password(b"correct Horse", &hash).is_err());
    }
}
