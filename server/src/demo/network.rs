//! What lies between the phones and the server: real HTTP, and bad luck.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use muster_sync_core::evidence::ImageType;
use muster_sync_core::sync::client::{Answer, BLOB_PATH, SYNC_PATH};
use muster_sync_core::sync::message::CONTENT_TYPE;
use reqwest::{Method, Response, header};
use serde_json::{Value, json};

use super::DemoError;
use super::time::Dice;

/// How bad it is, each in percent of the requests.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weather {
    /// Lost before the server saw them.
    pub(super) lost_before: u64,
    /// Lost after the server saw them: its answer does not arrive.
    pub(super) lost_after: u64,
    /// Delivered a second time, later than what was sent after them.
    pub(super) repeated: u64,
    /// Longest delay of a request, in milliseconds. Delays of different phones differ, and so does their order.
    pub(super) delay_ms_max: u64,
}

/// Nothing gets lost.
pub(super) const FAIR: Weather = Weather { lost_before: 0, lost_after: 0, repeated: 0, delay_ms_max: 0 };
/// A full lecture hall leaves for the tram.
pub(super) const BAD: Weather = Weather { lost_before: 20, lost_after: 20, repeated: 15, delay_ms_max: 120 };

/// A repeated request arrives at most this much later.
const REPEAT_DELAY_MS_MAX: u64 = 600;
/// A request without an answer is given up after this.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// What the network did, over all phones.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) requests: AtomicU64,
    pub(super) lost_before: AtomicU64,
    pub(super) lost_after: AtomicU64,
    pub(super) repeated: AtomicU64,
}

/// The way to one server.
#[derive(Debug, Clone)]
pub(super) struct Network {
    http: reqwest::Client,
    base: Arc<str>,
    weather: Weather,
    tally: Arc<Tally>,
}

/// A request that can be sent more than once.
#[derive(Debug, Clone)]
struct Sending {
    method: Method,
    path: String,
    token: String,
    content_type: &'static str,
    body: Vec<u8>,
}

impl Network {
    /// The way to the server at `base`, such as `http://127.0.0.1:8000`.
    pub(super) fn new(base: &str) -> Result<Self, DemoError> {
        // A proxy of the machine must not stand between the demo and its own server.
        let http = reqwest::Client::builder().no_proxy().timeout(REQUEST_TIMEOUT).build()?;
        Ok(Self { http, base: base.into(), weather: FAIR, tally: Arc::default() })
    }

    /// The same way in another weather, with a tally of its own.
    pub(super) fn in_weather(&self, weather: Weather) -> Self {
        Self { weather, tally: Arc::default(), ..self.clone() }
    }

    /// What happened so far in this weather.
    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// An exchange of the sync client; nothing when no answer arrives.
    pub(super) async fn exchange(&self, dice: &Dice, token: &str, body: Vec<u8>) -> Option<Answer> {
        let (method, path, token) = (Method::POST, SYNC_PATH.to_owned(), token.to_owned());
        self.deliver(dice, Sending { method, path, token, content_type: CONTENT_TYPE, body }).await
    }

    /// An upload of the sync client; nothing when no answer arrives.
    pub(super) async fn upload(
        &self,
        dice: &Dice,
        token: &str,
        sha256: &[u8; 32],
        image_type: ImageType,
        body: Vec<u8>,
    ) -> Option<Answer> {
        let path = format!("{BLOB_PATH}{}", data_encoding::HEXLOWER.encode(sha256));
        let content_type = match image_type {
            ImageType::Jpeg => "image/jpeg",
            ImageType::Png => "image/png",
        };
        self.deliver(dice, Sending { method: Method::PUT, path, token: token.to_owned(), content_type, body }).await
    }

    async fn deliver(&self, dice: &Dice, sending: Sending) -> Option<Answer> {
        let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        count(&self.tally.requests);
        tokio::time::sleep(Duration::from_millis(dice.below(self.weather.delay_ms_max + 1))).await;
        if dice.percent(self.weather.lost_before) {
            count(&self.tally.lost_before);
            return None;
        }
        if dice.percent(self.weather.repeated) {
            count(&self.tally.repeated);
            let (way, again) = (self.clone(), sending.clone());
            let delay = Duration::from_millis(1 + dice.below(REPEAT_DELAY_MS_MAX));
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                // Nobody waits for what comes back: the phone has its answer, or has given up.
                let _ = way.send(again).await;
            });
        }
        let answer = self.send(sending).await.ok();
        if dice.percent(self.weather.lost_after) {
            count(&self.tally.lost_after);
            return None;
        }
        answer
    }

    async fn send(&self, sending: Sending) -> Result<Answer, reqwest::Error> {
        let request = self.http.request(sending.method, format!("{}{}", self.base, sending.path));
        let request = request.bearer_auth(sending.token).header(header::CONTENT_TYPE, sending.content_type);
        let response = request.body(sending.body).send().await?;
        let retry_after_ms = retry_after_ms(&response);
        let status = response.status().as_u16();
        Ok(Answer { status, retry_after_ms, body: response.bytes().await?.to_vec() })
    }

    /// Signs in: a token.
    pub(super) async fn sign_in(&self, email: &str, password: &str) -> Result<String, DemoError> {
        let body = json!({ "email": email, "password": password });
        let answer = self.json(Method::POST, "/api/v1/auth/login", None, Some(&body)).await?;
        Ok(text(&answer, "access_token")?.to_owned())
    }

    /// A call of a person at a desk: JSON both ways, in fair weather.
    pub(super) async fn json(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> Result<Value, DemoError> {
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.base));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let bytes = succeeded(&method, path, request.send().await?).await?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes)
            .map_err(|_| DemoError::Story(format!("{method} {path} did not answer with JSON")))
    }

    /// A page as it comes, such as a CSV file.
    pub(super) async fn bytes(&self, path: &str, token: &str) -> Result<Vec<u8>, DemoError> {
        let response = self.http.get(format!("{}{path}", self.base)).bearer_auth(token).send().await?;
        succeeded(&Method::GET, path, response).await
    }

    /// A form with a picture in it.
    pub(super) async fn form(
        &self,
        path: &str,
        token: &str,
        form: reqwest::multipart::Form,
    ) -> Result<Vec<u8>, DemoError> {
        let response = self.http.post(format!("{}{path}", self.base)).bearer_auth(token).multipart(form).send().await?;
        succeeded(&Method::POST, path, response).await
    }
}

/// The body of a success; anything else ends the demo, with the server's own words.
async fn succeeded(method: &Method, path: &str, response: Response) -> Result<Vec<u8>, DemoError> {
    let status = response.status();
    let bytes = response.bytes().await?.to_vec();
    if status.is_success() {
        return Ok(bytes);
    }
    let words = String::from_utf8_lossy(&bytes).into_owned();
    Err(DemoError::Answer { method: method.to_string(), path: path.to_owned(), status: status.as_u16(), words })
}

fn retry_after_ms(response: &Response) -> Option<u64> {
    let seconds: u64 = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(seconds * 1000)
}

/// A text field of an answer.
pub(super) fn text<'a>(answer: &'a Value, field: &str) -> Result<&'a str, DemoError> {
    answer[field].as_str().ok_or_else(|| DemoError::Story(format!("the server's answer has no field {field}")))
}
