//! A thread's connection, opened anew when it was lost.

use std::sync::Arc;
use std::time::Duration;

use super::session::Session;
use super::target::Target;
use super::values::{Cure, Trouble};
use crate::clock::{Stopwatch, mix};
use crate::limits;

/// Where to connect, and the connection if there is one.
pub(super) struct Link {
    target: Arc<Target>,
    session: Option<Session>,
    opened: Stopwatch,
    age_max: Option<Duration>,
    draws: u64,
}

impl Link {
    pub(super) fn new(target: Arc<Target>) -> Self {
        // Threads and servers that draw the same waits would meet again.
        let draws = u64::from(std::process::id()) << 32 | Arc::strong_count(&target) as u64;
        Self { target, session: None, opened: Stopwatch::start(), age_max: None, draws }
    }

    /// With an age at which the connection is opened anew.
    pub(super) fn replaced_after(mut self, age_max: Option<Duration>) -> Self {
        self.age_max = age_max;
        self
    }

    /// Closes a connection that is old, before work begins on it: something between us and the database may forget
    /// connections that have been open for long.
    pub(super) fn replace_if_old(&mut self) {
        if self.age_max.is_some_and(|age_max| self.opened.elapsed() > age_max) {
            self.session = None;
        }
    }

    /// The connection; opened if there is none, with a few attempts.
    pub(super) fn session(&mut self) -> Result<&Session, Trouble> {
        let session = match self.session.take() {
            Some(session) => session,
            None => self.connect()?,
        };
        Ok(self.session.insert(session))
    }

    fn connect(&mut self) -> Result<Session, Trouble> {
        let mut attempt = 0;
        loop {
            match Session::open(&self.target) {
                Ok(session) => {
                    self.opened = Stopwatch::start();
                    return Ok(session);
                }
                Err(trouble) if trouble.cure == Cure::Never || attempt + 1 >= limits::CONNECT_ATTEMPTS_MAX => {
                    return Err(trouble);
                }
                Err(trouble) => tracing::warn!(error = %trouble.error, "Could not connect to PostgreSQL"),
            }
            self.pause(limits::CONNECT_BACKOFF, attempt);
            attempt += 1;
        }
    }

    pub(super) fn drop_session(&mut self) {
        self.session = None;
    }

    /// Ends the transaction that is open, and gives the turn to the others if it was taken.
    pub(super) fn roll_back(&mut self) {
        let Some(session) = &self.session else { return };
        session.forget_trouble();
        session.command("ROLLBACK; SELECT pg_advisory_unlock_all()");
        if let Err(trouble) = session.settle() {
            if trouble.cure != Cure::Reconnect {
                tracing::error!(error = %trouble.error, "A transaction could not be rolled back");
            }
            self.session = None;
        }
    }

    /// Waits before another attempt: twice as long each time, half of it by chance.
    pub(super) fn pause(&mut self, first: Duration, attempt: u32) {
        self.draws = self.draws.wrapping_add(1);
        let whole = first.saturating_mul(1 << attempt.min(16)).min(limits::CONFLICT_BACKOFF_MAX.max(first));
        let chance = (mix(self.draws) >> 11) as f64 / (1_u64 << 53) as f64;
        std::thread::sleep(whole / 2 + (whole / 2).mul_f64(chance));
    }
}
