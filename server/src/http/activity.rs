//! What a connection is doing and since when, so that none is kept open for nothing.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::body::BodyFault;
use crate::limits::ConnectionLimits;

const HEAD: u8 = 0;
const SERVING: u8 = 1;
const IDLE: u8 = 2;
/// The handler waits for more of the request's body.
const BODY: u8 = 3;

/// Shared by a connection's socket, its requests and its watchdog. Requests touch it without locks or allocations.
pub(super) struct Activity {
    limits: ConnectionLimits,
    opened: Instant,
    phase: AtomicU8,
    since_ms: AtomicU64,
    /// When writing began to wait for the client, plus one; 0 when it does not wait.
    write_stalled_ms: AtomicU64,
    /// What was wrong with how the body came, as a [`BodyFault`]; 0 when nothing was.
    body_fault: AtomicU8,
    leaving: AtomicBool,
    asked_to_leave: Notify,
}

/// How little a connection that waits for its client would be missed: the kind of waiting, then since when.
pub(super) type Patience = (u8, Instant);

impl Activity {
    /// A new connection owes us a head.
    pub(super) fn new(limits: ConnectionLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            opened: Instant::now(),
            phase: AtomicU8::new(HEAD),
            since_ms: AtomicU64::new(0),
            write_stalled_ms: AtomicU64::new(0),
            body_fault: AtomicU8::new(0),
            leaving: AtomicBool::new(false),
            asked_to_leave: Notify::new(),
        })
    }

    pub(super) fn limits(&self) -> &ConnectionLimits {
        &self.limits
    }

    pub(super) fn serving(&self) {
        self.phase.store(SERVING, Ordering::Relaxed);
    }

    /// The reply has been written, or given up.
    pub(super) fn idle(&self) {
        self.since_ms.store(self.now_ms(), Ordering::Relaxed);
        self.phase.store(IDLE, Ordering::Relaxed);
        if self.is_leaving() {
            self.asked_to_leave.notify_one();
        }
    }

    fn received(&self) {
        if self.phase.load(Ordering::Relaxed) == IDLE {
            self.since_ms.store(self.now_ms(), Ordering::Relaxed);
            self.phase.store(HEAD, Ordering::Relaxed);
        }
    }

    fn write_waits(&self, waits: bool) {
        let stalled = self.write_stalled_ms.load(Ordering::Relaxed);
        if waits && stalled == 0 {
            self.write_stalled_ms.store(self.now_ms() + 1, Ordering::Relaxed);
        } else if !waits && stalled != 0 {
            self.write_stalled_ms.store(0, Ordering::Relaxed);
        }
    }

    /// Whether the handler waits for more of the body. Told only while a request is served.
    pub(super) fn body_waits(&self, waits: bool) {
        if waits {
            self.since_ms.store(self.now_ms(), Ordering::Relaxed);
        }
        let (from, to) = if waits { (SERVING, BODY) } else { (BODY, SERVING) };
        let _ = self.phase.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Notes what was wrong with the body; the first fault counts.
    pub(super) fn body_failed(&self, fault: BodyFault) {
        let _ = self.body_fault.compare_exchange(0, fault as u8, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(super) fn body_fault(&self) -> Option<BodyFault> {
        BodyFault::of(self.body_fault.load(Ordering::Relaxed))
    }

    /// `None` while a request is worked on, and when the connection was asked to go already.
    pub(super) fn patience(&self) -> Option<Patience> {
        if self.is_leaving() {
            return None;
        }
        let at = |since_ms: u64| self.opened + Duration::from_millis(since_ms);
        let since = at(self.since_ms.load(Ordering::Relaxed));
        match self.phase.load(Ordering::Relaxed) {
            IDLE => Some((0, since)),
            HEAD => Some((1, since)),
            BODY => Some((2, since)),
            _ => match self.write_stalled_ms.load(Ordering::Relaxed) {
                0 => None,
                stalled => Some((3, at(stalled - 1))),
            },
        }
    }

    /// Asks the connection to go: at once if it waits for its client, else after the reply that it works on.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
        self.asked_to_leave.notify_one();
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// Returns when the connection should be closed for others.
    pub(super) async fn left(&self) {
        loop {
            self.asked_to_leave.notified().await;
            if self.waits_for_client() {
                return;
            }
            // A request came just before: it is answered, and `idle` reminds us.
        }
    }

    fn waits_for_client(&self) -> bool {
        self.phase.load(Ordering::Relaxed) != SERVING || self.write_stalled_ms.load(Ordering::Relaxed) != 0
    }

    /// Whether the connection has used up its time.
    pub(super) fn expired(&self) -> bool {
        let now = self.now_ms();
        let over = |since: u64, limit: Duration| now.saturating_sub(since) > limit.as_millis() as u64;
        let stalled = self.write_stalled_ms.load(Ordering::Relaxed);
        if stalled != 0 && over(stalled - 1, self.limits.write_stall_timeout) {
            return true;
        }
        let since = self.since_ms.load(Ordering::Relaxed);
        match self.phase.load(Ordering::Relaxed) {
            HEAD => over(since, self.limits.head_timeout),
            IDLE => over(since, self.limits.idle_timeout),
            _ => false,
        }
    }

    fn now_ms(&self) -> u64 {
        self.opened.elapsed().as_millis() as u64
    }
}

/// A socket that reports to an `Activity`.
pub(super) struct Watched<S> {
    pub(super) socket: S,
    pub(super) activity: Arc<Activity>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.activity.received();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Watched<S> {
    fn noted<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.activity.write_waits(polled.is_pending());
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.noted(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.noted(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
