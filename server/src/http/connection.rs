//! Accepts connections, holds each to its time limits, and lets requests in flight finish at the end.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio::task::JoinSet;

use super::activity::{Activity, Watched};
use super::client_ip::ClientNetworks;
use super::crowd::{Crowd, Guest};
use super::gate::{Counted, Gate};
use crate::app::App;
use crate::error::AppError;
use crate::limits;

/// Pause after the system refuses to hand out a connection, for example for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Opens the listening socket.
pub async fn listen(host: &str, port: u16) -> io::Result<TcpListener> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
    for address in lookup_host((host, port)).await? {
        match bind(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(limits::LISTEN_BACKLOG)
}

/// Serves until the app stops, then waits for requests in flight, at most `limits::SHUTDOWN_GRACE`. No connection is
/// left when this returns.
pub async fn serve(app: App, listener: TcpListener, router: Router) {
    let limits = app.connection_limits;
    let gate = Arc::new(Gate::new(app.clone(), router));
    let graceful = GracefulShutdown::new();
    let crowd = Crowd::new(&limits, app.slice::<ClientNetworks>().cloned().unwrap_or_default());
    let mut refused = Refused::default();
    let mut open = JoinSet::new();
    let mut stopped = pin!(app.stopped());
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stopped => break,
            Some(_) = open.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => {
                let activity = Activity::new(limits);
                match crowd.enter(peer, &activity) {
                    Ok(guest) => {
                        let (gate, watcher, counted) = (Arc::clone(&gate), graceful.watcher(), app.clone());
                        open.spawn(async move {
                            let _counted = Counted::one_more(&counted.metrics.connections);
                            connection(gate, socket, peer, activity, watcher, guest).await;
                        });
                    }
                    Err(crowded) => refused.tell(socket, &crowded.error()),
                }
            }
            Err(error) => {
                tracing::warn!(%error, "Could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(limits::SHUTDOWN_GRACE, graceful.shutdown()).await.is_err() {
        while open.try_join_next().is_some() {}
        tracing::warn!(connections = open.len(), "Some requests did not finish in time and are given up");
    }
    open.shutdown().await;
}

/// Sockets of those who were refused. Each is kept until some more are: one that is closed before its client has sent
/// everything takes the answer with it.
#[derive(Default)]
struct Refused(VecDeque<std::net::TcpStream>);

impl Refused {
    fn tell(&mut self, socket: TcpStream, error: &AppError) {
        // One try without waiting: a client that cannot take it is no worse off than with a closed connection.
        let _ = socket.try_write(&last_words(error));
        let Ok(socket) = socket.into_std() else { return };
        let _ = socket.shutdown(std::net::Shutdown::Write);
        self.0.push_back(socket);
        if self.0.len() > limits::REFUSED_KEPT_MAX {
            self.0.pop_front();
        }
    }
}

/// A whole answer for whoever gets no connection.
fn last_words(error: &AppError) -> Vec<u8> {
    let (status, body) = (error.status(), error.envelope("-"));
    let reason = status.canonical_reason().unwrap_or_default();
    let (code, length, retry_after_s) = (status.as_u16(), body.len(), error.retry_after_s().unwrap_or_default());
    let head = format!(
        "HTTP/1.1 {code} {reason}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Retry-After: {retry_after_s}\r\nConnection: close\r\n\r\n"
    );
    [head.into_bytes(), body].concat()
}

async fn connection(
    gate: Arc<Gate>,
    socket: TcpStream,
    peer: SocketAddr,
    activity: Arc<Activity>,
    watcher: Watcher,
    _guest: Guest,
) {
    // Replies are small and complete: waiting to fill a packet only delays them.
    let _ = socket.set_nodelay(true);
    let check_every = activity.limits().check_every;
    let service = {
        let activity = Arc::clone(&activity);
        service_fn(move |request| {
            let (gate, activity) = (Arc::clone(&gate), Arc::clone(&activity));
            async move { Ok::<_, Infallible>(gate.handle(peer, activity, request).await) }
        })
    };
    let io = TokioIo::new(Watched { socket, activity: Arc::clone(&activity) });
    let served = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(limits::HEAD_BYTES_MAX)
        .max_headers(limits::HEADERS_MAX)
        .serve_connection(io, service);
    let mut served = pin!(watcher.watch(served));
    let mut check = pin!(tokio::time::sleep(check_every));
    loop {
        tokio::select! {
            biased;
            result = &mut served => {
                if let Err(error) = result {
                    tracing::debug!(%error, "A connection ended early");
                }
                return;
            }
            () = activity.left() => return,
            () = &mut check => {
                if activity.expired() {
                    return;
                }
                check.as_mut().reset(tokio::time::Instant::now() + check_every);
            }
        }
    }
}
