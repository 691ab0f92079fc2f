//! What searching and proving a large audit log costs.

use muster_server::audit::{self, Action, Actor, AuditHeadFile, Event};
use muster_server::clock::Stopwatch;
use muster_server::db::{DbError, Tx};
use muster_server::ids::TenantId;
use muster_server::log::ServerKey;
use muster_tests::{Client, TestServer};

use crate::Result;
use crate::figures::{percentile_ms, say};
use crate::process::peak_kib;

/// Rows that one transaction writes.
const ROWS_AT_ONCE: usize = 1_000;
/// How often each search is made.
const SEARCHES: usize = 21;
/// People who act, and things that they act on.
const PEOPLE: usize = 500;
const THINGS: usize = 20_000;
/// The first row's time; each row is a second later.
const BEGIN_MS: i64 = 1_763_640_000_000;

/// Fills an audit log with `rows` rows and prints what each kind of search takes, and the proof of all of it.
pub(crate) fn run(rows: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let server = TestServer::start().await;
        let watch = Stopwatch::start();
        for first in (0..rows).step_by(ROWS_AT_ONCE) {
            fill(&server, first, rows.min(first + ROWS_AT_ONCE)).await?;
        }
        let seconds = watch.elapsed().as_secs_f64();
        say(&format!("{rows} rows written in {seconds:.1} s: {:.0} rows/s", rows as f64 / seconds));
        let admin = server.client("admin").await;
        let middle = muster_server::clock::iso_utc(BEGIN_MS + rows as i64 / 2 * 1_000);
        let queries = [
            ("the newest", String::new()),
            ("one person", "actor=person-77".to_owned()),
            ("one thing", "id=thing-4711".to_owned()),
            ("one request", format!("request_id=request-{}", rows / 3)),
            ("one action", "action=device.revoke".to_owned()),
            ("a beginning of actions", "action=device.".to_owned()),
            ("a rare action", "action=audit.lost".to_owned()),
            ("before a time", format!("to={middle}")),
            ("one person before a time", format!("actor=person-77&to={middle}")),
            ("a far page", format!("after={}", rows / 2)),
            ("by result alone, rare", "result=never".to_owned()),
            ("by result alone, common", "result=done".to_owned()),
            ("by result before a time", format!("result=done&to={middle}")),
        ];
        for (name, query) in &queries {
            search(&admin, name, query).await?;
        }
        let memory_kib = peak_kib(std::process::id()).unwrap_or(0);
        say(&format!("peak memory of server and client in one process {:.0} MB", memory_kib as f64 / 1024.0));
        let keys = server.data().path().join("keys");
        let db = server.app().db.clone();
        let report = tokio::task::spawn_blocking(move || -> std::result::Result<audit::Report, String> {
            let key = ServerKey::load(&keys).map_err(|error| error.to_string())?;
            let file = AuditHeadFile::in_folder(&keys);
            audit::verify(&db, &key.public(), &file).map_err(|error| error.to_string())
        });
        let report = report.await??;
        say(&format!("{} rows proven in {} ms: {} rows/s", report.rows, report.elapsed_ms, report.rows_per_s()));
        if !report.findings.is_empty() {
            return Err(report.findings.join("; ").into());
        }
        server.stop().await;
        Ok(())
    })
}

async fn fill(server: &TestServer, first: usize, end: usize) -> Result<()> {
    let written = server.app().db.write(move |tx: &Tx<'_>| {
        for index in first..end {
            let actor = Actor {
                tenant: TenantId::default_tenant(),
                id: format!("person-{}", index % PEOPLE),
                role: "admin".to_owned(),
                request_id: format!("request-{index}"),
            };
            let actions = [Action::DeviceRevoke, Action::EvidenceView, Action::CourseEnrol, Action::DeviceApprove];
            let (action, id) = (actions[index % actions.len()], format!("thing-{}", index % THINGS));
            let event = Event { action, kind: "device", id: &id, reason: None, result: "done" };
            audit::record(tx, &actor, &event, BEGIN_MS + index as i64 * 1_000)?;
        }
        Ok::<_, DbError>(())
    });
    Ok(written.await?)
}

async fn search(admin: &Client, name: &str, query: &str) -> Result<()> {
    let mut took = Vec::new();
    let mut found = 0;
    for _ in 0..SEARCHES {
        let watch = Stopwatch::start();
        let reply = admin.get(&format!("/api/v1/admin/audit?{query}")).await;
        took.push(watch.elapsed());
        if reply.status.as_u16() != 200 {
            return Err(format!("{name}: {}", reply.status).into());
        }
        found = reply.json()["items"].as_array().map_or(0, Vec::len);
    }
    let (half, most) = (percentile_ms(&mut took, 50), percentile_ms(&mut took, 100));
    say(&format!("{name}: {found} rows, p50 {half:.1} ms, most {most:.1} ms"));
    Ok(())
}
