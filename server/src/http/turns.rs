//! How many requests of one person, or of one address, are worked on at once. One more waits behind the others of the same
//! person: who sends hundreds at once keeps nobody else waiting.

use axum::http::request::Parts;
use tokio::sync::Semaphore;

use super::client_ip::ClientIp;
use super::holder::Holder;
use super::in_flight::InFlight;
use crate::app::App;
use crate::error::{AppError, AppResult, jittered_retry_after};
use crate::limits::budgets;
use crate::shares::{Lines, Place};

/// The lines. Lives in the `App`.
pub struct Turns {
    people: Lines<Holder>,
    addresses: Lines<Holder>,
}

impl Default for Turns {
    /// How many run at once in all is for the gate to say.
    fn default() -> Self {
        let lines = |own_max| Lines::new(Semaphore::MAX_PERMITS, own_max);
        Self {
            people: lines(budgets::REQUESTS_PER_PERSON.count()),
            addresses: lines(budgets::REQUESTS_PER_ADDRESS.count()),
        }
    }
}

impl Turns {
    /// Waits for the holder's turn; the place is held until the reply begins. `None` where many share an address, whom
    /// only the limit of the whole server bounds.
    ///
    /// # Errors
    /// 429 when the holder's other requests take too long.
    pub async fn take(app: &App, parts: &Parts, holder: Holder) -> AppResult<Option<Place<Holder>>> {
        let turns = app.slice::<Self>().ok_or_else(|| AppError::internal("the app was built without Turns"))?;
        let lines = match holder {
            Holder::Person(_) => &turns.people,
            Holder::Address(address) if ClientIp(address).is_campus(app) => return Ok(None),
            Holder::Server => return Ok(None),
            Holder::Address(_) => &turns.addresses,
        };
        if let Some(place) = lines.try_enter(holder) {
            return Ok(Some(place));
        }
        let _paused = parts.extensions.get::<InFlight>().map(InFlight::paused);
        match tokio::time::timeout(app.connection_limits.turn_wait, lines.enter(holder)).await {
            Ok(place) => place.map(Some).map_err(AppError::internal),
            Err(_) => {
                let sentence = "too many of your requests are being worked on; wait for their answers";
                Err(AppError::too_many(sentence, jittered_retry_after(app.draw())))
            }
        }
    }
}
