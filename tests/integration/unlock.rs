//! Opening by hand what too many failures closed.

use muster_tests::{Client, PASSWORD, TestServer};
use serde_json::json;

use super::admin::muster;
use super::audit;

const LOGIN: &str = "/api/v1/auth/login";

async fn try_in(client: &Client, email: &str, password: &str) -> u16 {
    client.post(LOGIN, &json!({ "email": email, "password": password })).await.status.as_u16()
}

async fn lock(client: &Client, email: &str) {
    for _ in 0..8 {
        assert_eq!(try_in(client, email, "wrong password").await, 401);
    }
    assert_eq!(try_in(client, email, PASSWORD).await, 401, "the right password does not open it either");
}

#[tokio::test]
async fn an_admin_lets_somebody_sign_in_again_whom_a_stranger_keeps_out() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let id = server.create_user("ada@x.example", "student").await;
    let path = format!("/api/v1/admin/users/{id}/unlock");
    server.client("staff").await.post(&path, &json!({})).await.expect_error(403, "FORBIDDEN");
    let stranger = server.anonymous();
    lock(&stranger, "ada@x.example").await;
    admin.post(&path, &json!({})).await.expect(204);
    assert_eq!(try_in(&stranger, "ada@x.example", PASSWORD).await, 200);
    let rows = audit::all_rows(&server).await;
    let row = rows.iter().find(|row| row.action == "auth.sign_in_unlock").unwrap();
    assert_eq!((row.actor_id.as_str(), row.object_id.as_str()), (admin.user_id(), id.as_str()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_opens_accounts_and_addresses_beside_a_running_server() {
    let server = TestServer::builder().option("--login-fail-ip-threshold", "10").start().await;
    server.create_user("root@x.example", "admin").await;
    let stranger = server.anonymous();
    lock(&stranger, "root@x.example").await;
    assert_eq!(try_in(&stranger, "nobody@x.example", "wrong password").await, 401);
    assert_eq!(try_in(&stranger, "root@x.example", PASSWORD).await, 429, "the address waits as well");
    let unlock = |arguments: &[&str]| muster(server.data(), &[&["admin", "unlock"], arguments].concat(), "");
    let said = |output: std::process::Output| {
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(said(unlock(&["--address", "127.0.0.1"])).contains("127.0.0.1 may sign in again"));
    assert_eq!(try_in(&stranger, "root@x.example", PASSWORD).await, 401, "the account still waits");
    assert!(said(unlock(&["--email", "root@x.example"])).contains("root@x.example may sign in again"));
    assert_eq!(try_in(&stranger, "root@x.example", PASSWORD).await, 200);
    assert!(said(unlock(&["--address", "192.0.2.7"])).contains("nothing was counted"));
    assert_eq!(unlock(&["nobody@x.example"]).status.code(), Some(1));
    assert_eq!(unlock(&[]).status.code(), Some(2), "whom?");
    let rows = audit::all_rows(&server).await;
    let kinds: Vec<_> =
        rows.iter().filter(|row| row.action == "auth.sign_in_unlock").map(|row| &row.object_kind).collect();
    assert_eq!(kinds, ["address", "account"]);
    // A pepper that is not the server's finds nothing, and says so.
    lock(&stranger, "root@x.example").await;
    let other = unlock(&["root@x.example", "--token-pepper", "another pepper of thirty-two bytes"]);
    assert!(said(other).contains("nothing was counted"));
}
