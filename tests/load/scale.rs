//! What a log costs as it grows: start, append, pull, memory and disk from ten thousand to a million changes.

use std::collections::HashMap;
use std::time::Duration;

use muster_server::clock::Stopwatch;
use muster_server::ids::TenantId;
use muster_server::sync::{Incoming, Outcome, Sender, admit};
use muster_sync_core::sync::message::Response;
use muster_tests::{Data, TestServer};
use tokio::task::JoinSet;

use crate::Result;
use crate::figures::{median, percentile_ms, say};
use crate::floor::incoming;
use crate::page::pull_body;
use crate::process::Server;
use crate::storm::{database_bytes, measure, prepare_for};
use muster_tests::campus::{Campus, Session, capture};
use muster_tests::wire::{Connection, post_sync};

/// Students of the tenant. Every student has one document in every class session.
const STUDENTS: usize = 1_000;
/// Changes of a document.
const CHANGES_PER_DOCUMENT: usize = 10;
/// Class sessions that each step appends to, for its figure.
const MEASURED_SESSIONS: usize = 4;
/// Calls of the admission at once while the log is filled.
const FILL_AT_ONCE: usize = 64;
/// Pages that are pulled from the end of the log, for its figure.
const PAGES: usize = 20;

/// Fills a log up to `changes_max` and prints a line for every power of ten from 10,000.
pub(crate) fn run(changes_max: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let steps: Vec<usize> =
        [10_000, 100_000, 1_000_000, 10_000_000].into_iter().filter(|step| *step <= changes_max).collect();
    let n_fill = changes_max / (STUDENTS * CHANGES_PER_DOCUMENT);
    let n_sessions = n_fill + steps.len() * MEASURED_SESSIONS;
    let mut campus = runtime.block_on(Campus::build(STUDENTS, n_sessions))?;
    say(&format!(
        "{STUDENTS} students, {n_fill} class sessions, {} documents of {CHANGES_PER_DOCUMENT} changes each",
        STUDENTS * n_fill
    ));
    let mut filled = 0;
    for (step, changes) in steps.iter().enumerate() {
        let until = changes / (STUDENTS * CHANGES_PER_DOCUMENT);
        let fill_per_s = runtime.block_on(fill(&mut campus, filled..until))?;
        filled = until;
        let first = n_fill + step * MEASURED_SESSIONS;
        look(&runtime, &mut campus, *changes, first, fill_per_s)?;
    }
    verify(&campus)
}

/// Admits every student's changes for these class sessions, in this process; records per second.
async fn fill(campus: &mut Campus, sessions: std::ops::Range<usize>) -> Result<f64> {
    let data = std::mem::replace(&mut campus.data, Data::new(tempfile::tempdir()?, None));
    let server = TestServer::builder().data(data).start().await;
    let watch = Stopwatch::start();
    let records = sessions.len() * STUDENTS * CHANGES_PER_DOCUMENT;
    for session in sessions {
        let session = campus.sessions[session];
        let mut calls = JoinSet::new();
        for index in 0..campus.students.len() {
            let call = captures(campus, index, &session)?;
            let (app, sender) = (server.app().clone(), call.0);
            calls.spawn(async move { admit(&app, sender, call.1).await.map_err(|error| error.to_string()) });
            if calls.len() >= FILL_AT_ONCE {
                accepted(calls.join_next().await.ok_or("a call")??)?;
            }
        }
        while let Some(outcomes) = calls.join_next().await {
            accepted(outcomes?)?;
        }
    }
    let per_s = records as f64 / watch.elapsed().as_secs_f64();
    campus.data = server.stop().await;
    Ok(per_s)
}

fn captures(campus: &mut Campus, index: usize, session: &Session) -> Result<(Sender, Vec<Incoming>)> {
    let (server, now_ms) = (campus.server_key, campus.now_ms);
    let student = &mut campus.students[index];
    let sender = Sender { tenant: TenantId::default_tenant(), user: student.user };
    let items: Result<Vec<Incoming>> = (0..CHANGES_PER_DOCUMENT)
        .map(|again| Ok(incoming(&capture(student, session, server, now_ms + again as i64)?)))
        .collect();
    Ok((sender, items?))
}

fn accepted(outcomes: std::result::Result<Vec<Outcome>, String>) -> Result<()> {
    match outcomes?.into_iter().find(|outcome| !matches!(outcome, Outcome::Accepted { .. })) {
        None => Ok(()),
        Some(other) => Err(format!("not accepted: {other:?}").into()),
    }
}

/// Starts a real server over what is there, and measures it.
fn look(
    runtime: &tokio::runtime::Runtime,
    campus: &mut Campus,
    changes: usize,
    first_session: usize,
    fill_per_s: f64,
) -> Result<()> {
    let disk = database_bytes(&campus.data);
    let server = Server::start(&campus.data)?;
    let (start, at_start_kib) = (server.listening_after(), server.memory()?.now_kib);
    let requests = prepare_for(campus, first_session..first_session + MEASURED_SESSIONS)?;
    let measured = measure(&server, campus.server_key, requests, 200)?;
    let lecturer = campus.lecturer.token().ok_or("no token")?.to_owned();
    let student = campus.students[0].token().to_owned();
    let (first_ms, last_ms) = runtime.block_on(pages(server.address, &lecturer))?;
    let (student_ms, _) = runtime.block_on(pages(server.address, &student))?;
    say(&format!(
        "{changes:8} changes: listening after {start:.0?}, {at_start_kib} KiB; append {:.0}/s over HTTP (filled at \
         {fill_per_s:.0}/s), CPU {:.3} s per 1,000; page of a lecturer {first_ms:.1} ms, of the newest {last_ms:.1} ms, of a \
         student {student_ms:.1} ms; afterwards {} KiB, peak {}; {:.0} B of database per change",
        measured.records_per_s,
        measured.cpu_s_per_1000,
        server.memory()?.now_kib,
        server.memory()?.peak_kib,
        disk as f64 / changes as f64
    ));
    server.stop()
}

/// Median milliseconds of a page from the beginning, and of one near the end of what the caller may read.
async fn pages(address: std::net::SocketAddr, token: &str) -> Result<(f64, f64)> {
    let mut connection = Connection::open(address).await?;
    let first = pull_often(&mut connection, token, &HashMap::new()).await?;
    let reply = connection.exchange(&post_sync(token, &pull_body(&HashMap::new()), ""), Stopwatch::start()).await?;
    let channels: Vec<String> =
        Response::decode(reply.body())?.cursors.iter().map(|cursor| cursor.channel.to_owned()).collect();
    // Somebody who was away for a moment: of every channel only the newest few hundred numbers are missing.
    let newest = newest(&mut connection, token, &channels).await?;
    let away: HashMap<String, u64> =
        newest.into_iter().map(|(channel, number)| (channel, number.saturating_sub(200))).collect();
    let last = pull_often(&mut connection, token, &away).await?;
    Ok((first, last))
}

/// Where each channel ends, found by halving: a number beyond the end brings nothing.
async fn newest(connection: &mut Connection, token: &str, channels: &[String]) -> Result<HashMap<String, u64>> {
    let mut ends = HashMap::new();
    for channel in channels {
        let (mut low, mut high) = (0_u64, 1 << 40);
        while low + 1 < high {
            let middle = low.midpoint(high);
            let mut cursors: HashMap<String, u64> = channels.iter().map(|other| (other.clone(), 1 << 50)).collect();
            cursors.insert(channel.clone(), middle);
            let request = post_sync(token, &pull_body(&cursors), "");
            let reply = connection.exchange(&request, Stopwatch::start()).await?;
            match Response::decode(reply.body())?.changes.is_empty() {
                true => high = middle,
                false => low = middle,
            }
        }
        ends.insert(channel.clone(), high);
    }
    Ok(ends)
}

async fn pull_often(connection: &mut Connection, token: &str, cursors: &HashMap<String, u64>) -> Result<f64> {
    let request = post_sync(token, &pull_body(cursors), "");
    let mut latencies: Vec<Duration> = Vec::with_capacity(PAGES);
    for _ in 0..PAGES {
        latencies.push(connection.exchange(&request, Stopwatch::start()).await?.latency);
    }
    let worst = percentile_ms(&mut latencies, 100);
    Ok(median(latencies.iter().map(|latency| latency.as_secs_f64() * 1e3)).min(worst))
}

/// `muster verify` over all of it.
fn verify(campus: &Campus) -> Result<()> {
    let watch = Stopwatch::start();
    crate::process::command(&["verify"], campus.data.path())?;
    say(&format!("muster verify: all of it in {:.1} s", watch.elapsed().as_secs_f64()));
    Ok(())
}
