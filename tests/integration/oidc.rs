//! Sign-in by a provider that lies, and by browsers that do: nothing is accepted but the honest way.

use std::time::Duration;

use futures_util::future::join_all;
use muster_tests::oidc::{Browser, Provider, callback, providers_file};
use muster_tests::{Reply, TestServer};
use serde_json::{Value, json};

pub(super) const NOW_MS: i64 = 1_763_640_000_000;
const PROGRAM: &str = env!("CARGO_BIN_EXE_oidc-provider");

/// A server and its provider `campus`; `more` lines stand in the provider's entry.
pub(super) async fn start(more: &str) -> (TestServer, Provider) {
    let provider = Provider::start(PROGRAM, NOW_MS, "campus").await;
    let server = server(&[provider.entry("campus", "", more)]).await;
    (server, provider)
}

pub(super) async fn server(entries: &[String]) -> TestServer {
    let (_dir, path) = providers_file(entries);
    let path = path.to_str().unwrap();
    TestServer::builder().manual_clock(NOW_MS).option("--oauth-providers-file", path).start().await
}

pub(super) async fn another_provider(name: &str) -> Provider {
    Provider::start(PROGRAM, NOW_MS, name).await
}

pub(super) fn person(subject: &str) -> Value {
    let email = format!("{subject}@uni.example");
    json!({ "sub": subject, "email": email, "email_verified": true, "name": "Ada Lovelace" })
}

/// The actions in the audit log that are about providers, with their reasons, after the first `skip` rows.
pub(super) async fn noted(server: &TestServer, skip: usize) -> Vec<(String, String)> {
    let rows = super::audit::rows(server).await.into_iter().skip(skip);
    let ours = rows.filter(|row| row.action.starts_with("oauth."));
    ours.map(|row| (row.action, row.reason.unwrap_or_default())).collect()
}

pub(super) async fn email_of(server: &TestServer, reply: Reply) -> String {
    let tokens = reply.expect(200);
    let me = server.with_token(tokens["access_token"].as_str().unwrap()).get("/api/v1/auth/me").await.expect(200);
    me["email"].as_str().unwrap().to_owned()
}

async fn pass(server: &TestServer, provider: &Provider, seconds: u64) {
    server.clock().advance(Duration::from_secs(seconds));
    provider.set(json!({ "now_s": server.clock_ms() / 1000 })).await;
}

/// What a provider may do wrong, and the reason in our audit log.
const MISBEHAVIOURS: &[(&str, &str)] = &[
    ("wrong_nonce", "bad_nonce"),
    ("missing_nonce", "bad_nonce"),
    ("wrong_audience", "bad_audience"),
    ("missing_audience", "bad_audience"),
    ("extra_audience", "bad_audience"),
    ("other_authorized_party", "bad_azp"),
    ("expired", "expired"),
    ("missing_expiry", "bad_token_answer"),
    ("issued_in_the_future", "bad_issue_time"),
    ("issued_long_ago", "bad_issue_time"),
    ("not_yet_valid", "not_yet_valid"),
    ("not_before_as_text", "bad_token_answer"),
    ("other_issuer", "bad_issuer"),
    ("issuer_with_slash", "bad_issuer"),
    ("missing_issuer", "bad_token_answer"),
    ("wrong_at_hash", "bad_at_hash"),
    ("missing_subject", "bad_token_answer"),
    ("empty_subject", "bad_subject"),
    ("subject_as_number", "bad_token_answer"),
    ("alg_none", "not_signed"),
    ("alg_none_with_kid", "not_signed"),
    ("signature_cut_off", "bad_signature"),
    ("hs256_with_public_key", "bad_algorithm"),
    ("hs256_with_client_secret", "bad_algorithm"),
    ("rs512", "bad_algorithm"),
    ("unknown_kid", "unknown_key"),
    ("signed_by_another_key", "bad_signature"),
    ("signed_by_an_encryption_key", "unknown_key"),
    ("critical_header", "bad_token"),
    ("claims_changed_after_signing", "bad_signature"),
    ("not_a_token", "bad_token_answer"),
    ("no_id_token", "no_id_token"),
    ("token_endpoint_error", "code_refused"),
    ("token_endpoint_redirects", "bad_token_answer"),
    ("huge_token_answer", "provider_unavailable"),
    ("hanging_token_endpoint", "provider_unavailable"),
    ("userinfo_of_somebody_else", "bad_userinfo"),
];

#[tokio::test]
async fn no_misbehaviour_signs_anybody_in_and_the_honest_twin_does() {
    let (server, provider) = start("").await;
    provider.set(json!({ "userinfo": { "email": "asked@uni.example", "email_verified": true } })).await;
    let browser = Browser::new(&server);
    let mut refused = 0;
    for (number, (misbehaviour, reason)) in MISBEHAVIOURS.iter().enumerate() {
        // Whoever lies about a key gets a fresh look at the keys, too.
        pass(&server, &provider, 61).await;
        let mut claims = person(&format!("person-{number}"));
        if *misbehaviour == "userinfo_of_somebody_else" {
            claims.as_object_mut().unwrap().remove("email");
        }
        provider.person(claims).await;
        provider.misbehave(misbehaviour).await;
        let before = super::audit::rows(&server).await.len();
        let reply = browser.sign_in("campus").await;
        let unavailable = *reason == "provider_unavailable";
        let (status, code) =
            if unavailable { (503, "OAUTH_PROVIDER_UNAVAILABLE") } else { (401, "OAUTH_TOKEN_INVALID") };
        let error = reply.expect_error(status, code);
        assert!(!error.to_string().contains("person-"), "{misbehaviour} is told about: {error}");
        let rows = noted(&server, before).await;
        assert_eq!(rows, [("oauth.refuse".to_owned(), (*reason).to_owned())], "{misbehaviour}");
        refused += 1;

        provider.misbehave("honest").await;
        let email = email_of(&server, browser.sign_in("campus").await).await;
        let expected = if *misbehaviour == "userinfo_of_somebody_else" {
            "asked@uni.example".to_owned()
        } else {
            format!("person-{number}@uni.example")
        };
        assert_eq!(email, expected, "the honest twin of {misbehaviour}");
    }
    assert_eq!(refused, MISBEHAVIOURS.len());
    assert!(super::audit::check(&server).await.is_ok());
}

#[tokio::test]
async fn a_key_on_an_elliptic_curve_is_as_good() {
    let (server, provider) = start("").await;
    provider.person(person("ada")).await;
    provider.set(json!({ "key": "ec-1" })).await;
    assert_eq!(email_of(&server, Browser::new(&server).sign_in("campus").await).await, "ada@uni.example");
}

#[tokio::test]
async fn the_request_has_a_state_a_nonce_and_a_challenge_and_the_cookie_is_kept_from_scripts_and_other_hosts() {
    let (server, provider) = start("").await;
    let browser = Browser::new(&server);
    let (one, two) = (browser.begin("campus", "").await, browser.begin("campus", "").await);
    let url = reqwest::Url::parse(&one.authorization_url).unwrap();
    let params: std::collections::HashMap<_, _> = url.query_pairs().into_owned().collect();
    assert!(one.authorization_url.starts_with(&format!("{}/authorize?", provider.base())));
    assert_eq!(params["response_type"], "code");
    assert_eq!(params["redirect_uri"], callback("campus"));
    assert_eq!(params["code_challenge_method"], "S256");
    for name in ["state", "nonce", "code_challenge"] {
        assert_eq!(params[name].len(), 43, "{name} has 256 bits");
        assert!(!two.authorization_url.contains(&params[name]), "{name} is new each time");
        assert!(!one.set_cookie.contains(&params[name]), "{name} is sealed");
    }
    let attributes = one.set_cookie.split_once("; ").unwrap().1;
    assert_eq!(attributes, "Path=/; Max-Age=600; HttpOnly; SameSite=Lax; Secure");
    assert!(one.cookie.starts_with("__Host-muster_oauth_"), "{}", one.cookie);
    let redirect = browser.get("/auth/oauth/campus/start").await;
    assert_eq!(redirect.status, 302);
    assert!(redirect.headers["location"].to_str().unwrap().starts_with(provider.base()));
}

#[tokio::test]
async fn a_state_is_good_once_in_one_browser_for_ten_minutes() {
    let (server, provider) = start("").await;
    provider.person(person("ada")).await;
    let browser = Browser::new(&server);
    let (begun, other) = (browser.begin("campus", "").await, browser.begin("campus", "").await);
    let back = browser.authorize(&begun).await;
    let refused = |reply: Reply| drop(reply.expect_error(400, "OAUTH_STATE_INVALID"));

    refused(browser.open(&back, None).await);
    refused(browser.open(&back, Some(&other.cookie)).await);
    let name = begun.cookie.split_once('=').unwrap().0;
    let others_content = format!("{name}={}", other.cookie.split_once('=').unwrap().1);
    refused(browser.open(&back, Some(&others_content)).await);
    refused(browser.open(&back, Some(&format!("{name}=AAAA"))).await);
    // A neighbour below the same domain can set a cookie for all its hosts, but none with this prefix.
    refused(browser.open(&back, Some(begun.cookie.strip_prefix("__Host-").unwrap())).await);
    refused(browser.open(&callback("campus"), Some(&begun.cookie)).await);
    refused(browser.open(&format!("{}?code=1&state={}", callback("campus"), "x".repeat(5000)), None).await);
    assert!(noted(&server, 0).await.is_empty(), "what no browser began here leaves no row");

    let reply = browser.open(&back, Some(&begun.cookie)).await;
    assert!(reply.headers["set-cookie"].to_str().unwrap().contains("Max-Age=0"), "the cookie goes");
    assert_eq!(email_of(&server, reply).await, "ada@uni.example");
    let tokens = provider.count("token").await;
    refused(browser.open(&back, Some(&begun.cookie)).await);
    assert_eq!(provider.count("token").await, tokens, "a replay does not reach the provider");

    let begun = browser.begin("campus", "").await;
    let back = browser.authorize(&begun).await;
    pass(&server, &provider, 600).await;
    refused(browser.open(&back, Some(&begun.cookie)).await);
    let begun = browser.begin("campus", "").await;
    let back = browser.authorize(&begun).await;
    pass(&server, &provider, 599).await;
    assert_eq!(email_of(&server, browser.open(&back, Some(&begun.cookie)).await).await, "ada@uni.example");
}

#[tokio::test]
async fn a_state_that_comes_back_twenty_times_at_once_signs_in_once() {
    let (server, provider) = start("").await;
    provider.person(person("ada")).await;
    let browser = Browser::new(&server);
    let begun = browser.begin("campus", "").await;
    let back = browser.authorize(&begun).await;
    let replies = join_all((0..20).map(|_| browser.open(&back, Some(&begun.cookie)))).await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 1);
    assert_eq!(provider.count("token").await, 1);
}

#[tokio::test]
async fn a_code_of_another_sign_in_is_worth_nothing() {
    let (server, provider) = start("").await;
    provider.person(person("mallory")).await;
    let browser = Browser::new(&server);
    let code_of = |back: &str| back.split("code=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    let (victim, attacker) = (browser.begin("campus", "").await, browser.begin("campus", "").await);
    let (victims, attackers) = (browser.authorize(&victim).await, browser.authorize(&attacker).await);

    // The attacker's code in the victim's browser: the challenge is another one.
    let injected = victims.replace(&code_of(&victims), &code_of(&attackers));
    browser.open(&injected, Some(&victim.cookie)).await.expect_error(401, "OAUTH_TOKEN_INVALID");
    // A code that was exchanged is used up.
    let third = browser.begin("campus", "").await;
    let thirds = browser.authorize(&third).await;
    browser.open(&thirds, Some(&third.cookie)).await.expect(200);
    let fourth = browser.begin("campus", "").await;
    let fourths = browser.authorize(&fourth).await;
    let reused = fourths.replace(&code_of(&fourths), &code_of(&thirds));
    browser.open(&reused, Some(&fourth.cookie)).await.expect_error(401, "OAUTH_TOKEN_INVALID");
    let rows = noted(&server, 0).await;
    let refusals: Vec<_> = rows.iter().filter(|(action, _)| action == "oauth.refuse").collect();
    assert_eq!(refusals.len(), 2);
    assert!(refusals.iter().all(|(_, reason)| reason == "code_refused"), "{refusals:?}");
}

#[tokio::test]
async fn providers_cannot_be_mixed_up() {
    let (campus, evil) = (another_provider("campus").await, another_provider("evil").await);
    campus.set(json!({ "names_issuer": true })).await;
    let entries = [campus.entry("campus", "", ""), evil.entry("evil", "", "")];
    let server = server(&entries).await;
    let browser = Browser::new(&server);
    campus.person(person("ada")).await;
    evil.person(person("ada")).await;

    let begun = browser.begin("campus", "").await;
    let back = browser.authorize(&begun).await;
    let elsewhere = back.replace("/campus/", "/evil/");
    browser.open(&elsewhere, Some(&begun.cookie)).await.expect_error(400, "OAUTH_STATE_INVALID");
    let other_issuer = back.replace(campus.base(), evil.base());
    browser.open(&other_issuer, Some(&begun.cookie)).await.expect_error(401, "OAUTH_TOKEN_INVALID");
    let begun = browser.begin("campus", "").await;
    let back = browser.authorize(&begun).await;
    let unnamed = back.split("&iss=").next().unwrap();
    browser.open(unnamed, Some(&begun.cookie)).await.expect_error(401, "OAUTH_TOKEN_INVALID");
    assert_eq!(campus.count("token").await + evil.count("token").await, 0, "no code went anywhere");
    assert_eq!(email_of(&server, browser.sign_in("campus").await).await, "ada@uni.example");
    // The same subject at another issuer is somebody else.
    browser.sign_in("evil").await.expect_error(409, "ACCOUNT_LINK_REQUIRED");
}

#[tokio::test]
async fn unknown_keys_make_us_ask_for_keys_once_a_minute_at_most() {
    let (server, provider) = start("").await;
    provider.person(person("ada")).await;
    let browser = Browser::new(&server);
    browser.sign_in("campus").await.expect(200);
    assert_eq!((provider.count("jwks").await, provider.count("discovery").await), (1, 1));

    provider.misbehave("unknown_kid").await;
    for minute in 1..=3 {
        pass(&server, &provider, 61).await;
        let replies = join_all((0..40).map(|_| browser.sign_in("campus"))).await;
        let other = replies.iter().find(|reply| reply.status != 401);
        assert!(other.is_none(), "{:?}", other.map(|reply| (reply.status, String::from_utf8_lossy(&reply.bytes))));
        assert_eq!(provider.count("jwks").await, 1 + minute, "40 unknown keys in minute {minute}");
    }
    assert_eq!(provider.count("discovery").await, 1);

    // A provider that really has a new key is believed a minute later.
    provider.set(json!({ "misbehaviour": "honest", "key": "rsa-2", "published": ["rsa-1", "rsa-2"] })).await;
    browser.sign_in("campus").await.expect_error(401, "OAUTH_TOKEN_INVALID");
    pass(&server, &provider, 60).await;
    browser.sign_in("campus").await.expect(200);
    assert_eq!(provider.count("jwks").await, 5);

    // An hour later the keys are too old, also for those that are known.
    pass(&server, &provider, 3_600).await;
    let replies = join_all((0..20).map(|_| browser.sign_in("campus"))).await;
    assert!(replies.iter().all(|reply| reply.status == 200));
    assert_eq!((provider.count("jwks").await, provider.count("discovery").await), (6, 2));
}

#[tokio::test]
async fn a_provider_without_usable_documents_is_unavailable_and_left_alone_for_a_while() {
    let (server, provider) = start("").await;
    provider.person(person("ada")).await;
    let browser = Browser::new(&server);
    for document in [
        json!({ "issuer": "https://accounts.elsewhere.example" }),
        json!({ "token_endpoint": "http://192.0.2.1/token" }),
        json!({ "jwks_uri": "ftp://127.0.0.1/keys" }),
        json!({ "authorization_endpoint": "javascript:alert(1)" }),
    ] {
        pass(&server, &provider, 6).await;
        provider.set(json!({ "discovery": document })).await;
        let path = "/api/v1/auth/oauth/campus/start";
        let reply = browser.get(path).await;
        assert!(reply.headers.contains_key("retry-after"));
        reply.expect_error(503, "OAUTH_PROVIDER_UNAVAILABLE");
        let asked = provider.count("discovery").await;
        browser.get(path).await.expect_error(503, "OAUTH_PROVIDER_UNAVAILABLE");
        assert_eq!(provider.count("discovery").await, asked);
    }
    provider.set(json!({ "discovery": {} })).await;
    pass(&server, &provider, 6).await;
    provider.misbehave("broken_keys").await;
    browser.sign_in("campus").await.expect_error(503, "OAUTH_PROVIDER_UNAVAILABLE");
    provider.misbehave("honest").await;
    pass(&server, &provider, 6).await;
    browser.sign_in("campus").await.expect(200);
}

#[tokio::test]
async fn whom_the_provider_does_not_let_in_is_told_so() {
    let (server, provider) = start("").await;
    let browser = Browser::new(&server);
    let begun = browser.begin("campus", "").await;
    let back = browser.authorize(&begun).await;
    let state = back.split("state=").nth(1).unwrap();
    let denied = format!("{}?error=access_denied&error_description=%3Cb%3E&state={state}", callback("campus"));
    let error = browser.open(&denied, Some(&begun.cookie)).await.expect_error(403, "OAUTH_DENIED");
    assert!(!error.to_string().contains("<b>"));
    assert_eq!(noted(&server, 0).await, [("oauth.refuse".to_owned(), "denied".to_owned())]);
    assert_eq!(provider.count("token").await, 0);
}

#[tokio::test]
async fn an_address_from_which_nothing_but_failures_come_must_wait_and_one_that_succeeds_need_not() {
    let (server, provider) = start("").await;
    provider.person(person("ada")).await;
    let browser = Browser::new(&server);
    let fail = async || {
        let begun = browser.begin("campus", "").await;
        let state = begun.authorization_url.split("&state=").nth(1).unwrap().split('&').next().unwrap().to_owned();
        let denied = format!("{}?error=access_denied&state={state}", callback("campus"));
        browser.open(&denied, Some(&begun.cookie)).await.status.as_u16()
    };
    assert_eq!(join_all((0..10).map(|_| fail())).await, [403; 10]);
    browser.sign_in("campus").await.expect(200);
    // All 600 are there again.
    for _ in 0..30 {
        assert_eq!(join_all((0..20).map(|_| fail())).await, [403; 20]);
    }
    let reply = browser.sign_in("campus").await;
    assert!(reply.headers.contains_key("retry-after"));
    reply.expect_error(429, "RATE_LIMITED");
    pass(&server, &provider, 601).await;
    browser.sign_in("campus").await.expect(200);
}
