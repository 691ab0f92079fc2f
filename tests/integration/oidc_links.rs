//! What a link to a provider asks for, what it confirms, and with which session it ends.

use muster_tests::PASSWORD;
use muster_tests::oidc::Browser;
use serde_json::{Value, json};

use super::oidc::{person, start};

#[tokio::test]
async fn a_link_asks_for_the_password_or_the_second_factor_once_more() {
    let (server, provider) = start("").await;
    let browser = Browser::new(&server);
    let ada = server.client("student").await;
    let path = "/api/v1/auth/oauth/campus/link";
    for nothing in [json!({}), json!({ "password": PASSWORD, "code": "123456" })] {
        ada.post(path, &nothing).await.expect_error(422, "VALIDATION_ERROR");
    }
    ada.post(path, &json!({ "password": "wrong horse battery" })).await.expect_error(403, "INVALID_CREDENTIALS");
    ada.post(path, &json!({ "code": "123456" })).await.expect_error(409, "MFA_NOT_ENABLED");
    ada.post(path, &json!({ "current_password": PASSWORD })).await.expect(200);

    server.create_user("ada@uni.example", "student").await;
    let ada = server.sign_in("ada@uni.example").await;
    provider.person(person("ada")).await;
    let error = browser.sign_in("campus").await.expect_error(409, "ACCOUNT_LINK_REQUIRED");
    let token = error["details"]["link_token"].clone();
    let link = async |password: &str| {
        ada.post("/api/v1/auth/oauth/link", &json!({ "link_token": token, "password": password })).await
    };
    link("wrong horse battery").await.expect_error(403, "INVALID_CREDENTIALS");
    // The wrong password did not use the token up.
    link(PASSWORD).await.expect(200);
}

#[tokio::test]
async fn a_provider_that_vouches_for_the_address_confirms_it_when_it_is_linked() {
    let (server, provider) = start("").await;
    let browser = Browser::new(&server);
    server.create_user("ada@uni.example", "student").await;
    let ada = server.sign_in("ada@uni.example").await;
    let by = async || ada.get("/api/v1/auth/me").await.expect(200)["email_confirmed_by"].clone();
    for (person, confirmed_by) in [
        (json!({ "sub": "1", "email": "ada@uni.example", "email_verified": false }), Value::Null),
        (json!({ "sub": "2", "email": "eve@uni.example", "email_verified": true }), Value::Null),
        (json!({ "sub": "3", "email": "ada@uni.example", "email_verified": true }), json!("provider")),
    ] {
        provider.person(person).await;
        let begun = browser.begin_link(&ada, "campus").await;
        let back = browser.authorize(&begun).await;
        browser.open(&back, Some(&begun.cookie)).await.expect(200);
        assert_eq!(by().await, confirmed_by);
    }
}

#[tokio::test]
async fn a_link_that_a_session_began_ends_with_it() {
    let (server, provider) = start("").await;
    provider.person(person("ada")).await;
    let browser = Browser::new(&server);
    let ada = server.client("student").await;
    let begun = browser.begin_link(&ada, "campus").await;
    let back = browser.authorize(&begun).await;
    let change = json!({ "current_password": PASSWORD, "new_password": "another long password" });
    ada.post("/api/v1/auth/change-password", &change).await.expect(200);
    browser.open(&back, Some(&begun.cookie)).await.expect_error(401, "TOKEN_REVOKED");
}

#[tokio::test]
async fn a_link_ends_with_the_session_that_began_it_and_with_no_other() {
    let (server, provider) = start("").await;
    provider.person(person("ada")).await;
    let browser = Browser::new(&server);
    let (ada, elsewhere) = (server.client("student").await, server.sign_in("student1@muster.example").await);
    // The newer sign-in took the place of the first one, whose access token runs out on its own.
    for (ends, status) in [(&elsewhere, 401), (&ada, 200)] {
        let here = server.sign_in("student1@muster.example").await;
        let begun = browser.begin_link(if status == 401 { ends } else { &here }, "campus").await;
        let back = browser.authorize(&begun).await;
        ends.post("/api/v1/auth/logout", &json!({})).await.expect(200);
        browser.open(&back, Some(&begun.cookie)).await.expect(status);
    }
}
