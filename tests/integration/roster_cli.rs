//! `muster roster import` as somebody types it.

use std::collections::HashMap;
use std::path::Path;
use std::process::Output;

use muster_sync_core::Locator;
use muster_sync_core::sync::message::FateKind;
use muster_tests::phone::Phone;
use muster_tests::roster::{archive, files, fixture};
use muster_tests::{Data, TestServer};
use serde_json::{Value, json};

use super::admin::muster;

fn import(data: &Data, path: &Path, options: &[&str]) -> Output {
    muster(data, &[&["roster", "import", path.to_str().unwrap()], options].concat(), "")
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn a_folder_an_archive_and_a_csv_are_imported_without_a_server() {
    let data = Data::fresh();
    let nobody = import(&data, &fixture("oneroster-1.2"), &[]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(text(&nobody.stderr).contains("no active admin"), "{nobody:?}");
    assert!(muster(&data, &["admin", "create", "--email", "a@x.example"], "").status.success());

    let dry = import(&data, &fixture("oneroster-1.2"), &["--dry-run"]);
    assert_eq!(dry.status.code(), Some(0));
    assert!(text(&dry.stdout).contains("a dry run: nothing was written"), "{dry:?}");
    assert!(text(&dry.stdout).contains("create user ada@uni.example: student Ada Lovelace"), "{dry:?}");
    let wet = import(&data, &fixture("oneroster-1.2"), &["--json"]);
    let wet_report = report(&wet);
    assert_eq!((&wet_report["applied"], &wet_report["users"]["created"]), (&json!(true), &json!(4)));
    assert!(text(&wet.stderr).contains("writing: "), "lines where there is no terminal: {wet:?}");

    let packed = data.path().join("set.zip");
    std::fs::write(&packed, archive(&files("oneroster-1.2"))).unwrap();
    let again = import(&data, &packed, &[]);
    assert!(text(&again.stdout).ends_with("nothing changes\n"), "{again:?}");
    let department = import(&data, &fixture("department.csv"), &["--json"]);
    assert_eq!(department.status.code(), Some(2), "ids that are another registry's are bad rows");

    let server = TestServer::builder().data(data).start().await;
    let admin = server.client("admin").await;
    let found = admin.get("/api/v1/admin/users?q=lovelace").await.expect(200);
    assert_eq!(found["items"][0]["external_id"], "u-ada");
    let row = super::audit::rows(&server).await.into_iter().find(|row| row.action == "roster.import").unwrap();
    assert_eq!((row.actor_id.as_str(), row.actor_role.as_str()), ("cli", "admin"));
}

#[test]
fn the_status_says_whether_rows_were_bad_and_whether_anything_was_imported() {
    let data = Data::fresh();
    assert!(muster(&data, &["admin", "create", "--email", "a@x.example"], "").status.success());
    let path = data.path().join("people.csv");
    std::fs::write(&path, "email,name\nada@x.example,Ada\nnobody,Bad\n").unwrap();
    let strict = import(&data, &path, &["--strict"]);
    assert_eq!(strict.status.code(), Some(1));
    assert!(text(&strict.stderr).contains("1 rows are bad, so nothing was imported"), "{strict:?}");
    let some = import(&data, &path, &[]);
    assert_eq!(some.status.code(), Some(2));
    let line = "BAD people.csv line 3, email: this is not an e-mail address; correct the address";
    assert!(text(&some.stdout).contains(line), "{some:?}");
    std::fs::write(&path, "name\nAda\n").unwrap();
    let none = import(&data, &path, &[]);
    assert_eq!(none.status.code(), Some(1));
    assert!(text(&none.stderr).contains("the column email is missing; the columns are: name"), "{none:?}");
    let missing = import(&data, &data.path().join("nothing.csv"), &[]);
    assert_eq!(missing.status.code(), Some(1));
}

/// What an import by the command line does to a server beside it, when it takes longer than a write waits.
#[tokio::test]
async fn a_push_that_meets_another_process_is_put_off_and_nothing_is_lost() {
    let server = TestServer::start().await;
    // PostgreSQL has no lock of the whole file.
    if !server.data().is_sqlite() {
        return;
    }
    let mut phone = Phone::new(server.client("student").await, 1);
    phone.bind(&server).await;
    let other = rusqlite::Connection::open(server.data().path().join("muster.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let item = phone.submission(Locator::from_random([0, 0, 1, 0]), "123456", server.clock_ms());
    let body = phone.body(std::slice::from_ref(&item), &HashMap::new(), false);
    let put_off = phone.send(body).await;
    assert!(put_off.headers.contains_key("retry-after"), "{:?}", put_off.headers);
    put_off.expect_error(503, "BUSY");
    other.execute_batch("COMMIT").unwrap();
    let fates = phone.push(std::slice::from_ref(&item)).await;
    assert_eq!(fates[0].kind, FateKind::Accepted, "{:?}", fates[0]);
}
