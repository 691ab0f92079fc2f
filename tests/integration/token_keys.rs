//! The secrets behind tokens: what a change of them means, and which ones stop the start.

use muster_server::config::Config;
use muster_tests::{Data, TestServer};
use serde_json::Value;

use super::admin::muster;
use super::tokens::{NOW_MS, me, refresh, renewed, standing_still, student};

#[tokio::test]
async fn after_a_change_of_secrets_old_tokens_are_good_until_they_expire() {
    let (old, new) = ("8f0aa1c6d2b94e57931c60d7be2f4a85", "0d4f6b1a9c8e47d2a35b7e91f2c06d88");
    let server = standing_still().option("--jwt-secret", old).start().await;
    let before = student(&server).await;
    let with_both = |data, now_ms| {
        let builder = TestServer::builder().manual_clock(now_ms).data(data);
        builder.option("--jwt-secret", new).option("--jwt-previous-secrets", old)
    };
    let server = with_both(server.stop().await, NOW_MS + 60_000).start().await;
    me(&server, &before).await.expect(200);
    let after = renewed(&server, &before.refresh).await;
    me(&server, &after).await.expect(200);
    assert_ne!(kid(&before.access), kid(&after.access));
    server.clock().set(NOW_MS + 905_000);
    me(&server, &before).await.expect_error(401, "TOKEN_EXPIRED");
    me(&server, &after).await.expect(200);

    let builder = TestServer::builder().manual_clock(NOW_MS + 60_000).data(server.stop().await);
    let server = builder.option("--jwt-secret", new).start().await;
    me(&server, &before).await.expect_error(401, "TOKEN_INVALID");
    me(&server, &after).await.expect(200);
}

/// The key that a token says it was signed with.
fn kid(token: &str) -> String {
    let header = data_encoding::BASE64URL_NOPAD.decode(token.split('.').next().unwrap().as_bytes()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    assert_eq!(header["alg"], "HS256");
    header["kid"].as_str().unwrap().to_owned()
}

#[test]
fn what_would_weaken_tokens_stops_the_start() {
    let check = |arguments: &[&str]| {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned());
        Config::from_arguments(arguments).unwrap().check().map_err(|error| error.to_string())
    };
    let (random, other) = ("8f0aa1c6d2b94e57931c60d7be2f4a85", "0d4f6b1a9c8e47d2a35b7e91f2c06d88");
    let refused: &[(&str, &[&str])] = &[
        ("JWT_ALG", &["--jwt-alg", "RS256"]),
        ("JWT_ALG", &["--jwt-alg", "none"]),
        ("TOKEN_PEPPER", &["--token-pepper", "short"]),
        ("TOKEN_PEPPER", &["--token-pepper", random, "--jwt-secret", random]),
        ("TOKEN_PEPPER", &["--env", "prod", "--token-pepper", "change-me-change-me-change-me-change-me"]),
        ("JWT_PREVIOUS_SECRETS", &["--jwt-previous-secrets", "8f0aa1c6d2b94e57931c60d7be2f4a85,short"]),
        ("REFRESH_TOKEN_EXPIRE_DAYS", &["--refresh-token-expire-days", "0"]),
        ("ACCESS_TOKEN_EXPIRE_MINUTES", &["--access-token-expire-minutes", "1441"]),
    ];
    for (name, arguments) in refused {
        let error = check(arguments).expect_err(name);
        assert!(error.contains(&format!("{name}: ")), "{error}");
        assert!(!error.contains(random), "{error}");
    }
    let previous = format!("{random},{other}");
    assert_eq!(check(&["--token-pepper", random, "--jwt-previous-secrets", &previous]), Ok(()));
    assert_eq!(check(&["--jwt-alg", "HS256", "--jwt-previous-secrets", ""]), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_pepper_knows_no_token() {
    let pepper = |pepper: &str| standing_still().option("--token-pepper", pepper);
    let server = pepper("a-pepper-of-more-than-thirty-two-bytes").start().await;
    let tokens = student(&server).await;
    // That it is meant, a command says: else a server with another pepper does not start.
    let replaced = |data: Data| {
        let output = muster(&data, &["keys", "replace", "token-pepper"], "");
        assert!(output.status.success(), "{output:?}");
        data
    };
    let data = replaced(server.stop().await);
    let server = pepper("another-pepper-of-more-than-32-bytes").data(data).start().await;
    refresh(&server, &tokens.refresh).await.expect_error(401, "REFRESH_TOKEN_INVALID");
    let data = replaced(server.stop().await);
    let server = pepper("a-pepper-of-more-than-thirty-two-bytes").data(data).start().await;
    renewed(&server, &tokens.refresh).await;
}
