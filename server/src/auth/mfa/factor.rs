//! Judging a code: a time step opens once, a backup code opens once, and few wrong ones are looked at.
//!
//! The arithmetic is done before the transaction. In it, one conditional update takes the step or the code, so that of
//! many equal requests one succeeds; and wrong codes are counted in the transaction that refuses them, which commits.

use muster_sync_core::typed;
use zeroize::Zeroizing;

use super::backup_codes;
use super::queries::{self, Enrolment, Owner};
use crate::app::App;
use crate::auth::rates::{Counter, Counters, Key, Rate, seconds_after};
use crate::auth::state::AuthState;
use crate::config::Secret;
use crate::db::{DbError, Tx};
use crate::error::{AppError, AppResult};
use crate::telemetry::SecurityEvent;

/// A code that somebody sent.
pub(super) enum Given {
    /// Of the authenticator app.
    Code(Secret),
    /// Of the list for the day on which the app is lost.
    BackupCode(Secret),
}

/// What the code is, if it is anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    Step(Option<i64>),
    BackupCode([u8; 32]),
}

/// A code that is ready to be judged, once.
pub(super) struct Attempt {
    pub(super) owner: Owner,
    enrolment: String,
    proof: Proof,
    reseal: Option<([u8; 8], Vec<u8>)>,
    failures: Counter,
    now_ms: i64,
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// The code is right, and used up.
    Right,
    /// It is not, or it was used before; that was counted.
    Wrong,
    /// Nobody looked at it.
    TooMany {
        /// When to come back.
        retry_after_s: u32,
    },
}

/// Prepares a code for the enrolment of a user.
///
/// # Errors
/// 503 when the stored secret does not open.
pub(super) fn prepare(app: &App, owner: &Owner, enrolment: &Enrolment, given: &Given) -> AppResult<Attempt> {
    let state = AuthState::of(app)?;
    let mut reseal = None;
    let proof = match given {
        Given::Code(code) => {
            let authenticator = state.mfa.keys.authenticator(owner, enrolment)?;
            if state.mfa.keys.is_outdated(enrolment) {
                reseal = Some(state.mfa.keys.seal(owner, &enrolment.id, &authenticator.secret, &*app.entropy));
            }
            Proof::Step(authenticator.find_step(&plain(code), app.clock.now_s())?)
        }
        Given::BackupCode(code) => Proof::BackupCode(backup_codes::hash(state, owner, code)),
    };
    // Whoever enrols anew after a reset starts afresh: the failures are those of one secret and its backup codes.
    let failures = Counters::of(app, Rate::MfaFailures)?.counter(Key::Enrolment(&enrolment.id));
    let (owner, enrolment) = (owner.clone(), enrolment.id.clone());
    Ok(Attempt { owner, enrolment, proof, reseal, failures, now_ms: app.now_ms() })
}

/// The digits, however they were typed; an empty text is no code.
pub(super) fn plain(code: &Secret) -> Zeroizing<String> {
    Zeroizing::new(typed::digits(code.reveal()).unwrap_or_default())
}

impl Attempt {
    /// Uses the code up if it is right, else counts the failure. The caller commits in either case.
    pub(super) fn judge(&self, tx: &Tx<'_>) -> Result<Judgement, DbError> {
        let wait_ms = self.failures.wait_ms(tx, self.now_ms)?;
        if wait_ms > 0 {
            return Ok(Judgement::TooMany { retry_after_s: seconds_after(wait_ms) });
        }
        let right = match &self.proof {
            Proof::Step(None) => false,
            Proof::Step(Some(step)) => queries::use_step(tx, &self.owner, &self.enrolment, *step)?,
            Proof::BackupCode(hash) => queries::use_code(tx, &self.owner, hash, self.now_ms)?,
        };
        if !right {
            self.failures.take(tx, self.now_ms)?;
            return Ok(Judgement::Wrong);
        }
        if let Some((key_id, sealed)) = &self.reseal {
            queries::reseal(tx, &self.owner, &self.enrolment, key_id, sealed)?;
        }
        Ok(Judgement::Right)
    }

    /// The word for the audit log.
    pub(super) const fn by(&self) -> &'static str {
        match self.proof {
            Proof::Step(_) => "totp",
            Proof::BackupCode(_) => "backup_code",
        }
    }

    /// Whether it takes a backup code.
    pub(super) const fn is_backup_code(&self) -> bool {
        matches!(self.proof, Proof::BackupCode(_))
    }

    /// Which enrolment the code was held against.
    pub(super) fn enrolment(&self) -> &str {
        &self.enrolment
    }
}

impl Judgement {
    /// Lets whoever watches over accounts know.
    pub(super) fn tell(self, app: &App, request_id: &str, user_id: &str) {
        let event = match self {
            Self::Right => SecurityEvent::MfaSuccess,
            Self::Wrong => SecurityEvent::MfaFailure,
            Self::TooMany { .. } => SecurityEvent::RateLimited,
        };
        app.security_event(event, request_id, Some(user_id));
    }

    /// Goes on, or says why not; `wrong` is the answer to a wrong code.
    pub(super) fn or(self, wrong: impl FnOnce() -> AppError) -> AppResult<()> {
        match self {
            Self::Right => Ok(()),
            Self::Wrong => Err(wrong()),
            Self::TooMany { retry_after_s } => Err(AppError::too_many("too many wrong codes", retry_after_s)),
        }
    }
}

/// The answer to a wrong code of somebody who is signed in: 403, because 401 would say that the sign-in has ended.
pub(super) fn refused() -> AppError {
    AppError::forbidden("MFA_CODE_INVALID", "the code is wrong, too old, or was used before")
}
