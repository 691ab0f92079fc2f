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

/// A request's body, which must be complete within its time after the first wait for it.
pub(super) struct Timed {
    inner: Incoming,
    deadline: Option<Pin<Box<Sleep>>>,
    activity: Arc<Activity>,
}

impl Timed {
    pub(super) fn new(inner: Incoming, activity: Arc<Activity>) -> Self {
        Self { inner, deadline: None, activity }
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
            return Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)));
        }
        let timeout = self.activity.limits().body_timeout;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        if deadline.as_mut().poll(cx).is_ready() {
            self.activity.body_is_late();
            return Poll::Ready(Some(Err(BodyError::Late)));
        }
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
