//! What a provider says, reduced to what Muster asks for. A claim that nobody needs, in a form that nobody expects, must not
//! decide about a sign-in; what proves who somebody is stays exactly as it was sent, and is judged by the library.
//!
//! The library reads every claim of a token before it looks at the signature, so that it gets the token with fewer claims,
//! and keys that check the signature over the bytes that the provider signed.

use std::pin::Pin;
use std::sync::OnceLock;

use data_encoding::BASE64URL_NOPAD;
use openidconnect::core::{CoreJsonWebKey, CoreJsonWebKeyUse, CoreJwsSigningAlgorithm};
use openidconnect::http::StatusCode;
use openidconnect::{
    AsyncHttpClient, HttpRequest, HttpResponse, JsonWebKey, JsonWebKeyAlgorithm, JsonWebKeyId, JsonWebKeySet,
    JwsSigningAlgorithm, SignatureVerificationError,
};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::fetch::{Asking, FetchError, Fetcher};

/// The claims that are asked for. What stands here twice is refused, as the library does.
#[derive(Deserialize, Serialize)]
struct Claims {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iss: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sub: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    aud: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exp: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iat: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nonce: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    azp: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at_hash: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<Value>,
    #[serde(default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    #[serde(default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    given_name: Option<String>,
    #[serde(default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    family_name: Option<String>,
    #[serde(default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    tid: Option<String>,
    #[serde(default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    oid: Option<String>,
    #[serde(default, deserialize_with = "truth", skip_serializing_if = "Option::is_none")]
    email_verified: Option<bool>,
}

/// The parts of a token endpoint's answer that are asked for.
#[derive(Deserialize, Serialize)]
struct Answer {
    access_token: Value,
    token_type: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id_token: Option<String>,
}

/// A text that says something; any other form says nothing.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) if !text.trim().is_empty() => Some(text),
        _ => None,
    })
}

/// True and false, also as words. Any other form says nothing, and so proves nothing.
fn truth<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Bool(truth) => Some(truth),
        Value::String(text) if text.trim().eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.trim().eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    })
}

/// What the signature of a token is over: of the token that the library reads, and of the one that was sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Signed {
    tidied: String,
    sent: String,
}

/// Asks a provider for a token.
pub(super) struct AsksForToken<'a> {
    fetcher: &'a Fetcher,
    asking: Asking,
    signed: OnceLock<Signed>,
}

/// Asks a provider for more about somebody.
pub(super) struct AsksForUserinfo<'a>(pub(super) &'a Fetcher, pub(super) Asking);

impl<'a> AsksForToken<'a> {
    pub(super) fn new(fetcher: &'a Fetcher, asking: Asking) -> Self {
        Self { fetcher, asking, signed: OnceLock::new() }
    }

    /// What the token's signature is over, once it came.
    pub(super) fn signed(&self) -> Option<&Signed> {
        self.signed.get()
    }
}

type Fetched<'c> = Pin<Box<dyn Future<Output = Result<HttpResponse, FetchError>> + Send + 'c>>;

impl<'c> AsyncHttpClient<'c> for AsksForToken<'_> {
    type Error = FetchError;
    type Future = Fetched<'c>;

    fn call(&'c self, request: HttpRequest) -> Fetched<'c> {
        Box::pin(async move { Ok(token_answer(self.fetcher.fetch(request, self.asking).await?, &self.signed)) })
    }
}

impl<'c> AsyncHttpClient<'c> for AsksForUserinfo<'_> {
    type Error = FetchError;
    type Future = Fetched<'c>;

    fn call(&'c self, request: HttpRequest) -> Fetched<'c> {
        Box::pin(async move { Ok(userinfo(self.0.fetch(request, self.1).await?)) })
    }
}

/// The answer of a token endpoint. What is no such answer stays as it is, for the library to refuse.
fn token_answer(response: HttpResponse, signed: &OnceLock<Signed>) -> HttpResponse {
    tidied(response, |body| {
        let answer: Answer = serde_json::from_slice(body).ok()?;
        let id_token = match &answer.id_token {
            Some(token) => Some(id_token(token, signed)?),
            None => None,
        };
        serde_json::to_vec(&Answer { id_token, ..answer }).ok()
    })
}

/// What a provider says when it is asked for more about somebody.
fn userinfo(response: HttpResponse) -> HttpResponse {
    tidied(response, |body| serde_json::to_vec(&serde_json::from_slice::<Claims>(body).ok()?).ok())
}

fn tidied(response: HttpResponse, change: impl Fn(&[u8]) -> Option<Vec<u8>>) -> HttpResponse {
    if response.status() != StatusCode::OK {
        return response;
    }
    let (head, body) = response.into_parts();
    let body = change(&body).unwrap_or(body);
    HttpResponse::from_parts(head, body)
}

fn id_token(token: &str, signed: &OnceLock<Signed>) -> Option<String> {
    let (sent, signature) = token.rsplit_once('.')?;
    let (header, payload) = sent.split_once('.')?;
    let claims: Claims = serde_json::from_slice(&BASE64URL_NOPAD.decode(payload.as_bytes()).ok()?).ok()?;
    let tidied = format!("{header}.{}", BASE64URL_NOPAD.encode(&serde_json::to_vec(&claims).ok()?));
    let token = format!("{tidied}.{signature}");
    signed.set(Signed { tidied, sent: sent.to_owned() }).ok()?;
    Some(token)
}

/// A provider's key, for one token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct KeyOfToken {
    key: CoreJsonWebKey,
    signed: Signed,
}

/// The provider's keys, for one token.
pub(super) fn keys_of(set: &JsonWebKeySet<CoreJsonWebKey>, signed: &Signed) -> JsonWebKeySet<KeyOfToken> {
    let one = |key: &CoreJsonWebKey| KeyOfToken { key: key.clone(), signed: signed.clone() };
    JsonWebKeySet::new(set.keys().iter().map(one).collect())
}

impl JsonWebKey for KeyOfToken {
    type KeyUse = CoreJsonWebKeyUse;
    type SigningAlgorithm = CoreJwsSigningAlgorithm;

    fn key_id(&self) -> Option<&JsonWebKeyId> {
        self.key.key_id()
    }

    fn key_type(&self) -> &<CoreJwsSigningAlgorithm as JwsSigningAlgorithm>::KeyType {
        self.key.key_type()
    }

    fn key_use(&self) -> Option<&CoreJsonWebKeyUse> {
        self.key.key_use()
    }

    fn signing_alg(&self) -> JsonWebKeyAlgorithm<&CoreJwsSigningAlgorithm> {
        self.key.signing_alg()
    }

    /// Belongs to no token, so that nothing is ever signed by it.
    fn new_symmetric(key: Vec<u8>) -> Self {
        let signed = Signed { tidied: String::new(), sent: String::new() };
        Self { key: CoreJsonWebKey::new_symmetric(key), signed }
    }

    fn verify_signature(
        &self,
        signature_alg: &CoreJwsSigningAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureVerificationError> {
        if message != self.signed.tidied.as_bytes() {
            return Err(SignatureVerificationError::Other("the key is for another token".to_owned()));
        }
        self.key.verify_signature(signature_alg, self.signed.sent.as_bytes(), signature)
    }

    fn hash_bytes(&self, bytes: &[u8], alg: &CoreJwsSigningAlgorithm) -> Result<Vec<u8>, String> {
        self.key.hash_bytes(bytes, alg)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(payload: &str) -> Option<Value> {
        serde_json::from_str::<Claims>(payload).ok().map(|claims| serde_json::to_value(claims).unwrap())
    }

    #[test]
    fn what_proves_stays_as_it_was_sent() {
        let proof =
            r#"{"iss":5,"sub":["a"],"aud":"m","exp":"soon","iat":1.5,"nonce":true,"azp":{},"at_hash":0,"nbf":"x"}"#;
        assert_eq!(read(proof).unwrap(), serde_json::from_str::<Value>(proof).unwrap());
        assert!(read(r#"{"sub":"a","sub":"b"}"#).is_none(), "twice is refused");
        assert!(read(r#"{"email":"a","email":"b"}"#).is_none());
    }

    #[test]
    fn what_does_not_prove_is_read_as_it_is_meant_or_not_at_all() {
        let odd = json!({"email": 7, "email_verified": "TRUE", "name": {}, "given_name": "", "tid": 1, "address": "x",
            "updated_at": "yesterday", "locale": 3, "zoneinfo": [], "anything": null});
        assert_eq!(read(&odd.to_string()).unwrap(), json!({"email_verified": true}));
        for unclear in [json!("yes"), json!(1), json!("1"), json!([true]), json!(null)] {
            assert_eq!(read(&json!({"email_verified": unclear}).to_string()).unwrap(), json!({}), "{unclear}");
        }
    }
}
