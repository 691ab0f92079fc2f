//! Thousands of sockets that say next to nothing, and what somebody who has something to say notices of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use muster_server::clock::Stopwatch;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Result;
use crate::figures::{percentile_ms, say};
use crate::page::pull_body;
use crate::process::Server;
use muster_tests::campus::Campus;
use muster_tests::wire::{Connection, post_sync};

/// Healthy clients, each with one connection.
const HEALTHY: usize = 8;
/// Pause of a healthy client between two exchanges.
const THINK: Duration = Duration::from_millis(20);
/// Pause of a slow client between two bytes.
const TRICKLE: Duration = Duration::from_secs(2);
/// Sockets opened before the next pause, so that the client's own connecting is not what is measured.
const OPENED_AT_ONCE: usize = 500;

/// What to run.
pub(crate) struct Options {
    pub(crate) sockets: usize,
    pub(crate) seconds: usize,
}

/// What the slow ones saw.
#[derive(Default)]
struct Seen {
    open: AtomicUsize,
    closed_by_server: AtomicU64,
}

/// Runs healthy traffic alone, then beside the slow sockets, and prints both.
pub(crate) fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let campus = runtime.block_on(Campus::build(HEALTHY, 1))?;
    let server = Server::start(&campus.data)?;
    let span = Duration::from_secs(options.seconds as u64);
    let requests: Vec<Vec<u8>> =
        campus.students.iter().map(|student| post_sync(student.token(), &pull_body(&Default::default()), "")).collect();
    let memory = server.memory()?;
    let alone = runtime.block_on(healthy(server.address, requests.clone(), span))?;
    report("alone", alone, memory.now_kib, 0);
    let seen = Arc::new(Seen::default());
    let beside = runtime.block_on(async {
        for index in 0..options.sockets {
            tokio::spawn(slow(server.address, index, Arc::clone(&seen)));
            if index % OPENED_AT_ONCE == 0 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        while seen.open.load(Ordering::Relaxed) < options.sockets * 9 / 10 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        healthy(server.address, requests, span).await
    })?;
    let open = seen.open.load(Ordering::Relaxed);
    report("beside slow sockets", beside, server.memory()?.now_kib, open);
    say(&format!(
        "closed by the server for being slow: {} in {} s and the time to open them; each came back at once",
        seen.closed_by_server.load(Ordering::Relaxed),
        options.seconds
    ));
    server.stop()
}

fn report(name: &str, mut latencies: Vec<Duration>, rss_kib: u64, open: usize) {
    let exchanges = latencies.len();
    let (p50, p99) = (percentile_ms(&mut latencies, 50), percentile_ms(&mut latencies, 99));
    let most = percentile_ms(&mut latencies, 100);
    say(&format!(
        "{name:20} {open:6} slow sockets open, {exchanges:6} exchanges, none failed: p50 {p50:.1} ms, p99 {p99:.1} ms, most \
         {most:.1} ms; server {rss_kib} KiB"
    ));
}

/// Exchanges of clients that behave; any failure ends the run.
async fn healthy(address: SocketAddr, requests: Vec<Vec<u8>>, span: Duration) -> Result<Vec<Duration>> {
    let mut clients = Vec::new();
    for request in requests {
        clients.push(tokio::spawn(async move {
            let watch = Stopwatch::start();
            let mut connection = Connection::open(address).await.map_err(|error| error.to_string())?;
            let mut latencies = Vec::new();
            while watch.elapsed() < span {
                let reply =
                    connection.exchange(&request, Stopwatch::start()).await.map_err(|error| error.to_string())?;
                latencies.push(reply.latency);
                tokio::time::sleep(THINK).await;
            }
            Ok::<_, String>(latencies)
        }));
    }
    let mut latencies = Vec::new();
    for client in clients {
        latencies.extend(client.await??);
    }
    Ok(latencies)
}

/// One slow socket of three kinds, for ever: a head that trickles, a body that trickles, and silence after a request.
async fn slow(address: SocketAddr, index: usize, seen: Arc<Seen>) {
    let (first, more): (&[u8], &[u8]) = match index % 3 {
        0 => (b"GET /health HTTP/1.1\r\nX-Slow: ", b"a"),
        1 => (
            b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9000\r\n\r\n",
            b" ",
        ),
        _ => (b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", b""),
    };
    loop {
        let Ok(mut socket) = TcpStream::connect(address).await else {
            tokio::time::sleep(TRICKLE).await;
            continue;
        };
        seen.open.fetch_add(1, Ordering::Relaxed);
        let mut buffer = [0; 1024];
        let mut alive = socket.write_all(first).await.is_ok();
        while alive {
            tokio::select! {
                read = socket.read(&mut buffer) => alive = matches!(read, Ok(1..)),
                () = tokio::time::sleep(TRICKLE) => alive = more.is_empty() || socket.write_all(more).await.is_ok(),
            }
        }
        seen.open.fetch_sub(1, Ordering::Relaxed);
        seen.closed_by_server.fetch_add(1, Ordering::Relaxed);
    }
}
