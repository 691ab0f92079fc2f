//! `GET /sync/live`: server-sent events that say which channel moved. What moved comes through `POST /sync`.

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, StreamExt};
use tokio::sync::broadcast::error::RecvError;

use crate::app::App;
use crate::auth::CurrentUser;
use crate::courses;
use crate::db::{DbError, Notice, Tx};
use crate::error::{AppError, AppResult};
use crate::http::streamed;
use crate::ids::UserId;
use crate::limits::budgets;
use crate::log;
use crate::shares::Newest;

/// A comment goes out this often, so that proxies and phones know that the stream lives.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// A stream ends after this time; the client comes back with a fresh token, and with the channels that it then has.
const STREAM_MAX: Duration = Duration::from_secs(15 * 60);

/// The streams of everybody, by person. Lives in the `App`.
pub struct Streams(Newest<UserId>);

impl Default for Streams {
    fn default() -> Self {
        Self(Newest::new(budgets::STREAMS_PER_PERSON.count()))
    }
}

/// Says which of the caller's channels moved, as `event: moved` with the channel's name, until 15 minutes have passed.
/// Everybody has eight streams; one more ends the oldest, which may be that of a phone that went away unnoticed.
#[utoipa::path(
    get, path = "/sync/live", tag = "sync",
    responses((status = 200, content_type = "text/event-stream", body = String))
)]
pub(super) async fn live(State(app): State<App>, user: CurrentUser) -> AppResult<Response> {
    let moved = log::watch(&app)?;
    let seat = app.slice::<Streams>().ok_or_else(|| AppError::internal("the app was built without Streams"))?;
    let seat = seat.0.sit(user.id);
    let tenant = user.tenant.clone();
    let channels = app.db.read(move |tx: &Tx<'_>| courses::channels_of(tx, &user)).await;
    let channels = channels.map_err(|error: DbError| AppError::from(error))?;
    let names: HashMap<i64, String> =
        channels.into_iter().map(|channel| (log::channel_key(&tenant, &channel), channel)).collect();
    let deadline = tokio::time::Instant::now() + STREAM_MAX;
    let first = Event::default().event("ready").data(names.len().to_string());
    let rest = stream::unfold((app, moved, names, seat), move |(app, mut moved, names, seat)| async move {
        loop {
            let key = tokio::select! {
                () = app.stopped() => return None,
                () = tokio::time::sleep_until(deadline) => return None,
                () = seat.taken() => return None,
                key = moved.recv() => key,
            };
            let event = match key {
                Ok(Notice::Moved(key)) => match names.get(&key) {
                    Some(name) => Event::default().event("moved").data(name),
                    None => continue,
                },
                // Too many to tell apart: the client asks for everything.
                Ok(Notice::Unknown) | Err(RecvError::Lagged(_)) => Event::default().event("moved").data("*"),
                Err(RecvError::Closed) => return None,
            };
            return Some((event, (app, moved, names, seat)));
        }
    });
    let events = stream::once(async { first }).chain(rest);
    let events = Sse::new(events.map(Ok::<Event, Infallible>)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    Ok(streamed(events, "no-cache, no-transform"))
}
