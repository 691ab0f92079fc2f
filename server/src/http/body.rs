//! Bodies with a deadline on the way in, and an end that is noticed on the way out.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use thiserror::Error;
use tokio::time::Sleep;

use super::activity::Activity;
use super::in_flight::InFlight;

/// A request's body, which must be complete within its time after the first wait for it.
///
/// While it keeps us waiting, its request is not counted as worked on: otherwise a few thousand clients that trickle a
/// byte now and then would take every place from those who have something to say.
pub(super) struct Timed {
    inner: Incoming,
    deadline: Option<Pin<Box<Sleep>>>,
    activity: Arc<Activity>,
    in_flight: InFlight,
    waiting: bool,
}

impl Timed {
    pub(super) fn new(inner: Incoming, activity: Arc<Activity>, in_flight: InFlight) -> Self {
        Self { inner, deadline: None, activity, in_flight, waiting: false }
    }

    fn wait(&mut self, waiting: bool) {
        match (self.waiting, waiting) {
            (false, true) => self.in_flight.pause(),
            (true, false) => self.in_flight.resume(),
            _ => {}
        }
        self.waiting = waiting;
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        self.wait(false);
    }
}

#[derive(Debug, Error)]
pub(super) enum BodyError {
    #[error("the body did not arrive in time")]
    Late,
    #[error(transparent)]
    Broken(#[from] hyper::Error),
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
            self.wait(false);
            return Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)));
        }
        let timeout = self.activity.limits().body_timeout;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        if deadline.as_mut().poll(cx).is_ready() {
            self.wait(false);
            self.activity.body_is_late();
            return Poll::Ready(Some(Err(BodyError::Late)));
        }
        self.wait(true);
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A reply's body. When it is dropped the connection is idle.
pub(super) struct Reply {
    pub(super) inner: Body,
    pub(super) activity: Arc<Activity>,
}

impl HttpBody for Reply {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.activity.idle();
    }
}
