//! A client that talks to the server over HTTP, and the replies it gets: each is held beside the server's description.

use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::conformance;

/// Talks JSON to a `TestServer`.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
    user_id: Option<String>,
}

/// A reply that was read to its end.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Client {
    /// A client that is not signed in, of the server at `base`.
    pub(crate) fn new(http: reqwest::Client, base: String) -> Self {
        Self { http, base, token: None, user_id: None }
    }

    /// The same client with this token.
    #[must_use]
    pub(crate) fn signed_in(self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self }
    }

    /// The token it sends.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The id of the signed-in user.
    ///
    /// # Panics
    /// When it was not made by `TestServer::client` or `TestServer::sign_in`.
    pub fn user_id(&self) -> &str {
        self.user_id.as_deref().expect("signed in")
    }

    /// The same client, known to be this user.
    #[must_use]
    pub fn as_user(self, id: &str) -> Self {
        Self { user_id: Some(id.to_owned()), ..self }
    }

    /// A request that the test finishes itself; the token is in it.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Reply {
        Reply::of(self.request(Method::GET, path)).await
    }

    /// POST with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        Reply::of(self.request(Method::POST, path).json(body)).await
    }

    /// PUT with a JSON body.
    pub async fn put(&self, path: &str, body: &Value) -> Reply {
        Reply::of(self.request(Method::PUT, path).json(body)).await
    }

    /// PATCH with a JSON body.
    pub async fn patch(&self, path: &str, body: &Value) -> Reply {
        Reply::of(self.request(Method::PATCH, path).json(body)).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Reply {
        Reply::of(self.request(Method::DELETE, path)).await
    }
}

impl Reply {
    /// Sends a request and reads the whole reply, which must be as the server describes it.
    ///
    /// # Panics
    /// When no reply arrives, or another one than the description promises.
    pub async fn of(request: reqwest::RequestBuilder) -> Self {
        Self::try_of(request).await.expect("the server answers")
    }

    /// The same, where the connection may end before the reply did.
    ///
    /// # Errors
    /// When it does.
    ///
    /// # Panics
    /// When the reply is not as the server describes it.
    pub async fn try_of(request: reqwest::RequestBuilder) -> reqwest::Result<Self> {
        Self::read(request, |_| true).await
    }

    /// The same, but what is not JSON is not read: a stream of events never ends.
    ///
    /// # Panics
    /// When no reply arrives, or another one than the description promises.
    pub async fn without_streams(request: reqwest::RequestBuilder) -> Self {
        Self::read(request, conformance::is_json).await.expect("the server answers")
    }

    async fn read(request: reqwest::RequestBuilder, is_read: impl Fn(&HeaderMap) -> bool) -> reqwest::Result<Self> {
        let (http, request) = request.build_split();
        let request = request?;
        let (method, url) = (request.method().clone(), request.url().clone());
        let response = http.execute(request).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let is_elsewhere = *response.url() != url;
        let is_read = is_read(&headers);
        let bytes = if is_read { response.bytes().await?.to_vec() } else { Vec::new() };
        let reply = Self { status, headers, bytes };
        // A client that follows redirects shows what stands at their end, which need not be the server's.
        if !is_elsewhere {
            conformance::check(&method, url.path(), &reply, is_read);
        }
        Ok(reply)
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).expect("the body is JSON")
    }

    /// Checks the status and gives the body.
    ///
    /// # Panics
    /// When it is another one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.bytes));
        if self.bytes.is_empty() { Value::Null } else { self.json() }
    }

    /// Checks that it is an error envelope with this status and code, whose request id is that of the header.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn expect_error(self, status: u16, code: &str) -> Value {
        let request_id = self.headers.get("x-request-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        let body = self.expect(status);
        assert_eq!(body["error"]["code"], code, "{body}");
        assert_eq!(body["error"]["request_id"].as_str(), request_id.as_deref(), "{body}");
        assert!(body["error"]["details"].is_object(), "{body}");
        assert!(body["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{body}");
        body["error"].clone()
    }
}
