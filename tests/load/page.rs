//! A lecturer's cold pull of a class session with 300 attendance documents, and an exchange that has nothing to say.

use std::collections::HashMap;

use muster_server::attendance;
use muster_server::clock::Stopwatch;
use muster_server::error::AppError;
use muster_server::ids::TenantId;
use muster_server::log;
use muster_server::sync::{Outcome, Sender, admit};
use muster_sync_core::change::inspect;
use muster_sync_core::document::{Code, Entry, Outcome as VerdictOutcome, Verdict};
use muster_sync_core::evidence::{Check, CheckOutcome, Checks};
use muster_sync_core::sync::message::{Cursor, PROTOCOL_VERSION, Request, Response};
use muster_tests::phone::Item;
use muster_tests::{Data, TestServer};

use crate::Result;
use crate::figures::{median, say};
use crate::floor::incoming;
use crate::process::Server;
use muster_tests::campus::{Campus, capture};
use muster_tests::wire::{Connection, Reply, post_sync};

/// Records of the class session.
const RECORDS: usize = 300;
/// How often a page is pulled.
const PULLS: usize = 21;
/// What a verdict looks at.
const CHECKS: [&str; 10] = [
    "code",
    "window",
    "geofence",
    "mock_location",
    "device_binding",
    "clock",
    "duplicate",
    "enrolment",
    "selfie_match",
    "face_count",
];

/// Prints bytes and milliseconds of a cold page.
pub(crate) fn cold_page() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut campus = runtime.block_on(Campus::build(RECORDS, 1))?;
    let data = runtime.block_on(fill(&mut campus))?;
    let server = Server::start(&data)?;
    let token = campus.lecturer.token().ok_or("no token")?;
    for (name, headers) in [("plain", ""), ("zstd", "Accept-Encoding: zstd\r\n")] {
        let request = post_sync(token, &pull_body(&HashMap::new()), headers);
        let replies: Result<Vec<Reply>> = runtime.block_on(async {
            let mut replies = Vec::new();
            for _ in 0..PULLS {
                let mut connection = Connection::open(server.address).await?;
                replies.push(connection.exchange(&request, Stopwatch::start()).await?);
            }
            Ok(replies)
        });
        let replies = replies?;
        let first = replies.first().ok_or("no reply")?;
        if name == "plain" {
            let response = Response::decode(first.body())?;
            let attendance = response.changes.iter().filter(|change| change.name.kind == 2).count();
            say(&format!(
                "cold page: {} changes of which {attendance} of {RECORDS} attendance documents, more: {}",
                response.changes.len(),
                response.more
            ));
            if response.more || attendance != 2 * RECORDS {
                return Err("one round trip did not bring everything".into());
            }
        }
        let ms = median(replies.iter().map(|reply| reply.latency.as_secs_f64() * 1e3));
        say(&format!("  {name:5} {} B, median {ms:.1} ms of {PULLS} pulls", first.size_bytes()));
    }
    server.stop()
}

/// Prints the bytes of an exchange of somebody who has everything.
pub(crate) fn idle() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let campus = runtime.block_on(Campus::build(2, 1))?;
    let server = Server::start(&campus.data)?;
    let student = campus.students.first().ok_or("no student")?;
    let accounts = [("student", student.token()), ("lecturer", campus.lecturer.token().ok_or("no token")?)];
    for (name, token) in accounts {
        let mut cursors = HashMap::new();
        loop {
            let body = pull_body(&cursors);
            let request = post_sync(token, &body, "");
            let reply: Result<Reply> = runtime.block_on(async {
                Connection::open(server.address).await?.exchange(&request, Stopwatch::start()).await
            });
            let reply = reply?;
            let response = Response::decode(reply.body())?;
            cursors = response.cursors.iter().map(|cursor| (cursor.channel.to_owned(), cursor.number)).collect();
            if response.changes.is_empty() {
                say(&format!(
                    "up to date, {name}: {} B up and {} B down in bodies; {} and {} with HTTP headers; {} cursors",
                    body.len(),
                    reply.body().len(),
                    request.len(),
                    reply.size_bytes(),
                    cursors.len()
                ));
                break;
            }
        }
    }
    server.stop()
}

/// As a phone asks: device, nonce and cursors.
pub(crate) fn pull_body(cursors: &HashMap<String, u64>) -> Vec<u8> {
    let request = Request {
        version: PROTOCOL_VERSION,
        device: Some(muster_sync_core::DeviceKey([3; 32])),
        nonce: Some([7; 16]),
        cursors: cursors.iter().map(|(channel, number)| Cursor { channel, number: *number }).collect(),
        pushes: Vec::new(),
        pull: true,
        log: None,
    };
    minicbor::to_vec(&request).expect("encoding into memory does not fail")
}

/// Submissions of everybody, and a verdict on each; the data folder afterwards.
async fn fill(campus: &mut Campus) -> Result<Data> {
    let server = TestServer::builder().data(campus.data.copy()?).start().await;
    let session = campus.sessions[0];
    let mut verdicts = Vec::new();
    let course = course_of(&server, &session.locator).await?;
    for student in &mut campus.students {
        let item = capture(student, &session, campus.server_key, campus.now_ms)?;
        let sender = Sender { tenant: TenantId::default_tenant(), user: student.user };
        let outcomes = admit(server.app(), sender, vec![incoming(&item)]).await?;
        if !matches!(outcomes.as_slice(), [Outcome::Accepted { .. }]) {
            return Err(format!("not accepted: {outcomes:?}").into());
        }
        verdicts.push((item.name.clone(), log::channels_of(&item.name, Some(&course)), verdict(&item)?));
    }
    let tenant = TenantId::default_tenant();
    if !has_verdicts(&server, &verdicts[0].0).await? {
        let written = log::append_as_server(server.app(), &tenant, verdicts, move |tx, appended| {
            appended.iter().try_for_each(|one| attendance::project(tx, one, Some(&course))).map_err(AppError::from)
        });
        written.await?;
    }
    Ok(server.stop().await)
}

async fn course_of(server: &TestServer, locator: &muster_sync_core::Locator) -> Result<String> {
    let locator = *locator;
    let tenant = TenantId::default_tenant();
    let found: std::result::Result<_, muster_server::db::DbError> =
        server.app().db.read(move |tx| muster_server::class_sessions::course_of(tx, &tenant, &locator)).await;
    Ok(found?.ok_or("the session has no course")?)
}

/// Whether the server's own job judges records; it has had a second for the first one.
async fn has_verdicts(server: &TestServer, name: &muster_sync_core::DocumentName) -> Result<bool> {
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let document = name.id(muster_tests::phone::TENANT);
    let found: std::result::Result<_, muster_server::db::DbError> =
        server.app().db.read(move |tx| attendance::verdicts_of(tx, document)).await;
    Ok(!found?.is_empty())
}

fn verdict(item: &Item) -> Result<Entry> {
    let check = |name: &&str| Check {
        name: (*name).to_owned(),
        outcome: CheckOutcome::Pass,
        score: Some(0.5),
        threshold: Some(0.25),
        reason: None,
    };
    let verdict = Verdict {
        of: inspect(&item.signed.bytes)?.hash,
        outcome: VerdictOutcome::Accepted,
        risk: 0,
        checks: Checks(CHECKS.iter().map(check).collect()).to_bytes(),
        policy: Code::new("2026-11").ok_or("a code")?,
        model: None,
    };
    Ok(verdict.into())
}
