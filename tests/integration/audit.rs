//! The audit log: written with the action, chained, append-only.

use muster_server::audit::{self, AuditRow, Broken};
use muster_server::db::{DbError, Tx};
use muster_server::ids::TenantId;
use muster_tests::phone::Phone;
use muster_tests::{Client, TestServer};
use serde_json::json;

/// Everything that the log says.
pub(super) async fn all_rows(server: &TestServer) -> Vec<AuditRow> {
    let tenant = TenantId::default_tenant();
    let read = server.app().db.read(move |tx: &Tx<'_>| audit::rows(tx, &tenant, 0, 1_000));
    read.await.map_err(|error: DbError| error).unwrap()
}

/// What the log says, but for who signed in.
pub(super) async fn rows(server: &TestServer) -> Vec<AuditRow> {
    all_rows(server).await.into_iter().filter(|row| !row.action.starts_with("auth.")).collect()
}

/// Whether the chain is whole: how many rows, or where it breaks.
pub(super) async fn check(server: &TestServer) -> Result<i64, Broken> {
    let tenant = TenantId::default_tenant();
    let read = server.app().db.read(move |tx: &Tx<'_>| audit::check(tx, &tenant));
    read.await.map_err(|error: DbError| error).unwrap().map(|checked| checked.rows)
}

async fn execute(server: &TestServer, sql: &'static str) -> Result<u64, DbError> {
    server.app().db.write(move |tx: &Tx<'_>| tx.execute(sql, &[])).await
}

async fn bind_and_revoke(server: &TestServer, admin: &Client) -> Phone {
    let mut phone = Phone::new(server.client("student").await, 1);
    phone.bind(server).await;
    let path = format!("/api/v1/admin/devices/{}/revoke", phone.public_key());
    admin.post(&path, &json!({"reason": "lost"})).await.expect(200);
    phone
}

#[tokio::test]
async fn an_action_is_noted_once_with_who_what_why_and_in_which_request() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let phone = bind_and_revoke(&server, &admin).await;
    let path = format!("/api/v1/admin/devices/{}/revoke", phone.public_key());
    admin.post(&path, &json!({"reason": "lost"})).await.expect(200);

    let rows = rows(&server).await;
    let actions: Vec<_> = rows.iter().map(|row| row.action.as_str()).collect();
    assert_eq!(actions, ["device.approve", "device.revoke"], "what changes nothing is not noted");
    let revoked = &rows[1];
    assert_eq!((revoked.actor_id.as_str(), revoked.actor_role.as_str()), (admin.user_id(), "admin"));
    assert_eq!((revoked.object_kind.as_str(), revoked.object_id.clone()), ("device", phone.public_key().to_string()));
    assert_eq!((revoked.reason.as_deref(), revoked.result.as_str()), (Some("lost"), "revoked"));
    assert!(!revoked.request_id.is_empty());
    assert_eq!(check(&server).await, Ok(length(&server).await));
}

/// How many rows there are.
async fn length(server: &TestServer) -> i64 {
    i64::try_from(all_rows(server).await.len()).unwrap()
}

#[tokio::test]
async fn what_fails_is_not_noted() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let path = format!("/api/v1/admin/devices/{}/revoke", "00".repeat(32));
    admin.post(&path, &json!({"reason": "lost"})).await.expect_error(404, "NOT_FOUND");
    assert_eq!(rows(&server).await, []);
}

#[tokio::test]
async fn no_row_is_changed_or_removed_and_what_is_put_in_shows() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    bind_and_revoke(&server, &admin).await;
    assert!(execute(&server, "UPDATE audit_log SET reason = 'mine'").await.is_err());
    assert!(execute(&server, "DELETE FROM audit_log").await.is_err());
    let length = length(&server).await;
    assert_eq!(check(&server).await, Ok(length));

    let forged = "INSERT INTO audit_log
            (tenant_id, number, at, actor_id, actor_role, action, object_kind, object_id, reason, request_id, result, hash)
        SELECT tenant_id, number + 1, at, actor_id, actor_role, action, object_kind, object_id, reason, request_id,
               result, hash
        FROM audit_log ORDER BY number DESC LIMIT 1";
    assert_eq!(execute(&server, forged).await, Ok(1));
    assert_eq!(check(&server).await, Err(Broken { number: length + 1 }));
}

#[tokio::test]
async fn rows_that_are_gone_at_the_end_show_by_the_head() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    bind_and_revoke(&server, &admin).await;
    let length = length(&server).await;
    assert_eq!(execute(&server, "UPDATE audit_heads SET last_number = last_number + 1").await, Ok(1));
    assert_eq!(check(&server).await, Err(Broken { number: length + 1 }));
}
