//! The seven checks of a source system's security harness, by their numbers there.

use muster_server::clock::{Clock, SystemClock};
use muster_tests::{PASSWORD, Reply, TestServer};
use serde_json::{Value, json};
use totp_rs::Totp;

const LOGIN: &str = "/v1/auth/login";

async fn login(server: &TestServer, email: &str, password: &str) -> Reply {
    server.anonymous().post(LOGIN, &json!({ "email": email, "password": password })).await
}

#[tokio::test]
async fn check_1_an_invalid_login_gets_a_generic_error() {
    let server = TestServer::start().await;
    server.create_user("known@x.example", "student").await;
    let mut said = Vec::new();
    for email in ["known@x.example", "unknown@x.example"] {
        let error = login(&server, email, "wrong password").await.expect_error(401, "INVALID_CREDENTIALS");
        said.push((error["message"].clone(), error["details"].clone()));
    }
    assert_eq!(said[0], said[1]);
    login(&server, "known@x.example", PASSWORD).await.expect(200);
}

#[tokio::test]
async fn check_2_too_many_requests_get_429_with_retry_after() {
    let server = TestServer::builder().limits_as_shipped().manual_clock(SystemClock.now_ms()).start().await;
    // Each account is tried once, so that only the address is over its limit: 20 in 10 minutes.
    let mut answers = Vec::new();
    for number in 0..25 {
        answers.push(login(&server, &format!("nobody{number}@x.example"), "wrong password").await);
    }
    let (within, over) = answers.split_at(20);
    assert!(within.iter().all(|reply| reply.status.as_u16() == 401), "{within:?}");
    for reply in over {
        assert_eq!(reply.status.as_u16(), 429);
        let seconds: u32 = reply.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=600).contains(&seconds), "{seconds}");
    }
    server.clock().advance(std::time::Duration::from_secs(601));
    login(&server, "nobody@x.example", "wrong password").await.expect_error(401, "INVALID_CREDENTIALS");
}

#[tokio::test]
async fn check_3_repeated_failures_lock_the_account_for_a_while() {
    let server = TestServer::builder().manual_clock(SystemClock.now_ms()).start().await;
    server.create_user("known@x.example", "student").await;
    for _ in 0..8 {
        login(&server, "known@x.example", "wrong password").await.expect_error(401, "INVALID_CREDENTIALS");
    }
    let locked = login(&server, "known@x.example", PASSWORD).await;
    assert_eq!(locked.status.as_u16(), 429, "{locked:?}");
    assert!(locked.headers.contains_key("retry-after"));
    server.clock().advance(std::time::Duration::from_secs(901));
    login(&server, "known@x.example", PASSWORD).await.expect(200);
}

#[tokio::test]
async fn check_5_an_invalid_second_factor_signs_nobody_in() {
    let server = TestServer::builder().manual_clock(SystemClock.now_ms()).start().await;
    server.create_user("ada@x.example", "lecturer").await;
    let ada = server.sign_in("ada@x.example").await;
    let begun = ada.post("/v1/auth/mfa/enroll", &json!({ "password": PASSWORD })).await.expect(200);
    let app = Totp::from_url(begun["otpauth_url"].as_str().unwrap()).unwrap();
    let code = |steps: i64| app.generate((server.clock_ms() / 1000 + steps * app.step() as i64) as u64).to_string();
    ada.post("/v1/auth/mfa/confirm", &json!({ "code": code(0) })).await.expect(200);
    let half = login(&server, "ada@x.example", PASSWORD).await.expect(200);
    assert_eq!((&half["mfa_required"], half.get("access_token")), (&json!(true), None));
    let complete = |code: String| {
        let body: Value = json!({ "mfa_token": half["mfa_token"], "code": code });
        let client = server.anonymous();
        async move { client.post("/v1/auth/mfa/complete", &body).await }
    };
    let wrong = if code(1) == "000000" { "000001" } else { "000000" };
    let refused = complete(wrong.to_owned()).await;
    assert!(matches!(refused.status.as_u16(), 400 | 401), "{refused:?}");
    assert!(!String::from_utf8_lossy(&refused.bytes).contains("access_token"));
    // Half a sign-in is no sign-in.
    let token = half["mfa_token"].as_str().unwrap();
    assert_eq!(server.with_token(token).get("/v1/auth/me").await.status.as_u16(), 401);
    assert!(complete(code(1)).await.expect(200)["access_token"].is_string());
}
