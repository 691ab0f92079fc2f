//! Whose identity it is: found by issuer and subject, linked by its owner, never by an e-mail address.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use muster_server::db::{DbError, Tx};
use muster_server::params;
use muster_tests::oidc::{Browser, fragment, providers_file};
use muster_tests::{PASSWORD, Reply, TestServer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::oidc::{NOW_MS, another_provider, email_of, noted, person, server, start};
use super::smtp::MailServer;

const APP: &str = "muster://oauth/callback";

async fn links(server: &TestServer, token: &str) -> Value {
    server.with_token(token).get("/api/v1/auth/oauth/links").await.expect(200)
}

fn token(reply: Reply) -> String {
    reply.expect(200)["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn somebody_new_gets_an_account_without_a_password_and_is_known_the_next_time() {
    let (server, provider) = start("").await;
    let mut claims = person("ada");
    claims["role"] = json!("admin");
    provider.person(claims).await;
    let browser = Browser::new(&server);
    let first = token(browser.sign_in("campus").await);
    let me = server.with_token(&first).get("/api/v1/auth/me").await.expect(200);
    assert_eq!((me["role"].as_str(), me["display_name"].as_str()), (Some("student"), Some("Ada Lovelace")));
    assert_eq!(links(&server, &first).await["has_password"], false);
    for password in ["", PASSWORD] {
        let login = json!({ "email": "ada@uni.example", "password": password });
        server.anonymous().post("/api/v1/auth/login", &login).await.expect_error(401, "INVALID_CREDENTIALS");
    }
    // Another address at the provider changes nothing: the subject is the person.
    let mut renamed = person("ada");
    renamed["email"] = json!("ada.king@uni.example");
    provider.person(renamed).await;
    assert_eq!(email_of(&server, browser.sign_in("campus").await).await, "ada@uni.example");
    let actions: Vec<_> = noted(&server, 0).await.into_iter().map(|(action, _)| action).collect();
    assert_eq!(actions, ["oauth.sign_up", "oauth.sign_in", "oauth.sign_in"]);
}

#[tokio::test]
async fn an_account_with_the_same_address_is_never_linked_but_by_its_owner() {
    let (server, provider) = start("").await;
    server.create_user("ada@uni.example", "lecturer").await;
    server.create_user("eve@uni.example", "student").await;
    provider.person(person("ada")).await;
    let browser = Browser::new(&server);
    let error = browser.sign_in("campus").await.expect_error(409, "ACCOUNT_LINK_REQUIRED");
    assert_eq!(error["details"]["expires_in"], 600);
    let body = json!({ "link_token": error["details"]["link_token"], "password": PASSWORD });
    let path = "/api/v1/auth/oauth/link";
    server.anonymous().post(path, &body).await.expect_error(401, "UNAUTHORIZED");
    let eve = server.sign_in("eve@uni.example").await;
    eve.post(path, &body).await.expect_error(400, "OAUTH_LINK_TOKEN_INVALID");
    browser.sign_in("campus").await.expect_error(409, "ACCOUNT_LINK_REQUIRED");
    let ada = server.sign_in("ada@uni.example").await;
    ada.post(path, &body).await.expect_error(400, "OAUTH_LINK_TOKEN_INVALID");

    let error = browser.sign_in("campus").await.expect_error(409, "ACCOUNT_LINK_REQUIRED");
    let body = json!({ "link_token": error["details"]["link_token"], "password": PASSWORD });
    let linked = ada.post(path, &body).await.expect(200);
    assert_eq!(
        (linked["items"][0]["provider"].as_str(), linked["has_password"].as_bool()),
        (Some("campus"), Some(true))
    );
    ada.post(path, &body).await.expect_error(400, "OAUTH_LINK_TOKEN_INVALID");
    let me = server.with_token(&token(browser.sign_in("campus").await)).get("/auth/me").await.expect(200);
    assert_eq!(me["id"], ada.user_id());
    let rows = noted(&server, 0).await;
    assert_eq!(rows.iter().filter(|(_, reason)| reason == "link_required").count(), 3);
    assert_eq!(rows[3..], [("oauth.link".into(), "campus".into()), ("oauth.sign_in".into(), "campus".into())]);
}

#[tokio::test]
async fn a_link_token_is_good_for_ten_minutes() {
    let (server, provider) = start("").await;
    server.create_user("ada@uni.example", "student").await;
    provider.person(person("ada")).await;
    let browser = Browser::new(&server);
    for (seconds, status) in [(599, 200), (600, 400)] {
        let ada = server.sign_in("ada@uni.example").await;
        provider.set(json!({ "now_s": server.clock_ms() / 1000 })).await;
        let error = browser.sign_in("campus").await.expect_error(409, "ACCOUNT_LINK_REQUIRED");
        server.clock().advance(Duration::from_secs(seconds));
        let body = json!({ "link_token": error["details"]["link_token"], "password": PASSWORD });
        ada.post("/api/v1/auth/oauth/link", &body).await.expect(status);
        if status == 200 {
            ada.delete("/api/v1/auth/oauth/campus/link").await.expect(204);
        }
    }
}

#[tokio::test]
async fn an_address_that_the_provider_does_not_vouch_for_says_nothing_about_accounts() {
    let (server, provider) = start("").await;
    server.create_user("known@uni.example", "student").await;
    let browser = Browser::new(&server);
    let mut answers = Vec::new();
    for claims in [
        json!({ "sub": "1", "email": "known@uni.example" }),
        json!({ "sub": "2", "email": "unknown@uni.example", "email_verified": false }),
        json!({ "sub": "3", "email": "no address", "email_verified": true }),
        json!({ "sub": "4" }),
    ] {
        provider.person(claims).await;
        let error = browser.sign_in("campus").await.expect_error(403, "OAUTH_EMAIL_UNPROVEN");
        answers.push((error["message"].clone(), error["details"].clone()));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
}

#[tokio::test]
async fn where_no_accounts_are_made_only_linked_people_sign_in() {
    let (server, provider) = start("sign_up = false").await;
    provider.person(person("ada")).await;
    let browser = Browser::new(&server);
    browser.sign_in("campus").await.expect_error(403, "OAUTH_SIGN_UP_CLOSED");
    let lecturer = server.client("lecturer").await;
    let begun = browser.begin_link(&lecturer, "campus").await;
    let back = browser.authorize(&begun).await;
    browser.open(&back, Some(&begun.cookie)).await.expect(200);
    assert_eq!(email_of(&server, browser.sign_in("campus").await).await, "lecturer1@muster.example");
}

#[tokio::test]
async fn at_microsoft_a_person_is_a_directory_and_an_object() {
    let provider = another_provider("entra").await;
    provider.set(json!({ "issuer_path": "/{tenantid}/v2.0" })).await;
    let server =
        server(&[provider.entry("entra", "/organizations/v2.0", "kind = \"entra\"\nemail_trusted = true")]).await;
    let browser = Browser::new(&server);
    let (one, two) = ("11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222");
    let oid = "33333333-3333-4333-8333-333333333333";
    let claims = |tid: &str, sub: &str, email: &str| json!({ "sub": sub, "tid": tid, "oid": oid, "email": email });

    provider.person(claims(one, "a", "ada@one.example")).await;
    assert_eq!(email_of(&server, browser.sign_in("entra").await).await, "ada@one.example");
    // The same object id in another directory is somebody else.
    provider.person(claims(two, "a", "ada@two.example")).await;
    assert_eq!(email_of(&server, browser.sign_in("entra").await).await, "ada@two.example");
    // Another address and another pairwise subject are the same person.
    provider.person(claims(one, "b", "ada.king@one.example")).await;
    assert_eq!(email_of(&server, browser.sign_in("entra").await).await, "ada@one.example");

    let mut spoofed = claims(one, "a", "x@one.example");
    spoofed["iss"] = json!(format!("{}/{two}/v2.0", provider.base()));
    let mut no_directory = claims("", "a", "x@one.example");
    no_directory["tid"] = json!("organizations");
    let mut no_object = claims(one, "a", "x@one.example");
    no_object["oid"] = Value::Null;
    for claims in [spoofed, no_directory, no_object] {
        provider.person(claims).await;
        browser.sign_in("entra").await.expect_error(401, "OAUTH_TOKEN_INVALID");
    }
    // A key that is one directory's own does not sign for another.
    server.clock().advance(Duration::from_secs(3_600));
    let key_issuer = format!("{}/{two}/v2.0", provider.base());
    provider.set(json!({ "now_s": server.clock_ms() / 1000, "key_issuer": key_issuer })).await;
    provider.person(claims(one, "a", "ada@one.example")).await;
    browser.sign_in("entra").await.expect_error(401, "OAUTH_TOKEN_INVALID");
    provider.person(claims(two, "a", "ada@two.example")).await;
    assert_eq!(email_of(&server, browser.sign_in("entra").await).await, "ada@two.example");
    let rows = noted(&server, 0).await;
    let refused: Vec<_> = rows.iter().filter(|row| row.0 == "oauth.refuse").map(|row| row.1.as_str()).collect();
    assert_eq!(refused, ["bad_issuer", "no_directory", "no_object", "bad_key_issuer"]);
}

#[tokio::test]
async fn one_links_and_unlinks_one_s_own_account_and_keeps_a_way_to_sign_in() {
    let (server, provider) = start("").await;
    let browser = Browser::new(&server);
    let (ada, eve) = (server.client("student").await, server.client("student").await);
    provider.person(person("someone")).await;
    let path = "/api/v1/auth/oauth/campus/link";
    ada.delete(path).await.expect_error(404, "NOT_FOUND");
    let begun = browser.begin_link(&ada, "campus").await;
    let back = browser.authorize(&begun).await;
    browser.open(&back, None).await.expect_error(400, "OAUTH_STATE_INVALID");
    assert_eq!(browser.open(&back, Some(&begun.cookie)).await.expect(200), json!({ "linked": "campus" }));
    let begun = browser.begin_link(&eve, "campus").await;
    let back = browser.authorize(&begun).await;
    browser.open(&back, Some(&begun.cookie)).await.expect_error(409, "OAUTH_IDENTITY_TAKEN");
    ada.delete(path).await.expect(204);
    ada.delete(path).await.expect_error(404, "NOT_FOUND");
    assert_eq!(ada.get("/v1/auth/oauth/links").await.expect(200)["items"], json!([]));

    provider.person(person("no-password")).await;
    let only = server.with_token(&token(browser.sign_in("campus").await));
    only.delete(path).await.expect_error(409, "LAST_WAY_TO_SIGN_IN");
    browser.sign_in("campus").await.expect(200);
    let actions: Vec<_> = noted(&server, 0).await.into_iter().map(|(action, _)| action).collect();
    let expected = ["oauth.link", "oauth.refuse", "oauth.unlink", "oauth.sign_up", "oauth.sign_in", "oauth.sign_in"];
    assert_eq!(actions, expected);
}

/// Somebody signs up with an address that may not be theirs, and links an identity of their own.
async fn settle(server: &TestServer, browser: &Browser<'_>, email: &str) {
    let body = json!({ "email": email, "password": PASSWORD, "display_name": "Settler" });
    server.anonymous().post("/api/v1/auth/register", &body).await.expect(201);
    let settler = server.sign_in(email).await;
    let begun = browser.begin_link(&settler, "campus").await;
    let back = browser.authorize(&begun).await;
    browser.open(&back, Some(&begun.cookie)).await.expect(200);
    assert_eq!(email_of(server, browser.sign_in("campus").await).await, email);
}

async fn set_password(server: &TestServer, post: &MailServer, email: &str, mails: usize) {
    let asked = json!({ "email": email });
    server.anonymous().post("/api/v1/auth/password-reset/request", &asked).await.expect(202);
    let (_, token) = post.nth(mails).await.link();
    let body = json!({ "token": token, "new_password": "a rather new password" });
    server.anonymous().post("/api/v1/auth/password-reset/confirm", &body).await.expect(200);
}

#[tokio::test]
async fn who_settled_at_an_address_before_its_owner_is_out_when_the_owner_sets_a_password() {
    let (provider, post) = (another_provider("campus").await, MailServer::plain());
    let (_dir, path) = providers_file(&[provider.entry("campus", "", "")]);
    let server = TestServer::builder()
        .manual_clock(NOW_MS)
        .option("--oauth-providers-file", path.to_str().unwrap())
        .option("--smtp-host", "127.0.0.1")
        .option("--smtp-port", &post.port.to_string())
        .option("--smtp-tls", "none")
        .start()
        .await;
    let browser = Browser::new(&server);
    provider.person(person("eve")).await;
    settle(&server, &browser, "victim@uni.example").await;
    post.nth(2).await;
    set_password(&server, &post, "victim@uni.example", 3).await;
    assert_eq!(email_of(&server, browser.sign_in("campus").await).await, "eve@uni.example");
    let actions: Vec<_> = noted(&server, 0).await;
    assert!(actions.contains(&("oauth.unlink".into(), "unconfirmed_address".into())), "{actions:?}");
    post.nth(4).await;

    // Whoever had confirmed the address keeps what they linked.
    provider.person(person("ada")).await;
    settle(&server, &browser, "ada@home.example").await;
    post.nth(6).await;
    set_password(&server, &post, "ada@home.example", 7).await;
    post.nth(8).await;
    let ada = json!({ "email": "ada@home.example", "password": "a rather new password" });
    let tokens = server.anonymous().post("/api/v1/auth/login", &ada).await.expect(200);
    let ada = server.with_token(tokens["access_token"].as_str().unwrap());
    let begun = browser.begin_link_with(&ada, "campus", "a rather new password").await;
    let back = browser.authorize(&begun).await;
    browser.open(&back, Some(&begun.cookie)).await.expect(200);
    post.nth(9).await;
    set_password(&server, &post, "ada@home.example", 10).await;
    assert_eq!(email_of(&server, browser.sign_in("campus").await).await, "ada@home.example");
}

#[tokio::test]
async fn a_disabled_account_stays_outside() {
    let (server, provider) = start("").await;
    provider.person(person("ada")).await;
    let browser = Browser::new(&server);
    let ada = server.with_token(&token(browser.sign_in("campus").await));
    let id = ada.get("/auth/me").await.expect(200)["id"].as_str().unwrap().to_owned();
    let admin = server.client("admin").await;
    let path = format!("/api/v1/admin/users/{id}");
    admin.patch(&path, &json!({ "status": "disabled" })).await.expect(200);
    browser.sign_in("campus").await.expect_error(403, "ACCOUNT_DISABLED");
    admin.patch(&path, &json!({ "status": "active" })).await.expect(200);
    browser.sign_in("campus").await.expect(200);
}

#[tokio::test]
async fn an_app_gets_its_tokens_for_a_code_once_with_its_own_proof() {
    let (server, provider) = start("").await;
    provider.person(person("ada")).await;
    let browser = Browser::new(&server);
    let verifier = "a-verifier-that-only-the-app-knows-0123456789";
    let challenge = BASE64URL_NOPAD.encode(&Sha256::digest(verifier.as_bytes()));
    let query = format!("redirect_uri={APP}&client=phone&code_challenge={challenge}&code_challenge_method=S256");
    let exchange = "/api/v1/auth/oauth/exchange";
    let code = async || {
        let begun = browser.begin("campus", &query).await;
        let back = browser.authorize(&begun).await;
        let reply = browser.open(&back, Some(&begun.cookie)).await;
        assert_eq!(reply.status, 302);
        assert!(reply.bytes.is_empty(), "no token passes by the browser");
        fragment(&reply, APP)["code"].clone()
    };
    let good = json!({ "code": code().await, "code_verifier": verifier });
    let client = server.anonymous();
    assert_eq!(email_of(&server, client.post(exchange, &good).await).await, "ada@uni.example");
    client.post(exchange, &good).await.expect_error(400, "OAUTH_CODE_INVALID");
    for wrong in [json!({ "code": code().await }), json!({ "code": code().await, "code_verifier": "guessed" })] {
        client.post(exchange, &wrong).await.expect_error(400, "OAUTH_CODE_INVALID");
        let right = json!({ "code": wrong["code"], "code_verifier": verifier });
        client.post(exchange, &right).await.expect_error(400, "OAUTH_CODE_INVALID");
    }
    let late = json!({ "code": code().await, "code_verifier": verifier });
    server.clock().advance(Duration::from_secs(60));
    client.post(exchange, &late).await.expect_error(400, "OAUTH_CODE_INVALID");
    client.post(exchange, &json!({ "code": "guessed" })).await.expect_error(400, "OAUTH_CODE_INVALID");

    provider.misbehave("wrong_nonce").await;
    provider.set(json!({ "now_s": server.clock_ms() / 1000 })).await;
    let begun = browser.begin("campus", &query).await;
    let back = browser.authorize(&begun).await;
    let told = fragment(&browser.open(&back, Some(&begun.cookie)).await, APP);
    assert_eq!(told["error"], "OAUTH_TOKEN_INVALID");
    assert!(!told.contains_key("code"));
}

#[tokio::test]
async fn nobody_is_sent_back_to_an_address_that_is_not_on_the_list() {
    let provider = another_provider("campus").await;
    let (_dir, path) = providers_file(&[provider.entry("campus", "", "")]);
    let server = TestServer::builder()
        .manual_clock(NOW_MS)
        .option("--oauth-providers-file", path.to_str().unwrap())
        .option("--oauth-allowed-redirect-uris", "https://app.example/done, https://other.example/x?y=1")
        .option("--public-url", "https://muster.example/")
        .start()
        .await;
    let browser = Browser::new(&server);
    for allowed in ["https://app.example/done", "https://other.example/x?y=1", "https://muster.example/oauth/callback"]
    {
        let encoded = allowed.replace('?', "%3F").replace('=', "%3D");
        browser.begin("campus", &format!("redirect_uri={encoded}")).await;
    }
    for refused in [
        "https://app.example/done/",
        "https://app.example/done%3Fa%3D1",
        "https://app.example/DONE",
        "https://app.example:443/done",
        "https://app.example.evil.example/done",
        "https://app.example@evil.example/done",
        "http://app.example/done",
        "https://app.example/done%23x",
        "https://app.example/",
        "//app.example/done",
        "javascript:alert(1)",
        "",
    ] {
        let path = format!("/api/v1/auth/oauth/campus/start?redirect_uri={refused}");
        browser.get(&path).await.expect_error(422, "VALIDATION_ERROR");
    }
    // An app's scheme could be claimed by another app, so it needs a challenge.
    let path = format!("/api/v1/auth/oauth/campus/start?redirect_uri={APP}");
    browser.get(&path).await.expect_error(422, "VALIDATION_ERROR");
}

#[tokio::test]
async fn the_providers_are_listed_under_every_prefix_and_an_unknown_one_is_not_there() {
    let (server, _provider) = start("").await;
    let browser = Browser::new(&server);
    for prefix in ["", "/v1", "/api/v1"] {
        let listed = browser.get(&format!("{prefix}/auth/oauth/providers")).await.expect(200);
        assert_eq!(listed, json!({ "items": [{ "name": "campus", "label": "The campus" }] }));
        browser.get(&format!("{prefix}/auth/oauth/google/start")).await.expect_error(404, "NOT_FOUND");
        browser.get(&format!("{prefix}/auth/oauth/google/callback")).await.expect_error(404, "NOT_FOUND");
    }
    let none = TestServer::start().await;
    assert_eq!(none.anonymous().get("/auth/oauth/providers").await.expect(200), json!({ "items": [] }));
}

#[tokio::test]
async fn the_owner_is_told_by_mail_when_a_provider_is_linked_and_unlinked() {
    let provider = another_provider("campus").await;
    let (_dir, path) = providers_file(&[provider.entry("campus", "", "")]);
    let server = TestServer::builder()
        .manual_clock(NOW_MS)
        .option("--oauth-providers-file", path.to_str().unwrap())
        // Nobody listens there, so that what was queued stays.
        .option("--smtp-host", "127.0.0.1")
        .option("--smtp-port", "1")
        .option("--smtp-tls", "none")
        .start()
        .await;
    provider.person(person("ada")).await;
    let browser = Browser::new(&server);
    let ada = server.client("student").await;
    let begun = browser.begin_link(&ada, "campus").await;
    let back = browser.authorize(&begun).await;
    browser.open(&back, Some(&begun.cookie)).await.expect(200);
    assert_eq!(notices(&server, "student1@muster.example").await, 1);
    ada.delete("/api/v1/auth/oauth/campus/link").await.expect(204);
    assert_eq!(notices(&server, "student1@muster.example").await, 2);
}

async fn notices(server: &TestServer, recipient: &'static str) -> i64 {
    let sql = "SELECT count(*) FROM mail_outbox WHERE template = 'security_notice' AND recipient = ?1";
    let count: Result<Option<i64>, DbError> =
        server.app().db.read(move |tx: &Tx<'_>| tx.query_one(sql, params![recipient], |row| row.get(0))).await;
    count.unwrap().unwrap()
}

#[tokio::test]
async fn a_second_factor_is_asked_for_all_the_same() {
    let (server, provider) = start("").await;
    provider.person(person("ada")).await;
    let browser = Browser::new(&server);
    let ada = server.client("lecturer").await;
    let begun = browser.begin_link(&ada, "campus").await;
    let back = browser.authorize(&begun).await;
    browser.open(&back, Some(&begun.cookie)).await.expect(200);
    let enrol = json!({ "password": PASSWORD });
    let shown = ada.post("/api/v1/auth/mfa/enroll", &enrol).await.expect(200);
    let app = totp_rs::Totp::from_url(shown["otpauth_url"].as_str().unwrap()).unwrap();
    let code = |steps: i64| app.generate((server.clock_ms() / 1000 + 30 * steps) as u64).to_string();
    ada.post("/api/v1/auth/mfa/confirm", &json!({ "code": code(0) })).await.expect(200);

    let asked = browser.sign_in("campus").await.expect(200);
    assert_eq!((asked["mfa_required"].as_bool(), asked.get("access_token")), (Some(true), None));
    let body = json!({ "mfa_token": asked["mfa_token"], "code": code(1) });
    let tokens = server.anonymous().post("/api/v1/auth/mfa/complete", &body).await;
    assert_eq!(email_of(&server, tokens).await, "lecturer1@muster.example");
}

#[tokio::test]
async fn where_nobody_may_sign_up_a_provider_makes_no_accounts_and_where_guests_may_it_makes_guests() {
    for (word, role) in [("off", None), ("guest", Some("guest"))] {
        let provider = another_provider("campus").await;
        let (_dir, path) = providers_file(&[provider.entry("campus", "", "")]);
        let builder = TestServer::builder().manual_clock(NOW_MS).option("--sign-up", word);
        let server = builder.option("--oauth-providers-file", path.to_str().unwrap()).start().await;
        provider.person(person("ada")).await;
        let reply = Browser::new(&server).sign_in("campus").await;
        match role {
            None => drop(reply.expect_error(403, "OAUTH_SIGN_UP_CLOSED")),
            Some(role) => {
                let me = server.with_token(&token(reply)).get("/api/v1/auth/me").await.expect(200);
                assert_eq!(me["role"], role);
                assert!(me["email_confirmed_at"].is_string(), "{me}");
            }
        }
    }
}
