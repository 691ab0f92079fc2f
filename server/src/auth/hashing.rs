//! Password hashes: Argon2id, a few at a time, on threads that may take their time.

use std::sync::{Arc, LazyLock};

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use data_encoding::BASE32_NOPAD;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use super::limits;
use super::state::AuthState;
use super::users::User;
use super::{imported_hashes, queries};
use crate::app::App;
use crate::audit::{self, Action, Actor, Event};
use crate::clock::Entropy;
use crate::config::Secret;
use crate::error::{AppError, AppResult, jittered_retry_after};
use crate::http::{Holder, RequestId, Shares};
use crate::limits::budgets;
use crate::shares::{Held, Ledger, Lines, UsedUp};

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

/// What one holder may have under way. A hall signs in behind one address.
const SHARES: Shares = Shares {
    all: budgets::PASSWORDS_WAITING.count(),
    person: budgets::PASSWORDS_WAITING_PER_PERSON.count(),
    address: budgets::PASSWORDS_WAITING_PER_ADDRESS.count(),
};

/// The bounded pool. Whoever sends many waits behind themselves, and the next one for a hash or two of theirs.
pub(super) struct Hashing {
    running: Lines<Holder>,
    waiting: Ledger<Holder>,
}

impl Hashing {
    pub(super) fn new() -> Self {
        let at_once = budgets::PASSWORDS_HASHED.count();
        Self { running: Lines::new(at_once, at_once), waiting: Ledger::new(budgets::PASSWORDS_WAITING.max) }
    }

    fn place(&self, holder: Holder, own_max: usize, draw: u64) -> AppResult<Place> {
        let mut held = self.waiting.open(holder, own_max as u64);
        match held.more(1) {
            Ok(()) => Ok(Place { holder, _held: held }),
            Err(UsedUp::Own) => {
                let sentence =
                    "too many passwords are being looked at for you, or for your address; wait for their answers";
                Err(AppError::too_many(sentence, jittered_retry_after(draw)))
            }
            Err(UsedUp::All) => {
                Err(AppError::unavailable("BUSY", "too many people sign in at once", jittered_retry_after(draw)))
            }
        }
    }

    async fn run<T: Send + 'static>(&self, place: Place, work: impl FnOnce() -> T + Send + 'static) -> AppResult<T> {
        let running = self.running.enter(place.holder).await.map_err(AppError::internal)?;
        // A hash that has begun goes on when its client leaves, and its place is taken until then.
        let work = move || {
            let done = work();
            drop((running, place));
            done
        };
        tokio::task::spawn_blocking(work).await.map_err(AppError::internal)
    }
}

/// A place in the pool, or in the row before it.
pub(super) struct Place {
    holder: Holder,
    _held: Held<Holder>,
}

/// Takes a place for one [`verify`]. Whoever counts tries takes it first: that the server is busy is nobody's wrong password.
///
/// # Errors
/// 429 when the holder has too many already, 503 `BUSY` when all together have; both with `Retry-After`.
pub(super) fn place(app: &App, holder: Holder) -> AppResult<Place> {
    AuthState::of(app)?.hashing.place(holder, SHARES.of(app, holder), app.draw())
}

/// Refuses passwords that are too short or too long.
pub(super) fn check_password(field: &'static str, password: &str) -> AppResult<()> {
    if limits::PASSWORD_BYTES.contains(&password.len()) {
        return Ok(());
    }
    Err(AppError::field(field, "a password has 8 to 1024 bytes"))
}

/// Hashes a new password, which must be long enough.
pub(crate) async fn hash_password(app: &App, password: Secret, holder: Holder) -> AppResult<String> {
    check_password("password", password.reveal())?;
    let entropy = Arc::clone(&app.entropy);
    let place = place(app, holder)?;
    AuthState::of(app)?.hashing.run(place, move || hash_password_blocking(password.reveal(), &*entropy)).await?
}

/// The same on the caller's own thread, for the command line.
pub fn hash_password_blocking(password: &str, entropy: &dyn Entropy) -> AppResult<String> {
    check_password("password", password)?;
    hash_any(password, entropy)
}

fn hash_any(password: &str, entropy: &dyn Entropy) -> AppResult<String> {
    let mut salt = [0; SALT_BYTES];
    entropy.fill(&mut salt);
    let hash = ARGON2.hash_password_with_salt(composed(password).as_bytes(), &salt).map_err(AppError::internal)?;
    Ok(hash.to_string())
}

/// Keyboards differ in whether an accent is part of its letter (NFC) or a character of its own; one password has both forms.
fn composed(password: &str) -> Zeroizing<String> {
    Zeroizing::new(password.nfc().collect())
}

/// What comparing a password with a stored hash gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verified {
    /// It is another one.
    Wrong,
    /// It is the one, and its hash is as good as a new one.
    Right,
    /// It is the one, and its hash should be replaced.
    Weak,
}

/// Whether the password is right. Without a stored hash the same work is done and the answer is no.
pub(super) async fn verify(app: &App, place: Place, password: Secret, stored: Option<String>) -> AppResult<Verified> {
    let work = move || match stored {
        Some(stored) => evaluate_forms(password.reveal(), &stored),
        None => evaluate_forms(password.reveal(), HASH_OF_NOBODY).and(None),
    };
    let verified = AuthState::of(app)?.hashing.run(place, work).await?;
    Ok(verified.unwrap_or(Verified::Wrong))
}

/// As we would hash the password, and else as it came: another system may have hashed it so.
fn evaluate_forms(password: &str, stored: &str) -> Option<Verified> {
    let composed = composed(password);
    let verified = evaluate(composed.as_bytes(), stored)?;
    if verified != Verified::Wrong || composed.as_str() == password {
        return Some(verified);
    }
    evaluate(password.as_bytes(), stored).map(|again| if again == Verified::Wrong { again } else { Verified::Weak })
}

/// `None` when the hash is of no kind that we evaluate, or would cost too much.
fn evaluate(password: &[u8], stored: &str) -> Option<Verified> {
    let weak = |right| if right { Verified::Weak } else { Verified::Wrong };
    let verified = match stored.strip_prefix("$argon2") {
        Some(_) => argon2(password, stored),
        None => imported_hashes::verify(password, stored).map(weak),
    };
    if verified.is_none() {
        tracing::warn!("A stored password hash is of no known kind or asks for too much work");
        let _ = argon2(password, HASH_OF_NOBODY);
    }
    verified
}

/// A hash that another system made, which the right password will open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedHash(Secret);

impl ImportedHash {
    /// `None` when it is of a kind that we cannot evaluate, or would cost too much.
    pub fn parse(text: &str) -> Option<Self> {
        let is_known =
            if text.starts_with("$argon2") { bearable(text).is_some() } else { imported_hashes::is_known(text) };
        is_known.then(|| Self(Secret::new(text.to_owned())))
    }

    /// As it is stored.
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }
}

/// A hash of Argon2 and what evaluating it takes, unless that is too much.
fn bearable(stored: &str) -> Option<(PasswordHash, Params)> {
    let hash = PasswordHash::new(stored).ok()?;
    let params = Params::try_from(&hash).ok()?;
    let work = u64::from(params.m_cost()) * u64::from(params.t_cost());
    let is_bearable = params.m_cost() <= limits::IMPORTED_MEMORY_KIB_MAX && work <= limits::IMPORTED_ARGON2_WORK_MAX;
    (is_bearable && hash.salt.is_some() && hash.hash.is_some()).then_some((hash, params))
}

fn argon2(password: &[u8], stored: &str) -> Option<Verified> {
    let (hash, params) = bearable(stored)?;
    let work = u64::from(params.m_cost()) * u64::from(params.t_cost());
    if ARGON2.verify_password(password, &hash).is_err() {
        return Some(Verified::Wrong);
    }
    let strong = hash.algorithm.as_str() == Algorithm::Argon2id.as_str()
        && params.m_cost() >= limits::HASH_MEMORY_KIB
        && params.t_cost() >= limits::HASH_PASSES
        && work <= 2 * u64::from(limits::HASH_MEMORY_KIB * limits::HASH_PASSES);
    Some(if strong { Verified::Right } else { Verified::Weak })
}

/// Replaces a hash that another system made by one of ours, for the same password. Tokens stay as they are.
pub(super) async fn upgrade(
    app: &App,
    user: &User,
    password: Secret,
    old_hash: String,
    request: &RequestId,
) -> AppResult<()> {
    let entropy = Arc::clone(&app.entropy);
    // Who has signed in is not sent away because the server is busy; the next sign-in replaces the hash.
    let Ok(place) = place(app, Holder::Person(user.id)) else { return Ok(()) };
    let new_hash = AuthState::of(app)?.hashing.run(place, move || hash_any(password.reveal(), &*entropy)).await??;
    let actor = Actor {
        tenant: user.tenant.clone(),
        id: user.id.to_string(),
        role: user.role.to_string(),
        request_id: request.as_str().to_owned(),
    };
    let (id, now_ms) = (user.id, app.now_ms());
    app.db
        .write(move |tx| {
            // Whoever changed the password meanwhile has a better hash already.
            if !queries::replace_hash(tx, &actor.tenant, id, &old_hash, &new_hash, now_ms)? {
                return Ok(());
            }
            let (action, kind) = (Action::PasswordRehash, "account");
            let event = Event { action, kind, id: &actor.id, reason: None, result: "argon2id" };
            audit::record(tx, &actor, &event, now_ms).map_err(AppError::from)
        })
        .await
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

    #[tokio::test]
    async fn a_hash_whose_client_has_left_keeps_its_place_until_it_is_done() {
        let hashing = Hashing::new();
        let (begun, has_begun) = std::sync::mpsc::channel();
        let (end, may_end) = std::sync::mpsc::channel::<()>();
        let work = move || {
            let _ = begun.send(());
            may_end.recv().is_err()
        };
        let client = hashing.run(hashing.place(Holder::Server, 1, 0).unwrap(), work);
        let watch = tokio::task::spawn_blocking(move || has_begun.recv());
        tokio::select! {
            _ = client => unreachable!("the work waits"),
            begun = watch => begun.unwrap().unwrap(),
        }
        assert_eq!(hashing.running.free(), budgets::PASSWORDS_HASHED.count() - 1);
        drop(end);
        while hashing.waiting.all() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(hashing.running.free(), budgets::PASSWORDS_HASHED.count());
    }

    #[test]
    fn one_address_leaves_places_for_the_passwords_of_others() {
        let hashing = Hashing::new();
        let place = |host: u8, own_max: usize| {
            let placed = hashing.place(Holder::Address([10, 0, 0, host].into()), own_max, 0);
            placed.map_err(|error| error.code())
        };
        let (own_max, all_max) = (SHARES.address, SHARES.all);
        let held: Vec<_> = (0..own_max).map(|_| place(1, own_max).unwrap()).collect();
        assert_eq!(place(1, own_max).err(), Some("RATE_LIMITED"));
        let other = place(2, own_max).unwrap();
        drop((held, other));
        // A campus may have all, and gets half of it: as much as it leaves to others.
        let campus: Vec<_> = (0..all_max / 2).map(|_| place(3, all_max).unwrap()).collect();
        assert_eq!(place(3, all_max).err(), Some("BUSY"));
        for host in 4..10 {
            assert!(place(host, own_max).is_ok());
        }
        drop(campus);
    }

    #[test]
    fn the_right_password_is_told_from_the_wrong_one() {
        let stored = hash_password_blocking("correct horse", &SeededEntropy::new(1)).unwrap();
        assert_eq!(evaluate(b"correct horse", &stored), Some(Verified::Right));
        assert_eq!(evaluate(b"correct Horse", &stored), Some(Verified::Wrong));
    }

    #[test]
    fn a_long_password_counts_to_its_last_byte() {
        let long = "x".repeat(100);
        let other = format!("{}y{}", "x".repeat(79), "x".repeat(20));
        let stored = hash_password_blocking(&long, &SeededEntropy::new(1)).unwrap();
        assert_eq!(evaluate(long.as_bytes(), &stored), Some(Verified::Right));
        assert_eq!(evaluate(other.as_bytes(), &stored), Some(Verified::Wrong));
    }

    #[test]
    fn a_hash_that_asks_for_too_much_work_is_not_evaluated() {
        let real = hash_password_blocking("correct horse", &SeededEntropy::new(1)).unwrap();
        for params in ["m=4194304,t=1,p=1", "m=19456,t=4000000,p=1"] {
            let absurd = real.replace("m=19456,t=2,p=1", params);
            assert_eq!(evaluate(b"correct horse", &absurd), None, "{params}");
        }
        for nonsense in ["", "plain", "$argon2id$", "$1$salt$hash", "pbkdf2_sha256$x$y$z"] {
            assert_eq!(evaluate(b"plain", nonsense), None, "{nonsense:?}");
        }
    }

    #[test]
    fn a_password_is_one_however_its_accents_are_typed() {
        let (composed, apart) = ("grün wie Gras", "gru\u{308}n wie Gras");
        let ours = hash_password_blocking(apart, &SeededEntropy::new(1)).unwrap();
        for typed in [composed, apart] {
            assert_eq!(evaluate_forms(typed, &ours), Some(Verified::Right));
        }
        assert_eq!(evaluate_forms("grun wie Gras", &ours), Some(Verified::Wrong));
        let theirs = ARGON2.hash_password_with_salt(apart.as_bytes(), &[7; SALT_BYTES]).unwrap().to_string();
        assert_eq!(evaluate_forms(apart, &theirs), Some(Verified::Weak));
        assert_eq!(evaluate_forms(composed, &theirs), Some(Verified::Wrong));
    }

    #[test]
    fn a_weaker_argon2_hash_should_be_replaced() {
        let params = Params::new(8 * 1024, 1, 1, None).unwrap();
        let weaker = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let stored = weaker.hash_password_with_salt(b"correct horse", &[7; SALT_BYTES]).unwrap().to_string();
        assert_eq!(evaluate(b"correct horse", &stored), Some(Verified::Weak));
    }
}
