//! Sessions and their tokens: renewing, signing out, and what ends them.

use std::time::Duration;

use muster_server::db::{DbError, Tx};
use muster_tests::{Client, PASSWORD, Reply, TestServer, TestServerBuilder};
use serde_json::{Value, json};

pub(super) const NOW_MS: i64 = 1_763_640_000_000;
const DAY: Duration = Duration::from_secs(86_400);
const REFRESH: &str = "/api/v1/auth/refresh";
const LOGOUT: &str = "/api/v1/auth/logout";
const ME: &str = "/api/v1/auth/me";

/// The tokens of a session.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Tokens {
    pub(super) access: String,
    pub(super) refresh: String,
}

impl Tokens {
    fn of(reply: &Value) -> Self {
        let text = |name: &str| reply[name].as_str().unwrap().to_owned();
        Self { access: text("access_token"), refresh: text("refresh_token") }
    }
}

pub(super) fn standing_still() -> TestServerBuilder {
    TestServer::builder().manual_clock(NOW_MS)
}

async fn sign_in_as(server: &TestServer, email: &str, class: &str) -> Tokens {
    let body = json!({"email": email, "password": PASSWORD, "client": class});
    Tokens::of(&server.anonymous().post("/api/v1/auth/login", &body).await.expect(200))
}

/// A fresh student who signed in.
pub(super) async fn student(server: &TestServer) -> Tokens {
    server.create_user("ada@x.example", "student").await;
    sign_in_as(server, "ada@x.example", "web").await
}

pub(super) async fn refresh(server: &TestServer, token: &str) -> Reply {
    server.anonymous().post(REFRESH, &json!({"refresh_token": token})).await
}

pub(super) async fn renewed(server: &TestServer, token: &str) -> Tokens {
    Tokens::of(&refresh(server, token).await.expect(200))
}

pub(super) async fn me(server: &TestServer, tokens: &Tokens) -> Reply {
    server.with_token(&tokens.access).get(ME).await
}

/// How often the audit log says this.
async fn noted(server: &TestServer, action: &str) -> usize {
    super::audit::all_rows(server).await.iter().filter(|row| row.action == action).count()
}

#[tokio::test]
async fn a_sign_in_gives_four_fields_and_each_prefix_renews_them() {
    let server = standing_still().start().await;
    server.create_user("ada@x.example", "student").await;
    let body = json!({"email": "ada@x.example", "password": PASSWORD});
    let mut reply = server.anonymous().post("/auth/login", &body).await.expect(200);
    for path in ["/auth/refresh", "/v1/auth/refresh", REFRESH] {
        assert_eq!((&reply["token_type"], &reply["expires_in"]), (&json!("bearer"), &json!(900)));
        let before = Tokens::of(&reply);
        me(&server, &before).await.expect(200);
        reply = server.anonymous().post(path, &json!({"refresh_token": before.refresh})).await.expect(200);
        assert_ne!(Tokens::of(&reply).refresh, before.refresh);
        assert_ne!(Tokens::of(&reply).access, before.access);
    }
    assert_eq!(reply.as_object().unwrap().len(), 4, "{reply}");
}

#[tokio::test]
async fn twenty_refreshes_at_once_make_one_rotation() {
    let server = TestServer::start().await;
    let tokens = student(&server).await;
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (client, body) = (server.anonymous(), json!({"refresh_token": tokens.refresh}));
        running.spawn(async move { client.post(REFRESH, &body).await.expect(200) });
    }
    let replies: Vec<_> = running.join_all().await.iter().map(Tokens::of).collect();
    assert_eq!(replies.len(), 20);
    assert!(replies.iter().all(|reply| reply.refresh == replies[0].refresh), "one successor");
    assert_eq!(noted(&server, "auth.refresh").await, 1);
    assert_eq!(generations(&server).await, [1]);
    for reply in &replies {
        me(&server, reply).await.expect(200);
    }
    renewed(&server, &replies[0].refresh).await;
    assert_eq!(generations(&server).await, [2]);
}

/// How many tokens each session has had before the newest one.
async fn generations(server: &TestServer) -> Vec<i64> {
    let sql = "SELECT generation FROM auth_sessions ORDER BY generation LIMIT 100";
    let read = server.app().db.read(move |tx: &Tx<'_>| tx.query(sql, &[], |row| row.get(0))).await;
    read.map_err(|error: DbError| error).unwrap()
}

#[tokio::test]
async fn a_lost_answer_is_given_again_until_its_token_was_used() {
    let server = TestServer::start().await;
    let first = student(&server).await;
    let second = renewed(&server, &first.refresh).await;
    assert_eq!(renewed(&server, &first.refresh).await.refresh, second.refresh);
    assert_eq!(renewed(&server, &first.refresh).await.refresh, second.refresh);
    let third = renewed(&server, &second.refresh).await;
    assert_eq!(renewed(&server, &second.refresh).await.refresh, third.refresh);
    me(&server, &third).await.expect(200);
}

#[tokio::test]
async fn an_older_token_ends_the_family_for_good() {
    let server = TestServer::start().await;
    let first = student(&server).await;
    let phone = sign_in_as(&server, "ada@x.example", "phone").await;
    let second = renewed(&server, &first.refresh).await;
    let third = renewed(&server, &second.refresh).await;
    let newest = renewed(&server, &third.refresh).await;
    me(&server, &newest).await.expect(200);

    refresh(&server, &first.refresh).await.expect_error(401, "REFRESH_TOKEN_REUSED");
    for tokens in [&first, &second, &third, &newest] {
        me(&server, tokens).await.expect_error(401, "TOKEN_REVOKED");
    }
    assert_eq!(noted(&server, "auth.refresh_reuse").await, 1);
    let server = TestServer::builder().data(server.stop().await).start().await;
    for tokens in [&first, &second, &third, &newest] {
        refresh(&server, &tokens.refresh).await.expect_error(401, "REFRESH_TOKEN_REVOKED");
        me(&server, tokens).await.expect_error(401, "TOKEN_REVOKED");
    }
    assert_eq!(noted(&server, "auth.refresh_reuse").await, 1, "what has ended does not end again");
    renewed(&server, &phone.refresh).await;
}

#[tokio::test]
async fn a_forged_token_ends_nothing() {
    let server = TestServer::start().await;
    let first = student(&server).await;
    let second = renewed(&server, &first.refresh).await;
    let third = renewed(&server, &second.refresh).await;
    // The session and the place in its chain are right, the secret is not.
    let swap = |token: &str| {
        let last = if token.ends_with('A') { "g" } else { "A" };
        format!("{}{last}", &token[..token.len() - 1])
    };
    let forged = [swap(&first.refresh), swap(&second.refresh), swap(&third.refresh), format!("{}AAAA", first.refresh)];
    for token in forged.iter().map(String::as_str).chain(["", "mrt_", "mrt_AAAA", third.access.as_str()]) {
        refresh(&server, token).await.expect_error(401, "REFRESH_TOKEN_INVALID");
    }
    let other = TestServer::start().await;
    refresh(&server, &student(&other).await.refresh).await.expect_error(401, "REFRESH_TOKEN_INVALID");
    for body in [json!({}), json!({"refresh_token": 7}), json!({"refresh_token": third.refresh, "role": "admin"})] {
        server.anonymous().post(REFRESH, &body).await.expect_error(422, "VALIDATION_ERROR");
    }
    renewed(&server, &third.refresh).await;
}

#[tokio::test]
async fn a_new_sign_in_ends_the_session_of_its_class_only() {
    let server = TestServer::start().await;
    let web = student(&server).await;
    let phone = sign_in_as(&server, "ada@x.example", "phone").await;
    let web = renewed(&server, &web.refresh).await;
    let other_web = sign_in_as(&server, "ada@x.example", "web").await;
    refresh(&server, &web.refresh).await.expect_error(401, "REFRESH_TOKEN_REVOKED");
    me(&server, &web).await.expect(200);
    let phone = renewed(&server, &phone.refresh).await;
    let other_phone = sign_in_as(&server, "ada@x.example", "phone").await;
    refresh(&server, &phone.refresh).await.expect_error(401, "REFRESH_TOKEN_REVOKED");
    renewed(&server, &other_web.refresh).await;
    renewed(&server, &other_phone.refresh).await;
    let body = json!({"email": "ada@x.example", "password": PASSWORD, "client": "toaster"});
    server.anonymous().post("/api/v1/auth/login", &body).await.expect_error(422, "VALIDATION_ERROR");
}

#[tokio::test]
async fn what_is_stored_is_no_token() {
    let server = TestServer::start().await;
    let first = student(&server).await;
    let second = renewed(&server, &first.refresh).await;
    let unused = renewed(&server, &second.refresh).await;
    let sql = "SELECT token_hash FROM auth_sessions LIMIT 10";
    let read = server.app().db.read(move |tx: &Tx<'_>| tx.query(sql, &[], |row| row.get::<Vec<u8>>(0))).await;
    let mut stored: Vec<Vec<u8>> = read.map_err(|error: DbError| error).unwrap();
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].len(), 32);
    let data = server.stop().await;
    if data.is_sqlite() {
        for name in ["muster.db", "muster.db-wal"] {
            stored.extend(std::fs::read(data.path().join(name)).ok());
        }
        assert!(stored.iter().any(|bytes| contains(bytes, b"ada@x.example")), "this is the database");
    }
    for token in [&first.refresh, &second.refresh, &unused.refresh] {
        let bytes = data_encoding::BASE64URL_NOPAD.decode(&token.as_bytes()[4..]).unwrap();
        let secret = &bytes[20..];
        assert_eq!(secret.len(), 32, "256 bits");
        assert!(!stored.iter().any(|stored| contains(stored, token.as_bytes()) || contains(stored, secret)));
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn a_restart_keeps_sessions() {
    let server = TestServer::start().await;
    let first = student(&server).await;
    let second = renewed(&server, &first.refresh).await;
    let server = TestServer::builder().data(server.stop().await).start().await;
    me(&server, &second).await.expect(200);
    assert_eq!(renewed(&server, &first.refresh).await.refresh, second.refresh);
    renewed(&server, &second.refresh).await;
}

#[tokio::test]
async fn signing_out_takes_a_refresh_token_or_an_access_token() {
    let server = TestServer::start().await;
    server.create_user("ada@x.example", "student").await;
    let phone = sign_in_as(&server, "ada@x.example", "phone").await;
    for (path, with_refresh, with_access) in
        [(LOGOUT, true, false), ("/v1/auth/logout", false, true), ("/auth/logout", true, true)]
    {
        let tokens = sign_in_as(&server, "ada@x.example", "web").await;
        me(&server, &tokens).await.expect(200);
        let client = if with_access { server.with_token(&tokens.access) } else { server.anonymous() };
        let request = client.request(reqwest::Method::POST, path);
        let request = if with_refresh { request.json(&json!({"refresh_token": tokens.refresh})) } else { request };
        let reply = Reply::of(request).await.expect(200);
        assert_eq!(reply["status"], "signed_out");
        me(&server, &tokens).await.expect_error(401, "TOKEN_REVOKED");
        refresh(&server, &tokens.refresh).await.expect_error(401, "REFRESH_TOKEN_REVOKED");
        server.anonymous().post(path, &json!({"refresh_token": tokens.refresh})).await.expect(200);
    }
    assert_eq!(noted(&server, "auth.sign_out").await, 3, "what has ended does not end again");
    me(&server, &phone).await.expect(200);
    renewed(&server, &phone.refresh).await;
}

#[tokio::test]
async fn signing_out_needs_something_to_sign_out() {
    let server = TestServer::start().await;
    let tokens = student(&server).await;
    let anonymous = server.anonymous();
    let empty = |client: &Client| Reply::of(client.request(reqwest::Method::POST, LOGOUT));
    empty(&anonymous).await.expect_error(401, "UNAUTHORIZED");
    anonymous.post(LOGOUT, &json!({})).await.expect_error(401, "UNAUTHORIZED");
    empty(&server.with_token("nonsense")).await.expect_error(401, "TOKEN_INVALID");
    anonymous.post(LOGOUT, &json!({"refresh_token": "nonsense"})).await.expect(200);
    anonymous.post(LOGOUT, &json!({"refresh": tokens.refresh})).await.expect_error(422, "VALIDATION_ERROR");
    let malformed = Reply::of(anonymous.request(reqwest::Method::POST, LOGOUT).body("{")).await;
    malformed.expect_error(400, "MALFORMED_JSON");
    me(&server, &tokens).await.expect(200);
    // An old access token does not keep anybody from ending the session.
    let body = json!({"refresh_token": tokens.refresh});
    server.with_token("nonsense").post(LOGOUT, &body).await.expect(200);
    me(&server, &tokens).await.expect_error(401, "TOKEN_REVOKED");
}

#[tokio::test]
async fn a_change_of_name_does_not_bring_back_who_signed_out() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let id = server.create_user("ada@x.example", "student").await;
    let tokens = sign_in_as(&server, "ada@x.example", "web").await;
    server.with_token(&tokens.access).post(LOGOUT, &json!({})).await.expect(200);
    // The new process knows nothing of the user when the name changes.
    let server = TestServer::builder().data(server.stop().await).start().await;
    let admin = server.with_token(admin.token().unwrap());
    admin.patch(&format!("/api/v1/admin/users/{id}"), &json!({"display_name": "Ada"})).await.expect(200);
    me(&server, &tokens).await.expect_error(401, "TOKEN_REVOKED");
    let tokens = sign_in_as(&server, "ada@x.example", "web").await;
    me(&server, &tokens).await.expect(200);
}

#[tokio::test]
async fn an_access_token_of_a_replaced_session_can_be_signed_out() {
    let server = TestServer::start().await;
    let before = student(&server).await;
    let now = sign_in_as(&server, "ada@x.example", "web").await;
    me(&server, &before).await.expect(200);
    server.with_token(&before.access).post(LOGOUT, &json!({})).await.expect(200);
    me(&server, &before).await.expect_error(401, "TOKEN_REVOKED");
    me(&server, &now).await.expect(200);
    renewed(&server, &now.refresh).await;
}

#[tokio::test]
async fn signing_out_everywhere_ends_every_token_of_one_user() {
    let server = TestServer::start().await;
    let web = student(&server).await;
    let phone = sign_in_as(&server, "ada@x.example", "phone").await;
    server.create_user("grace@x.example", "student").await;
    let grace = sign_in_as(&server, "grace@x.example", "web").await;
    server.anonymous().post("/api/v1/auth/logout-all", &json!({})).await.expect_error(401, "UNAUTHORIZED");
    server.with_token(&web.access).post("/v1/auth/logout-all", &json!({})).await.expect(200);
    for tokens in [&web, &phone] {
        me(&server, tokens).await.expect_error(401, "TOKEN_REVOKED");
        refresh(&server, &tokens.refresh).await.expect_error(401, "REFRESH_TOKEN_REVOKED");
    }
    assert_eq!(noted(&server, "auth.sign_out_everywhere").await, 1);
    me(&server, &grace).await.expect(200);
    renewed(&server, &grace.refresh).await;
    me(&server, &sign_in_as(&server, "ada@x.example", "web").await).await.expect(200);
}

#[tokio::test]
async fn no_refresh_token_survives_a_new_password() {
    let server = TestServer::start().await;
    let web = student(&server).await;
    let phone = sign_in_as(&server, "ada@x.example", "phone").await;
    let body = json!({"current_password": PASSWORD, "new_password": "another horse battery"});
    let reply = server.with_token(&web.access).post("/api/v1/auth/change-password", &body).await.expect(200);
    for tokens in [&web, &phone] {
        refresh(&server, &tokens.refresh).await.expect_error(401, "REFRESH_TOKEN_REVOKED");
        me(&server, tokens).await.expect_error(401, "TOKEN_REVOKED");
    }
    me(&server, &renewed(&server, &Tokens::of(&reply).refresh).await).await.expect(200);
}

#[tokio::test]
async fn a_sign_in_that_crosses_a_change_of_password_does_not_survive_it() {
    let server = TestServer::start().await;
    let tokens = student(&server).await;
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let client = server.anonymous();
        let body = json!({"email": "ada@x.example", "password": PASSWORD, "client": "phone"});
        running.spawn(async move { client.post("/api/v1/auth/login", &body).await });
    }
    let body = json!({"current_password": PASSWORD, "new_password": "another horse battery"});
    let changed = server.with_token(&tokens.access).post("/api/v1/auth/change-password", &body).await.expect(200);
    let replies = running.join_all().await;
    for reply in replies.into_iter().filter(|reply| reply.status.is_success()) {
        let tokens = Tokens::of(&reply.json());
        refresh(&server, &tokens.refresh).await.expect_error(401, "REFRESH_TOKEN_REVOKED");
        me(&server, &tokens).await.expect_error(401, "TOKEN_REVOKED");
    }
    renewed(&server, &Tokens::of(&changed).refresh).await;
}

#[tokio::test]
async fn no_refresh_token_survives_another_role_or_status() {
    let server = TestServer::start().await;
    let admin = server.client("admin").await;
    let id = server.create_user("ada@x.example", "student").await;
    let path = format!("/api/v1/admin/users/{id}");
    let tokens = sign_in_as(&server, "ada@x.example", "web").await;
    admin.patch(&path, &json!({"display_name": "Ada"})).await.expect(200);
    let tokens = renewed(&server, &tokens.refresh).await;
    admin.patch(&path, &json!({"role": "lecturer"})).await.expect(200);
    refresh(&server, &tokens.refresh).await.expect_error(401, "REFRESH_TOKEN_REVOKED");
    let tokens = sign_in_as(&server, "ada@x.example", "phone").await;
    admin.patch(&path, &json!({"status": "disabled"})).await.expect(200);
    refresh(&server, &tokens.refresh).await.expect_error(401, "REFRESH_TOKEN_REVOKED");
    me(&server, &tokens).await.expect_error(401, "TOKEN_REVOKED");
    admin.patch(&path, &json!({"status": "active"})).await.expect(200);
    refresh(&server, &tokens.refresh).await.expect_error(401, "REFRESH_TOKEN_REVOKED");
}

#[tokio::test]
async fn a_token_is_renewed_so_often_an_hour_and_a_restart_does_not_forget() {
    let server = standing_still().option("--rl-refresh-user-limit", "5").start().await;
    let mut tokens = student(&server).await;
    server.create_user("grace@x.example", "student").await;
    let grace = sign_in_as(&server, "grace@x.example", "web").await;
    for _ in 0..5 {
        tokens = renewed(&server, &tokens.refresh).await;
    }
    let reply = refresh(&server, &tokens.refresh).await;
    assert_eq!(reply.headers["retry-after"], "3601");
    reply.expect_error(429, "RATE_LIMITED");
    renewed(&server, &grace.refresh).await;
    let builder = TestServer::builder().manual_clock(NOW_MS + 3_599_999).data(server.stop().await);
    let server = builder.option("--rl-refresh-user-limit", "5").start().await;
    let reply = refresh(&server, &tokens.refresh).await;
    assert_eq!(reply.headers["retry-after"], "1");
    reply.expect_error(429, "RATE_LIMITED");
    server.clock().advance(Duration::from_millis(1));
    renewed(&server, &tokens.refresh).await;
}

#[tokio::test]
async fn sixty_renewals_an_hour_are_the_default() {
    let server = standing_still().start().await;
    let mut tokens = student(&server).await;
    for _ in 0..60 {
        tokens = renewed(&server, &tokens.refresh).await;
    }
    refresh(&server, &tokens.refresh).await.expect_error(429, "RATE_LIMITED");
}

#[tokio::test]
async fn a_refresh_token_ends_after_fourteen_days_unless_it_was_renewed() {
    let server = standing_still().start().await;
    let first = student(&server).await;
    server.clock().advance(14 * DAY - Duration::from_millis(1));
    let second = renewed(&server, &first.refresh).await;
    assert_eq!(renewed(&server, &first.refresh).await.refresh, second.refresh);
    server.clock().advance(Duration::from_millis(1));
    refresh(&server, &first.refresh).await.expect_error(401, "REFRESH_TOKEN_EXPIRED");
    server.clock().advance(14 * DAY - Duration::from_millis(2));
    let third = renewed(&server, &second.refresh).await;
    server.clock().advance(14 * DAY);
    refresh(&server, &third.refresh).await.expect_error(401, "REFRESH_TOKEN_EXPIRED");
    me(&server, &third).await.expect_error(401, "TOKEN_EXPIRED");
    me(&server, &sign_in_as(&server, "ada@x.example", "web").await).await.expect(200);
}

#[tokio::test]
async fn the_days_are_a_setting() {
    let server = standing_still().option("--refresh-token-expire-days", "7").start().await;
    let tokens = student(&server).await;
    server.clock().advance(7 * DAY);
    refresh(&server, &tokens.refresh).await.expect_error(401, "REFRESH_TOKEN_EXPIRED");
}

#[tokio::test]
async fn verifying_a_token_says_whose_it_is_and_how_long_it_is_good() {
    let server = standing_still().start().await;
    let id = server.create_user("ada@x.example", "student").await;
    let tokens = sign_in_as(&server, "ada@x.example", "web").await;
    server.clock().advance(Duration::from_secs(60));
    for path in ["/auth/verify", "/v1/auth/verify", "/api/v1/auth/verify"] {
        let reply = server.with_token(&tokens.access).get(path).await.expect(200);
        assert_eq!((&reply["valid"], &reply["user_id"], &reply["role"]), (&json!(true), &json!(id), &json!("student")));
        assert_eq!((&reply["expires_in"], &reply["expires_at"]), (&json!(840), &json!("2025-11-20T12:15:00.000Z")));
        server.anonymous().get(path).await.expect_error(401, "UNAUTHORIZED");
        server.with_token(&tokens.refresh).get(path).await.expect_error(401, "TOKEN_INVALID");
    }
    server.anonymous().post(LOGOUT, &json!({"refresh_token": tokens.refresh})).await.expect(200);
    server.with_token(&tokens.access).get("/auth/verify").await.expect_error(401, "TOKEN_REVOKED");
}

#[tokio::test]
async fn another_server_is_told_and_need_not_look() {
    let here = TestServer::start().await;
    if here.data().is_sqlite() {
        return;
    }
    let there = TestServer::builder().beside(&here).start().await;
    let tokens = student(&here).await;
    me(&there, &tokens).await.expect(200);
    let twice = renewed(&there, &tokens.refresh).await;
    assert_eq!(renewed(&here, &tokens.refresh).await.refresh, twice.refresh);
    here.anonymous().post(LOGOUT, &json!({"refresh_token": twice.refresh})).await.expect(200);
    let watch = muster_server::clock::Stopwatch::start();
    me(&here, &tokens).await.expect_error(401, "TOKEN_REVOKED");
    refresh(&there, &twice.refresh).await.expect_error(401, "REFRESH_TOKEN_REVOKED");
    while me(&there, &tokens).await.status.as_u16() == 200 {
        // It is told at once; without that it would look for itself after 30 s. A busy machine takes its time.
        assert!(watch.elapsed() < Duration::from_secs(15), "the other server still takes the token");
    }
    me(&there, &tokens).await.expect_error(401, "TOKEN_REVOKED");
}

#[tokio::test]
async fn a_malformed_sign_out_tells_nothing_back_of_what_was_sent() {
    let server = TestServer::start().await;
    for (body, status) in [
        (json!("mrt_a-secret"), 422),
        (json!({ "mrt_a-secret": 1 }), 422),
        (json!({ "refresh_token": ["mrt_a-secret"] }), 422),
        (json!({ "refresh_token": "mrt_a-secret" }), 200),
    ] {
        let reply = server.anonymous().post(LOGOUT, &body).await;
        assert_eq!(reply.status, status, "{body}");
        assert!(!String::from_utf8_lossy(&reply.bytes).contains("a-secret"), "{body}");
    }
}
