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
use super::holder::Holder;
use super::in_flight::InFlight;
use super::meter::BodyMeter;
use crate::shares::{Held, UsedUp};

/// A request's body, which must be complete within its time after the first wait for it, and whose bytes are its sender's.
///
/// While it keeps us waiting, its request is not counted as worked on: otherwise a few thousand clients that trickle a
/// byte now and then would take every place from those who have something to say.
pub(super) struct Timed {
    inner: Incoming,
    deadline: Option<Pin<Box<Sleep>>>,
    activity: Arc<Activity>,
    in_flight: InFlight,
    meter: BodyMeter,
    waiting: bool,
}

/// What may be wrong with how a body comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum BodyFault {
    /// It took too long.
    Late = 1,
    /// Its sender has too many bytes under way already.
    OwnShare,
    /// All senders together have.
    Memory,
}

impl BodyFault {
    pub(super) fn of(stored: u8) -> Option<Self> {
        [Self::Late, Self::OwnShare, Self::Memory].into_iter().find(|fault| *fault as u8 == stored)
    }
}

impl Timed {
    pub(super) fn new(inner: Incoming, activity: Arc<Activity>, in_flight: InFlight, meter: BodyMeter) -> Self {
        Self { inner, deadline: None, activity, in_flight, meter, waiting: false }
    }

    fn wait(&mut self, waiting: bool) {
        match (self.waiting, waiting) {
            (false, true) => self.in_flight.pause(),
            (true, false) => self.in_flight.resume(),
            _ => {}
        }
        if self.waiting != waiting {
            self.activity.body_waits(waiting);
        }
        self.waiting = waiting;
    }

    fn fail(&mut self, fault: BodyFault) -> BodyError {
        self.wait(false);
        self.activity.body_failed(fault);
        BodyError::Refused(fault)
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        self.wait(false);
    }
}

#[derive(Debug, Error)]
pub(super) enum BodyError {
    #[error("the body was given up: {0:?}")]
    Refused(BodyFault),
    #[error(transparent)]
    Broken(#[from] hyper::Error),
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
            self.wait(false);
            let bytes = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map_or(0, Bytes::len);
            return Poll::Ready(match self.meter.took(bytes) {
                Ok(()) => frame.map(|frame| frame.map_err(BodyError::from)),
                Err(UsedUp::Own) => Some(Err(self.fail(BodyFault::OwnShare))),
                Err(UsedUp::All) => Some(Err(self.fail(BodyFault::Memory))),
            });
        }
        let timeout = self.activity.limits().body_timeout;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        if deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(self.fail(BodyFault::Late))));
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
///
/// It does not say that its last bytes were its last ones: hyper would drop it then, with all of them still in its buffer.
/// So it asks once more, and does that when less than `HEAD_BYTES_MAX` of them are left to write.
pub(super) struct Reply {
    inner: Body,
    begun: bool,
    activity: Arc<Activity>,
    /// The memory that it takes until the client has it.
    _held: Option<Held<Holder>>,
}

impl Reply {
    pub(super) fn new(inner: Body, activity: Arc<Activity>, held: Option<Held<Holder>>) -> Self {
        Self { inner, begun: false, activity, _held: held }
    }
}

impl HttpBody for Reply {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.begun = true;
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        !self.begun && self.inner.is_end_stream()
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
