//! The second factor: setting it up, signing in with it, losing it.

use std::time::Duration;

use futures_util::future::join_all;
use muster_server::audit;
use muster_server::db::{DbError, Tx};
use muster_server::ids::TenantId;
use muster_tests::{Client, PASSWORD, Reply, TestServer, TestServerBuilder};
use reqwest::Method;
use serde_json::{Value, json};
use totp_rs::{Algorithm, Totp};

pub(crate) const NOW_MS: i64 = 1_763_640_000_000;
pub(crate) const STEP_S: u64 = 30;
pub(crate) const ADA: &str = "ada@uni.example";
pub(crate) const COMPLETE: &str = "/api/v1/auth/mfa/complete";
pub(crate) const CONFIRM: &str = "/api/v1/auth/mfa/confirm";
pub(crate) const DISABLE: &str = "/api/v1/auth/mfa/disable";
pub(crate) const ENROLL: &str = "/api/v1/auth/mfa/enroll";
pub(crate) const REGENERATE: &str = "/api/v1/auth/mfa/backup-codes/regenerate";
pub(crate) const STATUS: &str = "/api/v1/auth/mfa";

pub(crate) fn server() -> TestServerBuilder {
    TestServer::builder().manual_clock(NOW_MS)
}

/// Somebody with an authenticator app.
pub(crate) struct Enrolled {
    pub(crate) client: Client,
    pub(crate) app: Totp,
    pub(crate) backup_codes: Vec<String>,
}

impl Enrolled {
    /// What the app shows, some steps from now.
    pub(crate) fn code(&self, server: &TestServer, steps_off: i64) -> String {
        code(&self.app, server, steps_off)
    }
}

pub(crate) fn code(app: &Totp, server: &TestServer, steps_off: i64) -> String {
    let time_s = server.clock_ms() / 1000 + steps_off * app.step() as i64;
    app.generate(time_s as u64).to_string()
}

pub(crate) async fn begin(client: &Client) -> (Totp, Value) {
    let reply = client.post(ENROLL, &json!({ "password": PASSWORD })).await.expect(200);
    (Totp::from_url(reply["otpauth_url"].as_str().unwrap()).unwrap(), reply)
}

/// Creates a user and sets up an app with the code of now; so the next code that opens is that of the next step.
pub(crate) async fn enrol(server: &TestServer, email: &str) -> Enrolled {
    server.create_user(email, "lecturer").await;
    let client = server.sign_in(email).await;
    let (app, _) = begin(&client).await;
    let reply = client.post(CONFIRM, &json!({ "code": code(&app, server, 0) })).await.expect(200);
    let codes = reply["backup_codes"].as_array().unwrap();
    let backup_codes = codes.iter().map(|code| code.as_str().unwrap().to_owned()).collect();
    Enrolled { client, app, backup_codes }
}

pub(crate) async fn login(server: &TestServer, email: &str) -> Reply {
    server.anonymous().post("/api/v1/auth/login", &json!({ "email": email, "password": PASSWORD })).await
}

/// The first half of a sign-in.
pub(crate) async fn mfa_token(server: &TestServer, email: &str) -> String {
    let reply = login(server, email).await.expect(200);
    assert_eq!(reply["mfa_required"], true, "{reply}");
    reply["mfa_token"].as_str().unwrap().to_owned()
}

pub(crate) async fn complete(server: &TestServer, token: &str, code: &str) -> Reply {
    server.anonymous().post(COMPLETE, &json!({ "mfa_token": token, "code": code })).await
}

pub(crate) async fn complete_with_backup(server: &TestServer, token: &str, code: &str) -> Reply {
    server.anonymous().post(COMPLETE, &json!({ "mfa_token": token, "backup_code": code })).await
}

pub(crate) fn count(replies: &[Reply], status: u16) -> usize {
    replies.iter().filter(|reply| reply.status == status).count()
}

/// What the audit log says of the second factor: action, reason, result.
pub(crate) async fn noted(server: &TestServer) -> Vec<(String, Option<String>, String)> {
    let read = |tx: &Tx<'_>| audit::rows(tx, &TenantId::default_tenant(), 0, 1000);
    let rows: Result<_, DbError> = server.app().db.read(read).await;
    let rows = rows.unwrap().into_iter().filter(|row| row.action.starts_with("mfa."));
    rows.map(|row| (row.action, row.reason, row.result)).collect()
}

pub(crate) async fn execute(server: &TestServer, sql: &'static str) {
    let changed: Result<u64, DbError> = server.app().db.write(move |tx| tx.execute(sql, &[])).await;
    assert!(changed.unwrap() > 0, "{sql}");
}

#[tokio::test]
async fn enrolling_shows_a_qr_code_that_says_what_an_app_needs() {
    let server = server().option("--mfa-totp-issuer", "Uni Bonn").start().await;
    server.create_user(ADA, "lecturer").await;
    let client = server.sign_in(ADA).await;
    let (app, reply) = begin(&client).await;
    assert_eq!((app.issuer(), app.account_name()), (Some("Uni Bonn"), ADA));
    assert_eq!((app.digits(), app.step(), app.algorithm()), (6, STEP_S, Algorithm::SHA1));
    assert_eq!(reply["secret"], app.secret().to_base32());
    assert_eq!(app.secret().as_bytes().len(), 20);
    assert_eq!(read_qr(reply["qr_png"].as_str().unwrap()), reply["otpauth_url"]);

    // Until a code came back, nothing asks for one.
    assert_eq!(client.get(STATUS).await.expect(200), json!({ "enabled": false, "backup_codes_left": 0 }));
    assert!(login(&server, ADA).await.expect(200)["access_token"].is_string());

    let reply = client.post(CONFIRM, &json!({ "code": code(&app, &server, 0) })).await.expect(200);
    assert_eq!(reply["backup_codes"].as_array().unwrap().len(), 10);
    let status = client.get(STATUS).await.expect(200);
    assert_eq!(status, json!({ "enabled": true, "enabled_at": "2025-11-20T12:00:00.000Z", "backup_codes_left": 10 }));
}

/// What a phone's camera sees in a `data:` address.
fn read_qr(address: &str) -> String {
    let encoded = address.strip_prefix("data:image/png;base64,").unwrap();
    let bytes = data_encoding::BASE64.decode(encoded.as_bytes()).unwrap();
    let image = image::load_from_memory_with_format(&bytes, image::ImageFormat::Png).unwrap().into_luma8();
    let (width, height) = (image.width() as usize, image.height() as usize);
    let pixel = |x: usize, y: usize| image.get_pixel(x as u32, y as u32).0[0];
    let mut prepared = rqrr::PreparedImage::prepare_from_greyscale(width, height, pixel);
    let grids = prepared.detect_grids();
    assert_eq!(grids.len(), 1);
    grids[0].decode().unwrap().1
}

#[tokio::test]
async fn beginning_again_replaces_what_waits_and_never_what_is_active() {
    let server = server().start().await;
    server.create_user(ADA, "lecturer").await;
    let client = server.sign_in(ADA).await;
    client.post(CONFIRM, &json!({ "code": "123456" })).await.expect_error(409, "MFA_NOT_STARTED");
    let (first, _) = begin(&client).await;
    let (second, _) = begin(&client).await;
    let of_first = json!({ "code": code(&first, &server, 0) });
    client.post(CONFIRM, &of_first).await.expect_error(403, "MFA_CODE_INVALID");
    let of_second = json!({ "code": code(&second, &server, 0) });
    client.post(CONFIRM, &of_second).await.expect(200);
    client.post(CONFIRM, &of_second).await.expect_error(409, "MFA_ALREADY_ENABLED");
    let password = json!({ "password": PASSWORD });
    for alias in [ENROLL, "/api/v1/auth/mfa/enrol", "/v1/auth/mfa/enroll", "/auth/mfa/enrol"] {
        client.post(alias, &password).await.expect_error(409, "MFA_ALREADY_ENABLED");
    }
    let token = mfa_token(&server, ADA).await;
    complete(&server, &token, &code(&second, &server, 1)).await.expect(200);
}

#[tokio::test]
async fn enrolling_needs_the_password() {
    let server = server().start().await;
    server.create_user(ADA, "lecturer").await;
    let client = server.sign_in(ADA).await;
    let wrong = json!({ "password": "wrong password" });
    client.post(ENROLL, &wrong).await.expect_error(403, "INVALID_CREDENTIALS");
    client.post(ENROLL, &json!({})).await.expect_error(422, "VALIDATION_ERROR");
    client.post(ENROLL, &json!({ "current_password": PASSWORD })).await.expect(200);
    execute(&server, "UPDATE users SET password_hash = ''").await;
    client.post(ENROLL, &json!({ "password": PASSWORD })).await.expect_error(409, "PASSWORD_NOT_SET");
}

#[tokio::test]
async fn a_sign_in_is_complete_with_both_factors_and_not_before() {
    let server = server().start().await;
    let ada = enrol(&server, ADA).await;
    for path in ["/auth/login", "/v1/auth/login", "/api/v1/auth/login"] {
        let reply = server.anonymous().post(path, &json!({ "email": ADA, "password": PASSWORD })).await.expect(200);
        assert_eq!(reply["token_type"], "mfa_pending");
        assert_eq!(reply["expires_in"], 300);
        assert!(reply.get("access_token").is_none() && reply.get("refresh_token").is_none(), "{reply}");
    }
    let token = mfa_token(&server, ADA).await;
    complete(&server, &token, "000000").await.expect_error(401, "MFA_CODE_INVALID");
    let reply = complete(&server, &token, &ada.code(&server, 1)).await.expect(200);
    assert_eq!(reply["token_type"], "bearer");
    let signed_in = server.with_token(reply["access_token"].as_str().unwrap());
    assert_eq!(signed_in.get("/api/v1/auth/me").await.expect(200)["email"], ADA);

    let token = mfa_token(&server, ADA).await;
    for body in [
        json!({ "mfa_token": token }),
        json!({ "mfa_token": token, "code": "1", "backup_code": "1" }),
        json!({ "mfa_token": token, "code": 123_456 }),
        json!({ "code": "123456" }),
    ] {
        server.anonymous().post(COMPLETE, &body).await.expect_error(422, "VALIDATION_ERROR");
    }
    // A gap in the middle, as the app shows it.
    server.clock().advance(Duration::from_secs(2 * STEP_S));
    let code = ada.code(&server, 0);
    complete(&server, &token, &format!("{} {}", &code[..3], &code[3..])).await.expect(200);
}

#[tokio::test]
async fn the_token_of_half_a_sign_in_opens_nothing() {
    let server = server().start().await;
    let ada = enrol(&server, ADA).await;
    let token = mfa_token(&server, ADA).await;
    let half = server.with_token(&token);
    let openapi = half.get("/openapi.json").await.expect(200);
    let mut asked = 0;
    for (path, item) in openapi["paths"].as_object().unwrap() {
        let id = "0190e1f4-0000-7000-8000-000000000001";
        let parts: Vec<_> = path.split('/').map(|part| if part.starts_with('{') { id } else { part }).collect();
        for (method, operation) in item.as_object().unwrap() {
            let public = operation["security"].as_array().is_some_and(|schemes| schemes.contains(&json!({})));
            if !public {
                let method: Method = method.to_uppercase().parse().unwrap();
                Reply::of(half.request(method, &parts.join("/"))).await.expect_error(401, "TOKEN_INVALID");
                asked += 1;
            }
        }
    }
    assert!(asked > 40, "{asked}");
    let register = json!({ "email": "eve@uni.example", "password": PASSWORD, "name": "Eve", "role": "admin" });
    half.post("/api/v1/auth/register", &register).await.expect_error(401, "TOKEN_INVALID");

    // Nor is what opens everything half a sign-in.
    let code = ada.code(&server, 1);
    let access = ada.client.token().unwrap();
    for wrong in [access, "", ".", "a.b.c", &token[..token.len() - 1], &"x".repeat(5000)] {
        complete(&server, wrong, &code).await.expect_error(401, "TOKEN_INVALID");
    }
    complete(&server, &token, &code).await.expect(200);
}

#[tokio::test]
async fn half_a_sign_in_ends_with_its_time() {
    let server = server().start().await;
    let ada = enrol(&server, ADA).await;
    let in_time = mfa_token(&server, ADA).await;
    // Servers' clocks may differ by 5 seconds.
    server.clock().advance(Duration::from_secs(5 * 60 + 4));
    complete(&server, &in_time, &ada.code(&server, 0)).await.expect(200);
    let late = mfa_token(&server, ADA).await;
    server.clock().advance(Duration::from_secs(5 * 60 + 5));
    complete(&server, &late, &ada.code(&server, 0)).await.expect_error(401, "TOKEN_EXPIRED");
    let early = mfa_token(&server, ADA).await;
    let now_ms = server.clock_ms();
    server.clock().set(now_ms - 6_000);
    complete(&server, &early, &ada.code(&server, 0)).await.expect_error(401, "TOKEN_INVALID");
    server.clock().set(now_ms - 5_000);
    complete(&server, &early, &ada.code(&server, 0)).await.expect(200);
}

#[tokio::test]
async fn half_a_sign_in_is_completed_once() {
    let server = server().start().await;
    let ada = enrol(&server, ADA).await;
    let token = mfa_token(&server, ADA).await;
    server.clock().advance(Duration::from_secs(2 * STEP_S));
    complete(&server, &token, &ada.code(&server, 0)).await.expect(200);
    complete(&server, &token, &ada.code(&server, 1)).await.expect_error(401, "TOKEN_REVOKED");
    complete_with_backup(&server, &token, &ada.backup_codes[0]).await.expect_error(401, "TOKEN_REVOKED");
    // What was refused with the token used nothing up.
    let token = mfa_token(&server, ADA).await;
    complete(&server, &token, &ada.code(&server, 1)).await.expect(200);
}

#[tokio::test]
async fn half_a_sign_in_ends_when_the_account_changes() {
    let server = server().start().await;
    let admin = server.client("admin").await;
    let ada = enrol(&server, ADA).await;
    let user = format!("/api/v1/admin/users/{}", ada.client.user_id());
    let role = json!({ "role": "student" });
    let changes = [(&user, role), (&user, json!({ "status": "disabled" }))];
    for (path, change) in changes {
        let token = mfa_token(&server, ADA).await;
        admin.patch(path, &change).await.expect(200);
        complete(&server, &token, &ada.code(&server, 1)).await.expect_error(401, "TOKEN_REVOKED");
    }
    admin.patch(&user, &json!({ "status": "active" })).await.expect(200);
    let token = mfa_token(&server, ADA).await;
    let reply = complete(&server, &token, &ada.code(&server, 1)).await.expect(200);
    let client = server.with_token(reply["access_token"].as_str().unwrap());

    let token = mfa_token(&server, ADA).await;
    let change = json!({ "current_password": PASSWORD, "new_password": "a new and better one" });
    client.post("/api/v1/auth/change-password", &change).await.expect(200);
    server.clock().advance(Duration::from_secs(3 * STEP_S));
    complete(&server, &token, &ada.code(&server, 0)).await.expect_error(401, "TOKEN_REVOKED");
}

#[tokio::test]
async fn a_code_opens_one_step_early_and_late_and_no_more() {
    let server = server().start().await;
    let ada = enrol(&server, ADA).await;
    let token = |email| mfa_token(&server, email);
    server.clock().advance(Duration::from_secs(10 * STEP_S));
    for steps_off in [-2, 2] {
        let refused = complete(&server, &token(ADA).await, &ada.code(&server, steps_off)).await;
        refused.expect_error(401, "MFA_CODE_INVALID");
    }
    for steps_off in [-1, 0, 1] {
        complete(&server, &token(ADA).await, &ada.code(&server, steps_off)).await.expect(200);
        // What was used does not open again, nor does what came before it.
        if steps_off < 1 {
            let refused = complete(&server, &token(ADA).await, &ada.code(&server, steps_off)).await;
            refused.expect_error(401, "MFA_CODE_INVALID");
        }
    }
}

#[tokio::test]
async fn the_code_that_confirmed_the_app_signs_nobody_in() {
    let server = server().start().await;
    let ada = enrol(&server, ADA).await;
    let token = mfa_token(&server, ADA).await;
    complete(&server, &token, &ada.code(&server, 0)).await.expect_error(401, "MFA_CODE_INVALID");
    complete(&server, &token, &ada.code(&server, 1)).await.expect(200);
}

#[tokio::test]
async fn fifty_equal_codes_at_once_open_once() {
    let server = server().start().await;
    let ada = enrol(&server, ADA).await;
    let mut tokens = Vec::new();
    for _ in 0..10 {
        tokens.push(mfa_token(&server, ADA).await);
    }
    let code = ada.code(&server, 1);
    let replies = join_all((0..50).map(|index| complete(&server, &tokens[index % 10], &code))).await;
    assert_eq!(count(&replies, 200), 1);
    assert_eq!(count(&replies, 200) + count(&replies, 401) + count(&replies, 429), 50);
    let noted = noted(&server).await;
    assert_eq!(noted.iter().filter(|(action, _, result)| action == "mfa.complete" && result == "totp").count(), 1);
}

#[tokio::test]
async fn fifty_equal_backup_codes_at_once_open_once() {
    let server = server().start().await;
    let ada = enrol(&server, ADA).await;
    let mut tokens = Vec::new();
    for _ in 0..10 {
        tokens.push(mfa_token(&server, ADA).await);
    }
    let uses = (0..50).map(|index| complete_with_backup(&server, &tokens[index % 10], &ada.backup_codes[3]));
    let replies = join_all(uses).await;
    assert_eq!(count(&replies, 200), 1);
    assert_eq!(count(&replies, 200) + count(&replies, 401) + count(&replies, 429), 50);
    assert_eq!(ada.client.get(STATUS).await.expect(200)["backup_codes_left"], 9);
}

#[tokio::test]
async fn after_five_wrong_codes_no_code_is_looked_at_for_a_quarter_of_an_hour() {
    let server = server().start().await;
    let ada = enrol(&server, ADA).await;
    let token = mfa_token(&server, ADA).await;
    let guesses = join_all((0..50).map(|guess| {
        let guess = format!("{guess:06}");
        let token = &token;
        let server = &server;
        async move { complete(server, token, &guess).await }
    }));
    let replies = guesses.await;
    assert_eq!((count(&replies, 401), count(&replies, 429)), (5, 45));
    let late = replies.iter().find(|reply| reply.status == 429).unwrap();
    assert_eq!(late.headers["retry-after"], "901");

    // Neither the right code nor a restart opens, at no door.
    let server = self::server().data(server.stop().await).start().await;
    let client = server.with_token(ada.client.token().unwrap());
    let right = ada.code(&server, 1);
    complete(&server, &token, &right).await.expect_error(429, "RATE_LIMITED");
    complete_with_backup(&server, &token, &ada.backup_codes[0]).await.expect_error(429, "RATE_LIMITED");
    client.post(REGENERATE, &json!({ "code": right })).await.expect_error(429, "RATE_LIMITED");
    client.post(DISABLE, &json!({ "code": right })).await.expect_error(429, "RATE_LIMITED");

    server.clock().advance(Duration::from_secs(899));
    let token = mfa_token(&server, ADA).await;
    let refused = complete(&server, &token, &ada.code(&server, 0)).await;
    assert_eq!(refused.headers["retry-after"], "2");
    refused.expect_error(429, "RATE_LIMITED");
    server.clock().advance(Duration::from_secs(1));
    complete(&server, &token, &ada.code(&server, 0)).await.expect(200);
    let wrong = noted(&server).await.into_iter().filter(|(_, _, result)| result == "wrong_code").count();
    assert_eq!(wrong, 5, "what nobody looked at is not noted");
}

#[tokio::test]
async fn wrong_codes_count_one_by_one_and_those_of_others_not_at_all() {
    let server = server().start().await;
    let (ada, bob) = (enrol(&server, ADA).await, enrol(&server, "bob@uni.example").await);
    let token = mfa_token(&server, ADA).await;
    for _ in 0..4 {
        complete(&server, &token, "000000").await.expect_error(401, "MFA_CODE_INVALID");
        server.clock().advance(Duration::from_secs(60));
    }
    // A success does not wipe the count away.
    complete(&server, &mfa_token(&server, ADA).await, &ada.code(&server, 0)).await.expect(200);
    let token = mfa_token(&server, ADA).await;
    complete(&server, &token, "000000").await.expect_error(401, "MFA_CODE_INVALID");
    complete(&server, &token, &ada.code(&server, 1)).await.expect_error(429, "RATE_LIMITED");
    complete(&server, &mfa_token(&server, "bob@uni.example").await, &bob.code(&server, 0)).await.expect(200);
    // The oldest failure is 15 minutes old: one more code is looked at.
    server.clock().advance(Duration::from_secs(11 * 60));
    let token = mfa_token(&server, ADA).await;
    complete(&server, &token, "000000").await.expect_error(401, "MFA_CODE_INVALID");
    complete(&server, &token, &ada.code(&server, 0)).await.expect_error(429, "RATE_LIMITED");
}

#[tokio::test]
async fn a_backup_code_opens_once_however_it_is_typed_and_for_its_owner_only() {
    let server = server().start().await;
    let (ada, bob) = (enrol(&server, ADA).await, enrol(&server, "bob@uni.example").await);
    let first = ada.backup_codes[0].clone();
    assert_eq!((first.len(), first.matches('-').count()), (14, 2), "{first}");
    let of_bob = mfa_token(&server, "bob@uni.example").await;
    complete_with_backup(&server, &of_bob, &first).await.expect_error(401, "MFA_CODE_INVALID");
    let typed = first.to_lowercase().replace('-', " ");
    complete_with_backup(&server, &mfa_token(&server, ADA).await, &typed).await.expect(200);
    let token = mfa_token(&server, ADA).await;
    complete_with_backup(&server, &token, &first).await.expect_error(401, "MFA_CODE_INVALID");
    complete_with_backup(&server, &token, &ada.backup_codes[1]).await.expect(200);
    assert_eq!(ada.client.get(STATUS).await.expect(200)["backup_codes_left"], 8);
    assert_eq!(bob.client.get(STATUS).await.expect(200)["backup_codes_left"], 10);
}

#[tokio::test]
async fn new_backup_codes_need_the_app_and_end_the_old_ones() {
    let server = server().option("--mfa-backup-codes-count", "12").start().await;
    let ada = enrol(&server, ADA).await;
    assert_eq!(ada.backup_codes.len(), 12);
    let old = &ada.backup_codes[0];
    ada.client.post(REGENERATE, &json!({ "code": old })).await.expect_error(403, "MFA_CODE_INVALID");
    ada.client.post(REGENERATE, &json!({ "password": PASSWORD })).await.expect_error(422, "VALIDATION_ERROR");
    let body = json!({ "code": ada.code(&server, 1) });
    let path = "/v1/auth/mfa/backup-codes/regenerate";
    let reply = ada.client.post(path, &body).await.expect(200);
    ada.client.post(path, &body).await.expect_error(403, "MFA_CODE_INVALID");
    let new = reply["backup_codes"].as_array().unwrap();
    assert_eq!(new.len(), 12);
    let token = mfa_token(&server, ADA).await;
    complete_with_backup(&server, &token, old).await.expect_error(401, "MFA_CODE_INVALID");
    complete_with_backup(&server, &token, new[0].as_str().unwrap()).await.expect(200);
}

#[tokio::test]
async fn who_has_the_password_or_the_app_goes_back_to_one_factor() {
    let server = server().start().await;
    for proof in ["password", "code"] {
        let email = &format!("{proof}@uni.example");
        let ada = enrol(&server, email).await;
        let wrong = json!({ proof: "wrong password" });
        let error = if proof == "code" { "MFA_CODE_INVALID" } else { "INVALID_CREDENTIALS" };
        ada.client.post(DISABLE, &wrong).await.expect_error(403, error);
        for body in [json!({}), json!({ "password": PASSWORD, "code": "123456" })] {
            ada.client.post(DISABLE, &body).await.expect_error(422, "VALIDATION_ERROR");
        }
        let token = mfa_token(&server, email).await;
        let right = json!({ proof: if proof == "code" { ada.code(&server, 1) } else { PASSWORD.to_owned() } });
        ada.client.post("/v1/auth/mfa/disable", &right).await.expect(204);
        ada.client.post(DISABLE, &right).await.expect_error(409, "MFA_NOT_ENABLED");
        ada.client.post(REGENERATE, &json!({ "code": "123456" })).await.expect_error(409, "MFA_NOT_ENABLED");
        complete(&server, &token, &ada.code(&server, 1)).await.expect_error(401, "TOKEN_REVOKED");
        let status = ada.client.get(STATUS).await.expect(200);
        assert_eq!(status, json!({ "enabled": false, "backup_codes_left": 0 }));
        assert!(login(&server, email).await.expect(200)["access_token"].is_string());
        // And forth again, with another secret.
        let (app, _) = begin(&ada.client).await;
        assert_ne!(app.secret().as_bytes(), ada.app.secret().as_bytes());
    }
}

#[tokio::test]
async fn every_step_is_noted() {
    let server = server().start().await;
    let admin = server.client("admin").await;
    let ada = enrol(&server, ADA).await;
    let token = mfa_token(&server, ADA).await;
    complete(&server, &token, "000000").await.expect_error(401, "MFA_CODE_INVALID");
    complete(&server, &token, &ada.code(&server, 1)).await.expect(200);
    complete_with_backup(&server, &mfa_token(&server, ADA).await, &ada.backup_codes[0]).await.expect(200);
    server.clock().advance(Duration::from_secs(2 * STEP_S));
    ada.client.post(REGENERATE, &json!({ "code": ada.code(&server, 0) })).await.expect(200);
    ada.client.post(DISABLE, &json!({ "password": PASSWORD })).await.expect(204);
    admin.post(&format!("/api/v1/admin/users/{}/reset-mfa", ada.client.user_id()), &json!({})).await.expect(204);
    let noted = noted(&server).await;
    let seen: Vec<_> = noted.iter().map(|(a, b, c)| (a.as_str(), b.as_deref(), c.as_str())).collect();
    let expected = [
        ("mfa.enroll", None, "ok"),
        ("mfa.confirm", None, "ok"),
        ("mfa.complete", Some("password"), "wrong_code"),
        ("mfa.complete", Some("password"), "totp"),
        ("mfa.complete", Some("password"), "backup_code"),
        ("mfa.backup_used", None, "9"),
        ("mfa.backup_regenerate", None, "ok"),
        ("mfa.disable", Some("password"), "ok"),
        ("mfa.reset", None, "not_enabled"),
    ];
    assert_eq!(seen, expected);
}
