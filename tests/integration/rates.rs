//! How often somebody may try, who must wait, and who need not wait because of others.

use std::time::Duration;

use futures_util::future::join_all;
use muster_server::audit;
use muster_server::auth::{self, Email};
use muster_server::db::DbError;
use muster_server::ids::TenantId;
use muster_tests::{Client, Data, PASSWORD, Reply, TestServer};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

const NOW_MS: i64 = 1_763_640_000_000;
const LOGIN: &str = "/api/v1/auth/login";

fn login(email: &str, password: &str) -> Value {
    json!({ "email": email, "password": password })
}

fn retry_after_s(reply: &Reply) -> u64 {
    reply.headers["retry-after"].to_str().unwrap().parse().unwrap()
}

/// How many sign-ins the audit log holds that were refused for this reason.
async fn refused(server: &TestServer, reason: &str) -> usize {
    let tenant = TenantId::default_tenant();
    let rows: Result<_, DbError> = server.app().db.read(move |tx| audit::rows(tx, &tenant, 0, 1000)).await;
    let refused = |row: &audit::AuditRow| row.action == "auth.sign_in_fail" && row.reason.as_deref() == Some(reason);
    rows.unwrap().iter().filter(|row| refused(row)).count()
}

#[tokio::test]
async fn an_account_waits_after_eight_failures_and_nobody_sees_that_it_does() {
    let server = TestServer::builder().manual_clock(NOW_MS).start().await;
    server.create_user("known@x.example", "student").await;
    let client = server.anonymous();
    for _ in 0..8 {
        client.post(LOGIN, &login("known@x.example", "wrong password")).await.expect_error(401, "INVALID_CREDENTIALS");
    }
    let wrong = client.post(LOGIN, &login("known@x.example", "wrong password")).await;
    let right = client.post(LOGIN, &login("known@x.example", PASSWORD)).await;
    let message = |reply: Reply| reply.expect_error(401, "INVALID_CREDENTIALS")["message"].clone();
    assert_eq!(message(wrong), message(right));
    server.clock().advance(Duration::from_secs(899));
    client.post(LOGIN, &login("known@x.example", PASSWORD)).await.expect_error(401, "INVALID_CREDENTIALS");
    server.clock().advance(Duration::from_secs(1));
    client.post(LOGIN, &login("known@x.example", PASSWORD)).await.expect(200);
}

#[tokio::test]
async fn of_fifty_guesses_at_once_at_most_eight_are_evaluated() {
    let server = TestServer::builder().manual_clock(NOW_MS).start().await;
    server.create_user("known@x.example", "student").await;
    let client = server.anonymous();
    let guess = login("known@x.example", "wrong password");
    let replies = join_all((0..50).map(|_| client.post(LOGIN, &guess))).await;
    assert!(replies.iter().all(|reply| reply.status == 401));
    assert_eq!((refused(&server, "wrong").await, refused(&server, "locked").await), (8, 42));
    client.post(LOGIN, &login("known@x.example", PASSWORD)).await.expect_error(401, "INVALID_CREDENTIALS");
}

#[tokio::test]
async fn the_name_and_the_address_of_an_account_share_its_failures() {
    let server = TestServer::builder().manual_clock(NOW_MS).start().await;
    let admin = server.client("admin").await;
    let ada = json!({"email": "ada@x.example", "username": "ada", "password": PASSWORD, "name": "Ada"});
    admin.post("/api/v1/auth/register", &ada).await.expect(201);
    for _ in 0..4 {
        let by_name = json!({"username": "ADA", "password": "wrong password"});
        server.anonymous().post(LOGIN, &by_name).await.expect_error(401, "INVALID_CREDENTIALS");
        let by_address = login("ada@x.example", "wrong password");
        server.anonymous().post(LOGIN, &by_address).await.expect_error(401, "INVALID_CREDENTIALS");
    }
    server.anonymous().post(LOGIN, &login("ada@x.example", PASSWORD)).await.expect_error(401, "INVALID_CREDENTIALS");
}

#[tokio::test]
async fn a_successful_sign_in_makes_the_failures_before_it_forgotten() {
    let server = TestServer::builder().manual_clock(NOW_MS).start().await;
    server.create_user("known@x.example", "student").await;
    let client = server.anonymous();
    for _ in 0..3 {
        for _ in 0..7 {
            client
                .post(LOGIN, &login("known@x.example", "wrong password"))
                .await
                .expect_error(401, "INVALID_CREDENTIALS");
        }
        client.post(LOGIN, &login("known@x.example", PASSWORD)).await.expect(200);
    }
}

/// What the audit log and the mail say about locks.
async fn alarms(server: &TestServer) -> (usize, i64) {
    let tenant = TenantId::default_tenant();
    let rows: Result<_, DbError> = server.app().db.read(move |tx| audit::rows(tx, &tenant, 0, 1000)).await;
    let noted = rows.unwrap().iter().filter(|row| row.action == "auth.sign_in_lock").count();
    let sql = "SELECT count(*) FROM mail_outbox";
    let queued: Result<Option<i64>, DbError> =
        server.app().db.read(|tx| tx.query_one(sql, &[], |row| row.get(0))).await;
    (noted, queued.unwrap().unwrap())
}

#[tokio::test]
async fn nobody_is_alarmed_when_the_last_try_is_right() {
    let nowhere = [("--smtp-host", "127.0.0.1"), ("--smtp-port", "9"), ("--smtp-tls", "none")];
    let builder = TestServer::builder().manual_clock(NOW_MS).option("--login-fail-ip-threshold", "8");
    let server = nowhere.iter().fold(builder, |builder, (name, value)| builder.option(name, value)).start().await;
    let id = server.create_user("known@x.example", "student").await;
    let client = server.anonymous();
    for _ in 0..7 {
        client.post(LOGIN, &login("known@x.example", "wrong password")).await.expect_error(401, "INVALID_CREDENTIALS");
    }
    let tokens = client.post(LOGIN, &login("known@x.example", PASSWORD)).await.expect(200);
    assert_eq!(alarms(&server).await, (0, 0));
    // The address has seven failures still; the eighth closes it, and the account begins anew.
    client.post(LOGIN, &login("known@x.example", "wrong password")).await.expect_error(401, "INVALID_CREDENTIALS");
    assert_eq!(alarms(&server).await, (1, 0));
    let known = server.with_token(tokens["access_token"].as_str().unwrap());
    let change = |old: &str| json!({ "current_password": old, "new_password": "a rather new password" });
    for wrong in 1..8 {
        let reply = known.post("/auth/change-password", &change("wrong password")).await;
        reply.expect_error(403, "INVALID_CREDENTIALS");
        let expected = if wrong < 7 { (1, 0) } else { (2, 1) };
        assert_eq!(alarms(&server).await, expected, "{id}: the owner hears of it once");
    }
    known.post("/auth/change-password", &change(PASSWORD)).await.expect_error(429, "RATE_LIMITED");
}

#[tokio::test]
async fn who_hangs_up_after_a_guess_is_noted_all_the_same() {
    let server = TestServer::builder().manual_clock(NOW_MS).option("--login-fail-email-threshold", "1").start().await;
    server.create_user("known@x.example", "student").await;
    let body = login("known@x.example", "wrong password").to_string();
    let head = format!("POST {LOGIN} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ");
    let mut guesser = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    guesser.write_all(format!("{head}{}\r\n\r\n{body}", body.len()).as_bytes()).await.unwrap();
    let counted = async || -> i64 {
        let sql = "SELECT count(*) FROM sign_in_failures";
        let read: Result<_, DbError> = server.app().db.read(|tx| tx.query_one(sql, &[], |row| row.get(0))).await;
        read.unwrap().unwrap()
    };
    while counted().await == 0 {}
    drop(guesser);
    for _ in 0..1_000 {
        if refused(&server, "wrong").await == 1 {
            break;
        }
        server.anonymous().get("/health").await.expect(200);
    }
    assert_eq!((refused(&server, "wrong").await, alarms(&server).await.0), (1, 1));
    let right = server.anonymous().post(LOGIN, &login("known@x.example", PASSWORD)).await;
    right.expect_error(401, "INVALID_CREDENTIALS");
}

#[tokio::test]
async fn locks_and_counters_survive_a_restart() {
    let server = TestServer::builder().limits_as_shipped().manual_clock(NOW_MS).start().await;
    server.create_user("known@x.example", "student").await;
    for _ in 0..8 {
        let reply = server.anonymous().post(LOGIN, &login("known@x.example", "wrong password")).await;
        reply.expect_error(401, "INVALID_CREDENTIALS");
    }
    let data = server.stop().await;
    let again = TestServer::builder().limits_as_shipped().manual_clock(NOW_MS + 1_000).data(data).start().await;
    let client = again.anonymous();
    for _ in 8..10 {
        client.post(LOGIN, &login("known@x.example", PASSWORD)).await.expect_error(401, "INVALID_CREDENTIALS");
    }
    let reply = client.post(LOGIN, &login("known@x.example", PASSWORD)).await;
    assert_eq!(retry_after_s(&reply), 599);
    reply.expect_error(429, "RATE_LIMITED");
}

#[tokio::test]
async fn a_failure_stays_counted_when_the_request_fails_afterwards() {
    let server = TestServer::builder().limits_as_shipped().manual_clock(NOW_MS).start().await;
    let client = server.anonymous();
    // A character that no database text may hold fails the request after it was counted.
    let broken = login("a\u{0}b", "wrong password");
    for _ in 0..10 {
        client.post(LOGIN, &broken).await.expect_error(422, "VALIDATION_ERROR");
    }
    client.post(LOGIN, &broken).await.expect_error(429, "RATE_LIMITED");
}

#[tokio::test]
async fn a_name_is_tried_ten_times_in_ten_minutes_whether_it_exists_or_not() {
    let server = TestServer::builder().limits_as_shipped().option("--rl-login-ip-limit", "1000").manual_clock(NOW_MS);
    let server = server.option("--rl-anonymous-ip-limit", "1000").option("--login-fail-ip-threshold", "1000");
    let server = server.start().await;
    server.create_user("known@x.example", "student").await;
    let client = server.anonymous();
    for name in ["known@x.example", "unknown@x.example", "nobody"] {
        for _ in 0..10 {
            let body = json!({ "username": name, "password": "wrong password" });
            client.post(LOGIN, &body).await.expect_error(401, "INVALID_CREDENTIALS");
        }
        let body = json!({ "username": name.to_uppercase(), "password": PASSWORD });
        let reply = client.post(LOGIN, &body).await;
        assert_eq!(retry_after_s(&reply), 600);
        reply.expect_error(429, "RATE_LIMITED");
    }
    server.clock().advance(Duration::from_secs(900));
    client.post(LOGIN, &login("known@x.example", PASSWORD)).await.expect(200);
}

#[tokio::test]
async fn an_address_that_fails_thirty_times_waits_longer_each_time() {
    let server = TestServer::builder().manual_clock(NOW_MS).option("--login-fail-ip-threshold", "30").start().await;
    server.create_user("known@x.example", "student").await;
    let client = server.anonymous();
    for wait_s in [900, 1_800, 3_600] {
        for number in 0..30 {
            let unknown = login(&format!("nobody{number}@x.example"), "wrong password");
            client.post(LOGIN, &unknown).await.expect_error(401, "INVALID_CREDENTIALS");
        }
        let reply = client.post(LOGIN, &login("known@x.example", PASSWORD)).await;
        assert_eq!(retry_after_s(&reply), wait_s);
        reply.expect_error(429, "RATE_LIMITED");
        server.clock().advance(Duration::from_secs(wait_s));
        client.post(LOGIN, &login("known@x.example", PASSWORD)).await.expect(200);
    }
}

#[tokio::test]
async fn right_passwords_never_lock_the_address_that_they_come_from() {
    let server = TestServer::builder().option("--login-fail-ip-threshold", "5").start().await;
    for number in 0..12 {
        server.create_user(&format!("s{number}@x.example"), "student").await;
    }
    for number in 0..12 {
        let right = login(&format!("s{number}@x.example"), PASSWORD);
        server.anonymous().post(LOGIN, &right).await.expect(200);
    }
}

#[tokio::test]
async fn signing_up_is_limited_by_address() {
    let server = TestServer::builder().limits_as_shipped().manual_clock(NOW_MS).start().await;
    let client = server.anonymous();
    let body = |number: usize| json!({"email": format!("s{number}@x.example"), "password": PASSWORD, "name": "S"});
    for number in 0..5 {
        client.post("/v1/auth/signup", &body(number)).await.expect(201);
    }
    let reply = client.post("/v1/auth/signup", &body(5)).await;
    assert_eq!(retry_after_s(&reply), 3_600);
    reply.expect_error(429, "RATE_LIMITED");
    let admin = server.client("admin").await;
    admin.post("/v1/auth/signup", &body(5)).await.expect(201);
    server.clock().advance(Duration::from_secs(3_600));
    client.post("/v1/auth/signup", &body(6)).await.expect(201);
}

#[tokio::test]
async fn the_tables_of_counters_hold_no_address_and_do_not_grow() {
    let server = TestServer::builder().manual_clock(NOW_MS).start().await;
    let client = server.anonymous();
    for number in 0..20 {
        client
            .post(LOGIN, &login(&format!("n{number}@x.example"), "wrong password"))
            .await
            .expect_error(401, "INVALID_CREDENTIALS");
    }
    let rows = async || -> (i64, i64) {
        let read = server.app().db.read(|tx| {
            let count = |sql: &str| tx.query_one(sql, &[], |row| row.get::<i64>(0)).map(Option::unwrap_or_default);
            Ok::<_, DbError>((
                count("SELECT count(*) FROM rate_counters")?,
                count("SELECT count(*) FROM sign_in_failures")?,
            ))
        });
        read.await.unwrap()
    };
    assert_eq!(rows().await, (21, 21));
    server.clock().advance(Duration::from_secs(3 * 86_400));
    for number in 0..4 {
        client
            .post(LOGIN, &login(&format!("m{number}@x.example"), "wrong password"))
            .await
            .expect_error(401, "INVALID_CREDENTIALS");
    }
    assert_eq!(rows().await, (5, 5));
}

#[tokio::test]
async fn the_password_of_somebody_signed_in_is_guessed_eight_times_too() {
    let server = TestServer::builder().manual_clock(NOW_MS).start().await;
    let client = server.client("student").await;
    let change = |old: &str| json!({"current_password": old, "new_password": "a new password"});
    let path = "/api/v1/auth/change-password";
    for _ in 0..8 {
        client.post(path, &change("wrong password")).await.expect_error(403, "INVALID_CREDENTIALS");
    }
    let reply = client.post(path, &change(PASSWORD)).await;
    assert_eq!(retry_after_s(&reply), 900);
    reply.expect_error(429, "RATE_LIMITED");
}

/// Signed-in phones, and somebody who guesses, behind one address.
async fn hall(server: &TestServer, phones: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for number in 0..phones {
        let email = format!("phone{number}@x.example");
        server.create_user(&email, "student").await;
        let (tenant, address) = (TenantId::default_tenant(), Email::parse(&email).unwrap());
        let found: Result<_, DbError> =
            server.app().db.read(move |tx| auth::find_by_email(tx, &tenant, &address)).await;
        let user = found.unwrap().unwrap();
        clients.push(server.with_token(&auth::issue_token(server.app(), &user).unwrap()));
    }
    clients
}

#[tokio::test]
async fn four_hundred_phones_are_served_beside_somebody_who_guesses_at_their_address() {
    let server = TestServer::builder().limits_as_shipped().manual_clock(NOW_MS).start().await;
    let phones = hall(&server, 400).await;
    let guesser = server.anonymous();
    let mut waits = None;
    for number in 0..100 {
        let reply = guesser.post(LOGIN, &login(&format!("phone{number}@x.example"), "wrong password")).await;
        if reply.status == 429 {
            waits = Some(retry_after_s(&reply));
        }
    }
    assert!(waits.is_some_and(|seconds| seconds > 0), "whoever guesses is stopped");
    for (number, phone) in phones.iter().enumerate() {
        if number % 40 == 0 {
            server.clock().advance(Duration::from_secs(6));
        }
        for _ in 0..3 {
            phone.get("/api/v1/auth/me").await.expect(200);
        }
    }
    guesser.post(LOGIN, &login("phone1@x.example", PASSWORD)).await.expect_error(429, "RATE_LIMITED");
}

#[tokio::test]
async fn a_locked_address_serves_whoever_has_a_token() {
    let server = TestServer::builder().limits_as_shipped().option("--login-fail-ip-threshold", "3").start().await;
    let phones = hall(&server, 2).await;
    let tokens = server.anonymous().post(LOGIN, &login("phone0@x.example", PASSWORD)).await.expect(200);
    for number in 0..4 {
        let reply = server.anonymous().post(LOGIN, &login(&format!("n{number}@x.example"), "wrong password")).await;
        assert_eq!(reply.status, if number < 3 { 401 } else { 429 });
    }
    for phone in &phones {
        phone.get("/api/v1/auth/me").await.expect(200);
        let sync = phone.request(Method::POST, "/api/v1/sync").header("Content-Type", "application/cbor").body("x");
        assert_ne!(Reply::of(sync).await.status, 429);
    }
    // Far more than an address has, because neither is counted by address.
    let renewal = json!({ "refresh_token": tokens["refresh_token"] });
    server.anonymous().post("/api/v1/auth/refresh", &renewal).await.expect(200);
    for _ in 0..100 {
        let forged = json!({ "refresh_token": "forged" });
        assert_ne!(server.anonymous().post("/api/v1/auth/refresh", &forged).await.status, 429);
        assert_ne!(server.anonymous().post("/api/v1/auth/device/challenge", &json!({})).await.status, 429);
    }
}

#[tokio::test]
async fn anonymous_requests_are_limited_by_address_and_health_is_not() {
    let server = TestServer::builder().limits_as_shipped().manual_clock(NOW_MS).start().await;
    let client = server.anonymous();
    let nobody = server.with_token("nonsense");
    for _ in 0..30 {
        client.get("/openapi.json").await.expect(200);
        nobody.get("/api/v1/auth/me").await.expect_error(401, "TOKEN_INVALID");
    }
    let reply = client.get("/openapi.json").await;
    assert_eq!(retry_after_s(&reply), 1);
    reply.expect_error(429, "RATE_LIMITED");
    nobody.get("/api/v1/auth/me").await.expect_error(429, "RATE_LIMITED");
    for path in ["/", "/health", "/v1/health", "/api/v1/ready"] {
        client.get(path).await.expect(200);
    }
    server.clock().advance(Duration::from_secs(1));
    client.get("/openapi.json").await.expect(200);
}

#[tokio::test]
async fn one_user_cannot_take_the_whole_server() {
    let server = TestServer::builder().manual_clock(NOW_MS).option("--rl-user-limit", "50").start().await;
    let (busy, other) = (server.client("student").await, server.client("student").await);
    // The first of them asked who it is when it signed in.
    for _ in 1..50 {
        busy.get("/api/v1/auth/me").await.expect(200);
    }
    let reply = busy.get("/api/v1/auth/me").await;
    assert_eq!(retry_after_s(&reply), 2);
    reply.expect_error(429, "RATE_LIMITED");
    other.get("/api/v1/auth/me").await.expect(200);
}

#[tokio::test]
async fn a_campus_network_has_a_higher_ceiling() {
    let campus = TestServer::builder().limits_as_shipped().option("--campus-networks", "10.0.0.0/8,127.0.0.0/8");
    let campus = campus.manual_clock(NOW_MS).start().await;
    for number in 0..25 {
        let unknown = login(&format!("n{number}@x.example"), "wrong password");
        campus.anonymous().post(LOGIN, &unknown).await.expect_error(401, "INVALID_CREDENTIALS");
    }
    for _ in 0..100 {
        campus.anonymous().get("/openapi.json").await.expect(200);
    }
}

#[tokio::test]
async fn only_a_listed_proxy_says_for_whom_it_asks() {
    let guess = |client: &Client, number: usize, from: &str| {
        let body = login(&format!("n{number}@x.example"), "wrong password");
        Reply::of(client.request(Method::POST, LOGIN).header("X-Forwarded-For", from).json(&body))
    };
    let spoofed = TestServer::builder().option("--rl-login-ip-limit", "3").start().await;
    for number in 0..5 {
        let reply = guess(&spoofed.anonymous(), number, &format!("198.51.100.{number}")).await;
        assert_eq!(reply.status, if number < 3 { 401 } else { 429 });
    }
    let proxied = TestServer::builder().option("--rl-login-ip-limit", "3").option("--trusted-proxies", "127.0.0.1/32");
    let proxied = proxied.start().await;
    for number in 0..5 {
        guess(&proxied.anonymous(), number, &format!("198.51.100.{number}"))
            .await
            .expect_error(401, "INVALID_CREDENTIALS");
    }
    for number in 0..5 {
        let reply = guess(&proxied.anonymous(), 10 + number, &format!("6.6.6.{number}, 2001:db8::{number}")).await;
        assert_eq!(reply.status, if number < 3 { 401 } else { 429 });
    }
}

#[tokio::test]
async fn a_wrong_list_of_networks_or_a_limit_of_nothing_stops_the_start() {
    for (name, value) in
        [("--trusted-proxies", "everybody"), ("--campus-networks", "10.0.0.0/64"), ("--rl-user-limit", "0")]
    {
        let arguments = [name.to_owned(), value.to_owned()];
        let config = muster_server::config::Config::from_arguments(arguments).unwrap();
        assert!(config.check().is_err(), "{name} {value}");
    }
}

#[tokio::test]
async fn servers_of_one_database_count_together() {
    if Data::fresh().is_sqlite() {
        return;
    }
    let one = TestServer::builder().manual_clock(NOW_MS).start().await;
    let two = TestServer::builder().manual_clock(NOW_MS).beside(&one).start().await;
    one.create_user("known@x.example", "student").await;
    for server in [&one, &two, &one, &two, &one, &two, &one, &two] {
        let reply = server.anonymous().post(LOGIN, &login("known@x.example", "wrong password")).await;
        reply.expect_error(401, "INVALID_CREDENTIALS");
    }
    for server in [&one, &two] {
        let reply = server.anonymous().post(LOGIN, &login("known@x.example", PASSWORD)).await;
        reply.expect_error(401, "INVALID_CREDENTIALS");
    }
}

#[tokio::test]
async fn one_address_hears_of_few_sign_ups_wherever_they_come_from() {
    let server = TestServer::builder().option("--rl-signup-ip-limit", "2").option("--trusted-proxies", "127.0.0.1/32");
    let server = server.start().await;
    server.create_user("known@x.example", "student").await;
    let client = server.anonymous();
    let mut from = 0;
    for email in ["known@x.example", "unknown@x.example"] {
        let body = json!({ "email": email, "password": PASSWORD, "display_name": "Ada" });
        for status in [201, 201, 429] {
            from += 1;
            let request = client.request(Method::POST, "/api/v1/auth/register").json(&body);
            let reply = Reply::of(request.header("X-Forwarded-For", format!("198.51.100.{from}"))).await;
            assert_eq!(reply.status, status, "{email}");
        }
    }
}

#[tokio::test]
async fn that_the_server_is_busy_is_no_failure_of_whoever_signs_in() {
    // One who is put off and counted would be one too many with those who are wrong afterwards.
    let server = TestServer::builder().manual_clock(NOW_MS).option("--login-fail-ip-threshold", "140").start().await;
    let emails: Vec<String> = (0..200).map(|number| format!("student{number}@x.example")).collect();
    for email in &emails {
        server.create_user(email, "student").await;
    }
    let client = server.anonymous();
    let replies = join_all(emails.iter().map(|email| {
        let (client, body) = (client.clone(), login(email, PASSWORD));
        async move { client.post(LOGIN, &body).await }
    }));
    let (right, put_off): (Vec<_>, Vec<_>) =
        emails.iter().zip(replies.await).partition(|(_, reply)| reply.status == 200);
    assert!(right.len() >= 100 && put_off.len() >= 20, "{} right, {} put off", right.len(), put_off.len());
    for (_, reply) in put_off {
        assert!(reply.headers.contains_key("retry-after"));
        reply.expect_error(429, "RATE_LIMITED");
    }
    let guess = login("nobody@x.example", "wrong password");
    let wrong = join_all((0..125).map(|_| client.post(LOGIN, &guess))).await;
    assert!(wrong.iter().all(|reply| reply.status == 401), "{:?}", wrong.last().map(|reply| reply.status));
    client.post(LOGIN, &login(&emails[0], PASSWORD)).await.expect(200);
}
