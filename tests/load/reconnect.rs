//! A campus comes back: thousands of phones reconnect within seconds, each pushes what it kept and pulls what it missed.

use std::net::SocketAddr;
use std::time::Duration;

use muster_server::clock::Stopwatch;
use muster_sync_core::sync::message::Response;
use tokio::task::LocalSet;

use crate::Result;
use crate::figures::{percentile_ms, say};
use crate::page::pull_body;
use crate::process::Server;
use crate::storm::count_rows;
use muster_tests::campus::{Campus, capture};
use muster_tests::wire::{Connection, Reply, post_sync};

/// Captures that each phone made without a network.
const CAPTURES: usize = 5;
/// A phone that fails this often in a row has starved.
const TRIES_MAX: usize = 60;
/// A prime, to shuffle the phones the same way in every run.
const STRIDE: usize = 7_919;

/// What to run.
pub(crate) struct Options {
    pub(crate) phones: usize,
    pub(crate) seconds: usize,
}

/// What became of one phone.
struct Phone {
    receipts: usize,
    tries: usize,
    done_after: Duration,
    ack_after: Duration,
}

/// Runs it and prints the figures.
pub(crate) fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut campus = runtime.block_on(Campus::build(options.phones, CAPTURES))?;
    let base_rows = count_rows(&campus.data.copy()?)?;
    let (sessions, server_key, now_ms) = (campus.sessions.clone(), campus.server_key, campus.now_ms);
    let mut requests = Vec::with_capacity(options.phones);
    for student in &mut campus.students {
        let items: Result<Vec<_>> =
            sessions.iter().map(|session| capture(student, session, server_key, now_ms)).collect();
        let push = post_sync(student.token(), &student.phone.body(&items?, &Default::default(), true), "");
        requests.push((push, student.token().to_owned()));
    }
    let server = Server::start(&campus.data)?;
    let client = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (address, span) = (server.address, Duration::from_secs(options.seconds as u64));
    let n_phones = options.phones;
    let watch = Stopwatch::start();
    let phones: Vec<Phone> = client.block_on(LocalSet::new().run_until(async move {
        let mut phones = Vec::with_capacity(requests.len());
        for (index, (push, token)) in requests.into_iter().enumerate() {
            phones.push(tokio::task::spawn_local(async move {
                // Spread evenly over the span, in an order that has nothing to do with when they signed up.
                let place = (index * STRIDE % n_phones) as f64 / n_phones as f64;
                tokio::time::sleep(span.mul_f64(place)).await;
                phone(address, &push, &token).await.map_err(|error| error.to_string())
            }));
        }
        let mut done = Vec::with_capacity(phones.len());
        for phone in phones {
            done.push(phone.await??);
        }
        Ok::<_, Box<dyn std::error::Error>>(done)
    }))?;
    let elapsed_s = watch.elapsed().as_secs_f64();
    let (cpu_s, memory) = (server.cpu_s()?, server.memory()?);
    server.stop()?;
    let receipts: usize = phones.iter().map(|phone| phone.receipts).sum();
    let put_off: usize = phones.iter().map(|phone| phone.tries).sum();
    let mut acks: Vec<Duration> = phones.iter().map(|phone| phone.ack_after).collect();
    let mut done: Vec<Duration> = phones.iter().map(|phone| phone.done_after).collect();
    say(&format!(
        "{} phones came back within {} s; all had everything after {elapsed_s:.1} s",
        phones.len(),
        options.seconds
    ));
    for (name, latencies) in [("receipts", &mut acks), ("up to date", &mut done)] {
        say(&format!(
            "  {name:10} p50 {:.0} ms, p99 {:.0} ms, slowest phone {:.0} ms after it came back",
            percentile_ms(latencies, 50),
            percentile_ms(latencies, 99),
            percentile_ms(latencies, 100)
        ));
    }
    let rows = count_rows(&campus.data)? - base_rows;
    say(&format!(
        "  {receipts} receipts, {rows} new rows in the log (the rest are verdicts), {put_off} answers 503 or 429; server CPU \
         {cpu_s:.1} s, peak {} KiB",
        memory.peak_kib
    ));
    if receipts != phones.len() * CAPTURES || (rows as usize) < receipts {
        return Err("something is missing".into());
    }
    Ok(())
}

/// Pushes, then pulls until nothing is left; comes back when it is told to.
async fn phone(address: SocketAddr, push: &[u8], token: &str) -> Result<Phone> {
    let since = Stopwatch::start();
    let mut phone = Phone { receipts: 0, tries: 0, done_after: Duration::ZERO, ack_after: Duration::ZERO };
    let mut connection = Connection::open(address).await?;
    let reply = persist(&mut connection, address, push, &mut phone).await?;
    phone.ack_after = since.elapsed();
    let response = Response::decode(reply.body())?;
    phone.receipts = response.fates.iter().filter(|fate| fate.receipt.is_some()).count();
    let mut cursors: std::collections::HashMap<String, u64> =
        response.cursors.iter().map(|cursor| (cursor.channel.to_owned(), cursor.number)).collect();
    let mut more = response.more;
    while more {
        let request = post_sync(token, &pull_body(&cursors), "");
        let reply = persist(&mut connection, address, &request, &mut phone).await?;
        let response = Response::decode(reply.body())?;
        cursors = response.cursors.iter().map(|cursor| (cursor.channel.to_owned(), cursor.number)).collect();
        more = response.more;
    }
    phone.done_after = since.elapsed();
    Ok(phone)
}

async fn persist(connection: &mut Connection, address: SocketAddr, request: &[u8], phone: &mut Phone) -> Result<Reply> {
    for _ in 0..TRIES_MAX {
        match connection.send(request, Stopwatch::start()).await {
            Ok(reply) if reply.status == 200 => return Ok(reply),
            Ok(reply) if matches!(reply.status, 429 | 503) => {
                phone.tries += 1;
                let seconds = reply.retry_after_s().ok_or("put off without Retry-After")?;
                tokio::time::sleep(Duration::from_secs(seconds)).await;
            }
            Ok(reply) => return Err(format!("status {}", reply.status).into()),
            Err(_) => *connection = Connection::open(address).await?,
        }
    }
    Err("a phone starved".into())
}
