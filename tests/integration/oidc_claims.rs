//! What a provider says in a form that nobody expects: ignored where it proves nothing, and refused where it does.

use muster_tests::TestServer;
use muster_tests::oidc::Browser;
use serde_json::{Value, json};

use super::oidc::{email_of, noted, person, start};

async fn users(server: &TestServer) -> Vec<Value> {
    let admin = server.client("admin").await;
    admin.get("/api/v1/admin/users?role=student").await.expect(200)["items"].as_array().unwrap().clone()
}

/// Claims of a person with others in place of some.
fn with(who: &str, other: Value) -> Value {
    let mut claims = person(who);
    for (name, value) in other.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

#[tokio::test]
async fn a_claim_that_nobody_needs_decides_about_no_sign_in() {
    let (server, provider) = start("").await;
    let browser = Browser::new(&server);
    let odd = [
        json!({"email_verified": "true"}),
        json!({"email_verified": "True"}),
        json!({"updated_at": "2026-01-01T00:00:00Z"}),
        json!({"updated_at": {"seconds": 1}}),
        json!({"locale": ["en", "de"], "zoneinfo": 7, "address": "Street 1"}),
        json!({"phone_number_verified": "maybe", "birthdate": 19_700_101, "gender": {}}),
        json!({"amr": "pwd", "acr": 1, "auth_time": "now", "c_hash": 5}),
        json!({"name": {"first": "Ada"}, "given_name": 3, "family_name": null}),
        json!({"tid": 12, "oid": [], "groups": {"a": [1]}, "anything": null}),
    ];
    for (number, claims) in odd.into_iter().enumerate() {
        let who = format!("odd-{number}");
        provider.person(with(&who, claims.clone())).await;
        assert_eq!(email_of(&server, browser.sign_in("campus").await).await, format!("{who}@uni.example"), "{claims}");
    }
    assert_eq!(users(&server).await.len(), 9);
}

#[tokio::test]
async fn what_is_no_clear_yes_proves_no_address() {
    let (server, provider) = start("").await;
    provider.set(json!({ "userinfo": {} })).await;
    let browser = Browser::new(&server);
    for said in [json!("false"), json!(false), json!("yes"), json!(1), json!("1"), json!([true]), Value::Null] {
        provider.person(with("eve", json!({ "email_verified": said }))).await;
        browser.sign_in("campus").await.expect_error(403, "OAUTH_EMAIL_UNPROVEN");
    }
    assert_eq!(users(&server).await.len(), 0);
    // Asked for once more, the answer is read in the same way.
    let mut without = person("ada");
    without.as_object_mut().unwrap().remove("email");
    provider.person(without).await;
    for (said, status) in [(json!("no"), 403), (json!("true"), 200)] {
        let info = json!({"email": "ada@uni.example", "email_verified": said, "updated_at": "soon", "address": 1});
        provider.set(json!({ "userinfo": info })).await;
        assert_eq!(browser.sign_in("campus").await.status.as_u16(), status, "{info}");
    }
}

#[tokio::test]
async fn what_proves_has_the_form_that_it_must_have() {
    let (server, provider) = start("").await;
    let browser = Browser::new(&server);
    let before = super::audit::rows(&server).await.len();
    let wrong = [
        json!({"aud": 7}),
        json!({"exp": "2099-01-01T00:00:00Z"}),
        json!({"iat": "now"}),
        json!({"nonce": 5}),
        json!({"azp": ["muster"]}),
        json!({"at_hash": 1}),
        json!({"nbf": "1"}),
    ];
    let count = wrong.len();
    for claims in wrong {
        provider.person(with("eve", claims.clone())).await;
        let error = browser.sign_in("campus").await.expect_error(401, "OAUTH_TOKEN_INVALID");
        assert!(!error.to_string().contains("eve"), "{claims}: {error}");
    }
    let refused = noted(&server, before).await;
    assert_eq!(refused, vec![("oauth.refuse".to_owned(), "bad_token_answer".to_owned()); count]);
    assert_eq!(users(&server).await.len(), 0);
}

#[tokio::test]
async fn names_and_addresses_of_a_provider_are_stored_in_their_form() {
    let (server, provider) = start("").await;
    let names = json!({"email": "\u{feff}Zoe\u{308}@BÜCHER.example", "name": "Jose\u{301}\u{a0}\u{200b}Nuñez",
        "given_name": " Jose\u{301}\u{202e}", "family_name": "\u{200b}"});
    provider.person(with("zoe", names)).await;
    let email = email_of(&server, Browser::new(&server).sign_in("campus").await).await;
    assert_eq!(email, "zoë@bücher.example");
    let user = &users(&server).await[0];
    assert_eq!((&user["display_name"], &user["given_name"]), (&json!("José Nuñez"), &json!("José")));
    assert_eq!(user["family_name"], Value::Null);
}
