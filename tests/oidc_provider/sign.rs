//! The provider's keys, and ID tokens signed with the right one or not.

use std::sync::LazyLock;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::{CLIENT_SECRET, Provider};

/// Made for these tests and good for nothing else.
static KEYS: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../fixtures/oidc/keys.json")).expect("the fixture is JSON"));

fn part<'a>(key: &str, name: &str) -> &'a str {
    KEYS[key][name].as_str().expect("the fixture has every part")
}

fn rsa(key: &str) -> EncodingKey {
    EncodingKey::from_rsa_der(&BASE64.decode(part(key, "pkcs1").as_bytes()).expect("base64"))
}

fn ec() -> EncodingKey {
    EncodingKey::from_ec_der(&BASE64.decode(part("ec-1", "pkcs8").as_bytes()).expect("base64"))
}

/// Signs as the settings say.
pub(super) fn sign(provider: &Provider, claims: Value) -> String {
    let key = if provider.text("key").is_empty() { "rsa-1" } else { provider.text("key") };
    let with = |algorithm: Algorithm, kid: &str, key: &EncodingKey| {
        let header = Header { kid: Some(kid.to_owned()), ..Header::new(algorithm) };
        jsonwebtoken::encode(&header, &claims, key).expect("it can be signed")
    };
    match provider.text("misbehaviour") {
        "alg_none" => unsigned(&json!({ "alg": "none", "typ": "JWT" }), &claims),
        "alg_none_with_kid" => unsigned(&json!({ "alg": "none", "kid": key }), &claims),
        "signature_cut_off" => {
            let token = with(Algorithm::RS256, key, &rsa(key));
            format!("{}.", token.rsplit_once('.').map_or("", |(rest, _)| rest))
        }
        "hs256_with_public_key" => {
            with(Algorithm::HS256, key, &EncodingKey::from_secret(part("rsa-1", "n").as_bytes()))
        }
        "hs256_with_client_secret" => with(Algorithm::HS256, key, &EncodingKey::from_secret(CLIENT_SECRET.as_bytes())),
        "rs512" => with(Algorithm::RS512, key, &rsa(key)),
        "unknown_kid" => with(Algorithm::RS256, "nobody-knows", &rsa("rsa-2")),
        "signed_by_another_key" => with(Algorithm::RS256, "rsa-1", &rsa("rsa-2")),
        "signed_by_an_encryption_key" => with(Algorithm::RS256, "rsa-2", &rsa("rsa-2")),
        "critical_header" => {
            let header = json!({ "alg": "RS256", "kid": key, "crit": ["b64"], "b64": false });
            unsigned(&header, &claims) + &BASE64URL_NOPAD.encode(&[1; 256])
        }
        "claims_changed_after_signing" => {
            let token = with(Algorithm::RS256, key, &rsa(key));
            let parts: Vec<_> = token.split('.').collect();
            let mut changed = claims.clone();
            changed["sub"] = json!("the-victim");
            format!("{}.{}.{}", parts[0], BASE64URL_NOPAD.encode(changed.to_string().as_bytes()), parts[2])
        }
        "not_a_token" => "not.a.token".to_owned(),
        _ if key == "ec-1" => with(Algorithm::ES256, key, &ec()),
        _ => with(Algorithm::RS256, key, &rsa(key)),
    }
}

/// Header and claims, and nothing behind the last dot.
fn unsigned(header: &Value, claims: &Value) -> String {
    let encode = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    format!("{}.{}.", encode(header), encode(claims))
}

/// The public keys that the settings say; `rsa-1` and `ec-1` unless they say others.
pub(super) fn key_set(provider: &Provider) -> Value {
    let named = provider.settings.get("published").and_then(Value::as_array).cloned();
    let named = named.unwrap_or_else(|| vec![json!("rsa-1"), json!("ec-1")]);
    let mut keys: Vec<Value> = named.iter().filter_map(Value::as_str).map(public).collect();
    if provider.does("signed_by_an_encryption_key") {
        let mut key = public("rsa-2");
        key["use"] = json!("enc");
        keys.push(key);
    }
    if let Some(issuer) = provider.settings.get("key_issuer").filter(|issuer| issuer.is_string()) {
        keys.iter_mut().for_each(|key| key["issuer"] = issuer.clone());
    }
    json!({ "keys": keys })
}

fn public(name: &str) -> Value {
    if name == "ec-1" {
        let (x, y) = (part(name, "x"), part(name, "y"));
        return json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": name, "x": x, "y": y });
    }
    json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": name, "n": part(name, "n"), "e": part(name, "e") })
}
