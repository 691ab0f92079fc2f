//! Every number of the replaced systems' settings about signing in does something, on both sides of what it says.

use std::time::Duration;

use muster_tests::oidc::{Browser, Provider, providers_file};
use muster_tests::{PASSWORD, Reply, TestServer, TestServerBuilder};
use serde_json::{Value, json};

use super::oidc::{NOW_MS, another_provider, person};
use super::smtp::MailServer;
use super::{mfa, tokens};

const LOGIN: &str = "/api/v1/auth/login";
const MINUTE: Duration = Duration::from_secs(60);

fn with(options: &[(&str, &str)]) -> TestServerBuilder {
    let builder = TestServer::builder().manual_clock(NOW_MS);
    options.iter().fold(builder, |builder, (name, value)| builder.option(name, value))
}

async fn login(server: &TestServer, email: &str, password: &str) -> Reply {
    server.anonymous().post(LOGIN, &json!({ "email": email, "password": password })).await
}

fn retry_after_s(reply: &Reply) -> u64 {
    reply.headers["retry-after"].to_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn access_tokens_live_as_long_as_each_source_says() {
    for minutes in [60_u32, 1_440] {
        let server = with(&[("--access-token-expire-minutes", &minutes.to_string())]).start().await;
        server.create_user("ada@x.example", "student").await;
        let reply = login(&server, "ada@x.example", PASSWORD).await.expect(200);
        assert_eq!(reply["expires_in"], minutes * 60);
        let ada = server.with_token(reply["access_token"].as_str().unwrap());
        server.clock().advance(minutes * MINUTE);
        ada.get("/api/v1/auth/me").await.expect(200);
        server.clock().advance(Duration::from_secs(5));
        ada.get("/api/v1/auth/me").await.expect_error(401, "TOKEN_EXPIRED");
    }
}

#[tokio::test]
async fn a_week_of_refresh_tokens_is_a_week() {
    let server = with(&[("--refresh-token-expire-days", "7")]).start().await;
    let tokens = tokens::student(&server).await;
    server.clock().advance(7 * 24 * 60 * MINUTE - Duration::from_millis(1));
    let renewed = tokens::renewed(&server, &tokens.refresh).await;
    server.clock().advance(7 * 24 * 60 * MINUTE);
    tokens::refresh(&server, &renewed.refresh).await.expect_error(401, "REFRESH_TOKEN_EXPIRED");
}

#[tokio::test]
async fn a_link_for_a_new_password_lives_as_long_as_the_setting_says() {
    let post = MailServer::plain();
    let port = post.port.to_string();
    let smtp = [("--smtp-host", "127.0.0.1"), ("--smtp-port", port.as_str()), ("--smtp-tls", "none")];
    let server = with(&[&smtp[..], &[("--password-reset-expire-minutes", "10")]].concat()).start().await;
    server.create_user("ada@uni.example", "student").await;
    let (ask, confirm) = ("/v1/auth/password-reset/request", "/v1/auth/password-reset/confirm");
    for (number, late, status) in [(1, Duration::ZERO, 400), (2, Duration::from_millis(1), 200)] {
        server.anonymous().post(ask, &json!({ "email": "ada@uni.example" })).await.expect(202);
        let (_, token) = post.nth(number).await.link();
        server.clock().advance(10 * MINUTE - late);
        let body = json!({ "token": token, "new_password": "a rather new password" });
        server.anonymous().post(confirm, &body).await.expect(status);
    }
}

#[tokio::test]
async fn half_a_sign_in_and_backup_codes_are_as_the_settings_say() {
    let server = with(&[("--mfa-token-expire-minutes", "1"), ("--mfa-backup-codes-count", "3")]).start().await;
    let ada = mfa::enrol(&server, "ada@x.example").await;
    assert_eq!(ada.backup_codes.len(), 3);
    let half = login(&server, "ada@x.example", PASSWORD).await.expect(200);
    assert_eq!((&half["token_type"], &half["expires_in"]), (&json!("mfa_pending"), &json!(60)));
    server.clock().advance(MINUTE + Duration::from_secs(4));
    mfa::complete(&server, half["mfa_token"].as_str().unwrap(), &ada.code(&server, 0)).await.expect(200);
    let late = mfa::mfa_token(&server, "ada@x.example").await;
    server.clock().advance(MINUTE + Duration::from_secs(5));
    mfa::complete(&server, &late, &ada.code(&server, 0)).await.expect_error(401, "TOKEN_EXPIRED");
}

#[tokio::test]
async fn an_account_waits_as_often_and_as_long_as_the_settings_say() {
    let server = with(&[("--login-fail-email-threshold", "3"), ("--email-lock-ttl", "120")]).start().await;
    server.create_user("ada@x.example", "student").await;
    for _ in 0..2 {
        login(&server, "ada@x.example", "wrong password").await.expect_error(401, "INVALID_CREDENTIALS");
    }
    login(&server, "ada@x.example", PASSWORD).await.expect(200);
    for _ in 0..3 {
        login(&server, "ada@x.example", "wrong password").await.expect_error(401, "INVALID_CREDENTIALS");
    }
    server.clock().advance(Duration::from_secs(119));
    login(&server, "ada@x.example", PASSWORD).await.expect_error(401, "INVALID_CREDENTIALS");
    server.clock().advance(Duration::from_secs(1));
    login(&server, "ada@x.example", PASSWORD).await.expect(200);
}

/// The waits of an address that goes on failing.
async fn waits(server: &TestServer, times: usize) -> Vec<u64> {
    let mut waits = Vec::new();
    for _ in 0..times {
        for number in 0..2 {
            let nobody = format!("nobody{number}@x.example");
            login(server, &nobody, "wrong password").await.expect_error(401, "INVALID_CREDENTIALS");
        }
        let reply = login(server, "nobody@x.example", PASSWORD).await;
        let wait_s = retry_after_s(&reply);
        reply.expect_error(429, "RATE_LIMITED");
        server.clock().advance(Duration::from_secs(wait_s));
        waits.push(wait_s);
    }
    waits
}

#[tokio::test]
async fn the_wait_of_an_address_doubles_up_to_the_most_or_stays() {
    let common = [("--login-fail-ip-threshold", "2"), ("--ip-lock-ttl", "100")];
    let doubling = with(&[&common[..], &[("--ip-lock-max-ttl", "350")]].concat()).start().await;
    assert_eq!(waits(&doubling, 4).await, [100, 200, 350, 350]);
    let steady = with(&[&common[..], &[("--ip-lock-escalation", "false")]].concat()).start().await;
    assert_eq!(waits(&steady, 3).await, [100, 100, 100]);
    let shipped = with(&[("--login-fail-ip-threshold", "2")]).start().await;
    let expected = [900, 1_800, 3_600, 7_200, 14_400, 28_800, 57_600, 86_400, 86_400];
    assert_eq!(waits(&shipped, 9).await, expected);
}

#[tokio::test]
async fn each_rate_is_what_the_setting_says_and_tells_when_to_come_back() {
    let reset = |number: u32| json!({ "email": format!("nobody{number}@x.example") });
    let sign_up = |number: u32| json!({"email": format!("n{number}@x.example"), "password": PASSWORD, "name": "New"});
    let sign_in = |number: u32| json!({"email": format!("nobody{number}@x.example"), "password": PASSWORD});
    let same_reset = |_: u32| json!({ "email": "ada@x.example" });
    let same_sign_in = |_: u32| json!({"email": "ada@x.example", "password": PASSWORD});
    let (register, request) = ("/v1/auth/signup", "/v1/auth/password-reset/request");
    type Body<'a> = &'a dyn Fn(u32) -> Value;
    let cases: [(&str, &str, Body<'_>, u16, u64); 5] = [
        ("--rl-login-ip-limit", LOGIN, &sign_in, 401, 600),
        ("--rl-login-email-limit", LOGIN, &same_sign_in, 401, 600),
        ("--rl-signup-ip-limit", register, &sign_up, 201, 3_600),
        ("--rl-reset-ip-limit", request, &reset, 202, 3_600),
        ("--rl-reset-email-limit", request, &same_reset, 202, 3_600),
    ];
    for (option, path, body, status, window_s) in cases {
        let server = with(&[(option, "2")]).start().await;
        for number in 0..2 {
            server.anonymous().post(path, &body(number)).await.expect(status);
        }
        let reply = server.anonymous().post(path, &body(2)).await;
        let wait_s = retry_after_s(&reply);
        reply.expect_error(429, "RATE_LIMITED");
        assert!((1..=window_s).contains(&wait_s), "{option}: {wait_s}");
        server.clock().advance(Duration::from_secs(wait_s));
        server.anonymous().post(path, &body(3)).await.expect(status);
    }
}

async fn provider_and_server(option: &str, value: &str) -> (Provider, TestServer) {
    let provider = another_provider("campus").await;
    let (_dir, path) = providers_file(&[provider.entry("campus", "", "")]);
    let server = with(&[("--oauth-providers-file", path.to_str().unwrap()), (option, value)]).start().await;
    provider.person(person("ada")).await;
    (provider, server)
}

async fn pass(server: &TestServer, provider: &Provider, seconds: u64) {
    server.clock().advance(Duration::from_secs(seconds));
    provider.set(json!({ "now_s": server.clock_ms() / 1000 })).await;
}

#[tokio::test]
async fn a_sign_in_at_a_provider_is_good_as_long_as_state_and_nonce_say() {
    for option in ["--oauth-state-ttl", "--oauth-nonce-ttl"] {
        let (provider, server) = provider_and_server(option, "90").await;
        let browser = Browser::new(&server);
        for (seconds, status) in [(90, 400), (89, 200)] {
            let begun = browser.begin("campus", "").await;
            let back = browser.authorize(&begun).await;
            pass(&server, &provider, seconds).await;
            browser.open(&back, Some(&begun.cookie)).await.expect(status);
        }
    }
}

#[tokio::test]
async fn a_link_token_and_a_providers_keys_are_good_as_long_as_the_settings_say() {
    let (provider, server) = provider_and_server("--oauth-link-ttl", "60").await;
    server.create_user("ada@uni.example", "student").await;
    let browser = Browser::new(&server);
    for (seconds, status) in [(60, 400), (59, 200)] {
        let ada = server.sign_in("ada@uni.example").await;
        let error = browser.sign_in("campus").await.expect_error(409, "ACCOUNT_LINK_REQUIRED");
        pass(&server, &provider, seconds).await;
        let body = json!({ "link_token": error["details"]["link_token"], "password": PASSWORD });
        ada.post("/api/v1/auth/oauth/link", &body).await.expect(status);
    }
    let (provider, server) = provider_and_server("--jwks-cache-ttl-seconds", "120").await;
    let browser = Browser::new(&server);
    for (seconds, fetched) in [(0, 1), (119, 1), (1, 2)] {
        pass(&server, &provider, seconds).await;
        browser.sign_in("campus").await.expect(200);
        assert_eq!(provider.count("jwks").await, fetched, "{seconds} s later");
    }
}
