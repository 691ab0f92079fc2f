//! One hostile student, one guest and one address against 200 honest phones, with the limits that a server is shipped with.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use muster_server::clock::Stopwatch;
use muster_sync_core::evidence::{ImagePurpose, ImageRef, ImageType};
use muster_sync_core::sync::message::{FateKind, Response};
use muster_tests::campus::{Campus, capture, capture_with};
use muster_tests::wire::{Connection, post_sync};
use muster_tests::{Data, TestServer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::Result;
use crate::figures::{percentile_ms, say};
use crate::page::pull_body;
use crate::process::Server;
use crate::storm::database_bytes;

/// Phones that behave.
const PHONES: usize = 200;
/// Records of each of them in one measurement; half as many seconds.
const RECORDS: usize = 20;
/// Pause of a phone between two exchanges.
const THINK: Duration = Duration::from_millis(500);
/// Sockets of the student whose forms and uploads never end.
const SLOW_SOCKETS: usize = 300;
/// Connections of one address on which nothing happens.
const IDLE_SOCKETS: usize = 4_000;
/// Connections over which the student and the guest push what they can.
const FLOODS: usize = 8;
/// Changes that the hostile student signed beforehand, in requests of a hundred.
const FLOOD_REQUESTS: usize = 20;
/// Time for all hostile ones to have begun.
const SETTLED: Duration = Duration::from_secs(2);
/// How often the server is asked whether it rests, and the CPU time below which it does in between.
const REST_POLL: Duration = Duration::from_millis(500);
const REST_CPU_S: f64 = 0.02;
const REST_POLLS_MAX: usize = 240;
/// Added to the niceness of the hostile clients' threads. They have machines of their own: here they get what the server and
/// the honest phones leave of the cores, while the server's work for them weighs as much as any other.
const HOSTILE_NICENESS: i32 = 19;
/// Name of a measurement without anybody hostile.
const ALONE: &str = "alone";
/// The warm-up, one alone, and one after each that is beside hostile ones.
const MEASUREMENTS: usize = 2 + 2 * PHASES.len();
/// How much slower honest phones may be than alone, before and after it.
const SLOWER_MAX: f64 = 2.0;
/// Memory that the server may hold at most, in MiB.
const MEMORY_MIB_MAX: u64 = 512;
/// Bytes that the hostile ones may leave on disk in one measurement, in MiB.
const DISK_MIB_MAX: u64 = 64;

/// Who is hostile in a measurement. Each stands between two measurements of honest phones alone, because a database grows and a
/// disk has moods; before the first one the server warms up.
const PHASES: [(&str, &[Hostile]); 5] = [
    ("idle sockets", &[Hostile::Idle]),
    ("slow uploads", &[Hostile::Slow]),
    ("a student", &[Hostile::Student]),
    ("a guest", &[Hostile::Guest]),
    ("all of them", &[Hostile::Idle, Hostile::Slow, Hostile::Student, Hostile::Guest]),
];

#[derive(Clone, Copy)]
enum Hostile {
    Idle,
    Slow,
    Student,
    Guest,
}

/// Measures honest phones beside each of the hostile ones and beside all of them, and alone before and after; an error says
/// which bounds did not hold.
pub(crate) fn run() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut campus = runtime.block_on(Campus::build(PHONES + 1, MEASUREMENTS * RECORDS + 1))?;
    let guest = runtime.block_on(guest(&mut campus))?;
    let attack = Attack::prepare(&mut campus, guest)?;
    let records = (0..MEASUREMENTS).map(|n| records(&mut campus, n * RECORDS)).collect::<Result<Vec<_>>>()?;
    let server = Server::start_as_shipped(&campus.data)?;
    let hostile_runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_start(|| {
            // Lower is always allowed.
            let _ = rustix::process::nice(HOSTILE_NICENESS);
        })
        .build()?;
    let bench = Bench { runtime, hostile_runtime, attack, server, data: &campus.data };
    let mut records = records.into_iter();
    let mut measure = |name, hostile| bench.measure(name, hostile, records.next().unwrap_or_default());
    say(
        "                 exchanges       p50       p99   of alone   server CPU   memory, most   told to stop   on disk",
    );
    measure("(warm-up)", &[])?.say(None);
    let mut before = measure(ALONE, &[])?;
    before.say(None);
    let mut broken = Vec::new();
    let mut told = 0;
    for (name, hostile) in PHASES {
        let beside = measure(name, hostile)?;
        let after = measure(ALONE, &[])?;
        let slower = beside.p99 / f64::midpoint(before.p99, after.p99);
        beside.say(Some(slower));
        after.say(None);
        if slower > SLOWER_MAX {
            broken.push(format!("beside {name}, p99 is {slower:.1} times what it is alone"));
        }
        if beside.disk_mib.saturating_sub(before.disk_mib.min(after.disk_mib)) > DISK_MIB_MAX {
            broken.push(format!("beside {name}, the database grew by {} MiB", beside.disk_mib));
        }
        (before, told) = (after, told + beside.told);
    }
    if before.memory_mib > MEMORY_MIB_MAX {
        broken.push(format!("the server held {} MiB", before.memory_mib));
    }
    if told == 0 {
        broken.push("nobody was told to stop, so nobody was hostile".to_owned());
    }
    bench.server.stop()?;
    if broken.is_empty() { Ok(()) } else { Err(broken.join("; ").into()) }
}

/// A server with those who use it and those who misuse it.
struct Bench<'a> {
    runtime: Runtime,
    hostile_runtime: Runtime,
    attack: Attack,
    server: Server,
    data: &'a Data,
}

impl Bench<'_> {
    fn measure(&self, name: &'static str, hostile: &[Hostile], records: Vec<Vec<Vec<u8>>>) -> Result<Measured> {
        rest(&self.server)?;
        let told = Arc::new(AtomicU64::new(0));
        let disk = database_bytes(self.data);
        let mut attackers = self.hostile_runtime.block_on(async {
            let attackers = self.attack.begin(hostile, self.server.address, &told);
            tokio::time::sleep(SETTLED).await;
            attackers
        });
        let cpu_s = self.server.cpu_s()?;
        let mut latencies = self.runtime.block_on(phones(self.server.address, records))?;
        let cpu_s = self.server.cpu_s()? - cpu_s;
        self.hostile_runtime.block_on(attackers.shutdown());
        Ok(Measured {
            name,
            exchanges: latencies.len(),
            p50: percentile_ms(&mut latencies, 50),
            p99: percentile_ms(&mut latencies, 99),
            cpu_s,
            memory_mib: self.server.memory()?.peak_kib / 1024,
            told: told.load(Ordering::Relaxed),
            disk_mib: database_bytes(self.data).saturating_sub(disk) / (1024 * 1024),
        })
    }
}

/// Waits until the server has nothing left to do of what came before.
fn rest(server: &Server) -> Result<()> {
    let mut before = server.cpu_s()?;
    for _ in 0..REST_POLLS_MAX {
        std::thread::sleep(REST_POLL);
        let now = server.cpu_s()?;
        if now - before < REST_CPU_S {
            return Ok(());
        }
        before = now;
    }
    Err("the server does not come to rest".into())
}

/// What a measurement came to; times in milliseconds.
struct Measured {
    name: &'static str,
    exchanges: usize,
    p50: f64,
    p99: f64,
    cpu_s: f64,
    memory_mib: u64,
    told: u64,
    disk_mib: u64,
}

impl Measured {
    fn say(&self, slower: Option<f64>) {
        let Self { name, exchanges, p50, p99, cpu_s, memory_mib, told, disk_mib } = self;
        let slower = slower.map(|slower| format!("{slower:.1}")).unwrap_or_default();
        say(&format!(
            "{name:16} {exchanges:9} {p50:6.1} ms {p99:6.1} ms {slower:>10} {cpu_s:10.1} s {memory_mib:10} MiB {told:14} {disk_mib:5} MiB"
        ));
    }
}

/// The token of somebody who may do next to nothing.
async fn guest(campus: &mut Campus) -> Result<String> {
    let data = std::mem::replace(&mut campus.data, Data::new(tempfile::tempdir()?, None));
    let server = TestServer::builder().data(data).option("--access-token-expire-minutes", "60").start().await;
    let token = server.client("guest").await.token().ok_or("a guest without a token")?.to_owned();
    campus.data = server.stop().await;
    Ok(token)
}

/// For each phone, a push for each of some class sessions.
fn records(campus: &mut Campus, first: usize) -> Result<Vec<Vec<Vec<u8>>>> {
    let (server, now_ms) = (campus.server_key, campus.now_ms);
    let sessions: Vec<_> = campus.sessions[first..first + RECORDS].to_vec();
    let mut phones = Vec::new();
    for student in campus.students.iter_mut().take(PHONES) {
        let mut requests = Vec::new();
        for session in &sessions {
            let item = capture(student, session, server, now_ms)?;
            requests.push(post_sync(student.token(), &student.phone.body(&[item], &HashMap::new(), false), ""));
        }
        phones.push(requests);
    }
    Ok(phones)
}

/// Lets every phone push its records and ask for news; all must be accepted.
async fn phones(address: SocketAddr, records: Vec<Vec<Vec<u8>>>) -> Result<Vec<Duration>> {
    let mut phones = JoinSet::new();
    for (index, requests) in records.into_iter().enumerate() {
        phones.spawn(async move {
            tokio::time::sleep(THINK * index as u32 / PHONES as u32).await;
            let mut connection = Connection::open(address).await.map_err(|error| error.to_string())?;
            let mut latencies = Vec::new();
            for request in requests {
                let reply = connection.exchange(&request, Stopwatch::start()).await;
                let reply = reply.map_err(|error| format!("an honest phone was not served: {error}"))?;
                let fates = Response::decode(reply.body()).map_err(|error| error.to_string())?.fates;
                if fates.iter().any(|fate| fate.kind != FateKind::Accepted) {
                    return Err(format!("an honest record was not accepted: {fates:?}"));
                }
                latencies.push(reply.latency);
                tokio::time::sleep(THINK).await;
            }
            Ok(latencies)
        });
    }
    let mut latencies = Vec::new();
    while let Some(phone) = phones.join_next().await {
        latencies.extend(phone??);
    }
    Ok(latencies)
}

/// What the hostile ones send.
struct Attack {
    floods: Vec<Vec<u8>>,
    junk: Vec<u8>,
    slow: Vec<Vec<u8>>,
}

impl Attack {
    fn prepare(campus: &mut Campus, guest: String) -> Result<Self> {
        let (server, now_ms) = (campus.server_key, campus.now_ms);
        let session = *campus.sessions.last().ok_or("no class session")?;
        let student = campus.students.last_mut().ok_or("no student")?;
        let (mut floods, mut slow) = (Vec::new(), Vec::new());
        for request in 0..FLOOD_REQUESTS {
            let mut items = Vec::new();
            for number in 0..100_u32 {
                let mut sha256 = [0; 32];
                sha256[..4].copy_from_slice(&(request as u32 * 100 + number).to_be_bytes());
                let size_bytes = 5 * 1024 * 1024;
                let image = ImageRef { purpose: ImagePurpose::Selfie, sha256, size_bytes, image_type: ImageType::Jpeg };
                items.push(capture_with(student, &session, image, server, now_ms)?);
                if slow.len() < SLOW_SOCKETS / 2 {
                    slow.push(upload(student.token(), &sha256, size_bytes as usize));
                    slow.push(form(student.token()));
                }
            }
            let pull = HashMap::new();
            floods.push(post_sync(student.token(), &student.phone.body(&items, &pull, false), ""));
        }
        Ok(Self { floods, junk: post_sync(&guest, &pull_body(&HashMap::new()), ""), slow })
    }

    fn begin(&self, hostile: &[Hostile], address: SocketAddr, told: &Arc<AtomicU64>) -> JoinSet<()> {
        let mut attackers = JoinSet::new();
        for hostile in hostile {
            match hostile {
                Hostile::Idle => (0..IDLE_SOCKETS).for_each(|_| {
                    let request = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
                    attackers.spawn(hold(address, request, Arc::clone(told)));
                }),
                Hostile::Slow => self.slow.iter().for_each(|request| {
                    attackers.spawn(hold(address, request.clone(), Arc::clone(told)));
                }),
                Hostile::Student => (0..FLOODS).for_each(|_| {
                    attackers.spawn(flood(address, self.floods.clone(), Arc::clone(told)));
                }),
                Hostile::Guest => (0..FLOODS).for_each(|_| {
                    attackers.spawn(flood(address, vec![self.junk.clone()], Arc::clone(told)));
                }),
            }
        }
        attackers
    }
}

/// An upload that lacks its end.
fn upload(token: &str, sha256: &[u8; 32], size_bytes: usize) -> Vec<u8> {
    let name = data_encoding::HEXLOWER.encode(sha256);
    let head = format!(
        "PUT /api/v1/blobs/{name} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/octet-stream\r\nContent-Length: {size_bytes}\r\n\r\n"
    );
    let mut request = head.into_bytes();
    request.resize(request.len() + size_bytes / 2, 0);
    request
}

/// A form that lacks its end.
fn form(token: &str) -> Vec<u8> {
    format!(
        "POST /api/v1/students/attendance HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 5000000\r\n\r\n--b\r\n"
    )
    .into_bytes()
}

/// Sends as fast as it is answered, for ever.
async fn flood(address: SocketAddr, requests: Vec<Vec<u8>>, told: Arc<AtomicU64>) {
    loop {
        let Ok(mut connection) = Connection::open(address).await else { continue };
        for request in &requests {
            if connection.exchange(request, Stopwatch::start()).await.is_err() {
                told.fetch_add(1, Ordering::Relaxed);
                // Answers that are no success end the exchange of this client; a hostile one comes back soon.
                tokio::time::sleep(Duration::from_millis(10)).await;
                break;
            }
        }
    }
}

/// Sends once from an address of its own, reads what it is told, and comes back when it is sent away.
async fn hold(address: SocketAddr, request: Vec<u8>, told: Arc<AtomicU64>) {
    let own = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9)), 0);
    loop {
        let socket = TcpSocket::new_v4().and_then(|socket| socket.bind(own).map(|()| socket));
        let Ok(socket) = socket else { return };
        if let Ok(mut stream) = socket.connect(address).await {
            let _ = stream.write_all(&request).await;
            let mut answer = [0; 512];
            while let Ok(1..) = stream.read(&mut answer).await {
                if answer.starts_with(b"HTTP/1.1 4") || answer.starts_with(b"HTTP/1.1 5") {
                    told.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
