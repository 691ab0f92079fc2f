//! The seven checks of a source system's security harness, by their numbers there.

use muster_server::clock::{Clock, SystemClock};
use muster_tests::process::{ServerProcess, lines};
use muster_tests::{PASSWORD, Reply, TestServer};
use serde_json::{Value, json};
use totp_rs::Totp;

const LOGIN: &str = "/v1/auth/login";
const JWT_SECRET: &str = "canary-secret-of-the-checks-4c5d6e7f8091";

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
    // A lock is not told from a wrong password, so that nobody learns that there is such an account.
    login(&server, "known@x.example", PASSWORD).await.expect_error(401, "INVALID_CREDENTIALS");
    login(&server, "unknown@x.example", PASSWORD).await.expect_error(401, "INVALID_CREDENTIALS");
    server.clock().advance(std::time::Duration::from_secs(901));
    login(&server, "known@x.example", PASSWORD).await.expect(200);
}

#[tokio::test]
async fn check_4_an_invalid_state_of_a_provider_signs_nobody_in() {
    let google = TestServer::builder().option("--oauth-google-client-id", "muster");
    let google = google.option("--public-url", "http://127.0.0.1:8000");
    let server = google.option("--oauth-google-client-secret", "a secret of the provider").start().await;
    for query in ["state=nonsense&code=1", "code=1", "state=&code=", "state=nonsense&error=access_denied"] {
        let reply = server.anonymous().get(&format!("/v1/auth/oauth/google/callback?{query}")).await;
        reply.expect_error(400, "OAUTH_STATE_INVALID");
    }
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

/// What a server says about a wrong and a right sign-in: everything, and the lines that are JSON.
async fn log_of_sign_ins() -> (String, Vec<Value>, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let environment = [("LOG_LEVEL", "DEBUG"), ("SEED_DEMO_ACCOUNTS", "true"), ("JWT_SECRET", JWT_SECRET)];
    let server = ServerProcess::start(env!("CARGO_BIN_EXE_load"), dir.path(), &environment);
    let http = muster_tests::http::client().build().unwrap();
    let send = async |path: &str, id: &str, body: Value| {
        let request = http.post(server.url(path)).header("X-Request-ID", id).json(&body);
        request.send().await.unwrap().json::<Value>().await.unwrap()
    };
    let wrong = json!({"email": "student@example.com", "password": "a wrong canary password"});
    send(LOGIN, "check-wrong", wrong).await;
    let right = json!({"email": "student@example.com", "password": "Student123!"});
    let tokens = send(LOGIN, "check-right", right).await;
    let renewed = send("/v1/auth/refresh", "check-refresh", json!({"refresh_token": tokens["refresh_token"]})).await;
    server.stop();
    let text = std::fs::read_to_string(dir.path().join("console.log")).unwrap();
    let mut secrets = vec![JWT_SECRET.to_owned(), "a wrong canary password".to_owned(), "Student123!".to_owned()];
    secrets.push("student@example.com".to_owned());
    for body in [tokens, renewed] {
        secrets.extend(["access_token", "refresh_token"].map(|name| body[name].as_str().unwrap().to_owned()));
    }
    let lines = lines(&text);
    (text, lines, secrets)
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_6_and_7_the_log_names_request_and_event_and_no_secret() {
    let (text, lines, secrets) = log_of_sign_ins().await;
    for (id, event) in
        [("check-wrong", "sign_in.failure"), ("check-right", "sign_in.success"), ("check-refresh", "token.refreshed")]
    {
        let noted = lines.iter().any(|line| line["request_id"] == id && line["event_type"] == event);
        assert!(noted, "no line for {id} with {event}: {text}");
    }
    assert_eq!(secrets.len(), 8);
    for secret in secrets {
        assert!(!text.contains(&secret), "the log holds {secret}");
    }
}
