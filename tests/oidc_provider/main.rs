//! An OpenID Connect provider that does as it is told, also wrong: discovery, authorization, tokens, keys and userinfo over
//! HTTP, in a process of its own. `POST /control` sets how it behaves, `GET /control` says what it was asked.
//!
//! Whoever starts it holds its standard input: it ends when that does. Its address is its first line.

mod sign;

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// The one client.
const CLIENT_ID: &str = "muster";
const CLIENT_SECRET: &str = "the secret of the client";

type Shared = Arc<Mutex<Provider>>;
type Params = HashMap<String, String>;

/// How it stands.
struct Provider {
    base: String,
    settings: Map<String, Value>,
    counts: HashMap<&'static str, u64>,
    codes: HashMap<String, Authorization>,
    access_tokens: HashMap<String, Value>,
    issued: u64,
}

/// What a code stands for.
#[derive(Clone)]
struct Authorization {
    redirect_uri: String,
    challenge: String,
    nonce: Option<String>,
}

impl Provider {
    fn text(&self, name: &str) -> &str {
        self.settings.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn does(&self, misbehaviour: &str) -> bool {
        self.text("misbehaviour") == misbehaviour
    }

    fn now_s(&self) -> i64 {
        self.settings.get("now_s").and_then(Value::as_i64).unwrap_or_default()
    }

    fn count(&mut self, name: &'static str) {
        *self.counts.entry(name).or_default() += 1;
    }

    /// `{tenantid}` in it stands for every directory.
    fn issuer(&self) -> String {
        format!("{}{}", self.base, self.text("issuer_path"))
    }

    fn number(&mut self) -> u64 {
        self.issued += 1;
        self.issued
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, Provider> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let base = format!("http://{}", listener.local_addr()?);
    writeln!(std::io::stdout(), "{base}")?;
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let provider = Provider {
        base,
        settings: Map::new(),
        counts: HashMap::new(),
        codes: HashMap::new(),
        access_tokens: HashMap::new(),
        issued: 0,
    };
    let router = Router::new()
        .route("/.well-known/openid-configuration", get(discovery))
        .route("/{directory}/v2.0/.well-known/openid-configuration", get(discovery_of_directory))
        .route("/authorize", get(authorize))
        .route("/token", post(token))
        .route("/jwks", get(jwks))
        .route("/userinfo", get(userinfo))
        .route("/control", get(counts).post(control))
        .with_state(Arc::new(Mutex::new(provider)));
    axum::serve(listener, router).await
}

async fn control(State(shared): State<Shared>, Json(settings): Json<Map<String, Value>>) -> StatusCode {
    lock(&shared).settings.extend(settings);
    StatusCode::NO_CONTENT
}

async fn counts(State(shared): State<Shared>) -> Json<Value> {
    Json(json!(lock(&shared).counts))
}

async fn discovery(State(shared): State<Shared>) -> Json<Value> {
    let mut provider = lock(&shared);
    provider.count("discovery");
    let base = provider.base.clone();
    let mut document = json!({
        "issuer": provider.issuer(),
        "authorization_endpoint": format!("{base}/authorize"),
        "token_endpoint": format!("{base}/token"),
        "jwks_uri": format!("{base}/jwks"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "ES256", "PS256", "something-new"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        "code_challenge_methods_supported": ["S256"],
    });
    if provider.settings.get("userinfo").is_some_and(|userinfo| !userinfo.is_null()) {
        document["userinfo_endpoint"] = json!(format!("{base}/userinfo"));
    }
    if provider.settings.get("names_issuer") == Some(&json!(true)) {
        document["authorization_response_iss_parameter_supported"] = json!(true);
    }
    if let Some(Value::Object(more)) = provider.settings.get("discovery").cloned() {
        document.as_object_mut().into_iter().for_each(|document| document.extend(more.clone()));
    }
    Json(document)
}

async fn discovery_of_directory(state: State<Shared>, Path(_directory): Path<String>) -> Json<Value> {
    discovery(state).await
}

/// The person has an account there, is signed in there, and agrees.
async fn authorize(State(shared): State<Shared>, Query(params): Query<Params>) -> Response {
    let mut provider = lock(&shared);
    provider.count("authorize");
    let param = |name: &str| params.get(name).cloned().unwrap_or_default();
    let redirect_uri = param("redirect_uri");
    let registered = provider.settings.get("redirect_uris").and_then(Value::as_array).cloned().unwrap_or_default();
    if param("client_id") != CLIENT_ID || !registered.contains(&json!(redirect_uri)) {
        return (StatusCode::BAD_REQUEST, "not the registered client or address").into_response();
    }
    let asks_for = |scope: &str| param("scope").split(' ').any(|asked| asked == scope);
    if param("response_type") != "code" || param("code_challenge_method") != "S256" || !asks_for("openid") {
        return (StatusCode::BAD_REQUEST, "not an authorization request with PKCE").into_response();
    }
    let code = format!("code-{}", provider.number());
    let authorization = Authorization {
        redirect_uri: redirect_uri.clone(),
        challenge: param("code_challenge"),
        nonce: params.get("nonce").cloned(),
    };
    provider.codes.insert(code.clone(), authorization);
    let mut location = format!("{redirect_uri}?code={code}&state={}", param("state"));
    if provider.settings.get("names_issuer") == Some(&json!(true)) {
        location.push_str(&format!("&iss={}", provider.issuer()));
    }
    (StatusCode::FOUND, [(header::LOCATION, location)]).into_response()
}

async fn token(State(shared): State<Shared>, headers: HeaderMap, request: Request) -> Response {
    let body = axum::body::to_bytes(request.into_body(), 65_536).await.unwrap_or_default();
    let params = form(&body);
    lock(&shared).count("token");
    if lock(&shared).does("hanging_token_endpoint") {
        return std::future::pending().await;
    }
    let mut provider = lock(&shared);
    let refuse = |error: &str| (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response();
    if provider.does("token_endpoint_error") {
        return refuse("server_error");
    }
    if provider.does("token_endpoint_redirects") {
        return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "/token-elsewhere")]).into_response();
    }
    let expected = format!("Basic {}", BASE64.encode(form_encoded(CLIENT_ID, CLIENT_SECRET).as_bytes()));
    if headers.get(header::AUTHORIZATION).map(|value| value.as_bytes()) != Some(expected.as_bytes()) {
        return refuse("invalid_client");
    }
    let param = |name: &str| params.get(name).map_or("", String::as_str);
    let Some(authorization) = provider.codes.remove(param("code")) else { return refuse("invalid_grant") };
    let challenge = BASE64URL_NOPAD.encode(&Sha256::digest(param("code_verifier").as_bytes()));
    if challenge != authorization.challenge || param("redirect_uri") != authorization.redirect_uri {
        return refuse("invalid_grant");
    }
    let access_token = format!("access-{}", provider.number());
    let claims = claims(&provider, &authorization, &access_token);
    provider.access_tokens.insert(access_token.clone(), claims["sub"].clone());
    let mut answer = json!({ "access_token": access_token, "token_type": "Bearer", "expires_in": 3600 });
    if !provider.does("no_id_token") {
        answer["id_token"] = json!(sign::sign(&provider, claims));
    }
    if provider.does("huge_token_answer") {
        answer["padding"] = json!("x".repeat(1_000_000));
    }
    Json(answer).into_response()
}

fn form(body: &[u8]) -> Params {
    let uri: Option<Uri> = format!("/?{}", String::from_utf8_lossy(body)).parse().ok();
    let parsed = uri.and_then(|uri| Query::<Params>::try_from_uri(&uri).ok());
    parsed.map(|Query(params)| params).unwrap_or_default()
}

/// As RFC 6749 wants id and secret before base64.
fn form_encoded(id: &str, secret: &str) -> String {
    let encode = |text: &str| text.replace(' ', "+");
    format!("{}:{}", encode(id), encode(secret))
}

/// What the ID token says; one thing in it may be wrong.
fn claims(provider: &Provider, authorization: &Authorization, access_token: &str) -> Value {
    let now_s = provider.now_s();
    let person = provider.settings.get("person").and_then(Value::as_object).cloned().unwrap_or_default();
    let tid = person.get("tid").and_then(Value::as_str).unwrap_or_default().to_owned();
    let at_hash = BASE64URL_NOPAD.encode(&Sha256::digest(access_token.as_bytes())[..16]);
    let mut claims = json!({
        "iss": provider.issuer().replace("{tenantid}", &tid),
        "aud": CLIENT_ID,
        "iat": now_s,
        "exp": now_s + 300,
        "at_hash": at_hash,
    });
    if let Some(nonce) = &authorization.nonce {
        claims["nonce"] = json!(nonce);
    }
    claims.as_object_mut().into_iter().for_each(|claims| claims.extend(person.clone()));
    let wrong: &[(&str, &str, Value)] = &[
        ("wrong_nonce", "nonce", json!("another nonce")),
        ("missing_nonce", "nonce", Value::Null),
        ("wrong_audience", "aud", json!("somebody-else")),
        ("missing_audience", "aud", Value::Null),
        ("extra_audience", "aud", json!([CLIENT_ID, "somebody-else"])),
        ("other_authorized_party", "azp", json!("somebody-else")),
        ("expired", "exp", json!(now_s - 31)),
        ("missing_expiry", "exp", Value::Null),
        ("issued_in_the_future", "iat", json!(now_s + 120)),
        ("issued_long_ago", "iat", json!(now_s - 86_400)),
        ("not_yet_valid", "nbf", json!(now_s + 120)),
        ("not_before_as_text", "nbf", json!(now_s.to_string())),
        ("other_issuer", "iss", json!("https://accounts.elsewhere.example")),
        ("issuer_with_slash", "iss", json!(format!("{}/", provider.issuer()))),
        ("missing_issuer", "iss", Value::Null),
        ("wrong_at_hash", "at_hash", json!("AAAAAAAAAAAAAAAAAAAAAA")),
        ("missing_subject", "sub", Value::Null),
        ("empty_subject", "sub", json!("")),
        ("subject_as_number", "sub", json!(7)),
    ];
    let Some(object) = claims.as_object_mut() else { return claims };
    for (_, name, value) in wrong.iter().filter(|(misbehaviour, _, _)| provider.does(misbehaviour)) {
        if value.is_null() {
            object.remove(*name);
        } else {
            object.insert((*name).to_owned(), value.clone());
        }
    }
    claims
}

async fn jwks(State(shared): State<Shared>) -> Response {
    let mut provider = lock(&shared);
    provider.count("jwks");
    if provider.does("broken_keys") {
        return (StatusCode::INTERNAL_SERVER_ERROR, "no").into_response();
    }
    Json(sign::key_set(&provider)).into_response()
}

async fn userinfo(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let mut provider = lock(&shared);
    provider.count("userinfo");
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let token = bearer.strip_prefix("Bearer ").unwrap_or_default();
    let Some(subject) = provider.access_tokens.get(token).cloned() else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let mut info = provider.settings.get("userinfo").cloned().unwrap_or_default();
    info["sub"] = if provider.does("userinfo_of_somebody_else") { json!("somebody-else") } else { subject };
    Json(info).into_response()
}
