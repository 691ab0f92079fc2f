//! Secrets that are planted everywhere, and looked for in everything that the server says about itself.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use muster_server::clock::{Clock, SystemClock};
use muster_server::db::{Db, DbError};
use muster_server::params;
use muster_tests::process::{ServerProcess, lines};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use totp_rs::Totp;

use crate::smtp::{self, Encryption, Mail, MailServer};

const BINARY: &str = env!("CARGO_BIN_EXE_load");

/// Settings whose values nobody may ever see.
const PLANTED: [(&str, &str); 13] = [
    ("JWT_SECRET", "canary-jwt-6e1f0a9b8c7d6e5f4a3b2c1d"),
    ("JWT_PREVIOUS_SECRETS", "canary-old-5d4c3b2a1f0e9d8c7b6a5f4e"),
    ("TOKEN_PEPPER", "canary-pepper-1a2b3c4d5e6f7a8b9c0d1e2f"),
    ("MFA_ENCRYPTION_KEY", "Y2FuYXJ5LW1mYS1rZXktMDEyMzQ1Njc4OWFiY2RlZjE="),
    ("SMTP_PASSWORD", smtp::SMTP_PASSWORD),
    ("S3_ACCESS_KEY", "canary-access-3b2a1f0e"),
    ("S3_SECRET_KEY", "canary-s3-9c8b7a6f"),
    ("MASTER_KEY", "Y2FuYXJ5LW1hc3Rlci1rZXktMTIzNDU2Nzg5MGFiY2Q="),
    ("OAUTH_GOOGLE_CLIENT_SECRET", "canary-google-2e1d0c9b"),
    ("OAUTH_MICROSOFT_CLIENT_SECRET", "canary-microsoft-8a7f6e5d"),
    ("METRICS_TOKEN", "canary-metrics-0f1e2d3c4b5a"),
    ("CELERY_BROKER_URL", "redis://:canary-celery-4c3b2a1f@localhost:6379/1"),
    ("REDIS_URL", "redis://:canary-redis-6f5e4d3c@localhost:6379/0"),
];
/// What has to be beside them.
const BESIDE: [(&str, &str); 11] = [
    ("PUBLIC_URL", "http://127.0.0.1:8000"),
    ("LOG_LEVEL", "trace"),
    ("DB_SLOW_QUERY_MS", "0"),
    ("RL_LOGIN_EMAIL_LIMIT", "1000"),
    ("RL_LOGIN_IP_LIMIT", "1000"),
    ("SEED_DEMO_ACCOUNTS", "true"),
    ("SMTP_HOST", "127.0.0.1"),
    ("SMTP_USERNAME", smtp::USER),
    ("SMTP_TLS", "none"),
    ("OAUTH_GOOGLE_CLIENT_ID", "google"),
    ("OAUTH_MICROSOFT_CLIENT_ID", "microsoft"),
];

const PASSWORD: &str = "canary-password-5a4b3c2d";
const WRONG_PASSWORD: &str = "canary-wrong-password-1e2f3a4b";
const NEXT_PASSWORD: &str = "canary-next-password-9d8c7b6a";
const LAST_PASSWORD: &str = "canary-last-password-0f1e2d3c";
/// Subject of the mail with the link.
const RESET: &str = "Set a new password";

/// Sends requests, and remembers what must be secret and what was said.
struct Spy<'a> {
    server: &'a ServerProcess,
    http: reqwest::Client,
    secrets: Vec<String>,
    errors: String,
}

impl Spy<'_> {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.server.url(path))
    }

    /// The reply's body; what is no success is kept for the search.
    async fn send(&mut self, request: RequestBuilder) -> (StatusCode, Value) {
        let reply = request.send().await.unwrap();
        let (status, headers) = (reply.status(), format!("{:?}", reply.headers()));
        let text = reply.text().await.unwrap();
        if !status.is_success() {
            self.errors.push_str(&format!("{status} {headers} {text}\n"));
        }
        let body: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        self.remember(&body);
        (status, body)
    }

    async fn post(&mut self, path: &str, body: &Value) -> (StatusCode, Value) {
        let request = self.request(Method::POST, path).json(body);
        self.send(request).await
    }

    async fn post_as(&mut self, token: &str, path: &str, body: &Value) -> (StatusCode, Value) {
        let request = self.request(Method::POST, path).bearer_auth(token).json(body);
        self.send(request).await
    }

    /// Whatever is called a token, a secret or a code is one.
    fn remember(&mut self, body: &Value) {
        match body {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let secret = ["token", "secret", "otpauth", "backup"].iter().any(|word| name.contains(word));
                    match value {
                        Value::String(text) if secret && text.len() >= 10 && name != "token_type" => {
                            self.secrets.push(text.clone());
                        }
                        Value::Array(codes) if secret => {
                            self.secrets.extend(codes.iter().filter_map(Value::as_str).map(str::to_owned));
                        }
                        other => self.remember(other),
                    }
                }
            }
            Value::Array(values) => values.iter().for_each(|value| self.remember(value)),
            _ => {}
        }
    }
}

/// Signing up and in, rightly and wrongly.
async fn sign_in(spy: &mut Spy<'_>) -> String {
    let account = json!({"email": "yellow.bird@x.example", "password": PASSWORD, "name": "Yellow Bird"});
    let (status, _) = spy.post("/auth/register", &account).await;
    assert!(status.is_success(), "{status}: {}", spy.errors);
    let login = |password: &str| json!({"email": "yellow.bird@x.example", "password": password});
    let (status, _) = spy.post("/auth/login", &login(WRONG_PASSWORD)).await;
    assert_eq!(status, 401);
    let malformed = spy.request(Method::POST, "/auth/login").header("Content-Type", "application/json");
    let malformed = malformed.body(format!(r#"{{"email": 1, "password": "{PASSWORD}", "surprise": "{PASSWORD}""#));
    assert!(spy.send(malformed).await.0.is_client_error());
    let mistyped = json!({"email": ["yellow.bird@x.example"], "password": {"is": PASSWORD}});
    assert!(spy.post("/auth/login", &mistyped).await.0.is_client_error());
    let surprise = json!({"email": "yellow.bird@x.example", "password": PASSWORD, WRONG_PASSWORD: PASSWORD});
    assert!(spy.post("/auth/login", &surprise).await.0.is_client_error());
    let (status, reply) = spy.post("/auth/login", &login(PASSWORD)).await;
    assert_eq!(status, 200, "{}", spy.errors);
    reply["access_token"].as_str().unwrap().to_owned()
}

/// Tokens in every place where one may stand, whole, cut and changed.
async fn show_tokens(spy: &mut Spy<'_>, token: &str) {
    let me = spy.request(Method::GET, "/auth/me");
    assert_eq!(spy.send(me.bearer_auth(token)).await.0, 200);
    let altered = format!("{}canary-altered", &token[..token.len() - 20]);
    for header in [format!("Bearer {altered}"), format!("Basic {token}"), format!("Bearer {token} {token}")] {
        let me = spy.request(Method::GET, "/auth/me").header("Authorization", header);
        assert_eq!(spy.send(me).await.0, 401);
    }
    let asked = spy.request(Method::GET, &format!("/auth/me?access_token={token}"));
    assert_eq!(spy.send(asked).await.0, 401);
    let metrics = spy.request(Method::GET, "/metrics").bearer_auth("canary-metrics-wrong-token");
    spy.send(metrics).await;
    let (status, _) = spy.post_as(token, "/api/v1/courses", &json!({"code": PASSWORD, "title": PASSWORD})).await;
    assert_eq!(status, 403);
}

/// A defect of ours: a stored hash that no library can read.
async fn break_an_account(spy: &mut Spy<'_>, data: &Path) {
    let file = data.join("muster.db");
    let broken = "$argon2id$canary-broken-hash-3c2b1a0f";
    let sql = "UPDATE users SET password_hash = ?1 WHERE email = 'student@example.com'";
    let change = move || {
        let db = Db::open_sqlite(&file, 0).unwrap();
        let changed = db.write_blocking::<_, DbError, _>(move |tx| tx.execute(sql, params![broken]));
        db.close();
        changed
    };
    assert_eq!(tokio::task::spawn_blocking(change).await.unwrap(), Ok(1));
    let (status, _) = spy.post("/auth/login", &json!({"email": "student@example.com", "password": PASSWORD})).await;
    assert!(status == 500 || status == 401, "{status}");
}

/// Refresh tokens used rightly, twice, and when they were never made.
async fn renew(spy: &mut Spy<'_>) {
    let login = json!({"email": "yellow.bird@x.example", "password": PASSWORD});
    let (_, first) = spy.post("/auth/login", &login).await;
    let renew = |token: &Value| json!({ "refresh_token": token });
    let (status, second) = spy.post("/v1/auth/refresh", &renew(&first["refresh_token"])).await;
    assert_eq!(status, 200, "{}", spy.errors);
    let (_, third) = spy.post("/v1/auth/refresh", &renew(&second["refresh_token"])).await;
    assert!(third["refresh_token"].is_string());
    let (status, _) = spy.post("/v1/auth/refresh", &renew(&first["refresh_token"])).await;
    assert_eq!(status, 401, "it was used before");
    for nonsense in [json!("canary-no-refresh-token-7a6b5c4d"), json!(["canary-no-refresh-token"]), first.clone()] {
        assert!(spy.post("/v1/auth/refresh", &renew(&nonsense)).await.0.is_client_error());
    }
    let (status, _) = spy.post("/v1/auth/logout", &renew(&third["refresh_token"])).await;
    assert!(status.is_success() || status == 401, "{status}");
}

/// A second factor: set up, missed, used, and used again.
async fn second_factor(spy: &mut Spy<'_>, token: &str, password: &str) {
    let (status, _) = spy.post_as(token, "/auth/mfa/enroll", &json!({ "password": WRONG_PASSWORD })).await;
    assert!(status.is_client_error());
    let (status, enrolling) = spy.post_as(token, "/auth/mfa/enroll", &json!({ "password": password })).await;
    assert_eq!(status, 200, "{}", spy.errors);
    let app = Totp::from_url(enrolling["otpauth_url"].as_str().unwrap()).unwrap();
    assert!(spy.post_as(token, "/auth/mfa/confirm", &json!({ "code": "canary-code" })).await.0.is_client_error());
    let code = app.generate((SystemClock.now_ms() / 1000) as u64).to_string();
    let (status, confirmed) = spy.post_as(token, "/auth/mfa/confirm", &json!({ "code": code })).await;
    assert_eq!(status, 200, "{}", spy.errors);
    let backup_code = confirmed["backup_codes"][0].as_str().unwrap();
    let (_, half) = spy.post("/auth/login", &json!({"email": "yellow.bird@x.example", "password": password})).await;
    assert_eq!(half["mfa_required"], true, "{half}");
    for (code, right) in [("canary-backup-code-1a2b", false), (backup_code, true), (backup_code, false)] {
        let body = json!({ "mfa_token": half["mfa_token"], "backup_code": code });
        let (status, _) = spy.post("/auth/mfa/complete", &body).await;
        assert_eq!(status.is_success(), right, "{}", spy.errors);
    }
}

/// The mail with the link, once it has arrived.
async fn mailed(post: &MailServer) -> Mail {
    for _ in 0..600 {
        let found = post.inbox().into_iter().find(|mail| mail.header("Subject").as_deref() == Some(RESET));
        if let Some(mail) = found {
            return mail;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no mail arrived: {:?}", post.commands());
}

/// The link in a mail, used and used again.
async fn reset(spy: &mut Spy<'_>, post: &MailServer) {
    let (status, _) = spy.post("/auth/password-reset/request", &json!({ "email": "yellow.bird@x.example" })).await;
    assert!(status.is_success(), "{}", spy.errors);
    let token = mailed(post).await.link().1;
    spy.secrets.push(token.clone());
    for (token, right) in [("canary-no-reset-token", false), (token.as_str(), true), (token.as_str(), false)] {
        let body = json!({ "token": token, "new_password": LAST_PASSWORD });
        let (status, _) = spy.post("/auth/password-reset/confirm", &body).await;
        assert_eq!(status.is_success(), right, "{}", spy.errors);
    }
}

/// Says which token holds from now on.
async fn change_the_password(spy: &mut Spy<'_>, token: &str) -> String {
    let mut renewed = String::new();
    for (current, new, right) in [(WRONG_PASSWORD, NEXT_PASSWORD, false), (PASSWORD, NEXT_PASSWORD, true)] {
        let body = json!({"current_password": current, "new_password": new});
        let (status, reply) = spy.post_as(token, "/auth/change-password", &body).await;
        assert_eq!(status.is_success(), right, "{}", spy.errors);
        renewed = reply["access_token"].as_str().unwrap_or_default().to_owned();
    }
    renewed
}

#[tokio::test]
async fn no_secret_is_in_a_log_an_error_or_a_metric() {
    let dir = tempfile::tempdir().unwrap();
    let log_file = dir.path().join("muster.log");
    let post = MailServer::start(Encryption::None, 0, true);
    let port = post.port.to_string();
    let mut environment: Vec<(&str, &str)> = PLANTED.iter().chain(&BESIDE).copied().collect();
    environment.push(("SMTP_PORT", &port));
    environment.push(("LOG_FILE", log_file.to_str().unwrap()));
    let server = ServerProcess::start(BINARY, dir.path(), &environment);
    let http = muster_tests::http::client().build().unwrap();
    let mut secrets: Vec<String> = PLANTED.iter().map(|(_, value)| (*value).to_owned()).collect();
    secrets.extend(
        [PASSWORD, WRONG_PASSWORD, NEXT_PASSWORD, LAST_PASSWORD, "Student123!", "Admin123!"].map(str::to_owned),
    );
    let mut spy = Spy { server: &server, http, secrets, errors: String::new() };

    let token = sign_in(&mut spy).await;
    show_tokens(&mut spy, &token).await;
    break_an_account(&mut spy, &dir.path().join("data")).await;
    renew(&mut spy).await;
    let token = change_the_password(&mut spy, &token).await;
    reset(&mut spy, &post).await;
    let (_, reply) =
        spy.post("/auth/login", &json!({"email": "yellow.bird@x.example", "password": LAST_PASSWORD})).await;
    assert_ne!(reply["access_token"].as_str().unwrap(), token);
    let token = reply["access_token"].as_str().unwrap().to_owned();
    second_factor(&mut spy, &token, LAST_PASSWORD).await;

    let metrics = spy.request(Method::GET, "/metrics").bearer_auth("canary-metrics-0f1e2d3c4b5a");
    let metrics = metrics.send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("muster_http_requests_total"), "{metrics}");
    let Spy { secrets, errors, .. } = spy;
    server.stop();
    let log = std::fs::read_to_string(&log_file).unwrap();
    let console = std::fs::read_to_string(dir.path().join("console.log")).unwrap();
    assert!(lines(&log).iter().any(|line| line["level"] == "TRACE" || line["level"] == "DEBUG"), "all is logged");
    assert!(log.contains("database_query") && errors.contains("VALIDATION_ERROR"), "there was something to find");
    for secret in secrets.iter().map(String::as_str).chain(["canary-", "yellow.bird@x.example"]) {
        for (place, text) in
            [("the log", &log), ("the console", &console), ("an error", &errors), ("the metrics", &metrics)]
        {
            if let Some(at) = text.find(secret) {
                let around: String = text[..at].chars().rev().take(300).collect::<Vec<_>>().into_iter().rev().collect();
                panic!("{secret} is in {place}, after {around}");
            }
        }
    }
}

#[test]
fn no_secret_is_in_the_settings_that_are_shown_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let url = "postgresql://canary-user:canary-database-password@127.0.0.1:1/canary?connect_timeout=1";
    let wrong = [("S3_SECRET_KEY", "canary-s3"), ("JWT_SECRET", "canary-short"), ("MASTER_KEY", "canary-no-key")];
    for arguments in [&["config", "check"][..], &["config", "check", "--json"], &["serve"], &["serve", "--port", "0"]] {
        for settings in [&PLANTED[..], &wrong] {
            let mut command = Command::new(BINARY);
            command.env_clear().current_dir(dir.path()).args(arguments).envs(settings.iter().copied());
            let output = command.env("DATABASE_URL", url).env("LOG_LEVEL", "trace").output().unwrap();
            let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            assert!(!text.is_empty());
            assert!(!text.contains("canary-"), "{arguments:?}: {text}");
        }
    }
}
