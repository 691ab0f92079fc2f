//! A provider in a process of its own, and a browser that goes there and comes back.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use reqwest::header;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Client, PASSWORD, Reply, TestServer};

/// Where the providers send people back to; the address by which browsers know the server.
pub const PUBLIC_URL: &str = "https://muster.example";

/// A provider that ends with the test.
pub struct Provider {
    child: Child,
    base: String,
    http: reqwest::Client,
}

impl Provider {
    /// Starts the program `oidc-provider` of this package.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(program: &str, now_ms: i64, name: &str) -> Self {
        let mut command = Command::new(program);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the provider can be started");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("its address");
        let provider = Self { child, base: line.trim().to_owned(), http: http() };
        provider.set(json!({ "now_s": now_ms / 1000, "redirect_uris": [callback(name)] })).await;
        provider
    }

    /// Its address, which is its issuer.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Changes how it behaves.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn set(&self, settings: Value) {
        let reply = self.http.post(format!("{}/control", self.base)).json(&settings).send().await;
        assert_eq!(reply.expect("the provider answers").status(), 204);
    }

    /// Who signs in there from now on.
    pub async fn person(&self, claims: Value) {
        self.set(json!({ "person": claims })).await;
    }

    /// How it behaves from now on; `honest` is one of the names.
    pub async fn misbehave(&self, name: &str) {
        self.set(json!({ "misbehaviour": name })).await;
    }

    /// How often it was asked for `discovery`, `authorize`, `token`, `jwks` or `userinfo`.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn count(&self, name: &str) -> u64 {
        let reply = self.http.get(format!("{}/control", self.base)).send().await.expect("the provider answers");
        let counts: HashMap<String, u64> = reply.json().await.expect("counts");
        counts.get(name).copied().unwrap_or_default()
    }

    /// Its entry in OAUTH_PROVIDERS_FILE, with `more` lines.
    pub fn entry(&self, name: &str, issuer_path: &str, more: &str) -> String {
        let issuer = format!("{}{issuer_path}", self.base);
        let callback = callback(name);
        format!(
            "[[provider]]\nname = \"{name}\"\nlabel = \"The {name}\"\nissuer = \"{issuer}\"\nclient_id = \"muster\"\n\
             client_secret = \"the secret of the client\"\nredirect_uri = \"{callback}\"\n{more}\n"
        )
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a provider sends people back to.
pub fn callback(name: &str) -> String {
    format!("{PUBLIC_URL}/api/v1/auth/oauth/{name}/callback")
}

/// Writes OAUTH_PROVIDERS_FILE.
///
/// # Panics
/// When it cannot be written.
pub fn providers_file(entries: &[String]) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("providers.toml");
    let mut file = std::fs::File::create(&path).expect("a file");
    file.write_all(entries.join("\n").as_bytes()).expect("it is written");
    (dir, path)
}

/// A client that follows no redirect.
fn http() -> reqwest::Client {
    let none = reqwest::redirect::Policy::none();
    crate::http::client().redirect(none).build().expect("a client")
}

/// A sign-in that began in a browser.
#[derive(Debug, Clone)]
pub struct Begun {
    /// At the provider.
    pub authorization_url: String,
    /// `name=value`.
    pub cookie: String,
    /// The whole `Set-Cookie`.
    pub set_cookie: String,
}

/// A browser, or more than one: it keeps no cookies of its own.
pub struct Browser<'a> {
    server: &'a TestServer,
    http: reqwest::Client,
}

impl<'a> Browser<'a> {
    /// For one server.
    pub fn new(server: &'a TestServer) -> Self {
        Self { server, http: http() }
    }

    /// Begins a sign-in; `query` follows the question mark.
    ///
    /// # Panics
    /// When that is refused.
    pub async fn begin(&self, provider: &str, query: &str) -> Begun {
        let path = format!("/api/v1/auth/oauth/{provider}/start?{query}");
        let request = self.http.get(self.server.url(&path)).header(header::ACCEPT, "application/json");
        begun(Reply::of(request).await)
    }

    /// Begins a link of a signed-in user, whose password is `PASSWORD`.
    ///
    /// # Panics
    /// When that is refused.
    pub async fn begin_link(&self, client: &Client, provider: &str) -> Begun {
        self.begin_link_with(client, provider, PASSWORD).await
    }

    /// The same with another password.
    ///
    /// # Panics
    /// When that is refused.
    pub async fn begin_link_with(&self, client: &Client, provider: &str, password: &str) -> Begun {
        let path = format!("/api/v1/auth/oauth/{provider}/link");
        begun(client.post(&path, &json!({ "password": password })).await)
    }

    /// Signs in at the provider, and says where it sends the browser.
    ///
    /// # Panics
    /// When the provider refuses the request itself.
    pub async fn authorize(&self, begun: &Begun) -> String {
        let reply = self.http.get(&begun.authorization_url).send().await.expect("the provider answers");
        assert_eq!(reply.status(), 302, "{}", begun.authorization_url);
        reply.headers()[header::LOCATION].to_str().expect("a location").to_owned()
    }

    /// Opens an address of the server as the browser knows it, with a cookie or without.
    ///
    /// # Panics
    /// When the address is not the server's.
    pub async fn open(&self, address: &str, cookie: Option<&str>) -> Reply {
        let path = address.strip_prefix(PUBLIC_URL).expect("an address of the server");
        let mut request = self.http.get(self.server.url(path));
        if let Some(cookie) = cookie {
            request = request.header(header::COOKIE, format!("theme=dark; {cookie}; last=1"));
        }
        Reply::of(request).await
    }

    /// All of it: to the provider and back.
    pub async fn sign_in(&self, provider: &str) -> Reply {
        let begun = self.begin(provider, "").await;
        let back = self.authorize(&begun).await;
        self.open(&back, Some(&begun.cookie)).await
    }

    /// A GET of any path of the server, without following redirects.
    pub async fn get(&self, path: &str) -> Reply {
        Reply::of(self.http.get(self.server.url(path))).await
    }
}

fn begun(reply: Reply) -> Begun {
    let set_cookie = reply.headers.get(header::SET_COOKIE).and_then(|value| value.to_str().ok());
    let set_cookie = set_cookie.unwrap_or_default().to_owned();
    let body = reply.expect(200);
    let cookie = set_cookie.split(';').next().unwrap_or_default().to_owned();
    let authorization_url = body["authorization_url"].as_str().expect("an address").to_owned();
    Begun { authorization_url, cookie, set_cookie }
}

/// The values after `#` in the `Location` of a reply.
///
/// # Panics
/// When it is no redirect to `redirect_uri`.
pub fn fragment(reply: &Reply, redirect_uri: &str) -> HashMap<String, String> {
    let location = reply.headers[header::LOCATION].to_str().expect("a location");
    let rest = location.strip_prefix(redirect_uri).and_then(|rest| rest.strip_prefix('#')).expect("the address given");
    let url = reqwest::Url::parse(&format!("http://x/?{rest}")).expect("pairs");
    url.query_pairs().into_owned().collect()
}
