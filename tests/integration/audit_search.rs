//! Searching, exporting and proving the audit log.

use std::time::Duration;

use muster_server::audit::{self, Action, Actor, AuditHeadFile, Event, Report};
use muster_server::db::{DbError, Tx};
use muster_server::ids::TenantId;
use muster_server::log::ServerKey;
use muster_tests::lecture::NOON_MS;
use muster_tests::{Client, Data, TestServer};
use serde_json::Value;

const AUDIT: &str = "/api/v1/admin/audit";

/// Rows 1 to `count`, a second apart: three people revoke, approve and deny devices in turn.
async fn fill(server: &TestServer, tenant: &str, count: u32) {
    let tenant: TenantId = tenant.parse().unwrap();
    for first in (0..count).step_by(1_000) {
        let tenant = tenant.clone();
        let written = server.app().db.write(move |tx: &Tx<'_>| {
            for index in first..count.min(first + 1_000) {
                let actor = Actor {
                    tenant: tenant.clone(),
                    id: format!("person-{}", index % 3),
                    role: "admin".to_owned(),
                    request_id: format!("request-{index}"),
                };
                let action = [Action::DeviceRevoke, Action::DeviceApprove, Action::CourseCreate][index as usize % 3];
                let (id, result) = (format!("thing-{}", index % 50), if index % 7 == 0 { "odd" } else { "even" });
                let event = Event { action, kind: "device", id: &id, reason: Some("test"), result };
                audit::record(tx, &actor, &event, NOON_MS + i64::from(index) * 1_000)?;
            }
            Ok::<_, DbError>(())
        });
        written.await.unwrap();
    }
}

async fn page(admin: &Client, query: &str) -> Value {
    admin.get(&format!("{AUDIT}?{query}")).await.expect(200)
}

async fn numbers(admin: &Client, query: &str) -> Vec<i64> {
    let page = page(admin, query).await;
    page["items"].as_array().unwrap().iter().map(|item| item["number"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn an_admin_finds_rows_by_any_of_their_columns_newest_first() {
    let server = TestServer::builder().manual_clock(NOON_MS).start().await;
    fill(&server, "default", 100).await;
    fill(&server, "elsewhere", 5).await;
    let admin = server.client("admin").await;
    assert_eq!(numbers(&admin, "actor=person-1&limit=3").await, [98, 95, 92]);
    assert_eq!(numbers(&admin, "action=device.revoke&limit=2").await, [100, 97]);
    assert_eq!(numbers(&admin, "action=device.&limit=4").await, [100, 98, 97, 95]);
    assert_eq!(numbers(&admin, "action=nothing").await, [0; 0]);
    assert_eq!(numbers(&admin, "id=thing-7").await, [58, 8]);
    assert_eq!(numbers(&admin, "kind=course").await, [0; 0]);
    assert_eq!(numbers(&admin, "request_id=request-41").await, [42]);
    assert_eq!(numbers(&admin, "result=odd&actor=person-0&limit=2").await, [85, 64]);
    assert_eq!(numbers(&admin, "result=odd&limit=3").await, [99, 92, 85]);
    let (from, to) = ("2025-11-20T12:00:10Z", "2025-11-20T12:00:13Z");
    assert_eq!(numbers(&admin, &format!("from={from}&to={to}&kind=device")).await, [13, 12, 11]);
    let row = &page(&admin, "request_id=request-41").await["items"][0];
    assert_eq!(
        (&row["action"], &row["object_id"], &row["at"]),
        (&Value::from("course.create"), &Value::from("thing-41"), &Value::from("2025-11-20T12:00:41.000Z"))
    );
    for wrong in ["from=yesterday", "after=4000", "after=x", "offset=1", "limit=many"] {
        admin.get(&format!("{AUDIT}?{wrong}")).await.expect_error(422, "VALIDATION_ERROR");
    }
}

#[tokio::test]
async fn pages_follow_each_other_without_a_gap_while_rows_are_added() {
    let server = TestServer::builder().manual_clock(NOON_MS).start().await;
    fill(&server, "default", 45).await;
    let admin = server.client("admin").await;
    for query in ["actor=person-2", "action=device."] {
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let page = page(&admin, &format!("{query}&limit=4{after}")).await;
            seen.extend(page["items"].as_array().unwrap().iter().map(|item| item["number"].as_i64().unwrap()));
            let Some(next) = page["next"].as_i64() else { break };
            after = format!("&after={next}");
            server.clock().advance(Duration::from_secs(60));
        }
        let expected: Vec<i64> = match query {
            "actor=person-2" => (1..=45).rev().filter(|number| number % 3 == 0).collect(),
            _ => (1..=45).rev().filter(|number| number % 3 != 0).collect(),
        };
        assert_eq!(seen, expected, "{query}");
    }
}

#[tokio::test]
async fn looking_at_the_audit_log_is_noted_in_it_once_per_search() {
    let server = TestServer::builder().manual_clock(NOON_MS + 1_000_000).start().await;
    fill(&server, "default", 10).await;
    let admin = server.client("admin").await;
    page(&admin, "actor=person-1&limit=1").await;
    page(&admin, "actor=person-1&limit=1&after=8").await;
    let exported = admin.get(&format!("{AUDIT}/export?action=device.")).await;
    assert_eq!(exported.headers["content-type"], "text/csv; charset=utf-8; header=present");
    let text = String::from_utf8(exported.bytes).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("number,at,actor_id,"), "{text}");
    assert_eq!(lines.len(), 8, "{text}");
    assert!(
        lines[1].starts_with("10,2025-11-20T12:00:09.000Z,person-0,admin,device.revoke,device,thing-9,test,"),
        "{text}"
    );
    let noted = page(&admin, "action=audit.").await;
    let noted: Vec<_> =
        noted["items"].as_array().unwrap().iter().map(|row| (&row["action"], &row["object_id"])).collect();
    assert_eq!(
        noted,
        [(&Value::from("audit.export"), &Value::from("action")), (&Value::from("audit.search"), &Value::from("actor"))]
    );
}

#[tokio::test]
async fn a_file_holds_more_rows_than_are_read_at_once() {
    let server = TestServer::builder().manual_clock(NOON_MS).start().await;
    fill(&server, "default", 2_500).await;
    let admin = server.client("admin").await;
    let lines = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().lines().count();
    let whole = admin.get(&format!("{AUDIT}/export?kind=device")).await;
    assert_eq!(lines(whole.bytes), 2_501);
    let rest = admin.get(&format!("{AUDIT}/export?kind=device&after=1001")).await;
    assert_eq!(lines(rest.bytes), 1_001);
    let some = admin.get(&format!("{AUDIT}/export?kind=device&limit=1500")).await;
    assert_eq!(lines(some.bytes), 1_501);
}

fn verify(data: &Data) -> Report {
    let keys = data.path().join("keys");
    tokio::task::block_in_place(|| {
        let (key, db) = (ServerKey::load(&keys).unwrap(), data.open());
        let report = audit::verify(&db, &key.public(), &AuditHeadFile::in_folder(&keys)).unwrap();
        db.close();
        report
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chains_of_all_institutions_are_proven_up_to_their_signed_heads() {
    let server = TestServer::builder().manual_clock(NOON_MS).start().await;
    fill(&server, "default", 1_200).await;
    fill(&server, "elsewhere", 3).await;
    let report = verify(&server.stop().await);
    assert_eq!((&report.findings, &report.notes), (&vec![], &vec![]));
    let tenants: Vec<_> = report.tenants.iter().map(|one| (one.tenant.as_str(), one.rows, one.covered_rows)).collect();
    assert_eq!(tenants, [("default", 1_200, Some(1_200)), ("elsewhere", 3, Some(3))]);
    assert!(report.tenants.iter().all(|one| one.broken_at.is_none() && one.head.is_some()));
}

fn execute(data: &Data, statements: &'static [&'static str]) {
    tokio::task::block_in_place(|| {
        let db = data.open();
        let written = db.write_blocking(move |tx: &Tx<'_>| statements.iter().try_for_each(|sql| tx.batch(sql)));
        db.close();
        written.map_err(|error: DbError| error).unwrap();
    });
}

/// What somebody does who holds the database and not the keys: the newest two rows and what counts them.
const CUT: &[&str] = &[
    "DELETE FROM audit_log WHERE number > 8;",
    "UPDATE audit_heads SET last_number = 8, last_hash = (SELECT hash FROM audit_log WHERE number = 8);",
];

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_cut_off_together_with_the_head_are_missed_by_the_signed_head() {
    let data = Data::sqlite();
    let server = TestServer::builder().manual_clock(NOON_MS).data(data).start().await;
    fill(&server, "default", 10).await;
    let data = server.stop().await;
    execute(&data, &["DROP TRIGGER audit_log_is_never_deleted;"]);
    execute(&data, CUT);
    let report = verify(&data);
    assert_eq!(report.tenants[0].broken_at, None, "the chain alone does not show it");
    assert!(report.findings[0].contains("covers 10 rows; there are 8"), "{:?}", report.findings);

    // The next start says so in the next row, and keeps the proof.
    let server = TestServer::builder().manual_clock(NOON_MS).data(data).start().await;
    let admin = server.client("admin").await;
    let lost = page(&admin, "action=audit.lost").await;
    assert_eq!(
        (&lost["items"][0]["number"], &lost["items"][0]["result"]),
        (&Value::from(9), &Value::from("proven_rows_10"))
    );
    let data = server.stop().await;
    assert!(data.path().join("keys/audit-heads.json.rejected").exists());
    let report = verify(&data);
    assert_eq!(report.findings, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_row_and_an_edited_head_file_are_named() {
    let server = TestServer::builder().manual_clock(NOON_MS).data(Data::sqlite()).start().await;
    fill(&server, "default", 10).await;
    let data = server.stop().await;
    let path = data.path().join("keys/audit-heads.json");
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, whole.replace("\"rows\": 10", "\"rows\": 9")).unwrap();
    assert!(verify(&data).findings[0].contains("not signed by this server's key"));
    std::fs::write(&path, whole).unwrap();
    execute(&data, &["DROP TRIGGER audit_log_is_never_updated;"]);
    execute(&data, &["UPDATE audit_log SET actor_id = 'somebody-else' WHERE number = 4;"]);
    let report = verify(&data);
    assert_eq!((report.tenants[0].rows, report.tenants[0].broken_at), (3, Some(4)));
    assert_eq!(report.findings, ["default: row 4 is missing, was changed, or was put in"]);

    // No bad row hides another one behind it.
    execute(
        &data,
        &["UPDATE audit_log SET hash = x'00' WHERE number = 6;", "UPDATE audit_log SET at = 'x' WHERE number = 8;"],
    );
    execute(&data, &["DROP TRIGGER audit_log_is_never_deleted;", "DELETE FROM audit_log WHERE number = 9;"]);
    let report = verify(&data);
    assert_eq!((report.tenants[0].bad_rows, report.tenants[0].broken_at), (4, Some(4)));
    let named = [4, 6, 8, 9].map(|row| format!("default: row {row} is missing, was changed, or was put in"));
    assert_eq!(report.findings, named);
}
