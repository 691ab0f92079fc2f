//! Second factors as the server keeps them: keys, restarts, mails to the owner, several servers, roles that need one.

use std::time::Duration;

use futures_util::future::join_all;
use muster_server::app::AppBuilder;
use muster_server::cli::serve;
use muster_server::config::Config;
use muster_server::db::{DbError, Tx};
use muster_tests::{Data, PASSWORD, postgres};
use serde_json::json;
use totp_rs::Totp;

use crate::mfa::{
    self, ADA, CONFIRM, DISABLE, ENROLL, REGENERATE, STATUS, STEP_S, begin, code, complete, complete_with_backup,
    count, enrol, execute, login, mfa_token, noted, server,
};
use crate::smtp::MailServer;

#[tokio::test]
async fn the_owner_is_told_by_mail() {
    let post = MailServer::plain();
    let port = post.port.to_string();
    let mailing = server().option("--smtp-host", "127.0.0.1").option("--smtp-port", &port).option("--smtp-tls", "none");
    let server = mailing.option("--public-url", "https://muster.uni.example").start().await;
    let admin = server.client("admin").await;
    let ada = enrol(&server, ADA).await;
    assert_eq!(subject(&post, 1).await, "Two-step sign-in is on");
    complete_with_backup(&server, &mfa_token(&server, ADA).await, &ada.backup_codes[0]).await.expect(200);
    assert_eq!(subject(&post, 2).await, "A backup code was used");
    assert!(post.nth(2).await.body().contains("Codes left: 9."));
    ada.client.post(REGENERATE, &json!({ "code": "000000" })).await.expect_error(403, "MFA_CODE_INVALID");
    ada.client.post(REGENERATE, &json!({ "code": ada.code(&server, 1) })).await.expect(200);
    assert_eq!(subject(&post, 3).await, "New backup codes");
    admin.post(&format!("/api/v1/admin/users/{}/reset-mfa", ada.client.user_id()), &json!({})).await.expect(204);
    assert_eq!(subject(&post, 4).await, "Two-step sign-in is off");
    let (app, _) = begin(&ada.client).await;
    ada.client.post(CONFIRM, &json!({ "code": code(&app, &server, 0) })).await.expect(200);
    assert_eq!(subject(&post, 5).await, "Two-step sign-in is on");
    ada.client.post(DISABLE, &json!({ "password": PASSWORD })).await.expect(204);
    assert_eq!(subject(&post, 6).await, "Two-step sign-in is off");
}

async fn subject(post: &MailServer, number: usize) -> String {
    let mail = post.nth(number).await;
    assert_eq!(mail.recipients(), [ADA]);
    mail.header("Subject").unwrap()
}

#[tokio::test]
async fn a_restart_forgets_nothing() {
    let server = server().start().await;
    let ada = enrol(&server, ADA).await;
    let token = mfa_token(&server, ADA).await;
    let (used, next) = (ada.code(&server, 0), ada.code(&server, 1));
    complete_with_backup(&server, &mfa_token(&server, ADA).await, &ada.backup_codes[0]).await.expect(200);
    let server = mfa::server().data(server.stop().await).start().await;
    complete(&server, &token, &used).await.expect_error(401, "MFA_CODE_INVALID");
    complete_with_backup(&server, &token, &ada.backup_codes[0]).await.expect_error(401, "MFA_CODE_INVALID");
    complete(&server, &token, &next).await.expect(200);
}

#[tokio::test]
async fn the_database_holds_no_secret_and_no_code() {
    let server = server().start().await;
    let ada = enrol(&server, ADA).await;
    let read = |tx: &Tx<'_>| {
        let secrets = tx.query("SELECT secret FROM mfa_enrolments LIMIT 10", &[], |row| row.get::<Vec<u8>>(0))?;
        let codes = tx.query("SELECT code_hash FROM mfa_backup_codes LIMIT 100", &[], |row| row.get::<Vec<u8>>(0))?;
        Ok::<_, DbError>((secrets, codes))
    };
    let (secrets, codes) = server.app().db.read(read).await.unwrap();
    assert_eq!((secrets.len(), codes.len()), (1, 10));
    let plain = ada.app.secret().as_bytes().to_vec();
    let mut never = vec![plain, ada.app.secret().to_base32().into_bytes()];
    for code in &ada.backup_codes {
        never.extend([code.clone().into_bytes(), code.replace('-', "").into_bytes()]);
    }
    let holds = |bytes: &[u8], secret: &[u8]| bytes.windows(secret.len()).any(|window| window == secret);
    for stored in secrets.iter().chain(&codes) {
        assert!(never.iter().all(|secret| !holds(stored, secret)));
    }
    let data = server.stop().await;
    for file in std::fs::read_dir(data.path()).unwrap().flatten().filter(|file| file.path().is_file()) {
        let bytes = std::fs::read(file.path()).unwrap();
        assert!(never.iter().all(|secret| !holds(&bytes, secret)), "{:?}", file.path());
    }
}

#[tokio::test]
async fn a_secret_that_is_moved_to_another_account_opens_nothing() {
    let server = server().start().await;
    let (ada, bob) = (enrol(&server, ADA).await, enrol(&server, "bob@uni.example").await);
    execute(
        &server,
        "UPDATE mfa_enrolments
         SET (id, secret) = (SELECT other.id, other.secret FROM mfa_enrolments other JOIN users ON users.id = other.user_id
                             WHERE users.email = 'ada@uni.example')
         WHERE user_id = (SELECT id FROM users WHERE email = 'bob@uni.example')",
    )
    .await;
    let token = mfa_token(&server, "bob@uni.example").await;
    let refused = complete(&server, &token, &ada.code(&server, 1)).await;
    assert!(refused.headers.contains_key("retry-after"));
    refused.expect_error(503, "MFA_UNAVAILABLE");
    // The owner still gets in, and can help themselves.
    let reply = complete_with_backup(&server, &token, &bob.backup_codes[0]).await.expect(200);
    let client = server.with_token(reply["access_token"].as_str().unwrap());
    client.post(DISABLE, &json!({ "code": "123456" })).await.expect_error(503, "MFA_UNAVAILABLE");
    client.post(DISABLE, &json!({ "password": PASSWORD })).await.expect(204);
    complete(&server, &mfa_token(&server, ADA).await, &ada.code(&server, 1)).await.expect(200);
}

const FIRST_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const SECOND_KEY: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

#[tokio::test]
async fn a_server_with_the_wrong_key_says_so_and_does_not_start() {
    let server = server().option("--mfa-encryption-key", FIRST_KEY).start().await;
    enrol(&server, ADA).await;
    let data = server.stop().await;
    for arguments in [vec![], vec!["--mfa-encryption-key".to_owned(), SECOND_KEY.to_owned()]] {
        let refused = refusal(&data, arguments).await;
        assert!(refused.starts_with("MFA_ENCRYPTION_KEY is not the key"), "{refused}");
        assert!(refused.contains("of 1 accounts"), "{refused}");
        assert!(!refused.contains(SECOND_KEY), "{refused}");
    }
    let again = mfa::server().option("--mfa-encryption-key", FIRST_KEY).data(data).start().await;
    mfa_token(&again, ADA).await;
}

/// Why a server does not start.
async fn refusal(data: &Data, mut arguments: Vec<String>) -> String {
    arguments.extend(["--data-dir".to_owned(), data.path().to_str().unwrap().to_owned()]);
    arguments.extend(["--port".to_owned(), "0".to_owned()]);
    if let Some(database) = data.database() {
        arguments.extend(postgres::options(&database.url()));
    }
    let config = Config::from_arguments(arguments).unwrap();
    match serve::start(AppBuilder::new(config)).await {
        Ok(_) => panic!("it started"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn the_key_is_rotated_while_people_use_their_apps() {
    let server = server().option("--mfa-encryption-key", FIRST_KEY).start().await;
    let ada = enrol(&server, ADA).await;
    let half = mfa_token(&server, ADA).await;
    let rotating = mfa::server()
        .option("--mfa-encryption-key", SECOND_KEY)
        .option("--mfa-previous-encryption-keys", FIRST_KEY)
        .data(server.stop().await)
        .start()
        .await;
    complete(&rotating, &half, &ada.code(&rotating, 1)).await.expect(200);
    // That use stored the secret under the new key: the old one can go.
    let rotated = mfa::server().option("--mfa-encryption-key", SECOND_KEY).data(rotating.stop().await).start().await;
    rotated.clock().advance(Duration::from_secs(2 * STEP_S));
    complete(&rotated, &mfa_token(&rotated, ADA).await, &ada.code(&rotated, 0)).await.expect(200);
}

#[tokio::test]
async fn who_needs_a_second_factor_sets_it_up_to_sign_in() {
    let free = server().start().await;
    free.create_user(ADA, "staff").await;
    free.create_user("lea@uni.example", "lecturer").await;
    let server = server().option("--mfa-required-roles", "staff,admin").data(free.stop().await).start().await;
    assert!(login(&server, "lea@uni.example").await.expect(200)["access_token"].is_string());

    let half = login(&server, ADA).await.expect(200);
    assert_eq!((&half["enrollment_required"], &half["token_type"]), (&json!(true), &json!("mfa_enroll")));
    assert!(half.get("access_token").is_none());
    let token = half["mfa_token"].as_str().unwrap();
    server.with_token(token).post(ENROLL, &json!({ "password": PASSWORD })).await.expect_error(401, "TOKEN_INVALID");
    complete(&server, token, "123456").await.expect_error(401, "TOKEN_INVALID");

    let (enroll, confirm) = ("/v1/auth/mfa/required/enroll", "/v1/auth/mfa/required/confirm");
    let anonymous = server.anonymous();
    let reply = anonymous.post(enroll, &json!({ "mfa_token": token })).await.expect(200);
    let app = Totp::from_url(reply["otpauth_url"].as_str().unwrap()).unwrap();
    let wrong = json!({ "mfa_token": token, "code": "000000" });
    anonymous.post(confirm, &wrong).await.expect_error(401, "MFA_CODE_INVALID");
    let right = json!({ "mfa_token": token, "code": code(&app, &server, 0) });
    let reply = anonymous.post(confirm, &right).await.expect(200);
    assert_eq!(reply["backup_codes"].as_array().unwrap().len(), 10);
    let client = server.with_token(reply["access_token"].as_str().unwrap());
    assert_eq!(client.get(STATUS).await.expect(200)["enabled"], true);

    // It is done once, and stays.
    anonymous.post(confirm, &right).await.expect_error(401, "TOKEN_REVOKED");
    anonymous.post(enroll, &json!({ "mfa_token": token })).await.expect_error(401, "TOKEN_REVOKED");
    client.post(DISABLE, &json!({ "password": PASSWORD })).await.expect_error(409, "MFA_REQUIRED");
    let pending = mfa_token(&server, ADA).await;
    anonymous.post(enroll, &json!({ "mfa_token": pending })).await.expect_error(401, "TOKEN_INVALID");
    complete(&server, &pending, &code(&app, &server, 1)).await.expect(200);
}

#[tokio::test]
async fn two_servers_of_one_database_take_a_code_once() {
    let first = server().start().await;
    if first.data().is_sqlite() {
        return;
    }
    let second = server().beside(&first).start().await;
    let ada = enrol(&first, ADA).await;
    let mut tokens = Vec::new();
    for _ in 0..5 {
        tokens.push(mfa_token(&first, ADA).await);
        tokens.push(mfa_token(&second, ADA).await);
    }
    let code = ada.code(&first, 1);
    let servers = [&first, &second];
    let replies = join_all((0..50).map(|index| complete(servers[index % 2], &tokens[index % 10], &code))).await;
    assert_eq!(count(&replies, 200), 1);
    // Whatever was refused, five codes were looked at in vain and not one more.
    let noted = noted(&first).await;
    assert!(noted.iter().filter(|(_, _, result)| result == "wrong_code").count() <= 5);
}

#[tokio::test]
async fn an_admin_resets_what_somebody_lost_and_never_their_own() {
    let server = server().start().await;
    let ada = enrol(&server, ADA).await;
    let path = format!("/api/v1/admin/users/{}/reset-mfa", ada.client.user_id());
    for role in ["student", "lecturer", "staff"] {
        server.client(role).await.post(&path, &json!({})).await.expect_error(403, "FORBIDDEN");
    }
    let token = mfa_token(&server, ADA).await;
    for _ in 0..5 {
        complete(&server, &token, "000000").await.expect_error(401, "MFA_CODE_INVALID");
    }
    let admin = server.client("admin").await;
    admin.post(&path, &json!({})).await.expect(204);
    admin.post(&path, &json!({})).await.expect(204);
    complete(&server, &token, &ada.code(&server, 1)).await.expect_error(401, "TOKEN_REVOKED");
    assert!(login(&server, ADA).await.expect(200)["access_token"].is_string());
    // The count of wrong codes went with it.
    let (app, _) = begin(&ada.client).await;
    ada.client.post(CONFIRM, &json!({ "code": code(&app, &server, 0) })).await.expect(200);

    let unknown = "/api/v1/admin/users/0190e1f4-0000-7000-8000-000000000001/reset-mfa";
    admin.post(unknown, &json!({})).await.expect_error(404, "NOT_FOUND");
    let own = format!("/api/v1/admin/users/{}/reset-mfa", admin.user_id());
    admin.post(&own, &json!({})).await.expect_error(409, "OWN_ACCOUNT");
}

#[tokio::test]
async fn other_parameters_reach_the_app_and_stay_with_it() {
    let server = server().option("--mfa-totp-period", "60").option("--mfa-totp-digits", "8").start().await;
    let ada = enrol(&server, ADA).await;
    assert_eq!((ada.app.digits(), ada.app.step()), (8, 60));
    // The settings change; the app does not know.
    let again = mfa::server().data(server.stop().await).start().await;
    let token = mfa_token(&again, ADA).await;
    complete(&again, &token, &ada.code(&again, 1)).await.expect(200);
}

#[tokio::test]
async fn fifty_confirmations_at_once_hand_out_one_list_of_backup_codes() {
    let server = server().start().await;
    server.create_user(ADA, "lecturer").await;
    let client = server.sign_in(ADA).await;
    let (app, _) = begin(&client).await;
    let body = json!({ "code": code(&app, &server, 0) });
    let replies = join_all((0..50).map(|_| client.post(CONFIRM, &body))).await;
    assert_eq!((count(&replies, 200), count(&replies, 409)), (1, 49));
}
