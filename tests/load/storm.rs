//! The reconnect storm: every phone of a campus comes back at once, with 20 records per push and then with one.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use muster_server::clock::Stopwatch;
use muster_server::db::{DbError, Tx};
use muster_server::params;
use muster_sync_core::sync::message::Response;
use muster_sync_core::{ChangeHash, DeviceKey, DocumentId};
use muster_tests::phone::{Item, TENANT};
use muster_tests::{Data, TestServer};
use tokio::task::LocalSet;

use crate::Result;
use crate::figures::{median, percentile_ms, say};
use crate::floor::{self, Floor};
use crate::process::Server;
use muster_tests::campus::{Campus, Student, capture};
use muster_tests::wire::{Connection, Reply, post_sync};

/// Records that each phone pushes in each phase.
const RECORDS_PER_PHONE: usize = 20;
/// Connections of the phase with one record per request.
const CONNECTIONS: usize = 256;
/// One receipt in this many is verified after each phase.
const RECEIPT_SAMPLE: usize = 16;

/// How often it is asked whether everything is judged, and how often at most: ten minutes.
const JUDGED_POLL: Duration = Duration::from_millis(20);
const JUDGED_POLLS_MAX: usize = 30_000;

/// What to run.
pub(crate) struct Options {
    pub(crate) rounds: usize,
    pub(crate) students: usize,
    pub(crate) pull: bool,
}

/// A request, and what must come back for it.
pub(crate) struct Prepared {
    request: Vec<u8>,
    expected: Vec<(DocumentId, ChangeHash)>,
}

/// The requests of one phase, and the same records for the floor.
struct Phase {
    requests: Vec<Prepared>,
    calls: Vec<floor::Call>,
}

/// What one phase gave.
pub(crate) struct Measured {
    pub(crate) records_per_s: f64,
    /// The same until no job was due any more: until the last verdict of those that need not wait for a picture.
    judged_per_s: f64,
    latencies: Vec<Duration>,
    pub(crate) cpu_s_per_1000: f64,
    up_bytes: f64,
    down_bytes: f64,
    rss_kib: u64,
    floor: Floor,
}

/// Runs the storm and prints its figures.
pub(crate) fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let n_sessions = options.rounds * 2 * RECORDS_PER_PHONE;
    let mut campus = runtime.block_on(Campus::build(options.students, n_sessions))?;
    say(&format!(
        "{} students with bound devices, {n_sessions} class sessions; each record: its own document, a manifest with \
         position, clocks and one image that is never uploaded; default settings, log to a file",
        options.students
    ));
    let base_bytes = database_bytes(&campus.data);
    let base_rows = count_rows(&campus.data.copy()?)?;
    let (data, floor_data) = (campus.data.copy()?, campus.data.copy()?);
    let server = Server::start(&data)?;
    let floor = runtime.block_on(TestServer::builder().data(floor_data).start());
    let started_kib = server.memory()?.now_kib;
    let (mut batched, mut single) = (Vec::new(), Vec::new());
    for round in 0..options.rounds {
        for (per_request, at_once, results) in
            [(RECORDS_PER_PHONE, options.students, &mut batched), (1, CONNECTIONS, &mut single)]
        {
            let first = (round * 2 + usize::from(per_request == 1)) * RECORDS_PER_PHONE;
            let phase = prepare(&mut campus, first, per_request, options.pull)?;
            let measured = measure(&server, campus.server_key, phase.requests, at_once)?;
            let floor = runtime.block_on(floor::run(floor.app(), phase.calls, at_once))?;
            results.push(Measured { floor, ..measured });
        }
    }
    let memory = server.memory()?;
    report("20 per push", &mut batched);
    report("1 per request", &mut single);
    let records = options.rounds * 2 * options.students * RECORDS_PER_PHONE;
    server.stop()?;
    let rows = count_rows(&data)? - base_rows;
    let disk_bytes = database_bytes(&data) - base_bytes;
    say(&format!("acks {records}, rows in the log {rows} (the rest are the server's verdicts)"));
    say(&format!("disk: {:.0} B per record after the checkpoint", disk_bytes as f64 / records as f64));
    // The first round warms up caches and the allocator; growth is what every later record adds.
    let warm_kib = single.first().map_or(0, |measured| measured.rss_kib);
    let last_kib = single.last().map_or(0, |measured| measured.rss_kib);
    let later_records = (options.rounds - 1).max(1) * 2 * options.students * RECORDS_PER_PHONE;
    let growth_bytes = (last_kib as f64 - warm_kib as f64) * 1024.0 / later_records as f64;
    say(&format!(
        "memory: {started_kib} KiB at start, {warm_kib} after round 1, {last_kib} after round {}, peak {}; growth after \
         round 1: {growth_bytes:.0} B per record",
        options.rounds, memory.peak_kib
    ));
    if (rows as usize) < records {
        return Err("the log holds fewer records than were acknowledged".into());
    }
    Ok(())
}

fn prepare(campus: &mut Campus, first: usize, per_request: usize, pull: bool) -> Result<Phase> {
    let sessions = campus.sessions[first..first + RECORDS_PER_PHONE].to_vec();
    let (server, now_ms) = (campus.server_key, campus.now_ms);
    let mut phase = Phase { requests: Vec::new(), calls: Vec::new() };
    for sessions in sessions.chunks(per_request) {
        for student in &mut campus.students {
            let items: Result<Vec<Item>> =
                sessions.iter().map(|session| capture(student, session, server, now_ms)).collect();
            let items = items?;
            phase.requests.push(request(student, &items, pull));
            phase.calls.push((student.user, items.iter().map(floor::incoming).collect()));
        }
    }
    Ok(phase)
}

/// One request of every student with a record in each of these class sessions.
pub(crate) fn prepare_for(campus: &mut Campus, sessions: std::ops::Range<usize>) -> Result<Vec<Prepared>> {
    let sessions = campus.sessions[sessions].to_vec();
    let (server, now_ms) = (campus.server_key, campus.now_ms);
    let mut requests = Vec::with_capacity(campus.students.len());
    for student in &mut campus.students {
        let items: Result<Vec<Item>> =
            sessions.iter().map(|session| capture(student, session, server, now_ms)).collect();
        requests.push(request(student, &items?, false));
    }
    Ok(requests)
}

fn request(student: &Student, items: &[Item], pull: bool) -> Prepared {
    let body = student.phone.body(items, &Default::default(), pull);
    let expected = items.iter().map(|item| (item.name.id(TENANT), change_hash(&item.signed.bytes))).collect();
    Prepared { request: post_sync(student.token(), &body, ""), expected }
}

fn change_hash(bytes: &[u8]) -> ChangeHash {
    muster_sync_core::change::inspect(bytes).expect("what was authored here is well-formed").hash
}

/// Sends everything from one thread, `at_once` connections at a time, opened within the measured time.
pub(crate) fn measure(server: &Server, key: DeviceKey, requests: Vec<Prepared>, at_once: usize) -> Result<Measured> {
    let client = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let records: usize = requests.iter().map(|prepared| prepared.expected.len()).sum();
    let up_bytes: usize = requests.iter().map(|prepared| prepared.request.len()).sum();
    let cpu_before = server.cpu_s()?;
    let watch = Stopwatch::start();
    let replies = client.block_on(LocalSet::new().run_until(storm(server.address, requests, at_once)))?;
    let elapsed_s = watch.elapsed().as_secs_f64();
    client.block_on(until_judged(server.address))?;
    let judged_s = watch.elapsed().as_secs_f64();
    let cpu_s = server.cpu_s()? - cpu_before;
    check(&replies, key)?;
    Ok(Measured {
        records_per_s: records as f64 / elapsed_s,
        judged_per_s: records as f64 / judged_s,
        latencies: replies.iter().map(|(_, reply)| reply.latency).collect(),
        cpu_s_per_1000: cpu_s * 1000.0 / records as f64,
        up_bytes: up_bytes as f64 / records as f64,
        down_bytes: replies.iter().map(|(_, reply)| reply.size_bytes()).sum::<usize>() as f64 / records as f64,
        rss_kib: server.memory()?.now_kib,
        floor: Floor { records_per_s: 0.0, cpu_s_per_1000: 0.0 },
    })
}

/// Waits until no job is due or running: what was acknowledged is judged then.
async fn until_judged(address: SocketAddr) -> Result<()> {
    let http = muster_tests::http::client().build()?;
    for _ in 0..JUDGED_POLLS_MAX {
        let health = http.get(format!("http://{address}/health/full")).send().await?;
        let health: serde_json::Value = serde_json::from_slice(&health.bytes().await?)?;
        let tasks = &health["components"]["background_tasks"];
        match (tasks["pending"].as_u64(), tasks["dead"].as_u64()) {
            (Some(0), Some(0)) => return Ok(()),
            (Some(_), Some(0)) => tokio::time::sleep(JUDGED_POLL).await,
            _ => return Err(format!("the server does not judge: {tasks}").into()),
        }
    }
    Err("the last verdict never came".into())
}

async fn storm(address: SocketAddr, requests: Vec<Prepared>, at_once: usize) -> Result<Vec<(Prepared, Reply)>> {
    let replies = Rc::new(RefCell::new(Vec::with_capacity(requests.len())));
    let requests = Rc::new(RefCell::new(VecDeque::from(requests)));
    let mut workers = Vec::with_capacity(at_once);
    for _ in 0..at_once {
        let (requests, replies) = (Rc::clone(&requests), Rc::clone(&replies));
        workers.push(tokio::task::spawn_local(async move {
            let mut since = Stopwatch::start();
            let mut connection = Connection::open(address).await.map_err(|error| error.to_string())?;
            loop {
                let next = requests.borrow_mut().pop_front();
                let Some(prepared) = next else { return Ok::<_, String>(()) };
                let reply = connection.exchange(&prepared.request, since).await.map_err(|error| error.to_string())?;
                replies.borrow_mut().push((prepared, reply));
                since = Stopwatch::start();
            }
        }));
    }
    for worker in workers {
        worker.await??;
    }
    Ok(replies.take())
}

/// Every record was accepted; of the receipts, a sample is verified.
fn check(replies: &[(Prepared, Reply)], key: DeviceKey) -> Result<()> {
    for (index, (prepared, reply)) in replies.iter().enumerate() {
        let response = Response::decode(reply.body())?;
        if response.fates.len() != prepared.expected.len() {
            return Err("a reply without a fate for every push".into());
        }
        for (fate, (document, hash)) in response.fates.iter().zip(&prepared.expected) {
            let receipt = fate.receipt.as_ref().ok_or_else(|| format!("not accepted: {fate:?}"))?;
            if index % RECEIPT_SAMPLE == 0 {
                receipt.verify(&key, *document, *hash)?;
            }
        }
    }
    Ok(())
}

fn report(name: &str, phases: &mut [Measured]) {
    let mut latencies: Vec<Duration> = phases.iter().flat_map(|phase| phase.latencies.iter().copied()).collect();
    let over = |value: fn(&Measured) -> f64| median(phases.iter().map(value));
    let judged = over(|phase| phase.judged_per_s);
    let rate = over(|phase| phase.records_per_s);
    let floor = over(|phase| phase.floor.records_per_s);
    let ratio = over(|phase| phase.records_per_s / phase.floor.records_per_s);
    let best = phases.iter().map(|phase| phase.records_per_s).fold(0.0, f64::max);
    say(&format!("\n{name} (medians of {} rounds)", phases.len()));
    say(&format!(
        "  over HTTP    {rate:7.0} records/s (best {best:.0})   server CPU {:.3} s per 1,000",
        over(|phase| phase.cpu_s_per_1000)
    ));
    say(&format!(
        "  floor        {floor:7.0} records/s              CPU {:.3} s per 1,000",
        over(|phase| phase.floor.cpu_s_per_1000)
    ));
    say(&format!("  ratio        {ratio:7.2}"));
    say(&format!("  judged       {judged:7.0} records/s, until the last verdict; the CPU above holds that work, too"));
    let (p50, p95) = (percentile_ms(&mut latencies, 50), percentile_ms(&mut latencies, 95));
    say(&format!("  durable ack  p50 {p50:.0} ms, p95 {p95:.0} ms, p99 {:.0} ms", percentile_ms(&mut latencies, 99)));
    say(&format!(
        "  wire         {:.0} B up, {:.0} B down per record, with HTTP headers",
        over(|phase| phase.up_bytes),
        over(|phase| phase.down_bytes)
    ));
}

/// The database file and its log, or what PostgreSQL says.
pub(crate) fn database_bytes(data: &Data) -> u64 {
    if let Some(database) = data.database() {
        return database.size_bytes();
    }
    ["muster.db", "muster.db-wal"]
        .iter()
        .filter_map(|name| data.path().join(name).metadata().ok())
        .map(|file| file.len())
        .sum()
}

/// Rows in the change log of a stopped server.
pub(crate) fn count_rows(data: &Data) -> Result<i64> {
    let db = data.open();
    let counted: std::result::Result<Option<i64>, DbError> =
        db.read_blocking(|tx: &Tx<'_>| tx.query_one("SELECT count(*) FROM change_log", params![], |row| row.get(0)));
    db.close();
    Ok(counted?.unwrap_or(0))
}
